"""A message that its platform delivers again changes nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Accepted, Attachment, MessageIdReused
from turnkeeper.actors.core.intake import SEEN_WINDOW_S
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import START, echo, log, on_stage, said


async def test_a_message_heard_again_while_it_is_being_accepted_is_accepted_once() -> None:
    tg = LoopbackChannel("tg")
    accepted: list[Accepted] = []

    async def write() -> None:
        accepted.append(await tg.receive("hi", message_id="m1"))

    async with on_stage(echo, tg) as stage:
        stage.store.hold()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(write)
            await wait_all_tasks_blocked()
            assert not accepted
            stage.store.release()
        assert sorted(answer.duplicate for answer in accepted) == [False, True, True, True, True]
        assert {answer.turn_id for answer in accepted} == {"s1/4"}
        assert (await tg.next_sent()).text == "hi"
        await wait_all_tasks_blocked()
        assert said(stage.store) == (["hi"], ["hi"])


async def test_a_message_heard_again_after_its_answer_is_acknowledged_and_not_answered_again() -> (
    None
):
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        first = await tg.receive("hi", message_id="m1")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        before = log(stage.store)
        again = await tg.receive("hi", message_id="m1", user_name="renamed meanwhile")
        await wait_all_tasks_blocked()
        assert again.duplicate
        assert again.turn_id == first.turn_id
        assert log(stage.store) == before
        assert len(tg.sent) == 1


async def test_a_message_is_recognised_after_its_session_left_memory(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, session={"idle_after_s": 10.0}) as stage:
        await tg.receive("hi", message_id="m1")
        session = await stage.runtime.session_ref("s1")
        await trio.sleep(100)
        assert not session.is_alive()
        assert (await tg.receive("hi", message_id="m1")).duplicate
        assert len(tg.sent) == 1
    assert autojump_clock.current_time() < 200


async def test_a_message_is_recognised_after_a_restart() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        first = await tg.receive("hi", message_id="m1")
        await tg.next_sent()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        again = await tg.receive("hi", message_id="m1")
        assert again.duplicate
        assert again.turn_id == first.turn_id
        await wait_all_tasks_blocked()
        assert not tg.sent
        assert said(stage.store) == (["hi"], ["hi"])


EDGE = START + timedelta(
    seconds=SEEN_WINDOW_S - (START.timestamp() % SEEN_WINDOW_S)
)  # where one window of recognition ends and the next one begins


@pytest.mark.parametrize(
    ("heard", "again_after", "duplicate"),
    [
        (EDGE - timedelta(microseconds=1), timedelta(microseconds=1), True),
        (EDGE - timedelta(microseconds=1), timedelta(seconds=SEEN_WINDOW_S), True),
        (EDGE, timedelta(seconds=SEEN_WINDOW_S), True),
        (EDGE, timedelta(seconds=2 * SEEN_WINDOW_S, microseconds=-1), True),
        (EDGE, timedelta(seconds=2 * SEEN_WINDOW_S), False),
        (EDGE - timedelta(microseconds=1), timedelta(seconds=SEEN_WINDOW_S + 1), False),
    ],
)
async def test_a_message_is_recognised_for_a_week_at_least_and_two_at_most(
    heard: datetime, again_after: timedelta, duplicate: bool, mock_clock: MockClock
) -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, start=heard):
        await tg.receive("hi", message_id="m1")
        await tg.next_sent()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk, start=heard + again_after):
        await wait_all_tasks_blocked()  # whatever is too old to be kept has been swept
        assert (await tg.receive("hi", message_id="m1")).duplicate is duplicate
    assert mock_clock.rate == 0


@pytest.mark.parametrize(
    "other",
    [{"text": "ho"}, {"attachments": (Attachment(kind="image", reference="f1"),)}],
    ids=["text", "attachments"],
)
@pytest.mark.parametrize("held", [False, True], ids=["committed", "in flight"])
async def test_a_message_id_that_comes_with_another_body_is_refused_and_changes_nothing(
    other: dict[str, object], held: bool
) -> None:
    tg = LoopbackChannel("tg")
    refused: list[MessageIdReused] = []

    async def write() -> None:
        await tg.receive("hi", message_id="m1")

    async def write_other() -> None:
        with pytest.raises(MessageIdReused, match="'m1' of 'c1' on 'tg' was accepted as s1/4") as e:
            await tg.receive(**({"text": "hi", "message_id": "m1"} | other))  # type: ignore[arg-type]
        refused.append(e.value)

    async with on_stage(echo, tg) as stage:
        async with trio.open_nursery() as nursery:
            await wait_all_tasks_blocked()
            if held:
                stage.store.hold()
            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            nursery.start_soon(write_other)
            await wait_all_tasks_blocked()
            assert len(refused) == 1
            stage.store.release()
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert said(stage.store) == (["hi"], ["hi"])
        assert not refused[0].retryable


async def test_the_same_id_in_another_conversation_or_on_another_instance_is_another_message() -> (
    None
):
    tg, ws = LoopbackChannel("tg"), LoopbackChannel("ws")
    async with on_stage(echo, tg, ws):
        for channel in (tg, ws):
            for conversation in ("c1", "c2"):
                accepted = await channel.receive("hi", conversation=conversation, message_id="m1")
                assert not accepted.duplicate


async def test_a_message_heard_again_in_another_thread_names_the_session_that_took_it() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        first = await tg.receive("hi", message_id="m1", direct=False)
        await tg.receive("there", message_id="m2", thread="t1", direct=False)
        again = await tg.receive("hi", message_id="m1", thread="t1", direct=False)
        assert again.duplicate
        assert (again.session_id, again.turn_id) == (first.session_id, first.turn_id)
        assert said(stage.store, 2)[0] == ["there"]
