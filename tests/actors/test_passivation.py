"""Idle sessions leave memory and come back, and nobody notices."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Turn
from turnkeeper.actors.kernel import ActorRef
from turnkeeper.testing import LoopbackChannel

from .stage import echo, on_stage, said

IDLE = {"idle_after_s": 10.0}


async def test_an_idle_session_leaves_memory_and_goes_on_when_it_is_written_to(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, session=IDLE) as stage:
        await tg.receive("one")
        session = await stage.runtime.session_ref("s1")
        await trio.sleep(30)
        assert not session.is_alive()
        accepted = await tg.receive("two")
        assert accepted.session_id == "s1"
        await wait_all_tasks_blocked()
        assert said(stage.store) == (["one", "two"], ["one", "two"])
        assert (await stage.runtime.session_ref("s1")).is_alive()
    assert autojump_clock.current_time() < 60


async def test_a_session_in_use_stays_in_memory(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, session=IDLE) as stage:
        await tg.receive("hi")
        session = await stage.runtime.session_ref("s1")
        for _ in range(20):
            await trio.sleep(9)
            await tg.receive("hi")
        assert session.is_alive()
    assert autojump_clock.current_time() < 300


@pytest.mark.parametrize("open_work", ["a turn", "a delivery"])
async def test_a_session_with_open_work_stays_in_memory(
    open_work: str, autojump_clock: MockClock
) -> None:
    go = trio.Event()

    async def agent(turn: Turn) -> str:
        if open_work == "a turn":
            await go.wait()
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, session=IDLE) as stage:
        if open_work == "a delivery":
            tg.hold()
        await tg.receive("hi")
        session = await stage.runtime.session_ref("s1")
        await trio.sleep(200)
        assert session.is_alive()
        go.set()
        tg.release()
        await tg.next_sent()
        await trio.sleep(100)
        assert not session.is_alive()
    assert autojump_clock.current_time() < 400


async def test_a_session_whose_last_word_is_not_durable_stays_in_memory(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, session=IDLE) as stage:
        tg.hold()
        await tg.receive("one")
        session = await stage.runtime.session_ref("s1")
        await wait_all_tasks_blocked()
        stage.store.hold()  # before the delivery's outcome
        tg.release()
        await tg.next_sent()
        await trio.sleep(100)
        assert session.is_alive()
        stage.store.release()
        await trio.sleep(100)
        assert not session.is_alive()
        await tg.receive("two")
        assert (await tg.next_sent()).text == "two"
    assert autojump_clock.current_time() < 300


@pytest.mark.parametrize("seed", range(30))
async def test_messages_that_meet_a_leaving_session_are_neither_lost_nor_reordered(
    seed: int, autojump_clock: MockClock
) -> None:
    rng = Random(seed)
    tg = LoopbackChannel("tg")
    texts: dict[str, list[str]] = {f"c{number}": [] for number in range(5)}

    async def human(conversation: str) -> None:
        for number in range(40):
            await trio.sleep(rng.choice([0.0, 0.01, 0.02, 0.03, 0.05]))
            for _ in range(rng.randrange(4)):
                await trio.lowlevel.checkpoint()
            text = f"{conversation} {number}"
            texts[conversation].append(text)
            await tg.receive(text, conversation=conversation, user_id=conversation)

    async def operator(number: int) -> None:
        for _ in range(20):
            await trio.sleep(rng.choice([0.01, 0.02, 0.04]))
            ref = await stage.runtime.session_ref(f"s{number}")
            assert ref.actor_class.__name__ == "SessionActor"

    async with on_stage(echo, tg, session={"idle_after_s": 0.01}) as stage:
        for conversation in texts:
            await tg.receive("first", conversation=conversation, user_id=conversation)
        async with trio.open_nursery() as nursery:
            for number, conversation in enumerate(texts, 1):
                nursery.start_soon(human, conversation)
                nursery.start_soon(operator, number)
        await wait_all_tasks_blocked()
        for number, conversation in enumerate(texts, 1):
            expected = ["first", *texts[conversation]]
            assert said(stage.store, number) == (expected, expected), f"seed {seed}"
            sent = [s.text for s in tg.sent if s.conversation == conversation]
            assert sent == expected, f"seed {seed}"
    assert autojump_clock.current_time() < 60


async def test_a_session_asked_for_while_it_leaves_is_not_in_memory_twice(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    refs: list[ActorRef[Any]] = []
    async with on_stage(echo, tg, session=IDLE) as stage:
        await tg.receive("one")
        await tg.next_sent()
        await trio.sleep(9)
        stage.store.hold()
        await trio.sleep(15)  # it has been asked to leave and may not yet

        async def ask() -> None:
            refs.append(await stage.runtime.session_ref("s1"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            stage.store.release()
        assert refs[0] is refs[1]
        assert refs[0].is_alive()
    assert autojump_clock.current_time() < 60
