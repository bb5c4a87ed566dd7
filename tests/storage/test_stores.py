"""What every store promises, run over each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from turnkeeper.storage.base import Batch, Store, Table
from turnkeeper.storage.errors import Conflict
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
