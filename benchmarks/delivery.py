"""What does it cost to say something unasked, and does one dead conversation hold others up?

``python -m benchmarks.delivery [--quick] [--json PATH] [--plot PATH]``

A send counts once its outcome is durable: what is said is stored, then sent to a platform in
memory, then what became of it is stored. Where another session owns the conversation, that one's
log gets a note of it, in the same batch as the outcome.
"""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median, quantiles
from typing import Final, NamedTuple

import trio

from benchmarks import dead
from benchmarks.clocks import Clocks
from benchmarks.disk import Disk
from benchmarks.load import quiet, running
from benchmarks.report import Figure, Options, Report, read_options
from benchmarks.rounds import Rounds
from benchmarks.sending import SendingChannel, errands, open_conversations, send_all
from benchmarks.sending_floor import FloorSend, sends_of, write_sends
from turnkeeper.storage.base import Table
from turnkeeper.storage.lmdb_store import open_reader

QUESTION: Final = "What does it cost to say something unasked, and whom does a dead place hold up?"
CONVERSATIONS: Final = 1_000
SENDS_EACH: Final = 20
IN_FLIGHT: Final = (64, 1_000)
ALONE_BLOCK: Final = 50
"""Sends alone that are measured before the disk is measured again."""
DEAD: Final[dict[dead.Manner, str]] = {
    "alive again": "all alive again",
    "hangs": "one hangs for ever",
    "fails": "one is unreachable",
}


class Kind(NamedTuple):
    """Where every session speaks."""

    name: str
    elsewhere: bool


KINDS: Final = (Kind("own conversation", False), Kind("another session's", True))


# -- throughput ----------------------------------------------------------------------------------


@dataclass(slots=True)
class Measured:
    """One kind at one number in flight, every round."""

    rounds: Rounds = field(default_factory=lambda: Rounds(CONVERSATIONS * SENDS_EACH))
    p50_ms: list[float] = field(default_factory=list[float])
    p99_ms: list[float] = field(default_factory=list[float])

    async def add(self, directory: Path, kind: Kind, in_flight: int) -> None:
        """What it takes the runtime, from the first send until the last outcome is known."""
        channel = SendingChannel()
        async with running(directory, channel) as runtime:
            speakers = await open_conversations(runtime, channel, CONVERSATIONS)
            gc.collect()
            began = Clocks.now()
            todo = errands(speakers, SENDS_EACH, elsewhere=kind.elsewhere)
            times = await send_all(runtime, todo, in_flight)
            self.rounds.ours.append(Clocks.now().since(began))
        self.p50_ms.append(median(times))
        self.p99_ms.append(quantiles(times, n=100)[98])


def written(directory: Path) -> list[FloorSend]:
    """What the sends in `directory` wrote."""
    with open_reader(directory) as reader, reader.snapshot() as reads:
        heads = reads.scan(Table.HEADS, limit=CONVERSATIONS + 1)
        return sends_of(reads, [int.from_bytes(key, "big") for key, _ in heads])


def measure_rounds(scratch: Path, disk: Disk, rounds: int) -> dict[tuple[Kind, int], Measured]:
    """Ours and the floor in turns, so that a slow minute of the disk is shared."""
    measured = {(kind, in_flight): Measured() for kind in KINDS for in_flight in IN_FLIGHT}
    sends: dict[Kind, list[FloorSend]] = {}
    for number in range(rounds):
        for (kind, in_flight), each in measured.items():
            disk.measure(20)
            place = scratch / f"{kind.elsewhere}-{in_flight}-{number}"
            trio.run(each.add, place, kind, in_flight)
            if kind not in sends:
                sends[kind] = written(place)
                # Hundreds of thousands of objects that no run of the collector is to look through.
                gc.freeze()
            gc.collect()
            floor = write_sends(place.with_suffix(".floor"), sends[kind], in_flight)
            each.rounds.floor.append(floor)
    return measured


def add_rates(report: Report, measured: dict[tuple[Kind, int], Measured]) -> None:
    for (kind, in_flight), each in measured.items():
        rounds = each.rounds
        report.add(
            Figure(
                name=f"sends, {kind.name}, {in_flight:,} in flight",
                value=median(rounds.rates(rounds.ours)),
                unit="sends/s",
                beside="storage floor",
                beside_value=median(rounds.rates(rounds.floor)),
                ratio=median(rounds.ratios()),
                aim="≥ 0.25",
            )
        )
        report.notes.append(
            f"{kind.name}, {in_flight:,} in flight: {rounds.spread()}; "
            f"one send p50 {median(each.p50_ms):.1f} ms, p99 {median(each.p99_ms):.1f} ms"
        )
    for (kind, in_flight), each in measured.items():
        cpu_us = each.rounds.cpu_us(each.rounds.ours)
        floor_us = each.rounds.cpu_us(each.rounds.floor)
        report.add(
            Figure(
                name=f"CPU time of a send, {kind.name}, {in_flight:,} in flight",
                value=cpu_us,
                unit="µs",
                beside="storage floor",
                beside_value=floor_us,
                ratio=cpu_us / floor_us,
            )
        )


