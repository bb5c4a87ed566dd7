"""Kernels to test on, and both ways of scheduling an actor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from random import Random
from typing import Literal, TypeAlias, TypeVar, cast

import pykka
import pytest

from turnkeeper.actors import Kernel, TrioActor

A = TypeVar("A", bound=TrioActor)
Mode: TypeAlias = Literal["pool", "resident"]


@pytest.fixture(params=["pool", "resident"])
def mode(request: pytest.FixtureRequest) -> Mode:
    """How the actors of the test are scheduled."""
    chosen: Mode = request.param
    return chosen


@pytest.fixture
def scheduled(mode: Mode) -> Callable[[type[A]], type[A]]:
    """Gives an actor class the way of scheduling that is being tested."""

    def give(cls: type[A]) -> type[A]:
        return cast("type[A]", type(cls.__name__, (cls,), {"scheduling": mode}))

    return give


@pytest.fixture
async def kernel() -> AsyncIterator[Kernel]:
    """A kernel on the test's own loop."""
    async with Kernel.open(stall_after_s=None, rng=Random(1)) as opened:
        yield opened
    assert pykka.ActorRegistry.get_all() == []


@pytest.fixture
def thread_kernel() -> Iterator[Kernel]:
    """A kernel on a loop in another thread."""
    with Kernel.in_thread(stall_after_s=None, rng=Random(1)) as opened:
        yield opened
    assert pykka.ActorRegistry.get_all() == []
