"""What becomes of a message that was to be sent: attempts, pauses, outcomes, lanes."""

from __future__ import annotations

import math
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from itertools import pairwise
from random import Random
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    Address,
    Channel,
    ChannelPowers,
    Deliver,
    DeliveryInfo,
    InboundTurn,
    InvalidTurn,
    LostAnswer,
    Outbound,
    Outcome,
    Receipt,
    Rejected,
    Turn,
    UnknownSession,
    Unreachable,
)
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.deliveries import Deliver as DeliverRequest
from turnkeeper.actors.messages import Instance, SessionId, TurnEnded
from turnkeeper.channels.retry import RetryIn, RetryPolicy
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.stories import deliveries
from turnkeeper.testing import Fault, LoopbackChannel

from ..actors.stage import Stage, crashed, echo, log, on_stage


class Scripted(Channel):
    """A platform that answers each send as it is told."""

    platform = "scripted"

    def __init__(
        self,
        answer: Callable[[Outbound], Any],
        powers: ChannelPowers | None = None,
        name: str = "tg",
    ) -> None:
        super().__init__(name)
        self.powers = powers or ChannelPowers()
        self.answer = answer
        self.attempts: list[tuple[float, Outbound]] = []
        self.ended: list[TurnEnded] = []
        self.deliver: Deliver | None = None
        self.hearing = trio.Event()

    async def run(self, deliver: Deliver) -> None:
        self.deliver = deliver
        self.hearing.set()
        await trio.sleep_forever()

    async def write(self, text: str, conversation: str = "c1", instance: str = "tg") -> None:
        await self.hearing.wait()
        assert self.deliver is not None
        await self.deliver(
            InboundTurn(
                address=Address(Instance(instance), conversation),
                platform=self.platform,
                message_id=text,
                user_id="u1",
                text=text,
            )
        )

    async def send(self, outbound: Outbound) -> Receipt:
        self.attempts.append((trio.current_time(), outbound))
        answer = self.answer(outbound)
        if isinstance(answer, Exception):
            raise answer
        return cast("Receipt", answer)

    def turn_ended(self, ended: TurnEnded) -> None:
        self.ended.append(ended)


def statuses(stage: Stage) -> list[tuple[str, int, str | None]]:
    """Every fact about deliveries in the log of the first session."""
    return [
        (record.status, record.attempt, record.reason)
        for record in log(stage.store)
        if isinstance(record, DeliveryRecord)
    ]


def dead_letters(stage: Stage) -> list[DeliveryInfo]:
    return deliveries(stage.store)


def policy_pauses(count: int, **changes: Any) -> list[float]:
    """The pauses of the runtime's own policy, with the seed that the stage gives it."""
    rng, policy = Random(1), RetryPolicy(**changes)
    found: list[float] = []
    for attempt in range(1, count + 1):
        verdict = policy.after_failure(attempt, 0.0, rng, reason="")
        assert isinstance(verdict, RetryIn)
        found.append(verdict.after_s)
    return found


# -- outcomes --------------------------------------------------------------------------------------


async def test_a_receipt_is_the_only_proof_of_delivery() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        sent = await tg.next_sent()
        await wait_all_tasks_blocked()
        assert statuses(stage) == [("delivered", 1, None)]
        outcome = await stage.runtime.send_message("s1", "unasked")
        assert outcome == Outcome(
            status="delivered",
            platform_message_id=tg.sent[1].message_id,
            delivery_id=tg.sent[1].delivery_id,
        )
        assert sent.message_id != tg.sent[1].message_id


