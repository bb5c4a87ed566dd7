"""What does an actor cost? Beside pykka's threads, and beside bare trio tasks.

``python -m benchmarks.kernel [--quick] [--json PATH] [--plot PATH]``
"""

from __future__ import annotations

import gc
import re
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import pykka
import trio
import trio.testing

from benchmarks.report import Figure, Report, read_options
from turnkeeper.actors import Kernel, TrioActor

QUESTION: Final = "What does an actor cost, beside pykka.ThreadingActor and bare trio tasks?"
DONE: Final = object()
MANY_ACTORS: Final = 10_000
TELLS_EACH: Final = 10
IDLE_ACTORS: Final = 50_000


class CountingThread(pykka.ThreadingActor):
    """Counts what it is told, in a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> int | None:
        self.count += 1
        return self.count if message is DONE else None


class Counting(TrioActor):
    """Counts what it is told, on a kernel."""

    listed = False

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_receive(self, message: Any) -> int | None:
        self.count += 1
        return self.count if message is DONE else None


class CountingResident(Counting):
    """The same, with a task of its own."""

    scheduling = "resident"


def check(counted: int, expected: int) -> None:
    """A figure for lost messages would be worth nothing."""
    if counted != expected:
        raise RuntimeError(f"{counted} of {expected} messages were handled")


def pykka_tells(number: int) -> float:
    """Seconds from the first tell until the last message is handled."""
    ref = CountingThread.start()
    started = time.perf_counter()
    for _ in range(number):
        ref.tell("x")
    check(ref.ask(DONE, block=True), number + 1)
    elapsed = time.perf_counter() - started
    ref.stop()
    return elapsed


def pykka_asks(number: int) -> float:
    """Seconds for `number` round trips, one after the other."""
    ref = CountingThread.start()
    started = time.perf_counter()
    for _ in range(number):
        ref.ask(DONE)
    elapsed = time.perf_counter() - started
    ref.stop()
    return elapsed


async def tells(number: int, actor: type[Counting] = Counting) -> float:
    """As `pykka_tells`, from a task on the loop."""
    async with Kernel.open():
        ref = actor.start()
        started = time.perf_counter()
        for _ in range(number):
            ref.tell("x")
        check(await ref.ask(DONE, block=False), number + 1)
        return time.perf_counter() - started


async def asks(number: int, actor: type[Counting] = Counting) -> float:
    """As `pykka_asks`, from a task on the loop."""
    async with Kernel.open():
        ref = actor.start()
        started = time.perf_counter()
        for _ in range(number):
            await ref.ask(DONE, block=False)
        return time.perf_counter() - started


def foreign_tells(number: int) -> float:
    """As `pykka_tells`: from another thread."""
    with Kernel.in_thread():
        ref = Counting.start()
        started = time.perf_counter()
        for _ in range(number):
            ref.tell("x")
        check(ref.ask(DONE), number + 1)
        return time.perf_counter() - started


def foreign_asks(number: int) -> float:
    """As `pykka_asks`: from another thread."""
    with Kernel.in_thread():
        ref = Counting.start()
        started = time.perf_counter()
        for _ in range(number):
            ref.ask(DONE)
        return time.perf_counter() - started


async def many_actors() -> float:
    """Seconds to tell each of many actors a few messages, in turn, and to have all handled."""
    async with Kernel.open():
        refs = [Counting.start() for _ in range(MANY_ACTORS)]
        for ref in refs:
            await ref.ask("warm", block=False)
        started = time.perf_counter()
        for _ in range(TELLS_EACH):
            for ref in refs:
                ref.tell("x")
        last = await refs[-1].ask(DONE, block=False)
        elapsed = time.perf_counter() - started
        check(last, TELLS_EACH + 2)
        return elapsed


async def many_tasks() -> float:
    """The same with one task and one memory channel each."""
    counts = [0] * MANY_ACTORS
    handled = trio.Event()

    async def consume(index: int, channel: trio.MemoryReceiveChannel[Any]) -> None:
        async for message in channel:
            counts[index] += 1
            if message is DONE:
                handled.set()

    async with trio.open_nursery() as nursery:
        ends: list[trio.MemorySendChannel[Any]] = []
        for index in range(MANY_ACTORS):
            send, receive = trio.open_memory_channel[Any](float("inf"))
            ends.append(send)
            nursery.start_soon(consume, index, receive)
        await trio.testing.wait_all_tasks_blocked()
        started = time.perf_counter()
        for _ in range(TELLS_EACH):
            for end in ends:
                end.send_nowait("x")
        ends[-1].send_nowait(DONE)
        await handled.wait()
        elapsed = time.perf_counter() - started
        check(sum(counts), MANY_ACTORS * TELLS_EACH + 1)
        nursery.cancel_scope.cancel()
        return elapsed
    raise AssertionError("the nursery was cancelled from outside")


async def idle_actor_bytes() -> float:
    """Private memory of one actor that has handled a message and is idle."""
    async with Kernel.open():
        Counting.start().tell("x")
        await trio.testing.wait_all_tasks_blocked()
        before = private_bytes()
        refs = [Counting.start() for _ in range(IDLE_ACTORS)]
        for ref in refs:
            await ref.ask("x", block=False)
        after = private_bytes()
        return (after - before) / IDLE_ACTORS


def private_bytes() -> int:
    """Memory that only this process has, after a collection."""
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    return sum(int(size) for size in re.findall(r"Private_\w+:\s+(\d+) kB", rollup)) * 1024


def main() -> None:
    """Measure, and print the table."""
    options = read_options(QUESTION)
    rounds = 3 if options.quick else 7
    tell_count = 100_000 if options.quick else 300_000
    ask_count = 5_000 if options.quick else 30_000
    report = Report(question=QUESTION, options=options)

    bytes_each = trio.run(idle_actor_bytes)  # first, while the heap is fresh
    report.add(
        Figure(
            name="private memory per idle actor",
            value=bytes_each / 1024,
            unit="KB",
            ratio=bytes_each / 1024,
            must="≤ 1.6",
            aim="≤ 0.8",
        )
    )

    def compare(
        name: str,
        count: int,
        ours: Callable[[], float],
        theirs: Callable[[], float],
        beside: str = "pykka.ThreadingActor",
        must: str = "",
        aim: str = "",
    ) -> None:
        # Taken in turns, so that a slow minute of the machine is shared.
        pairs = [(ours(), theirs()) for _ in range(rounds)]
        value = count / median(our for our, _ in pairs)
        beside_value = count / median(their for _, their in pairs)
        report.add(
            Figure(
                name=name,
                value=value,
                unit="messages/s",
                beside=beside,
                beside_value=beside_value,
                ratio=value / beside_value,
                must=must,
                aim=aim,
            )
        )

    compare(
        "hot tell",
        tell_count,
        lambda: trio.run(tells, tell_count),
        lambda: pykka_tells(tell_count),
        must="≥ 2.5",
        aim="5",
    )
    compare(
        "hot tell, resident actor",
        tell_count,
        lambda: trio.run(tells, tell_count, CountingResident),
        lambda: pykka_tells(tell_count),
    )
    compare(
        "hot tell from another thread",
        tell_count,
        lambda: foreign_tells(tell_count),
        lambda: pykka_tells(tell_count),
    )
    compare(
        "ask round trip",
        ask_count,
        lambda: trio.run(asks, ask_count),
        lambda: pykka_asks(ask_count),
        must="≥ 1.5",
        aim="3",
    )
    compare(
        "ask round trip, resident actor",
        ask_count,
        lambda: trio.run(asks, ask_count, CountingResident),
        lambda: pykka_asks(ask_count),
    )
    compare(
        "ask round trip from another thread",
        ask_count,
        lambda: foreign_asks(ask_count),
        lambda: pykka_asks(ask_count),
    )
    compare(
        "10,000 actors × 10 tells",
        MANY_ACTORS * TELLS_EACH,
        lambda: trio.run(many_actors),
        lambda: trio.run(many_tasks),
        beside="trio task + memory channel",
        must="≥ 4",
        aim="6",
    )
    report.notes.append(
        f"medians of {rounds} rounds taken in turns; tell: {tell_count:,} messages, first tell "
        f"to last handled;\nask: {ask_count:,} round trips, one after the other; "
        f"memory: {IDLE_ACTORS:,} actors that have handled a message."
    )
    report.finish()


if __name__ == "__main__":
    main()
