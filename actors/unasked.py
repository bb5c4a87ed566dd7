"""Unasked: the half of a session's shell for what reaches it without a human.

A mission's tick, a mirror, a late receipt, a cleared context, an active channel that is set by an
explicit act. None of these wakes the agent but the tick.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ..storage.base import Batch, Table
from ..storage.codec import encode
from ..storage.errors import StorageError
from .addressing import default_place, place_on_behalf
from .core.conversation import Conversation
from .core.delivery_records import NoteRecord, ReceiptRecord
from .core.mission_definition import Asker
from .core.ownership_records import ActiveRecord
from .errors import Overloaded
from .journal import batch_for, load_sent, sent_key
from .kernel import TrioFuture
from .messages import Address, Clear
from .mission_rows import run_key, run_row
from .missions import RunMission
from .notebook import Notebook
from .provenance import AimAtDefault, HearReceipt, Mirror
from .services import Services

__all__ = ["Unasked"]


_NONE: Final[frozenset[tuple[str, str]]] = frozenset()
"""One for all: every empty set takes 216 bytes, and many sessions rest."""


class Unasked(Notebook):
    """Writes down what no human asked for."""

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__(services, stream, conversation)
        self._receipts = _NONE
        """Late receipts that are on their way to the store: the message's id, and its status."""

    def _mirror(self, message: Mirror) -> None:
        note = NoteRecord(
            at_us=self._services.now_us(),
            text=message.text,
            source=message.source,
            session_id=None,
            mission=None,
            delivery_id=None,
            instance=None,
            conversation=None,
            thread=None,
            status="mirrored",
            metadata=message.metadata,
        )
        self._commit(self._core.hear(note), self.take_reply())

    def _hear_receipt(self, message: HearReceipt) -> None:
        receipt, answer = message.receipt, self.take_reply()
        place = Address(message.instance, receipt.conversation)
        sent = load_sent(self._services.store, place, receipt.platform_message_id)
        news = receipt.platform_message_id, receipt.status
        if sent is None or receipt.status in sent.heard or news in self._receipts:
            self._submit(Batch(), partial(self._answered, answer, sent is not None))
            return
        record = ReceiptRecord(
            at_us=self._services.now_us(),
            delivery_seq=message.delivery_seq,
            status=receipt.status,
            reason=receipt.reason,
            platform_message_id=receipt.platform_message_id,
        )
        batch = batch_for(self._stream, self._core, self._core.receipt(record))
        others = tuple(status for of, status in self._receipts if of == news[0])
        row = sent._replace(heard=(*sent.heard, *others, receipt.status))
        batch.put(Table.SENT, sent_key(place, receipt.platform_message_id), encode(list(row)))
        self._receipts |= {news}
        self._submit(batch, partial(self._receipt_heard, record, answer))

    def _receipt_heard(
        self,
        record: ReceiptRecord,
        answer: TrioFuture[Any] | None,
        error: StorageError | None,
    ) -> None:
        told = record.platform_message_id or "", record.status
        self._receipts = self._receipts - {told} or _NONE
        if error is None and self._services.bus.subscribers:
            self._services.bus.publish(self._reporter().receipt(record))
        self._answered(answer, True, error)

    def _clear(self, message: Clear) -> None:
        self._commit(self._core.clear(message.by, self._services.now_us()), self.take_reply())

    def _aim_at_default(self, message: AimAtDefault) -> Address | None:
        """Let messages go where a human last wrote to the agent at an instance."""
        place = self._default_place(message.instance, None)
        core = self._core
        aim = self._aim(message.instance, place, message.by)
        if aim is None or (place is None and core.active_channel is not None):
            return place
        step, answer = core.aim(aim), self.take_reply()
        batch = batch_for(self._stream, core, step)
        self._submit(batch, partial(self._answered, answer, place))
        return None

    def _default_place(self, instance: str, asker: Asker | None) -> Address | None:
        store, core = self._services.store, self._core
        if asker is not None:
            return place_on_behalf(store, asker, core.agent, instance)
        return default_place(store, core.session_id, core.agent, instance)

    def _aim(self, instance: str, place: Address | None, by: str) -> ActiveRecord | None:
        """The record that lets messages go to `place`; None if they do already."""
        target = tuple(place) if place is not None else (instance, None, None)
        if target == self._core.target:
            return None
        return ActiveRecord(
            at_us=self._services.now_us(),
            instance=instance,
            conversation=place.conversation if place is not None else None,
            thread=place.thread if place is not None else None,
            by=by,
        )

    def _answered(
        self, answer: TrioFuture[Any] | None, value: object, error: StorageError | None
    ) -> None:
        if error is not None:
            self._undurable(answer, error)
        elif answer is not None:
            answer.resolve(value)

    def _run_mission(self, message: RunMission) -> None:
        """Take a tick: the run is durable with its claim, or not at all."""
        active: ActiveRecord | None = None
        turn, waiting = message.turn, self._core.open_turns
        if waiting >= self._services.max_open_turns:
            raise Overloaded(f"{self} has {waiting} turns waiting for its agent")
        if message.notify is not None:
            place = self._default_place(message.notify, message.asker)
            active = self._aim(message.notify, place, f"mission {turn.mission}")
        step = self._core.run_mission(turn, active, message.by, self._services.now_us())
        batch = batch_for(self._stream, self._core, step)
        batch.join(message.claim)
        row = run_row(self._core.session_id, self._stream, self._core.next_seq - 1)
        batch.create(Table.RUNS, run_key(turn.mission, turn.run), row)
        self._submit(batch, partial(self._durable, step.effects, self.take_reply()))
