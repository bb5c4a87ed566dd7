"""The parts of a running runtime that find out whose turn it is, timed from within."""

from __future__ import annotations

import gc
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, ClassVar, Final

from benchmarks.clocks import Clocks
from benchmarks.load import AnsweringChannel, Said, say_all
from turnkeeper import engine
from turnkeeper.actors.messages import Accept, InboundTurn
from turnkeeper.actors.registry import RegistryActor
from turnkeeper.identifying import Identifier

__all__ = ["IN_FLIGHT", "Spent", "WatchedRegistry", "clock_us", "in_place", "spent_on", "watched"]

IN_FLIGHT: Final = 64


class WatchedRegistry(RegistryActor):
    """The registry, and how long it takes with each turn."""

    resolving_ns: ClassVar[list[int]] = []
    handing_over_ns: ClassVar[list[int]] = []
    has_turn: ClassVar[bool] = False
    """Whether it has a turn in its hands."""
    _began_ns = 0

    def on_receive(self, message: Any) -> Any:
        if type(message) is not Accept:
            return super().on_receive(message)
        WatchedRegistry.has_turn = True
        self._began_ns = time.perf_counter_ns()
        try:
            return super().on_receive(message)
        finally:
            WatchedRegistry.has_turn = False

    def _to_session(self, session_id: Any, message: Any, answer: Any) -> None:
        known_ns = time.perf_counter_ns()
        super()._to_session(session_id, message, answer)
        if type(message) is Accept:
            self.handing_over_ns.append(time.perf_counter_ns() - known_ns)
            self.resolving_ns.append(known_ns - self._began_ns)


class WatchedIdentifier(Identifier):
    """Says who wrote a turn that begins, and how long that took."""

    identifying_ns: ClassVar[list[int]] = []

    async def __call__(self, turn: InboundTurn) -> str:
        began_ns = time.perf_counter_ns()
        user = await super().__call__(turn)
        self.identifying_ns.append(time.perf_counter_ns() - began_ns)
        return user


@contextmanager
def in_place(names: dict[str, Any], name: str, value: object) -> Generator[None]:
    """Let `name` mean `value` for a while."""
    before = names.copy()
    names[name] = value
    try:
        yield
    finally:
        if name in before:
            names[name] = before[name]
        else:
            del names[name]


@contextmanager
def watched() -> Generator[None]:
    """Let the runtimes that are opened meanwhile be watched ones."""
    with (
        in_place(engine.__dict__, "RegistryActor", WatchedRegistry),
        in_place(engine.__dict__, "Identifier", WatchedIdentifier),
    ):
        yield


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What some turns took, in microseconds each."""

    turns: int
    wall_us: float
    cpu_us: float
    """On a processor, of both threads."""
    resolving_us: float
    """The median, as the next two."""
    handing_over_us: float
    identifying_us: float
    mean_us: float
    """Of resolving."""


async def spent_on(channel: AnsweringChannel, messages: Sequence[Said]) -> Spent:
    """Let humans say all of it, and look at the registry."""
    resolving, handing_over = WatchedRegistry.resolving_ns, WatchedRegistry.handing_over_ns
    identifying = WatchedIdentifier.identifying_ns
    gc.collect()
    for times in (resolving, handing_over, identifying):
        times.clear()
    began = Clocks.now()
    await say_all(channel, messages, IN_FLIGHT)
    spent, turns = Clocks.now().since(began), len(messages)
    if not len(resolving) == len(identifying) == turns:
        raise RuntimeError(f"{len(resolving)} and {len(identifying)} of {turns} turns were seen")
    return Spent(
        turns=turns,
        wall_us=spent.wall_s / turns * 1e6,
        cpu_us=spent.process_s / turns * 1e6,
        resolving_us=median(resolving) / 1e3,
        handing_over_us=median(handing_over) / 1e3,
        identifying_us=median(identifying) / 1e3,
        mean_us=fmean(resolving) / 1e3,
    )


def clock_us() -> float:
    """What reading the clock adds to each resolving."""
    readings = [time.perf_counter_ns() for _ in range(10_001)]
    return (readings[-1] - readings[0]) / 10_000 / 1e3
