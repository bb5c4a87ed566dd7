"""The store in memory: the same decisions and the same order of events, without a disk.

It is the fake that tests of everything above storage use; the suite in `tests/storage` holds it to
the same promises as the real one. A :class:`MemoryDisk` outlives its stores, as a disk would.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice
from typing import Final

import trio

from .base import Table
from .batch import Group
from .committer import Committer
from .errors import StoreClosed, StoreFailed
from .keys import MAX_NUMBER, log_key, split_log_key, table_bound, table_key

__all__ = ["MemoryDisk", "MemoryReads", "MemoryStore", "open_memory"]


class _SortedMap:
    """A dict whose keys can be walked in order."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._keys: list[bytes] = []

    def get(self, key: bytes) -> bytes | None:
        return self._values.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self._values:
            insort(self._keys, key)
        self._values[key] = value

    def delete(self, key: bytes) -> None:
        if self._values.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def range(self, low: bytes, high: bytes, reverse: bool) -> Iterator[tuple[bytes, bytes]]:
        first, last = bisect_left(self._keys, low), bisect_left(self._keys, high)
        places = range(last - 1, first - 1, -1) if reverse else range(first, last)
        return ((self._keys[place], self._values[self._keys[place]]) for place in places)

    def copy(self) -> _SortedMap:
        copy = _SortedMap()
        copy._values = self._values.copy()
        copy._keys = self._keys.copy()
        return copy


class MemoryDisk:
    """What survives when a store is closed or dropped."""

    def __init__(self) -> None:
        self.log = _SortedMap()
        self.tables = _SortedMap()

    def copy(self) -> MemoryDisk:
        """What it holds now."""
        copy = MemoryDisk()
        copy.log = self.log.copy()
        copy.tables = self.tables.copy()
        return copy

    def write(self, group: Group) -> None:
        """Apply a group, whole."""
        for key, record in group.log:
            self.log.put(key, record)
        for key in group.erased:
            self.log.delete(key)
        for key, value in group.tables.items():
            if value is None:
                self.tables.delete(key)
            else:
                self.tables.put(key, value)


class MemoryReads:
    """:class:`~.base.Reads` over a disk."""

    def __init__(self, disk: MemoryDisk) -> None:
        self._disk: Final = disk

    def _reading(self) -> MemoryDisk:
        return self._disk

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        return self._reading().tables.get(table_key(table, key))

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
        low, high = table_bound(table, start), table_bound(table, stop)
        found = self._reading().tables.range(low, high, reverse)
        return [(key[1:], value) for key, value in islice(found, limit)]

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
        found = self._reading().log.range(low, high, reverse)
        return [(split_log_key(key)[1], record) for key, record in islice(found, limit)]

    def last_seq(self, stream: int) -> int:
        """Sequence number of the stream's newest record; 0 when it has none."""
        newest = self.read_log(stream, 0, limit=1, reverse=True)
        return newest[0][0] if newest else 0


class MemoryStore(MemoryReads, Committer):
    """A store for tests, to be made and used on one trio loop."""

    def __init__(self, disk: MemoryDisk | None = None) -> None:
        MemoryReads.__init__(self, MemoryDisk() if disk is None else disk)
        Committer.__init__(self)
        self._closed = False
        self._token: Final = trio.lowlevel.current_trio_token()
        self._held = False
        self._woken = False
        self._next_failure: str | None = None

    def hold(self) -> None:
        """Let no batch become durable until :meth:`release`."""
        self._held = True

    def release(self) -> None:
        """Go on after :meth:`hold`."""
        self._held = False
        self._wake_writer()

    def fail_next(self, reason: str = "the disk refused (a test asked for it)") -> None:
        """Have the next commit fail, and with it the store."""
        self._next_failure = reason

    @contextmanager
    def snapshot(self) -> Generator[MemoryReads]:
        """Reads over one frozen moment; see :class:`~.base.Store`."""
        yield MemoryReads(self._reading().copy())

    async def aclose(self) -> None:
        """Write what was submitted, then close. Idempotent. A held store is released."""
        self.release()
        with trio.CancelScope(shield=True):
            await self._drain()
            self._closed = True

    def _reading(self) -> MemoryDisk:
        if self._closed:
            raise StoreClosed("the store has been closed")
        return self._disk

    def _wake_writer(self) -> None:
        if not self._woken:
            self._woken = True
            self._token.run_sync_soon(self._write_next)

    def _write_next(self) -> None:
        self._woken = False
        if self._held or (group := self._pending.take()) is None:
            return
        if self._next_failure is not None and group.has_writes():
            self._fail(StoreFailed(self._next_failure))
            return
        self._disk.write(group)
        self._settle()
        self._wake_writer()


@asynccontextmanager
async def open_memory(disk: MemoryDisk | None = None) -> AsyncGenerator[MemoryStore, None]:
    """Open a store in memory, over what `disk` holds, and close it at the end."""
    store = MemoryStore(disk)
    try:
        yield store
    finally:
        await store.aclose()
