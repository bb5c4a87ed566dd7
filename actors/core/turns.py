"""When the turns of a log began, and where its context does.

A log is in the order of arrival, and a turn may have to wait for the one before it. So it began
with its own record, or with the one that ended the turn before it, whichever came later. Whatever
else was written down before that could be seen by the agent in this turn, and nothing later.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Final, TypeAlias

from .delivery_records import NoteRecord, ReceiptRecord
from .records import Record
from .turn_records import (
    AssistantRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from .view_records import ChangedRecord, ClearRecord

__all__ = ["NEVER", "TOLD", "Told", "Turns", "ended_by", "in_context"]

NEVER: Final = 1 << 63
"""Greater than every sequence number and every time."""
Told: TypeAlias = (
    UserRecord
    | MissionRecord
    | AssistantRecord
    | ToolRecord
    | NoteRecord
    | ReceiptRecord
    | ChangedRecord
)
"""What a window shows."""
TOLD: Final = (
    UserRecord,
    MissionRecord,
    AssistantRecord,
    ToolRecord,
    NoteRecord,
    ReceiptRecord,
    ChangedRecord,
)


class Turns:
    """The turns of one log, or of its end, and when each of them began."""

    __slots__ = ("_began", "_excuses", "_numbers", "cleared")

    def __init__(self, records: Iterable[tuple[int, Record]] = ()) -> None:
        numbers: set[int] = set()
        ends: dict[int, int] = {}
        given_up: dict[int, int] = {}
        self._excuses: dict[int, int] = {}
        """What the runtime said of turns that it gave up, with the turn of each."""
        self.cleared = 0
        """Sequence number of the newest marker after which the context begins; 0 without one."""
        for seq, record in records:
            match record:
                case UserRecord() | MissionRecord():
                    numbers.add(seq)
                case ClearRecord():
                    self.cleared = max(self.cleared, seq)
                case _ if turn := ended_by(record):
                    numbers.add(turn)
                    ends[turn] = seq
                    if isinstance(record, QuarantinedRecord):
                        given_up[seq] = turn
                case AssistantRecord(by="runtime") if turn := given_up.get(seq - 1, 0):
                    self._excuses[seq] = turn
                case _:
                    pass
        self._numbers = sorted(numbers)
        self._began = _beginnings(self._numbers, ends)

    def turn_of(self, seq: int, record: Told) -> int:
        """The turn that record `seq` belongs to; 0 if it stands between two."""
        match record:
            case UserRecord() | MissionRecord():
                return seq
            case AssistantRecord():
                return record.turn_seq or self._excuses.get(seq, 0)
            case ToolRecord():
                return record.turn_seq
            case _:
                return 0

    def began(self, turn: int) -> int:
        """The record with which a turn began; `NEVER` if it waits, or is not known here."""
        place = bisect_right(self._numbers, turn) - 1
        known = place >= 0 and self._numbers[place] == turn
        return self._began[place] if known else NEVER

    def first_after(self, seq: int) -> int:
        """The first turn that began after record `seq`, or will; `NEVER` if there is none."""
        place = bisect_right(self._began, seq)
        return self._numbers[place] if place < len(self._numbers) else NEVER

    def is_cleared(self, turn: int) -> bool:
        """Whether a turn had begun before the context began anew."""
        return self.began(turn) < self.cleared

    def is_seen_and_cleared(self, seq: int) -> bool:
        """Whether a turn began between record `seq` and the newest marker behind it."""
        return seq < self.cleared and self.is_cleared(self.first_after(seq))


def _beginnings(turns: list[int], ends: dict[int, int]) -> list[int]:
    """Where each of `turns` began, ascending; of those that are still open, only the first has."""
    newest_over = max(ends, default=0)
    running = next((turn for turn in turns if turn > newest_over), NEVER)
    began: list[int] = []
    last_end = 0
    for turn in turns:
        began.append(max(turn, last_end) if turn <= running else NEVER)
        last_end = max(last_end, ends.get(turn, 0))
    return began


def ended_by(record: Record) -> int:
    """The turn that `record` ended, or 0."""
    match record:
        case AssistantRecord() | SilentRecord() | QuarantinedRecord():
            return record.turn_seq
        case _:
            return 0


def in_context(
    newest_first: Iterable[tuple[int, Record]], since_us: int = 0
) -> Iterator[tuple[int, Record]]:
    """What of a log its window is made of, newest first. Ends where the context begins.

    Behind a marker, looking back, these are the turns that had not begun when it was set, and what
    others had said since the last one began. Of other turns nothing is left but that they are over.

    Args:
        newest_first: the whole log.
        since_us: what is older is not wanted.
    """
    cleared = False
    running = 0
    """The oldest turn that is known to have ended after the marker."""
    over: set[int] = set()
    for seq, record in newest_first:
        if record.at_us < since_us:
            return
        ended = ended_by(record)
        match record:
            case ClearRecord() if not cleared:
                cleared = True
                running = running if running < seq else 0
                yield seq, record
            case AssistantRecord(by="runtime", route="command"):
                pass  # what the runtime answers for itself is not of the conversation
            case _ if not cleared:
                running = ended or running
                if ended or isinstance(record, TOLD):
                    yield seq, record
            case UserRecord() | MissionRecord():
                if seq == running or seq in over:
                    return
                yield seq, record
            case NoteRecord() | ReceiptRecord():
                yield seq, record
            case _ if ended:
                over.add(ended)
                yield seq, SilentRecord(at_us=record.at_us, turn_seq=ended)
            case _:
                pass
