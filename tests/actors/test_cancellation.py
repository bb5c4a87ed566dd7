"""A caller of `deliver` may be cancelled anywhere; nothing acknowledged is lost, nothing leaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import Accepted, ShuttingDown
from turnkeeper.channels.inlet import MAX_TURNS_IN_FLIGHT
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import echo, on_stage, said


class CancelAfter(trio.abc.Instrument):
    """Cancels a scope as soon as one task has stopped at its checkpoint number `steps`."""

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.steps -= 1
            if self.steps == 0:
                self.scope.cancel()


async def cancelled_after(steps: int, function: Callable[[], Awaitable[object]]) -> bool:
    """Run `function` in a task and cancel it at checkpoint number `steps`; whether it was."""
    cancel = CancelAfter(steps)

    async def run() -> None:
        cancel.task = trio.lowlevel.current_task()
        with cancel.scope:
            await function()

    trio.lowlevel.add_instrument(cancel)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
    finally:
        trio.lowlevel.remove_instrument(cancel)
    return cancel.scope.cancelled_caught


async def test_a_caller_cancelled_at_any_step_leaves_the_turn_whole_or_not_there() -> None:
    tg = LoopbackChannel("tg")
    acknowledged: list[Accepted] = []
    caught: list[bool] = []
    async with on_stage(echo, tg) as stage:
        await wait_all_tasks_blocked()
        for steps in range(12):

            async def deliver(number: int = steps) -> None:
                acknowledged.append(await tg.receive(f"{number}", message_id=f"m{number}"))

            caught.append(await cancelled_after(steps, deliver))
            await wait_all_tasks_blocked()
        assert any(caught)
        assert not caught[-1]
        users, replies = said(stage.store)
        assert users == replies
        assert len(users) == len(set(users))
        for accepted in acknowledged:
            again = await tg.receive("x", message_id="probe " + accepted.turn_id)
            assert not again.duplicate
        for number in range(12):
            await tg.receive(f"{number}", message_id=f"m{number}")
        await wait_all_tasks_blocked()
        users, replies = said(stage.store)
        assert sorted(u for u in users if u != "x") == sorted(map(str, range(12)))
        assert users == replies


async def test_callers_that_give_up_while_they_wait_for_room_leave_it_to_the_others() -> None:
    tg = LoopbackChannel("tg")
    texts: list[str] = []

    async def write(text: str, scope: trio.CancelScope) -> None:
        with scope:
            await tg.receive(text, message_id=text)
            texts.append(text)

    async with on_stage(echo, tg) as stage:
        await wait_all_tasks_blocked()
        stage.store.hold()
        scopes = [trio.CancelScope() for _ in range(3 * MAX_TURNS_IN_FLIGHT)]
        async with trio.open_nursery() as nursery:
            for number, scope in enumerate(scopes):
                nursery.start_soon(write, f"m{number}", scope)
            await wait_all_tasks_blocked()
            for scope in scopes[::2]:
                scope.cancel()
            await wait_all_tasks_blocked()
            stage.store.release()
        await wait_all_tasks_blocked()
        assert len(texts) == len(scopes) // 2
        assert set(texts) <= set(said(stage.store)[0])
        for number in range(2 * MAX_TURNS_IN_FLIGHT):  # and all the room is there again
            await tg.receive("more", message_id=f"more {number}")


async def test_callers_that_wait_for_room_are_refused_when_the_runtime_stops() -> None:
    tg = LoopbackChannel("tg")
    refused = 0

    async def write(number: int) -> None:
        nonlocal refused
        try:
            await tg.receive(str(number))
        except ShuttingDown:
            refused += 1

    async with trio.open_nursery() as nursery, on_stage(echo, tg) as stage:
        await wait_all_tasks_blocked()
        stage.store.hold()
        for number in range(MAX_TURNS_IN_FLIGHT + 10):
            nursery.start_soon(write, number)
        await wait_all_tasks_blocked()
        trio.lowlevel.current_trio_token().run_sync_soon(stage.store.release)
    assert refused == 10


async def test_whoever_asks_the_runtime_may_be_cancelled_as_well() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        for steps in range(1, 10):
            await cancelled_after(steps, lambda: stage.runtime.send_message("s1", "psst"))
            await wait_all_tasks_blocked()
        assert (await stage.runtime.session("s1")).open_deliveries == 0
        assert await stage.runtime.send_message("s1", "at last")


@pytest.mark.parametrize("steps", range(1, 25))
async def test_a_runtime_cancelled_while_it_works_loses_nothing_acknowledged(steps: int) -> None:
    acknowledged: list[str] = []

    async def story() -> None:
        async with on_stage(echo, LoopbackChannel("tg")) as stage:
            disks.append(stage.disk)
            tg = stage.runtime.channels["tg"]  # type: ignore[index]
            assert isinstance(tg, LoopbackChannel)
            for number in range(5):
                await tg.receive(str(number), message_id=f"m{number}")
                acknowledged.append(str(number))

    disks: list[MemoryDisk] = []
    await cancelled_after(steps, story)
    if disks:
        async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disks[0]) as stage:
            await wait_all_tasks_blocked()
            await tg.receive("last")
            await wait_all_tasks_blocked()
            users, replies = said(stage.store)
            assert users[: len(acknowledged)] == acknowledged
            assert sorted(replies) == sorted(users)
