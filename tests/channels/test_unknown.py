"""What may have arrived: asked for where that is possible, never repeated blindly, else marked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    Channel,
    ChannelPowers,
    ConfigError,
    LostAnswer,
    Outbound,
    Outcome,
    Receipt,
    Rejected,
    Unreachable,
)
from turnkeeper.channels.parcel import AGAIN
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.stories import deliveries
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import Stage, crashed, echo, on_stage
from .scripted import LONG, Scripted, outcomes, receipt_for

ASKS = ChannelPowers(after_unknown="reconcile")
NEVER = ChannelPowers()


def not_there(_outbound: Outbound) -> None:
    """What a platform says that vouches that it has nothing."""


def lost_once(
    powers: ChannelPowers, found: Callable[[Outbound], Any], then: Any = None
) -> Scripted:
    """A channel whose first send is not answered, and whose platform then says `found`."""
    answers: list[Any] = [LostAnswer("?"), then]
    return Scripted(
        powers,
        lambda out: (answers.pop(0) if answers else None) or receipt_for(out),
        found,
    )


async def left_under_way(powers: ChannelPowers, text: str = "hi") -> MemoryDisk:
    """A disk on which a delivery was under way when the process died."""
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", powers=powers)
    async with on_stage(echo, tg, disk=disk):
        tg.hold()
        await tg.receive(text)
        await wait_all_tasks_blocked()
        left = crashed(disk)
        tg.release()
    return left


async def mark_duplicate(stage: Stage) -> Outcome:
    """Send the only dead letter again although it may have arrived."""
    (letter,) = deliveries(stage.store)
    return await stage.runtime.retry_delivery(letter.delivery_id, mark_duplicate=True)


# -- reconcile -------------------------------------------------------------------------------------


async def test_what_is_found_to_have_arrived_is_not_sent_again(autojump_clock: MockClock) -> None:
    tg = lost_once(ASKS, lambda _: Receipt(platform_message_id="found"))
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(10)
        assert len(tg.sends) == 1
        assert [(out.part_id, out.text, out.resend) for out in tg.asked] == [("s1/5", "hi", True)]
        assert outcomes(stage.store) == [
            ("retrying", 1, "lost_answer", 0),
            ("sending", 2, None, 0),
            ("delivered", 2, None, 0),
        ]
        assert (await stage.runtime.retry_delivery("s1/5")).reason == "already_arrived"
    assert autojump_clock.current_time() < 20


async def test_what_is_found_not_to_have_arrived_is_sent_and_is_no_repetition(
    autojump_clock: MockClock,
) -> None:
    tg = lost_once(ASKS, not_there)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(10)
        assert [(out.attempt, out.resend, out.text) for out in tg.sends] == [
            (1, False, "hi"),
            (2, False, "hi"),
        ]
        assert outcomes(stage.store)[-1] == ("delivered", 2, None, 0)
    assert autojump_clock.current_time() < 20


async def test_what_was_found_not_to_have_arrived_fails_like_anything_else(
    autojump_clock: MockClock,
) -> None:
    tg = lost_once(ASKS, not_there, then=Rejected("no"))
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(10)
        assert outcomes(stage.store)[-1] == ("failed", 2, "rejected", 0)
    assert autojump_clock.current_time() < 20


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Unreachable("down"), "channel_down"),
        (LostAnswer("?"), "lost_answer"),
        (RuntimeError("bug"), "channel_error"),
        (cast("Any", "yes"), "no_receipt"),
        (Receipt(platform_message_id=cast("str", 7)), "no_receipt"),
    ],
)
async def test_while_nobody_can_tell_nothing_is_sent_and_in_the_end_it_is_unknown(
    answer: Any, reason: str, autojump_clock: MockClock
) -> None:
    tg = lost_once(ASKS, lambda _: answer)
    async with on_stage(echo, tg, runtime={"delivery_max_attempts": 4}) as stage:
        await tg.receive("hi")
        await trio.sleep(100)
        assert (len(tg.sends), len(tg.asked)) == (1, 3)
        assert [what[0] for what in outcomes(stage.store)] == [
            *["retrying", "sending"] * 3,
            "unknown",
        ]
        assert outcomes(stage.store)[-1] == ("unknown", 4, reason, 0)
    assert autojump_clock.current_time() >= 100


async def test_a_pause_that_the_platform_asks_for_holds_for_questions_too(
    autojump_clock: MockClock,
) -> None:
    answers: list[Any] = [Unreachable("429", reason="rate_limited", retry_after_s=100.0), None]
    tg = lost_once(ASKS, lambda _: answers.pop(0))
    async with on_stage(echo, tg):
        await tg.receive("hi")
        await trio.sleep(99)
        assert (len(tg.sends), len(tg.asked)) == (1, 1)
        await trio.sleep(5)
        assert (len(tg.sends), len(tg.asked)) == (2, 2)
    assert autojump_clock.current_time() < 110


async def test_if_nobody_will_ever_be_able_to_tell_it_is_unknown(
    autojump_clock: MockClock,
) -> None:
    tg = lost_once(ASKS, lambda _: Rejected("too old", reason="too_old"))
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(10)
        assert outcomes(stage.store)[-1] == ("unknown", 2, "too_old", 0)
        assert len(tg.sends) == 1
    assert autojump_clock.current_time() < 20


async def test_after_a_restart_it_is_asked_first(autojump_clock: MockClock) -> None:
    left = await left_under_way(ASKS)
    tg = Scripted(ASKS, receipt_for, lambda _: Receipt(platform_message_id="found"))
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert (len(tg.asked), tg.sends) == (1, [])
        assert outcomes(stage.store) == [("delivered", 1, None, 0)]
    assert autojump_clock.current_time() < 1


async def test_after_a_restart_what_has_not_arrived_is_sent(autojump_clock: MockClock) -> None:
    left = await left_under_way(ASKS)
    tg = LoopbackChannel("tg", powers=ASKS)
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert [(sent.text, sent.resend) for sent in tg.sent] == [("hi", False)]
        assert outcomes(stage.store) == [("delivered", 1, None, 0)]
    assert autojump_clock.current_time() < 1


async def test_a_restart_in_a_pause_does_not_forget_that_it_may_have_arrived(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    tg = lost_once(ASKS, not_there)
    async with on_stage(echo, tg, disk=disk):
        await tg.receive("hi")
        await wait_all_tasks_blocked()
        left = crashed(disk)
    tg = Scripted(ASKS, receipt_for, lambda _: Receipt(platform_message_id="found"))
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert (len(tg.asked), tg.sends) == (1, [])
        assert outcomes(stage.store)[-1] == ("delivered", 2, None, 0)
    assert autojump_clock.current_time() < 5


async def test_each_part_is_asked_for_until_one_has_not_arrived(
    autojump_clock: MockClock,
) -> None:
    powers = ChannelPowers(text_limit=40, after_unknown="reconcile")
    left = await left_under_way(powers, LONG)
    tg = Scripted(powers, receipt_for, lambda out: receipt_for(out) if out.part < 3 else None)
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert [out.part for out in tg.asked] == [1, 2, 3]
        assert [out.part for out in tg.sends] == [3, 4]
        assert outcomes(stage.store) == [("delivered", 1, None, 4)]
    assert autojump_clock.current_time() < 5


async def test_the_loopback_platform_knows_what_it_holds(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg", powers=ChannelPowers(text_limit=40, after_unknown="reconcile"))
    tg.fail_next("timeout_after_send", after=1)
    async with on_stage(echo, tg) as stage:
        await tg.receive(LONG)
        await trio.sleep(10)
        assert [sent.part for sent in tg.sent] == [1, 2, 3, 4]
        assert outcomes(stage.store)[-1] == ("delivered", 2, None, 4)
    assert autojump_clock.current_time() < 20


async def test_a_channel_that_asks_must_be_able_to() -> None:
    class Mute(Scripted):
        reconcile = Channel.reconcile

    with pytest.raises(ConfigError, match=r"channel 'tg' .* has no reconcile\(\)"):
        async with on_stage(echo, Mute(ASKS, receipt_for)):
            raise AssertionError("it was opened")


# -- what an operator sends again ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("power", "label"), [("never", AGAIN), ("reconcile", AGAIN), ("labelled", ""), ("same_id", "")]
)
async def test_a_repetition_is_marked_by_the_channel_or_for_it(power: Any, label: str) -> None:
    answers: list[Any] = [Rejected("no"), None]
    powers = ChannelPowers(after_unknown=power)
    left = await left_under_way(powers)
    async with on_stage(
        echo, Scripted(powers, lambda _: Rejected("?"), lambda _: Rejected("?")), disk=left
    ) as stage:
        await wait_all_tasks_blocked()
        assert outcomes(stage.store)[-1][0] == "unknown"
    tg = Scripted(powers, lambda out: answers.pop() or receipt_for(out))
    async with on_stage(echo, tg, disk=left) as stage:
        assert (await mark_duplicate(stage)).status == "delivered"
        assert [(out.text, out.resend, out.attempt) for out in tg.sends] == [
            (label + "hi", True, 1)
        ]
        assert not tg.asked


async def test_a_repetition_that_fails_leaves_it_unknown() -> None:
    left = await left_under_way(NEVER)
    tg = Scripted(NEVER, lambda _: Rejected("no"))
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        outcome = await mark_duplicate(stage)
        assert (outcome.status, outcome.reason) == ("unknown", "rejected")
        (letter,) = deliveries(stage.store)
        retried = await stage.runtime.retry_delivery(letter.delivery_id)
        assert (retried.status, retried.reason) == ("unknown", "may_have_arrived")


async def test_a_repetition_that_did_not_leave_is_tried_again_even_after_a_restart(
    autojump_clock: MockClock,
) -> None:
    disk = await left_under_way(NEVER)
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=disk) as stage:
        await wait_all_tasks_blocked()
        tg.fail_next("refused", times=2)
        assert (await mark_duplicate(stage)).status == "retrying"
        await wait_all_tasks_blocked()
        left = crashed(disk)
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert [(sent.text, sent.resend) for sent in tg.sent] == [(AGAIN + "hi", True)]
        assert outcomes(stage.store)[-1][0] == "delivered"
    assert autojump_clock.current_time() < 20


async def test_a_repetition_that_a_crash_interrupts_is_not_sent_a_third_time_by_itself(
    autojump_clock: MockClock,
) -> None:
    disk = await left_under_way(NEVER)
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=disk) as stage, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        tg.hold()
        nursery.start_soon(mark_duplicate, stage)
        await wait_all_tasks_blocked()
        left = crashed(disk)
        tg.release()
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=left) as stage:
        await trio.sleep(1_000)
        assert not tg.sent
        assert outcomes(stage.store)[-1] == ("unknown", 1, "interrupted", 0)
    assert autojump_clock.current_time() >= 1_000


async def test_a_repetition_that_a_crash_interrupts_is_asked_for_where_that_is_possible() -> None:
    disk = await left_under_way(ASKS)
    tg = Scripted(ASKS, receipt_for, lambda _: Rejected("?"))
    async with on_stage(echo, tg, disk=disk) as stage, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        sending, go_on = trio.Event(), trio.Event()

        async def hang(_outbound: Outbound) -> Exception:
            sending.set()
            await go_on.wait()
            return LostAnswer("?")

        tg.answer = hang
        nursery.start_soon(mark_duplicate, stage)
        await sending.wait()
        left = crashed(disk)
        tg.found = receipt_for
        go_on.set()
    tg = Scripted(ASKS, receipt_for, receipt_for)
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert (len(tg.asked), tg.sends) == (1, [])
        assert outcomes(stage.store)[-1][0] == "delivered"


async def test_a_repetition_in_parts_is_marked_once_and_every_part_still_fits() -> None:
    powers = ChannelPowers(text_limit=40)
    left = await left_under_way(powers, LONG)
    tg = LoopbackChannel("tg", powers=powers)
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert (await mark_duplicate(stage)).status == "delivered"
        assert [sent.text.startswith(AGAIN) for sent in tg.sent] == [True, False, False, False]
        assert all(len(sent.text) <= 40 and sent.resend for sent in tg.sent)


async def test_a_repetition_of_what_is_missing_is_marked_where_it_goes_on(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=ChannelPowers(text_limit=40))
    tg.fail_next("timeout_after_send", after=2)
    async with on_stage(echo, tg) as stage:
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        tg.fail_next("refused", after=1)
        await mark_duplicate(stage)
        await trio.sleep(10)
        assert [(sent.part, sent.text.startswith(AGAIN)) for sent in tg.sent] == [
            (1, False),
            (2, False),
            (3, False),
            (3, True),
            (4, False),
        ]
        assert outcomes(stage.store)[-1] == ("delivered", 2, None, 4)
    assert autojump_clock.current_time() < 20


async def test_a_text_that_fits_only_without_the_mark_is_repeated_in_parts() -> None:
    powers = ChannelPowers(text_limit=40)
    left = await left_under_way(powers, LONG[:40])
    tg = LoopbackChannel("tg", powers=powers)
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        tg.fail_next("timeout_after_send", after=1)
        assert (await mark_duplicate(stage)).status == "unknown"
        assert (await mark_duplicate(stage)).status == "delivered"
        assert [(sent.part, sent.parts) for sent in tg.sent] == [(1, 2), (2, 2), (2, 2)]
        assert all(len(sent.text) <= 40 for sent in tg.sent)
        first, second, again = (sent.text for sent in tg.sent)
        assert f"{first} {second}" == AGAIN + LONG[:40]
        assert again == AGAIN + second


async def test_what_may_have_arrived_and_finds_no_room_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left = await left_under_way(ASKS)
    monkeypatch.setattr("turnkeeper.channels.actor.MAX_QUEUED", 0)
    tg = LoopbackChannel("tg", powers=ASKS)
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert outcomes(stage.store) == [("unknown", 1, "outbox_full", 0)]
        assert not tg.sent


async def test_a_lost_answer_to_a_repetition_is_asked_for(autojump_clock: MockClock) -> None:
    tg = Scripted(ASKS, lambda _: LostAnswer("?"), lambda _: Rejected("?"))
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(10)
        tg.found = receipt_for
        asked = len(tg.asked)
        assert (await mark_duplicate(stage)).status == "retrying"
        await trio.sleep(10)
        assert [out.text for out in tg.sends] == ["hi", AGAIN + "hi"]
        assert len(tg.asked) == asked + 1
        assert outcomes(stage.store)[-1][0] == "delivered"
    assert autojump_clock.current_time() < 40


def test_an_outbound_message_of_one_part_is_known_by_its_delivery() -> None:
    one: Any = {"delivery_id": "s1/5", "address": None, "text": "hi"}
    assert Outbound(**one).part_id == "s1/5"
    assert Outbound(**one, part=1, parts=2).part_id == "s1/5.1"
