"""What every store promises, run over each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
import trio

from turnkeeper.storage.base import MAX_KEY_BYTES, Batch, Store, Table
from turnkeeper.storage.batch import MAX_BATCH_BYTES
from turnkeeper.storage.errors import (
    BatchTooLarge,
    Conflict,
    InvalidKey,
    StorageError,
    StoreClosed,
)
from turnkeeper.storage.keys import number_key
from turnkeeper.storage.lmdb_store import open_lmdb
from turnkeeper.storage.memory import MemoryDisk, open_memory

OpenStore: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]


@pytest.fixture(params=["memory", "lmdb"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Opens the same store, again and again."""
    if request.param == "memory":
        disk = MemoryDisk()
        return lambda: open_memory(disk)
    return lambda: open_lmdb(tmp_path / "state", map_size=2**30)


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    async with open_store() as store:
        yield store


def appending(stream: int, expected_seq: int, *records: bytes) -> Batch:
    batch = Batch()
    batch.append(stream, expected_seq, records)
    return batch


def putting(key: bytes, value: bytes, table: Table = Table.HEADS) -> Batch:
    batch = Batch()
    batch.put(table, key, value)
    return batch


def creating(key: bytes, value: bytes) -> Batch:
    batch = Batch()
    batch.create(Table.BINDINGS, key, value)
    return batch


# Appends


async def test_what_was_committed_is_read_back(store: Store) -> None:
    batch = appending(7, 1, b"one", b"two")
    batch.put(Table.HEADS, number_key(7), b"head")
    await store.commit(batch)
    assert store.read_log(7, limit=10) == [(1, b"one"), (2, b"two")]
    assert store.last_seq(7) == 2
    assert store.get(Table.HEADS, number_key(7)) == b"head"


