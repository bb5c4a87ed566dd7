"""Opening and closing kernels; hooks and handlers that wait; what would deadlock."""
# Looks inside, for what must hold there shows nowhere else.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pykka
import pytest
import trio
import trio.testing

from turnkeeper.actors import (
    ActorDeadError,
    ActorRef,
    ActorRegistry,
    Kernel,
    KernelClosed,
    NoKernel,
    TrioActor,
    TrioFuture,
    WouldDeadlock,
)

Scheduled = Callable[[type[Any]], type[Any]]
WAIT_S = 20.0


class Echo(TrioActor):
    """Answers with what it is asked."""

    def on_receive(self, message: Any) -> Any:
        return message


def test_without_a_kernel_an_actor_says_how_to_get_one() -> None:
    with pytest.raises(NoKernel, match=r"Kernel\.open\(\).*Kernel\.in_thread\(\)"):
        Echo.start()


def test_with_two_kernels_elsewhere_an_actor_asks_which() -> None:
    with Kernel.in_thread() as one, Kernel.in_thread() as other:
        with pytest.raises(NoKernel, match=r"kernel\.start"):
            Echo.start()
        assert one.start(Echo).ask("one") == "one"
        assert other.start(Echo).ask("other") == "other"


async def test_the_calling_loops_kernel_goes_before_another(kernel: Kernel) -> None:
    def elsewhere() -> None:
        with Kernel.in_thread():
            assert trio.from_thread.run_sync(Kernel.current) is kernel

    await trio.to_thread.run_sync(elsewhere)


async def test_a_loop_has_one_kernel(kernel: Kernel) -> None:
    with pytest.raises(RuntimeError, match="already open"):
        async with Kernel.open():
            raise AssertionError("not reached")
    assert await Echo.start().ask("still fine", block=False) == "still fine"


async def test_leaving_the_block_stops_all_actors_after_their_backlog(
    scheduled: Scheduled,
) -> None:
    events: list[Any] = []

    class Slow(TrioActor):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        async def on_start(self) -> None:  # type: ignore[override]
            await trio.lowlevel.checkpoint()
            events.append((self.name, "started"))

        async def on_receive(self, message: Any) -> None:
            await trio.lowlevel.checkpoint()
            events.append((self.name, message))

        async def on_stop(self) -> None:  # type: ignore[override]
            await trio.lowlevel.checkpoint()
            events.append((self.name, "stopped"))

    async with Kernel.open() as kernel:
        for name in "ab":
            ref = scheduled(Slow).start(name)
            ref.tell("x")
            ref.tell("y")
    for name in "ab":
        mine = [event for who, event in events if who == name]
        assert mine == ["started", "x", "y", "stopped"]
    assert ActorRegistry.get_all() == []
    with pytest.raises(KernelClosed):
        kernel.start(Echo)
    assert "actors=0" in repr(kernel)


async def test_an_error_in_the_block_leaves_it_as_it_was_raised(scheduled: Scheduled) -> None:
    asks: list[TrioFuture[Any]] = []
    with pytest.raises(ValueError, match="in the block"):  # noqa: PT012
        async with Kernel.open():
            asks.append(scheduled(Echo).start().ask("x", block=False))
            raise ValueError("in the block")
    with pytest.raises(ActorDeadError):
        await asks[0]


def test_an_error_in_a_threads_block_leaves_it_and_ends_the_kernel() -> None:
    refs: list[ActorRef[Any]] = []
    with pytest.raises(ValueError, match="in the block"), Kernel.in_thread():  # noqa: PT012
        refs.append(Echo.start())
        raise ValueError("in the block")
    with pytest.raises(ActorDeadError):
        refs[0].ask("x")


