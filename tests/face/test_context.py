"""Who is speaking, as any code that a turn runs can ask, and nobody else is told."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import (
    Accepted,
    InboundTurn,
    SessionContext,
    Turn,
    clear_session_context,
    get_session_context,
    set_session_context,
    start_in_thread,
)
from turnkeeper.channels.base import Deliver
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, on_stage

Seen: TypeAlias = SessionContext | None


def someone(user_id: str = "u1") -> SessionContext:
    return SessionContext(
        platform="loopback",
        instance="tg",
        chat_id="c1",
        chat_name=None,
        thread_id=None,
        user_id=user_id,
        user_name=None,
        unified_user_id=f"loopback:{user_id}",
        session_id="s1",
        turn_id="s1/3",
    )


def users(seen: list[Seen]) -> list[str | None]:
    return [context.user_id if context is not None else None for context in seen]


def sync_tool(depth: int = 0) -> Seen:
    return sync_tool(depth - 1) if depth else get_session_context()


async def tool(depth: int = 0) -> Seen:
    await trio.lowlevel.checkpoint()
    return await tool(depth - 1) if depth else get_session_context()


async def in_a_child_task(look: Callable[[], Awaitable[Seen]]) -> Seen:
    seen: list[Seen] = []

    async def child() -> None:
        seen.append(await look())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)
    return seen[0]


async def asyncio_tool() -> Seen:
    await asyncio.sleep(0)
    (seen,) = await asyncio.gather(asyncio.to_thread(sync_tool))
    return seen


def run_asyncio_tool() -> Seen:
    return asyncio.run(asyncio_tool())


def in_a_thread_of_its_own() -> Seen:
    seen: list[Seen] = []
    context = contextvars.copy_context()
    thread = threading.Thread(target=lambda: seen.append(context.run(sync_tool)))
    thread.start()
    thread.join()
    return seen[0]


def back_on_the_loop() -> Seen:
    return trio.from_thread.run(tool)


async def in_a_thread(look: Callable[..., Seen], *args: Any) -> Seen:
    return await trio.to_thread.run_sync(look, *args)


PLACES: dict[str, Callable[[], Awaitable[Seen]]] = {
    "a tool": tool,
    "a tool fifty calls down": partial(tool, 50),
    "a sync tool in a thread": partial(in_a_thread, partial(sync_tool, 50)),
    "a child task": partial(in_a_child_task, tool),
    "a task of a task": partial(in_a_child_task, partial(in_a_child_task, tool)),
    "a thread of a task": partial(in_a_child_task, partial(in_a_thread, sync_tool)),
    "asyncio in a thread": partial(in_a_thread, run_asyncio_tool),
    "a bare thread that is given the context": partial(in_a_thread, in_a_thread_of_its_own),
    "the loop, from a thread": partial(in_a_thread, back_on_the_loop),
}


@pytest.mark.parametrize("place", PLACES)
async def test_the_context_is_the_same_wherever_a_turn_gets_to(place: str) -> None:
    seen: list[Seen] = []

    async def agent(turn: Turn) -> str:
        seen.extend([await PLACES[place](), sync_tool(50), turn.context])
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg):
        await tg.receive("hi", conversation="c1", user_id="u1")
        await tg.next_sent()
    assert users(seen) == ["u1"] * 3
    assert seen[0] is seen[1] is seen[2]


async def test_a_generator_has_the_context_between_its_parts() -> None:
    async def agent(_turn: Turn) -> AsyncIterator[str]:
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            yield str(*users([get_session_context()]))

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg):
        await tg.receive("hi", user_id="u7")
        assert (await tg.next_sent()).text == "u7u7u7"


async def test_a_thousand_humans_at_once_never_see_each_other() -> None:
    people = 1_000
    everybody = trio.Event()
    inside = 0

    async def agent(turn: Turn) -> str:
        nonlocal inside
        inside += 1
        if inside == people:
            everybody.set()
        await everybody.wait()
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            assert get_session_context() is turn.context
        async with trio.open_nursery() as nursery:
            for look in (tool, partial(in_a_child_task, tool), partial(in_a_thread, sync_tool)):
                nursery.start_soon(check, look, turn)
        assert turn.context.user_id == turn.text
        assert turn.context.unified_user_id == f"loopback:{turn.text}"
        return turn.context.user_id

    async def check(look: Callable[[], Awaitable[Seen]], turn: Turn) -> None:
        assert await look() is turn.context

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage, trio.open_nursery() as nursery:
        for number in range(people):
            user = f"u{number}"
            nursery.start_soon(partial(tg.receive, user, conversation=f"c-{user}", user_id=user))
        for _ in range(people):
            sent = await tg.next_sent()
            assert sent.conversation == f"c-{sent.text}"
        assert len(await stage.runtime.sessions()) == people


async def test_what_one_turn_sets_is_unknown_to_the_next() -> None:
    seen: list[Seen] = []

    async def agent(turn: Turn) -> str:
        seen.append(get_session_context())
        if turn.text == "first":
            set_session_context(someone("mallory"))
            assert get_session_context() == someone("mallory")
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg):
        for text in ("first", "second"):
            await tg.receive(text, conversation="c1", user_id="u1")
            await tg.next_sent()
        await tg.receive("third", conversation="c2", user_id="u2")
        await tg.next_sent()
        assert get_session_context() is None
    assert users(seen) == ["u1", "u1", "u2"]
    assert len({context.turn_id for context in seen if context is not None}) == 3


# -- outside of turns ------------------------------------------------------------------------------


async def test_outside_of_any_turn_nobody_speaks() -> None:
    seen: list[Seen] = []

    async def beside() -> None:
        for _ in range(3):
            seen.append(await tool())
            seen.append(await in_a_thread(sync_tool))

    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        stage.runtime.start_soon(beside)
        await tg.receive("hi", user_id="u1")
        await tg.next_sent()
        seen.append(get_session_context())
        with trio.fail_after(10):
            while len(seen) < 7:
                await trio.lowlevel.checkpoint()
    assert seen == [None] * 7


async def test_a_task_that_a_turn_leaves_behind_keeps_the_context_of_that_turn() -> None:
    go = trio.Event()
    seen: list[Seen] = []

    async def afterwards() -> None:
        await go.wait()
        seen.append(get_session_context())

    async def agent(turn: Turn) -> str:
        if turn.text == "first":
            stage.runtime.start_soon(afterwards)
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("first", conversation="c1", user_id="u1")
        await tg.receive("second", conversation="c2", user_id="u2")
        for _ in range(2):
            await tg.next_sent()
        go.set()
        await wait_all_tasks_blocked()
    assert users(seen) == ["u1"]


async def test_a_runtime_that_is_opened_inside_somebodys_context_has_its_own() -> None:
    seen: list[Seen] = []

    async def agent(_turn: Turn) -> str:
        seen.append(get_session_context())
        return "done"

    tg = LoopbackChannel("tg")
    token = set_session_context(someone("outer"))
    async with on_stage(agent, tg):
        await tg.receive("hi", conversation="c1", user_id="u1")
        await tg.next_sent()
    assert users(seen) == ["u1"]
    assert get_session_context() == someone("outer")
    clear_session_context(token)
    assert get_session_context() is None


# -- threads and asyncio ---------------------------------------------------------------------------


def test_a_program_on_threads_is_told_inside_turns_only(tmp_path: Path) -> None:
    seen: list[Seen] = []

    async def agent(_turn: Turn) -> str:
        seen.extend([sync_tool(), await in_a_thread(sync_tool)])
        return "done"

    tg = LoopbackChannel("tg")
    with start_in_thread(tmp_path / "state", agent=agent, channels=[tg]) as handle:
        handle.call(partial(tg.receive, "hi", conversation="c1", user_id="u1"))
        handle.call(tg.next_sent)
        assert get_session_context() is None
        assert handle.call(tool) is None
    assert users(seen) == ["u1"] * 2


def test_the_tools_of_an_asyncio_program_are_told_on_its_own_loop(tmp_path: Path) -> None:
    people = ["u1", "u2", "u3"]
    seen: dict[str, Seen] = {}

    async def program() -> None:
        loop = asyncio.get_running_loop()
        everybody = asyncio.Barrier(len(people))

        async def meet() -> Seen:
            async with everybody:
                return await asyncio.create_task(asyncio_tool())

        async def agent(turn: Turn) -> str:
            future = partial(asyncio.run_coroutine_threadsafe, meet(), loop)
            seen[turn.text] = await in_a_thread(lambda: future().result(10))
            return "done"

        def use() -> None:
            tg = LoopbackChannel("tg")
            with start_in_thread(tmp_path / "state", agent=agent, channels=[tg]) as handle:
                for user in people:
                    handle.call(partial(tg.receive, user, conversation=user, user_id=user))
                for _ in people:
                    handle.call(tg.next_sent)

        await asyncio.to_thread(use)
        assert get_session_context() is None

    asyncio.run(program())
    assert sorted(seen) == people
    assert users([*seen.values()]) == [*seen]


# -- adapters of one's own -------------------------------------------------------------------------


class Adapter(LoopbackChannel):
    """A channel that asks a tool who is speaking, on its own, before it hands a message on."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.told: list[Seen] = []

    async def run(self, deliver: Deliver) -> None:
        async def hear(turn: InboundTurn) -> Accepted:
            token = set_session_context(someone(f"{turn.user_id} at the door"))
            try:
                self.told.append(await tool(5))
                return await deliver(turn)
            finally:
                clear_session_context(token)
                self.told.append(get_session_context())

        await super().run(hear)


