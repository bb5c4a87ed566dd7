"""Token counts as they are stored: one for each record that was counted, and by which counter."""

from __future__ import annotations

import struct
from typing import Final

from ..storage.base import Reads, Table
from ..storage.errors import CorruptRecord
from ..storage.keys import hash16, log_key, split_log_key

__all__ = ["Counts", "count_row", "counter_mark", "load_count", "read_count"]

_ROW: Final = struct.Struct(">I8s")
_PAGE: Final = 256


def counter_mark(name: str) -> bytes:
    """8 bytes that tell the counts of one counter from those of another."""
    return hash16(name)[:8]


def count_row(tokens: int, mark: bytes) -> bytes:
    """A count as `Table.TOKENS` has it."""
    return _ROW.pack(min(tokens, 0xFFFF_FFFF), mark)


def read_count(row: bytes) -> tuple[int, bytes]:
    """Tokens, and the mark of who counted them.

    Raises:
        CorruptRecord: the row is no count.
    """
    if len(row) != _ROW.size:
        raise CorruptRecord(f"a count of tokens has {len(row)} bytes, not {_ROW.size}")
    tokens, mark = _ROW.unpack(row)
    return tokens, mark


def load_count(reads: Reads, stream: int, seq: int, mark: bytes) -> int | None:
    """Tokens of one record as one counter counted them; None if it has not."""
    return Counts(reads, stream, mark, page=1).of(seq)


class Counts:
    """The counts of one log that were made by one counter, read page by page from the newest on.

    A count that cannot be read is as good as none.
    """

    __slots__ = ("_high", "_known", "_low", "_mark", "_page", "_reads", "_stream")

    def __init__(self, reads: Reads, stream: int, mark: bytes, page: int = _PAGE) -> None:
        self._page = page
        self._reads = reads
        self._stream = stream
        self._mark = mark
        self._known: dict[int, int] = {}
        self._low = self._high = 0
        """What has been read: from the first of them on, below the second."""

    def of(self, seq: int) -> int | None:
        """Tokens of record `seq`; None if it has not been counted. Fastest if asked descending."""
        if not self._low <= seq < self._high:
            low = max(seq - self._page + 1, 0)
            start, stop = log_key(self._stream, low), log_key(self._stream, seq + 1)
            for key, row in self._reads.scan(Table.TOKENS, start, stop, limit=self._page):
                try:
                    tokens, mark = read_count(row)
                except CorruptRecord:
                    continue
                if mark == self._mark:
                    self._known[split_log_key(key)[1]] = tokens
            self._low, self._high = low, seq + 1
        return self._known.get(seq)
