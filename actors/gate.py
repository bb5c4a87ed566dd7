"""The output gate: the half of a session's shell that lets things out.

Every decision of the core goes through :meth:`OutputGate._commit`: its records are submitted as one
batch, and its effects are performed once that batch is durable. There is no other way out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, Literal

from ..storage.base import Batch, Then
from ..storage.errors import Conflict, StorageError, StoreClosed
from .blob_rows import refer
from .compactions import AskedBy
from .context_logs import readable
from .core.alterations import as_altered
from .core.attached import attachments_of, files_to_send
from .core.conversation import Conversation
from .core.effects import (
    AnswerAccepted,
    AnswerChanged,
    AnswerCleared,
    AnswerMayRetry,
    AnswerMirrored,
    AnswerMission,
    AnswerSummarised,
    AskCompaction,
    Dispatch,
    Effect,
    EndCommand,
    EndTurn,
    IsolateTurn,
    PauseTurn,
    SettleDelivery,
    StartTurn,
    Step,
    TellNote,
)
from .core.heard import turn_of
from .core.records import Record, address_of
from .core.turn_records import AssistantRecord, UserRecord
from .core.view_records import ChangedRecord
from .deliveries import Deliver, DeliveryReported, Outcome
from .errors import Overloaded, ShuttingDown
from .happenings import FeedEvent, Reporter, trouble
from .journal import batch_for, load_record, turn_at
from .kernel import ActorDeadError, TrioActor, TrioFuture
from .messages import (
    Address,
    AgentEnded,
    AnyTurn,
    DeliveryId,
    InboundTurn,
    MissionTurn,
    Passivated,
    RetryTurn,
    TurnEnded,
    TurnId,
    Wake,
)
from .missions import MissionEnded
from .outcomes import outcome_of
from .provenance import Mirrored
from .runner import TurnJob
from .services import Services
from .windows import began_behind

__all__ = ["OutputGate"]

logger = logging.getLogger("turnkeeper.session")

_COME_BACK_AFTER_S: Final = 1.0
"""Seconds after which a session that broke is loaded again, to go on with what is open."""
_ANSWERS: Final = frozenset({AnswerAccepted, AnswerChanged})
"""What a channel waits for, so that it may acknowledge."""


class OutputGate(TrioActor):
    """Commits a session's steps and performs their effects."""

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__()
        self._services = services
        self._stream = stream
        self._core = conversation
        self._waiting: dict[int, TrioFuture[Outcome]] | None = None
        self._given = 0
        """The newest turn that was given to the agent."""

    def __str__(self) -> str:
        return f"session {self._core.session_id}"

    def _commit(self, step: Step, answer: TrioFuture[Any] | None = None) -> None:
        if step.records or step.effects:
            batch = batch_for(self._stream, self._core, step)
            for seq, record in enumerate(step.records, step.first_seq):
                if type(record) is AssistantRecord and record.attachments:
                    refer(batch, self._stream, seq, attachments_of(record))
            self._submit(batch, partial(self._durable, step.effects, answer))

    def _submit(self, batch: Batch, then: Then) -> None:
        try:
            self._services.store.submit(batch, then)
        except StoreClosed as error:  # a commit failed before: this one is as little stored
            then(error)

    def _durable(
        self,
        effects: list[Effect],
        answer: TrioFuture[Any] | None,
        error: StorageError | None,
    ) -> None:
        if error is not None:
            self._undurable(answer, error)
            return
        alive = self.actor_ref.is_alive()
        if self._services.bus.subscribers:
            self._publish(effects, alive=alive)
        for effect in effects:
            # Its successor goes on with what is stored, but does not know who waits for an answer.
            if alive or type(effect) in _ANSWERS:
                self._EFFECTS[type(effect)](self, effect, answer)

    def _undurable(self, answer: TrioFuture[Any] | None, error: StorageError) -> None:
        """What was decided is not stored: forget it, and begin again from what is."""
        if answer is not None:
            refused = Overloaded if isinstance(error, Conflict) else ShuttingDown
            fault = refused(f"{self} could not store it: {error}")
            fault.__cause__ = error
            answer.fail(fault)
        if self.actor_ref.is_alive():
            self._start_over(error)

    def _publish(self, effects: list[Effect], *, alive: bool) -> None:
        """Tell whoever watches what is durable now."""
        bus, reporter = self._services.bus, self._reporter()
        for effect in effects:
            if alive or type(effect) is not StartTurn:
                for event in reporter.events(effect):
                    bus.publish(event)

    def _reporter(self) -> Reporter:
        return Reporter(self._core.session_id, self._services.now_us(), self._record_at)

    def _record_at(self, seq: int) -> Record | None:
        try:
            return load_record(self._services.store, self._stream, seq)
        except StorageError:
            return None  # whoever needs it says so

    def _trouble(
        self, of: Literal["turn", "session"], error: BaseException, seq: int = 0
    ) -> FeedEvent:
        return trouble(
            of,
            error,
            self._services.now_us(),
            session_id=self._core.session_id,
            record_id=f"{self._core.session_id}/{seq}" if seq else None,
        )

    def _answer_accepted(self, effect: AnswerAccepted, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(effect.accepted)

    def _answer_may_retry(self, effect: AnswerMayRetry, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(effect.granted)

    def _answer_mission(self, effect: AnswerMission, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(effect.turn_id)

    def _answer_mirrored(self, effect: AnswerMirrored, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(
                Mirrored(status="recorded", session_id=self._core.session_id, seq=effect.seq)
            )

    def _answer_changed(self, _effect: AnswerChanged, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(True)

    def _answer_cleared(self, effect: AnswerCleared, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(effect.cleared)

    def _start_turn(self, effect: StartTurn, _answer: object) -> None:
        self._given = effect.seq
        self._services.compactor.expect(self._core.session_id, effect.seq)
        try:
            turn = effect.turn or self._turn_as_told(effect.seq)
        except StorageError as error:
            if self._services.bus.subscribers:  # the turn's end cannot be told without the turn
                self._services.bus.publish(self._trouble("turn", error, effect.seq))
            step = self._core.fail(
                effect.seq, None, str(error), self._services.now_us(), retryable=False
            )
            self._commit(step)
            return
        self._services.runner.start(
            TurnJob(
                self._core.session_id,
                self._stream,
                effect.seq,
                turn,
                effect.attempt,
                effect.isolated,
                self._core.agent,
            )
        )

    def _isolate_turn(self, effect: IsolateTurn, _answer: object) -> None:
        self._services.runner.isolate(self._core.session_id, effect.seq)

    def _pause_turn(self, effect: PauseTurn, _answer: object) -> None:
        self._services.runner.later(
            effect.after_s, RetryTurn(session_id=self._core.session_id, turn_seq=effect.seq)
        )

    def _end_turn(self, effect: EndTurn, _answer: object) -> None:
        if isinstance(effect.turn, InboundTurn):
            place = effect.turn.address
            self._tell_end(effect.seq, place, effect.status, effect.delivery_seq)
        else:
            self._end_run(effect, effect.turn)

    def _end_command(self, effect: EndCommand, _answer: object) -> None:
        self._tell_end(effect.seq, effect.address, "answered", effect.delivery_seq)

    def _tell_end(
        self,
        seq: int,
        place: Address,
        status: Literal["answered", "silent", "quarantined"],
        delivery_seq: int,
    ) -> None:
        """Tell a channel that wants to know it that a message of a human has been dealt with."""
        post = self._services.post
        if place.instance in post.hearers:
            ended = TurnEnded(
                turn_id=self._turn_id(seq),
                address=place,
                status=status,
                delivery_id=self._delivery_id(delivery_seq) if delivery_seq else None,
            )
            with suppress(ActorDeadError):  # a stopping channel need not know
                post.channels[place.instance].tell(ended)

    def _answer_summarised(self, effect: AnswerSummarised, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(effect.seq)

    def _ask_compaction(self, effect: AskCompaction, _answer: object) -> None:
        asked = AskedBy(effect.address, effect.message_id)
        self._services.compactor.ask(self._core.session_id, self._stream, asked)

    def _end_run(self, effect: EndTurn, turn: MissionTurn) -> None:
        ended = MissionEnded(
            session_id=self._core.session_id,
            turn_seq=effect.seq,
            mission=turn.mission,
            run=turn.run,
            status=effect.status,
            delivery_id=self._delivery_id(effect.delivery_seq) if effect.delivery_seq else None,
            error=effect.error,
        )
        if (scheduler := self._services.post.scheduler) is not None:
            with suppress(ActorDeadError):  # it finds out at the next start
                scheduler.tell(ended)

    def _dispatch(self, effect: Dispatch, _answer: object) -> None:
        opened_by = self._core.delivery_opened_by(effect.seq)
        try:
            record = effect.record or load_record(self._services.store, self._stream, effect.seq)
            assert isinstance(record, AssistantRecord)  # the outbox holds no other kind
            asked_at_us = record.at_us
            if opened_by != effect.seq:
                opening = load_record(self._services.store, self._stream, opened_by)
                assert opening is not None  # it was durable before this
                asked_at_us = opening.at_us
        except StorageError as error:
            logger.warning("%s: delivery %d cannot be read", self, effect.seq, exc_info=error)
            self._undeliverable(effect, "unreadable")
            return
        place = address_of(record)
        withheld = self._withheld(record)
        if place is None and record.instance is not None:
            withheld = "no_recipient"
        if withheld is not None:
            self._take_back_draft(record)
            self._undeliverable(effect, withheld)
            return
        post = self._services.post
        deliver = Deliver(
            session_id=self._core.session_id,
            delivery_id=self._delivery_id(effect.seq),
            address=place,
            text=record.text,
            asked_at_us=asked_at_us,
            reply_to=record.reply_to,
            attempt=effect.attempt,
            ambiguous=effect.ambiguous,
            duplicate=effect.duplicate,
            parts=effect.parts,
            keep_id=place is not None
            and (record.reply_to is None or place.instance in post.receipted),
            turn_id=self._turn_id(record.turn_seq) if record.turn_seq else None,
            files=files_to_send(record) if record.attachments else (),
        )
        target = post.feed if place is None else post.channels.get(place.instance)
        if target is None:
            self._undeliverable(effect, "no_such_channel")
            return
        with suppress(ActorDeadError):  # the channel has stopped: the delivery stays open
            target.tell(deliver)

    def _withheld(self, record: AssistantRecord) -> str | None:
        """Why what `record` says may not go out now: whom it is for may have been shut out."""
        place, services = address_of(record), self._services
        if place is None or services.door.is_wide_open(place.instance):
            return None
        speaker: str | None = None
        if record.turn_seq:
            try:
                turn = self._turn_at(record.turn_seq)
            except StorageError:
                return "unreadable"
            speaker = turn.user_id if isinstance(turn, InboundTurn) else None
        return services.door.closed_to(place, speaker)

    def _undeliverable(self, effect: Dispatch, reason: str) -> None:
        report = self._failure(effect.seq, effect.attempt, reason)
        self._tell_registry(report)  # which keeps it while an act is being carried out

    def _take_back_draft(self, record: AssistantRecord) -> None:
        """Let a channel take back what it has shown of an answer that does not go out."""
        place, post = address_of(record), self._services.post
        if record.turn_seq and place is not None and place.instance in post.watchers:
            unanswered = AgentEnded(turn_id=self._turn_id(record.turn_seq), answered=False)
            with suppress(ActorDeadError):  # a stopped channel shows nothing more
                post.channels[place.instance].tell(unanswered)

    def _failure(self, seq: int, attempt: int, reason: str) -> DeliveryReported:
        return DeliveryReported(
            session_id=self._core.session_id,
            delivery_id=self._delivery_id(seq),
            attempt=attempt,
            status="failed",
            reason=reason,
        )

    def _settle_delivery(self, effect: SettleDelivery, _answer: object) -> None:
        future = self._waiting.pop(effect.seq, None) if self._waiting else None
        if future is not None:
            future.resolve(outcome_of(effect.report, effect.noted_in))
            if not self._waiting:
                self._waiting = None

    def _tell_note(self, effect: TellNote, _answer: object) -> None:
        """Whoever watches knows of it: see `_publish`."""

    def _begin_anew(self, broke: BaseException | None = None) -> None:
        """Leave memory, and soon come back as what is stored; `broke` is why, if it is a fault.

        The registry is told only once all that was submitted here is durable: whoever was loaded
        before that would go on from an older state than the log's.
        """
        session_id = self._core.session_id
        self._submit(Batch(), self._left)
        if self._services.store.failure is None:
            if broke is not None and self._services.bus.subscribers:
                self._services.bus.publish(self._trouble("session", broke))
            self._services.runner.later(_COME_BACK_AFTER_S, Wake(session_id=session_id))

    def _start_over(self, error: StorageError | None = None) -> None:
        """Begin anew in good health, because what was decided here is not what is stored.

        At once: what waits in the mailbox would be decided on that state too, and submitted behind
        the back of the successor, which is loaded without it. It is lost, as when a session breaks.
        Once the store has failed nothing can be, and whoever asked is told that it is over.
        """
        self._begin_anew(error)
        if self._services.store.failure is None:
            self.actor_ref.kill()
        else:
            self.stop()

    def _left(self, _error: StorageError | None) -> None:
        """All that was decided here is durable: whoever loads the session next will find it."""
        self._tell_registry(Passivated(session_id=self._core.session_id, ref=self.actor_ref))

    def _tell_registry(self, message: object) -> None:
        with suppress(ActorDeadError):  # one that has stopped loads nobody and passes nothing on
            self._services.registry.tell(message)

    def _turn_id(self, seq: int) -> TurnId:
        return TurnId(f"{self._core.session_id}/{seq}")

    def _delivery_id(self, seq: int) -> DeliveryId:
        return DeliveryId(f"{self._core.session_id}/{seq}")

    def _await_outcome(self, seq: int, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            if self._waiting is None:
                self._waiting = {}
            self._waiting[seq] = answer

    def _turn_as_told(self, seq: int) -> AnyTurn:
        """The turn of record `seq` as its agent gets it, with what its author has changed since.

        What was changed once this attempt had begun is left out, though it may be stored already:
        it is in no window of the attempt either.
        """
        store, stream = self._services.store, self._stream
        if self._core.changed < seq:
            return self._turn_at(seq)
        record = load_record(store, stream, seq)
        if not isinstance(record, UserRecord):
            return self._turn_at(seq)
        began = began_behind(store, stream, self._core.next_seq - 1, seq)
        stop = min(self._core.changed, began) + 1
        later = readable(store, stream, seq + 1, stop, kinds=[ChangedRecord.kind])
        changes = [r for _, r in later if isinstance(r, ChangedRecord) and r.message_seq == seq]
        return turn_of(as_altered(record, changes))

    def _turn_at(self, seq: int) -> AnyTurn:
        return turn_at(self._services.store, self._stream, seq)

    _EFFECTS: ClassVar[dict[type, Callable[[Any, Any, Any], None]]] = {
        AnswerAccepted: _answer_accepted,
        AnswerMission: _answer_mission,
        AnswerMirrored: _answer_mirrored,
        TellNote: _tell_note,
        AnswerCleared: _answer_cleared,
        AnswerChanged: _answer_changed,
        AnswerSummarised: _answer_summarised,
        AnswerMayRetry: _answer_may_retry,
        StartTurn: _start_turn,
        IsolateTurn: _isolate_turn,
        PauseTurn: _pause_turn,
        EndTurn: _end_turn,
        EndCommand: _end_command,
        AskCompaction: _ask_compaction,
        Dispatch: _dispatch,
        SettleDelivery: _settle_delivery,
    }
