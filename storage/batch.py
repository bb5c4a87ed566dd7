"""Group commit, decided: which batches go into one transaction, and which of them conflict.

Pure: no thread, no disk. What a batch finds is settled when it is submitted, because everything
before it either becomes durable or takes the store down with it. So preconditions are checked
against what is committed, overlaid with what is pending; a transaction is only puts and deletes.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Protocol

from .base import MAX_ERASED, Batch, Table, Then
from .errors import BatchTooLarge, Conflict, StorageError
from .keys import log_key, table_key

__all__ = [
    "MAX_BATCH_BYTES",
    "MAX_GROUP_BATCHES",
    "MAX_GROUP_BYTES",
    "MAX_KNOWN_TAILS",
    "Committed",
    "Group",
    "Pending",
]

MAX_GROUP_BATCHES: Final = 512
"""Batches in one transaction. A larger one is no faster, and its first batch waits longer."""
MAX_GROUP_BYTES: Final = 4 * 1024 * 1024
"""Bytes of keys and values after which a transaction takes no further batch."""
MAX_BATCH_BYTES: Final = 64 * 1024 * 1024
"""Bytes of keys and values in one batch. LMDB's own limit is 512 MiB of pages in a transaction."""
MAX_KNOWN_TAILS: Final = 65_536
"""Streams whose newest sequence number is kept in memory, at about 130 bytes each."""


_LOG_KEY_BYTES: Final = 16
_TABLE_KEY_BYTES: Final = 17


