"""Stores of a version whose heads did not know of all that is in one now."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import trio

import turnkeeper as tk
from turnkeeper import views
from turnkeeper.actors.core.head import Head, is_outdated, read_head
from turnkeeper.actors.journal import load_head
from turnkeeper.storage.base import Batch, Store, Table
from turnkeeper.storage.codec import decode, encode
from turnkeeper.storage.keys import number_key
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from .retained import NOW_US, agent, is_quiet, problems, say, until

FIELDS_BEFORE = Head._fields.index("phase")
"""How many fields a head had before contexts were summarised."""


def clock() -> datetime:
    return datetime.fromtimestamp(NOW_US / 1e6, UTC)


async def grow(disk: MemoryDisk) -> None:
    """Two sessions with a few turns, a session that has joined, and heads of before."""
    tg = LoopbackChannel("tg", platform="telegram")
    async with (
        open_memory(disk) as store,
        tk.open_runtime(None, store=store, agent=agent, channels=[tg], clock=clock) as runtime,
    ):
        for number in range(5):
            await say(tg, store, f"message {number}", "ann")
            await say(tg, store, f"message {number}", "bob")
        await runtime.link("telegram", "ann", "carol")
        await runtime.link("telegram", "bob", "carol")
        await until(lambda: is_quiet(store, "s1") and is_quiet(store, "s2"))
    async with open_memory(disk) as store:
        await outdate(store)


async def outdate(store: Store) -> None:
    batch = Batch()
    for key, data in store.scan(Table.HEADS, limit=100):
        head = read_head(decode(data))._replace(context_bound=7)  # it was another measure
        batch.put(Table.HEADS, key, encode(list(head)[:FIELDS_BEFORE]))
    await store.commit(batch)


@pytest.fixture
def disk() -> MemoryDisk:
    disk = MemoryDisk()
    trio.run(grow, disk)
    return disk


async def test_what_is_listed_follows_from_the_log(disk: MemoryDisk) -> None:
    async with open_memory(disk) as store:
        for info in [*views.sessions(store), *views.newest_sessions(store, limit=9)[0]]:
            assert (info.state, info.context_messages) == ("idle", 10)
        assert problems(store) == []


async def test_a_session_goes_on_and_its_next_commit_leaves_a_head_of_now(disk: MemoryDisk) -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    async with (
        open_memory(disk) as store,
        tk.open_runtime(None, store=store, agent=agent, channels=[tg], clock=clock),
    ):
        before = load_head(store, 1)
        assert before is not None
        await say(tg, store, "and on it goes", "ann")
        await until(lambda: is_quiet(store, "s1"))
        data = store.get(Table.HEADS, number_key(1))
        assert data is not None
        assert not is_outdated(decode(data))
        assert read_head(decode(data)).context_messages == before.context_messages + 2
        assert problems(store) == []
