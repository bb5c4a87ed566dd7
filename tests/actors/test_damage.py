"""What is broken stays where it broke: other sessions, and the store, go on."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Overloaded, Turn, TurnRefused
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.errors import SessionDamaged
from turnkeeper.storage.base import Table
from turnkeeper.storage.keys import log_key, number_key, table_key
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import crashed, echo, kinds, log, on_stage, said

ROT = b"\x01rotten"


def rot_head(disk: MemoryDisk, stream: int) -> None:
    disk.tables.put(table_key(Table.HEADS, number_key(stream)), ROT)


def rot_record(disk: MemoryDisk, stream: int, seq: int) -> None:
    disk.log.put(log_key(stream, seq), ROT)


async def two_sessions() -> MemoryDisk:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        for conversation in ("c1", "c2"):
            await tg.receive("hi", conversation=conversation, user_id=conversation)
            await tg.next_sent()
    return disk


async def test_a_session_that_cannot_be_read_is_refused_and_not_written_over() -> None:
    disk = await two_sessions()
    rot_head(disk, 1)
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        with pytest.raises(SessionDamaged, match="cannot be read"):
            await tg.receive("again", conversation="c1", user_id="c1")
        await tg.receive("again", conversation="c2", user_id="c2")
        assert (await tg.next_sent()).conversation == "c2"
    assert disk.tables.get(table_key(Table.HEADS, number_key(1))) == ROT


async def test_a_damaged_session_is_left_out_of_the_list_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = await two_sessions()
    rot_head(disk, 1)
    async with on_stage(echo, LoopbackChannel("tg"), disk=disk) as stage:
        caplog.clear()
        assert [info.id for info in await stage.runtime.sessions()] == ["s2"]
    assert "head 1" in caplog.text or "head/1" in caplog.text


async def test_a_damaged_head_does_not_keep_others_from_going_on_after_a_restart(
    autojump_clock: MockClock,
) -> None:
    never = trio.Event()

    async def hang(_turn: Turn) -> None:
        await never.wait()

    disk = MemoryDisk()
    async with on_stage(
        hang, tg := LoopbackChannel("tg"), disk=disk, runtime={"stop_deadline_s": 0.0}
    ):
        for conversation in ("c1", "c2", "c3"):
            await tg.receive("hi", conversation=conversation, user_id=conversation)
    rot_head(disk, 1)
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        answered = {(await tg.next_sent()).conversation for _ in range(2)}
    assert answered == {"c2", "c3"}
    assert autojump_clock.current_time() < 10


async def test_a_damaged_record_of_open_work_is_refused_and_not_written_over() -> None:
    disk = MemoryDisk()
    never = trio.Event()

    async def hang(_turn: Turn) -> None:
        await never.wait()

    async with on_stage(
        hang, tg := LoopbackChannel("tg"), disk=disk, runtime={"stop_deadline_s": 0.0}
    ):
        await tg.receive("hi")
    rot_record(disk, 1, 4)
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        with pytest.raises(SessionDamaged, match="record 1/4"):
            await tg.receive("again")
        assert stage.store.last_seq(1) == 5


async def test_a_delivery_that_cannot_be_read_is_a_dead_letter_and_the_next_one_goes() -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=disk) as stage:
        tg.hold()
        for text in ("one", "two", "three"):
            await tg.receive(text)
        await wait_all_tasks_blocked()
        second = next(
            seq
            for seq, record in enumerate(log(stage.store), 1)
            if isinstance(record, AssistantRecord) and record.text == "two"
        )
        rot_record(disk, 1, second)
        tg.release()
        assert [(await tg.next_sent()).text for _ in range(2)] == ["one", "three"]


async def test_a_session_stopped_during_a_commit_loses_nothing_and_answers_everybody(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    answers: list[object] = []

    async def write() -> None:
        try:
            answers.append(await tg.receive("two", message_id="m2"))
        except TurnRefused as error:
            answers.append(error)

    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        await tg.receive("one", message_id="m1")
        await tg.next_sent()
        stage.store.hold()
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        await (await stage.runtime.session_ref("s1")).stop(block=False)
        stage.store.release()
        await wait_all_tasks_blocked()
        (answer,) = answers
        assert isinstance(answer, Overloaded)
        accepted = await tg.receive("two", message_id="m2")
        assert accepted.duplicate
        assert (await tg.next_sent()).text == "two"
        assert said(stage.store) == (["one", "two"], ["one", "two"])
    assert autojump_clock.current_time() < 10


async def test_a_session_that_broke_is_answered_again_without_waiting_for_its_human(
    autojump_clock: MockClock,
) -> None:
    answering, go = trio.Event(), trio.Event()

    async def agent(turn: Turn) -> str:
        answering.set()
        await go.wait()
        return f"attempt {turn.attempt}"

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("hi")
        await answering.wait()
        (await stage.runtime.session_ref("s1")).tell("no session knows this message")
        go.set()
        assert (await tg.next_sent()).text.startswith("attempt")
        await wait_all_tasks_blocked()
        assert kinds(stage.store)[0] == "user"
        assert kinds(stage.store).count("assistant") == 1
    assert autojump_clock.current_time() < 10


async def test_messages_held_for_a_session_that_cannot_come_back_are_refused(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    disk = MemoryDisk()
    answers: list[BaseException] = []

    async def write() -> None:
        try:
            await tg.receive("two")
        except TurnRefused as error:
            answers.append(error)

    async with on_stage(echo, tg, disk=disk) as stage:
        await tg.receive("one")
        await tg.next_sent()
        await (await stage.runtime.session_ref("s1")).stop(block=False)
        rot_head(disk, 1)
        await write()
        assert [type(answer) for answer in answers] == [SessionDamaged]
    assert autojump_clock.current_time() < 10


async def test_a_crash_between_two_commits_leaves_nothing_half_done() -> None:
    disk = MemoryDisk()
    disks = [crashed(disk)]

    async def agent(turn: Turn) -> str:
        disks.append(crashed(disk))
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, disk=disk):
        for text in ("one", "two"):
            await tg.receive(text)
            disks.append(crashed(disk))
            await tg.next_sent()
            disks.append(crashed(disk))
    for left in disks:
        async with on_stage(echo, tg := LoopbackChannel("tg"), disk=left) as stage:
            await wait_all_tasks_blocked()
            users, replies = said(stage.store) if left.log.get(log_key(1, 1)) else ([], [])
            assert users == replies
