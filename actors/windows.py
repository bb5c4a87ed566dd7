"""The context window, read from the logs: a session's own, and those that have joined it.

Only what lies behind the newest summary is read, newest first, until the window is full: what a
turn costs does not grow with the history.

A window is made of what was stored before an attempt at its turn began, and of nothing later, but
for the summary that the attempt waited for. So the log can show it again: :func:`window_at`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from ..storage.base import Reads
from .context_logs import Log, family_of, head_at, logs_of, readable, record_at, told_of
from .core.delivery_records import NoteRecord, ReceiptRecord
from .core.records import Record
from .core.shown import system_prompt
from .core.state import State
from .core.turn_records import (
    AssistantRecord,
    AttemptRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    UserRecord,
)
from .core.turns import NEVER, ended_by
from .core.view_records import ClearRecord, SummaryRecord
from .core.weight import OVERHEAD, frame_of, prompt_tokens, weight_of
from .core.window import Message, build_window
from .counts import Counts, load_count
from .journal import load_head, load_record

__all__ = [
    "MAX_MESSAGES",
    "Seen",
    "WindowRules",
    "began_behind",
    "read_seen",
    "read_window",
    "turn_before",
    "window_at",
]

Seen: TypeAlias = tuple[Any, ...]
"""What of a context a window held: of each log its number, the oldest record that was shown, and
what was shown in part, `(sequence number, tokens that were left for it)` each. As it is stored."""

MAX_MESSAGES: Final = 2_000
"""Most messages of a window: how short they may be, a turn costs only so much."""
_DROPPED: Final = -1
"""Stands in :data:`Seen` for the room of a summary that is not even shown in part."""
_LEAST: Final = 200
"""Tokens that have to be left for a message to be shown in part."""


_Kept: TypeAlias = dict[int, list[tuple[int, Record]]]
"""Records of some logs by the logs' numbers, newest first."""


class WindowRules(NamedTuple):
    """How large a window may be, and with what it begins."""

    max_tokens: int
    """Everything counted."""
    system: str | None = None
    """The system prompt, if there is one."""
    mark: bytes | None = None
    """Of the counter whose counts hold; None if there are none: then a byte is a token."""
    max_messages: int = MAX_MESSAGES

    @property
    def room(self) -> int:
        """Tokens that are left for the conversation."""
        return self.max_tokens - prompt_tokens(self.system)


def read_window(
    store: Reads,
    stream: int,
    rules: WindowRules | None,
    current: tuple[int, UserRecord | MissionRecord] | None = None,
) -> tuple[Message, ...]:
    """A session's context, oldest first: the newest part of it that fits.

    Where there is no room to look back to the last turn before a marker, a note is shown that this
    turn may have seen: better twice than never. A message for which there is not enough room is
    shown with its middle left out, if it is the current turn's or the oldest one. A record that
    cannot be read is left out; where it was a summary, what it covered is shown.

    Args:
        store: where the logs are.
        stream: number of the session.
        rules: how much fits, the current turn's message included; None for everything.
        current: sequence number and record of the turn that the window is for; None between turns.
    """
    return read_seen(store, stream, rules, current)[0]


def read_seen(
    store: Reads,
    stream: int,
    rules: WindowRules | None,
    current: tuple[int, UserRecord | MissionRecord] | None = None,
) -> tuple[tuple[Message, ...], Seen | None]:
    """The window of :func:`read_window`, and what of the context it holds, if that is not all."""
    head = load_head(store, stream)
    if head is None:
        return (), None
    if current is None:
        reading = _Reading(store, logs_of(store, stream, head), rules)
        return reading.messages(None), reading.seen
    until = began_behind(store, stream, head.next_seq - 1, current[0])
    seen = head_at(store, stream, head, until, current[0])
    logs = logs_of(store, stream, seen)
    logs[0].until = until
    reading = _Reading(store, logs, rules)
    return reading.messages(current), reading.seen


