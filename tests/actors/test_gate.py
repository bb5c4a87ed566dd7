"""The output gate: nothing is acknowledged, run or sent before its record is durable."""

from __future__ import annotations

from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Accepted, RuntimeFailed, Turn, TurnRefused
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import START, echo, kinds, on_stage, said


class Witness:
    """Delivers messages one behind the other and writes down what it sees."""

    def __init__(self, channel: LoopbackChannel) -> None:
        self.channel = channel
        self.accepted: list[Accepted] = []
        self.refused: list[TurnRefused] = []

    async def write(self, text: str) -> None:
        try:
            self.accepted.append(await self.channel.receive(text, message_id=f"m-{text}"))
        except TurnRefused as error:
            self.refused.append(error)


async def test_nothing_is_acknowledged_run_or_sent_before_the_commit() -> None:
    ran: list[str] = []

    async def agent(turn: Turn) -> str:
        ran.append(turn.text)
        return turn.text

    tg = LoopbackChannel("tg")
    witness = Witness(tg)
    async with on_stage(agent, tg) as stage, trio.open_nursery() as nursery:
        stage.store.hold()
        for text in ("one", "two", "three"):
            nursery.start_soon(witness.write, text)
            await wait_all_tasks_blocked()
        assert not witness.accepted
        assert not ran
        assert not tg.sent
        stage.store.release()
        assert [(await tg.next_sent()).text for _ in range(3)] == ["one", "two", "three"]
        assert ran == ["one", "two", "three"]
        assert [accepted.duplicate for accepted in witness.accepted] == [False] * 3


async def test_a_reply_is_not_sent_before_it_is_durable() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:

        async def answer_into_a_held_store() -> None:
            await tg.receive("hi")
            stage.store.hold()  # before the agent's reply, which takes another pass of the loop

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_into_a_held_store)
            await wait_all_tasks_blocked()
            assert kinds(stage.store) == ["user"]
            assert not tg.sent
            stage.store.release()
            assert (await tg.next_sent()).text == "hi"


async def test_a_retry_is_not_sent_before_it_is_durable(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("refused")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(0.5)
        stage.store.hold()
        await trio.sleep(60)
        assert not tg.sent
        stage.store.release()
        assert (await tg.next_sent()).text == "hi"
    assert autojump_clock.current_time() < 70


async def test_when_a_commit_fails_nothing_is_acknowledged_and_the_runtime_ends() -> None:
    tg = LoopbackChannel("tg")
    witness = Witness(tg)
    ran: list[str] = []

    async def agent(turn: Turn) -> None:
        ran.append(turn.text)

    async def until_the_disk_refuses(humans: trio.Nursery) -> None:
        async with on_stage(agent, tg) as stage:
            stage.store.fail_next()
            for text in ("one", "two", "three"):
                humans.start_soon(witness.write, text)
            await trio.sleep_forever()

    async with trio.open_nursery() as humans:
        with pytest.raises(RuntimeFailed, match="the disk refused"):
            await until_the_disk_refuses(humans)
    assert not witness.accepted
    assert len(witness.refused) == 3
    assert not ran
    assert not tg.sent


async def test_when_the_commit_of_a_reply_fails_it_is_not_sent() -> None:
    tg = LoopbackChannel("tg")
    disk = MemoryDisk()

    answering = trio.Event()
    broken = trio.Event()

    async def agent(_turn: Turn) -> str:
        answering.set()
        await broken.wait()
        return "lost"

    async def until_the_disk_refuses() -> None:
        async with on_stage(agent, tg, disk=disk) as stage:
            await tg.receive("hi")
            await answering.wait()
            stage.store.fail_next()
            broken.set()
            await trio.sleep_forever()

    with pytest.raises(RuntimeFailed):
        await until_the_disk_refuses()
    assert not tg.sent
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        assert (await tg.next_sent()).text == "hi"
        assert said(stage.store) == (["hi"], ["hi"])


async def test_when_the_commit_before_a_retry_fails_it_is_not_sent(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("refused")

    async def until_the_disk_refuses() -> None:
        async with on_stage(echo, tg) as stage:
            await tg.receive("hi")
            await trio.sleep(0.5)
            assert kinds(stage.store) == ["user", "assistant", "delivery"]
            stage.store.fail_next()
            await trio.sleep_forever()

    with pytest.raises(RuntimeFailed):
        await until_the_disk_refuses()
    assert not tg.sent
    assert autojump_clock.current_time() < 10


async def test_when_a_commit_of_housekeeping_fails_the_runtime_ends_as_well() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        await tg.receive("hi")
        await tg.next_sent()

    async def until_the_disk_refuses() -> None:
        async with on_stage(
            echo, LoopbackChannel("tg"), disk=disk, start=START + timedelta(days=30)
        ) as stage:
            stage.store.fail_next()
            await trio.sleep_forever()

    with pytest.raises(RuntimeFailed):
        await until_the_disk_refuses()


async def test_after_a_failed_commit_nothing_more_is_accepted() -> None:
    tg = LoopbackChannel("tg")
    witness = Witness(tg)

    async def until_the_disk_refuses() -> None:
        async with on_stage(echo, tg) as stage:
            stage.store.fail_next()
            await witness.write("one")
            with trio.CancelScope(shield=True):
                await witness.write("two")

    with pytest.raises(RuntimeFailed):
        await until_the_disk_refuses()
    assert len(witness.refused) == 2
