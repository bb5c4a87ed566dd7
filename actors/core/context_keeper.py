"""What happens to a session besides its turns and its deliveries.

The part of :class:`~.conversation.Conversation` that deals with what belongs to the session, and
with what its agent is shown of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..messages import Cleared, MessageChange
from .compaction import Base
from .delivery_records import NoteRecord
from .effects import AnswerChanged, AnswerCleared, AnswerMirrored, AnswerSummarised, Step, TellNote
from .outgoing import Outgoing
from .ownership_records import ActiveRecord, BoundRecord
from .view_records import ChangedRecord, ClearRecord, ForgottenRecord, MemoryRecord, SummaryRecord

__all__ = ["ContextKeeper"]


class ContextKeeper(Outgoing):
    """A session whose places change, and whose context takes notes, begins anew, is summarised."""

    __slots__ = ()

    def bind(self, record: BoundRecord, notes: Sequence[NoteRecord] = ()) -> Step:
        """One more conversation belongs to this session; `notes` of it have waited for that."""
        step = Step(self.next_seq)
        self._record(step, record)
        for note in notes:
            step.effects.append(TellNote(self._record(step, note)))
        return step

    def hear(self, note: NoteRecord) -> Step:
        """Somebody else has said something in a conversation of this session."""
        step = Step(self.next_seq)
        step.effects.append(AnswerMirrored(self._record(step, note)))
        return step

    def aim(self, active: ActiveRecord) -> Step:
        """The active channel is set by an explicit act."""
        step = Step(self.next_seq)
        self._record(step, active)
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