# -- one send alone ------------------------------------------------------------------------------


async def alone_ms(directory: Path, disk: Disk, kind: Kind, blocks: int) -> list[float]:
    """Times from asking until the outcome is known, with nothing else going on."""
    channel, times = SendingChannel(), list[float]()
    async with running(directory, channel) as runtime:
        speakers = await open_conversations(runtime, channel, ALONE_BLOCK)
        for _ in range(blocks):
            disk.measure(ALONE_BLOCK)
            for errand in errands(speakers, 1, elsewhere=kind.elsewhere):
                await quiet(runtime)
                times += await send_all(runtime, [errand], 1)
    return times


def add_alone(report: Report, kind: Kind, times: Sequence[float], disk: Disk) -> None:
    for name, value, commit in (
        ("p50", median(times), median(disk.commits_ms)),
        ("p99", quantiles(times, n=100)[98], quantiles(disk.commits_ms, n=100)[98]),
    ):
        report.add(
            Figure(
                name=f"one send alone, {kind.name}, {name}",
                value=value,
                unit="ms",
                beside=f"two raw commits, {name}",
                beside_value=2 * commit,
                ratio=value / (2 * commit),
            )
        )


# -- one dead conversation -----------------------------------------------------------------------


def add_dead(report: Report, blocks: dead.Blocks) -> None:
    for manner, says in DEAD.items():
        p50, p99 = blocks.ratios(manner)
        for name, value, beside, ratio in (
            ("p50", blocks.p50(manner), blocks.p50("alive"), p50),
            ("p99", blocks.p99(manner), blocks.p99("alive"), p99),
        ):
            report.add(
                Figure(
                    name=f"a send of the others, {says}, {name}",
                    value=value,
                    unit="ms",
                    beside="all alive",
                    beside_value=beside,
                    ratio=ratio,
                    aim="1",
                )
            )
    for manner, of_manner in blocks.of.items():
        p50s, p99s = [block.p50 for block in of_manner], [block.p99 for block in of_manner]
        report.notes.append(
            f"blocks, {manner}: p50 {min(p50s):.2f}–{max(p50s):.2f} ms, "
            f"p99 {min(p99s):.2f}–{max(p99s):.2f} ms"
        )


# -- the table -----------------------------------------------------------------------------------


def measure(options: Options) -> None:
    rounds, blocks, sends = (2, 5, 2_000) if options.quick else (7, 15, 5_000)
    alone_blocks = 6 if options.quick else 20
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch, rng = Path(folder), Random(options.seed)
        disk = Disk(scratch)
        add_rates(report, measure_rounds(scratch, disk, rounds))
        for kind in KINDS:
            disk_alone, place = Disk(scratch), scratch / f"alone-{kind.elsewhere}"
            times = trio.run(alone_ms, place, disk_alone, kind, alone_blocks)
            add_alone(report, kind, times, disk_alone)
        held = trio.run(
            lambda: dead.measure_blocks(scratch / "dead", disk, rng, rounds=blocks, sends=sends)
        )
        add_dead(report, held)
        report.add(disk.figure())
    report.notes.append(
        "load average at the end: " + ", ".join(f"{load:.1f}" for load in os.getloadavg())
    )
    report.notes.append(
        f"{CONVERSATIONS:,} sessions × {SENDS_EACH} sends; medians of {rounds} rounds, ours and "
        "the floor taken in turns.\n"
        "storage floor: one thread without actors encodes and writes the very records and rows of "
        "our sends,\ntwo commits a send, each as full as the number in flight allows.\n"
        f"one send alone: {alone_blocks * ALONE_BLOCK:,} sends, each begun when everything before "
        "it is durable.\n"
        f"one dead: {blocks} rounds, each a block of {sends:,} sends in every manner, "
        f"{dead.IN_FLIGHT} in flight, in {dead.CONVERSATIONS:,}\nconversations, "
        f"while {dead.WAITING} sends wait for the dead one; ratios of neighbours in time."
    )
    report.finish()


def main() -> None:
    """Measure, and print the table."""
    measure(read_options(QUESTION))


if __name__ == "__main__":
    main()