def window_at(
    store: Reads, stream: int, seq: int, rules: WindowRules | None
) -> tuple[Message, ...]:
    """The window that the agent was given for turn `seq`, at the last attempt that was begun.

    It shows what the agent saw, and so also what was hidden only later, when a link was undone. But
    the system prompt is that of now, and so are the limits for a turn that has not ended. Where its
    agent did not look, it is all that could have been seen. Of sessions that have joined, it shows
    what is not newer than the attempt, by the clock, and what is not hidden now. Reads the whole
    log up to the turn.

    Raises:
        LookupError: there is no such turn, or it has not begun yet; the text says which.
        CorruptRecord: the turn itself cannot be read.
    """
    record = load_record(store, stream, seq)
    if not isinstance(record, UserRecord | MissionRecord):
        raise LookupError(f"record {seq} is no turn: nothing was shown to an agent for it")
    until, waited_for, seen, has_ended = _attempt(store, stream, seq)
    state = State()
    for number, earlier in readable(store, stream, stop=until + 1):
        state.next_seq = number
        state.apply(earlier)
    now = load_head(store, stream)
    settled = now.settled if now is not None else 0  # what ended a turn may be unreadable
    if settled < state.oldest_open_turn != seq:
        raise LookupError(
            f"turn {seq} has not begun: it waits behind turn {state.oldest_open_turn}"
        )
    head = state.head()
    began = record_at(store, stream, until) or record
    logs = logs_of(
        store, stream, head._replace(summary=waited_for) if waited_for else head, began.at_us
    )
    logs[0].until = until
    if rules is not None and has_ended:  # all of it was shown, unless the end says otherwise
        rules = rules._replace(max_tokens=NEVER, max_messages=NEVER)
    return _Reading(store, logs, rules, seen).messages((seq, record))


def turn_before(store: Reads, stream: int, at_us: int) -> int:
    """The newest turn that was accepted at `at_us` or before.

    Raises:
        LookupError: there was none yet.
    """
    for seq, record in readable(store, stream, reverse=True):
        if isinstance(record, UserRecord | MissionRecord) and record.at_us <= at_us:
            return seq
    raise LookupError("no turn was accepted before that time")


# -- when it was ---------------------------------------------------------------------------------


def _ends_before(seq: int, record: Record, turn: int) -> bool:
    """Whether `record` let `turn` begin, or begin again, or is its own."""
    if seq == turn or (isinstance(record, AttemptRecord) and record.turn_seq == turn):
        return True
    return 0 < ended_by(record) < turn


def _excused(store: Reads, stream: int, seq: int, record: Record) -> int:
    """The last record of the batch that ended a turn with record `seq`."""
    if isinstance(record, QuarantinedRecord):
        following = record_at(store, stream, seq + 1)
        if isinstance(following, AssistantRecord) and following.by == "runtime":
            return seq + 1
    return seq


def began_behind(store: Reads, stream: int, last: int, turn: int) -> int:
    """The newest record that could be seen when the newest attempt at an open `turn` began.

    Args:
        store: where the log is.
        stream: number of the session.
        last: the newest record of its log.
        turn: sequence number of the turn, which has begun.
    """
    if last == turn:
        return turn
    for seq, record in readable(store, stream, turn, reverse=True):
        if _ends_before(seq, record, turn):
            return _excused(store, stream, seq, record)
    return turn


def _attempt(store: Reads, stream: int, turn: int) -> tuple[int, int, Seen | None, bool]:
    """When the newest attempt at any turn began, and what it was shown.

    Returns:
        As for :func:`began_behind`; the summary that it waited for, or 0; what of the context was
        shown, if that was not all; and whether its agent has ended it.
    """
    began, waited_for = turn, 0
    seen: Seen | None = None
    cleared = has_ended = False
    for seq, record in readable(store, stream, turn + 1):
        if ended_by(record) == turn:
            if isinstance(record, AssistantRecord | SilentRecord):
                seen, has_ended = record.saw, True
            break
        if _ends_before(seq, record, turn):
            began, waited_for, cleared = _excused(store, stream, seq, record), 0, False
        elif isinstance(record, ClearRecord):
            cleared = True  # a later summary is of what came after the marker
        elif isinstance(record, SummaryRecord) and record.for_turn == turn and not cleared:
            waited_for = seq
    return began, waited_for, seen, has_ended


