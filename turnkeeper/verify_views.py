"""Whether what is kept beside a log for its agent agrees with it: memory, counts and measurements.

The memory follows from the log. Counts and measurements follow from a counter as well, so it is
only looked whether they are of something that is there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from .actors.core.view_records import ForgottenRecord, MemoryRecord
from .actors.counts import read_count
from .actors.ledger import starting_with
from .actors.memory_rows import memory_key, read_memory_row
from .actors.usage import read_usage
from .storage.base import Reads, Table
from .storage.errors import CorruptRecord
from .storage.keys import number_key, split_log_key
from .verify_rows import Problem, Unreadable, compare_row, readable

__all__ = ["Memories", "compare_counts", "compare_usage"]

_LOG_KEY_BYTES: Final = 16


class Memories:
    """What agents keep: that of one session at a time, and how many rows were its."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._kept: dict[bytes, tuple[str, str]] = {}
        self._rows = 0

    def begin(self) -> None:
        """The log of another session begins."""
        self._kept.clear()

    def changed(self, stream: int, record: MemoryRecord | ForgottenRecord) -> None:
        """The log tells that something is kept, or no more."""
        if isinstance(record, ForgottenRecord):
            self._kept.clear()
        elif record.value is None:
            self._kept.pop(memory_key(stream, record.key), None)
        else:
            self._kept[memory_key(stream, record.key)] = record.key, record.value

    def end(self, stream: int, *, is_broken: bool) -> Iterator[Problem]:
        """The log has been read: compare the rows of its session."""
        stored = dict(starting_with(self._reads, Table.MEMORY, number_key(stream)))
        self._rows += len(stored)
        if is_broken:
            return
        for key in sorted(stored.keys() | self._kept.keys()):
            kept = self._kept.get(key)
            place = f"memory of {stream}" + (f", {kept[0]!r:.80}" if kept is not None else "")
            if kept is None:
                yield Problem(place=place, text=f"{key[8:].hex()} is kept, of which no log tells")
            else:
                yield from compare_row(place, stored.get(key), kept, read_memory_row)

    def compare(self, broken: Collection[int]) -> Iterator[Problem]:
        """What is kept for no session."""
        if sum(1 for _ in starting_with(self._reads, Table.MEMORY, b"")) == self._rows:
            return
        for key, _ in starting_with(self._reads, Table.MEMORY, b""):
            stream = int.from_bytes(key[:8], "big")
            if stream not in broken and self._reads.get(Table.HEADS, key[:8]) is None:
                yield Problem(place=f"memory of {stream}", text="no session has such a number")


def compare_counts(reads: Reads, broken: Collection[int]) -> Iterator[Problem]:
    """Counts of tokens that are none, or of records that are not there."""
    known: tuple[int, int] = (0, 0)
    for key, data in starting_with(reads, Table.TOKENS, b""):
        if len(key) != _LOG_KEY_BYTES:
            yield Problem(place=f"tokens {key.hex()}", text="has a key of another kind")
            continue
        stream, seq = split_log_key(key)
        if stream != known[0]:
            known = stream, _last(reads, stream)
        place = f"tokens of {stream}/{seq}"
        if not 0 < seq <= known[1] and stream not in broken:
            yield Problem(place=place, text="there is no such record")
        try:
            read_count(data)
        except CorruptRecord as error:
            yield Problem(place=place, text=str(error))


def _last(reads: Reads, stream: int) -> int:
    """The newest sequence number of a session; 0 of one that is not there."""
    has_head = reads.get(Table.HEADS, number_key(stream)) is not None
    return reads.last_seq(stream) if has_head else 0


def compare_usage(reads: Reads, broken: Collection[int]) -> Iterator[Problem]:
    """Measurements that are none, or of what is not there."""
    for key, data in starting_with(reads, Table.USAGE, b""):
        stream = int.from_bytes(key, "big")
        place = f"usage of {stream}"
        head = reads.get(Table.HEADS, key) if len(key) == len(number_key(0)) else None
        if head is None and stream not in broken:
            yield Problem(place=place, text="no session has such a number")
        try:
            readable(data, read_usage)
        except Unreadable as error:
            yield Problem(place=place, text=str(error))
