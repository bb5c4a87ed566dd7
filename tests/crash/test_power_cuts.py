"""A power cut behind any commit: no run of a mission is given to its agent twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock

from turnkeeper import Runtime, Turn
from turnkeeper.actors.core.turn_records import MissionRecord
from turnkeeper.missions import missions, runs
from turnkeeper.storage.batch import Group
from turnkeeper.storage.memory import MemoryDisk, MemoryReads
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification
from turnkeeper.views import heads

from ..actors.stage import START, log, on_stage
from .harness import seeds

HOUR: Final = 3600.0


class WatchedDisk(MemoryDisk):
    """Keeps what it held after each commit."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[tuple[float, MemoryDisk]] = []
        """When each commit was made, and the disk after it."""

    def write(self, group: Group) -> None:
        super().write(group)
        self.images.append((trio.current_time(), self.copy()))


class Witness:
    """Counts how often an agent was given each run, and takes a while for some of them."""

    def __init__(self, disk: MemoryDisk, given: Counter[tuple[str, str]] | None = None) -> None:
        self._disk = disk
        self.given: Counter[tuple[str, str]] = given if given is not None else Counter()
        self.at_commit: list[tuple[int, tuple[str, str]]] = []
        """After how many commits each run was given."""

    async def __call__(self, turn: Turn) -> str | None:
        if turn.mission is None:
            return turn.text
        run = turn.mission, turn.id
        self.given[run] += 1
        if isinstance(self._disk, WatchedDisk):
            self.at_commit.append((len(self._disk.images), run))
        if turn.mission == "slow":
            await trio.sleep(500)
        if turn.mission == "sender":
            await turn.send_message("by the way")
        if turn.mission == "broken":
            raise ValueError("no")
        return None if turn.mission == "silent" else f"{turn.mission} says so"


async def a_day_of_missions(runtime: Runtime, tg: LoopbackChannel) -> None:
    """Missions of every kind, changed while they run, among humans who write."""
    add = runtime.add_mission
    await tg.receive("hi", conversation="c1", user_id="u1", message_id="m1")
    await add("sender", "every 1h", "look", "tg")
    await add("silent", "every 40m", "look", session="s1", missed="run_once")
    await add("slow", "every 7m", "look", "tg", overlap="queue_one", missed="run_once")
    await add("broken", "every 50m", "look", on_failure="tg", jitter_s=60)
    await trio.sleep(1.2 * HOUR)
    await runtime.pause_mission("sender")
    await tg.receive("hi", conversation="c2", user_id="u2", message_id="m2")
    await add("silent", "every 30m", "look again", session="s1", replace=True)
    await trio.sleep(HOUR)
    await runtime.resume_mission("sender")
    await runtime.remove_mission("broken")
    await runtime.run_mission("sender")
    await trio.sleep(HOUR)


def assert_sound(disk: MemoryDisk) -> None:
    now_us = int((START + timedelta(days=1)).timestamp() * 1e6)
    assert list(Verification(MemoryReads(disk), now_us).problems()) == []


def stored_runs(disk: MemoryDisk) -> list[tuple[str, int]]:
    """Every run that any log holds."""
    reads = MemoryReads(disk)
    return [
        (record.mission, record.run)
        for stream, _ in heads(reads)
        for record in log(reads, stream)
        if isinstance(record, MissionRecord)
    ]


@asynccontextmanager
async def life(
    disk: MemoryDisk, witness: Witness, start: datetime = START
) -> AsyncGenerator[tuple[Runtime, LoopbackChannel]]:
    tg = LoopbackChannel("tg")
    async with on_stage(witness, tg, disk=disk, start=start) as stage:
        yield stage.runtime, tg


async def come_back(image: MemoryDisk, before: Witness, commits: int, at_s: float) -> None:
    """Start on what a power cut after so many commits has left, and let time pass."""
    given = Counter(run for made, run in before.at_commit if made <= commits)
    witness = Witness(image, given)
    assert_sound(image)
    async with life(image, witness, START + timedelta(seconds=at_s)) as (runtime, _):
        await trio.sleep(1.5 * HOUR)
        for info in missions(runtime.store):
            await runtime.pause_mission(info.name)
        await trio.sleep(0.5 * HOUR)
    assert_sound(image)
    twice = {run: times for run, times in witness.given.items() if times > 1}
    assert not twice, f"after a power cut behind commit {commits}: {twice}"
    kept = stored_runs(image)
    assert len(kept) == len(set(kept))
    for info in missions(MemoryReads(image)):
        assert not info.running
        assert [run.status for run in runs(MemoryReads(image), info.name)].count("running") == 0
        assert info.runs == max((run for name, run in kept if name == info.name), default=0)


async def test_no_run_is_given_twice_after_a_power_cut_behind_any_commit(
    autojump_clock: MockClock,
) -> None:
    disk = WatchedDisk()
    witness = Witness(disk)
    async with life(disk, witness) as (runtime, tg):
        await a_day_of_missions(runtime, tg)
    assert max(witness.given.values()) == 1
    assert {name for name, _ in witness.given} == {"sender", "silent", "slow", "broken"}
    images = [(0.0, MemoryDisk()), *disk.images]
    for commits, (at_s, image) in enumerate(images):
        if commits % 7 == 0:
            await come_back(image, witness, commits, at_s)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(7))
async def test_no_run_is_given_twice_whichever_commit_was_the_last(
    autojump_clock: MockClock, part: int
) -> None:
    disk = WatchedDisk()
    witness = Witness(disk)
    async with life(disk, witness) as (runtime, tg):
        await a_day_of_missions(runtime, tg)
    for commits, (at_s, image) in enumerate(disk.images, 1):
        if commits % 7 == part:
            await come_back(image, witness, commits, at_s)


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(20))
async def test_a_life_of_power_cuts_gives_no_run_twice(
    autojump_clock: MockClock, seed: int
) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    image, now_s = MemoryDisk(), 0.0
    given: Counter[tuple[str, str]] = Counter()
    for number in range(6):
        disk = WatchedDisk()
        disk.log, disk.tables = image.log, image.tables
        witness = Witness(disk)
        began = trio.current_time()
        async with life(disk, witness, START + timedelta(seconds=now_s)) as (runtime, tg):
            await a_random_change(runtime, tg, rng, f"{seed}-{number}")
            await trio.sleep(rng.uniform(0.1, 2) * HOUR)
        if not disk.images:
            continue
        commits = rng.randrange(len(disk.images)) + 1
        at_s, image = disk.images[commits - 1]
        given.update(run for made, run in witness.at_commit if made <= commits)
        now_s += at_s - began + rng.choice([0.0, 30.0, 2 * HOUR])
        assert max(given.values(), default=0) <= 1
        assert_sound(image)


async def a_random_change(
    runtime: Runtime, tg: LoopbackChannel, rng: Random, message_id: str
) -> None:
    await tg.receive("hi", conversation="c1", user_id="u1", message_id=message_id)
    for name in rng.sample(["sender", "silent", "slow", "broken"], 2):
        options: dict[str, Any] = {
            "missed": rng.choice(["skip", "run_once"]),
            "overlap": rng.choice(["skip", "queue_one", "allow"]),
            "jitter_s": rng.choice([0, 300]),
        }
        await runtime.add_mission(
            name, f"every {rng.randint(5, 90)}m", "look", "tg", replace=True, **options
        )
    names = [info.name for info in missions(runtime.store)]
    act = rng.choice(
        [runtime.pause_mission, runtime.resume_mission, runtime.remove_mission, runtime.run_mission]
    )
    await act(rng.choice(names))
