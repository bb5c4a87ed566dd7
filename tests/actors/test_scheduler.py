"""When missions run: at their times, once each, through pauses, restarts and wrong clocks."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    MissionInfo,
    MissionRefused,
    Runtime,
    Turn,
    UnknownMission,
    open_runtime,
)
from turnkeeper.actors.core.mission_definition import define
from turnkeeper.actors.core.missions import MissionRow, added
from turnkeeper.actors.core.records import pack
from turnkeeper.actors.core.runtime_records import ScheduleRecord
from turnkeeper.actors.core.turn_records import MissionRecord
from turnkeeper.actors.errors import ShuttingDown
from turnkeeper.actors.journal import SCHEDULE_STREAM, load_session_number
from turnkeeper.actors.mission_rows import load_mission, mission_key, put_mission
from turnkeeper.config import ConfigError
from turnkeeper.missions import MissionRunInfo, mission, missions, runs
from turnkeeper.storage.base import Batch, Reads, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from .stage import START, Stage, crashed, log, on_stage

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR


async def work(turn: Turn) -> str | None:
    """Do it, and say nothing."""
    return None if turn.mission else turn.text


class Workshop:
    """An agent that works on every mission until it is told to finish."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.finish = trio.Event()

    async def __call__(self, turn: Turn) -> str | None:
        self.begun.append(turn.id)
        await self.finish.wait()
        return None


def at(hours: float, start: datetime = START) -> datetime:
    return start + timedelta(hours=hours)


def ran(store: Reads, name: str) -> list[MissionRecord]:
    """The runs of a mission, in the order of its session's log."""
    stream = load_session_number(store, f"mission-{name}")
    records = log(store, stream) if stream is not None else []
    return [record for record in records if isinstance(record, MissionRecord)]


def due(store: Reads, name: str) -> list[datetime]:
    return [moment(record.due_us) for record in ran(store, name)]


def moment(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1e6, UTC)


def info(stage: Stage, name: str) -> MissionInfo:
    found = mission(stage.store, name)
    assert found is not None
    return found


def last_run(stage: Stage, name: str) -> MissionRunInfo:
    found = info(stage, name).last_run
    assert found is not None
    return found


def assert_sound(store: Reads) -> None:
    assert list(Verification(store, int(START.timestamp() * 1e6)).problems()) == []


# -- at their times ------------------------------------------------------------------------------


async def test_a_mission_runs_at_its_times(autojump_clock: MockClock) -> None:
    async with on_stage(work) as stage:
        await stage.runtime.add_mission("inbox", "0 9,18 * * *", "look")
        await trio.sleep(2 * DAY + MINUTE)
        assert due(stage.store, "inbox") == [at(6), at(21), at(30), at(45)]
        assert [r.run for r in ran(stage.store, "inbox")] == [1, 2, 3, 4]
        assert all(0 <= r.at_us - r.due_us < 1e6 for r in ran(stage.store, "inbox"))
        assert info(stage, "inbox").next_due == at(54)
        assert_sound(stage.store)


async def test_a_mission_keeps_its_local_time_when_the_clocks_change(
    autojump_clock: MockClock,
) -> None:
    start = datetime(2026, 3, 27, 12, tzinfo=UTC)
    async with on_stage(work, start=start) as stage:
        rt = stage.runtime
        await rt.add_mission("morning", "0 9 * * *", "look", zone="Europe/Berlin")
        await rt.add_mission("night", "30 2 * * *", "look", zone="Europe/Berlin")
        await rt.add_mission("daily", "every 1d", "look", zone="Europe/Berlin")
        await trio.sleep(3 * DAY + MINUTE)
        assert due(stage.store, "morning") == [
            datetime(2026, 3, 28, 8, tzinfo=UTC),
            datetime(2026, 3, 29, 7, tzinfo=UTC),
            datetime(2026, 3, 30, 7, tzinfo=UTC),
        ]
        assert due(stage.store, "night") == [
            datetime(2026, 3, 28, 1, 30, tzinfo=UTC),
            datetime(2026, 3, 29, 1, tzinfo=UTC),  # 2:30 was left out
            datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
        ]
        assert due(stage.store, "daily") == [at(24, start), at(48, start), at(72, start)]


