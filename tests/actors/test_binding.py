"""A conversation belongs to one session, whoever writes first, and however many at once."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import UnknownSession
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import echo, log, on_stage, said


@pytest.mark.parametrize("seed", range(100))
async def test_64_first_messages_at_once_make_one_session_and_are_answered_in_order(
    seed: int,
) -> None:
    rng = Random(seed)
    tg = LoopbackChannel("tg")
    arrivals: list[str] = []
    accepted: list[str] = []

    async def write(number: int) -> None:
        for _ in range(rng.randrange(5)):
            await trio.lowlevel.checkpoint()
        arrivals.append(str(number))
        accepted.append((await tg.receive(str(number), message_id=f"m{number}")).session_id)

    async with on_stage(echo, tg) as stage:
        await wait_all_tasks_blocked()  # the channel hears
        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(write, number)
        answers = [(await tg.next_sent()).text for _ in range(64)]
        assert set(accepted) == {"s1"}, f"seed {seed}"
        assert len(accepted) == 64
        assert said(stage.store)[0] == arrivals
        assert answers == arrivals
        assert [info.id for info in await stage.runtime.sessions()] == ["s1"]


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "group"])
async def test_conversations_threads_and_instances_are_kept_apart(direct: bool) -> None:
    tg, ws = LoopbackChannel("tg"), LoopbackChannel("ws")
    async with on_stage(echo, tg, ws, session={"dm_scope": "per-conversation"}) as stage:
        ids = [
            (await tg.receive("hi", conversation="c1", direct=direct)).session_id,
            (await tg.receive("hi", conversation="c2", direct=direct)).session_id,
            (await tg.receive("hi", conversation="c1", thread="t1", direct=direct)).session_id,
            (await ws.receive("hi", conversation="c1", direct=direct)).session_id,
        ]
        assert ids == ["s1", "s2", "s3", "s4"]
        for number in range(1, 5):
            assert [record.kind for record in log(stage.store, number)[:2]] == ["opened", "bound"]


async def test_two_humans_are_kept_apart_and_one_is_not() -> None:
    tg, ws = LoopbackChannel("tg"), LoopbackChannel("ws")
    async with on_stage(echo, tg, ws):
        ann = [
            (await tg.receive("hi", conversation="c1", user_id="ann")).session_id,
            (await tg.receive("hi", conversation="c1", user_id="ann", thread="t1")).session_id,
            (await tg.receive("hi", conversation="c2", user_id="ann")).session_id,
            (await ws.receive("hi", conversation="c1", user_id="ann")).session_id,
        ]
        bob = [
            (await tg.receive("hi", conversation="c3", user_id="bob")).session_id,
            (await ws.receive("hi", conversation="c2", user_id="bob")).session_id,
        ]
    assert ann == ["s1"] * 4
    assert bob == ["s2"] * 2


async def test_a_binding_outlives_the_runtime() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        first = await tg.receive("one")
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        second = await tg.receive("two")
        other = await tg.receive("three", conversation="c2", user_id="u2")
        binding = await stage.runtime.binding("tg", "c1")
    assert first.session_id == second.session_id == "s1"
    assert other.session_id == "s2"
    assert binding is not None
    assert (binding.session_id, binding.version) == ("s1", 1)
    assert binding.by == "first message, dm_scope per-user"


async def test_one_session_that_is_slow_to_answer_holds_no_other() -> None:
    never = trio.Event()

    async def agent(turn: object) -> str:
        if getattr(turn, "text", "") == "wait":
            await never.wait()
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, runtime={"stop_deadline_s": 0.0}):
        await tg.receive("wait", conversation="slow", user_id="slow")
        for number in range(10):
            await tg.receive("go", conversation=f"c{number}", user_id=f"u{number}")
            assert (await tg.next_sent()).conversation == f"c{number}"


async def test_a_conversation_that_nobody_wrote_in_has_no_binding() -> None:
    async with on_stage(echo, LoopbackChannel("tg")) as stage:
        assert await stage.runtime.binding("tg", "c1") is None
        with pytest.raises(UnknownSession, match="s1"):
            await stage.runtime.session("s1")


async def test_a_session_is_opened_in_the_same_commit_as_its_binding() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        opened = [record.kind for record in log(stage.store)[:4]]
        assert opened == ["opened", "keyed", "bound", "user"]
