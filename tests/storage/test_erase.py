"""What every store promises about the records that it is told to erase."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest
import trio

from turnkeeper.storage.base import MAX_ERASED, Batch, Store, Table
from turnkeeper.storage.errors import BatchTooLarge, Conflict, StoreClosed, StoreFailed
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
        for stream in (6, 7, 8):
            await store.commit(appending(stream, 1, *(b"%d" % seq for seq in range(1, 6))))
        yield store


def appending(stream: int, expected_seq: int, *records: bytes) -> Batch:
    batch = Batch()
    batch.append(stream, expected_seq, records)
    return batch


def erasing(stream: int, start: int, stop: int) -> Batch:
    batch = Batch()
    batch.erase(stream, start, stop)
    return batch


async def test_what_was_erased_is_passed_over_and_nothing_else_is_gone(store: Store) -> None:
    await store.commit(erasing(7, 2, 4))
    assert store.read_log(7, limit=10) == [(1, b"1"), (4, b"4"), (5, b"5")]
    assert store.read_log(7, limit=10, reverse=True) == [(5, b"5"), (4, b"4"), (1, b"1")]
    assert store.read_log(7, 2, 4, limit=10) == []
    assert store.last_seq(7) == 5
    for other in (6, 8):
        assert len(store.read_log(other, limit=10)) == 5


async def test_a_log_can_be_replaced_by_its_last_record_in_one_batch(store: Store) -> None:
    batch = appending(7, 6, b"tombstone")
    batch.erase(7, 1, 6)
    batch.delete(Table.NAMES, b"name")
    await store.commit(batch)
    assert store.read_log(7, limit=10) == [(6, b"tombstone")]
    await store.commit(appending(7, 7, b"next"))
    assert store.last_seq(7) == 7


@pytest.mark.parametrize(("start", "stop"), [(0, 2), (4, 3), (5, 6), (1, 7), (6, 9)])
async def test_the_newest_record_and_what_is_no_range_are_never_erased(
    store: Store, start: int, stop: int
) -> None:
    batch = erasing(7, start, stop)
    batch.put(Table.NAMES, b"k", b"v")
    with pytest.raises(Conflict, match=r"stream 7: .* cannot be erased, its newest is 5"):
        await store.commit(batch)
    assert len(store.read_log(7, limit=10)) == 5
    assert store.get(Table.NAMES, b"k") is None


async def test_a_stream_that_has_no_records_has_none_to_erase(store: Store) -> None:
    with pytest.raises(Conflict, match="its newest is 0"):
        await store.commit(erasing(99, 1, 2))


async def test_erasing_again_what_is_gone_changes_nothing(store: Store) -> None:
    await store.commit(erasing(7, 1, 4))
    await store.commit(erasing(7, 1, 5))
    assert store.read_log(7, limit=10) == [(5, b"5")]


async def test_what_is_pending_can_be_erased(store: Store) -> None:
    store.submit(appending(7, 6, b"6", b"7"))
    store.submit(erasing(7, 3, 7))
    await store.commit(appending(7, 8, b"8"))
    assert [seq for seq, _ in store.read_log(7, limit=10)] == [1, 2, 7, 8]


async def test_a_batch_that_erases_too_much_is_refused_at_once(store: Store) -> None:
    await store.commit(appending(9, 1, *[b"r"] * (MAX_ERASED + 2)))
    with pytest.raises(BatchTooLarge, match="split it"):
        store.submit(erasing(9, 1, MAX_ERASED + 2))
    await store.commit(erasing(9, 1, MAX_ERASED + 1))
    assert [seq for seq, _ in store.read_log(9, limit=10)] == [MAX_ERASED + 1, MAX_ERASED + 2]


async def test_a_snapshot_keeps_what_was_erased_since(store: Store) -> None:
    with store.snapshot() as snapshot:
        await store.commit(erasing(7, 1, 5))
        assert len(snapshot.read_log(7, limit=10)) == 5
        assert len(store.read_log(7, limit=10)) == 1


async def test_what_was_erased_stays_away_after_reopening_and_its_numbers_are_not_given_again(
    open_store: OpenStore,
) -> None:
    async with open_store() as store:
        await store.commit(appending(7, 1, b"1", b"2", b"3"))
        await store.commit(erasing(7, 1, 3))
    async with open_store() as store:
        assert store.read_log(7, limit=10) == [(3, b"3")]
        with pytest.raises(Conflict, match="its next is 4"):
            await store.commit(appending(7, 1, b"again"))
        await store.commit(appending(7, 4, b"4"))


async def test_a_batch_joined_with_another_erases_what_that_would(store: Store) -> None:
    batch = erasing(6, 1, 3)
    batch.join(erasing(7, 1, 2))
    await store.commit(batch)
    assert [seq for seq, _ in store.read_log(6, limit=10)] == [3, 4, 5]
    assert [seq for seq, _ in store.read_log(7, limit=10)] == [2, 3, 4, 5]


async def test_a_disk_that_refuses_to_erase_ends_the_store_and_nothing_is_erased() -> None:
    disk = MemoryDisk()
    async with open_memory(disk) as store:
        await store.commit(appending(7, 1, b"1", b"2"))
        store.fail_next()
        with pytest.raises(StoreFailed):
            await store.commit(erasing(7, 1, 2))
        with pytest.raises(StoreClosed):
            store.submit(erasing(7, 1, 2))
    async with open_memory(disk) as store:
        assert store.read_log(7, limit=10) == [(1, b"1"), (2, b"2")]


_KILLED = """
import os, signal, sys, trio
from turnkeeper.storage.base import Batch
from turnkeeper.storage.lmdb_store import open_lmdb

async def main():
    async with open_lmdb(sys.argv[1], map_size=2**30) as store:
        batch = Batch()
        batch.append(7, 1, [b"x" * 300] * 5000)
        await store.commit(batch)
        for stop in range(5000, 0, -1000):
            batch = Batch()
            batch.erase(7, max(stop - 1000, 1), stop)
            await store.commit(batch)
            if stop == 3000:
                os.kill(os.getpid(), signal.SIGKILL)

trio.run(main)
"""


async def test_a_process_that_dies_while_it_erases_has_erased_whole_batches(tmp_path: Path) -> None:
    state = tmp_path / "state"
    ended = await trio.run_process([sys.executable, "-c", _KILLED, os.fspath(state)], check=False)
    assert ended.returncode == -signal.SIGKILL
    async with open_lmdb(state, map_size=2**30) as store:
        left = [seq for seq, _ in store.read_log(7, limit=10_000)]
        assert left == [*range(1, 2000), 5000]
        await store.commit(erasing(7, 1, 1001))
        assert store.last_seq(7) == 5000
