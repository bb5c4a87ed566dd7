"""What an agent is given, and what becomes of everything it may give back."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    Address,
    Agent,
    Attachment,
    Message,
    Reply,
    SessionContext,
    ToolCall,
    Turn,
    get_session_context,
    open_runtime,
)
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, kinds, log, on_stage, said


class Shout(str):
    """A str of a library's own."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Mood(enum.StrEnum):
    GOOD = "good"


async def plain(_turn: Turn) -> str:
    return "plain"


async def subclass(_turn: Turn) -> str:
    return Shout("shout")


async def member(_turn: Turn) -> str:
    return Mood.GOOD


async def subclass_in_a_reply(_turn: Turn) -> Reply:
    call = ToolCall(name=Shout("t"), arguments=Shout("a"), result=Shout("r"))
    return Reply(text=Shout("shout"), tools=(call,))


async def reply(_turn: Turn) -> Reply:
    return Reply(text="reply")


async def generator(_turn: Turn) -> AsyncIterator[str]:
    for part in ("gene", "ra", "", "tor"):
        await trio.lowlevel.checkpoint()
        yield part


class Callable_:
    async def __call__(self, _turn: Turn) -> str:
        return "object"


@pytest.mark.parametrize(
    ("agent", "text"),
    [
        (plain, "plain"),
        (subclass, "shout"),
        (member, "good"),
        (subclass_in_a_reply, "shout"),
        (reply, "reply"),
        (generator, "generator"),
        (Callable_(), "object"),
    ],
)
async def test_an_agent_may_answer_in_each_of_these_ways(agent: Agent, text: str) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("hi")
        assert (await tg.next_sent()).text == text
        assert said(stage.store) == (["hi"], [text])


async def nothing(_turn: Turn) -> None:
    return None


async def empty(_turn: Turn) -> str:
    return ""


async def empty_reply(_turn: Turn) -> Reply:
    return Reply(text=None)


async def empty_generator(turn: Turn) -> AsyncIterator[str]:
    if turn.text == "never":
        yield ""


@pytest.mark.parametrize("agent", [nothing, empty, empty_reply, empty_generator])
async def test_an_agent_may_end_a_turn_in_silence(agent: Agent) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        for text in ("hi", "ho"):
            await tg.receive(text)
            await wait_all_tasks_blocked()
        assert kinds(stage.store) == ["user", "silent"] * 2
        assert not tg.sent


async def number(_turn: Turn) -> int:
    return 42


async def raw(_turn: Turn) -> bytes:
    return b"bytes"


async def numbers(_turn: Turn) -> AsyncIterator[int]:
    yield 42
    pytest.fail("it is asked for no more")


async def reply_of_a_number(_turn: Turn) -> Reply:
    return Reply(text=cast("str", 42))


async def tools_of_another_kind(_turn: Turn) -> Reply:
    return Reply(text="x", tools=cast("tuple[ToolCall, ...]", "tools"))


async def a_tool_with_a_dict(_turn: Turn) -> Reply:
    return Reply(text="x", tools=(ToolCall(name="t", arguments=cast("str", {}), result=""),))


async def huge(_turn: Turn) -> str:
    return "x" * 5_000_000


async def huge_tools(_turn: Turn) -> Reply:
    return Reply(text="x", tools=(ToolCall(name="t", arguments="", result="x" * 5_000_000),))


def not_async(_turn: Turn) -> str:
    return "x"


def sync_generator(_turn: Turn) -> Any:
    yield "x"