class Committed(Protocol):
    """What a decision needs to know of the durable state."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        ...

    def last_seq(self, stream: int) -> int:
        """The newest sequence number of `stream`, or 0."""
        ...


class Group:
    """Batches that share one transaction."""

    __slots__ = ("erased", "log", "outcomes", "size_bytes", "tables")

    def __init__(self) -> None:
        self.log: list[tuple[bytes, bytes]] = []
        """New log records, by log key."""
        self.erased: list[bytes] = []
        """Log keys that hold nothing any more, once `log` is written: no number is given twice."""
        self.tables: dict[bytes, bytes | None] = {}
        """Last value put, by table key; None where the key is deleted."""
        self.outcomes: list[tuple[Then | None, StorageError | None]] = []
        """Whom to tell, in order of submission, and what, once the group is durable."""
        self.size_bytes = 0

    def is_full(self) -> bool:
        """Whether the next batch belongs into another group."""
        return len(self.outcomes) >= MAX_GROUP_BATCHES or self.size_bytes >= MAX_GROUP_BYTES

    def has_writes(self) -> bool:
        """Whether there is anything to commit: not if every batch was empty or conflicted."""
        return bool(self.log or self.tables or self.erased)

    def settle(self, failure: StorageError | None) -> None:
        """Tell everyone: durable where `failure` is None."""
        for then, conflict in self.outcomes:
            if then is not None:
                then(conflict or failure)

    def __repr__(self) -> str:
        return (
            f"<Group of {len(self.outcomes)} batches: {len(self.log)} records, "
            f"{len(self.tables)} keys, {self.size_bytes} bytes>"
        )


class Pending:
    """Batches that are submitted and not yet durable, in groups, oldest first."""

    __slots__ = ("_committed", "_groups", "_tails", "_taken")

    def __init__(self, committed: Committed) -> None:
        self._committed = committed
        self._groups: deque[Group] = deque()
        self._taken = 0
        self._tails: dict[int, int] = {}

    def __bool__(self) -> bool:
        return bool(self._groups)

    @property
    def waiting(self) -> bool:
        """Whether :meth:`take` has something to give."""
        return len(self._groups) > self._taken

    def add(self, batch: Batch, then: Then | None) -> None:
        """Put `batch` into a group, or its refusal, if a precondition does not hold.

        Raises:
            BatchTooLarge: more than `MAX_BATCH_BYTES`, and it is not bulk, or more than
                `MAX_ERASED`; nothing was taken in.
            InvalidKey: a key that no table can hold; nothing was taken in.
            TypeError: a value which is not bytes; nothing was taken in.
        """
        log, log_bytes = _log_items(batch)
        tables, table_bytes = _table_items(batch)
        erased = _erased_keys(batch)
        size_bytes = log_bytes + table_bytes + _LOG_KEY_BYTES * len(erased)
        if size_bytes > MAX_BATCH_BYTES and not batch.bulk:
            raise BatchTooLarge(
                f"a batch of {size_bytes} bytes: at most {MAX_BATCH_BYTES} are allowed; split it"
            )
        conflict = self._conflict(batch)
        groups = self._groups
        if len(groups) == self._taken or groups[-1].is_full():
            groups.append(Group())
        group = groups[-1]
        group.outcomes.append((then, conflict))
        if conflict is None:
            group.log += log
            group.erased += erased
            group.tables.update(tables)
            group.size_bytes += size_bytes
            for stream, expected_seq, records in batch.appends:
                self._tails[stream] = expected_seq + len(records) - 1

    def take(self) -> Group | None:
        """The oldest group that was not taken yet; no batch joins it from now on."""
        if not self.waiting:
            return None
        self._taken += 1
        return self._groups[self._taken - 1]

    def pop(self) -> Group:
        """Forget the oldest group, which was taken and is durable now."""
        self._taken -= 1
        group = self._groups.popleft()
        if not self._groups and len(self._tails) > MAX_KNOWN_TAILS:
            self._tails.clear()
        return group

    def pop_all(self) -> list[Group]:
        """Forget every group: none of them will become durable."""
        groups = list(self._groups)
        self._groups.clear()
        self._taken = 0
        return groups

    def _conflict(self, batch: Batch) -> Conflict | None:
        for table, key, expected in batch.expects:
            if (found := self._get(table, key)) != expected:
                return Conflict(
                    f"table {table.name}, key {key.hex()}: expected {_shown(expected)}, "
                    f"found {_shown(found)}"
                )
        ends: dict[int, int] = {}
        for stream, expected_seq, records in batch.appends:
            end = ends.get(stream)
            next_seq = (self._tail(stream) if end is None else end) + 1
            if next_seq != expected_seq:
                return Conflict(
                    f"stream {stream}: expected to append at {expected_seq}, its next is {next_seq}"
                )
            if len(batch.appends) > 1 or batch.erases:
                ends[stream] = expected_seq + len(records) - 1
        for stream, start, stop in batch.erases:
            newest = ends[stream] if stream in ends else self._tail(stream)
            if not 0 < start <= stop <= newest:
                return Conflict(
                    f"stream {stream}: {start} to {stop - 1} cannot be erased, "
                    f"its newest is {newest}"
                )
        return None

    def _tail(self, stream: int) -> int:
        tail = self._tails.get(stream)
        if tail is None:
            tail = self._tails[stream] = self._committed.last_seq(stream)
        return tail

    def _get(self, table: Table, key: bytes) -> bytes | None:
        full_key = table_key(table, key)
        for group in reversed(self._groups):
            if full_key in group.tables:
                return group.tables[full_key]
        return self._committed.get(table, key)

    def __repr__(self) -> str:
        return f"<Pending: {len(self._groups)} groups, {self._taken} taken>"


def _log_items(batch: Batch) -> tuple[list[tuple[bytes, bytes]], int]:
    """The records that `batch` appends, by log key, and their size in bytes."""
    items: list[tuple[bytes, bytes]] = []
    size = 0
    for stream, seq, records in batch.appends:
        for offset, record in enumerate(records):
            if type(record) is not bytes:
                raise _not_bytes(record)
            size += _LOG_KEY_BYTES + len(record)
            items.append((log_key(stream, seq + offset), record))
    return items, size


def _erased_keys(batch: Batch) -> list[bytes]:
    """The log keys that `batch` erases.

    Raises:
        BatchTooLarge: more than `MAX_ERASED`.
    """
    count = sum(max(stop - start, 0) for _, start, stop in batch.erases)
    if count > MAX_ERASED:
        raise BatchTooLarge(f"a batch erases {count} records: at most {MAX_ERASED}; split it")
    return [
        log_key(stream, seq) for stream, start, stop in batch.erases for seq in range(start, stop)
    ]


def _table_items(batch: Batch) -> tuple[dict[bytes, bytes | None], int]:
    """What `batch` makes of the tables, by table key, and its size in bytes."""
    items: dict[bytes, bytes | None] = {}
    size = 0
    for table, key in batch.deletes:
        items[table_key(table, key)] = None
    for table, key, value in batch.puts:
        if type(value) is not bytes:
            raise _not_bytes(value)
        size += _TABLE_KEY_BYTES + len(value)
        items[table_key(table, key)] = value
    return items, size


def _not_bytes(value: object) -> TypeError:
    return TypeError(f"a store holds bytes, not {type(value).__name__}: encode the value")


def _shown(value: bytes | None) -> str:
    return "nothing" if value is None else f"{len(value)} bytes"