async def test_an_adapter_sets_a_context_of_its_own_and_turns_keep_theirs() -> None:
    seen: list[Seen] = []

    async def agent(_turn: Turn) -> str:
        seen.append(await tool())
        return "done"

    adapter = Adapter("tg")
    async with on_stage(agent, adapter):
        await adapter.receive("hi", conversation="c1", user_id="u1")
        await adapter.next_sent()
    assert adapter.told == [someone("u1 at the door"), None]
    assert users(seen) == ["u1"]


def test_contexts_are_set_and_cleared_like_brackets() -> None:
    outer = set_session_context(someone("outer"))
    inner = set_session_context(someone("inner"))
    assert get_session_context() == someone("inner")
    clear_session_context(inner)
    assert get_session_context() == someone("outer")
    clear_session_context(outer)
    assert get_session_context() is None


def test_a_token_clears_once() -> None:
    token = set_session_context(someone())
    clear_session_context(token)
    other = set_session_context(someone("other"))
    with pytest.raises(ValueError, match="was used before: each one clears once"):
        clear_session_context(token)
    assert get_session_context() == someone("other")
    clear_session_context(other)


async def test_a_token_clears_only_where_it_was_made() -> None:
    token = set_session_context(someone())

    async def child() -> Seen:
        with pytest.raises(ValueError, match="another task or thread: clear the context where"):
            clear_session_context(token)
        return get_session_context()

    assert await in_a_child_task(child) == someone()
    with pytest.raises(ValueError, match="another task or thread"):
        await in_a_thread(clear_session_context, token)
    clear_session_context(token)
    assert get_session_context() is None


@pytest.mark.parametrize("wrong", [None, "u1", {"user_id": "u1"}, SessionContext])
def test_only_a_session_context_can_be_set(wrong: object) -> None:
    with pytest.raises(TypeError, match="must be a SessionContext, not a"):
        set_session_context(cast("Any", wrong))
    assert get_session_context() is None
