"""How soon is the scheduler ready, however many missions there are, and how late do runs begin?

``python -m benchmarks.proactive [--quick] [--json PATH] [--plot PATH]``

A mission that falls due while the runtime is closed tells when the scheduler is at work: its run
has reached the agent. How late a run begins is what its own record says: when it was written, and
when it was due.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Final, NamedTuple

import trio

import turnkeeper as tk
from benchmarks.disk import Disk
from benchmarks.load import AnsweringChannel, quiet, running
from benchmarks.report import Figure, Options, Report, read_options
from turnkeeper.actors.core.mission_definition import Definition, define, session_of_mission
from turnkeeper.actors.core.missions import added
from turnkeeper.actors.core.records import pack
from turnkeeper.actors.core.runtime_records import ScheduleRecord
from turnkeeper.actors.core.turn_records import MissionRecord
from turnkeeper.actors.journal import SCHEDULE_STREAM, load_records
from turnkeeper.actors.mission_rows import mission_key, put_mission
from turnkeeper.collector import collector_paused
from turnkeeper.storage.base import Batch, Reads, Store, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.lmdb_store import open_lmdb, open_reader

QUESTION: Final = "How soon is the scheduler ready, and how late do the runs of missions begin?"
STORED: Final = (0, 1_000, 100_000)
"""Missions that wait for a day to come, one store for each number."""
AT_ONCE: Final = 1_000
"""Missions that fall due at the same moment."""
PERIOD_S: Final = 5
"""Between two of these moments, in seconds."""
SECOND_US: Final = 1_000_000
WEEK_US: Final = 7 * 86_400 * SECOND_US
PROMPT: Final = "Look through the inbox and say what cannot wait."
_MISSIONS_A_BATCH: Final = 1_000


# -- stores full of missions ---------------------------------------------------------------------


def mission(name: str, schedule: str, anchor_us: int) -> Definition:
    """A mission with a session of its own that speaks nowhere; a period counts from `anchor_us`."""
    return define(
        name=name,
        schedule=schedule,
        zone="UTC",
        prompt=PROMPT,
        agent="main",
        session_id=session_of_mission(name),
        notify=None,
        on_behalf_of=None,
        missed="skip",
        overlap="skip",
        jitter_s=0.0,
        on_failure=None,
        asked_at=None,
        by="program",
        now_us=anchor_us,
    )


def sleeping(missions: int) -> Iterator[Definition]:
    """Missions whose first ticks are spread over a day that is three days ahead."""
    now_us = clock_us()
    for number in range(missions):
        anchor_us = now_us - 4 * 86_400 * SECOND_US + number * 86_400 * SECOND_US // missions
        yield mission(f"sleeping-{number:06}", "every 1w", anchor_us)


def due_at(names: Iterable[str], schedule: str, period_us: int, at_us: int) -> Iterator[Definition]:
    """Missions that are due at `at_us` for the first time."""
    return (mission(name, schedule, at_us - period_us) for name in names)


async def write_missions(directory: Path, definitions: Iterable[Definition]) -> None:
    """Add missions to a state directory, with the rows that a scheduler would have written."""
    with collector_paused():
        async with open_lmdb(directory) as store:
            batch = Batch()
            for number, definition in enumerate(definitions, start=1):
                _add(batch, store, definition)
                if number % _MISSIONS_A_BATCH == 0:
                    await store.commit(batch)
                    batch = Batch()
            await store.commit(batch)


def _add(batch: Batch, store: Store, definition: Definition) -> None:
    anchor_us = definition.anchor_us
    record = ScheduleRecord(
        at_us=anchor_us,
        act="added",
        name=definition.name,
        by=definition.by,
        definition=tuple(definition),
    )
    seq = store.last_seq(SCHEDULE_STREAM) + 1 + len(batch.appends)
    batch.append(SCHEDULE_STREAM, seq, [encode(pack(record))])
    put_mission(batch, mission_key(definition.name), None, added(definition, anchor_us))


def clock_us() -> int:
    return time.time_ns() // 1000


# -- how soon it is ready ------------------------------------------------------------------------


class Agent:
    """Says nothing, and counts the runs that it was given."""

    def __init__(self, expected: int) -> None:
        self._left = expected
        self.done = trio.Event()
        """Set once all that are expected were begun."""

    async def __call__(self, _turn: tk.Turn) -> None:
        self._left -= 1
        if not self._left:
            self.done.set()


class Start(NamedTuple):
    """How a runtime came back, in seconds since it was asked to."""

    opened_s: float
    ticked_s: float
    """When the run of a mission that had fallen due was with its agent."""


async def start(directory: Path) -> Start:
    """Open a store in which one mission has just fallen due."""
    now_us = clock_us()
    probe = due_at([f"probe-{now_us}"], "every 1w", WEEK_US, now_us)
    await write_missions(directory, probe)
    agent = Agent(1)
    began = time.perf_counter()
    async with running(directory, AnsweringChannel(), agent) as runtime:
        opened_s = time.perf_counter() - began
        with trio.fail_after(60):
            await agent.done.wait()
        ticked_s = time.perf_counter() - began
        await quiet(runtime)
    return Start(opened_s, ticked_s)


def measure_starts(scratch: Path, disk: Disk, rounds: int) -> dict[int, list[Start]]:
    """Starts with every number of stored missions, in turns."""
    found: dict[int, list[Start]] = {stored: [] for stored in STORED}
    for stored in STORED:
        trio.run(write_missions, scratch / f"stored-{stored}", sleeping(stored))
        print(f"  {stored:,} missions are there", file=sys.stderr)
    for _ in range(rounds):
        disk.measure(20)
        for stored in STORED:
            found[stored].append(trio.run(start, scratch / f"stored-{stored}"))
    return found


def add_starts(report: Report, found: dict[int, list[Start]]) -> None:
    few, *others = STORED
    of_few = median(each.ticked_s for each in found[few])
    for stored in others:
        ours = median(each.ticked_s for each in found[stored])
        report.add(
            Figure(
                name=f"open_runtime to the run of a due mission, {stored:,} stored",
                value=ours,
                unit="s",
                beside=f"{few:,} stored",
                beside_value=of_few,
                ratio=ours / of_few,
                aim="≤ 1 s",
            )
        )
    for stored in STORED:
        ticked = [each.ticked_s for each in found[stored]]
        report.notes.append(
            f"{stored:,} stored: to the run {min(ticked):.3f}–{max(ticked):.3f} s; open_runtime "
            f"itself {median(each.opened_s for each in found[stored]):.3f} s"
        )


# -- how late runs begin -------------------------------------------------------------------------


@dataclass(slots=True)
class Lateness:
    """How long after they were due runs were written down, in milliseconds."""

    first: list[float] = field(default_factory=list[float])
    """Of a mission's first run, which opens its session."""
    later: list[float] = field(default_factory=list[float])


