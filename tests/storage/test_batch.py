"""Which batches share a transaction, and which conflict: tables, no disk."""

from __future__ import annotations

import pytest

from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.batch import (
    MAX_GROUP_BATCHES,
    MAX_GROUP_BYTES,
    MAX_KNOWN_TAILS,
    Group,
    Pending,
)
from turnkeeper.storage.errors import InvalidKey, StorageError, StoreFailed
from turnkeeper.storage.keys import log_key, table_key


class Disk:
    """What is committed, and how often it was asked."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.tails: dict[int, int] = {}
        self.asked = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        self.asked += 1
        return self.values.get(table_key(table, key))

    def last_seq(self, stream: int) -> int:
        self.asked += 1
        return self.tails.get(stream, 0)


def appending(stream: int, seq: int, *records: bytes) -> Batch:
    batch = Batch()
    batch.append(stream, seq, records)
    return batch


def putting(key: bytes, value: bytes, expected: bytes | None = b"any") -> Batch:
    batch = Batch()
    if expected != b"any":
        batch.expect(Table.HEADS, key, expected)
    batch.put(Table.HEADS, key, value)
    return batch


def take_all(pending: Pending) -> list[Group]:
    return list(iter(pending.take, None))


def conflicts(group: Group) -> list[bool]:
    return [error is not None for _, error in group.outcomes]


def test_batches_that_wait_share_a_group_and_those_after_it_was_taken_do_not() -> None:
    pending = Pending(Disk())
    assert not pending
    assert pending.take() is None
    for seq in (1, 2, 3):
        pending.add(appending(1, seq, b"r"), None)
    first = pending.take()
    pending.add(appending(1, 4, b"r"), None)
    second = pending.take()
    assert repr(first) == "<Group of 3 batches: 3 records, 0 keys, 51 bytes>"
    assert second is not None
    assert second.log == [(log_key(1, 4), b"r")]
    assert repr(pending) == "<Pending: 2 groups, 2 taken>"


@pytest.mark.parametrize(
    ("batches", "record_bytes", "groups"),
    [
        (1, 1, [1]),
        (MAX_GROUP_BATCHES, 1, [MAX_GROUP_BATCHES]),
        (MAX_GROUP_BATCHES + 1, 1, [MAX_GROUP_BATCHES, 1]),
        (3, MAX_GROUP_BYTES, [1, 1, 1]),
        (5, MAX_GROUP_BYTES // 2, [2, 2, 1]),
        (2, 3 * MAX_GROUP_BYTES, [1, 1]),
    ],
)
def test_a_group_is_bounded_in_batches_and_bytes(
    batches: int, record_bytes: int, groups: list[int]
) -> None:
    pending = Pending(Disk())
    record = b"x" * record_bytes
    for seq in range(1, batches + 1):
        pending.add(appending(1, seq, record), None)
    assert [len(group.outcomes) for group in take_all(pending)] == groups


def test_puts_on_one_key_within_a_group_become_the_last_of_them() -> None:
    pending = Pending(Disk())
    for value in (b"one", b"two", b"three"):
        pending.add(putting(b"k", value), None)
    [group] = take_all(pending)
    assert group.tables == {table_key(Table.HEADS, b"k"): b"three"}


def test_a_conflict_changes_nothing_and_holds_its_place_in_the_order() -> None:
    disk = Disk()
    disk.tails = {1: 7}
    pending = Pending(disk)
    batches = [
        appending(1, 8, b"a"),
        appending(1, 8, b"stale"),
        appending(1, 9, b"b"),
        putting(b"k", b"1", expected=None),
        putting(b"k", b"2", expected=None),
        putting(b"k", b"3", expected=b"1"),
    ]
    for batch in batches:
        pending.add(batch, None)
    [group] = take_all(pending)
    assert conflicts(group) == [False, True, False, False, True, False]
    assert group.log == [(log_key(1, 8), b"a"), (log_key(1, 9), b"b")]
    assert group.tables == {table_key(Table.HEADS, b"k"): b"3"}


def test_a_group_of_conflicts_has_nothing_to_write() -> None:
    pending = Pending(Disk())
    pending.add(appending(1, 5, b"stale"), None)
    pending.add(Batch(), None)
    [group] = take_all(pending)
    assert not group.has_writes()
    assert conflicts(group) == [True, False]


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_expectations_look_through_every_pending_group_to_the_disk(taken: int) -> None:
    disk = Disk()
    disk.values = {table_key(Table.HEADS, b"old"): b"0"}
    pending = Pending(disk)
    for number in range(3):
        pending.add(putting(b"k%d" % number, b"v"), None)
        if number < taken:
            pending.take()
    deletion = Batch()
    deletion.delete(Table.HEADS, b"k0")
    pending.add(deletion, None)
    batch = Batch()
    batch.expect(Table.HEADS, b"k0", None)
    batch.expect(Table.HEADS, b"k1", b"v")
    batch.expect(Table.HEADS, b"k2", b"v")
    batch.expect(Table.HEADS, b"old", b"0")
    batch.expect(Table.HEADS, b"never", None)
    pending.add(batch, None)
    assert conflicts(take_all(pending)[-1])[-1] is False


def test_the_disk_is_asked_for_the_end_of_a_stream_once() -> None:
    disk = Disk()
    pending = Pending(disk)
    for seq in range(1, 1001):
        pending.add(appending(1, seq, b"r"), None)
    assert disk.asked == 1


def test_the_ends_of_streams_are_forgotten_only_when_nothing_is_pending() -> None:
    disk = Disk()
    pending = Pending(disk)
    for stream in range(MAX_KNOWN_TAILS + 1):
        pending.add(appending(stream, 1, b"r"), None)
    asked = disk.asked
    for _ in take_all(pending)[1:]:
        pending.pop()
    pending.add(appending(5, 2, b"r"), None)
    assert disk.asked == asked
    pending.pop()
    pending.take()
    pending.pop()
    disk.tails = {5: 2}
    pending.add(appending(5, 3, b"r"), None)
    assert disk.asked == asked + 1
    assert [conflicts(group) for group in take_all(pending)] == [[False]]


def test_what_is_malformed_is_refused_whole() -> None:
    pending = Pending(Disk())
    batch = appending(1, 1, b"r")
    batch.put(Table.HEADS, b"", b"v")
    with pytest.raises(InvalidKey):
        pending.add(batch, None)
    assert not pending
    pending.add(appending(1, 1, b"r"), None)


def test_everyone_is_told_in_order_with_their_own_reason() -> None:
    told: list[tuple[str, StorageError | None]] = []
    pending = Pending(Disk())
    pending.add(appending(1, 1, b"a"), lambda error: told.append(("first", error)))
    pending.add(appending(1, 1, b"b"), lambda error: told.append(("stale", error)))
    pending.add(appending(1, 2, b"c"), None)
    pending.take()
    failure = StoreFailed("the disk")
    for group in pending.pop_all():
        group.settle(failure)
    assert [name for name, _ in told] == ["first", "stale"]
    assert told[0][1] is failure
    assert "its next is 2" in str(told[1][1])
    assert not pending
