"""The brain of a session: what each event appends to its log, and what follows from that.

Pure: no clock, no store, no channel. Every decision appends records, and durable state changes
only by applying a record, so that replaying a log gives the very state that wrote it. Methods
return a :class:`~.effects.Step`; its effects are to be performed once its records are durable.

Turns run one at a time in the order of their acceptance. Deliveries leave one at a time for each
place, in the order in which they were asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..deliveries import DeliveryReported
from ..messages import (
    Accepted,
    Address,
    AgentReply,
    AnyTurn,
    Attachment,
    Cleared,
    InboundTurn,
    MessageChange,
    MissionTurn,
    SessionId,
    TurnId,
)
from .compaction import Base
from .delivery_records import DeliveryRecord, NoteRecord, ReceiptRecord, ReopenedRecord
from .effects import (
    AnswerAccepted,
    AnswerChanged,
    AnswerCleared,
    AnswerMayRetry,
    AnswerMirrored,
    AnswerMission,
    AnswerSummarised,
    AskCompaction,
    Dispatch,
    EndCommand,
    EndTurn,
    IsolateTurn,
    PauseTurn,
    SettleDelivery,
    StartTurn,
    Step,
    TellNote,
)
from .heard import flat_files, user_record
from .outbox import FINAL_STATUSES
from .ownership_records import ActiveRecord, BoundRecord
from .records import Record
from .reset import ResetPolicy, reset_due
from .session_commands import ANSWERS, SessionVerb, command_record
from .state import State, Target
from .turn_records import (
    AssistantRecord,
    AttemptRecord,
    FailureRecord,
    InterruptedRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
)
from .view_records import ChangedRecord, ClearRecord, ForgottenRecord, MemoryRecord, SummaryRecord

__all__ = ["INTERRUPTED", "MAX_ATTEMPTS", "Conversation", "retry_pause_s"]

MAX_ATTEMPTS: Final = 3
"""How often a turn is given to the agent before it is quarantined."""

INTERRUPTED: Final = "interrupted by the end of the process: a mission's run is never repeated"
_ERROR_CHARS: Final = 2_000
"""Longest error text kept in the log: enough for a message, too little for a dump."""


def retry_pause_s(attempt: int) -> float:
    """Seconds between attempt number `attempt` of a turn, which failed, and the next one."""
    return min(0.5 * 2.0 ** (attempt - 1), 30.0)


class Conversation(State):
    """One session, and what it makes of each event."""

    __slots__ = ()

    def _record(self, step: Step, record: Record) -> int:
        step.records.append(record)
        return self.apply(record)

    def bind(self, record: BoundRecord, notes: Sequence[NoteRecord] = ()) -> Step:
        """One more conversation belongs to this session; `notes` of it have waited for that."""
        step = Step(self.next_seq)
        self._record(step, record)
        for note in notes:
            step.effects.append(TellNote(self._record(step, note)))
        return step

    def accept(self, turn: InboundTurn, now_us: int, reset: ResetPolicy | None = None) -> Step:
        """A human has said something that was not seen before; its record is the step's last.

        Args:
            turn: what was said.
            now_us: the time.
            reset: by which the context may begin anew before; that is announced where this was
                said. It never does while a turn is open, or where it is empty.
        """
        step = Step(self.next_seq)
        was_idle = not self._open
        if reset is not None and was_idle and self.settled and self.context_messages:
            self._reset_if_due(step, reset, turn.address, now_us)
        seq = self._record(step, user_record(turn, now_us))
        step.effects.append(AnswerAccepted(_accepted(self.session_id, seq, duplicate=False)))
        if was_idle:
            self.running = seq
            step.effects.append(StartTurn(seq, turn, 1))
        return step

    def _reset_if_due(self, step: Step, reset: ResetPolicy, place: Address, now_us: int) -> None:
        if why := reset_due(reset, self.last_turn_us, now_us):
            self._clear(step, why, now_us)
            self._announce(step, reset.notice, place, now_us)

    def accept_again(self, session_id: SessionId, seq: int) -> Step:
        """A human's message was delivered again; record `seq` of `session_id` holds it."""
        step = Step(self.next_seq)
        step.effects.append(AnswerAccepted(_accepted(session_id, seq, duplicate=True)))
        return step

    def run_mission(
        self, turn: MissionTurn, active: ActiveRecord | None, by: str, now_us: int
    ) -> Step:
        """A mission's tick: give the agent its prompt, once.

        Args:
            turn: the run.
            active: where its messages go from now on; None where they have gone before.
            by: `schedule`, or whoever asked for this run.
            now_us: the time.
        """
        step = Step(self.next_seq)
        was_idle = not self._open
        if active is not None:
            self._record(step, active)
        record = MissionRecord(
            at_us=now_us,
            text=turn.text,
            mission=turn.mission,
            run=turn.run,
            due_us=turn.due_us,
            by=by,
        )
        seq = self._record(step, record)
        step.effects.append(AnswerMission(TurnId(f"{self.session_id}/{seq}")))
        if was_idle:
            self.running = seq
            step.effects.append(StartTurn(seq, turn, 1))
        return step

    def aim(self, active: ActiveRecord) -> Step:
        """The active channel is set by an explicit act."""
        step = Step(self.next_seq)
        self._record(step, active)
        return step

    def hear(self, note: NoteRecord) -> Step:
        """Somebody else has said something in a conversation of this session."""
        step = Step(self.next_seq)
        step.effects.append(AnswerMirrored(self._record(step, note)))
        return step

    def change(self, seq: int, change: MessageChange, now_us: int, *, summarised: bool) -> Step:
        """The author of message `seq`, or a moderator, has changed it.

        No turn begins by that. An agent that may have seen the message learns of it before its next
        turn; where none has, the turn is given to it as it is now.

        Args:
            seq: the message.
            change: what was done; it is allowed, and was not heard before.
            now_us: the time.
            summarised: whether the summary that holds may tell of the message.
        """
        step = Step(self.next_seq)
        shown = "later"
        if self.is_waiting(seq):
            shown = "instead"
        elif seq <= self.cleared_turn and seq != self.oldest_open_turn:
            shown = "nowhere"
        record = ChangedRecord(
            at_us=now_us,
            message_seq=seq,
            change_id=change.change_id,
            text=change.text,
            by=change.user_id,
            shown=shown,
            was_summarised=summarised and change.text is None,
        )
        step.effects.append(AnswerChanged(self._record(step, record)))
        return step

    def command(self, command: SessionVerb, turn: InboundTurn, now_us: int) -> Step:
        """A human has asked the runtime for something; its record is the step's first.

        It is answered at once, whatever the agent is doing. A turn that has begun keeps what it
        sees; those that wait begin after it.
        """
        step = Step(self.next_seq)
        seq = self._record(step, command_record(command, turn, now_us))
        step.effects.append(AnswerAccepted(_accepted(self.session_id, seq, duplicate=False)))
        if command == "new":
            self._clear(step, "user", now_us)
        said = self._announce(step, ANSWERS[command], turn.address, now_us, turn.message_id)
        if command == "compact":
            step.effects.append(AskCompaction(turn.address, turn.message_id))
        step.effects.append(EndCommand(seq, turn.address, said))
        return step

    def _announce(
        self, step: Step, text: str, place: Address, now_us: int, reply_to: str | None = None
    ) -> int:
        """Say something for the runtime itself: no window shows it."""
        return self._say(
            step, text, place, now_us, reply_to=reply_to, by="runtime", route="command"
        )

    def clear(self, by: str, now_us: int) -> Step:
        """Let the context begin anew."""
        step = Step(self.next_seq)
        seq = self._clear(step, by, now_us)
        step.effects.append(AnswerCleared(Cleared(session_id=self.session_id, seq=seq)))
        return step

    def _clear(self, step: Step, by: str, now_us: int) -> int:
        marker = ClearRecord(at_us=now_us, by=by, cleared=self.cleared, summary=self.summary)
        return self._record(step, marker)

    def keep(self, record: MemoryRecord | ForgottenRecord) -> Step:
        """What the agent keeps of this session has changed."""
        step = Step(self.next_seq)
        self._record(step, record)
        return step

    def summarise(self, record: SummaryRecord, base: Base, notice: str | None = None) -> Step:
        """Let the context begin with a summary of its older part, if it is still that context.

        Args:
            record: the summary.
            base: what it was made from.
            notice: what the human is told; None for nothing.
        """
        step = Step(self.next_seq)
        if base != self.base:
            step.effects.append(AnswerSummarised(0))
            return step
        step.effects.append(AnswerSummarised(self._record(step, record)))
        place = self.active_channel
        if notice is not None and place is not None:
            self._announce(step, notice, place, record.at_us)
        return step

    def receipt(self, record: ReceiptRecord) -> Step:
        """The platform has told more of a delivery that was over."""
        step = Step(self.next_seq)
        self._record(step, record)
        return step

    def finish(self, seq: int, turn: AnyTurn, reply: AgentReply, now_us: int) -> Step:
        """The agent has returned from the turn of record `seq`."""
        step = Step(self.next_seq)
        if self.running != seq:
            return step
        for call in reply.tools:
            self._record(
                step,
                ToolRecord(
                    at_us=now_us,
                    turn_seq=seq,
                    name=call.name,
                    arguments=call.arguments,
                    result=call.result,
                ),
            )
        text = reply.text if reply.text and not reply.text.isspace() else ""
        if text or reply.attachments:
            asked = turn if isinstance(turn, InboundTurn) else None
            said = self._say(
                step,
                text,
                asked.address if asked is not None else self.target,
                now_us,
                seq,
                asked.message_id if asked is not None else None,
                saw=reply.saw,
                files=reply.attachments,
            )
            step.effects.append(EndTurn(seq, turn, "answered", said))
        else:
            self._record(step, SilentRecord(at_us=now_us, turn_seq=seq, saw=reply.saw))
            step.effects.append(EndTurn(seq, turn, "silent"))
        self._start_next(step)
        return step

    def fail(
        self,
        seq: int,
        turn: AnyTurn | None,
        error: str,
        now_us: int,
        *,
        retryable: bool,
        notice: str | None = None,
    ) -> Step:
        """The agent failed on the turn of record `seq`.

        Args:
            seq: the turn's user record.
            turn: the turn; None if its record cannot be read.
            error: what to write down.
            now_us: the time.
            retryable: whether another attempt could end otherwise.
            notice: what to tell the human if the turn is given up; None for nothing.
        """
        step = Step(self.next_seq)
        if self.running != seq:
            return step
        error = error[:_ERROR_CHARS]
        if retryable and self.attempts < MAX_ATTEMPTS:
            attempt = self.attempts
            self._record(
                step, FailureRecord(at_us=now_us, turn_seq=seq, attempt=attempt, error=error)
            )
            self.running = 0
            step.effects.append(PauseTurn(seq, retry_pause_s(attempt)))
            return step
        said = 0
        self._quarantine(step, seq, error, now_us)
        if notice and isinstance(turn, InboundTurn):
            said = self._say(step, notice, turn.address, now_us, by="runtime", route="reply")
        if turn is not None:
            step.effects.append(EndTurn(seq, turn, "quarantined", said, error))
        self._start_next(step)
        return step

    def _quarantine(self, step: Step, seq: int, error: str, now_us: int) -> None:
        self._record(
            step,
            QuarantinedRecord(at_us=now_us, turn_seq=seq, attempts=self.attempts, error=error),
        )

    def begin_again(self, seq: int, now_us: int) -> Step:
        """The pause after a failed attempt is over.

        The new attempt is recorded, so that a restart during the pause does not count as one.
        """
        step = Step(self.next_seq)
        if self._open and self._open[0] == seq and not self.running:
            self._begin_attempt(step, seq, now_us)
        return step

    def begin_isolated(self, seq: int, now_us: int) -> Step:
        """No other last attempt runs: the one of record `seq` may begin."""
        step = Step(self.next_seq)
        if self._open and self._open[0] == seq and not self.running:
            self._begin_attempt(step, seq, now_us, isolated=True)
        return step

    def interrupt(self, seq: int, turn: AnyTurn, now_us: int) -> Step:
        """The stopping runtime has taken the turn of record `seq` away from the agent.

        A human's turn is begun again at the next start; a mission's run is over.
        """
        step = Step(self.next_seq)
        if self.running == seq and isinstance(turn, MissionTurn):
            self._give_up_run(step, seq, turn, now_us)
            if self._open:  # its turn has come, and it is not begun any more
                self._record(step, InterruptedRecord(at_us=now_us, turn_seq=self._open[0]))
        elif self.running == seq:
            self.running = 0
            self._record(step, InterruptedRecord(at_us=now_us, turn_seq=seq))
        return step

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

    def resume(self, turn_at: AnyTurn | None, now_us: int) -> Step:
        """The process has started again: go on with what is open.

        The oldest open turn is taken to have been begun before, because it may have been, unless
        the log says otherwise; a mission's run that may have been begun is over. A
        delivery that was under way, or was left unanswered before, is dispatched as ambiguous:
        its channel knows what to do.

        Args:
            turn_at: the oldest open turn, if any.
            now_us: the time.
        """
        step = Step(self.next_seq)
        if self._open and turn_at is not None:
            self._resume_turn(step, self._open[0], turn_at, now_us)
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
        return step

    def _give_up_run(self, step: Step, seq: int, turn: MissionTurn, now_us: int) -> None:
        """End a mission's run that was, or may have been, begun and not ended."""
        self._quarantine(step, seq, INTERRUPTED, now_us)
        step.effects.append(EndTurn(seq, turn, "quarantined", error=INTERRUPTED))

    def _resume_turn(self, step: Step, seq: int, turn: AnyTurn, now_us: int) -> None:
        if isinstance(turn, MissionTurn) and self.attempts:
            self._give_up_run(step, seq, turn, now_us)
            self._start_next(step)
        elif self.attempts >= MAX_ATTEMPTS:
            error = f"the process died during each of {self.attempts} attempts"
            self._quarantine(step, seq, error, now_us)
            step.effects.append(EndTurn(seq, turn, "quarantined", error=error))
            self._start_next(step)
        elif self.attempts == MAX_ATTEMPTS - 1:
            step.effects.append(IsolateTurn(seq))
        else:
            self._begin_attempt(step, seq, now_us)

    def _begin_attempt(self, step: Step, seq: int, now_us: int, *, isolated: bool = False) -> None:
        attempt = self.attempts + 1
        self._record(step, AttemptRecord(at_us=now_us, turn_seq=seq, attempt=attempt))
        self.running = seq
        step.effects.append(StartTurn(seq, None, attempt, isolated))

    def _start_next(self, step: Step) -> None:
        if self._open:
            self.running = self._open[0]
            step.effects.append(StartTurn(self.running, None, 1))


def _accepted(session_id: SessionId, seq: int, *, duplicate: bool) -> Accepted:
    return Accepted(
        session_id=session_id, turn_id=TurnId(f"{session_id}/{seq}"), duplicate=duplicate
    )
