"""What of a log no summary covers yet, oldest first: as much as is looked at together.

Where there is very much, that is the beginning, up to enough messages whose turns are over. For a
reply may stand far behind its question, and both are summarised together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from ..storage.base import Reads
from .context_logs import Log, record_at, told_of
from .core.delivery_records import NoteRecord, ReceiptRecord
from .core.head import Head
from .core.records import Record
from .core.turn_records import (
    AssistantRecord,
    MissionRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from .core.turns import NEVER, TOLD, ended_by
from .core.view_records import ChangedRecord
from .core.weight import weight_of
from .journal import load_records

__all__ = ["MOST_BYTES", "Uncovered", "is_long", "uncovered_of"]

_MOST: Final = 20_000
"""Messages that are looked at together: more than a window ever shows."""
MOST_BYTES: Final = 33_554_432
"""How much these may weigh, but for the last turn of them. So memory is bounded, however large they
are, and however many have come while a summary was written."""
_TEXTS: Final = (AssistantRecord, ToolRecord, NoteRecord, ReceiptRecord, ChangedRecord)
"""What a summary may cover although it comes behind the last question that it covers."""


@dataclass(slots=True, eq=False)
class Uncovered:
    """The records of a log that count, and what is known of the rest."""

    records: list[tuple[int, Record]]
    settled: int
    """The last turn that is over, and all of which is here."""
    more: bool = False
    """Whether there is more that could be covered, behind what is here."""
    left_out: dict[int, int] = field(default_factory=dict[int, int])
    """Which questions are here without their texts, and what they weigh with them. Their turns are
    none that a window shows yet, or none that is covered with what is here."""


def is_long(head: Head, most_bytes: int) -> bool:
    """Whether a context may be too much to be looked at as a whole."""
    return head.context_messages > _MOST or head.context_bound > most_bytes


def uncovered_of(reads: Reads, log: Log, most_bytes: int) -> Uncovered:
    """What of a log is not covered, with whole turns.

    Args:
        reads: where the logs are.
        log: the log.
        most_bytes: how much is looked at together. No window shows as much.
    """
    head = log.head
    if not is_long(head, most_bytes):
        newest_first = [(seq, record) for _, seq, record in told_of(reads, log)]
        return Uncovered(newest_first[::-1], head.settled)
    log.read_changes(reads, log.through + 1)
    reading = _Reading(head.settled, most_bytes)
    for seq, record in _before_marker(reads, log):
        reading.hold(seq, record, log.bounds.get(seq, weight_of(record)))
    for seq, record in _behind_marker(reads, log):
        if not reading.take(seq, record, log.bounds.get(seq, weight_of(record))):
            return Uncovered(reading.records, reading.settled, True, reading.left_out)
    # What ended a turn may be unreadable: it is over then, and its question is left out even so.
    settled = min(head.settled, min(reading.left_out, default=NEVER) - 1)
    return Uncovered(reading.records, settled, False, reading.left_out)


def _before_marker(reads: Reads, log: Log) -> Iterator[tuple[int, Record]]:
    """What still counts of what came before the marker. That is known from its end only."""
    if log.head.cleared <= log.through:
        return
    newest_first = told_of(reads, replace(log, until=log.head.cleared))
    found = [
        (seq, None if isinstance(record, UserRecord) else record) for _, seq, record in newest_first
    ]
    for seq, record in reversed(found):
        question = record_at(reads, log.stream, seq) if record is None else record
        told = log.told(seq, question) if question is not None else None
        if told is not None:
            yield seq, told


def _behind_marker(reads: Reads, log: Log) -> Iterator[tuple[int, Record]]:
    start = max(log.through, log.head.cleared) + 1
    for seq, record in load_records(reads, log.stream, start, damaged=_pass_over):
        told = log.told(seq, record)
        if told is None or told.at_us < log.since_us or not _is_wanted(told):
            continue
        if not isinstance(told, _TEXTS) or not log.covers(seq, told):
            yield seq, told
        elif ended := ended_by(told):  # which tells when the next turn began; its text is not kept
            yield seq, SilentRecord(at_us=told.at_us, turn_seq=ended)


class _Reading:
    """Takes records, oldest first, until it has enough of them."""

    def __init__(self, over: int, most_bytes: int) -> None:
        """A reading.

        Args:
            over: the last turn that is over.
            most_bytes: how much is enough.
        """
        self.records: list[tuple[int, Record]] = []
        self.settled = 0
        """The last turn that is over, as far as was read."""
        self.left_out: dict[int, int] = {}
        """See `Uncovered`."""
        self._over = over
        self._most_bytes = most_bytes
        self._left_out_from = NEVER
        """The first turn that is left out."""
        self._open: dict[int, list[int]] = {}
        """What the messages weigh of each turn that is not over, as far as was read."""
        self._has_begun = False
        """Whether the oldest of the turns that are not over was held."""
        self._whole = self._whole_bytes = self._bytes = 0

    def take(self, seq: int, record: Record, weight: int) -> bool:
        """Take a record; False if there are enough."""
        is_enough = self._whole >= _MOST or self._whole_bytes >= self._most_bytes
        if is_enough and not isinstance(record, AssistantRecord):
            return False
        turn = _turn_of(seq, record)
        if self._left_out_from <= turn != seq:
            return False
        self.hold(seq, record, weight)
        if turn > self.settled:
            self._open.setdefault(turn, []).append(weight)
        else:
            self._are_over([weight])
        if ended := ended_by(record):
            self.settled = max(self.settled, ended)
            self._are_over(self._open.pop(ended, []))
        return True

    def hold(self, seq: int, record: Record, weight: int) -> None:
        """Hold a record; a question without its text if there is enough without it.

        Not all that is held need be over then: questions come before the answers to earlier ones.
        """
        if isinstance(record, UserRecord | MissionRecord):
            is_running = seq > self._over and not self._has_begun
            self._has_begun = self._has_begun or is_running
            is_full = self._bytes >= self._most_bytes or self._left_out_from < NEVER
            if is_full and not is_running:
                self._left_out_from = min(self._left_out_from, seq)
                self.left_out[seq] = weight
                self.records.append((seq, replace(record, text="")))
                return
        self.records.append((seq, record))
        self._bytes += weight

    def _are_over(self, weights: list[int]) -> None:
        self._whole += sum(weight > 0 for weight in weights)
        self._whole_bytes += sum(weights)


def _is_wanted(record: Record) -> bool:
    """Whether a window shows a record, or needs it to tell where others stand."""
    if isinstance(record, AssistantRecord) and record.by == "runtime" and record.route == "command":
        return False
    return ended_by(record) > 0 or isinstance(record, TOLD)


def _turn_of(seq: int, record: Record) -> int:
    """The turn that a record names, 0 for none."""
    match record:
        case UserRecord() | MissionRecord():
            return seq
        case AssistantRecord() | ToolRecord():
            return record.turn_seq
        case _:
            return ended_by(record)


def _pass_over(_seq: int, _error: Exception) -> None:
    """The windows tell of it: see `windows`."""
