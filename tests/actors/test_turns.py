"""Turns: one at a time for each session, in order, whatever their agent does."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Turn
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.stories import explain
from turnkeeper.testing import LoopbackChannel

from .stage import crashed, echo, kinds, on_stage, said


async def test_a_session_accepts_while_its_agent_works() -> None:
    go = trio.Event()

    async def agent(turn: Turn) -> str:
        await go.wait()
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        for number in range(50):
            await tg.receive(str(number))
        info = await stage.runtime.session("s1")
        assert (info.state, info.open_turns) == ("active", 50)
        go.set()
        assert [(await tg.next_sent()).text for _ in range(50)] == [str(n) for n in range(50)]


async def test_a_session_never_runs_two_turns_at_once() -> None:
    running = most = 0

    async def agent(turn: Turn) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.lowlevel.checkpoint()
        running -= 1
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(tg.receive, str(number))
        for _ in range(100):
            await tg.next_sent()
    assert most == 1


async def test_no_more_agents_run_at_once_than_are_allowed() -> None:
    running = most = 0

    async def agent(turn: Turn) -> str:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(50):  # long enough for further turns to be accepted
            await trio.lowlevel.checkpoint()
        running -= 1
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, runtime={"max_running_turns": 3}):
        for number in range(30):
            await tg.receive("hi", conversation=f"c{number}", user_id=f"u{number}")
        for _ in range(30):
            await tg.next_sent()
    assert most == 3


async def test_a_poisonous_turn_is_given_up_after_three_attempts_and_the_next_ones_go_on(
    autojump_clock: MockClock,
) -> None:
    attempts: list[tuple[str, int, float]] = []

    async def agent(turn: Turn) -> str:
        attempts.append((turn.id, turn.attempt, trio.current_time()))
        if turn.text == "poison":
            raise RuntimeError("boom")
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        for text in ("poison", "one", "two"):
            await tg.receive(text)
        assert [(await tg.next_sent()).text for _ in range(2)] == ["one", "two"]
        await wait_all_tasks_blocked()
        assert [attempt for turn, attempt, _ in attempts if turn == "s1/4"] == [1, 2, 3]
        first, second, third = [at for turn, _, at in attempts if turn == "s1/4"]
        assert (second - first, third - second) == pytest.approx((0.5, 1.0))
        story = explain(stage.store, "s1/4")
        assert story is not None
        assert "quarantined after 3 attempts: RuntimeError: boom" in story.lines[-1]
        assert len(tg.sent) == 2
    assert autojump_clock.current_time() < 3


async def test_an_agent_that_hangs_runs_out_of_time_three_times(
    autojump_clock: MockClock,
) -> None:
    async def agent(turn: Turn) -> str:
        if turn.text == "hang":
            await trio.sleep_forever()
        return turn.text

    tg = LoopbackChannel("tg")
    config = {"turn_timeout_s": 10.0, "failure_notice": "Sorry."}
    async with on_stage(agent, tg, session=config) as stage:
        await tg.receive("hang")
        await tg.receive("next")
        assert [(await tg.next_sent()).text for _ in range(2)] == ["Sorry.", "next"]
        history = kinds(stage.store)
        assert history.count("failure") == 2
        assert history.count("quarantined") == 1
        assert autojump_clock.current_time() == pytest.approx(31.5)


async def test_an_agents_own_tasks_end_with_its_time(autojump_clock: MockClock) -> None:
    alive = 0

    async def agent(_turn: Turn) -> None:
        async def child() -> None:
            nonlocal alive
            alive += 1
            try:
                await trio.sleep_forever()
            finally:
                alive -= 1

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(child)

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, session={"turn_timeout_s": 10.0}):
        await tg.receive("hi")
        await trio.sleep(5)
        assert alive == 3
        await trio.sleep(100)
        assert alive == 0
    assert autojump_clock.current_time() < 120


async def test_an_agent_that_nobody_provides_any_more_is_named() -> None:
    disk = MemoryDisk()
    never = trio.Event()

    async def hang(_turn: Turn) -> None:
        await never.wait()

    async with on_stage(
        hang, tg := LoopbackChannel("tg"), disk=disk, runtime={"stop_deadline_s": 0.0}
    ) as stage:
        await tg.receive("hi")
        assert (await stage.runtime.session("s1")).agent == "main"


async def test_a_turn_that_kills_the_process_three_times_is_given_up() -> None:
    disk = MemoryDisk()
    attempts: list[int] = []
    died = trio.Event()

    async def killer(turn: Turn) -> str:
        if turn.text != "poison":
            return turn.text
        attempts.append(turn.attempt)
        nonlocal disk
        disk = crashed(disk)
        died.set()
        return "survived in another world"

    for _ in range(3):
        died = trio.Event()
        tg = LoopbackChannel("tg")
        async with on_stage(killer, tg, disk=disk):
            if not attempts:
                await tg.receive("poison")
            await died.wait()
    assert attempts == [1, 2, 3]
    async with on_stage(killer, tg := LoopbackChannel("tg"), disk=disk) as stage:
        await tg.receive("next")
        assert (await tg.next_sent()).text == "next"
        assert attempts == [1, 2, 3]
        assert "quarantined" in kinds(stage.store)


async def test_last_attempts_after_crashes_run_one_by_one() -> None:
    disk = MemoryDisk()
    running: set[str] = set()
    most = 0
    go = trio.Event()

    async def agent(turn: Turn) -> str:
        nonlocal most
        running.add(turn.id)
        if turn.attempt == 3:
            most = max(most, len(running))
            for _ in range(5):
                await trio.lowlevel.checkpoint()
        else:
            await go.wait()
        running.discard(turn.id)
        return f"{turn.text} {turn.attempt}"

    for life in range(2):
        async with on_stage(agent, tg := LoopbackChannel("tg"), disk=disk):
            for number in range(10 if not life else 0):
                await tg.receive("hi", conversation=f"c{number}", user_id=f"u{number}")
            await wait_all_tasks_blocked()
            assert len(running) == 10
            disk = crashed(disk)
            go.set()
            await wait_all_tasks_blocked()
        go = trio.Event()
    async with on_stage(agent, tg := LoopbackChannel("tg"), disk=disk):
        assert {(await tg.next_sent()).text for _ in range(10)} == {"hi 3"}
    assert most == 1


@pytest.mark.parametrize("count", [10_000])
async def test_a_burst_on_one_conversation_is_accepted_and_answered_whole_and_in_order(
    count: int,
) -> None:
    tg = LoopbackChannel("tg")
    arrivals: list[str] = []

    async def write(number: int) -> None:
        arrivals.append(str(number))
        await tg.receive(str(number))

    async with on_stage(echo, tg) as stage:
        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            for number in range(count):
                nursery.start_soon(write, number)
        answers = [(await tg.next_sent()).text for _ in range(count)]
        assert said(stage.store)[0] == arrivals
        assert answers == arrivals


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "a\x00b", "\ud800 alone", "\u202e evil \u202c", "\x1b[31mred\x1b[0m"],
    ids=["1 MB", "NUL", "surrogate", "right-to-left", "ANSI"],
)
async def test_any_text_is_kept_and_answered_as_it_is(text: str) -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        await tg.receive(text, user_name=text[:100], chat_name=text[:100])
        assert (await tg.next_sent()).text == text
    async with on_stage(echo, LoopbackChannel("tg"), disk=disk) as stage:
        assert said(stage.store) == ([text], [text])
        (user,) = [r for r in await stage.runtime.history("s1") if r.kind == "user"]
        assert user.text == text
        assert user.detail is not None
        assert user.detail["user_name"] == text[:100]
