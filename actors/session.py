"""The session actor: one conversation's shell.

Owns the session's state while it is in memory. Hears from the registry only; asks the pure
:class:`~.core.conversation.Conversation` what to do, submits the answer as one batch, and performs
its effects once that batch is durable. Nothing leaves before: that half is :mod:`.gate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, ClassVar

from ..storage.base import Batch, Table
from ..storage.errors import StorageError
from ..storage.keys import log_key
from .awaiting import Awaiting
from .changing import Changing
from .compacting import Compacting
from .compactions import Compact, CompactionEnded, Measured, SummaryMade
from .core.delivery_records import DeliveryRecord
from .core.effects import Effect
from .core.routing import record_of
from .core.turn_records import AssistantRecord
from .core.view_records import ErasedRecord
from .deliveries import (
    DeliveryReported,
    MayRetry,
    Outcome,
    OutcomeStatus,
    RetryDelivery,
    SendMessage,
)
from .errands import BindPlace, HeldStill, HoldStill, PlaceBound, TakeOver
from .hearing import Hearing
from .journal import (
    batch_for,
    load_record,
    load_records,
)
from .kernel import ActorRef
from .ledger import put_binding, take_notes, waiting_notes
from .memories import Forget, Remember
from .messages import (
    Accept,
    Address,
    AnyTurn,
    CatchUp,
    Clear,
    DeliveryId,
    FindSession,
    HearChange,
    InboundTurn,
    Passivate,
    RetryTurn,
    SessionId,
    StartIsolated,
    StayedAwake,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    Wake,
    split_record_id,
)
from .missions import AwaitRun, RunMission
from .notebook import Notebook, seq_of
from .provenance import (
    AimAtDefault,
    HearReceipt,
    KeepNote,
    Mirror,
    NoteLent,
    NoteReturned,
)
from .remembering import Remembering
from .unasked import Unasked

__all__ = ["SessionActor"]


class SessionActor(Compacting):
    """Shell of one session."""

    listed: ClassVar[bool] = False

    def on_start(self) -> None:
        """Go on with what the last process left open."""
        if not self._core.idle and not self._services.stopping:
            self._commit(self._core.resume(self._open_turn(), self._services.now_us()))

    def on_receive(self, message: Any) -> Any:
        """Decide and commit; answers are given when the commit is durable."""
        return self._HANDLERS[type(message)](self, message)

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """A defect: leave memory, and soon come back as what is stored."""
        self._begin_anew(exception_value)

    # -- events ----------------------------------------------------------------------------------

    def _finished(self, message: TurnFinished) -> None:
        self._commit(
            self._core.finish(
                message.turn_seq, message.turn, message.reply, self._services.now_us()
            )
        )

    def _failed(self, message: TurnFailed) -> None:
        self._commit(
            self._core.fail(
                message.turn_seq,
                message.turn,
                message.error,
                self._services.now_us(),
                retryable=message.retryable and isinstance(message.turn, InboundTurn),
                notice=self._services.failure_notice,
            )
        )

    def _interrupted(self, message: TurnInterrupted) -> None:
        now_us = self._services.now_us()
        self._commit(self._core.interrupt(message.turn_seq, message.turn, now_us))

    def _retry_turn(self, message: RetryTurn) -> None:
        self._commit(self._core.begin_again(message.turn_seq, self._services.now_us()))

    def _start_isolated(self, message: StartIsolated) -> None:
        step = self._core.begin_isolated(message.turn_seq, self._services.now_us())
        if not step.effects:
            self._services.runner.release(self._core.session_id)
        self._commit(step)

    def _reported(self, message: DeliveryReported) -> None:
        services = self._services
        go_on = not services.stopping
        step = self._core.report(seq_of(message), message, services.now_us(), go_on=go_on)
        if step.records:
            batch = batch_for(self._stream, self._core, step)
            if message.keep_id:
                self._index_sent(batch, message)
            self._submit(batch, partial(self._durable, step.effects, None))

    def _may_retry(self, message: MayRetry) -> None:
        seq = _seq_of(message.delivery_id)
        core, now_us = self._core, self._services.now_us()
        withheld = self._withheld_retry(seq)
        if withheld is None:
            step = core.may_retry(seq, message.attempt, now_us)
        else:
            step = core.may_not_retry(seq, self._failure(seq, message.attempt, withheld), now_us)
        self._commit(step, self.take_reply())

    def _withheld_retry(self, seq: int) -> str | None:
        try:
            record = load_record(self._services.store, self._stream, seq)
        except StorageError:
            return "unreadable"
        if not isinstance(record, AssistantRecord):
            return None
        withheld = self._withheld(record)
        if withheld is not None:
            self._take_back_draft(record)
        return withheld

    def _send(self, message: SendMessage) -> None:
        seq, step = self._core.send(
            message.text,
            message.to,
            self._services.now_us(),
            by=message.by,
            during=message.during,
            route=message.route,
            files=message.attachments,
        )
        self._await_outcome(seq, self.take_reply())
        self._commit(step)

    def _retry_delivery(self, message: RetryDelivery) -> Outcome | None:
        delivery_id, store = message.delivery_id, self._services.store
        seq = _seq_of(delivery_id)
        record = load_record(store, self._stream, seq) if seq else None
        if not isinstance(record, AssistantRecord):
            return Outcome(status="failed", reason="no_such_delivery")
        if self._core.has_open_delivery(seq):
            return Outcome(status="retrying", reason="already_open", delivery_id=delivery_id)
        reports = list(self._reports(seq))
        if store.get(Table.TROUBLE, log_key(self._stream, seq)) is None:
            if not reports or reports[-1].status not in ("delivered", "rendered"):
                # its outcome is on the way to the store
                return Outcome(status="retrying", reason="already_open", delivery_id=delivery_id)
            status: OutcomeStatus = "rendered" if record.instance is None else "delivered"
            return _told_before(delivery_id, status, "already_arrived", reports)
        may_have_arrived = any(report.status == "unknown" for report in reports)
        if may_have_arrived and not message.mark_duplicate:
            return _told_before(delivery_id, "unknown", "may_have_arrived", reports)
        step = self._core.open_delivery_again(
            seq,
            record,
            self._services.now_us(),
            duplicate=may_have_arrived,
            parts=next((tuple(r.parts) for r in reversed(reports) if r.parts), ()),
        )
        self._await_outcome(seq, self.take_reply())
        self._commit(step)
        return None

    def _reports(self, seq: int) -> Iterator[DeliveryRecord]:
        """What has become of delivery `seq`, attempt by attempt, as far as it is stored."""
        for _, record in load_records(self._services.store, self._stream, seq + 1):
            if isinstance(record, DeliveryRecord) and record.delivery_seq == seq:
                yield record

    def _passivate(self, message: Passivate) -> None:
        busy = self._in_flight or self._waiting or self._behind is not None
        if self._core.idle and not busy:
            self._submit(Batch(), self._leave)
        else:
            self._tell_registry(StayedAwake(session_id=message.session_id))

    def _leave(self, error: StorageError | None) -> None:
        if self.actor_ref.is_alive():
            self._left(error)
            self.stop()

    # -- what the registry asks ------------------------------------------------------------------

    def _bind(self, message: BindPlace) -> None:
        core, place = self._core, message.row.address
        notes = waiting_notes(self._services.store, place)
        step = core.bind(record_of(message.row), [note for _, note in notes])
        batch = batch_for(self._stream, core, step)
        take_notes(batch, core.session_id, self._stream, step.first_seq + 1, notes)
        put_binding(batch, message.row, first=True)
        self._submit(batch, partial(self._bound, place, step.effects))

    def _bound(self, place: Address, effects: list[Effect], error: StorageError | None) -> None:
        self._tell_registry(PlaceBound(address=place, stored=error is None))
        self._durable(effects, None, error)

    def _hold_still(self, message: HoldStill) -> None:
        self._submit(Batch(), partial(self._held_still, message.session_id))

    def _held_still(self, session_id: SessionId, _error: StorageError | None) -> None:
        self._tell_registry(HeldStill(session_id=session_id))

    def _take_over(self, message: TakeOver) -> None:
        if self._core.next_seq != message.first_seq:
            self._start_over()  # something was decided here meanwhile: the store knows the order
            return
        for record in message.records:
            self._core.apply(record)
        if isinstance(message.records[-1], ErasedRecord):
            self._left(None)
            self.stop()

    def _find(self, _message: FindSession) -> ActorRef[Any]:
        return self.actor_ref

    def _here(self, _message: Wake | CatchUp) -> None:
        """Being in memory, and having come so far, is all that was asked."""

    def _open_turn(self) -> AnyTurn | None:
        seq = self._core.oldest_open_turn
        return self._turn_at(seq) if seq else None

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        Accept: Hearing._accept,
        TurnFinished: _finished,
        TurnFailed: _failed,
        TurnInterrupted: _interrupted,
        RetryTurn: _retry_turn,
        StartIsolated: _start_isolated,
        DeliveryReported: _reported,
        MayRetry: _may_retry,
        SendMessage: _send,
        RetryDelivery: _retry_delivery,
        FindSession: _find,
        Passivate: _passivate,
        Wake: _here,
        CatchUp: _here,
        BindPlace: _bind,
        HoldStill: _hold_still,
        TakeOver: _take_over,
        KeepNote: Notebook._keep_note,
        NoteLent: Notebook._note_lent,
        NoteReturned: Notebook._note_returned,
        Mirror: Unasked._mirror,
        HearReceipt: Unasked._hear_receipt,
        HearChange: Changing._hear_change,
        Clear: Unasked._clear,
        AimAtDefault: Unasked._aim_at_default,
        RunMission: Unasked._run_mission,
        AwaitRun: Awaiting._await_run,
        SummaryMade: Compacting._summary_made,
        Measured: Compacting._on_measured,
        Compact: Compacting._compact,
        CompactionEnded: Compacting._compaction_ended,
        Remember: Remembering._keep_value,
        Forget: Remembering._empty_memory,
    }


def _told_before(
    delivery_id: DeliveryId, status: OutcomeStatus, reason: str, reports: Sequence[DeliveryRecord]
) -> Outcome:
    """The outcome of a delivery to which nothing is done, with what is known of it."""
    noted = next((record.noted_in for record in reversed(reports) if record.noted_in), None)
    return Outcome(
        status=status,
        reason=reason,
        platform_message_id=reports[-1].platform_message_id if reports else None,
        delivery_id=delivery_id,
        provenance="recorded" if noted is not None else "not_needed",
        noted_in=SessionId(noted) if noted is not None else None,
    )


def _seq_of(delivery_id: DeliveryId) -> int:
    """Sequence number in a delivery's id; 0, which no record has, if it holds none."""
    parts = split_record_id(delivery_id)
    return parts[1] if parts is not None else 0
