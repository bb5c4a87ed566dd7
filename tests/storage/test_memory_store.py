"""The hooks which tests of other parts use on the store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.testing import wait_all_tasks_blocked

from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.errors import StorageError, StoreClosed, StoreFailed
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory


@pytest.fixture
async def store() -> AsyncIterator[MemoryStore]:
    async with open_memory() as store:
        yield store


def putting(key: bytes, value: bytes = b"v") -> Batch:
    batch = Batch()
    batch.put(Table.HEADS, key, value)
    return batch


async def test_a_held_store_makes_nothing_durable_until_it_is_released(store: MemoryStore) -> None:
    told: list[StorageError | None] = []
    store.hold()
    store.submit(putting(b"a"), told.append)
    await wait_all_tasks_blocked()
    store.submit(putting(b"b"), told.append)
    await wait_all_tasks_blocked()
    assert told == []
    assert store.get(Table.HEADS, b"a") is None
    store.release()
    await wait_all_tasks_blocked()
    assert told == [None, None]
    assert store.get(Table.HEADS, b"b") == b"v"


async def test_a_store_that_is_asked_to_fail_fails_as_a_disk_does(store: MemoryStore) -> None:
    await store.commit(putting(b"before"))
    store.fail_next("no more room")
    told: list[StorageError | None] = []
    store.submit(putting(b"a"), told.append)
    store.submit(putting(b"b"), told.append)
    failure = await store.wait_failed()
    assert isinstance(failure, StoreFailed)
    assert told == [failure, failure]
    assert store.failure is failure
    assert store.get(Table.HEADS, b"a") is None
    with pytest.raises(StoreClosed, match="no more room"):
        store.submit(putting(b"c"))


async def test_a_store_that_is_dropped_while_it_holds_loses_what_was_not_durable() -> None:
    disk = MemoryDisk()
    crashed = MemoryStore(disk)
    await crashed.commit(putting(b"durable"))
    crashed.hold()
    crashed.submit(putting(b"lost"))
    async with open_memory(disk) as store:
        assert store.get(Table.HEADS, b"durable") == b"v"
        assert store.get(Table.HEADS, b"lost") is None