@pytest.mark.parametrize(
    ("fault", "reason", "arrived"),
    [("refused", "channel_down", 1), ("timeout_before_send", "timeout", 1)],
)
async def test_what_did_not_leave_is_tried_again(
    fault: Fault, reason: str, arrived: int, autojump_clock: MockClock
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next(fault)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert statuses(stage) == [
            ("retrying", 1, reason),
            ("sending", 2, None),
            ("delivered", 2, None),
        ]
        assert len(tg.sent) == arrived
        assert not dead_letters(stage)
    assert autojump_clock.current_time() == pytest.approx(policy_pauses(1)[0])


async def test_pauses_between_attempts_are_those_of_the_policy_to_the_microsecond(
    autojump_clock: MockClock,
) -> None:
    channel = Scripted(lambda outbound: Unreachable("down") if outbound.attempt < 6 else RECEIPT)
    async with on_stage(echo, channel):
        await channel.write("hi")
        await trio.sleep(60)
    times = [at for at, _ in channel.attempts]
    between = [later - earlier for earlier, later in pairwise(times)]
    assert between == pytest.approx(policy_pauses(5), abs=1e-6)
    assert autojump_clock.current_time() > sum(between)


RECEIPT = Receipt(platform_message_id="p1")


async def test_a_platforms_own_pause_is_obeyed(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("rate_limited", retry_after_s=100.0)
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(99)
        assert not tg.sent
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert statuses(stage)[0] == ("retrying", 1, "rate_limited")
    assert autojump_clock.current_time() == pytest.approx(100.0)


async def test_even_good_news_do_not_shorten_a_platforms_own_pause(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("rate_limited", retry_after_s=100.0)
    async with on_stage(echo, tg):
        await tg.receive("hi")
        await trio.sleep(10)
        assert tg.on_reachable is not None
        tg.on_reachable("c1")
        await tg.next_sent()
    assert autojump_clock.current_time() == pytest.approx(100.0)


async def test_a_conversation_that_can_be_reached_again_need_not_wait(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("refused", times=5)
    async with on_stage(echo, tg):
        await tg.receive("hi")
        await trio.sleep(20)
        assert not tg.sent
        assert tg.on_reachable is not None
        tg.on_reachable("another")
        await trio.sleep(1)
        assert not tg.sent
        tg.on_reachable("c1")
        await tg.next_sent()
    assert autojump_clock.current_time() == pytest.approx(21.0)


async def test_what_a_platform_refuses_for_good_is_a_dead_letter(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("rejected")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await wait_all_tasks_blocked()
        assert statuses(stage) == [("failed", 1, "rejected")]
        (letter,) = dead_letters(stage)
        assert (letter.status, letter.reason, letter.text) == ("failed", "rejected", "hi")
        await trio.sleep(80_000)
        assert not tg.sent
    assert autojump_clock.current_time() >= 80_000


async def test_what_left_and_was_not_answered_is_unknown_and_never_sent_again_blindly(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("timeout_after_send")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await trio.sleep(80_000)
        assert len(tg.sent) == 1
        assert statuses(stage) == [("unknown", 1, "lost_answer")]
        (letter,) = dead_letters(stage)
        assert letter.status == "unknown"
    assert autojump_clock.current_time() >= 80_000


@pytest.mark.parametrize("power", ["same_id", "labelled"])
async def test_what_was_not_answered_is_sent_again_where_that_is_safe(
    power: Any, autojump_clock: MockClock
) -> None:
    answers: list[Any] = [LostAnswer("?"), Unreachable("down"), RECEIPT]
    channel = Scripted(lambda _: answers.pop(0), ChannelPowers(after_unknown=power))
    async with on_stage(echo, channel) as stage:
        await channel.write("hi")
        await trio.sleep(10)
        assert [(o.attempt, o.resend) for _, o in channel.attempts] == [
            (1, False),
            (2, True),
            (3, True),
        ]
        assert len({outbound.delivery_id for _, outbound in channel.attempts}) == 1
        assert statuses(stage)[-1] == ("delivered", 3, None)
    assert autojump_clock.current_time() < 20


async def test_what_may_have_arrived_once_is_unknown_even_if_the_last_attempt_was_refused(
    autojump_clock: MockClock,
) -> None:
    answers: list[Any] = [LostAnswer("?"), Rejected("no")]
    channel = Scripted(lambda _: answers.pop(0), ChannelPowers(after_unknown="same_id"))
    async with on_stage(echo, channel) as stage:
        await channel.write("hi")
        await trio.sleep(10)
        assert statuses(stage)[-1] == ("unknown", 2, "rejected")
    assert autojump_clock.current_time() < 20


async def test_after_the_last_attempt_a_delivery_is_a_dead_letter_that_can_be_retried(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("refused", times=3)
    async with on_stage(echo, tg, runtime={"delivery_max_attempts": 3}) as stage:
        await tg.receive("hi")
        await trio.sleep(60)
        (letter,) = dead_letters(stage)
        assert (letter.status, letter.attempts, letter.reason) == ("failed", 3, "channel_down")
        outcome = await stage.runtime.retry_delivery(letter.delivery_id)
        assert outcome.status == "delivered"
        assert [sent.text for sent in tg.sent] == ["hi"]
        assert not dead_letters(stage)
    assert autojump_clock.current_time() < 70


async def test_a_delivery_that_is_too_old_is_given_up_and_can_be_retried_as_if_new(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("refused", times=8)
    config = {"delivery_max_age_s": 60.0, "delivery_max_attempts": 100}
    async with on_stage(echo, tg, runtime=config) as stage:
        await tg.receive("hi")
        await trio.sleep(1_000)
        (letter,) = dead_letters(stage)
        assert (letter.status, letter.reason) == ("failed", "expired")
        outcome = await stage.runtime.retry_delivery(letter.delivery_id)
        assert outcome.status == "retrying"
        assert (await tg.next_sent()).text == "hi"
    assert autojump_clock.current_time() < 1_100


async def test_an_operator_sends_nothing_again_that_has_arrived_or_is_under_way() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        retry = stage.runtime.retry_delivery
        await tg.receive("hi")
        sent = await tg.next_sent()
        await wait_all_tasks_blocked()
        assert await retry(sent.delivery_id) == Outcome(
            status="delivered",
            reason="already_arrived",
            delivery_id=sent.delivery_id,
            platform_message_id=sent.message_id,
        )
        tg.hold()
        await tg.receive("ho")
        await wait_all_tasks_blocked()
        (waiting,) = dead_letters(stage)
        assert (await retry(waiting.delivery_id)).reason == "already_open"
        tg.release()
        await tg.next_sent()
        for another in ("s1/0", "s1/1", "s1/4", "s1/999", "s1/" + "9" * 18):
            assert (await retry(another)).reason == "no_such_delivery"
        for nonsense in ("", "s1", "s1/", "s1/x", "s1/-1", "s1/\u0665", "s1/" + "9" * 5_000):
            with pytest.raises(UnknownSession, match="names no delivery"):
                await retry(nonsense)
        assert [sent.text for sent in tg.sent] == ["hi", "ho"]


async def test_a_reply_to_an_instance_that_is_gone_is_a_dead_letter() -> None:
    disk = MemoryDisk()
    never = trio.Event()

    async def hang(_turn: Turn) -> None:
        await never.wait()

    async with on_stage(
        hang, tg := LoopbackChannel("tg"), disk=disk, runtime={"stop_deadline_s": 0.0}
    ):
        await tg.receive("hi")
    async with on_stage(echo, LoopbackChannel("other"), disk=disk) as stage:
        await wait_all_tasks_blocked()
        assert statuses(stage) == [("failed", 1, "no_such_channel")]


# -- lanes -----------------------------------------------------------------------------------------


async def test_a_stuck_conversation_holds_no_other(autojump_clock: MockClock) -> None:
    channel = Scripted(
        lambda outbound: Unreachable("down") if outbound.address.conversation == "bad" else RECEIPT
    )
    async with on_stage(echo, channel):
        await channel.write("one", "bad")
        for number in range(20):
            await channel.write(f"go {number}", "good")
        await wait_all_tasks_blocked()
        good = [o.text for _, o in channel.attempts if o.address.conversation == "good"]
        assert good == [f"go {number}" for number in range(20)]
    assert autojump_clock.current_time() < 10


async def test_to_ask_again_for_a_delivery_that_is_in_a_lane_changes_nothing(
    autojump_clock: MockClock,
) -> None:
    channel = Scripted(lambda outbound: Unreachable("down") if outbound.attempt < 3 else RECEIPT)
    async with on_stage(echo, channel) as stage:
        await channel.write("one")
        await channel.write("two")
        await wait_all_tasks_blocked()
        before = [record.kind for record in log(stage.store)]
        ref = stage.runtime.channel_ref("tg")
        for text in ("one", "another"):
            ref.tell(
                DeliverRequest(
                    session_id=SessionId("s1"),
                    delivery_id=channel.attempts[0][1].delivery_id,
                    address=Address(Instance("tg"), "c1"),
                    text=text,
                    asked_at_us=0,
                )
            )
        await wait_all_tasks_blocked()
        assert [record.kind for record in log(stage.store)] == before
        await trio.sleep(60)
        assert [o.text for _, o in channel.attempts] == ["one"] * 3 + ["two"] * 3
    assert autojump_clock.current_time() < 70


@pytest.mark.parametrize("seed", range(10))
async def test_a_lane_keeps_its_order_whatever_fails(seed: int, autojump_clock: MockClock) -> None:
    rng = Random(seed)
    delivered: list[str] = []

    def answer(outbound: Outbound) -> Any:
        fate = rng.random()
        if fate < 0.4:
            return Unreachable("down")
        if fate < 0.5:
            return Unreachable("429", reason="rate_limited", retry_after_s=30.0)
        if fate < 0.6:
            return Rejected("no")
        delivered.append(outbound.text)
        return LostAnswer("?") if fate < 0.7 else RECEIPT

    channel = Scripted(answer)
    async with on_stage(echo, channel) as stage:
        for number in range(30):
            await channel.write(f"{number:02}")
        await trio.sleep(80_000)
        over = [status for status, _, _ in statuses(stage) if status not in PENDING]
        assert len(over) == 30, f"seed {seed}"
        assert delivered == sorted(delivered), f"seed {seed}"
    assert autojump_clock.current_time() >= 80_000


PENDING = {"sending", "retrying"}


# -- channels that break their contract ------------------------------------------------------------


class Trouble(StrEnum):
    TEAPOT = "teapot"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (RuntimeError("bug"), ("unknown", 1, "channel_error")),
        (None, ("unknown", 1, "no_receipt")),
        ("p1", ("unknown", 1, "no_receipt")),
        (Receipt(platform_message_id=cast("str", 17)), ("unknown", 1, "no_receipt")),
        (Receipt(platform_message_id=cast("str", object())), ("unknown", 1, "no_receipt")),
        (Rejected("no", reason=Trouble.TEAPOT), ("failed", 1, "teapot")),
        (Rejected("no", reason=cast("str", object())), ("failed", 1, "unnamed")),
        (Unreachable("no", reason=cast("str", b"x")), ("retrying", 1, "unnamed")),
        (Unreachable("no", retry_after_s=-5.0), ("retrying", 1, "channel_down")),
        (Unreachable("no", retry_after_s=math.nan), ("retrying", 1, "channel_down")),
        (Unreachable("no", retry_after_s=math.inf), ("failed", 1, "expired")),
        (Unreachable("no", retry_after_s=cast("float", "5")), ("retrying", 1, "channel_down")),
    ],
)
async def test_a_channel_that_breaks_its_contract_gets_an_honest_outcome_and_goes_on(
    answer: Any, status: tuple[str, int, str], autojump_clock: MockClock
) -> None:
    answers = [answer]
    channel = Scripted(lambda _: answers.pop() if answers else RECEIPT)
    async with on_stage(echo, channel) as stage:
        await channel.write("one")
        await channel.write("two")
        await trio.sleep(10)
        assert statuses(stage)[0] == status
        assert statuses(stage)[-1] == ("delivered", 1, None)
        assert channel.attempts[-1][1].text == "two"
    async with on_stage(echo, Scripted(lambda _: RECEIPT), disk=stage.disk) as again:
        assert statuses(again)[0] == status
    assert autojump_clock.current_time() < 30


async def test_a_channel_may_not_deliver_for_another_instance() -> None:
    channel = Scripted(lambda _: RECEIPT)
    async with on_stage(echo, channel):
        with pytest.raises(InvalidTurn, match="'tg' delivered a turn of 'ws'"):
            await channel.write("hi", instance="ws")


async def test_a_channel_hears_how_each_of_its_turns_ended() -> None:
    async def agent(turn: Turn) -> str | None:
        return turn.text if turn.text == "speak" else None

    channel = Scripted(lambda _: RECEIPT, ChannelPowers(hears_turn_ends=True))
    async with on_stage(agent, channel):
        await channel.write("speak")
        await wait_all_tasks_blocked()
        await channel.write("be silent")
        await wait_all_tasks_blocked()
        assert [(ended.status, ended.turn_id) for ended in channel.ended] == [
            ("answered", "s1/4"),
            ("silent", "s1/7"),
        ]
        assert channel.ended[0].delivery_id == channel.attempts[0][1].delivery_id


async def test_a_channel_that_cannot_bear_to_hear_of_an_end_still_sends() -> None:
    class Touchy(Scripted):
        def turn_ended(self, ended: TurnEnded) -> None:
            raise RuntimeError("bug")

    channel = Touchy(lambda _: RECEIPT, ChannelPowers(hears_turn_ends=True))
    async with on_stage(echo, channel) as stage:
        await channel.write("one")
        await channel.write("two")
        await wait_all_tasks_blocked()
        assert [outbound.text for _, outbound in channel.attempts] == ["one", "two"]
        assert statuses(stage)[-1][0] == "delivered"


async def test_a_channel_that_breaks_is_run_again_after_a_pause(
    autojump_clock: MockClock,
) -> None:
    runs: list[float] = []

    class Frail(Scripted):
        async def run(self, deliver: Deliver) -> None:
            runs.append(trio.current_time())
            if len(runs) < 4:
                raise RuntimeError("lost the connection")
            await super().run(deliver)

    channel, other = Frail(lambda _: RECEIPT), LoopbackChannel("other")
    async with on_stage(echo, channel, other):
        await other.receive("hi")
        await other.next_sent()
        await channel.write("hi")
        await wait_all_tasks_blocked()
        assert len(channel.attempts) == 1
    pauses = [later - earlier for earlier, later in pairwise(runs)]
    for pause, least in zip(pauses, (1.0, 2.0, 5.0), strict=True):
        assert least <= pause <= 1.2 * least
    assert autojump_clock.current_time() < 20


# -- crashes ---------------------------------------------------------------------------------------


async def test_after_a_crash_what_was_under_way_is_unknown_and_what_waited_is_sent() -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=disk):
        tg.hold()
        for text in ("one", "two", "three"):
            await tg.receive(text)
        await wait_all_tasks_blocked()
        left = crashed(disk)
        tg.release()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=left) as stage:
        assert [(await tg.next_sent()).text for _ in range(2)] == ["two", "three"]
        await wait_all_tasks_blocked()
        (letter,) = dead_letters(stage)
        assert (letter.status, letter.reason, letter.text) == ("unknown", "interrupted", "one")
        retry = partial(stage.runtime.retry_delivery, letter.delivery_id)
        assert (await retry()).reason == "may_have_arrived"
        assert (await retry(mark_duplicate=True)).status == "delivered"


@pytest.mark.parametrize("power", ["same_id", "labelled"])
async def test_after_a_crash_what_was_under_way_is_sent_again_where_that_is_safe(
    power: Any,
) -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=disk):
        tg.hold()
        await tg.receive("one")
        await wait_all_tasks_blocked()
        left = crashed(disk)
        tg.release()
    channel = Scripted(lambda _: RECEIPT, ChannelPowers(after_unknown=power))
    async with on_stage(echo, channel, disk=left) as stage:
        await wait_all_tasks_blocked()
        assert [(o.text, o.resend) for _, o in channel.attempts] == [("one", True)]
        assert statuses(stage) == [("delivered", 1, None)]


async def test_after_a_crash_in_a_pause_the_next_attempt_has_the_next_number(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg")
    tg.fail_next("refused", times=3)
    async with on_stage(echo, tg, disk=disk):
        await tg.receive("hi")
        await trio.sleep(2)
        left = crashed(disk)
    channel = Scripted(lambda _: RECEIPT)
    async with on_stage(echo, channel, disk=left):
        await wait_all_tasks_blocked()
        ((_, outbound),) = channel.attempts
        assert (outbound.attempt, outbound.resend) == (3, False)
    assert autojump_clock.current_time() < 20
