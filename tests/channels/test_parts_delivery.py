"""A text that is too long for its platform goes out in parts, each once, each with its receipt."""

from __future__ import annotations

from random import Random
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    ChannelPowers,
    ConfigError,
    LostAnswer,
    Outbound,
    Part,
    Receipt,
    Rejected,
    Unreachable,
)
from turnkeeper.channels.parts import text_size
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import Stage, crashed, echo, on_stage
from .scripted import LONG, Scripted, outcomes, receipt_for

LIMITED = ChannelPowers(text_limit=40)
SAFE = ChannelPowers(text_limit=40, after_unknown="same_id")


def seen(text: str) -> str:
    return "".join(text.split())


def last_failure(stage: Stage) -> tuple[str, int, str | None, int]:
    return outcomes(stage.store)[-1]


# -- parts -----------------------------------------------------------------------------------------


async def test_a_long_text_arrives_in_parts_that_fit_and_only_the_first_answers_a_message() -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    async with on_stage(echo, tg) as stage:
        await tg.receive(LONG, message_id="m1")
        await wait_all_tasks_blocked()
        assert seen("".join(sent.text for sent in tg.sent)) == seen(LONG)
        assert all(len(sent.text) <= 40 for sent in tg.sent)
        assert [(sent.part, sent.parts) for sent in tg.sent] == [(n, 4) for n in range(1, 5)]
        assert [sent.reply_to for sent in tg.sent] == ["m1", None, None, None]
        assert len({sent.delivery_id for sent in tg.sent}) == 1
        assert outcomes(stage.store) == [("delivered", 1, None, 4)]


async def test_the_outcome_tells_of_each_part_and_its_id_is_that_of_the_first() -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        outcome = await stage.runtime.send_message("s1", LONG)
        assert (outcome.status, outcome.reason) == ("delivered", None)
        ids = [sent.message_id for sent in tg.sent[1:]]
        assert outcome.platform_message_id == ids[0]
        assert outcome.parts == tuple(
            Part(number=number, status="delivered", platform_message_id=message_id)
            for number, message_id in enumerate(ids, 1)
        )


@pytest.mark.parametrize("power", ["never", "same_id", "labelled", "reconcile"])
async def test_a_text_as_long_as_the_limit_is_one_message(power: Any) -> None:
    tg = LoopbackChannel("tg", powers=ChannelPowers(text_limit=40, after_unknown=power))
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        outcome = await stage.runtime.send_message("s1", LONG[:40])
        assert (outcome.status, outcome.parts) == ("delivered", ())
        assert (tg.sent[1].text, tg.sent[1].part, tg.sent[1].parts) == (LONG[:40], 1, 1)


@pytest.mark.parametrize(
    ("unit", "count"), [("characters", 1), ("utf16", 2), ("bytes", 4)], ids=str
)
async def test_the_limit_counts_what_the_platform_counts(unit: Any, count: int) -> None:
    tg = LoopbackChannel(
        "tg", powers=ChannelPowers(text_limit=40, text_unit=unit, after_unknown="same_id")
    )
    async with on_stage(echo, tg):
        await tg.receive("😀" * 40)
        await wait_all_tasks_blocked()
        assert len(tg.sent) == count
        assert "".join(sent.text for sent in tg.sent) == "😀" * 40
        assert all(text_size(sent.text, unit) <= 40 for sent in tg.sent)


async def test_a_text_in_which_nothing_can_be_seen_is_refused_and_an_answer_of_it_is_silence() -> (
    None
):
    tg = LoopbackChannel("tg", powers=LIMITED)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        with pytest.raises(ValueError, match="nothing to say"):
            await stage.runtime.send_message("s1", " " * 41)
        await tg.receive(" \n ")
        await wait_all_tasks_blocked()
        assert [sent.text for sent in tg.sent] == ["hi"]


async def test_each_part_has_an_id_of_its_own_that_stays_when_it_is_sent_again(
    autojump_clock: MockClock,
) -> None:
    answers: list[Any] = [None, LostAnswer("?")]
    tg = Scripted(SAFE, lambda out: (answers.pop(0) if answers else None) or receipt_for(out))
    async with on_stage(echo, tg):
        await tg.receive(LONG)
        await trio.sleep(10)
        ids = [(out.part_id, out.attempt, out.resend) for out in tg.sends]
    assert ids == [
        ("s1/5.1", 1, False),
        ("s1/5.2", 1, False),
        ("s1/5.2", 2, True),
        ("s1/5.3", 2, False),
    ]
    assert autojump_clock.current_time() < 20