@pytest.mark.parametrize(
    ("agent", "error"),
    [
        (number, "returned a int; it must return str, Reply or None"),
        (raw, "returned a bytes"),
        (numbers, "yielded a int; it must yield str"),
        (reply_of_a_number, "a Reply whose text is a int"),
        (tools_of_another_kind, "a Reply whose tools are no tuple of ToolCall"),
        (a_tool_with_a_dict, "a ToolCall whose arguments is a dict"),
        (huge, "a reply of 5000000 characters; 4194304 are allowed"),
        (huge_tools, "a reply of 5000002 characters"),
        (not_async, "returned a str without being async"),
        (sync_generator, "returned a generator without being async"),
    ],
)
async def test_what_is_no_reply_is_quarantined_at_once_and_the_next_turn_runs(
    agent: Callable[[Turn], Any], error: str
) -> None:
    tg = LoopbackChannel("tg")

    def either(turn: Turn) -> Awaitable[str] | AsyncIterator[str]:
        if turn.text == "next":
            return echo(turn)
        return cast("Awaitable[str]", agent(turn))

    async with on_stage(either, tg, session={"failure_notice": "Sorry."}) as stage:
        await tg.receive("hi")
        await tg.receive("next")
        assert [(await tg.next_sent()).text for _ in range(2)] == ["Sorry.", "next"]
        (given_up,) = [r for r in await stage.runtime.history("s1") if r.kind == "quarantined"]
        assert error in given_up.text
        assert given_up.detail is not None
        assert given_up.detail["attempts"] == 1


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it has no words")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (ValueError("\ud800\x00\x1b[31m"), "ValueError: \ud800\x00\x1b[31m"),
        (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "ExceptionGroup: two"),
        (Mute(), "Mute"),
    ],
    ids=["plain", "empty", "odd characters", "group", "unprintable"],
)
async def test_whatever_an_agent_raises_is_written_down_and_tried_again(
    error: Exception, text: str, autojump_clock: MockClock
) -> None:
    async def agent(turn: Turn) -> str:
        if turn.attempt == 1:
            raise error
        return f"attempt {turn.attempt}"

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("hi")
        assert (await tg.next_sent()).text == "attempt 2"
        failure = next(record for record in log(stage.store) if record.kind == "failure")
        assert text in getattr(failure, "error")  # noqa: B009
    assert autojump_clock.current_time() == pytest.approx(0.5, abs=0.1)


# -- what it is given ------------------------------------------------------------------------------


async def test_a_turn_tells_who_said_what_and_where() -> None:
    turns: list[Turn] = []

    async def agent(turn: Turn) -> None:
        turns.append(turn)

    tg = LoopbackChannel("tg", platform="telegram")
    image = Attachment(kind="image", reference="file-1")
    async with on_stage(agent, tg):
        await tg.receive(
            "hi",
            conversation="12345",
            user_id="u1",
            message_id="m1",
            user_name="Ann",
            thread="t1",
            chat_name="Ann's chat",
            reply_to="m0",
            attachments=(image,),
        )
        await wait_all_tasks_blocked()
        (turn,) = turns
        assert (turn.id, turn.attempt, turn.text) == ("s1/4", 1, "hi")
        assert turn.attachments == (image,)
        assert turn.reply_to == "m0"
        assert turn.context == SessionContext(
            platform="telegram",
            instance="tg",
            chat_id="12345",
            chat_name="Ann's chat",
            thread_id="t1",
            user_id="u1",
            user_name="Ann",
            unified_user_id="telegram:u1",
            session_id="s1",
            turn_id="s1/4",
        )
        assert turn.session.id == "s1"
        assert turn.session.state == "active"


async def test_the_window_shows_what_was_said_and_not_what_waits() -> None:
    windows: dict[str, list[tuple[str, str]]] = {}
    times: list[int] = []
    go = trio.Event()

    async def agent(turn: Turn) -> str:
        await go.wait()
        windows[turn.text] = [(message.role, message.text) for message in turn.messages]
        times.append(turn.messages[-1].at_us)
        return f"re {turn.text}"

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        for text in ("one", "two", "three"):
            await tg.receive(text)
        go.set()
        for _ in range(3):
            await tg.next_sent()
        assert windows == {
            "one": [("user", "one")],
            "two": [("user", "one"), ("assistant", "re one"), ("user", "two")],
            "three": [
                ("user", "one"),
                ("assistant", "re one"),
                ("user", "two"),
                ("assistant", "re two"),
                ("user", "three"),
            ],
        }
        assert times == [record.at_us for record in log(stage.store) if record.kind == "user"]
        shown = [message.text for message in await stage.runtime.context("s1")]
        assert shown == ["one", "re one", "two", "re two", "three", "re three"]


async def test_messages_that_wait_do_not_push_the_past_out_of_the_window() -> None:
    windows: list[list[str]] = []
    go = trio.Event()

    async def agent(turn: Turn) -> str:
        if turn.text == "now":
            await go.wait()
            windows.append([message.text for message in turn.messages])
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, session={"max_context_tokens": 1_000}):
        await tg.receive("past")
        await tg.next_sent()
        await tg.receive("now")
        for _ in range(20):
            await tg.receive("x" * 100)
        go.set()
        await tg.next_sent()
        assert windows == [["past", "past", "now"]]


def bytes_in(text: str) -> int:
    """Tokens of a model that knows nothing but bytes."""
    return len(text.encode())


