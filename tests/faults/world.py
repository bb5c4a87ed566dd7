"""A whole runtime through a schedule of events, in virtual time.

The order in which trio runs its tasks is drawn from the seed as well, so that a seed is one run and
no other.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from random import Random
from typing import Any, Final

import trio
from trio.testing import MockClock

from ..disorder import disordered
from .crew import Crew
from .events import (
    AddMission,
    Aim,
    Clear,
    CutPower,
    Event,
    Fail,
    FailDisk,
    Hear,
    HoldDisk,
    HoldWire,
    Link,
    Mirror,
    Move,
    Pair,
    Pass,
    Redeliver,
    Retry,
    RunMission,
    Say,
    Stop,
    TellLater,
    Undo,
    Unlink,
    Unpair,
)
from .lives import Life
from .schedule import make_schedule

__all__ = ["Run", "World", "run_schedule", "run_seed"]

_QUIET_S: Final = 240.0
"""Longer than all retries of a delivery and of a turn take together."""


@dataclass(frozen=True)
class Run:
    """What became of a run."""

    seed: int
    problems: list[str]
    trace: list[str]
    digest: str
    counts: Counter[str]
    """How often what happened."""


class World(Crew):
    """Everything that takes part in a run."""

    async def run(self, schedule: Sequence[Event]) -> None:
        """Live through a schedule, let everything come to an end, and judge."""
        findings = self.auditor.findings
        async with trio.open_nursery() as self.nursery:
            await self.begin()
            for event in schedule:
                await trio.sleep(event.after_s)
                await self.come_back()
                self.say(f"* {event}")
                self.counts[type(event).__name__] += 1
                await self._do(event)
                if findings.problems:
                    break
            else:
                await self._settle()
            self._abandon()
        self.counts["lives"] = self.life.number
        self.counts["arrivals"] = len(self.platforms.arrived)
        self.counts["notes"] = len(self.auditor.notes.kept)

    def _abandon(self) -> None:
        """End what still runs, whatever it does."""
        self.life.wake_agents.set()
        self.life.over.set()
        if self.life.store is not None:
            self.life.store.release()
        self.nursery.cancel_scope.cancel()

    async def _do(self, event: Event) -> None:
        match event:
            case Hear():
                self.hear(event)
            case Redeliver():
                self.redeliver(event)
            case Say() | Mirror() | Clear() | Aim():
                self.program(event)
            case Link() | Unlink() | Pair() | Unpair() | Move() | Undo():
                self.act(event)
            case Retry():
                self.retry(event)
            case AddMission() | RunMission():
                self.plan(event)
            case TellLater():
                self.tell_later(event)
            case Fail() | HoldWire() | HoldDisk() | FailDisk() | CutPower():
                self._break(event)
            case Stop():
                await self.stop()
            case Pass():
                pass

    def _break(self, event: Fail | HoldWire | HoldDisk | FailDisk | CutPower) -> None:
        life = self.life
        match event:
            case Fail():
                self.platforms.fail(event)
            case HoldWire():
                self.nursery.start_soon(self._hold_wire, event)
            case HoldDisk():
                self.nursery.start_soon(self._hold_disk, life, event)
            case FailDisk():
                assert life.store is not None
                life.fails = True
                life.store.fail_next("the disk refused (a schedule asked for it)")
            case CutPower():
                self.fuse = event

    async def _hold_wire(self, event: HoldWire) -> None:
        self.platforms.hold(event.instance)
        await trio.sleep(event.for_s)
        self.platforms.release(event.instance)

    async def _hold_disk(self, life: Life, event: HoldDisk) -> None:
        assert life.store is not None
        life.store.hold()
        await trio.sleep(event.for_s)
        if not life.closed.is_set():
            life.store.release()

    async def _settle(self) -> None:
        """Let everything work again and come to an end; then nothing may be open."""
        self.say("* everything works again")
        self.platforms.heal()
        while True:
            await self.come_back()
            life = self.life
            life.wake_agents.set()
            if life.store is not None:
                life.store.release()
            self.end_missions()
            await trio.sleep(_QUIET_S)
            self.write_again()
            await trio.sleep(_QUIET_S)
            if not life.is_cut:
                self._check_finished()
                if await self.stop():
                    break
        self.check_kept()

    def _check_finished(self) -> None:
        for what in self.life.pending:
            self.fail(f"{what} has not been answered for {_QUIET_S:g} s")
        for message_id, message in self.messages.items():
            if message.acknowledged is None:
                self.fail(f"1: {message_id} was never accepted")
        for what in self.auditor.unfinished():
            self.fail(f"{what} never ends")


# -- running ---------------------------------------------------------------------------------------


class _Errors(logging.Handler):
    """Keeps what the runtime logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(f"{record.getMessage()} {record.exc_info and record.exc_info[1]!r}")


@contextmanager
def _errors_of_the_runtime() -> Generator[list[str]]:
    """Collect what the runtime logs as an error, and let nothing else be logged."""
    logger, handler = logging.getLogger("turnkeeper"), _Errors()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield handler.texts
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextmanager
def _order_of(seed: int) -> Generator[None]:
    """Draw from `seed` which of trio's tasks comes first, and when one has run for long enough."""
    kernel: Any = import_module("turnkeeper.actors.kernel.kernel")
    rng, real = Random(f"slices {seed}"), kernel.perf_counter
    kernel.perf_counter = lambda: rng.random() * 3 * kernel.SLICE_S
    try:
        with disordered(seed):
            yield
    finally:
        kernel.perf_counter = real


def run_schedule(seed: int, schedule: Sequence[Event], cut: CutPower | None = None) -> Run:
    """Live through a schedule.

    Args:
        seed: of the order of tasks, and of the lines' latencies.
        schedule: what happens.
        cut: when the power goes first, whatever the schedule says.
    """

    async def main() -> World:
        world = World(seed, cut)
        await world.run(schedule)
        return world

    with _order_of(seed), _errors_of_the_runtime() as errors:
        world = trio.run(main, clock=MockClock(autojump_threshold=0))
    problems = world.auditor.findings.problems
    problems.extend(f"logged: {text}" for text in errors if "a schedule asked" not in text)
    return Run(seed, problems, world.trace, world.digest, world.counts)


def run_seed(seed: int) -> Run:
    """Live through the schedule of a seed."""
    return run_schedule(seed, make_schedule(seed))
