"""What does it cost to find the session of a conversation, however many are bound?

``python -m benchmarks.routing [--quick] [--json PATH] [--plot PATH]``

The registry's own actor runs, and is timed from within. *Resolving* lasts from the moment at which
it takes a turn out of its mailbox until it knows the session: checks, access, commands, binding.
*Handing over* is the rest: the session's actor is found or brought into memory, and gets the turn.
When the agent's turn begins, *who wrote* is looked up in the store. Cold is a
conversation's first message since the start, whose binding is read; warm, a later one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import trio

from benchmarks.disk import Disk
from benchmarks.load import AnsweringChannel, quiet, running, say_all
from benchmarks.populations import Population, chat, messages_in, prepare
from benchmarks.report import Figure, Report, read_options
from benchmarks.watching import (
    IN_FLIGHT,
    Spent,
    WatchedRegistry,
    clock_us,
    in_place,
    spent_on,
    watched,
)
from turnkeeper.actors.ledger import LEDGER_STREAM
from turnkeeper.storage.base import Batch, Table, Then

QUESTION: Final = "What does it cost to find the session of a conversation, however many are bound?"
TOGETHER: Final = 1_000
"""Conversations that one round speaks in, whatever the size of the population."""
OF_A_TURN: Final = frozenset({Table.HEADS, Table.SEEN, Table.LAST})
"""The tables that a turn writes to when its conversation is bound."""
MIB: Final = 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How many people, and how often."""

    small: int
    """Bindings of the population that the others are compared with."""
    linked: int
    """Those of the one in which everybody writes at random."""
    large: int
    rounds: int
    warm_turns: int
    """In each of the rounds."""
    random_turns: int
    restarts: int

    def sizes(self) -> list[int]:
        return sorted({self.small, self.linked, self.large})


QUICK: Final = Plan(
    small=1_000,
    linked=10_000,
    large=10_000,
    rounds=3,
    warm_turns=3_000,
    random_turns=5_000,
    restarts=3,
)
LONG: Final = Plan(
    small=1_000,
    linked=100_000,
    large=1_000_000,
    rounds=9,
    warm_turns=5_000,
    random_turns=100_000,
    restarts=9,
)


# -- populations of several sizes ----------------------------------------------------------------


@dataclass(slots=True)
class Rounds:
    """What every round took, in one population."""

    cold: list[Spent] = field(default_factory=list[Spent])
    warm: list[Spent] = field(default_factory=list[Spent])


async def one_round(
    directory: Path, people: Sequence[int], warm: Sequence[int], name: str, rounds: Rounds
) -> None:
    """Start, and hear from `people`, who were silent since then; then from some of them again."""
    channel = AnsweringChannel()
    async with running(directory, channel) as runtime:
        await quiet(runtime)  # it has looked for open work
        rounds.cold.append(await spent_on(channel, messages_in(people, f"cold-{name}")))
        rounds.warm.append(await spent_on(channel, messages_in(warm, f"warm-{name}")))


def place_of(scratch: Path, size: int) -> Path:
    """The state directory of the population of that size."""
    return scratch / f"people-{size}"


def measure_sizes(scratch: Path, plan: Plan, rng: Random, disk: Disk) -> dict[int, Rounds]:
    """The same turns in populations of every size, in turns."""
    sizes = plan.sizes()
    measured = {size: Rounds() for size in sizes}
    for number in range(plan.rounds):
        disk.measure(20)
        # The order changes, so that nobody always comes after the same neighbour.
        for size in sizes if number % 2 else reversed(sizes):
            people = rng.sample(range(size), TOGETHER)
            warm = rng.choices(people, k=plan.warm_turns)
            directory = place_of(scratch, size)
            trio.run(one_round, directory, people, warm, f"round-{number}", measured[size])
    return measured


def add_sizes(report: Report, measured: dict[int, Rounds]) -> None:
    smallest, *others = sorted(measured)
    for size in others:
        must = "≤ 1.2" if size == max(others) else ""
        ours, theirs = measured[size], measured[smallest]
        for name, our, their in (
            ("cold", ours.cold, theirs.cold),
            ("warm", ours.warm, theirs.warm),
        ):
            add_ratio(report, f"resolving, {name}", size, smallest, our, their, _resolving, must)
            add_ratio(report, f"a whole turn, CPU, {name}", size, smallest, our, their, _cpu)
    for size in sorted(measured):
        cold, warm = measured[size].cold, measured[size].warm
        report.notes.append(
            f"{size:,} bindings, µs cold and warm: mean of resolving "
            f"{median(each.mean_us for each in cold):.1f} and "
            f"{median(each.mean_us for each in warm):.1f}; handing over, p50 "
            f"{median(each.handing_over_us for each in cold):.1f} and "
            f"{median(each.handing_over_us for each in warm):.1f}"
        )


