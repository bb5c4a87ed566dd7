"""The notebook: the half of a session's shell that writes two logs with one batch.

As the owner of a conversation in which another session has spoken, it lends that session the batch
which notes it, and submits nothing else until that is returned: so the note takes its place in this
log. As the one who spoke, it submits what was lent together with the outcome of its delivery. The
registry never lets a session do both at once, so that no two of them wait for each other.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial

from ..storage.base import Batch, Table, Then
from ..storage.codec import encode, encode_known
from ..storage.errors import Conflict, StorageError
from ..storage.keys import log_key
from .core.attached import told_of
from .core.conversation import Conversation
from .core.delivery_records import NoteRecord
from .core.effects import Effect
from .core.records import pack
from .core.turn_records import AssistantRecord
from .deliveries import DeliveryReported
from .gate import OutputGate
from .happenings import noted
from .journal import (
    SentRow,
    batch_for,
    load_note_of,
    load_record,
    mission_behind,
    sent_key,
    waiting_key,
)
from .messages import split_record_id
from .provenance import KeepNote, NoteLent, NoteReturned, NoteWaits
from .services import Services

__all__ = ["Notebook", "note_of", "seq_of"]

logger = logging.getLogger("turnkeeper.session")


class Notebook(OutputGate):
    """Keeps notes, and lets them be kept."""

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__(services, stream, conversation)
        self._behind: list[tuple[Batch, Then]] | None = None
        """What waits behind the half batch that is lent; None while none is."""

    def _submit(self, batch: Batch, then: Then) -> None:
        if self._behind is not None:
            self._behind.append((batch, then))
        else:
            super()._submit(batch, then)

    def _begin_anew(self, broke: BaseException | None = None) -> None:
        behind, self._behind = self._behind, None
        super()._begin_anew(broke)
        for _, then in behind or ():  # what is lent comes before it, and may not be stored
            then(Conflict(f"{self} broke before this could be stored"))

    # -- as the owner ----------------------------------------------------------------------------

    def _keep_note(self, message: KeepNote) -> None:
        lent = NoteLent(session_id=message.speaker, report=message.report, owner=None)
        try:
            lent = self._lend(message)
        except StorageError as error:
            logger.warning("%s: no note of %s", self, message.report.delivery_id, exc_info=error)
        self._tell_registry(lent)

    def _lend(self, message: KeepNote) -> NoteLent:
        store, report, core = self._services.store, message.report, self._core
        spoken = message.speaker_stream, seq_of(report)
        written = load_note_of(store, *spoken)
        if written is not None:
            owner, _, seq = written
            return NoteLent(
                session_id=message.speaker,
                report=report,
                owner=owner,
                lender=core.session_id,
                note_seq=seq,
            )
        note = note_of(self._services, *spoken, report)
        place = core.next_seq
        batch = batch_for(self._stream, core, core.hear(note))
        row = (core.session_id, self._stream, place)
        batch.put(Table.NOTES, log_key(*spoken), encode(row))
        self._behind = []
        return NoteLent(
            session_id=message.speaker,
            report=report,
            owner=core.session_id,
            lender=core.session_id,
            note_seq=place,
            batch=batch,
        )

    def _note_returned(self, message: NoteReturned) -> None:
        behind, self._behind = self._behind, None
        for batch, then in behind or ():
            self._submit(batch, then)
        if not message.kept:  # what was decided here is not stored
            self._start_over()

    # -- as the one who spoke --------------------------------------------------------------------

    def _note_lent(self, message: NoteLent) -> None:
        """Write the outcome down together with the note of it."""
        kept = False
        try:
            kept = self._settle_noted(message)
        finally:
            if not kept and message.awaits_owner:
                self._tell_registry(NoteWaits(delivery_id=message.report.delivery_id))
            self._return(message, kept=kept)

    def _settle_noted(self, message: NoteLent) -> bool:
        report, owner = message.report, message.owner
        step = self._core.report(
            seq_of(report),
            report,
            self._services.now_us(),
            go_on=not self._services.stopping,
            noted=(owner, message.note_seq) if owner is not None else None,
        )
        if not step.records:
            return False  # old news
        batch = batch_for(self._stream, self._core, step)
        if message.batch is not None:
            batch.join(message.batch)
        elif message.awaits_owner and report.address is not None:
            spoken = self._stream, seq_of(report)
            note = encode(pack(note_of(self._services, *spoken, report)))
            batch.put(Table.WAITING_NOTES, waiting_key(report.address, *spoken), note)
        self._index_sent(batch, report)
        self._submit(batch, partial(self._noted, message, step.effects))
        return True

    def _noted(self, message: NoteLent, effects: list[Effect], error: StorageError | None) -> None:
        if message.awaits_owner:
            self._tell_registry(NoteWaits(delivery_id=message.report.delivery_id))
        elif error is not None and message.batch is not None:
            self._return(message, kept=False)
        self._durable(effects, None, error)
        if error is None and message.batch is not None and self._services.bus.subscribers:
            self._publish_note(message)

    def _publish_note(self, message: NoteLent) -> None:
        services = self._services
        with suppress(StorageError):  # who watches misses one event of a damaged store
            written = load_note_of(services.store, self._stream, seq_of(message.report))
            if written is None:
                return
            owner, stream, seq = written
            note = load_record(services.store, stream, seq)
            if isinstance(note, NoteRecord):
                services.bus.publish(noted(owner, seq, note, services.now_us()))

    def _return(self, message: NoteLent, *, kept: bool) -> None:
        if message.lender is not None:
            self._tell_registry(
                NoteReturned(
                    session_id=message.lender,
                    speaker=self._core.session_id,
                    delivery_id=message.report.delivery_id,
                    kept=kept or message.batch is None,
                )
            )

    def _index_sent(self, batch: Batch, report: DeliveryReported) -> None:
        """Let the platform's ids of what has arrived lead back to the delivery."""
        if report.address is not None:
            sent = SentRow(self._core.session_id, self._stream, seq_of(report))
            row = encode_known(list(sent))
            for platform_id in report.parts or filter(None, [report.platform_message_id]):
                batch.put(Table.SENT, sent_key(report.address, platform_id), row)


def note_of(services: Services, stream: int, seq: int, report: DeliveryReported) -> NoteRecord:
    """The note of a delivery.

    Args:
        services: of the runtime.
        stream: number of the session that spoke.
        seq: the delivery.
        report: what became of it.

    Raises:
        StorageError: what was said cannot be read.
    """
    store, place = services.store, report.address
    said = load_record(store, stream, seq)
    assert isinstance(said, AssistantRecord)  # it was durable before it was sent
    mission = mission_behind(store, stream, said)
    arrived = report.status if report.status in ("delivered", "unknown") else "partial"
    return NoteRecord(
        at_us=services.now_us(),
        text=told_of(said),
        source=f"mission {mission}" if mission is not None else f"session {report.session_id}",
        session_id=report.session_id,
        mission=mission,
        delivery_id=report.delivery_id,
        instance=place.instance if place is not None else None,
        conversation=place.conversation if place is not None else None,
        thread=place.thread if place is not None else None,
        status=arrived,
        platform_message_id=report.platform_message_id or next(iter(report.parts), None),
    )


def seq_of(report: DeliveryReported) -> int:
    """Sequence number of the delivery that `report` is about; 0, which none has, if it has none."""
    parts = split_record_id(report.delivery_id)
    return parts[1] if parts is not None else 0