# -- what fits -----------------------------------------------------------------------------------


class _Reading:
    """Fills one window, newest message first; with what it held before, if that is known."""

    def __init__(
        self,
        store: Reads,
        logs: list[Log],
        rules: WindowRules | None,
        shown: Seen | None = None,
    ) -> None:
        self._store = store
        self._logs = logs
        self._rules = rules
        self._counts: dict[int, Counts] = {}
        """Of each log, once the bounds alone do not fit."""
        self._taken: list[tuple[Log, int, int]] = []
        """What there is room for, with its bound."""
        self._room = rules.room if rules is not None else 0
        self._known: dict[int, int] = {}
        """Of each log, the oldest record that was shown, where that is known."""
        self.seen: Seen | None = None
        """What of the context there was room for, if not for all of it."""
        for stream, oldest, shortened in shown or ():
            self._known[stream] = oldest
            for log in logs:
                if log.stream == stream:
                    log.shortened.update(tuple(entry) for entry in shortened)
                    if log.summary is not None and log.shortened.get(log.summary[0]) == _DROPPED:
                        log.summary = None

    def messages(
        self, current: tuple[int, UserRecord | MissionRecord] | None
    ) -> tuple[Message, ...]:
        """The window for a turn, or between turns."""
        rules, logs = self._rules, self._logs
        own = logs[0]
        if current is not None:
            current = self._as_told(own, *current)
        if self._known:
            kept = self._fill(current, lambda log, seq, _: seq >= self._known.get(log.stream, 0))
        elif rules is None:
            kept = self._fill(current, lambda _log, _seq, _record: True)
        else:
            kept = self._fill_within(rules, current)
        cut = bool(self._known) or self.seen is not None
        shown = kept[own.stream][::-1]
        if current is not None:
            shown.append(current)
        stretches = [
            log.stretch(self._store, kept[log.stream][::-1], cut=cut)
            for log in logs[1:]
            if kept[log.stream] or log.summary is not None
        ]
        stretches.append(own.stretch(self._store, shown, cut=cut))
        turn = current[0] if current is not None else 0
        window = build_window(stretches, turn, own.head.session_id)
        system = rules.system if rules is not None else None
        return window if system is None else (system_prompt(system), *window)

    def _as_told(
        self, own: Log, seq: int, record: UserRecord | MissionRecord
    ) -> tuple[int, UserRecord | MissionRecord]:
        """The current turn as it is shown, with what its author has done to it so far."""
        own.read_changes(self._store, seq + 1)
        told = own.told(seq, record)
        assert isinstance(told, UserRecord | MissionRecord)  # a turn stays one
        return seq, told

    def _fill_within(
        self, rules: WindowRules, current: tuple[int, UserRecord | MissionRecord] | None
    ) -> _Kept:
        """The newest records that there is room for."""
        for log in self._logs:
            self._take_summary(log, rules.room // 2)
        if current is not None:
            self._take(self._logs[0], *current, weight_of(current[1]), whole=False)
        left = rules.max_messages
        full = False

        def fits(log: Log, seq: int, record: Record) -> bool:
            nonlocal left, full
            if not full and not log.covers(seq, record) and (bound := weight_of(record)):
                left -= 1
                full = left < 0 or not self._take(log, seq, record, bound)
            return not full

        kept = self._fill(current, fits)
        if full or any(log.shortened for log in self._logs):
            self.seen = _seen_of(self._logs, kept)
        return kept

    def _fill(
        self,
        current: tuple[int, UserRecord | MissionRecord] | None,
        fits: Callable[[Log, int, Record], bool],
    ) -> _Kept:
        """The records of each log, newest first, up to the first that does not fit."""
        logs = self._logs
        kept: _Kept = {log.stream: [] for log in logs}
        family = family_of(logs)
        for log, seq, record in _newest_first(self._store, logs):
            if log is logs[0] and current is not None and _waits(seq, record, current[0]):
                continue
            if isinstance(record, NoteRecord) and record.session_id in family:
                continue  # what one of these sessions said is shown as what it said
            if not fits(log, seq, record):
                if self._known:
                    continue
                break
            kept[log.stream].append((seq, record))
            if seq in log.shortened and not self._known:
                break
        return kept

    def _take_summary(self, log: Log, most: int) -> None:
        """Make room for the summary of a log. All of them take at most `most`, each at once."""
        if log.summary is None:
            return
        seq, record = log.summary
        assert self._rules is not None  # else there is no room to be made
        left = most - (self._rules.room - self._room)
        tokens = weight_of(record)
        if tokens > left and self._rules.mark is not None:
            count = load_count(self._store, log.stream, seq, self._rules.mark)
            tokens = tokens if count is None else min(tokens, count)
        if tokens > left:
            if left < 2 * _LEAST:
                log.summary, log.shortened[seq] = None, _DROPPED
                return
            log.shortened[seq] = left - OVERHEAD
            tokens = left
        self._room -= tokens
        self._taken.append((log, seq, tokens))

    def _take(self, log: Log, seq: int, record: Record, bound: int, *, whole: bool = True) -> bool:
        """Make room for a message; False if there is none, not even for a part of it."""
        tokens = self._tokens(log, seq, bound)
        if tokens > self._room and self._count():
            tokens = self._tokens(log, seq, bound)
        if tokens <= self._room:
            self._room -= tokens
            self._taken.append((log, seq, bound))
            return True
        left, self._room = self._room, 0
        if whole and isinstance(record, NoteRecord | ReceiptRecord):
            return False
        if whole and left - frame_of(record) < _LEAST:
            return False
        log.shortened[seq] = max(left - OVERHEAD, 0)
        return True

    def _count(self) -> bool:
        """Go by counts from here on: the bounds alone do not fit. False if there is none."""
        if self._rules is None or self._rules.mark is None or self._counts:
            return False
        for log in self._logs:
            self._counts[log.stream] = Counts(self._store, log.stream, self._rules.mark)
        for log, seq, bound in self._taken:
            self._room += bound - self._tokens(log, seq, bound)
        return True

    def _tokens(self, log: Log, seq: int, bound: int) -> int:
        """What a record takes, as far as that is known."""
        counts = self._counts.get(log.stream)
        if counts is None or seq in log.bounds:  # what was counted is what it was before
            return bound
        count = counts.of(seq)
        return bound if count is None else min(bound, count)


def _seen_of(logs: Sequence[Log], kept: _Kept) -> Seen:
    return tuple(
        (
            log.stream,
            kept[log.stream][-1][0] if kept[log.stream] else NEVER,
            tuple(log.shortened.items()),
        )
        for log in logs
    )


def _waits(seq: int, record: Record, turn_seq: int) -> bool:
    """Whether a record is the current turn, which comes last, or waits for its own."""
    return seq == turn_seq or (seq > turn_seq and isinstance(record, UserRecord | MissionRecord))


def _newest_first(store: Reads, logs: Sequence[Log]) -> Iterator[tuple[Log, int, Record]]:
    """What the window is made of, back to where each log begins."""
    if len(logs) == 1:
        return told_of(store, logs[0])
    told = [told_of(store, log) for log in logs]
    return heapq.merge(*told, key=lambda entry: entry[2].at_us, reverse=True)