async def tick(directory: Path, ticks: int) -> None:
    """Let many missions fall due at once, `ticks` times."""
    # Not before the runtime is open.
    first_us = clock_us() + 4 * SECOND_US
    names = [f"at-once-{number:04}" for number in range(AT_ONCE)]
    schedule = f"every {PERIOD_S}s"
    await write_missions(directory, due_at(names, schedule, PERIOD_S * SECOND_US, first_us))
    agent = Agent(AT_ONCE * ticks)
    async with running(directory, AnsweringChannel(), agent) as runtime:
        with trio.fail_after(60 + PERIOD_S * ticks):
            await agent.done.wait()
        await quiet(runtime)


def late(store: Reads, ticks: int) -> Lateness:
    """What the runs of all those missions have written down."""
    found = Lateness()
    for key, _ in store.scan(Table.HEADS, limit=2 * AT_ONCE):
        stream = int.from_bytes(key, "big")
        records = [record for _, record in load_records(store, stream)]
        runs = [record for record in records if isinstance(record, MissionRecord)]
        for number, record in enumerate(runs[:ticks]):
            times = found.later if number else found.first
            times.append((record.at_us - record.due_us) / 1000)
    if len(found.first) != AT_ONCE or len(found.later) != AT_ONCE * (ticks - 1):
        raise RuntimeError(f"{len(found.first)} and {len(found.later)} runs were written down")
    return found


def measure_lateness(scratch: Path, disk: Disk, ticks: int) -> dict[int, Lateness]:
    """The same alone in a store, and beside very many that sleep."""
    found: dict[int, Lateness] = {}
    for stored in (min(STORED), max(STORED)):
        disk.measure(20)
        directory = scratch / f"ticking-{stored}"
        trio.run(write_missions, directory, sleeping(stored))
        trio.run(tick, directory, ticks)
        with open_reader(directory) as reader, reader.snapshot() as reads:
            found[stored] = late(reads, ticks)
    return found


def add_lateness(report: Report, found: dict[int, Lateness]) -> None:
    few, many = found[min(STORED)], found[max(STORED)]
    for which, ours, beside in (
        ("first", many.first, few.first),
        ("later", many.later, few.later),
    ):
        for name, value, beside_value in (
            ("p50", median(ours), median(beside)),
            ("p99", quantiles(ours, n=100)[98], quantiles(beside, n=100)[98]),
            ("max", max(ours), max(beside)),
        ):
            report.add(
                Figure(
                    name=f"{AT_ONCE:,} due at once, {which} runs, lateness {name}",
                    value=value,
                    unit="ms",
                    beside="no others stored",
                    beside_value=beside_value,
                    ratio=value / beside_value,
                )
            )


# -- the table -----------------------------------------------------------------------------------


def measure(options: Options) -> None:
    rounds, ticks = (3, 3) if options.quick else (9, 9)
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder)
        disk = Disk(scratch)
        add_starts(report, measure_starts(scratch, disk, rounds))
        add_lateness(report, measure_lateness(scratch, disk, ticks))
        report.add(disk.figure())
    report.notes.append(
        f"starts: medians of {rounds}, in this process, the page cache warm; the due mission's run "
        "opens its session.\n"
        f"lateness: {AT_ONCE:,} missions due at the same moment, {ticks} times, {PERIOD_S} s "
        f"apart, beside {max(STORED):,} that sleep;\neach run is written down in its own log, "
        "and its agent says nothing. A first run opens its session."
    )
    report.notes.append(
        "load average at the end: " + ", ".join(f"{load:.1f}" for load in os.getloadavg())
    )
    report.finish()


def main() -> None:
    """Measure, and print the table."""
    measure(read_options(QUESTION))


if __name__ == "__main__":
    main()
