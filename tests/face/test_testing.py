"""The loopback channel: a platform in memory, with each fault that a real one has."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Accepted, Attachment, ChannelPowers, InboundTurn, InvalidTurn
from turnkeeper.actors.messages import SessionId, TurnId
from turnkeeper.testing import Fault, LoopbackChannel, SentMessage

from ..actors.stage import echo, log, on_stage


async def test_what_is_received_is_durable_and_what_is_answered_is_sent() -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    async with on_stage(echo, tg) as stage:
        accepted = await tg.receive("hi", conversation="12345", user_id="u1", message_id="m1")
        assert (accepted.session_id, accepted.duplicate) == ("s1", False)
        assert log(stage.store)[3].kind == "user"
        sent = await tg.next_sent()
        assert (sent.conversation, sent.thread, sent.text) == ("12345", None, "hi")
        assert sent.delivery_id == "s1/5"
        assert sent.reply_to == "m1"
        assert tg.sent == [sent]
        assert (await tg.receive("hi", conversation="12345", message_id="m1")).duplicate


async def test_messages_without_an_id_are_numbered_by_the_platform_in_every_life() -> None:
    first, second = LoopbackChannel("tg"), LoopbackChannel("tg")
    async with on_stage(echo, first) as stage:
        for _ in range(2):
            assert not (await first.receive("hi")).duplicate
        await first.next_sent()
    async with on_stage(echo, second, disk=stage.disk):
        assert not (await second.receive("hi")).duplicate


async def test_everything_a_platform_tells_of_a_message_arrives() -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    image = Attachment(kind="image", reference="f1", size_bytes=3)
    async with on_stage(echo, tg) as stage:
        await tg.receive(
            "hi",
            thread="t1",
            guild="g1",
            direct=False,
            user_name="Ann",
            chat_name="Us",
            reply_to="m0",
            attachments=(image,),
        )
        assert (await tg.next_sent()).thread == "t1"
        detail = (await stage.runtime.history("s1"))[2].detail
        assert detail is not None
        assert (detail["guild"], detail["reply_to"]) == ("g1", "m0")
        assert (detail["user_name"], detail["chat_name"]) == ("Ann", "Us")


async def test_a_malformed_message_is_refused_as_on_any_channel() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg):
        with pytest.raises(InvalidTurn, match="message_id"):
            await tg.receive("hi", message_id="")


async def test_a_message_before_the_runtime_hears_waits_until_it_does() -> None:
    tg = LoopbackChannel("tg")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tg.receive, "early")
        await wait_all_tasks_blocked()
        async with on_stage(echo, tg):
            assert (await tg.next_sent()).text == "early"


async def test_a_message_waits_through_a_runtime_that_stops_as_soon_as_it_hears() -> None:
    heard: list[str] = []

    async def hear(turn: InboundTurn) -> Accepted:
        heard.append(turn.text)
        return Accepted(session_id=SessionId("s1"), turn_id=TurnId("s1/3"), duplicate=False)

    tg = LoopbackChannel("tg")
    texts = [f"early {number}" for number in range(30)]  # about half wake before it has stopped
    for text in texts:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tg.receive, text)
            await wait_all_tasks_blocked()
            with trio.CancelScope() as scope:
                scope.cancel()
                await tg.run(hear)
            nursery.start_soon(tg.run, hear)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert heard == texts


async def test_each_of_several_readers_gets_a_message_of_its_own() -> None:
    tg = LoopbackChannel("tg")
    read: list[SentMessage] = []

    async def reader() -> None:
        read.append(await tg.next_sent())

    async with on_stage(echo, tg), trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(reader)
        await wait_all_tasks_blocked()
        for number in range(5):
            await tg.receive(str(number))
            await wait_all_tasks_blocked()
            assert len(read) == number + 1
    assert sorted(sent.text for sent in read) == list("01234")


async def test_held_sends_hang_until_they_are_released() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg):
        tg.hold()
        tg.hold()
        await tg.receive("hi")
        await wait_all_tasks_blocked()
        assert not tg.sent
        tg.release()
        tg.release()
        assert (await tg.next_sent()).text == "hi"


@pytest.mark.parametrize(
    ("fault", "status", "arrives"),
    [
        ("refused", "retrying", 0),
        ("timeout_before_send", "retrying", 0),
        ("timeout_after_send", "unknown", 1),
        ("rate_limited", "retrying", 0),
        ("rejected", "failed", 0),
    ],
)
async def test_each_fault_has_its_outcome(
    fault: Fault, status: str, arrives: int, autojump_clock: MockClock
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        tg.fail_next(fault, retry_after_s=5.0 if fault == "rate_limited" else None)
        outcome = await stage.runtime.send_message("s1", "psst")
        assert outcome.status == status
        assert len(tg.sent) == 1 + arrives
    assert autojump_clock.current_time() < 1


async def test_faults_come_in_the_order_in_which_they_were_asked_for(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=ChannelPowers(after_unknown="same_id"))
    tg.fail_next("refused", times=2)
    tg.fail_next("timeout_after_send")
    async with on_stage(echo, tg):
        await tg.receive("hi")
        await trio.sleep(60)
        assert [sent.delivery_id for sent in tg.sent] == ["s1/5", "s1/5"]
    assert autojump_clock.current_time() >= 60


def test_a_fault_that_does_not_exist_is_refused_with_the_names_of_those_that_do() -> None:
    with pytest.raises(ValueError, match=r"no fault 'fire'; there are: rate_limited, refused"):
        LoopbackChannel("tg").fail_next("fire")  # type: ignore[arg-type]


async def test_a_fault_may_come_after_sends_that_succeed(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("rejected", after=2)
    tg.fail_next("rejected", times=2, after=1)
    async with on_stage(echo, tg):
        for number in range(7):
            await tg.receive(str(number))
        await trio.sleep(1)
        assert [sent.text for sent in tg.sent] == ["0", "1", "3", "6"]
    assert autojump_clock.current_time() < 5


async def test_what_arrived_tells_how_it_was_sent(autojump_clock: MockClock) -> None:
    powers = ChannelPowers(text_limit=40, after_unknown="same_id")
    tg = LoopbackChannel("tg", powers=powers)
    tg.fail_next("timeout_after_send", after=1)
    async with on_stage(echo, tg):
        await tg.receive("so " * 20)
        await trio.sleep(10)
        assert [(s.part, s.parts, s.attempt, s.resend) for s in tg.sent] == [
            (1, 2, 1, False),
            (2, 2, 1, False),
            (2, 2, 2, True),
        ]
    assert autojump_clock.current_time() < 20


async def test_the_platform_knows_what_it_holds_part_by_part(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg", powers=ChannelPowers(after_unknown="reconcile"))
    tg.fail_next("timeout_after_send")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(10)
        assert len(tg.sent) == 1
        assert [r.kind for r in log(stage.store)].count("delivery") == 3
    assert autojump_clock.current_time() < 20


async def test_a_receipt_finds_the_conversation_of_its_message() -> None:
    tg = LoopbackChannel("tg", powers=ChannelPowers(late_receipts=True))
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi", conversation="c7")
        sent = await tg.next_sent()
        await wait_all_tasks_blocked()
        assert await tg.receipt(sent.message_id, "read")
        assert log(stage.store)[-1].kind == "receipt"
        assert not await tg.receipt(sent.message_id, "read", conversation="c8")
        with pytest.raises(ValueError, match="no message 'x' was sent"):
            await tg.receipt("x", "read")


async def test_a_receipt_before_the_runtime_hears_waits_until_it_does() -> None:
    tg = LoopbackChannel("tg")
    heard: list[bool] = []

    async def tell() -> None:
        heard.append(await tg.receipt("m1", "read", conversation="c1"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tell)
        await wait_all_tasks_blocked()
        async with on_stage(echo, tg):
            await wait_all_tasks_blocked()
            assert heard == [False]