def add_ratio(
    report: Report,
    name: str,
    size: int,
    smallest: int,
    ours: Sequence[Spent],
    theirs: Sequence[Spent],
    read: Callable[[Spent], float],
    must: str = "",
) -> None:
    report.add(
        Figure(
            name=f"{name}, {size:,} bindings",
            value=median(map(read, ours)),
            unit="µs",
            beside=f"{smallest:,} bindings",
            beside_value=median(map(read, theirs)),
            # Of neighbours in time: the machine drifts.
            ratio=median(read(our) / read(their) for our, their in zip(ours, theirs, strict=True)),
            must=must,
        )
    )


def _resolving(spent: Spent) -> float:
    return spent.resolving_us


def _cpu(spent: Spent) -> float:
    return spent.cpu_us


# -- many linked people at random ----------------------------------------------------------------


def measure_random(scratch: Path, plan: Plan, rng: Random) -> tuple[Spent, Spent]:
    """Cold and warm: people write once each, in any order, and then whoever likes to."""
    rounds = Rounds()
    people = rng.sample(range(plan.linked), plan.random_turns)
    warm = rng.choices(people, k=plan.random_turns)
    trio.run(one_round, place_of(scratch, plan.linked), people, warm, "random", rounds)
    return rounds.cold[0], rounds.warm[0]


def add_random(report: Report, plan: Plan, cold: Spent, warm: Spent) -> None:
    people = f"{plan.linked:,} identities of {Population(plan.linked).users:,} users"
    for name, spent in (("cold", cold), ("warm", warm)):
        report.add(
            Figure(
                name=f"durable turns, {name}, {people}", value=1e6 / spent.wall_us, unit="turns/s"
            )
        )
        report.add(
            Figure(
                name=f"resolving, {name}, p50",
                value=spent.resolving_us,
                unit="µs",
                beside="a whole turn",
                beside_value=spent.wall_us,
            )
        )
        report.add(
            Figure(
                name=f"saying who wrote, {name}, p50",
                value=spent.identifying_us,
                unit="µs",
                beside="a whole turn",
                beside_value=spent.wall_us,
            )
        )
        report.add(
            Figure(
                name=f"resolving, {name}, share of a turn's time",
                value=100 * spent.mean_us / spent.wall_us,
                unit="%",
                beside="of its CPU time",
                beside_value=100 * spent.mean_us / spent.cpu_us,
                must="≤ 5",
            )
        )
        report.notes.append(
            f"{people}, {name}: {spent.turns:,} turns, each {spent.cpu_us:.0f} µs of CPU time; "
            f"mean of resolving {spent.mean_us:.1f} µs, handing over, p50 "
            f"{spent.handing_over_us:.1f} µs"
        )


# -- what is written -----------------------------------------------------------------------------


@dataclass(slots=True)
class Writes:
    """What turns in bound conversations have submitted to the store."""

    turns: int = 0
    batches: int = 0
    """Those that write something."""
    by_registry: int = 0
    """Batches that were submitted while the registry had a turn in its hands."""
    elsewhere: int = 0
    """Puts and deletions that no turn needs, and entries in the ledger."""

    def count(self, batch: Batch) -> None:
        self.batches += bool(batch.appends or batch.puts or batch.deletes)
        self.by_registry += WatchedRegistry.has_turn
        self.elsewhere += len(batch.deletes)
        self.elsewhere += sum(table not in OF_A_TURN for table, _, _ in batch.puts)
        self.elsewhere += sum(stream == LEDGER_STREAM for stream, _, _ in batch.appends)


async def count_writes(directory: Path, people: Sequence[int]) -> Writes:
    """Two turns each in bound conversations: a cold one, then a warm one."""
    writes, channel = Writes(turns=2 * len(people)), AnsweringChannel()
    async with running(directory, channel) as runtime:
        await quiet(runtime)
        submit = runtime.store.submit

        def counted(batch: Batch, then: Then | None = None) -> None:
            writes.count(batch)
            submit(batch, then)

        with in_place(runtime.store.__dict__, "submit", counted):
            for name in ("counted-cold", "counted-warm"):
                await say_all(channel, messages_in(people, name), IN_FLIGHT)
            await quiet(runtime)
    return writes


def add_writes(report: Report, writes: Writes) -> None:
    report.add(
        Figure(
            name=f"batches that resolving submits, of {writes.turns:,} bound turns",
            value=writes.by_registry,
            unit="batches",
            beside="rows beyond log, heads, seen, last",
            beside_value=writes.elsewhere,
            must="0",
        )
    )
    report.notes.append(
        f"a bound turn writes {writes.batches / writes.turns:.2f} batches: accepted, answered, "
        "delivered"
    )


# -- restart -------------------------------------------------------------------------------------