async def test_the_only_part_of_a_text_has_the_id_of_its_delivery() -> None:
    tg = Scripted(SAFE, receipt_for)
    async with on_stage(echo, tg):
        await tg.receive("hi")
        await wait_all_tasks_blocked()
        assert [out.part_id for out in tg.sends] == [tg.sends[0].delivery_id]


# -- between two parts -----------------------------------------------------------------------------


async def test_after_a_pause_that_the_platform_asks_for_it_goes_on_with_the_missing_part(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    tg.fail_next("rate_limited", retry_after_s=100.0, after=2)
    async with on_stage(echo, tg) as stage:
        await tg.receive(LONG)
        await trio.sleep(99)
        assert [sent.part for sent in tg.sent] == [1, 2]
        await trio.sleep(2)
        assert [sent.part for sent in tg.sent] == [1, 2, 3, 4]
        assert [sent.attempt for sent in tg.sent] == [1, 1, 2, 2]
        assert outcomes(stage.store) == [
            ("retrying", 1, "rate_limited", 2),
            ("sending", 2, None, 0),
            ("delivered", 2, None, 4),
        ]
    assert autojump_clock.current_time() == pytest.approx(101.0)


async def test_whoever_waits_is_told_how_far_a_delivery_has_come(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        tg.fail_next("refused", after=1)
        outcome = await stage.runtime.send_message("s1", LONG)
        assert (outcome.status, outcome.reason) == ("retrying", "channel_down")
        assert [part.status for part in outcome.parts] == ["delivered", *["not_sent"] * 3]
    assert autojump_clock.current_time() < 5


async def test_a_platform_with_a_limit_of_its_rate_gets_to_the_end_of_a_long_text(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    for _ in range(20):
        tg.fail_next("rate_limited", retry_after_s=5.0, after=1)
    async with on_stage(echo, tg, runtime={"delivery_max_attempts": 2}) as stage:
        await tg.receive(" ".join([LONG] * 5))
        await trio.sleep(1_000)
        assert last_failure(stage) == ("delivered", 19, None, 19)
        assert [sent.part for sent in tg.sent] == list(range(1, 20))
    assert autojump_clock.current_time() >= 1_000


async def test_attempts_that_bring_nothing_over_are_counted(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    tg.fail_next("refused", times=2, after=1)
    async with on_stage(echo, tg, runtime={"delivery_max_attempts": 2}) as stage:
        await tg.receive(LONG)
        await trio.sleep(100)
        assert last_failure(stage) == ("failed", 2, "partial: channel_down", 1)
    assert autojump_clock.current_time() >= 100


async def test_a_text_of_which_a_part_is_refused_has_failed_in_part(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        tg.fail_next("rejected", after=2)
        outcome = await stage.runtime.send_message("s1", LONG)
        assert (outcome.status, outcome.reason) == ("failed", "partial: rejected")
        assert outcome.platform_message_id == tg.sent[1].message_id
        assert [part.status for part in outcome.parts] == [
            *["delivered"] * 2,
            "failed",
            "not_sent",
        ]
        await trio.sleep(10_000)
        assert len(tg.sent) == 3
    assert autojump_clock.current_time() >= 10_000


async def test_a_text_of_which_the_first_part_is_refused_has_failed_as_a_whole() -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    tg.fail_next("rejected")
    async with on_stage(echo, tg) as stage:
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        assert outcomes(stage.store) == [("failed", 1, "rejected", 0)]


async def test_a_part_that_has_waited_too_long_fails_with_the_rest(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    tg.fail_next("rate_limited", retry_after_s=100.0, after=1)
    async with on_stage(echo, tg, runtime={"delivery_max_age_s": 60.0}) as stage:
        await tg.receive(LONG)
        await trio.sleep(1)
        assert outcomes(stage.store) == [("failed", 1, "partial: expired", 1)]
    assert autojump_clock.current_time() < 5


async def test_what_an_operator_sends_again_goes_on_behind_what_has_arrived() -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    tg.fail_next("rejected", after=2)
    async with on_stage(echo, tg) as stage:
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        first_id = tg.sent[0].message_id
        outcome = await stage.runtime.retry_delivery(tg.sent[0].delivery_id)
        assert (outcome.status, outcome.platform_message_id) == ("delivered", first_id)
        assert [part.status for part in outcome.parts] == ["delivered"] * 4
        assert [sent.part for sent in tg.sent] == [1, 2, 3, 4]
        assert [sent.resend for sent in tg.sent] == [False] * 4
        assert seen("".join(sent.text for sent in tg.sent)) == seen(LONG)


async def test_an_unanswered_part_is_unknown_and_those_before_it_are_known(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=LIMITED)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        tg.fail_next("timeout_after_send", after=1)
        outcome = await stage.runtime.send_message("s1", LONG)
        assert (outcome.status, outcome.reason) == ("unknown", "lost_answer")
        assert [part.status for part in outcome.parts] == [
            "delivered",
            "unknown",
            *["not_sent"] * 2,
        ]
        await trio.sleep(10_000)
        assert len(tg.sent) == 3
    assert autojump_clock.current_time() >= 10_000


async def test_a_part_whose_arrival_was_found_out_leaves_no_doubt_about_the_rest(
    autojump_clock: MockClock,
) -> None:
    answers: list[Any] = [None, LostAnswer("?"), None, Rejected("no")]
    tg = Scripted(SAFE, lambda out: answers.pop(0) or receipt_for(out))
    async with on_stage(echo, tg) as stage:
        await tg.receive(LONG)
        await trio.sleep(10)
        assert last_failure(stage) == ("failed", 2, "partial: rejected", 2)
    assert autojump_clock.current_time() < 20


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_fails_between_parts_none_is_missing_out_of_order_or_sent_twice(
    seed: int, autojump_clock: MockClock
) -> None:
    rng = Random(seed)
    print("seed", seed)
    limit = rng.randrange(40, 80)
    arrived: list[Outbound] = []

    def answer(outbound: Outbound) -> Any:
        fate = rng.random()
        if fate < 0.2:
            return Unreachable("down")
        if fate < 0.4:
            return Unreachable("429", reason="rate_limited", retry_after_s=rng.random() * 40)
        arrived.append(outbound)
        return receipt_for(outbound)

    texts = [" ".join([LONG] * rng.randrange(1, 6)) for _ in range(5)]
    tg = Scripted(ChannelPowers(text_limit=limit), answer)
    async with on_stage(echo, tg) as stage:
        for text in texts:
            await tg.receive(text)
        await trio.sleep(40_000)
        assert [last[0] for last in outcomes(stage.store)].count("delivered") == len(texts)
    assert seen("".join(out.text for out in arrived)) == seen("".join(texts))
    ids = [out.part_id for out in arrived]
    assert len(ids) == len(set(ids))
    assert all(len(out.text) <= limit for out in arrived)
    assert autojump_clock.current_time() >= 40_000


# -- crashes ---------------------------------------------------------------------------------------


async def test_after_a_crash_in_a_pause_between_parts_it_goes_on_with_the_missing_part(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", powers=LIMITED)
    tg.fail_next("refused", after=2)
    async with on_stage(echo, tg, disk=disk):
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        left = crashed(disk)
    before = tg.sent[:2]
    tg = LoopbackChannel("tg", powers=LIMITED)
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert [(sent.part, sent.resend) for sent in tg.sent] == [(3, False), (4, False)]
        assert last_failure(stage) == ("delivered", 2, None, 4)
        assert seen("".join(sent.text for sent in before + tg.sent)) == seen(LONG)
    assert autojump_clock.current_time() < 5


async def test_after_a_crash_while_a_part_was_under_way_the_rest_is_unknown(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", powers=LIMITED)
    tg.fail_next("refused", after=1)
    async with on_stage(echo, tg, disk=disk):
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        tg.hold()
        await trio.sleep(5)  # the second attempt has begun
        left = crashed(disk)
        tg.release()
    tg = LoopbackChannel("tg", powers=LIMITED)
    async with on_stage(echo, tg, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert not tg.sent
        assert last_failure(stage) == ("unknown", 2, "interrupted", 1)
    assert autojump_clock.current_time() < 20


async def test_after_a_crash_every_part_that_may_have_arrived_is_sent_as_one_that_may_have() -> (
    None
):
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", powers=SAFE)
    async with on_stage(echo, tg, disk=disk):
        tg.hold()
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        left = crashed(disk)
        tg.release()
    tg = LoopbackChannel("tg", powers=SAFE)
    async with on_stage(echo, tg, disk=left):
        await wait_all_tasks_blocked()
        assert [(sent.part, sent.resend) for sent in tg.sent] == [(n, True) for n in (1, 2, 3)]


async def test_where_another_limit_leaves_nothing_to_go_on_with_it_fails() -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", powers=LIMITED)
    tg.fail_next("rejected", after=2)
    async with on_stage(echo, tg, disk=disk):
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        delivery_id = tg.sent[0].delivery_id
    tg = LoopbackChannel("tg", powers=ChannelPowers(text_limit=80))
    async with on_stage(echo, tg, disk=disk) as stage:
        outcome = await stage.runtime.retry_delivery(delivery_id)
        assert (outcome.status, outcome.reason) == ("failed", "partial: text_limit_changed")
        assert not tg.sent


# -- a channel that splits by itself ---------------------------------------------------------------


async def test_a_channel_that_splits_by_itself_names_every_part() -> None:
    receipt = Receipt(platform_message_id="a", parts=("a", "b", "c"))
    tg = Scripted(ChannelPowers(), lambda _: receipt)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await wait_all_tasks_blocked()
        outcome = await stage.runtime.send_message("s1", LONG)
        assert (outcome.status, outcome.platform_message_id) == ("delivered", "a")
        assert [part.platform_message_id for part in outcome.parts] == ["a", "b", "c"]
        assert await tg.receipt("c", "read", "c1")
        assert outcomes(stage.store)[-1] == ("delivered", 1, None, 3)


@pytest.mark.parametrize(
    "receipt",
    [
        Receipt(platform_message_id="a", parts=cast("Any", ["a", "b"])),
        Receipt(platform_message_id="a", parts=cast("Any", "ab")),
        Receipt(platform_message_id="a", parts=cast("Any", None)),
        Receipt(platform_message_id="a", parts=cast("Any", ("a", 2))),
        Receipt(platform_message_id="a", parts=("a", "")),
        Receipt(platform_message_id="a", parts=("a", "b" * 1_025)),
        Receipt(platform_message_id="a", parts=("b", "c")),
        Receipt(platform_message_id=""),
        Receipt(platform_message_id="x" * 1_025),
    ],
)
async def test_a_receipt_that_is_none_proves_nothing(receipt: Receipt) -> None:
    tg = Scripted(ChannelPowers(), lambda out: receipt if out.text == "hi" else receipt_for(out))
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.receive("ho")
        await wait_all_tasks_blocked()
        statuses = [(status, reason) for status, _, reason, _ in outcomes(stage.store)]
        assert statuses[0] == ("unknown", "no_receipt")
        assert statuses[-1] == ("delivered", None)


async def test_a_part_has_one_id() -> None:
    tg = Scripted(LIMITED, lambda _: Receipt(platform_message_id="a", parts=("a", "b")))
    async with on_stage(echo, tg) as stage:
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        assert outcomes(stage.store) == [("unknown", 1, "no_receipt", 0)]


# -- what a channel declares -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("powers", "why"),
    [
        (ChannelPowers(text_limit=39), "channel 'tg' has a text_limit of 39; .* from 40 on"),
        (ChannelPowers(text_limit=0), "text_limit of 0"),
        (ChannelPowers(text_limit=cast("int", "100")), "text_limit of '100'"),
        (ChannelPowers(text_limit=True), "text_limit of True"),
        (ChannelPowers(text_unit=cast("Any", "words")), "text_unit='words'; there is: characters"),
        (ChannelPowers(after_unknown=cast("Any", "maybe")), "after_unknown='maybe'; .*reconcile"),
    ],
)
async def test_a_channel_that_declares_what_cannot_be_is_refused_by_its_name(
    powers: ChannelPowers, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        async with on_stage(echo, LoopbackChannel("tg", powers=powers)):
            raise AssertionError("it was opened")
