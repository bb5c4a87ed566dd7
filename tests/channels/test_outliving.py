"""Tasks outlive the block that they belong to by a grace, and no longer."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from turnkeeper.channels.outliving import outliving_nursery


async def test_nothing_begins_after_a_cancel() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with outliving_nursery():
            raise AssertionError("it has begun")
    assert scope.cancelled_caught


@pytest.mark.parametrize(("grace_s", "said"), [(0.0, ["goodbye"]), (2.0, ["goodbye", "task"])])
async def test_tasks_run_through_the_goodbyes_of_a_cancelled_block_and_a_grace(
    autojump_clock: MockClock, grace_s: float, said: list[str]
) -> None:
    told: list[str] = []

    async def talk(for_s: float) -> None:
        await trio.sleep(for_s)
        told.append("task")

    with trio.CancelScope() as scope:
        async with outliving_nursery(grace_s) as nursery:
            nursery.start_soon(talk, 5.0)
            nursery.start_soon(talk, 100.0)
            scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(4)
                told.append("goodbye")
            await trio.sleep(1)
    assert told == said
    assert autojump_clock.current_time() == 4 + grace_s


async def test_no_grace_is_waited_for_when_nobody_is_left(autojump_clock: MockClock) -> None:
    async with outliving_nursery(60.0) as nursery:
        nursery.start_soon(trio.sleep, 3)
    assert autojump_clock.current_time() == 3