async def test_one_moment_comes_once_and_the_mission_stays_listed(
    autojump_clock: MockClock,
) -> None:
    async with on_stage(work) as stage:
        await stage.runtime.add_mission("once", "at 2026-01-07T13:30", "look")
        await trio.sleep(3 * DAY)
        assert due(stage.store, "once") == [at(1.5)]
        assert (info(stage, "once").next_due, info(stage, "once").runs) == (None, 1)


async def test_jitter_puts_each_run_off_and_is_the_same_after_a_restart(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    async with on_stage(work, disk=disk) as stage:
        await stage.runtime.add_mission("late", "0 * * * *", "look", jitter_s=600)
        planned = info(stage, "late").next_due
        assert planned is not None
        assert at(1) < planned < at(1) + timedelta(seconds=600)
        image = crashed(disk)
        await trio.sleep(2 * HOUR - MINUTE)
        put_off = [(r.at_us - r.due_us) // 1_000_000 for r in ran(stage.store, "late")]
        assert len(put_off) == 1
        assert 0 < put_off[0] < 600
    async with on_stage(work, disk=image, start=at(0.5)) as stage:
        assert info(stage, "late").next_due == planned


async def test_missions_are_listed_by_when_they_are_due(autojump_clock: MockClock) -> None:
    async with on_stage(work) as stage:
        for name, schedule in (("b", "every 2h"), ("a", "every 1h"), ("c", "every 3h")):
            await stage.runtime.add_mission(name, schedule, "look")
        await stage.runtime.pause_mission("a")
        assert [i.name for i in missions(stage.store)] == ["b", "c", "a"]


@pytest.mark.slow
async def test_ten_thousand_missions_that_are_due_in_one_second_run_once_each(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    stored(disk, [f"m{number}" for number in range(10_000)], "every 1h")
    begun: dict[str, int] = {}

    async def agent(turn: Turn) -> None:
        assert turn.mission is not None
        begun[turn.mission] = begun.get(turn.mission, 0) + 1

    async with on_stage(agent, disk=disk) as stage:
        await trio.sleep(HOUR + MINUTE)
        assert len(begun) == 10_000
        assert set(begun.values()) == {1}
        assert {r.at_us for r in ran(stage.store, "m1")} == {int(at(1).timestamp() * 1e6)}
    assert_sound(MemoryReads(disk))


def stored(disk: MemoryDisk, names: list[str], schedule: str, **parts: Any) -> None:
    """Write missions to a disk as though they had been added at `START`."""
    now_us = int(START.timestamp() * 1e6)
    for seq, name in enumerate(names, 1):
        batch = Batch()
        row = row_of(name, schedule, now_us, **parts)
        put_mission(batch, mission_key(name), None, row)
        record = ScheduleRecord(
            at_us=now_us,
            act="added",
            name=name,
            by="program",
            definition=tuple(row.definition),
        )
        for table, key, value in batch.puts:
            disk.tables.put(bytes([table]) + key, value)
        disk.log.put(
            SCHEDULE_STREAM.to_bytes(8, "big") + seq.to_bytes(8, "big"), encode(pack(record))
        )


def row_of(name: str, schedule: str, now_us: int, **parts: Any) -> MissionRow:
    wanted: dict[str, Any] = {
        "name": name,
        "schedule": schedule,
        "zone": "UTC",
        "prompt": "look",
        "agent": "main",
        "session_id": f"mission-{name}",
        "notify": None,
        "on_behalf_of": None,
        "missed": "skip",
        "overlap": "skip",
        "jitter_s": 0.0,
        "on_failure": None,
        "by": "program",
        "now_us": now_us,
    }
    return added(define(**wanted | parts), now_us)


# -- while nobody was there ----------------------------------------------------------------------


@pytest.mark.parametrize(("missed", "made_up_for"), [("skip", 0), ("run_once", 1)])
async def test_what_was_missed_while_nothing_ran_is_passed_over_or_runs_once(
    autojump_clock: MockClock, missed: Any, made_up_for: int
) -> None:
    disk = MemoryDisk()
    async with on_stage(work, disk=disk) as stage:
        await stage.runtime.add_mission("inbox", "every 1h", "look", missed=missed)
        await trio.sleep(2.5 * HOUR)
        assert len(ran(stage.store, "inbox")) == 2
    async with on_stage(work, disk=disk, start=at(49.5)) as stage:
        await trio.sleep(MINUTE)
        assert due(stage.store, "inbox")[2:] == [at(49)] * made_up_for
        seen = info(stage, "inbox")
        assert seen.next_due == at(50)
        assert (seen.last_skipped, bool(seen.skipped_because)) == (
            (None, False) if made_up_for else (at(3), True)
        )
        await trio.sleep(HOUR)
        assert due(stage.store, "inbox")[-1] == at(50)
        assert_sound(stage.store)


async def test_a_tick_that_is_a_little_late_runs_after_a_restart(autojump_clock: MockClock) -> None:
    disk = MemoryDisk()
    async with on_stage(work, disk=disk) as stage:
        await stage.runtime.add_mission("inbox", "every 1h", "look")
    async with on_stage(work, disk=disk, start=at(1) + timedelta(seconds=50)) as stage:
        await trio.sleep(1)
        assert due(stage.store, "inbox") == [at(1)]


class CountingStore(MemoryStore):
    """Counts how often something is read of a mission."""

    reads = 0

    def get(self, table: Table, key: bytes) -> bytes | None:
        self.reads += table == Table.MISSIONS
        return super().get(table, key)

    def scan(self, table: Table, *args: Any, **options: Any) -> list[tuple[bytes, bytes]]:
        found = super().scan(table, *args, **options)
        self.reads += len(found) * (table in (Table.MISSIONS, Table.DUE))
        return found


async def test_a_start_reads_nothing_of_missions_that_are_not_due(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    stored(disk, [f"m{number}" for number in range(500)], "every 1h")
    async with on_a_clock(lambda: at(0.5), work, disk=disk) as (_, store):
        assert isinstance(store, CountingStore)
        await wait_all_tasks_blocked()
        assert store.reads == 1  # when the first of them is due


@asynccontextmanager
async def on_a_clock(
    clock: Callable[[], datetime], agent: Any, disk: MemoryDisk | None = None, **config: Any
) -> AsyncGenerator[tuple[Runtime, MemoryStore]]:
    store = CountingStore(disk)
    try:
        async with open_runtime(
            None, agent=agent, store=store, config=config, clock=clock, seed=1
        ) as runtime:
            yield runtime, store
    finally:
        await store.aclose()


# -- a clock that is set -------------------------------------------------------------------------


class WallClock:
    """A clock on the wall that can be set."""

    def __init__(self) -> None:
        self._set_to, self._set_at = START, trio.current_time()

    def __call__(self) -> datetime:
        return self._set_to + timedelta(seconds=trio.current_time() - self._set_at)

    def set(self, to: datetime) -> None:
        self._set_to, self._set_at = to, trio.current_time()


async def test_a_clock_that_is_put_forward_is_noticed_within_a_minute(
    autojump_clock: MockClock,
) -> None:
    clock = WallClock()
    async with on_a_clock(clock, work) as (runtime, store):
        await runtime.add_mission("inbox", "0 * * * *", "look", missed="run_once")
        await trio.sleep(MINUTE)
        clock.set(at(5.25))
        await trio.sleep(MINUTE)
        await wait_all_tasks_blocked()  # what is noticed in this very moment is done
        assert due(store, "inbox") == [at(5)]
        await trio.sleep(HOUR)
        assert due(store, "inbox") == [at(5), at(6)]


async def test_what_ran_does_not_run_again_when_the_clock_is_put_back(
    autojump_clock: MockClock,
) -> None:
    clock = WallClock()
    async with on_a_clock(clock, work) as (runtime, store):
        await runtime.add_mission("inbox", "0 * * * *", "look")
        await trio.sleep(2 * HOUR + MINUTE)
        assert due(store, "inbox") == [at(1), at(2)]
        clock.set(at(0.5))
        await trio.sleep(3 * HOUR)
        assert due(store, "inbox") == [at(1), at(2), at(3)]
        assert_sound(store)


async def test_a_clock_that_was_far_ahead_for_a_while_stops_no_mission(
    autojump_clock: MockClock,
) -> None:
    clock = WallClock()
    async with on_a_clock(clock, work) as (runtime, store):
        await runtime.add_mission("inbox", "0 * * * *", "look")
        await runtime.add_mission("eager", "0 * * * *", "look", missed="run_once")
        clock.set(at(24 * 400))
        await trio.sleep(2 * MINUTE)
        clock.set(at(0.5))
        await trio.sleep(HOUR)
        assert due(store, "inbox") == [at(1)]
        assert due(store, "eager") == [at(24 * 400), at(1)]


# -- overlap -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlap", "taken"), [("skip", 1), ("queue_one", 2), ("allow", 5)])
async def test_ticks_during_a_run_are_passed_over_or_wait_as_the_mission_says(
    autojump_clock: MockClock, overlap: Any, taken: int
) -> None:
    workshop = Workshop()
    async with on_stage(workshop) as stage:
        await stage.runtime.add_mission("slow", "every 1m", "look", overlap=overlap)
        await trio.sleep(5.5 * MINUTE)
        assert len(workshop.begun) == 1
        assert len(ran(stage.store, "slow")) == taken
        seen = info(stage, "slow")
        assert seen.running
        assert seen.last_skipped == (None if taken == 5 else at(5 / 60))
        workshop.finish.set()
        await trio.sleep(MINUTE)
        assert len(workshop.begun) == taken + 1
        assert not info(stage, "slow").running


async def test_a_run_that_the_last_life_left_does_not_count_as_going_on(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    async with on_stage(Workshop(), disk=disk) as stage:
        await stage.runtime.add_mission("slow", "every 1h", "look", missed="run_once")
        await trio.sleep(HOUR + MINUTE)
        image = crashed(disk)
    async with on_stage(work, disk=image, start=at(2.5)) as stage:
        await trio.sleep(MINUTE)
        assert [run.status for run in runs(stage.store, "slow")] == ["silent", "interrupted"]
        assert info(stage, "slow").last_skipped is None
        assert_sound(stage.store)


# -- what is asked -------------------------------------------------------------------------------


BAD: Final[list[tuple[dict[str, Any], str]]] = [
    ({"name": "a/b"}, "cannot name a mission"),
    ({"name": ""}, "cannot name a mission"),
    ({"schedule": "soon"}, "soon"),
    ({"schedule": "* * 31 2 *"}, "31 2"),
    ({"schedule": "at 2020-01-01T09:00"}, "is over"),
    ({"zone": "Mars/Olympus"}, "Mars/Olympus"),
    ({"prompt": ""}, "empty"),
    ({"prompt": "x" * 1_000_001}, "1000000 are allowed"),
    ({"notify": "fax"}, "there is no channel 'fax' for "),
    ({"on_failure": "fax"}, "there is no channel 'fax' for "),
    ({"agent": "nobody"}, "there is no agent 'nobody'; there is: main"),
    ({"session": "a b"}, "cannot name a session"),
    ({"session": "s99"}, "there is no session 's99'"),
    ({"session": "s1", "notify": "tg"}, "not both"),
    ({"missed": "later"}, "missed"),
    ({"overlap": "never"}, "overlap"),
    ({"jitter_s": -1}, "jitter_s"),
]


@pytest.mark.parametrize(("parts", "says"), BAD)
async def test_a_mission_that_makes_no_sense_is_refused_and_changes_nothing(
    parts: dict[str, Any], says: str
) -> None:
    wanted: dict[str, Any] = {"name": "inbox", "schedule": "every 1h", "prompt": "look"}
    async with on_stage(work, LoopbackChannel("tg")) as stage:
        with pytest.raises(MissionRefused, match=says):
            await stage.runtime.add_mission(**wanted | parts)
        assert missions(stage.store) == []
        assert stage.store.last_seq(SCHEDULE_STREAM) == 0


async def test_a_name_is_given_once() -> None:
    async with on_stage(work) as stage:
        rt = stage.runtime
        first = await rt.add_mission("inbox", "every 1h", "look")
        with pytest.raises(MissionRefused, match="there is a mission 'inbox' already"):
            await rt.add_mission("inbox", "every 2h", "look again")
        assert await rt.mission("inbox") == first
        other = await rt.add_mission("inbox", "every 2h", "look again", replace=True)
        assert (other.schedule, other.prompt) == ("every 2h", "look again")
        again = await rt.add_mission("inbox", "every 2h", "look again", replace=True)
        assert again == other
        assert stage.store.last_seq(SCHEDULE_STREAM) == 2


async def test_a_mission_that_is_not_there_is_named() -> None:
    async with on_stage(work) as stage:
        rt = stage.runtime
        asks = (rt.mission, rt.run_mission, rt.pause_mission, rt.resume_mission, rt.remove_mission)
        for ask in asks:
            with pytest.raises(UnknownMission, match="there is no mission 'inbox'"):
                await ask("inbox")


async def test_a_session_of_the_missions_name_that_is_somebody_elses_is_left_alone() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(work, tg) as stage:
        await stage.runtime.pair("loopback", "u1", "mission-inbox")
        await tg.receive("hi", conversation="c1", user_id="u1")
        with pytest.raises(MissionRefused, match="is not this mission's"):
            await stage.runtime.add_mission("inbox", "every 1h", "look")


async def test_a_session_that_was_given_the_missions_name_meanwhile_gets_no_prompt(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(work, tg) as stage:
        await stage.runtime.add_mission("inbox", "every 1h", "look")
        await stage.runtime.pair("loopback", "u1", "mission-inbox")
        await tg.receive("hi", conversation="c1", user_id="u1")
        await trio.sleep(HOUR + MINUTE)
        seen = info(stage, "inbox")
        assert (seen.runs, seen.last_skipped) == (0, at(1))
        assert "is not this mission's" in (seen.skipped_because or "")
        assert ran(stage.store, "inbox") == []


async def test_a_paused_mission_takes_no_tick_and_makes_up_for_none(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    async with on_stage(work, disk=disk) as stage:
        rt = stage.runtime
        await rt.add_mission("inbox", "every 1h", "look", missed="run_once")
        assert (await rt.pause_mission("inbox")).paused
        assert (await rt.pause_mission("inbox")).paused
        await trio.sleep(3 * HOUR)
    async with on_stage(work, disk=disk, start=at(3)) as stage:
        await trio.sleep(2.5 * HOUR)
        assert info(stage, "inbox").next_due is None
        resumed = await stage.runtime.resume_mission("inbox")
        assert (resumed.paused, resumed.next_due) == (False, at(6))
        await trio.sleep(HOUR)
        assert due(stage.store, "inbox") == [at(6)]
        assert_sound(stage.store)


async def test_a_run_goes_on_while_its_mission_is_paused_or_removed(
    autojump_clock: MockClock,
) -> None:
    workshop = Workshop()
    async with on_stage(workshop) as stage:
        rt = stage.runtime
        await rt.add_mission("slow", "every 1h", "look", on_failure=None)
        await trio.sleep(HOUR + MINUTE)
        await rt.pause_mission("slow")
        assert info(stage, "slow").running
        gone = await rt.remove_mission("slow")
        assert (gone.name, gone.runs, gone.running) == ("slow", 1, True)
        assert await rt.missions() == []
        workshop.finish.set()
        await wait_all_tasks_blocked()
        await trio.sleep(3 * HOUR)
        assert len(workshop.begun) == 1
        assert_sound(stage.store)


async def test_a_mission_that_comes_again_goes_on_counting(autojump_clock: MockClock) -> None:
    async with on_stage(work) as stage:
        for _ in range(2):
            await stage.runtime.add_mission("inbox", "every 1h", "look")
            await trio.sleep(HOUR + MINUTE)
            await stage.runtime.remove_mission("inbox")
        assert [record.run for record in ran(stage.store, "inbox")] == [1, 2]
        assert_sound(stage.store)


async def test_changes_of_one_mission_take_effect_in_the_order_in_which_they_are_asked() -> None:
    async with on_stage(work) as stage:
        rt = stage.runtime
        stage.store.hold()
        done: set[str] = set()

        async def ask(what: str, *call: Any) -> None:
            await call[0](*call[1:])
            done.add(what)

        async with trio.open_nursery() as nursery:
            for what, *call in (
                ("add", rt.add_mission, "inbox", "every 1h", "look"),
                ("pause", rt.pause_mission, "inbox"),
                ("resume", rt.resume_mission, "inbox"),
                ("remove", rt.remove_mission, "inbox"),
            ):
                nursery.start_soon(ask, what, *call)
                await wait_all_tasks_blocked()
            assert not done
            stage.store.release()
        assert done == {"add", "pause", "resume", "remove"}
        acts = [r.act for r in log(stage.store, SCHEDULE_STREAM) if isinstance(r, ScheduleRecord)]
        assert acts == ["added", "paused", "resumed", "removed"]


# -- what goes wrong -----------------------------------------------------------------------------


async def test_a_tick_that_another_writer_has_moved_is_taken_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with on_stage(work) as stage:
        await stage.runtime.add_mission("inbox", "every 1h", "look")
        await trio.sleep(HOUR - 1)
        key = mission_key("inbox")
        row = load_mission(stage.store, key)
        assert row is not None
        other = Batch()
        put_mission(other, key, row, row._replace(notice="changed behind the scheduler's back"))
        stage.store.hold()
        stage.store.submit(other)
        await trio.sleep(2)
        stage.store.release()
        await trio.sleep(MINUTE)
        assert due(stage.store, "inbox") == [at(1)]
        assert info(stage, "inbox").runs == 1
        assert_sound(stage.store)


async def test_a_tick_whose_channel_has_gone_is_passed_over_for_that_reason(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    async with on_stage(work, LoopbackChannel("tg"), disk=disk) as stage:
        await stage.runtime.add_mission("inbox", "every 1h", "look", "tg")
    async with on_stage(work, LoopbackChannel("dc"), disk=disk) as stage:
        await trio.sleep(1.5 * HOUR)
        seen = info(stage, "inbox")
        assert (seen.runs, seen.last_skipped, seen.next_due) == (0, at(1), at(2))
        assert "there is no channel 'tg'; there is: dc" in (seen.skipped_because or "")


async def test_a_tick_whose_agent_has_gone_opens_no_session(autojump_clock: MockClock) -> None:
    disk = MemoryDisk()
    stored(disk, ["inbox"], "every 1h", agent="gone")
    async with on_stage(work, disk=disk) as stage:
        await trio.sleep(1.5 * HOUR)
        seen = info(stage, "inbox")
        assert (seen.runs, seen.last_skipped) == (0, at(1))
        assert seen.skipped_because == "there is no agent 'gone'; there is: main"
        assert load_session_number(stage.store, "mission-inbox") is None


async def test_a_damaged_mission_stops_no_other(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()
    stored(disk, ["bad", "good"], "every 1h")
    disk.tables.put(bytes([Table.MISSIONS]) + mission_key("bad"), encode(["nonsense"]))
    async with on_stage(work, disk=disk) as stage:
        await trio.sleep(3 * HOUR + MINUTE)
        assert len(ran(stage.store, "good")) == 3
    complaints = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert len(complaints) == 1
    assert mission_key("bad").hex() in complaints[0].getMessage()


async def test_a_tick_that_is_just_being_stored_when_the_runtime_stops_runs_once(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    begun: list[tuple[str, int]] = []

    async def agent(turn: Turn) -> None:
        begun.append((turn.id, turn.attempt))

    async with open_memory(disk) as store:
        with trio.move_on_after(HOUR + 1):
            async with open_runtime(
                None,
                agent=agent,
                store=store,
                config={"runtime": {"stop_deadline_s": 2.0}},
                clock=WallClock(),
                seed=1,
            ) as runtime:
                await runtime.add_mission("inbox", "every 1h", "look", missed="run_once")
                await trio.sleep(HOUR - 1)
                store.hold()
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_release_later, store)
                    await trio.sleep_forever()
    async with on_stage(agent, disk=disk, start=at(1.1)) as stage:
        await trio.sleep(MINUTE)
        assert len(ran(stage.store, "inbox")) == 1
        assert len(begun) <= 1
        assert last_run(stage, "inbox").status in ("silent", "interrupted")
        assert_sound(stage.store)


async def _release_later(store: MemoryStore) -> None:
    with trio.CancelScope(shield=True):
        await trio.sleep(3)
    store.release()


async def test_nothing_is_run_by_a_runtime_that_stops() -> None:
    tg = LoopbackChannel("tg")
    started, refused = trio.Event(), trio.Event()
    stages: list[Stage] = []

    async def agent(turn: Turn) -> str:
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True), pytest.raises(ShuttingDown):
                await stages[0].runtime.run_mission("inbox")
            refused.set()

    async with on_stage(agent, tg, runtime={"stop_deadline_s": 0.0}) as stage:
        stages.append(stage)
        await stage.runtime.add_mission("inbox", "every 1h", "look")
        await tg.receive("hi", conversation="c1", user_id="u1")
        await started.wait()
    assert refused.is_set()


# -- of a configuration --------------------------------------------------------------------------


INBOX: Final = {"schedule": "0 9 * * *", "prompt": "look"}


async def test_the_missions_of_a_configuration_are_made_so_at_each_start(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    async with on_stage(work, disk=disk, missions={"inbox": INBOX, "other": INBOX}) as stage:
        await stage.runtime.add_mission("mine", "every 1h", "look")
        assert [i.by for i in missions(stage.store)] == ["program", "config", "config"]
        written = stage.store.last_seq(SCHEDULE_STREAM)
    async with on_stage(work, disk=disk, missions={"inbox": INBOX, "other": INBOX}) as stage:
        assert stage.store.last_seq(SCHEDULE_STREAM) == written
    changed = {"inbox": {**INBOX, "zone": "Europe/Berlin"}}
    async with on_stage(work, disk=disk, missions=changed) as stage:
        assert sorted(i.name for i in missions(stage.store)) == ["inbox", "mine"]
        assert info(stage, "inbox").next_due == datetime(2026, 1, 8, 8, tzinfo=UTC)
        assert_sound(stage.store)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"schedule": "soon", "prompt": "look"}, r"\[missions.inbox\] schedule: "),
        ({"schedule": "0 9 * * *", "prompt": "look", "zone": "Nowhere"}, "Nowhere"),
        ({"schedule": "0 9 * * *", "prompt": "look", "notify": "fax"}, r"inbox\] notify: .*'fax'"),
        ({"schedule": "0 9 * * *", "prompt": "look", "agent": "x"}, r"inbox\] agent: "),
        ({"schedule": "0 9 * * *"}, r"\[missions.inbox\]: prompt is missing"),
        ({"schedule": "0 9 * * *", "prompt": ""}, r"\[missions.inbox\] prompt: "),
        ({"prompt": "look"}, r"\[missions.inbox\]: schedule is missing"),
        ({**INBOX, "shedule": ""}, "did you mean 'schedule'"),
        ({**INBOX, "missed": "often"}, r"inbox\] missed must be one of"),
        ({**INBOX, "jitter_s": -1}, r"inbox\] jitter_s must be at least 0"),
        ({**INBOX, "enabled": "yes"}, r"inbox\] enabled must be of type bool"),
        ("0 9 * * *", r"\[missions.inbox\] must be a table"),
    ],
)
async def test_what_is_wrong_in_a_configuration_is_named_with_its_place(
    table: Any, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        async with on_stage(work, missions={"inbox": table}):
            pass


async def test_a_configuration_takes_no_mission_from_the_program() -> None:
    disk = MemoryDisk()
    async with on_stage(work, disk=disk) as stage:
        await stage.runtime.add_mission("inbox", "every 1h", "look")
    with pytest.raises(ConfigError, match="made by the program"):
        async with on_stage(work, disk=disk, missions={"inbox": INBOX}):
            pass


async def test_a_mission_of_the_configuration_is_changed_there_and_may_be_paused_here() -> None:
    disk = MemoryDisk()
    async with on_stage(work, disk=disk, missions={"inbox": INBOX}) as stage:
        rt = stage.runtime
        with pytest.raises(MissionRefused, match="the configuration makes"):
            await rt.remove_mission("inbox")
        with pytest.raises(MissionRefused, match="the configuration makes"):
            await rt.add_mission("inbox", "every 1h", "look", replace=True)
        await rt.pause_mission("inbox", by="operator")
    async with on_stage(work, disk=disk, missions={"inbox": INBOX}) as stage:
        assert info(stage, "inbox").paused
        await stage.runtime.resume_mission("inbox")
    off = {"inbox": {**INBOX, "enabled": False}}
    async with on_stage(work, disk=disk, missions=off) as stage:
        assert info(stage, "inbox").paused
        with pytest.raises(MissionRefused, match="enabled = false"):
            await stage.runtime.resume_mission("inbox")
    async with on_stage(work, disk=disk, missions={"inbox": INBOX}) as stage:
        assert not info(stage, "inbox").paused
        assert_sound(stage.store)


async def test_one_moment_of_a_configuration_that_is_over_stops_no_start(
    autojump_clock: MockClock,
) -> None:
    disk, once = MemoryDisk(), {"once": {"schedule": "at 2026-01-07T13:00", "prompt": "look"}}
    async with on_stage(work, disk=disk, missions=once) as stage:
        await trio.sleep(2 * HOUR)
    async with on_stage(work, disk=disk, missions=once, start=at(24)) as stage:
        assert (info(stage, "once").runs, info(stage, "once").next_due) == (1, None)


async def test_a_reload_follows_the_missions() -> None:
    async with on_stage(work, missions={"inbox": INBOX}) as stage:
        rt = stage.runtime
        with pytest.raises(ConfigError, match=r"\[missions.new\] schedule"):
            await rt.reload({"missions": {"new": {**INBOX, "schedule": "soon"}}})
        assert [i.name for i in missions(stage.store)] == ["inbox"]
        reloaded = await rt.reload({"missions": {"new": INBOX}})
        assert reloaded.applied == ("[missions.inbox] has gone", "[missions.new] is new")
        assert [i.name for i in missions(stage.store)] == ["new"]
