"""What is of no more use is removed, hour by hour, and what cannot be read stops nothing."""

from __future__ import annotations

from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper.storage.base import Table
from turnkeeper.storage.keys import table_key
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import Stage, echo, on_stage

HOUR_S = 3_600.0


async def an_hour_later(clock: MockClock) -> None:
    clock.jump(HOUR_S)
    await wait_all_tasks_blocked()


def codes_of(stage: Stage) -> list[bytes]:
    return [key[:1] for key, _ in stage.store.scan(Table.CODES, limit=10)]


async def test_codes_and_attempts_go_once_they_count_no_more(mock_clock: MockClock) -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg")) as stage:
        await tg.receive("/link", conversation="dm", user_id="ann")
        assert codes_of(stage) == [b"l", b"t"]
        await an_hour_later(mock_clock)
        await an_hour_later(mock_clock)
        assert codes_of(stage) == []


async def test_a_code_that_cannot_be_read_goes_and_stops_no_sweep(mock_clock: MockClock) -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        await tg.receive("/link", conversation="dm", user_id="ann")
        (key, _), _ = stage.store.scan(Table.CODES, limit=10)
        disk.tables.put(table_key(Table.CODES, key), b"rotten")
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        await wait_all_tasks_blocked()
        assert codes_of(stage) == [b"t"]
        await tg.receive("/link", conversation="dm", user_id="ben")
        await an_hour_later(mock_clock)
        await an_hour_later(mock_clock)
        assert codes_of(stage) == []
