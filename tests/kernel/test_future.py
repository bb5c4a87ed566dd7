"""TrioFuture: set once, from any thread; awaited on trio, got from threads."""

from __future__ import annotations

import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pykka
import pytest
import trio
import trio.testing

from turnkeeper.actors import Kernel, TrioFuture, WouldDeadlock

WAIT_S = 20.0


async def outcome_of(future: TrioFuture[Any]) -> Any:
    """Await a future outside of the test's own task."""
    return await future


def set_to(value: Any) -> TrioFuture[Any]:
    """A future that has its value."""
    future: TrioFuture[Any] = TrioFuture()
    future.set(value)
    return future


def failed_with(error: Exception) -> TrioFuture[Any]:
    """A future that has failed."""
    future: TrioFuture[Any] = TrioFuture()
    future.set_exception((type(error), error, None))
    return future


def test_a_set_value_can_be_got_again_and_again() -> None:
    future = set_to(5)
    assert future.done()
    assert [future.get(), future.get(timeout=0)] == [5, 5]


def test_a_future_is_set_once_only() -> None:
    future = set_to(5)
    with pytest.raises(queue.Full):
        future.set(6)
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))
    with pytest.raises(queue.Full):
        future.set_get_hook(lambda _: 6)
    assert future.get() == 5


def test_a_derived_future_cannot_be_set() -> None:
    with pytest.raises(queue.Full):
        set_to(5).map(str).set("6")


def test_get_blocks_until_another_thread_sets() -> None:
    future: TrioFuture[int] = TrioFuture()
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(future.get())) for _ in range(3)]
    for thread in threads:
        thread.start()
    future.set(5)
    for thread in threads:
        thread.join(WAIT_S)
    assert got == [5, 5, 5]


def test_get_times_out_and_may_be_called_again() -> None:
    future: TrioFuture[int] = TrioFuture()
    with pytest.raises(pykka.Timeout, match=r"0\.001 seconds"):
        future.get(timeout=0.001)
    future.set(5)
    assert future.get() == 5


def test_an_exception_keeps_its_traceback_however_often_it_is_raised() -> None:
    future: TrioFuture[int] = TrioFuture()
    try:
        raise ValueError("inside")
    except ValueError:
        future.set_exception()
    depths: list[int] = []
    for _ in range(3):
        with pytest.raises(ValueError, match="inside") as caught:
            future.get()
        depths.append(len(caught.traceback))
    assert depths[0] == depths[1] == depths[2]


def test_set_exception_outside_of_an_except_block_says_so() -> None:
    with pytest.raises(ValueError, match="except block"):
        TrioFuture[int]().set_exception()


def test_an_exception_may_be_given_by_its_type() -> None:
    future: TrioFuture[int] = TrioFuture()
    future.set_exception((KeyError, None, None))
    with pytest.raises(KeyError):
        future.get()


def test_its_repr_shows_its_state() -> None:
    assert repr(TrioFuture[int]()) == "<TrioFuture pending>"
    assert repr(set_to(5)) == "<TrioFuture set to 5>"
    assert repr(set_to(5).map(str)) == "<TrioFuture derived>"
    assert repr(failed_with(KeyError("k"))) == "<TrioFuture failed with KeyError('k')>"


def test_a_get_hook_runs_once_and_gets_the_timeout() -> None:
    timeouts: list[float | None] = []
    future: TrioFuture[int] = TrioFuture()

    def hook(timeout: float | None) -> int:
        timeouts.append(timeout)
        return 5

    future.set_get_hook(hook)
    assert [future.get(timeout=1), future.get(timeout=2)] == [5, 5]
    assert timeouts == [1]


DERIVED: list[tuple[str, Callable[[], TrioFuture[Any]], Any]] = [
    ("map", lambda: set_to(20).map(lambda value: value * 2), 40),
    ("map of map", lambda: set_to({"a": 1}).map(lambda value: value["a"]).map(str), "1"),
    ("filter", lambda: set_to(range(10)).filter(lambda item: item > 7), [8, 9]),
    ("join", lambda: set_to("a").join(set_to("b"), set_to("c")), ["a", "b", "c"]),
    ("reduce", lambda: set_to("abc").reduce(lambda so_far, item: so_far + item), "abc"),
    ("reduce from", lambda: set_to([1, 2]).reduce(lambda so_far, item: so_far + item, 5), 8),
    ("reduce nothing", lambda: set_to([]).reduce(lambda so_far, item: so_far + item, 5), 5),
]


