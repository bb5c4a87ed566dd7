"""Cancelled always propagates, and leaves no ask without its answer."""
# Looks inside, for what must hold there shows nowhere else.
# pyright: reportPrivateUsage=false, reportPossiblyUnboundVariable=false, reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing

from turnkeeper.actors import ActorDeadError, Kernel, TrioActor, TrioFuture

Scheduled = Callable[[type[Any]], type[Any]]


class Sleeper(TrioActor):
    """Never answers, and notes how it was ended."""

    listed = False
    ends: list[str]

    def __init__(self, ends: list[str]) -> None:
        super().__init__()
        self._ends = ends

    async def on_receive(self, message: Any) -> Any:
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self._ends.append("cancelled")
            raise

    def on_stop(self) -> None:
        self._ends.append("on_stop")

    def on_failure(self, *_: Any) -> None:
        self._ends.append("on_failure")


async def test_cancelling_a_kernel_cancels_its_handlers_and_answers_every_ask(
    scheduled: Scheduled,
) -> None:
    ends: list[str] = []
    asks: list[TrioFuture[Any]] = []
    with trio.CancelScope() as scope:
        async with Kernel.open(stall_after_s=None):
            ref = scheduled(Sleeper).start(ends)
            asks += [ref.ask(number, block=False) for number in range(3)]
            asks.append(scheduled(Sleeper).start(ends).ask("never run", block=False))
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught, "the cancellation was swallowed"
    assert ends == ["cancelled", "cancelled"]
    for ask in asks:
        assert ask.done()
        with pytest.raises(ActorDeadError):
            await ask
    assert not ref.is_alive()


async def test_a_cancelled_handlers_ask_is_answered_at_once_and_not_at_the_kernels_end(
    scheduled: Scheduled,
) -> None:
    with trio.CancelScope() as scope:
        async with Kernel.open(stall_after_s=None):
            ref = scheduled(Sleeper).start([])
            asks = [ref.ask(number, block=False) for number in range(3)]
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            with trio.CancelScope(shield=True):  # the block goes on, its kernel's tasks do not
                for ask in asks:
                    with pytest.raises(ActorDeadError):
                        await ask
    assert not ref.is_alive()


async def test_a_handler_that_eats_its_cancellation_does_not_hide_it_from_the_kernel(
    scheduled: Scheduled,
) -> None:
    class Glutton(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            with suppress(trio.Cancelled):
                await trio.sleep_forever()
            return "as if nothing had happened"

    with trio.CancelScope() as scope:
        async with Kernel.open(stall_after_s=None):
            ref = scheduled(Glutton).start()
            asks = [ref.ask(number, block=False) for number in range(3)]
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert all(ask.done() for ask in asks)


async def test_a_handlers_own_timeout_is_its_own_business(
    kernel: Kernel, scheduled: Scheduled, autojump_clock: trio.testing.MockClock
) -> None:
    class Patient(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            with trio.move_on_after(5):
                await trio.sleep_forever()
            return "moved on"

    ref = scheduled(Patient).start()
    assert await ref.ask("x", block=False) == "moved on"
    assert ref.is_alive()


async def test_an_exception_that_is_no_error_ends_the_kernel_and_not_all_actors_of_the_process(
    scheduled: Scheduled,
) -> None:
    class Quitting(TrioActor):
        def on_receive(self, message: Any) -> Any:
            raise KeyboardInterrupt

    asks: list[TrioFuture[Any]] = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        async with Kernel.open(stall_after_s=None):
            ref = scheduled(Quitting).start()
            asks += [ref.ask(number, block=False) for number in range(2)]
            await trio.sleep_forever()
    for ask in asks:
        with pytest.raises(ActorDeadError):
            await ask


async def test_a_task_group_inside_a_handler_is_cancelled_with_it(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    children: list[str] = []

    class Parent(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.child)
                nursery.start_soon(self.child)

        async def child(self) -> None:
            try:
                await trio.sleep_forever()
            finally:
                children.append("ended")

    ref = scheduled(Parent).start()
    ask = ref.ask("x", block=False)
    await trio.testing.wait_all_tasks_blocked()
    ref.kill()
    with pytest.raises(ActorDeadError):
        await ask
    await trio.testing.wait_all_tasks_blocked()
    assert children == ["ended", "ended"]


STEPS = 6


@pytest.mark.parametrize("by", ["kill", "scope"])
@pytest.mark.parametrize("step", range(STEPS * 3))
async def test_cancellation_at_any_checkpoint_leaves_nothing_unresolved(
    scheduled: Scheduled, step: int, by: str
) -> None:
    """An actor starts, handles and stops, waiting everywhere; it is cut off after `step` waits."""
    waits = 0
    cut = trio.Event()

    async def wait() -> None:
        nonlocal waits
        if waits == step:
            cut.set()
        waits += 1
        await trio.lowlevel.checkpoint()

    class Slow(TrioActor):
        listed = False

        async def on_start(self) -> None:  # type: ignore[override]
            for _ in range(STEPS):
                await wait()

        async def on_receive(self, message: Any) -> Any:
            for _ in range(STEPS // 2):
                await wait()
            return message

        async def on_stop(self) -> None:  # type: ignore[override]
            for _ in range(STEPS):
                await wait()

    with trio.CancelScope() as scope:
        async with Kernel.open(stall_after_s=None) as kernel:
            ref = scheduled(Slow).start()
            asks = [ref.ask(number, block=False) for number in range(2)]
            stop = ref.stop(block=False)
            late = ref.ask("late", block=False)
            await cut.wait()
            if by == "kill":
                ref.kill()
            else:
                scope.cancel()
                await trio.sleep_forever()
    assert waits >= step
    assert kernel._actors == {}
    assert kernel._workers == 0
    assert not ref.is_alive()
    for number, ask in enumerate(asks):
        with suppress(ActorDeadError):
            assert await ask == number
    assert await stop is True
    with pytest.raises(ActorDeadError):
        await late


@pytest.mark.parametrize("scheduling", ["pool", "resident"])
async def test_a_cancelled_kernel_answers_asks_while_its_block_still_cleans_up(
    scheduling: str,
) -> None:
    class Echo(TrioActor):
        def on_receive(self, message: Any) -> Any:
            return message

    Echo.scheduling = scheduling  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
    with trio.CancelScope() as scope:
        async with Kernel.open(stall_after_s=None):
            ref = Echo.start()
            assert await ref.ask("hello", block=False) == "hello"
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True), pytest.raises(ActorDeadError):
                    await ref.ask("is somebody there?", block=False)
    assert scope.cancelled_caught
