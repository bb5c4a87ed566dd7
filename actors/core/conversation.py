"""The brain of a session: what each event appends to its log, and what follows from that.

Pure: no clock, no store, no channel. Every decision appends records, and durable state changes
only by applying a record, so that replaying a log gives the very state that wrote it. Methods
return a :class:`~.effects.Step`; its effects are to be performed once its records are durable.

Turns are dealt with here: they run one at a time in the order of their acceptance. What a session
says is dealt with in :mod:`.outgoing`, what happens to it otherwise in :mod:`.context_keeper`.
"""

from __future__ import annotations

from typing import Final

from ..messages import (
    Accepted,
    Address,
    AgentReply,
    AnyTurn,
    InboundTurn,
    MissionTurn,
    SessionId,
    TurnId,
)
from .context_keeper import ContextKeeper
from .effects import (
    AnswerAccepted,
    AnswerMission,
    AskCompaction,
    EndCommand,
    EndTurn,
    IsolateTurn,
    PauseTurn,
    StartTurn,
    Step,
)
from .heard import user_record
from .ownership_records import ActiveRecord
from .reset import ResetPolicy, reset_due
from .session_commands import ANSWERS, SessionVerb, command_record
from .turn_records import (
    AttemptRecord,
    FailureRecord,
    InterruptedRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
)

__all__ = ["INTERRUPTED", "MAX_ATTEMPTS", "Conversation", "retry_pause_s"]

MAX_ATTEMPTS: Final = 3
"""How often a turn is given to the agent before it is quarantined."""

INTERRUPTED: Final = "interrupted by the end of the process: a mission's run is never repeated"
_ERROR_CHARS: Final = 2_000
"""Longest error text kept in the log: enough for a message, too little for a dump."""


def retry_pause_s(attempt: int) -> float:
    """Seconds between attempt number `attempt` of a turn, which failed, and the next one."""
    return min(0.5 * 2.0 ** (attempt - 1), 30.0)


class Conversation(ContextKeeper):
    """One session, and what it makes of each event."""

    __slots__ = ()

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

    def resume(self, turn_at: AnyTurn | None, now_us: int) -> Step:
        """The process has started again: go on with what is open.

        The oldest open turn is taken to have been begun before, because it may have been, unless
        the log says otherwise; a mission's run that may have been begun is over.

        Args:
            turn_at: the oldest open turn, if any.
            now_us: the time.
        """
        step = Step(self.next_seq)
        if self._open and turn_at is not None:
            self._resume_turn(step, self._open[0], turn_at, now_us)
        self._go_on_sending(step, now_us)
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