def test_a_kernel_in_a_thread_raises_what_broke_it() -> None:
    class Quitting(TrioActor):
        def on_receive(self, message: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Kernel.in_thread(), pytest.raises(ActorDeadError):
        Quitting.start().ask("x", timeout=WAIT_S)


async def test_an_actor_that_fails_to_be_made_leaves_nothing(kernel: Kernel) -> None:
    class Unmade(TrioActor):
        def __init__(self) -> None:
            super().__init__()
            raise ValueError("no init")

    with pytest.raises(ValueError, match="no init"):
        Unmade.start()
    assert "actors=0" in repr(kernel)


async def test_blocking_calls_on_the_loop_raise_and_send_nothing(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    seen: list[Any] = []

    class Noting(TrioActor):
        def on_receive(self, message: Any) -> None:
            seen.append(message)

    ref = scheduled(Noting).start()
    proxy = ref.proxy()
    for blocking in (
        lambda: ref.ask("x"),
        lambda: ref.ask("x", timeout=0),
        ref.stop,
        ActorRegistry.stop_all,
        lambda: ref.ask("asked", block=False).get(timeout=1),
        lambda: setattr(proxy, "anything", 1),
        lambda: ref.actor_stopped.wait(1),
        lambda: Kernel.in_thread().__enter__(),
    ):
        with pytest.raises(WouldDeadlock, match="await"):
            blocking()
    await trio.testing.wait_all_tasks_blocked()
    assert ref.is_alive()
    assert seen == ["asked"]


async def test_stop_all_without_blocking_works_on_the_loop(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    for _ in range(3):
        scheduled(Echo).start()
    assert [await stopped for stopped in ActorRegistry.stop_all(block=False)] == [True] * 3


async def test_a_blocking_ask_in_a_worker_thread_of_the_loop_is_fine(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    ref = scheduled(Echo).start()
    assert await trio.to_thread.run_sync(ref.ask, "x") == "x"


async def test_a_proxy_is_awaited_on_trio(kernel: Kernel, scheduled: Scheduled) -> None:
    class Adder(TrioActor):
        total = 0

        async def add(self, number: int) -> int:
            await trio.lowlevel.checkpoint()
            self.total += number
            return self.total

    proxy = scheduled(Adder).start().proxy()
    await proxy.add(2)
    assert await proxy.add(3).map(str) == "5"
    assert await proxy.total == 5


async def test_async_hooks_run_in_order_around_the_messages(
    kernel: Kernel, scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[str] = []

    class Hooked(TrioActor):
        async def on_start(self) -> None:  # type: ignore[override]
            await trio.lowlevel.checkpoint()
            events.append("start")

        async def on_receive(self, message: Any) -> None:
            await trio.lowlevel.checkpoint()
            raise ValueError(message)

        async def on_failure(self, *_: Any) -> None:  # type: ignore[override]
            await trio.lowlevel.checkpoint()
            events.append("failure")

        async def on_stop(self) -> None:  # type: ignore[override]
            events.append("stop")

    ref = scheduled(Hooked).start()
    ref.tell("told")
    asked = ref.ask("asked", block=False)
    with pytest.raises(ActorDeadError):
        await asked
    assert events == ["start", "failure"]
    assert "ValueError: told" in caplog.text


async def test_an_error_in_on_failure_is_logged_and_the_actor_still_ends(
    kernel: Kernel, scheduled: Scheduled, caplog: pytest.LogCaptureFixture
) -> None:
    class Twice(TrioActor):
        def on_receive(self, message: Any) -> None:
            raise ValueError("first")

        def on_failure(self, *_: Any) -> None:
            raise ValueError("second")

    ref = scheduled(Twice).start()
    ref.tell("x")
    with pytest.raises(ActorDeadError):
        await ref.ask("y", block=False)
    assert "first" in caplog.text
    assert "second" in caplog.text


async def test_a_handler_that_does_not_wait_costs_no_task(kernel: Kernel) -> None:
    class Quick(TrioActor):
        async def on_receive(self, message: Any) -> Any:
            return trio.lowlevel.current_task().name

    refs = [Quick.start() for _ in range(50)]
    names = [await ask for ask in [ref.ask("x", block=False) for ref in refs]]
    assert set(names) == {"turnkeeper worker"}
    assert kernel._workers == 1


async def test_a_resident_actor_has_one_task_for_life(kernel: Kernel) -> None:
    class Resident(TrioActor):
        scheduling = "resident"

        async def on_receive(self, message: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return id(trio.lowlevel.current_task())

    ref = Resident.start()
    tasks = {await ref.ask("x", block=False) for _ in range(5)}
    assert len(tasks) == 1
    assert kernel._workers == 0


async def test_a_dead_actor_is_let_go(kernel: Kernel, scheduled: Scheduled) -> None:
    ref = scheduled(Echo).start()
    actor = weakref.ref(ref._actor_weakref())
    await ref.stop(block=False)
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    assert actor() is None
    assert "actors=0" in repr(kernel)


def test_actors_run_on_the_kernels_thread_and_are_made_on_the_callers() -> None:
    class Where(TrioActor):
        def __init__(self) -> None:
            super().__init__()
            self.made = threading.get_ident()

        def on_receive(self, message: Any) -> Any:
            return self.made, threading.get_ident()

    with Kernel.in_thread() as kernel:
        made, run = Where.start().ask("x")
        assert (made, run) == (threading.get_ident(), kernel.thread_id)


async def test_send_is_refused_on_another_loop(kernel: Kernel) -> None:
    ref = Echo.start()

    def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="own loop"):
            trio.run(ref.send, "x")

    await trio.to_thread.run_sync(elsewhere)


async def test_a_ref_is_typed_and_found_by_pykka(kernel: Kernel) -> None:
    ref = Echo.start()
    actor: Echo | None = ref._actor_weakref()
    assert isinstance(actor, Echo)
    assert actor.actor_ref is ref
    assert actor.actor_urn == ref.actor_urn
    assert not actor.actor_stopped.is_set()
    assert actor.actor_inbox.empty()
    assert isinstance(actor, pykka.Actor)
    actor.stop()
    await trio.testing.wait_all_tasks_blocked()
    assert actor.actor_stopped.is_set()
