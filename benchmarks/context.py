"""Does a window cost more the longer the history behind it, and what does a compaction cost?

``python -m benchmarks.context [--quick] [--json PATH] [--plot PATH]``

Sessions with short and with very long histories live in one store. The older part of each is
covered by a summary, the same number of messages stands behind it, and their windows are built in
turns within one run. Then a context that is full is summarised by a running runtime, with the
built-in summary and counted tokens, while the longest stall of the loop is watched.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import trio

import turnkeeper as tk
from benchmarks.disk import Disk
from benchmarks.histories import INSTANCE, chat, write_histories
from benchmarks.load import AnsweringChannel, agent_without_work, running, user_of
from benchmarks.report import Figure, Report, read_options
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.effects import StartTurn, Step
from turnkeeper.actors.core.heard import user_record
from turnkeeper.actors.core.view_records import SummaryRecord
from turnkeeper.actors.deliveries import DeliveryReported
from turnkeeper.actors.journal import batch_for, load_conversation
from turnkeeper.actors.messages import Address, AgentReply, DeliveryId, InboundTurn, SessionId
from turnkeeper.actors.windows import WindowRules, read_window
from turnkeeper.storage.base import Store
from turnkeeper.storage.lmdb_store import open_lmdb

QUESTION: Final = "Does a window cost more the longer its history, and what does a compaction cost?"
STORE: Final = "store"
RECORDS_A_TURN: Final = 3
RECENT_TURNS: Final = 200
"""Turns that stand behind the summary."""
RULES: Final = WindowRules(180_000)
TEXT: Final = (
    "Could you move the dentist to Thursday at 15:30, and tell Anna that room 4711 is free? "
)
WATCHED_S: Final = 0.001


async def prepare(scratch: Path, lengths: Sequence[int], full_turns: int) -> None:
    """Sessions 1, 2, 3 … with so many records of history each, and one with a full context."""
    async with open_lmdb(scratch / STORE) as store:
        turns = [length // RECORDS_A_TURN for length in lengths]
        await write_histories(store, [*turns, 1])
        for stream in range(1, len(lengths) + 1):
            await talk(store, stream, RECENT_TURNS, summary=True)
        await talk(store, len(lengths) + 1, full_turns, summary=False)


async def talk(store: Store, stream: int, turns: int, *, summary: bool) -> None:
    """Let a session go on for so many turns, behind a summary of what was before if wanted."""
    core = load_conversation(store, stream)
    assert core is not None  # it has been written
    if summary:
        step = core.summarise(summary_of(core), core.base)
        await store.commit(batch_for(stream, core, step))
    for number in range(turns):
        for step in one_turn(core, stream, number):
            store.submit(batch_for(stream, core, step))
        if number % 100 == 99:
            await trio.lowlevel.checkpoint()


def summary_of(core: Conversation) -> SummaryRecord:
    """A summary of everything so far."""
    return SummaryRecord(
        at_us=time.time_ns() // 1000,
        text="Anna and the dentist were spoken of. " * 40,
        through=core.settled,
        asides=0,
        by="benchmark",
        tokens=450,
        covered_tokens=100_000,
        covered_bound=core.context_bound,
        covered_messages=core.context_messages,
    )


def one_turn(core: Conversation, stream: int, number: int) -> list[Step]:
    """The decisions of one turn that is answered and delivered at once."""
    turn = inbound(stream, number)
    now_us = time.time_ns() // 1000
    accepted = core.accept(turn, now_us)
    seq = next(effect.seq for effect in accepted.effects if isinstance(effect, StartTurn))
    said = core.finish(seq, turn, AgentReply(text=TEXT * 2), now_us)
    delivery = core.next_seq - 1
    report = DeliveryReported(
        session_id=SessionId(core.session_id),
        delivery_id=DeliveryId(f"{core.session_id}/{delivery}"),
        attempt=1,
        status="delivered",
        platform_message_id=f"out-{number}",
    )
    return [accepted, said, core.report(delivery, report, now_us)]


def inbound(stream: int, number: int) -> InboundTurn:
    """A message of the human of a session."""
    return InboundTurn(
        address=Address(INSTANCE, chat(stream)),
        platform="loopback",
        message_id=f"recent-{stream}-{number}",
        user_id=user_of(chat(stream)),
        text=f"{number}: {TEXT}",
    )


async def build(scratch: Path, count: int, rounds: int) -> list[list[float]]:
    """Milliseconds of every window of sessions 1 to `count`, round by round, in turns."""
    spent: list[list[float]] = [[] for _ in range(count)]
    async with open_lmdb(scratch / STORE) as store:
        for number in range(rounds):
            order = range(count) if number % 2 else reversed(range(count))
            for at in order:
                seq = store.last_seq(at + 1) + 1
                current = (seq, user_record(inbound(at + 1, number), time.time_ns() // 1000))
                began = time.perf_counter()
                window = read_window(store, at + 1, RULES, current)
                spent[at].append((time.perf_counter() - began) * 1000)
                assert len(window) == 2 * RECENT_TURNS + 2  # the summary, and the turn itself
            await trio.lowlevel.checkpoint()
    return spent


async def compact(scratch: Path, stream: int) -> tuple[tk.Compacted, float, float]:
    """Summarise a full context: what became of it, seconds, and the loop's longest stall in ms."""
    stalls = [0.0]
    async with (
        running(scratch / STORE, AnsweringChannel(), agent_without_work) as runtime,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(watch, stalls)
        began = time.perf_counter()
        outcome = await runtime.compact(f"s{stream}")
        spent_s = time.perf_counter() - began
        nursery.cancel_scope.cancel()
    return outcome, spent_s, stalls[0] * 1000


async def watch(stalls: list[float]) -> None:
    """Keep the longest time by which a short sleep was late."""
    while True:
        began = time.perf_counter()
        await trio.sleep(WATCHED_S)
        stalls[0] = max(stalls[0], time.perf_counter() - began - WATCHED_S)


def main() -> None:
    """Measure, and print the table."""
    options = read_options(QUESTION)
    lengths = (100, 10_000, 100_000) if options.quick else (100, 10_000, 1_000_000)
    rounds = 60 if options.quick else 300
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder)
        disk = Disk(scratch)
        disk.measure(5)
        trio.run(prepare, scratch, lengths, 2_000)
        spent = trio.run(build, scratch, len(lengths), rounds)
        outcome, spent_s, stall_ms = trio.run(compact, scratch, len(lengths) + 1)
        disk.measure(5)
    shortest = spent[0]
    for length, times in zip(lengths[1:], spent[1:], strict=True):
        report.add(
            Figure(
                name=f"a window behind {length:,} records",
                value=median(times),
                unit="ms",
                beside=f"behind {lengths[0]:,}",
                beside_value=median(shortest),
                ratio=median(a / b for a, b in zip(times, shortest, strict=True)),
                must="≤ 1.2",
                aim="1.0",
            )
        )
    counted = outcome.tokens_before
    report.add(Figure(name="tokens counted and summarised", value=counted / spent_s, unit="/s"))
    report.add(
        Figure(name="longest stall of the loop meanwhile", value=stall_ms, unit="ms", must="≤ 20")
    )
    report.add(disk.figure())
    report.notes.append(
        f"each window holds a summary, {2 * RECENT_TURNS} messages and the turn's own; medians of "
        f"{rounds} rounds.\nThe compaction: {outcome.messages:,} messages, "
        f"{outcome.tokens_before:,} tokens before and {outcome.tokens_after:,} after, in "
        f"{spent_s:.2f} s,\nthe start of the process that counts included."
    )
    report.finish()


if __name__ == "__main__":
    main()
