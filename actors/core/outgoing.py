"""What a session says, and what becomes of that.

The part of :class:`~.conversation.Conversation` that deals with deliveries. They leave one at a
time for each place, in the order in which they were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..deliveries import DeliveryReported
from ..messages import Address, Attachment, SessionId
from .delivery_records import DeliveryRecord, ReceiptRecord, ReopenedRecord
from .effects import AnswerMayRetry, Dispatch, SettleDelivery, Step
from .heard import flat_files
from .outbox import FINAL_STATUSES
from .records import Record
from .state import State, Target
from .turn_records import AssistantRecord

__all__ = ["Outgoing"]


class Outgoing(State):
    """A session that says something, and is told what became of it."""

    __slots__ = ()

    def _record(self, step: Step, record: Record) -> int:
        """Append `record`, and let the state be what it says; return its sequence number."""
        step.records.append(record)
        return self.apply(record)

    def send(
        self,
        text: str,
        to: Address | None,
        now_us: int,
        *,
        by: str | None = None,
        during: int = 0,
        route: str | None = None,
        reply_to: str | None = None,
        files: Sequence[Attachment] = (),
    ) -> tuple[int, Step]:
        """Say something that is no answer to a turn.

        Args:
            text: what to say.
            to: where; None for the active channel, and the feed if there is none.
            now_us: the time.
            by: who asked for it.
            during: the turn in which the agent asked for it; 0 for none.
            route: how the place was found.
            reply_to: the platform's id of the message that it answers; None for none.
            files: what goes with it; all of it is kept.

        Returns:
            The sequence number of the delivery, and the step.
        """
        step = Step(self.next_seq)
        target = to if to is not None else self.target
        if route is None:
            route = "feed" if target[0] is None else "active channel"
        seq = self._say(
            step,
            text,
            target,
            now_us,
            reply_to=reply_to,
            by=by,
            during=during,
            route=route,
            files=files,
        )
        return seq, step

    def _say(  # noqa: PLR0913  (the fields of one record)
        self,
        step: Step,
        text: str,
        target: Target,
        now_us: int,
        turn_seq: int = 0,
        reply_to: str | None = None,
        *,
        by: str | None = None,
        during: int = 0,
        route: str | None = None,
        saw: tuple[Any, ...] | None = None,
        files: Sequence[Attachment] = (),
    ) -> int:
        instance, conversation, thread = target
        record = AssistantRecord(
            at_us=now_us,
            text=text,
            turn_seq=turn_seq,
            instance=instance,
            conversation=conversation,
            thread=thread,
            reply_to=reply_to,
            by=by,
            during=during,
            route=route,
            saw=saw,
            attachments=flat_files(files),
        )
        seq = self._record(step, record)
        if self._outbox and self._outbox.is_first(seq):
            step.effects.append(Dispatch(seq, record))
        return seq

    def _announce(
        self, step: Step, text: str, place: Address, now_us: int, reply_to: str | None = None
    ) -> int:
        """Say something for the runtime itself: no window shows it."""
        return self._say(
            step, text, place, now_us, reply_to=reply_to, by="runtime", route="command"
        )

    def receipt(self, record: ReceiptRecord) -> Step:
        """The platform has told more of a delivery that was over."""
        step = Step(self.next_seq)
        self._record(step, record)
        return step

    def report(
        self,
        seq: int,
        report: DeliveryReported,
        now_us: int,
        *,
        go_on: bool = True,
        noted: tuple[SessionId, int] | None = None,
    ) -> Step:
        """A channel tells what became of an attempt at delivery `seq`. Old news change nothing.

        Args:
            seq: the delivery.
            report: what became of the attempt.
            now_us: the time.
            go_on: whether the next delivery of the lane may begin; else the next start begins it.
            noted: the session that has a note of it in the same batch, and the note's number.
        """
        step = Step(self.next_seq)
        if self._outbox is not None and self._outbox.is_sending(seq):
            self._report(step, seq, report, now_us, go_on=go_on, noted=noted)
        return step

    def _report(
        self,
        step: Step,
        seq: int,
        report: DeliveryReported,
        now_us: int,
        *,
        go_on: bool,
        noted: tuple[SessionId, int] | None = None,
    ) -> None:
        outbox = self._outbox
        assert outbox is not None  # the delivery is in it
        place = outbox.place_of(seq)
        self._record(
            step,
            DeliveryRecord(
                at_us=now_us,
                delivery_seq=seq,
                status=report.status,
                attempt=report.attempt,
                reason=report.reason,
                platform_message_id=report.platform_message_id,
                may_have_arrived=report.may_have_arrived,
                parts=report.parts,
                noted_in=noted[0] if noted is not None else None,
                noted_seq=noted[1] if noted is not None else 0,
            ),
        )
        step.effects.append(SettleDelivery(seq, report, noted[0] if noted is not None else None))
        if report.status in FINAL_STATUSES and (following := outbox.first_waiting(place)):
            if go_on:
                self._begin_sending(step, following, 1, now_us)
                step.effects.append(self._dispatch(following))
            else:
                self._put_off(step, following, now_us)

    def may_retry(self, seq: int, attempt: int, now_us: int) -> Step:
        """A channel's pause is over: record that attempt number `attempt` begins."""
        step = Step(self.next_seq)
        granted = self._outbox is not None and self._outbox.is_paused(seq)
        if granted:
            self._begin_sending(step, seq, attempt, now_us)
        step.effects.append(AnswerMayRetry(granted))
        return step

    def may_not_retry(self, seq: int, report: DeliveryReported, now_us: int) -> Step:
        """A channel's pause is over, and delivery `seq` may not go out any more: `report` why."""
        step = Step(self.next_seq)
        if self._outbox is not None and self._outbox.is_paused(seq):
            self._begin_sending(step, seq, report.attempt, now_us)
            self._report(step, seq, report, now_us, go_on=True)
        step.effects.append(AnswerMayRetry(False))
        return step

    def open_delivery_again(
        self,
        seq: int,
        record: AssistantRecord,
        now_us: int,
        *,
        duplicate: bool = False,
        parts: tuple[str, ...] = (),
    ) -> Step:
        """The operator wants delivery `seq` to be tried again.

        Args:
            seq: the delivery.
            record: which asked for it.
            now_us: the time.
            duplicate: whether it may have arrived before, and is to be marked for the reader.
            parts: the platform's ids of what has arrived of it.
        """
        step = Step(self.next_seq)
        if self.has_open_delivery(seq):
            return step
        self._record(
            step,
            ReopenedRecord(
                at_us=now_us,
                delivery_seq=seq,
                instance=record.instance,
                conversation=record.conversation,
                thread=record.thread,
                duplicate=duplicate,
                parts=parts,
            ),
        )
        if self._outbox and self._outbox.is_first(seq):
            self._begin_sending(step, seq, 1, now_us)
            step.effects.append(self._dispatch(seq, record))
        return step

    def _go_on_sending(self, step: Step, now_us: int) -> None:
        """The process has started again: begin the first delivery of each lane, or go on with it.

        One that was under way, or was left unanswered before, is dispatched as ambiguous: its
        channel knows what to do.
        """
        for first in self._outbox.firsts() if self._outbox else ():
            if not first.sending:
                self._begin_sending(step, first.seq, first.attempt, now_us)
            step.effects.append(
                Dispatch(
                    first.seq,
                    None,
                    first.attempt,
                    ambiguous=first.ambiguous,
                    duplicate=first.duplicate,
                    parts=first.parts,
                )
            )

    def _dispatch(self, seq: int, record: AssistantRecord | None = None) -> Dispatch:
        """The effect that begins delivery `seq`, the first of its lane, from where it stands."""
        assert self._outbox is not None  # the delivery is in it
        first = self._outbox.first(seq)
        return Dispatch(seq, record, duplicate=first.duplicate, parts=first.parts)

    def _begin_sending(self, step: Step, seq: int, attempt: int, now_us: int) -> None:
        self._record(
            step,
            DeliveryRecord(at_us=now_us, delivery_seq=seq, status="sending", attempt=attempt),
        )

    def _put_off(self, step: Step, seq: int, now_us: int) -> None:
        """Write down that delivery `seq`, the first of its lane now, has not been begun."""
        self._record(
            step,
            DeliveryRecord(
                at_us=now_us, delivery_seq=seq, status="retrying", attempt=0, reason="stopping"
            ),
        )
