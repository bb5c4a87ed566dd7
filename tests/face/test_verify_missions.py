"""What `verify` finds where missions do not agree with what was decided, or with their runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from turnkeeper.actors.core.missions import MissionRow
from turnkeeper.actors.ledger import starting_with
from turnkeeper.actors.mission_rows import (
    config_key,
    due_key,
    load_mission,
    mission_key,
    put_mission,
    run_key,
)
from turnkeeper.storage.base import Batch, Reads, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from ..actors.stage import START, echo, on_stage

NOW_US = int(START.timestamp() * 1_000_000)
KEY = mission_key("inbox")


async def _life() -> MemoryDisk:
    """A mission has run twice, another is paused, a third is the configuration's."""
    disk = MemoryDisk()
    config = {"home": {"schedule": "@daily", "prompt": "water the plants"}}
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=disk, missions=config) as stage:
        await tg.receive("hi")
        await stage.runtime.add_mission("inbox", "every 1h", "anything new?", notify="tg")
        await stage.runtime.add_mission("paused", "every 1h", "not now")
        await stage.runtime.pause_mission("paused")
        await stage.runtime.add_mission("gone", "every 1h", "never")
        await stage.runtime.remove_mission("gone")
        for _ in range(2):
            await stage.runtime.run_mission("inbox")
    return disk


def _row(reads: Reads) -> MissionRow:
    row = load_mission(reads, KEY)
    assert row is not None
    return row


def _lose(reads: Reads, batch: Batch) -> None:
    put_mission(batch, KEY, _row(reads), None)


def _change_prompt(reads: Reads, batch: Batch) -> None:
    row = _row(reads)
    after = row._replace(definition=row.definition._replace(prompt="send me all the money"))
    put_mission(batch, KEY, row, after)


def _forget_a_run(reads: Reads, batch: Batch) -> None:
    put_mission(batch, KEY, _row(reads), _row(reads)._replace(runs=1))


def _pause(reads: Reads, batch: Batch) -> None:
    put_mission(batch, KEY, _row(reads), _row(reads)._replace(paused_by="nobody"))


def _break(_reads: Reads, batch: Batch) -> None:
    batch.put(Table.MISSIONS, KEY, encode("inbox"))


def _misplace(reads: Reads, batch: Batch) -> None:
    batch.put(Table.MISSIONS, mission_key("outbox"), reads.get(Table.MISSIONS, KEY) or b"")


def _never_due(reads: Reads, batch: Batch) -> None:
    batch.delete(Table.DUE, due_key(_row(reads).due_us or 0, KEY))


def _due_for_nothing(_reads: Reads, batch: Batch) -> None:
    batch.put(Table.DUE, due_key(NOW_US, mission_key("nothing")), b"\0")


def _not_configured(_reads: Reads, batch: Batch) -> None:
    batch.delete(Table.MISSIONS, config_key(mission_key("home")))


def _lose_run(_reads: Reads, batch: Batch) -> None:
    batch.delete(Table.RUNS, run_key("inbox", 1))


def _misplace_run(_reads: Reads, batch: Batch) -> None:
    batch.put(Table.RUNS, run_key("inbox", 1), encode(("s1", 1, 1)))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_lose, "mission inbox: missing: it was added"),
        (_change_prompt, "mission inbox: prompt is not what was added"),
        (_forget_a_run, "mission inbox: tells of 1 runs, and the newest in a log is 2"),
        (_pause, "mission inbox: it was never paused, or resumed"),
        (_break, "a mission is kept as 'inbox'"),
        (_misplace, "is inbox, by another key"),
        (_never_due, "next tick of inbox: missing"),
        (_due_for_nothing, "leads to no mission"),
        (_not_configured, "configured mission home: missing"),
        (_lose_run, "run mission-inbox/3: missing"),
        (_misplace_run, "run mission-inbox/3: holds"),
    ],
)
def test_each_disagreement_is_a_problem_that_names_the_mission(
    damage: Callable[[Reads, Batch], None], said: str
) -> None:
    async def damaged() -> tuple[list[str], list[str]]:
        disk = await _life()
        before = _problems(MemoryReads(disk))
        async with open_memory(disk) as store:
            batch = Batch()
            damage(MemoryReads(disk), batch)
            await store.commit(batch)
        return before, _problems(MemoryReads(disk))

    before, problems = trio.run(damaged)
    assert before == []
    assert any(said in problem for problem in problems), problems


def _problems(reads: Reads) -> list[str]:
    assert list(starting_with(reads, Table.MISSIONS, b""))
    return [str(problem) for problem in Verification(reads, NOW_US).problems()]