@pytest.mark.parametrize(("name", "make", "expected"), DERIVED, ids=[name for name, *_ in DERIVED])
def test_derived_futures_can_be_got(
    name: str, make: Callable[[], TrioFuture[Any]], expected: Any
) -> None:
    assert make().get(timeout=WAIT_S) == expected


@pytest.mark.parametrize(("name", "make", "expected"), DERIVED, ids=[name for name, *_ in DERIVED])
async def test_derived_futures_can_be_awaited_without_a_thread(
    name: str, make: Callable[[], TrioFuture[Any]], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: Any, **__: Any) -> Awaitable[Any]:
        raise AssertionError("a thread was asked for")

    monkeypatch.setattr(trio.to_thread, "run_sync", no_thread)
    assert await make() == expected


async def test_a_derived_future_makes_its_value_once() -> None:
    calls: list[int] = []
    mapped = set_to(5).map(calls.append)
    await mapped
    await mapped
    mapped.get()
    assert calls == [5]


async def test_a_derived_future_waits_for_its_sources() -> None:
    one: TrioFuture[int] = TrioFuture()
    other: TrioFuture[int] = TrioFuture()
    both = one.join(other).map(sum)
    results: list[int] = []
    async with trio.open_nursery() as nursery:

        async def wait() -> None:
            results.append(await both)

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        other.set(2)
        await trio.testing.wait_all_tasks_blocked()
        assert results == []
        one.set(1)
    assert results == [3]


async def test_errors_pass_through_derived_futures() -> None:
    with pytest.raises(KeyError):
        await failed_with(KeyError("k")).map(str)
    with pytest.raises(TypeError):
        await set_to(5).filter(bool)
    with pytest.raises(KeyError):
        failed_with(KeyError("k")).join(set_to(1)).get()


def test_the_timeout_of_a_join_is_for_all_of_it() -> None:
    pending: TrioFuture[int] = TrioFuture()
    with pytest.raises(pykka.Timeout):
        set_to(1).join(pending).get(timeout=0)


async def test_awaiting_a_join_with_pykkas_own_futures_works() -> None:
    threaded = pykka.ThreadingFuture[int]()
    threaded.set(2)
    assert await set_to(1).join(threaded) == [1, 2]


async def test_awaiting_a_hooked_future_does_not_block_the_loop() -> None:
    release = threading.Event()
    future: TrioFuture[bool] = TrioFuture()
    future.set_get_hook(lambda _: release.wait(WAIT_S))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outcome_of, future)
        await trio.testing.wait_all_tasks_blocked()
        release.set()
    assert await future is True


async def test_many_tasks_can_await_one_future() -> None:
    future: TrioFuture[int] = TrioFuture()
    got: list[int] = []

    async def wait() -> None:
        got.append(await future)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        future.set(5)
    assert got == [5, 5, 5]


async def test_a_task_is_woken_by_another_thread() -> None:
    future: TrioFuture[int] = TrioFuture()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(outcome_of, future)
        await trio.testing.wait_all_tasks_blocked()
        await trio.to_thread.run_sync(future.set, 5)
    assert await future == 5


async def test_cancelling_an_await_leaves_the_future_to_others() -> None:
    future: TrioFuture[int] = TrioFuture()
    got: list[int] = []

    async def wait() -> None:
        got.append(await future)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        with trio.CancelScope() as scope:
            scope.cancel()
            await future
        assert scope.cancelled_caught
        await trio.testing.wait_all_tasks_blocked()
        future.set(5)
    assert got == [5]


async def test_awaiting_is_always_a_checkpoint() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await set_to(5)
    assert scope.cancelled_caught


async def test_a_waiter_that_was_set_and_cancelled_at_once_is_woken_once() -> None:
    future: TrioFuture[int] = TrioFuture()
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outcome_of, future)
            await trio.testing.wait_all_tasks_blocked()
            future.set(5)
            scope.cancel()
    assert await future == 5


def test_setting_a_future_whose_loop_has_ended_harms_nobody() -> None:
    future: TrioFuture[int] = TrioFuture()

    async def leave_waiting() -> None:
        with trio.move_on_after(0):
            await future

    trio.run(leave_waiting)
    future.set(5)
    assert future.get() == 5


async def test_getting_on_the_loop_of_a_kernel_would_deadlock(kernel: Kernel) -> None:
    future: TrioFuture[int] = TrioFuture()
    with pytest.raises(WouldDeadlock, match="await"):
        future.get()
    with pytest.raises(WouldDeadlock):
        future.map(str).get(timeout=1)
    future.set(5)
    assert future.map(str).get() == "5"