async def test_the_window_is_bounded_and_keeps_the_newest() -> None:
    windows: list[tuple[Message, ...]] = []

    async def agent(turn: Turn) -> str:
        windows.append(turn.messages)
        return "ok"

    tg = LoopbackChannel("tg")
    settings = {"session": {"max_context_tokens": 1_000, "system_prompt": "Be kind."}}
    async with (
        open_memory(MemoryDisk()) as store,
        open_runtime(
            None,
            agent=agent,
            channels=[tg],
            store=store,
            config=settings,
            token_counter=bytes_in,
        ),
    ):
        for number in range(5):
            await tg.receive(f"{number:03}" + "x" * 247)
            await tg.next_sent()
        await tg.receive("y" * 5_000)
        await tg.next_sent()
    assert [message.role for message in windows[0]] == ["system", "user"]
    for window in windows:
        assert sum(bytes_in(message.attributed) + 4 for message in window) <= 1_000
        assert (window[0].role, window[0].text) == ("system", "Be kind.")
        assert [message.cut for message in window[:-1]] == [False] * (len(window) - 1)
    *earlier, last = windows
    assert [window[-1].text[:3] for window in earlier] == ["000", "001", "002", "003", "004"]
    assert any(window[1].kind == "summary" for window in earlier)
    assert last[-1].cut
    assert "characters are left out here]" in last[-1].text


async def test_tool_calls_are_recorded_with_the_reply_and_seen_by_the_next_turn() -> None:
    windows: list[list[str]] = []

    async def agent(turn: Turn) -> Reply:
        windows.append([message.text for message in turn.messages])
        return Reply(text="2", tools=(ToolCall(name="add", arguments="1, 1", result="2"),) * 2)

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("1 + 1?")
        await tg.next_sent()
        await tg.receive("again")
        await tg.next_sent()
        assert windows[1] == ["1 + 1?", "add(1, 1) -> 2", "add(1, 1) -> 2", "2", "again"]
        assert kinds(stage.store)[:4] == ["user", "tool", "tool", "assistant"]


async def test_an_agent_can_speak_before_its_turn_ends() -> None:
    outcomes: list[str] = []

    async def agent(turn: Turn) -> str:
        outcome = await turn.send_message("working on it")
        outcomes.append(outcome.status)
        nobody = await turn.send_message("psst", to=Address(turn.context.instance, "nobody"))  # type: ignore[arg-type]
        outcomes.append(f"{nobody.status}: {nobody.reason}")
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg):
        await tg.receive("hi")
        assert [(await tg.next_sent()).text for _ in range(2)] == ["working on it", "done"]
        assert outcomes == ["delivered", "failed: no_recipient"]


async def test_an_agent_can_look_at_other_sessions() -> None:
    found: list[object] = []

    async def agent(turn: Turn) -> None:
        found.append(await turn.get_session("s1"))
        found.append(await turn.get_session("s99"))

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg):
        await tg.receive("hi")
        await wait_all_tasks_blocked()
    assert getattr(found[0], "id", None) == "s1"
    assert found[1] is None


# -- the session context -----------------------------------------------------------------------


async def test_the_context_follows_a_turn_into_tasks_and_threads() -> None:
    seen: list[SessionContext | None] = []

    async def agent(turn: Turn) -> None:
        async def child() -> None:
            await trio.lowlevel.checkpoint()
            seen.append(get_session_context())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child)
        seen.append(await trio.to_thread.run_sync(get_session_context))
        seen.append(turn.context)

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg):
        assert get_session_context() is None
        await tg.receive("hi")
        with trio.fail_after(10):
            while len(seen) < 3:
                await trio.lowlevel.checkpoint()
        assert get_session_context() is None
    assert seen[0] == seen[1] == seen[2]
    assert seen[0] is not None


async def test_a_thousand_turns_at_once_never_see_each_others_context() -> None:
    everybody = trio.Event()
    inside = 0

    async def agent(turn: Turn) -> str:
        nonlocal inside
        inside += 1
        if inside == 1_000:
            everybody.set()
        await everybody.wait()
        for _ in range(3):
            await trio.lowlevel.checkpoint()
            context = get_session_context()
            assert context is turn.context
        assert turn.context.chat_id == turn.text
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg), trio.open_nursery() as nursery:
        for number in range(1_000):

            async def write(name: str = f"c{number}") -> None:
                await tg.receive(name, conversation=name, user_id=name)

            nursery.start_soon(write)
        for _ in range(1_000):
            sent = await tg.next_sent()
            assert sent.text == sent.conversation


async def test_a_cancellation_of_a_loop_of_the_agents_own_fails_that_turn_alone(
    autojump_clock: MockClock,
) -> None:
    async def agent(turn: Turn) -> str:
        if turn.text == "cancel" and turn.attempt == 1:
            raise asyncio.CancelledError
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("cancel")
        assert (await tg.next_sent()).text == "cancel"
        assert "failure" in kinds(stage.store)
