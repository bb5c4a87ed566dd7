"""Reads on an LMDB environment: each in a transaction of its own, or all in one frozen one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice, takewhile
from typing import Final

import lmdb

from .base import Table
from .errors import StorageError, StoreDamaged
from .keys import MAX_NUMBER, log_key, split_log_key, table_bound, table_key
from .lmdb_env import Databases

__all__ = ["LmdbReads", "LmdbSnapshot"]


class LmdbReads(ABC):
    """:class:`~.base.Reads` over transactions that the subclass opens."""

    _dbs: Databases

    @abstractmethod
    def _reading(self) -> AbstractContextManager[lmdb.Transaction[bytes]]:
        """A read transaction for one call."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        full_key = table_key(table, key)
        try:
            with self._reading() as txn:
                return txn.get(full_key, db=self._dbs.tables)
        except lmdb.Error as error:
            raise _unreadable(error) from error

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        limit: int,
        reverse: bool = False,
    ) -> list[tuple[bytes, bytes]]:
        """At most `limit` pairs with `start <= key < stop`; see :class:`~.base.Reads`."""
        low = table_bound(table, start)
        high = table_bound(table, stop)
        found = self._range(self._dbs.tables, low, high, limit, reverse)
        return [(key[1:], value) for key, value in found]

    def read_log(
        self,
        stream: int,
        start: int = 1,
        stop: int | None = None,
        *,
        limit: int,
        reverse: bool = False,
    ) -> list[tuple[int, bytes]]:
        """At most `limit` records with `start <= seq < stop`; see :class:`~.base.Reads`."""
        low = log_key(stream, start)
        high = log_key(stream, MAX_NUMBER if stop is None else stop)
        found = self._range(self._dbs.log, low, high, limit, reverse)
        return [(split_log_key(key)[1], record) for key, record in found]

    def last_seq(self, stream: int) -> int:
        """Sequence number of the stream's newest record; 0 when it has none."""
        newest = self.read_log(stream, 0, limit=1, reverse=True)
        return newest[0][0] if newest else 0

    def _range(
        self,
        database: lmdb._Database,  # pyright: ignore[reportPrivateUsage]
        low: bytes,
        high: bytes,
        limit: int,
        reverse: bool,
    ) -> list[tuple[bytes, bytes]]:
        try:
            with self._reading() as txn, txn.cursor(database) as cursor:
                return list(islice(_range(cursor, low, high, reverse), limit))
        except lmdb.Error as error:
            raise _unreadable(error) from error


class LmdbSnapshot(LmdbReads):
    """Reads in one transaction, which its maker opens and ends."""

    def __init__(self, txn: lmdb.Transaction[bytes], dbs: Databases) -> None:
        self._dbs = dbs
        self._txn: Final = txn

    def _reading(self) -> AbstractContextManager[lmdb.Transaction[bytes]]:
        return nullcontext(self._txn)


def _unreadable(error: lmdb.Error) -> StorageError:
    return StoreDamaged(f"the store cannot be read: {error}; restore it from a copy")


def _range(
    cursor: lmdb.Cursor[bytes], low: bytes, high: bytes, reverse: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Items with `low <= key < high`."""
    if not reverse:
        if not cursor.set_range(low):
            return iter(())
        return takewhile(lambda item: item[0] < high, cursor.iternext())
    found = cursor.set_range(high)
    if not (cursor.prev() if found else cursor.last()):
        return iter(())
    return takewhile(lambda item: item[0] >= low, cursor.iterprev())
