"""Does a turn cost more the longer its session has been going on?

``python -m benchmarks.growth [--quick] [--json PATH] [--plot PATH]``

Sessions with short and with long histories live in one store and take turns in one run. An agent
that does nothing shows what turnkeeper adds; one that reads its window reads more until the window
is full, and from there on no more.
"""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import trio

import turnkeeper as tk
from benchmarks.clocks import Clocks
from benchmarks.disk import Disk
from benchmarks.histories import chat, write_histories
from benchmarks.load import (
    AnsweringChannel,
    Said,
    agent_that_reads,
    agent_without_work,
    quiet,
    running,
    say_all,
)
from benchmarks.report import Figure, Report, read_options
from turnkeeper.storage.lmdb_store import open_lmdb

QUESTION: Final = "Does a turn cost more the longer its session has been going on?"
SHORT: Final = 100
FULL: Final = 1_000
"""Turns that fill a window: it holds the newest 2,000 records at most."""
LONG: Final = 100_000
NO_OP: Final = "no-op agent"
READING: Final = "agent that reads its window"
STORE: Final = "store"
TURNS_A_BLOCK: Final = 10
"""Turns of one session in one block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How many sessions, and how often."""

    together: int
    """Sessions that are measured at the same time."""
    idle_blocks: int
    reading_blocks: int

    def lengths(self) -> list[int]:
        """Turns of history of every session, by session number.

        A block of turns would soon double a short history, so every block gets short ones of its
        own; to the others it makes no difference.
        """
        blocks = self.idle_blocks + self.reading_blocks
        return [LONG] * self.together + [FULL] * self.together + [SHORT] * self.together * blocks

    def streams(self, length: int, block: int) -> range:
        """Numbers of the sessions with `length` turns of history for a block."""
        first = {LONG: 0, FULL: 1, SHORT: 2 + block}[length] * self.together + 1
        return range(first, first + self.together)


async def prepare(scratch: Path, plan: Plan) -> None:
    async with open_lmdb(scratch / STORE) as store:
        await write_histories(store, plan.lengths())


async def measure(
    scratch: Path, plan: Plan, agent: tk.Agent, lengths: Sequence[int], blocks: range, disk: Disk
) -> dict[int, list[Clocks]]:
    """Blocks of turns with each length of history, one after the other, again and again."""
    spent: dict[int, list[Clocks]] = {length: [] for length in lengths}
    channel = AnsweringChannel()
    async with running(scratch / STORE, channel, agent) as runtime:
        await quiet(runtime)
        gc.collect()
        for block in blocks:
            disk.measure(5)
            # The order changes, so that nobody always comes after the same neighbour.
            for length in lengths if block % 2 else reversed(lengths):
                chats = [chat(stream) for stream in plan.streams(length, block)]
                name = f"block-{block}"
                await say_all(channel, messages(chats, f"{name}-warm", 1), plan.together)
                await quiet(runtime)
                began = Clocks.now()
                await say_all(channel, messages(chats, name, TURNS_A_BLOCK), plan.together)
                spent[length].append(Clocks.now().since(began))
    return spent


def messages(chats: Sequence[str], name: str, turns: int) -> list[Said]:
    return [Said(chat, f"{name}-{chat}-{turn}") for turn in range(turns) for chat in chats]


def compare(
    spent: dict[int, list[Clocks]], long: int, short: int, plan: Plan, agent: str
) -> list[Figure]:
    """Rows for the cost at `long` turns of history beside that at `short`."""
    ms_a_turn = 1000 / (TURNS_A_BLOCK * plan.together)
    held = {"must": "≤ 1.1", "aim": "1.0"} if agent == NO_OP else {}
    return [
        Figure(
            name=f"a turn after {long:,} turns, {agent}{suffix}",
            value=median(map(clock, spent[long])) * ms_a_turn,
            unit="ms",
            beside=f"after {short:,} turns",
            beside_value=median(map(clock, spent[short])) * ms_a_turn,
            # Of neighbours in time: the disk drifts.
            ratio=median(
                clock(ours) / clock(theirs)
                for ours, theirs in zip(spent[long], spent[short], strict=True)
            ),
            **held,
        )
        for clock, suffix in ((_wall, ""), (_process, ", CPU"))
    ]


def _wall(spent: Clocks) -> float:
    return spent.wall_s


def _process(spent: Clocks) -> float:
    return spent.process_s


def main() -> None:
    """Measure, and print the table."""
    options = read_options(QUESTION)
    plan = (
        Plan(together=2, idle_blocks=60, reading_blocks=6)
        if options.quick
        else Plan(together=4, idle_blocks=200, reading_blocks=16)
    )
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder)
        disk = Disk(scratch)
        trio.run(prepare, scratch, plan)
        idle = range(plan.idle_blocks)
        reading = range(plan.idle_blocks, plan.idle_blocks + plan.reading_blocks)
        without = trio.run(measure, scratch, plan, agent_without_work, (SHORT, LONG), idle, disk)
        lengths = (SHORT, FULL, LONG)
        reads = trio.run(measure, scratch, plan, agent_that_reads, lengths, reading, disk)
    for figure in (
        *compare(without, LONG, SHORT, plan, NO_OP),
        *compare(reads, LONG, FULL, plan, READING),
        *compare(reads, LONG, SHORT, plan, READING),
        disk.figure(),
    ):
        report.add(figure)
    report.notes.append(
        f"one store, {plan.together} sessions of each length at a time, blocks of "
        f"{TURNS_A_BLOCK} turns each in turns;\nmedians of {plan.idle_blocks} blocks (no-op) and "
        f"{plan.reading_blocks} (reading). A window holds 2,000 records at most, so\n"
        f"it is full at {FULL:,} turns and not at {SHORT}."
    )
    report.finish()


if __name__ == "__main__":
    main()
