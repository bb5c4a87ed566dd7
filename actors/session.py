"""The session actor: one conversation's shell.

Owns the session's state while it is in memory. Hears from the registry only; asks the pure
:class:`~.core.conversation.Conversation` what to do, submits the answer as one batch, and performs
its effects once that batch is durable. Nothing leaves before.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final

from ..storage.base import Batch, Table, Then
from ..storage.codec import encode_known
from ..storage.errors import Conflict, CorruptRecord, StorageError, StoreClosed
from ..storage.keys import log_key
from .core.conversation import Conversation
from .core.effects import (
    AnswerAccepted,
    AnswerMayRetry,
    Dispatch,
    Effect,
    EndTurn,
    IsolateTurn,
    PauseTurn,
    SettleDelivery,
    StartTurn,
    Step,
)
from .core.intake import body_digest, seen_window
from .core.records import AssistantRecord, UserRecord, address_of, turn_of
from .errors import MessageIdReused, Overloaded, ShuttingDown
from .journal import SeenRow, batch_for, load_record, load_seen, seen_hash, seen_key
from .kernel import ActorDeadError, ActorRef, TrioActor, TrioFuture
from .messages import (
    Accept,
    CatchUp,
    Deliver,
    DeliveryId,
    DeliveryReported,
    FindSession,
    InboundTurn,
    MayRetry,
    Outcome,
    OutcomeStatus,
    Passivate,
    Passivated,
    RetryDelivery,
    RetryTurn,
    SendMessage,
    SessionId,
    StartIsolated,
    StayedAwake,
    TurnEnded,
    TurnFailed,
    TurnFinished,
    TurnId,
    TurnInterrupted,
    Wake,
)
from .runner import TurnJob
from .services import Services

__all__ = ["SessionActor"]

logger = logging.getLogger("turnkeeper.session")

_COME_BACK_AFTER_S: Final = 1.0
"""Seconds after which a session that broke is loaded again, to go on with what is open."""
_MAX_DIGITS: Final = 18
"""Decimal digits of a sequence number: so many always fit into 64 bits."""


class SessionActor(TrioActor):
    """Shell of one session."""

    listed: ClassVar[bool] = False

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__()
        self._services = services
        self._stream = stream
        self._core = conversation
        self._in_flight: dict[bytes, SeenRow] | None = None
        self._waiting: dict[int, TrioFuture[Outcome]] | None = None

    def __str__(self) -> str:
        return f"session {self._core.session_id}"

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
        self._begin_anew()

    # -- events ----------------------------------------------------------------------------------

    def _accept(self, message: Accept) -> None:
        turn, services, core = message.turn, self._services, self._core
        now_us = services.now_us()
        seen, digest = seen_hash(turn), body_digest(turn)
        row = self._in_flight.get(seen) if self._in_flight else None
        if row is None:
            row = load_seen(services.store, seen, now_us)
        if row is not None:
            session_id, seq, earlier = row
            if earlier != digest:
                raise MessageIdReused(
                    f"message {turn.message_id!r} of {turn.address.conversation!r} on "
                    f"{turn.address.instance!r} was accepted as {session_id}/{seq}, "
                    "with another body"
                )
            self._commit(core.accept_again(SessionId(session_id), seq), self.take_reply())
            return
        if core.open_turns >= services.max_open_turns:
            raise Overloaded(
                f"session {core.session_id} has {core.open_turns} turns waiting for its agent"
            )
        row = (core.session_id, core.next_seq, digest)
        step = core.accept(turn, now_us)
        batch = batch_for(self._stream, core, step)
        batch.create(Table.SEEN, seen_key(seen_window(now_us), seen), encode_known(list(row)))
        if self._in_flight is None:
            self._in_flight = {}
        self._in_flight[seen] = row
        self._submit(batch, partial(self._accepted, step.effects, self.take_reply(), seen))

    def _accepted(
        self,
        effects: list[Effect],
        answer: TrioFuture[Any] | None,
        seen: bytes,
        error: StorageError | None,
    ) -> None:
        if self._in_flight is not None:
            self._in_flight.pop(seen, None)
            if not self._in_flight:
                self._in_flight = None
        self._durable(effects, answer, error)

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
                retryable=message.retryable,
                notice=self._services.failure_notice,
            )
        )

    def _interrupted(self, message: TurnInterrupted) -> None:
        self._commit(self._core.interrupt(message.turn_seq, self._services.now_us()))

    def _retry_turn(self, message: RetryTurn) -> None:
        self._commit(self._core.begin_again(message.turn_seq, self._services.now_us()))

    def _start_isolated(self, message: StartIsolated) -> None:
        step = self._core.begin_isolated(message.turn_seq, self._services.now_us())
        if not step.effects:
            self._services.runner.release(self._core.session_id)
        self._commit(step)

    def _reported(self, message: DeliveryReported) -> None:
        seq = _seq_of(message.delivery_id)
        services = self._services
        step = self._core.report(seq, message, services.now_us(), go_on=not services.stopping)
        self._commit(step)

    def _may_retry(self, message: MayRetry) -> None:
        seq = _seq_of(message.delivery_id)
        step = self._core.may_retry(seq, message.attempt, self._services.now_us())
        self._commit(step, self.take_reply())

    def _send(self, message: SendMessage) -> None:
        place = message.to or self._core.active_channel
        seq, step = self._core.send(message.text, place, self._services.now_us())
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
        if store.get(Table.TROUBLE, log_key(self._stream, seq)) is None:
            status: OutcomeStatus = "rendered" if address_of(record) is None else "delivered"
            return Outcome(status=status, reason="already_arrived", delivery_id=delivery_id)
        step = self._core.open_delivery_again(seq, record, self._services.now_us())
        self._await_outcome(seq, self.take_reply())
        self._commit(step)
        return None

    def _passivate(self, message: Passivate) -> None:
        if self._core.idle and not self._in_flight and not self._waiting:
            self._submit(Batch(), self._leave)
        else:
            self._services.registry.tell(StayedAwake(session_id=message.session_id))

    def _leave(self, _error: StorageError | None) -> None:
        """All that was decided here is durable: whoever loads the session next will find it."""
        if self.actor_ref.is_alive():
            self._services.registry.tell(Passivated(session_id=self._core.session_id))
            self.stop()

    def _begin_anew(self) -> None:
        session_id = self._core.session_id
        self._services.registry.tell(Passivated(session_id=session_id))
        if self._services.store.failure is None:
            self._services.runner.later(_COME_BACK_AFTER_S, Wake(session_id=session_id))

    def _find(self, _message: FindSession) -> ActorRef[Any]:
        return self.actor_ref

    def _here(self, _message: Wake | CatchUp) -> None:
        """Being in memory, and having come so far, is all that was asked."""

    # -- the output gate -------------------------------------------------------------------------

    def _commit(self, step: Step, answer: TrioFuture[Any] | None = None) -> None:
        if step.records or step.effects:
            self._submit(
                batch_for(self._stream, self._core, step),
                partial(self._durable, step.effects, answer),
            )

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
        for effect in effects:
            # Its successor goes on with what is stored, but does not know who waits for an answer.
            if alive or type(effect) is AnswerAccepted:
                self._EFFECTS[type(effect)](self, effect, answer)

    def _undurable(self, answer: TrioFuture[Any] | None, error: StorageError) -> None:
        """What was decided is not stored: forget it, and begin again from what is."""
        if answer is not None:
            refused = Overloaded if isinstance(error, Conflict) else ShuttingDown
            fault = refused(f"{self} could not store it: {error}")
            fault.__cause__ = error
            answer.fail(fault)
        if self.actor_ref.is_alive():
            self._begin_anew()
            self.stop()

    def _answer_accepted(self, effect: AnswerAccepted, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(effect.accepted)

    def _answer_may_retry(self, effect: AnswerMayRetry, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            answer.resolve(effect.granted)

    def _start_turn(self, effect: StartTurn, _answer: object) -> None:
        try:
            turn = effect.turn or self._turn_at(effect.seq)
        except StorageError as error:
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
        place = effect.turn.address
        post = self._services.post
        if place.instance in post.hearers:
            ended = TurnEnded(
                turn_id=TurnId(f"{self._core.session_id}/{effect.seq}"),
                address=place,
                status=effect.status,
                delivery_id=self._delivery_id(effect.delivery_seq) if effect.delivery_seq else None,
            )
            with suppress(ActorDeadError):  # a stopping channel need not know
                post.channels[place.instance].tell(ended)

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
        deliver = Deliver(
            session_id=self._core.session_id,
            delivery_id=self._delivery_id(effect.seq),
            address=place,
            text=record.text,
            asked_at_us=asked_at_us,
            reply_to=record.reply_to,
            attempt=effect.attempt,
            ambiguous=effect.ambiguous,
        )
        post = self._services.post
        target = post.feed if place is None else post.channels.get(place.instance)
        if target is None:
            self._undeliverable(effect, "no_such_channel")
            return
        with suppress(ActorDeadError):  # the channel has stopped: the delivery stays open
            target.tell(deliver)

    def _undeliverable(self, effect: Dispatch, reason: str) -> None:
        report = DeliveryReported(
            session_id=self._core.session_id,
            delivery_id=self._delivery_id(effect.seq),
            attempt=effect.attempt,
            status="failed",
            reason=reason,
        )
        self.actor_ref.tell(report)

    def _settle_delivery(self, effect: SettleDelivery, _answer: object) -> None:
        future = self._waiting.pop(effect.seq, None) if self._waiting else None
        if future is not None:
            report = effect.report
            future.resolve(
                Outcome(
                    status=report.status,
                    reason=report.reason,
                    platform_message_id=report.platform_message_id,
                    delivery_id=report.delivery_id,
                )
            )
            if not self._waiting:
                self._waiting = None

    # -- small things ----------------------------------------------------------------------------

    def _delivery_id(self, seq: int) -> DeliveryId:
        return DeliveryId(f"{self._core.session_id}/{seq}")

    def _await_outcome(self, seq: int, answer: TrioFuture[Any] | None) -> None:
        if answer is not None:
            if self._waiting is None:
                self._waiting = {}
            self._waiting[seq] = answer

    def _open_turn(self) -> InboundTurn | None:
        seq = self._core.oldest_open_turn
        return self._turn_at(seq) if seq else None

    def _turn_at(self, seq: int) -> InboundTurn:
        record = load_record(self._services.store, self._stream, seq)
        if not isinstance(record, UserRecord):
            raise CorruptRecord(f"record {self._stream}/{seq} is no inbound turn")
        return turn_of(record)

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        Accept: _accept,
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
    }

    _EFFECTS: ClassVar[dict[type, Callable[[Any, Any, Any], None]]] = {
        AnswerAccepted: _answer_accepted,
        AnswerMayRetry: _answer_may_retry,
        StartTurn: _start_turn,
        IsolateTurn: _isolate_turn,
        PauseTurn: _pause_turn,
        EndTurn: _end_turn,
        Dispatch: _dispatch,
        SettleDelivery: _settle_delivery,
    }


def _seq_of(delivery_id: DeliveryId) -> int:
    """Sequence number in a delivery's id; 0, which no record has, if it holds none."""
    seq = delivery_id.rpartition("/")[2]
    return int(seq) if seq.isdecimal() and len(seq) <= _MAX_DIGITS else 0