async def test_what_was_committed_is_there_after_reopening(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.commit(appending(7, 1, b"one"))
    async with open_store() as store:
        assert store.read_log(7, limit=10) == [(1, b"one")]
        await store.commit(appending(7, 2, b"two"))
        assert store.last_seq(7) == 2


@pytest.mark.parametrize("expected_seq", [0, 1, 2, 4, 99])
async def test_an_append_at_any_but_the_next_place_conflicts(
    store: Store, expected_seq: int
) -> None:
    await store.commit(appending(7, 1, b"one", b"two"))
    with pytest.raises(Conflict, match=f"stream 7: expected to append at {expected_seq}"):
        await store.commit(appending(7, expected_seq, b"stale"))
    assert store.read_log(7, limit=10) == [(1, b"one"), (2, b"two")]


async def test_a_stale_writer_conflicts_after_reopening_too(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.commit(appending(7, 1, b"one", b"two"))
    async with open_store() as store:
        with pytest.raises(Conflict, match="its next is 3"):
            await store.commit(appending(7, 2, b"stale"))


async def test_appends_that_wait_for_each_other_continue_each_other(store: Store) -> None:
    for seq in range(1, 100):
        store.submit(appending(7, seq, b"%d" % seq))
    await store.commit(appending(7, 100, b"100"))
    assert store.read_log(7, limit=1000) == [(seq, b"%d" % seq) for seq in range(1, 101)]


async def test_one_batch_may_append_to_several_streams_and_twice_to_one(store: Store) -> None:
    batch = Batch()
    batch.append(1, 1, [b"a"])
    batch.append(2, 1, [b"b"])
    batch.append(1, 2, [b"c", b"d"])
    await store.commit(batch)
    assert store.read_log(1, limit=10) == [(1, b"a"), (2, b"c"), (3, b"d")]
    assert store.read_log(2, limit=10) == [(1, b"b")]


async def test_a_conflict_leaves_nothing_of_its_batch(store: Store) -> None:
    batch = putting(b"k", b"v")
    batch.append(1, 1, [b"fine"])
    batch.append(2, 5, [b"stale"])
    with pytest.raises(Conflict):
        await store.commit(batch)
    assert store.get(Table.HEADS, b"k") is None
    assert store.last_seq(1) == store.last_seq(2) == 0
    await store.commit(appending(1, 1, b"still the first"))


async def test_a_conflict_fails_its_own_batch_and_no_other(store: Store) -> None:
    told: list[str] = []

    def tell(name: str) -> Callable[[StorageError | None], None]:
        return lambda error: told.append(f"{name}: {type(error).__name__}")

    store.submit(appending(1, 1, b"a"), tell("first"))
    store.submit(appending(1, 1, b"b"), tell("stale"))
    store.submit(appending(1, 2, b"c"), tell("second"))
    await store.commit(Batch())
    assert told == ["first: NoneType", "stale: Conflict", "second: NoneType"]
    assert store.read_log(1, limit=10) == [(1, b"a"), (2, b"c")]


# Tables


async def test_of_simultaneous_creations_one_wins(store: Store) -> None:
    outcomes: list[str] = []

    async def create(number: int) -> None:
        try:
            await store.commit(creating(b"conversation", b"%d" % number))
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    async with trio.open_nursery() as nursery:
        for number in range(64):
            nursery.start_soon(create, number)
    assert outcomes.count("won") == 1
    assert outcomes.count("lost") == 63


async def test_an_expectation_sees_what_is_pending(store: Store) -> None:
    store.submit(putting(b"k", b"one"))
    batch = putting(b"k", b"two")
    batch.expect(Table.HEADS, b"k", b"one")
    store.submit(batch)
    deletion = Batch()
    deletion.expect(Table.HEADS, b"k", b"two")
    deletion.delete(Table.HEADS, b"k")
    await store.commit(deletion)
    assert store.get(Table.HEADS, b"k") is None


async def test_an_expectation_that_fails_says_what_was_found(store: Store) -> None:
    await store.commit(putting(b"k", b"four"))
    batch = putting(b"k", b"v")
    batch.expect(Table.HEADS, b"k", None)
    with pytest.raises(Conflict, match="table HEADS, key 6b: expected nothing, found 4 bytes"):
        await store.commit(batch)


async def test_the_last_put_on_a_key_counts_and_a_put_beats_a_deletion(store: Store) -> None:
    batch = putting(b"k", b"one")
    batch.put(Table.HEADS, b"k", b"two")
    batch.delete(Table.HEADS, b"k")
    store.submit(batch)
    store.submit(putting(b"gone", b"x"))
    deletion = Batch()
    deletion.delete(Table.HEADS, b"gone")
    deletion.delete(Table.HEADS, b"never there")
    await store.commit(deletion)
    assert store.get(Table.HEADS, b"k") == b"two"
    assert store.get(Table.HEADS, b"gone") is None


async def test_tables_do_not_see_each_other(store: Store) -> None:
    for table in Table:
        await store.commit(putting(b"k", table.name.encode(), table))
    for table in Table:
        assert store.get(table, b"k") == table.name.encode()
        assert store.scan(table, limit=10) == [(b"k", table.name.encode())]
        assert store.scan(table, limit=10, reverse=True) == [(b"k", table.name.encode())]


@pytest.mark.parametrize(
    ("start", "stop", "limit", "reverse", "expected"),
    [
        (b"", None, 10, False, "abc"),
        (b"", None, 10, True, "cba"),
        (b"", None, 2, False, "ab"),
        (b"", None, 2, True, "cb"),
        (b"", None, 0, False, ""),
        (b"b", None, 10, False, "bc"),
        (b"aa", b"c", 10, False, "b"),
        (b"a", b"c", 10, True, "ba"),
        (b"d", None, 10, False, ""),
        (b"", b"a", 10, True, ""),
        (b"c", b"a", 10, False, ""),
    ],
)
async def test_a_scan_gives_its_range_in_order(
    store: Store, start: bytes, stop: bytes | None, limit: int, reverse: bool, expected: str
) -> None:
    for key in (b"b", b"a", b"c"):
        await store.commit(putting(key, b"v" + key, Table.NAMES))
    await store.commit(putting(b"b", b"before", Table.HEADS))
    await store.commit(putting(b"b", b"after", Table.BINDINGS))
    found = store.scan(Table.NAMES, start, stop, limit=limit, reverse=reverse)
    assert found == [(key.encode(), b"v" + key.encode()) for key in expected]


@pytest.mark.parametrize(
    ("start", "stop", "limit", "reverse", "expected"),
    [
        (1, None, 10, False, [1, 2, 3]),
        (1, None, 10, True, [3, 2, 1]),
        (2, None, 10, False, [2, 3]),
        (1, 3, 10, True, [2, 1]),
        (1, None, 1, True, [3]),
        (4, None, 10, False, []),
    ],
)
async def test_a_log_is_read_in_order_and_alone(
    store: Store, start: int, stop: int | None, limit: int, reverse: bool, expected: list[int]
) -> None:
    for stream in (6, 7, 8):
        await store.commit(appending(stream, 1, *(b"%d/%d" % (stream, seq) for seq in (1, 2, 3))))
    found = store.read_log(7, start, stop, limit=limit, reverse=reverse)
    assert found == [(seq, b"7/%d" % seq) for seq in expected]


async def test_a_stream_that_has_no_records_ends_at_0(store: Store) -> None:
    await store.commit(appending(7, 1, b"x"))
    assert store.last_seq(6) == store.last_seq(8) == 0
    assert store.read_log(8, limit=5) == []


# What no store takes


@pytest.mark.parametrize("key", [b"", b"k" * (MAX_KEY_BYTES + 1)])
async def test_an_empty_or_long_key_is_refused_and_harms_nothing(store: Store, key: bytes) -> None:
    batch = appending(1, 1, b"r")
    batch.put(Table.HEADS, key, b"v")
    with pytest.raises(InvalidKey, match=f"a key of {len(key)} bytes in table HEADS"):
        await store.commit(batch)
    with pytest.raises(InvalidKey):
        store.get(Table.HEADS, key)
    assert store.last_seq(1) == 0
    await store.commit(appending(1, 1, b"r"))


async def test_a_key_of_the_longest_length_works(store: Store) -> None:
    key = b"\xff" * MAX_KEY_BYTES
    await store.commit(putting(key, b"v"))
    assert store.get(Table.HEADS, key) == b"v"
    assert store.scan(Table.HEADS, key, limit=2) == [(key, b"v")]


@pytest.mark.parametrize("stream", [-1, 2**64])
async def test_a_stream_number_beyond_64_bits_is_refused(store: Store, stream: int) -> None:
    with pytest.raises(InvalidKey, match="64 bits"):
        await store.commit(appending(stream, 1, b"x"))


async def test_a_value_that_is_not_bytes_is_refused_at_once(store: Store) -> None:
    with pytest.raises(TypeError, match="bytes, not str"):
        store.submit(putting(b"k", "text"))  # type: ignore[arg-type]
    await store.commit(putting(b"k", b"v"))


async def test_a_batch_beyond_the_limit_is_refused_at_once(store: Store) -> None:
    with pytest.raises(BatchTooLarge, match="split it"):
        store.submit(appending(1, 1, b"x" * MAX_BATCH_BYTES))
    await store.commit(appending(1, 1, b"x"))


# Order and time


async def test_callbacks_come_on_the_loop_thread_in_order_of_submission(store: Store) -> None:
    order: list[int] = []

    def note(number: int, error: StorageError | None) -> None:
        order.append(number)

    for number in range(1500):
        batch = putting(b"k", b"%d" % number)
        store.submit(batch, partial(note, number))
    assert order == []
    await store.commit(putting(b"k", b"last"))
    assert order == list(range(1500))
    assert store.get(Table.HEADS, b"k") == b"last"


async def test_a_batch_is_readable_by_the_time_that_its_callback_comes(store: Store) -> None:
    found: list[bytes | None] = []
    store.submit(putting(b"k", b"v"), lambda error: found.append(store.get(Table.HEADS, b"k")))
    assert store.get(Table.HEADS, b"k") is None
    await store.commit(Batch())
    assert found == [b"v"]


async def test_a_callback_may_submit(store: Store) -> None:
    done = trio.Event()

    def again(error: StorageError | None) -> None:
        assert error is None
        store.submit(putting(b"b", b"2"), lambda error: done.set())

    store.submit(putting(b"a", b"1"), again)
    await done.wait()
    assert store.get(Table.HEADS, b"b") == b"2"


async def test_cancelling_the_wait_does_not_take_the_batch_back(store: Store) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.commit(putting(b"k", b"v"))
    assert scope.cancelled_caught
    await store.commit(Batch())
    assert store.get(Table.HEADS, b"k") == b"v"


async def test_a_snapshot_stays_as_it_was(store: Store) -> None:
    await store.commit(putting(b"k", b"old"))
    with store.snapshot() as snapshot:
        await store.commit(putting(b"k", b"new"))
        await store.commit(appending(1, 1, b"later"))
        assert snapshot.get(Table.HEADS, b"k") == b"old"
        assert snapshot.last_seq(1) == 0
        assert await trio.to_thread.run_sync(lambda: snapshot.scan(Table.HEADS, limit=5)) == [
            (b"k", b"old")
        ]
    assert store.get(Table.HEADS, b"k") == b"new"


# The end


async def test_closing_writes_what_was_submitted(open_store: OpenStore) -> None:
    told: list[StorageError | None] = []
    async with open_store() as store:
        for seq in range(1, 2001):
            store.submit(appending(1, seq, b"r"), told.append)
    assert told == [None] * 2000
    async with open_store() as store:
        assert store.last_seq(1) == 2000


async def test_closing_under_cancellation_still_writes(open_store: OpenStore) -> None:
    with trio.CancelScope() as scope:
        async with open_store() as store:
            store.submit(appending(1, 1, b"r"))
            scope.cancel()
            await trio.lowlevel.checkpoint()
    async with open_store() as store:
        assert store.last_seq(1) == 1


async def test_a_closed_store_takes_nothing_and_closes_again_without_harm(
    open_store: OpenStore,
) -> None:
    async with open_store() as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.aclose)
            nursery.start_soon(store.aclose)
        await store.aclose()
        with pytest.raises(StoreClosed, match="closed"):
            store.submit(Batch())
        with pytest.raises(StoreClosed):
            await store.commit(Batch())
        with pytest.raises(StoreClosed):
            store.get(Table.HEADS, b"k")
        with pytest.raises(StoreClosed), store.snapshot():
            pass
        assert store.failure is None