def restarted(directory: Path, conversation: str) -> dict[str, Any]:
    """What :mod:`benchmarks.restarting` says of itself."""
    command = [sys.executable, "-m", "benchmarks.restarting"]
    command += [str(directory), conversation, str(time.monotonic())]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def harness_s() -> float:
    """What that process spends on importing what only a benchmark needs (pytest comes along)."""
    took: list[float] = []
    for module in ("turnkeeper", "benchmarks.restarting"):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        took.append(time.monotonic() - began)
    return took[1] - took[0]


def drop_from_cache(directory: Path) -> None:
    """Let the system forget what it knows of the data file; nobody may have it open."""
    for path in directory.rglob("data.mdb"):
        with path.open("rb") as data:
            os.fdatasync(data.fileno())
            os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass(slots=True)
class Restarts:
    """Processes that came back, one after the other."""

    small: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    large: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    uncached: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    """To the large population, whose pages were in no cache."""
    harness_s: list[float] = field(default_factory=list[float])


def measure_restarts(scratch: Path, plan: Plan, rng: Random) -> Restarts:
    found = Restarts()
    small, large = place_of(scratch, plan.small), place_of(scratch, plan.large)
    for _ in range(plan.restarts):
        drop_from_cache(large)
        found.uncached.append(restarted(large, chat(rng.randrange(plan.large))))
        found.large.append(restarted(large, chat(rng.randrange(plan.large))))
        found.small.append(restarted(small, chat(rng.randrange(plan.small))))
        found.harness_s.append(harness_s())
    return found


def add_restarts(report: Report, plan: Plan, found: Restarts) -> None:
    def add(name: str, unit: str, read: Callable[[dict[str, Any]], float], must: str = "") -> None:
        ours, theirs = [read(run) for run in found.large], [read(run) for run in found.small]
        uncached = [read(run) for run in found.uncached]
        report.add(
            Figure(
                name=f"{name}, {plan.large:,} bindings",
                value=median(ours),
                unit=unit,
                beside=f"{plan.small:,} bindings",
                beside_value=median(theirs),
                ratio=median(ours) / median(theirs),
                must=must,
            )
        )
        report.notes.append(
            f"{name}: {min(ours):.3g}–{max(ours):.3g} {unit}; with the data file in no cache "
            f"{median(uncached):.3g} ({min(uncached):.3g}–{max(uncached):.3g})"
        )

    first, rest = "at the first turn", "at rest"
    add("start of process to first turn accepted", "s", lambda run: run["since_start_s"], "≤ 0.5")
    report.add(
        Figure(
            name="of that, imports that only the benchmark needs",
            value=median(found.harness_s),
            unit="s",
        )
    )
    add("open_runtime to first turn accepted", "s", lambda run: run["since_open_s"])
    add("open_runtime to open work looked for", "s", lambda run: run["looked_s"])
    add(f"private memory {first}", "MiB", lambda run: run["at_accept"]["private_bytes"] / MIB)
    add(f"private memory {rest}", "MiB", lambda run: run["at_rest"]["private_bytes"] / MIB)
    add("of that, pages of the data file", "MiB", lambda run: run["at_rest"]["file_bytes"] / MIB)


# -- the table -----------------------------------------------------------------------------------


def measure(scratch: Path, plan: Plan, report: Report, rng: Random) -> None:
    disk = Disk(scratch)
    for size in plan.sizes():
        trio.run(prepare, place_of(scratch, size), Population(size))
        print(f"  {size:,} people are there", file=sys.stderr)
    add_restarts(report, plan, measure_restarts(scratch, plan, rng))
    with watched():
        add_sizes(report, measure_sizes(scratch, plan, rng, disk))
        add_random(report, plan, *measure_random(scratch, plan, rng))
        people = rng.sample(range(plan.linked), TOGETHER)
        add_writes(report, trio.run(count_writes, place_of(scratch, plan.linked), people))
    report.add(disk.figure())


def main() -> None:
    """Measure, and print the table."""
    options = read_options(QUESTION)
    plan = QUICK if options.quick else LONG
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        measure(Path(folder), plan, report, Random(options.seed))
    report.notes.append(
        f"{IN_FLIGHT} turns in flight; {plan.rounds} rounds, each a start in this process with "
        f"{TOGETHER:,} cold turns, then {plan.warm_turns:,} warm ones\nin the same conversations; "
        f"medians of rounds. Reading the clock adds {clock_us():.2f} µs to resolving.\n"
        "A start maps the data file anew: cold reads are page faults, too. The page cache is warm; "
        f"{plan.restarts} processes of each kind.\nPrivate memory counts pages of the mapped data "
        "file, which the system takes back when it likes."
    )
    report.notes.append(
        "load average at the end: " + ", ".join(f"{load:.1f}" for load in os.getloadavg())
    )
    report.finish()


if __name__ == "__main__":
    main()
