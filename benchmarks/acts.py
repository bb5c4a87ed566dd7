"""How many people can be linked a second, and do the turns of others wait for it?

``python -m benchmarks.acts [--quick] [--json PATH] [--plot PATH]``

Strangers, each with a session of their own, are linked to known users, one after the other. Every
link moves a conversation, and the stranger's history joins the user's. Other people go on writing.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, islice, takewhile
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Final

import trio

import turnkeeper as tk
from benchmarks.disk import Disk
from benchmarks.load import AnsweringChannel, Said, quiet, running, say_all, user_of
from benchmarks.populations import (
    PLATFORM,
    Population,
    chat,
    messages_in,
    prepare,
)
from benchmarks.report import Figure, Report, read_options

QUESTION: Final = "How many people can be linked a second, and do the turns of others wait for it?"
IN_FLIGHT: Final = 64
UNINVOLVED: Final = 1_000
"""Conversations that go on beside the links."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How many people, and how often."""

    identities: int
    blocks: int
    links: int
    """In each block, and as many once more while nobody writes."""


@dataclass(slots=True)
class Found:
    """What links took, and what turns took."""

    alone_s: list[float] = field(default_factory=list[float])
    """Each: a block of links, while nobody writes."""
    beside_s: list[float] = field(default_factory=list[float])
    """Each: the same, while others write."""
    quiet_ms: list[float] = field(default_factory=list[float])
    """Each: a turn until its reply was sent, while nobody is linked."""
    linking_ms: list[float] = field(default_factory=list[float])
    """Each: the same, while links are made."""


async def measure(directory: Path, plan: Plan, rng: Random, disk: Disk) -> Found:
    """Links alone, links beside turns, and as many turns alone, again and again."""
    population, channel, found = Population(plan.identities), AnsweringChannel(), Found()
    half = plan.identities // 2
    users = map(population.user, rng.sample(range(half), half))
    uninvolved = rng.sample(range(half, plan.identities), UNINVOLVED)
    turns = (Said(chat(rng.choice(uninvolved)), f"beside-{number}") for number in count())
    strangers = iter(count(plan.identities))
    async with running(directory, channel) as runtime:
        await say_all(channel, messages_in(uninvolved, "warm"), IN_FLIGHT)
        for _ in range(plan.blocks):
            disk.measure(20)
            alone, beside = (list(islice(strangers, plan.links)) for _ in range(2))
            await say_all(channel, messages_in([*alone, *beside], "first"), IN_FLIGHT)
            await quiet(runtime)
            gc.collect()
            found.alone_s.append(await link_all(runtime, alone, users))
            times = await talk_meanwhile(channel, turns, found, runtime, beside, users)
            found.linking_ms += times
            await quiet(runtime)
            found.quiet_ms += await talk(channel, islice(turns, len(times)))
    return found


async def link_all(runtime: tk.Runtime, strangers: Sequence[int], users: Iterator[str]) -> float:
    """Link one after the other; how long it took, in seconds."""
    began = time.perf_counter()
    for stranger in strangers:
        change = await runtime.link(PLATFORM, user_of(chat(stranger)), next(users))
        if len(change.moved) != 1 or len(change.joined) != 1:
            raise RuntimeError(f"not one conversation and one history were moved: {change}")
    return time.perf_counter() - began


async def talk(channel: AnsweringChannel, messages: Iterable[Said]) -> list[float]:
    """Let humans say all of it; how long each waited for the reply, in milliseconds."""
    shared, times = iter(messages), list[float]()

    async def human() -> None:
        for said in shared:
            began = time.perf_counter()
            await channel.say(said)
            times.append((time.perf_counter() - began) * 1000)

    async with trio.open_nursery() as nursery:
        for _ in range(IN_FLIGHT):
            nursery.start_soon(human)
    return times


async def talk_meanwhile(
    channel: AnsweringChannel,
    messages: Iterable[Said],
    found: Found,
    runtime: tk.Runtime,
    strangers: Sequence[int],
    users: Iterator[str],
) -> list[float]:
    """Let humans talk for as long as it takes to link the strangers."""
    linking = True

    async def link() -> None:
        nonlocal linking
        found.beside_s.append(await link_all(runtime, strangers, users))
        linking = False

    async with trio.open_nursery() as nursery:
        nursery.start_soon(link)
        return await talk(channel, takewhile(lambda _: linking, messages))
    raise AssertionError("a nursery swallows nothing")


def add_figures(report: Report, plan: Plan, found: Found) -> None:
    beside, alone = (
        [plan.links / block_s for block_s in blocks] for blocks in (found.beside_s, found.alone_s)
    )
    report.add(
        Figure(
            name="links, one asker, beside turns",
            value=median(beside),
            unit="links/s",
            beside="nobody writes",
            beside_value=median(alone),
            ratio=median(beside) / median(alone),
        )
    )
    linking, others = quantiles(found.linking_ms, n=100), quantiles(found.quiet_ms, n=100)
    for percent in (50, 99):
        ours, theirs = linking[percent - 1], others[percent - 1]
        report.add(
            Figure(
                name=f"a turn that no link concerns, beside links, p{percent}",
                value=ours,
                unit="ms",
                beside="nobody is linked",
                beside_value=theirs,
                ratio=ours / theirs,
            )
        )
    report.notes.append(
        f"links/s: {min(beside):.0f}–{max(beside):.0f} beside turns, "
        f"{min(alone):.0f}–{max(alone):.0f} alone; {len(found.linking_ms):,} turns beside links"
    )


def main() -> None:
    """Measure, and print the table."""
    options = read_options(QUESTION)
    plan = (
        Plan(identities=10_000, blocks=2, links=40)
        if options.quick
        else Plan(identities=100_000, blocks=8, links=300)
    )
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder)
        disk = Disk(scratch)
        trio.run(prepare, scratch / "people", Population(plan.identities))
        rng = Random(options.seed)
        add_figures(report, plan, trio.run(measure, scratch / "people", plan, rng, disk))
        report.add(disk.figure())
    report.notes.append(
        f"{plan.identities:,} linked identities, {IN_FLIGHT} turns in flight; {plan.blocks} blocks "
        f"of {plan.links} links alone, {plan.links} links\nbeside turns, and as many turns alone.\n"
        "A link waits until what was submitted before it is durable, until the two sessions hold "
        "still, and for its own commit."
    )
    report.finish()


if __name__ == "__main__":
    main()
