"""How many durable turns a second, and how long does one take? Beside what the disk allows.

``python -m benchmarks.turns [--quick] [--json PATH] [--plot PATH] [--profile]``

The agent does no work and the platform is in memory: what is measured is turnkeeper and the disk.
A turn counts once its message was accepted, durably, and its reply has been sent.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import os
import pstats
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import trio

import turnkeeper as tk
from benchmarks.clocks import Clocks
from benchmarks.disk import Disk
from benchmarks.floor import FloorTurn, turns_of, write_floor
from benchmarks.load import AnsweringChannel, Said, conversing, quiet, running, say_all
from benchmarks.report import Figure, Options, Report, read_options
from benchmarks.rounds import Rounds
from turnkeeper.storage.base import Table
from turnkeeper.storage.lmdb_store import open_reader
from turnkeeper.testing import LoopbackChannel

QUESTION: Final = "How many durable turns a second, and how long does one take?"
CONVERSATIONS: Final = 1_000
TURNS_EACH: Final = 20
IN_FLIGHT: Final = {64: ("≥ 0.25", "0.5"), 1_000: ("≥ 0.2", "0.4")}
"""Turns in flight, and what their ratio must and should be."""
ALONE_BLOCK: Final = 50
"""Turns alone that are measured before the disk is measured again."""
ALLOWANCE_MS: Final = 0.5
"""What a turn alone may take beyond two raw commits."""
AIM_MS: Final = 0.25
BURST: Final = 64
BURST_ROUNDS: Final = 100


# -- throughput ----------------------------------------------------------------------------------


async def ours(directory: Path, turns_each: int, in_flight: int) -> Clocks:
    """What it takes the runtime, from the first message until the last reply has been sent."""
    channel = AnsweringChannel()
    async with running(directory, channel):
        gc.collect()
        began = Clocks.now()
        await say_all(channel, conversing(CONVERSATIONS, turns_each), in_flight)
        spent = Clocks.now().since(began)
    if channel.answered != CONVERSATIONS * turns_each:
        raise RuntimeError(f"{channel.answered} of {CONVERSATIONS * turns_each} replies were sent")
    return spent


def written(directory: Path) -> list[FloorTurn]:
    """What the run in `directory` wrote."""
    with open_reader(directory) as reader, reader.snapshot() as reads:
        heads = reads.scan(Table.HEADS, limit=CONVERSATIONS + 1)
        return turns_of(reads, [int.from_bytes(key, "big") for key, _ in heads])


def measure_rounds(scratch: Path, disk: Disk, rounds: int) -> dict[int, Rounds]:
    """Ours and the floor in turns, so that a slow minute of the disk is shared."""
    measured = {in_flight: Rounds(CONVERSATIONS * TURNS_EACH) for in_flight in IN_FLIGHT}
    turns: list[FloorTurn] = []
    for number in range(rounds):
        for in_flight, each in measured.items():
            disk.measure(20)
            place = scratch / f"{in_flight}-{number}"
            each.ours.append(trio.run(ours, place, TURNS_EACH, in_flight))
            if not turns:
                turns = written(place)
                # Half a million objects that no run of the collector is to look through again.
                gc.freeze()
            gc.collect()
            each.floor.append(write_floor(place.with_suffix(".floor"), turns, in_flight))
    return measured


# -- one turn alone ------------------------------------------------------------------------------


async def alone_ms(directory: Path, disk: Disk, blocks: int) -> list[float]:
    """Times from receiving a message until its reply is sent, with nothing else going on."""
    channel = AnsweringChannel()
    times: list[float] = []
    async with running(directory, channel) as runtime:
        await channel.say(Said("chat", "warm"))
        for block in range(blocks):
            disk.measure(ALONE_BLOCK)
            for number in range(ALONE_BLOCK):
                await quiet(runtime)
                began = time.perf_counter()
                await channel.say(Said("chat", f"message-{block}-{number}"))
                times.append((time.perf_counter() - began) * 1000)
    return times


# -- many first messages at once -----------------------------------------------------------------


async def echo(turn: tk.Turn) -> str:
    return turn.text


async def burst_rounds_held(directory: Path, rounds: int) -> int:
    """In how many rounds 64 first messages made one session, none lost, answered in order."""
    channel = LoopbackChannel("lo")
    held = 0
    async with running(directory, channel, echo) as runtime:
        await channel.receive("warm", user_id="warm")  # returns once the channel runs
        await channel.next_sent()
        for number in range(rounds):
            held += await burst_held(runtime, channel, f"chat-{number}")
        return held if len(await runtime.sessions()) == rounds + 1 else 0


async def burst_held(runtime: tk.Runtime, channel: LoopbackChannel, conversation: str) -> bool:
    arrived: list[str] = []
    sessions: set[str] = set()
    sent_before = len(channel.sent)

    async def human(text: str) -> None:
        arrived.append(text)  # nothing else runs until the message is in the registry's mailbox
        accepted = await channel.receive(
            text, conversation=conversation, user_id=conversation, message_id=text
        )
        sessions.add(accepted.session_id)

    async with trio.open_nursery() as nursery:
        for number in range(BURST):
            nursery.start_soon(human, f"{conversation}: message {number}")
    with trio.move_on_after(30):
        while len(channel.sent) < sent_before + BURST:
            await channel.next_sent()
    if len(sessions) != 1:
        return False
    records = await runtime.history(sessions.pop())
    logged = [record.text for record in records if record.kind == "user"]
    answered = [message.text for message in channel.sent[sent_before:]]
    return logged == arrived == answered


# -- where the time goes -------------------------------------------------------------------------


def profile() -> None:
    """Print what the loop thread spends its time on, with 64 turns in flight."""
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as scratch:
        profiler.enable()
        trio.run(ours, Path(scratch) / "ours", TURNS_EACH // 4, min(IN_FLIGHT))
        profiler.disable()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
    print(
        "The loop thread only, and slowed down by the profiler itself. Both threads, sampled:\n"
        "  py-spy record --gil --threads -f raw -o turns.txt -- python -m benchmarks.turns --quick"
    )


# -- the table -----------------------------------------------------------------------------------


def add_rates(report: Report, measured: dict[int, Rounds]) -> None:
    for in_flight, rounds in measured.items():
        must, aim = IN_FLIGHT[in_flight]
        report.add(
            Figure(
                name=f"durable turns, {in_flight:,} in flight",
                value=median(rounds.rates(rounds.ours)),
                unit="turns/s",
                beside="storage floor",
                beside_value=median(rounds.rates(rounds.floor)),
                ratio=median(rounds.ratios()),
                must=must,
                aim=aim,
            )
        )
        report.notes.append(f"{in_flight:,} in flight: {rounds.spread()}")
    for in_flight, rounds in measured.items():
        cpu_us, floor_us = rounds.cpu_us(rounds.ours), rounds.cpu_us(rounds.floor)
        report.add(
            Figure(
                name=f"CPU time of a turn, {in_flight:,} in flight",
                value=cpu_us,
                unit="µs",
                beside="storage floor",
                beside_value=floor_us,
                ratio=cpu_us / floor_us,
            )
        )


def add_alone(report: Report, times: Sequence[float], disk: Disk) -> None:
    commit, p50 = median(disk.commits_ms), median(times)
    report.add(
        Figure(
            name="one turn alone, p50",
            value=p50,
            unit="ms",
            beside="two raw commits",
            beside_value=2 * commit,
            ratio=p50 / (2 * commit),
            must=f"≤ {2 * commit + ALLOWANCE_MS:.2f} ms",
            aim=f"{2 * commit + AIM_MS:.2f} ms",
        )
    )
    report.add(
        Figure(
            name="one turn alone, p50 beyond two raw commits",
            value=p50 - 2 * commit,
            unit="ms",
            must=f"≤ {ALLOWANCE_MS}",
            aim=f"{AIM_MS}",
        )
    )
    report.add(
        Figure(
            name="one turn alone, p99",
            value=quantiles(times, n=100)[98],
            unit="ms",
            beside="two raw commits, each p99",
            beside_value=2 * quantiles(disk.commits_ms, n=100)[98],
        )
    )


def measure(options: Options) -> None:
    rounds = 2 if options.quick else 7
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder)
        disk_alone, disk = Disk(scratch), Disk(scratch)
        times = trio.run(alone_ms, scratch / "alone", disk_alone, 6 if options.quick else 40)
        add_rates(report, measure_rounds(scratch, disk, rounds))
        add_alone(report, times, disk_alone)
        held = trio.run(burst_rounds_held, scratch / "burst", BURST_ROUNDS)
        report.add(
            Figure(
                name=f"{BURST} first messages at once: one session, all, in order",
                value=held,
                unit=f"of {BURST_ROUNDS} rounds",
                must=f"{BURST_ROUNDS}",
            )
        )
        report.add(disk.figure())
    report.notes.append(
        "load average at the end: " + ", ".join(f"{load:.1f}" for load in os.getloadavg())
    )
    report.notes.append(
        f"{CONVERSATIONS:,} new conversations × {TURNS_EACH} turns; medians of {rounds} rounds, "
        "ours and the floor taken in turns.\n"
        "storage floor: one thread without actors encodes and writes the very records of our "
        "turns,\ntwo commits a turn, each as full as the number in flight allows.\n"
        f"one turn alone: {len(times)} turns, each begun when everything before it is durable; "
        f"the raw figures of its row\nare taken between blocks of {ALONE_BLOCK} turns."
    )
    report.finish()


def main() -> None:
    """Measure, and print the table."""
    own = argparse.ArgumentParser(add_help=False)
    own.add_argument("--profile", action="store_true")
    given, rest = own.parse_known_args(sys.argv[1:])
    if given.profile:
        profile()
    else:
        measure(read_options(f"{QUESTION} (--profile: where the time goes)", rest))


if __name__ == "__main__":
    main()
