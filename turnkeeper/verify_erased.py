"""Sessions that are not here: those that were deleted, and those that imported ones speak of.

What other logs tell of them is told by these alone, and cannot be compared with theirs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator

from .actors.core.records import MalformedRecord, unpack
from .actors.core.view_records import ErasedRecord
from .actors.erased import ErasedRow, erased_key, read_erased
from .storage.base import Reads, Table
from .storage.codec import decode
from .storage.errors import CorruptRecord, RecordFromFuture
from .storage.keys import number_key
from .verify_rows import Problem, adopt, compare_table

__all__ = ["Absent"]


class Absent:
    """Which sessions were deleted here, and which were brought in from elsewhere.

    In memory are the rows of those that were deleted, and the ids of those that were imported.
    """

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._rows = dict(adopt(reads, Table.ERASED, read_erased))
        self._numbers = sorted(row.number for row in self._rows.values())
        self._ids = {row.session_id for row in self._rows.values()}
        self._told: dict[bytes, ErasedRow] = {}
        self.imported: set[str] = set()
        """Ids of the sessions that were brought in from elsewhere, as the ledger tells."""
        self.foreign: set[int] = set()
        """Their numbers, as far as their logs have been read."""
        self.newest_us = max((row.at_us for row in self._rows.values()), default=0)
        """When a session was deleted for the last time; 0 if none ever was."""

    def is_erased(self, session_id: str) -> bool:
        """Whether a session was deleted."""
        return session_id in self._ids

    def opened(self, session_id: str, stream: int) -> None:
        """The log of another session begins."""
        if session_id in self.imported:
            self.foreign.add(stream)

    def is_foreign(self, session_id: str) -> bool:
        """Whether a session was brought in, so that it may speak of some that are not here."""
        return session_id in self.imported

    def next_number(self, start: int) -> int | None:
        """The lowest number from `start` on of a session that was deleted; None if none is."""
        place = bisect_left(self._numbers, start)
        return self._numbers[place] if place < len(self._numbers) else None

    def tombstone(self, stream: int) -> tuple[int, ErasedRecord] | None:
        """Where the log of session number `stream` tells that it was deleted; None if nowhere."""
        for seq, data in self._reads.read_log(stream, limit=1, reverse=True):
            try:
                record = unpack(decode(data))
            except (CorruptRecord, RecordFromFuture, MalformedRecord):
                return None
            if isinstance(record, ErasedRecord):
                return seq, record
        return None

    def log(self, stream: int, seq: int, record: ErasedRecord) -> Iterator[Problem]:
        """The log of a deleted session: its last record is `record`, and nothing else is left."""
        row = ErasedRow(record.session_id, stream, record.at_us, record.by, record.records)
        self._told[erased_key(record.session_id)] = row
        self._ids.add(record.session_id)
        if record.records != seq - 1:
            text = f"tells of {record.records} records, and stands behind {seq - 1}"
            yield Problem(place=f"log {stream}/{seq}", text=text)
        left = len(self._reads.read_log(stream, 1, seq, limit=1))
        if left:
            text = (
                f"{record.session_id} was deleted, and not all of its records are gone yet: the "
                "next start of the runtime removes them"
            )
            yield Problem(place=f"log {stream}", text=text)
        for table in (Table.HEADS, Table.USAGE):
            if self._reads.get(table, number_key(stream)) is not None:
                text = f"is that of {record.session_id}, which was deleted"
                yield Problem(place=f"{table.name.lower()} {stream}", text=text)

    def is_unfinished(self, stream: int, seq: int) -> bool:
        """Whether records are left in front of `seq`, the last one of a deleted session."""
        return bool(self._reads.read_log(stream, 1, seq, limit=1))

    def compare(self, broken: Collection[int]) -> Iterator[Problem]:
        """What is wrong with the table; `broken` are the logs that cannot be read whole."""
        expected = dict(self._told)
        for key, row in self._rows.items():
            if key not in expected and row.number in broken:
                expected[key] = row
        yield from compare_table(
            self._reads,
            Table.ERASED,
            expected,
            read_erased,
            lambda row: f"deleted session {row.session_id}",
        )
