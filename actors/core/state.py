"""What a session is, according to its log: the state that every record changes.

Pure. Live and in replay alike, state changes only by applying a record; a head keeps what is
needed to go on without reading the whole log.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, Self, TypeAlias

from ..messages import Address, SessionId
from .delivery_records import DeliveryRecord, NoteRecord, ReceiptRecord, ReopenedRecord
from .head import Head
from .lifecycle import Phase, follow
from .outbox import Outbox
from .ownership_records import (
    ActiveRecord,
    BoundRecord,
    HiddenRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from .records import Record, address_of
from .turn_records import (
    AssistantRecord,
    AttemptRecord,
    FailureRecord,
    InterruptedRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from .view_records import ChangedRecord, ClearRecord, CommandRecord, SummaryRecord
from .weight import weight_of

__all__ = ["State", "Target"]

Target: TypeAlias = tuple[str | None, str | None, str | None]
"""Instance, conversation and thread; None for the feed, and where nobody is to address."""

_NOWHERE: Final = (None, None, None)


class State:
    """State of one session, changed by :meth:`apply` alone."""

    __slots__ = (
        "_active",
        "_covered_bound",
        "_covered_messages",
        "_hidden",
        "_joined",
        "_open",
        "_opened_at_us",
        "_outbox",
        "_unseen",
        "_waiting_bound",
        "_weights",
        "agent",
        "attempts",
        "changed",
        "cleared",
        "cleared_turn",
        "context_bound",
        "context_messages",
        "deletions",
        "last_active_us",
        "last_turn_us",
        "merged_into",
        "next_seq",
        "phase",
        "running",
        "session_id",
        "settled",
        "summary",
    )

    def __init__(self) -> None:
        self.session_id = SessionId("")
        self.agent = ""
        self.last_active_us = 0
        self.next_seq = 1
        self.settled = 0
        """Sequence number of the newest user record whose turn is over."""
        self.attempts = 0
        """How often the oldest open turn has been begun."""
        self.running = 0
        """Sequence number of the user record that the agent has now, or 0. Not durable."""
        self._opened_at_us = 0
        self._active: Target = _NOWHERE
        self.context_bound = 0
        """How many tokens the context takes at most, joined logs not counted."""
        self.context_messages = 0
        self._covered_bound = 0
        self._covered_messages = 0
        self.summary = 0
        """Sequence number of the summary that the context begins with, or 0."""
        self.phase: Phase = "created"
        self.last_turn_us = 0
        """When a turn was accepted or ended, or older messages summarised, for the last time."""
        self._joined: dict[int, str] | None = None
        self._hidden: tuple[tuple[str, str, int, int], ...] | None = None
        self.merged_into: str | None = None
        """The session that this one goes on in, once it owns no conversation any more."""
        self.cleared = 0
        """Sequence number of the newest record after which the context begins, or 0."""
        self.cleared_turn = 0
        """The newest turn that had begun then, or 0."""
        self.changed = 0
        """Sequence number of the newest change of a message, or 0."""
        self.deletions = 0
        """How many changes were deletions."""
        self._open: deque[int] | None = None
        self._weights: deque[int] | None = None
        """What the message of each open turn takes at most."""
        self._waiting_bound = 0
        self._unseen = (0, 0)
        """What others have said since the last turn began takes so much at most, and how many
        messages it is: a marker leaves it in the context."""
        self._outbox: Outbox | None = None

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.session_id} next={self.next_seq} settled={self.settled} "
            f"open={list(self._open or ())} running={self.running} attempts={self.attempts} "
            f"outbox={self._outbox}>"
        )

    # -- what is kept ----------------------------------------------------------------------------

    @classmethod
    def from_head(cls, head: Head, open_records: Iterable[tuple[int, Record]] = ()) -> Self:
        """The state that `head` tells of, with the work that the records since then left open.

        Args:
            head: the newest head.
            open_records: every record from `head.open_since` on; none if that is 0.
        """
        self = cls()
        self.session_id = SessionId(head.session_id)
        self.agent = head.agent
        self._opened_at_us = head.opened_at_us
        self.settled = head.settled
        for seq, record in open_records:
            self.next_seq = seq
            self.apply(record)
        self.next_seq = head.next_seq
        self.last_active_us = head.last_active_us
        self._active = (head.instance, head.conversation, head.thread)
        self.context_bound = head.context_bound
        self.context_messages = head.context_messages
        self._covered_bound = head.covered_bound
        self._covered_messages = head.covered_messages
        self._unseen = (head.unseen_bound, head.unseen_messages)
        self.summary = head.summary
        self.phase = head.phase
        self.last_turn_us = head.last_turn_us
        self._joined = dict(head.joined) if head.joined else None
        self._hidden = head.hidden
        self.merged_into = head.merged_into
        self.cleared = head.cleared
        self.cleared_turn = head.cleared_turn
        self.changed = head.changed
        self.deletions = head.deletions
        return self

    def head(self) -> Head:
        """What must be kept so that the session can wake up without reading its whole log."""
        outbox = self._outbox
        return Head(
            self.session_id,
            self.agent,
            self._opened_at_us,
            self.last_active_us,
            self.next_seq,
            self.settled,
            len(self._open) if self._open else 0,
            self.attempts,
            outbox.oldest if outbox else 0,
            len(outbox) if outbox else 0,
            self.context_bound,
            *self._active,
            tuple(self._joined.items()) if self._joined else None,
            self._hidden,
            self.merged_into,
            self.cleared,
            self.phase,
            self.last_turn_us,
            self.context_messages,
            self.summary,
            self._covered_bound,
            self._covered_messages,
            *self._unseen,
            self.cleared_turn,
            self.changed,
            self.deletions,
        )

    @property
    def joins(self) -> bool:
        """Whether other logs are part of the context."""
        return self._joined is not None

    @property
    def base(self) -> tuple[int, int, int, tuple[int, ...]]:
        """What a summary of the context is made from: see `compaction.Base`."""
        joined = tuple(sorted(self._joined)) if self._joined else ()
        return self.summary, self.cleared, len(self._hidden or ()) + self.deletions, joined

    @property
    def idle(self) -> bool:
        """Whether nothing is open, so that the session may leave memory."""
        return not self._open and not self._outbox

    @property
    def open_turns(self) -> int:
        """How many accepted turns have not ended."""
        return len(self._open) if self._open else 0

    @property
    def waiting(self) -> tuple[int, int]:
        """What the turns take at most that have not begun, and how many they are.

        The context holds them, but the next window does not.
        """
        weights = self._weights
        if weights is None or len(weights) == 1:
            return 0, 0
        return self._waiting_bound, len(weights) - 1

    def has_open_delivery(self, seq: int) -> bool:
        """Whether the delivery that record `seq` asked for is not over."""
        return self._outbox is not None and seq in self._outbox

    def delivery_opened_by(self, seq: int) -> int:
        """Sequence number of the record since which delivery `seq` has been open."""
        return self._outbox.opened_by(seq) if self._outbox is not None else seq

    @property
    def active_channel(self) -> Address | None:
        """Where a proactive message goes."""
        return self.head().active_channel

    @property
    def target(self) -> Target:
        """Where a proactive message goes: an instance without a conversation where nobody is."""
        return self._active

    def apply(self, record: Record) -> int:
        """Change the state as `record` says; return the sequence number that it takes."""
        seq = self.next_seq
        self.next_seq = seq + 1
        match record:
            case UserRecord() | MissionRecord():
                self._apply_turn(seq, record)
            case AssistantRecord():
                self._show(record)
                if record.turn_seq:
                    self._settle(record.turn_seq, record.at_us)
                if self._outbox is None:
                    self._outbox = Outbox()
                self._outbox.enter(seq, address_of(record))
            case DeliveryRecord():
                self._apply_delivery(record)
            case ToolRecord():
                self._show(record)
            case SilentRecord() | QuarantinedRecord():
                self._settle(record.turn_seq, record.at_us)
            case AttemptRecord() | FailureRecord() | InterruptedRecord():
                self._apply_attempt(record)
            case ReopenedRecord():
                if self._outbox is None:
                    self._outbox = Outbox()
                self._outbox.reopen(
                    record.delivery_seq,
                    address_of(record),
                    since=seq,
                    duplicate=record.duplicate,
                    parts=tuple(record.parts),
                )
            case OpenedRecord():
                self.session_id = SessionId(record.session_id)
                self.agent = record.agent
                self._opened_at_us = self.last_active_us = record.at_us
            case _:
                self._apply_change(seq, record)
        return seq

    def _apply_change(self, seq: int, record: Record) -> None:
        """What others have changed: the conversations of this session, and its context."""
        match record:
            case BoundRecord():
                self.merged_into = None
            case ReleasedRecord():
                if self._active == (record.instance, record.conversation, record.thread):
                    self._active = _NOWHERE
                if record.merged:
                    self.merged_into = record.to_session
            case ActiveRecord():
                self._active = (record.instance, record.conversation, record.thread)
            case LinkedRecord():
                self._joined = {**(self._joined or {}), record.stream: record.session_id}
            case UnlinkedRecord():
                joined = self._joined or {}
                self._joined = {s: i for s, i in joined.items() if s != record.stream} or None
                self._void_summary()
            case HiddenRecord():
                entry = (record.platform, record.user_id, record.since_us, seq)
                self._hidden = (*(self._hidden or ()), entry)
                self._void_summary()
            case NoteRecord() | ReceiptRecord():
                if weight := self._show(record):
                    bound, messages = self._unseen
                    self._unseen = bound + weight, messages + 1
            case _:
                self._apply_view(seq, record)

    def _apply_view(self, seq: int, record: Record) -> None:
        """What moves the beginning of the context, and what no window shows."""
        match record:
            case ClearRecord():
                self.cleared, self.summary = seq, 0
                self.cleared_turn = self.oldest_open_turn or self.settled
                self.phase = follow(self.phase, "clear")
                # Turns that have not begun stay, and what no turn can have seen.
                bound, messages = self._unseen
                waiting_bound, waiting = self.waiting
                self.context_bound = waiting_bound + bound
                self.context_messages = waiting + messages
                self._covered_bound = self._covered_messages = 0
            case SummaryRecord():
                self._apply_summary(seq, record)
            case CommandRecord():
                self.last_active_us = record.at_us
            case ChangedRecord():
                self._apply_changed(seq, record)
            case _:
                pass  # who holds a key, and what is in memory, is kept elsewhere

    def _apply_changed(self, seq: int, record: ChangedRecord) -> None:
        self.changed = seq
        if record.text is None:
            self.deletions += 1
        if record.was_summarised:
            self._void_summary()
        if record.shown == "later":
            self._show(record)
        elif record.shown == "instead" and self.is_waiting(record.message_seq):
            assert self._open is not None  # else nothing waits
            assert self._weights is not None  # it is there as long as `_open` is
            weight = weight_of(record)
            self._weights[self._open.index(record.message_seq)] += weight
            self._waiting_bound += weight
            self.context_bound += weight

    def is_waiting(self, seq: int) -> bool:
        """Whether the turn of record `seq` is open and has not begun."""
        return self._open is not None and seq != self._open[0] and seq in self._open

    def _show(self, record: Record) -> int:
        """Count a record in the context; return what it takes at most."""
        if weight := weight_of(record):
            self.context_bound += weight
            self.context_messages += 1
        return weight

    def _apply_summary(self, seq: int, record: SummaryRecord) -> None:
        if record.previous != self.summary:
            self._void_summary()  # the one before it had lost what it was made of
        self.summary = seq
        self.phase = follow(self.phase, "summary")
        self.last_turn_us = max(self.last_turn_us, record.at_us)
        # One that somebody has made up may cover what was never there.
        bound = min(record.covered_bound - weight_of(record), self.context_bound)
        messages = min(record.covered_messages - 1, self.context_messages)
        self.context_bound -= bound
        self.context_messages -= messages
        self._covered_bound += bound
        self._covered_messages += messages

    def _void_summary(self) -> None:
        """Something that the summary may tell is not to be told any more."""
        if self.summary:
            self.summary = 0
            self.context_bound += self._covered_bound
            self.context_messages += self._covered_messages
            self._covered_bound = self._covered_messages = 0

    def _apply_turn(self, seq: int, record: UserRecord | MissionRecord) -> None:
        if seq <= self.settled:
            return  # met again while open work is brought back
        weight = self._show(record)
        self.phase = follow(self.phase, "turn")
        self.last_turn_us = record.at_us
        if isinstance(record, UserRecord):
            self.last_active_us = record.at_us
            place = (record.instance, record.conversation, record.thread)
            if place != self._active:
                self._active = place
        if self._open is None:
            self._open = deque()
            self._weights = deque()
            self._waiting_bound = -weight  # it does not wait
            self.attempts = 1
            self._unseen = (0, 0)
        self._open.append(seq)
        assert self._weights is not None  # it is there as long as `_open` is
        self._weights.append(weight)
        self._waiting_bound += weight

    def _apply_attempt(self, record: AttemptRecord | FailureRecord | InterruptedRecord) -> None:
        if record.turn_seq != self.oldest_open_turn:
            return  # of a turn that was over before the open work began
        match record:
            case AttemptRecord() | FailureRecord():
                self.attempts = record.attempt
            case InterruptedRecord():
                self.attempts -= 1

    def _settle(self, turn_seq: int, at_us: int) -> None:
        if not self._open or self._open[0] != turn_seq:
            return
        self.last_turn_us = at_us
        self._open.popleft()
        assert self._weights is not None  # as above
        self._weights.popleft()
        self.settled = turn_seq
        self.running = 0
        if self._open:
            self.attempts = 1
            self._waiting_bound -= self._weights[0]
            self._unseen = (0, 0)
        else:
            self._open = self._weights = None
            self.attempts = 0

    def _apply_delivery(self, record: DeliveryRecord) -> None:
        outbox = self._outbox
        if outbox is None:
            return  # about a delivery that was over before the open work began
        outbox.note(
            record.delivery_seq,
            record.status,
            record.attempt,
            may_have_arrived=record.may_have_arrived,
            parts=tuple(record.parts),
        )
        if not outbox:
            self._outbox = None

    @property
    def oldest_open_turn(self) -> int:
        """Sequence number of the oldest open turn's user record, or 0."""
        return self._open[0] if self._open else 0
