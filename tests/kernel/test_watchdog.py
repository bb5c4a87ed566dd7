"""The watchdog names the actor which holds the loop, once, and nobody else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from turnkeeper.actors import Kernel, TrioActor

Scheduled = Callable[[type[Any]], type[Any]]
WAIT_S = 20.0
STALL_S = 0.02


class Reported(logging.Handler):
    """Says when the watchdog has spoken."""

    def __init__(self) -> None:
        super().__init__()
        self.spoken = threading.Event()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.spoken.set()


@pytest.fixture
def reported() -> Any:
    """What the watchdog says."""
    handler = Reported()
    logger = logging.getLogger("turnkeeper.actors.kernel.watchdog")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def blocking_call(spoken: threading.Event) -> None:
    """Hold the loop until the watchdog notices."""
    assert spoken.wait(WAIT_S)


@pytest.mark.parametrize("waits_first", [False, True])
async def test_an_actor_that_holds_the_loop_is_named_once_with_the_line_it_is_at(
    scheduled: Scheduled, reported: Reported, waits_first: bool
) -> None:
    class Culprit(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            if waits_first:
                await trio.lowlevel.checkpoint()
            blocking_call(reported.spoken)
            # Hold on through several more checks: one stall is reported once.
            threading.Event().wait(STALL_S * 3)

    async with Kernel.open(stall_after_s=STALL_S):
        ref = scheduled(Culprit).start()
        await ref.ask("x", block=False)
        mine = [text for text in reported.texts if "Culprit" in text]
        assert len(mine) == 1
        assert str(ref) in mine[0]
        assert "on_receive, line" in mine[0]
        assert "test_watchdog.py" in mine[0]


async def test_a_loop_that_is_held_again_is_reported_again(
    scheduled: Scheduled, reported: Reported
) -> None:
    class Culprit(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            reported.spoken.clear()
            blocking_call(reported.spoken)
            await trio.lowlevel.checkpoint()

    async with Kernel.open(stall_after_s=STALL_S):
        ref = scheduled(Culprit).start()
        for _ in range(2):
            await ref.ask("x", block=False)
    assert sum("Culprit" in text for text in reported.texts) == 2


async def test_an_idle_loop_and_a_waiting_actor_are_not_reported(
    scheduled: Scheduled, reported: Reported
) -> None:
    class Waiting(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            await trio.sleep(STALL_S * 5)

    async with Kernel.open(stall_after_s=STALL_S):
        await scheduled(Waiting).start().ask("x", block=False)
    assert reported.texts == []
