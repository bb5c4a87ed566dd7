"""Signals: the first one drains, the second one stops at once, and neither loses anything."""

from __future__ import annotations

import signal
from pathlib import Path
from random import Random
from signal import Signals

import pytest

from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.effects import Dispatch
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.deliveries import DeliveryReported
from turnkeeper.actors.messages import Address, AgentReply, DeliveryId, InboundTurn, Instance

from .harness import Gateway, Message, seeds

_PATIENT = {"runtime": {"stop_deadline_s": 3600.0}}
_HASTY = {"runtime": {"stop_deadline_s": 0.05}}
_BOTH = [signal.SIGTERM, signal.SIGINT]


async def test_a_stopping_gateway_lets_running_turns_end_and_begins_no_more(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path, config=_PATIENT)
    messages = [Message("m1", "c1", "linger"), Message("m2", "c1", "say 2")]
    async with gateway.life(messages) as life:
        await life.until("begun")
        await life.until("acked", "m2")
        assert await life.stop() == 0
    assert [entry[3] for entry in gateway.said("begun")] == ["linger"]
    assert [entry[3] for entry in gateway.said("sent")] == ["linger"]
    with gateway.stored() as stored:
        assert set(stored.statuses().values()) == {"delivered"}
    async with gateway.life() as life:
        await life.until("quiet")
    assert [entry[2:] for entry in gateway.said("begun")] == [[1, "linger"], [1, "say 2"]]


def test_a_reply_that_waits_behind_the_last_one_sent_is_known_not_to_have_left() -> None:
    turns = [
        InboundTurn(
            address=Address(instance=Instance("j"), conversation="c1"),
            platform="journal",
            message_id=f"m{number}",
            user_id="u1",
            text=f"say {number}",
        )
        for number in (1, 2)
    ]
    core, log = Conversation(), list[Record]()
    opened = OpenedRecord(at_us=1, session_id="s1", agent="main", by="test")
    core.apply(opened)
    log.append(opened)
    for turn in turns:
        log += core.accept(turn, 2).records
    for seq, turn in zip((2, 3), turns, strict=True):
        log += core.finish(seq, turn, AgentReply(text=turn.text), 3).records
    report = DeliveryReported(
        session_id=core.session_id, delivery_id=DeliveryId("s1/4"), attempt=1, status="delivered"
    )
    log += core.report(4, report, 4, go_on=False).records

    head = core.head()
    numbered = list(enumerate(log, start=1))
    woken = Conversation.from_head(head, numbered[head.open_since - 1 :])
    assert woken.head() == head
    assert woken.resume(None, 5).effects == [Dispatch(5, None, 1, ambiguous=False)]


@pytest.mark.slow
@pytest.mark.parametrize("number", _BOTH)
async def test_turns_that_outlast_the_deadline_are_interrupted_and_their_attempts_not_counted(
    tmp_path: Path, number: Signals
) -> None:
    gateway = Gateway(tmp_path, config=_HASTY)
    messages = [Message("m1", "c1", "hang 1"), Message("m2", "c2", "hang 2")]
    for _ in range(4):
        async with gateway.life(gateway.unacknowledged(messages)) as life:
            await life.until("begun", times=2)
            life.signal(number)
            assert await life.exit_code() == 0
    async with gateway.life(healed=True) as life:
        await life.until("quiet")
    assert {entry[2] for entry in gateway.said("begun")} == {1}
    with gateway.stored() as stored:
        assert [[r.text for _, r in stored.replies(name)] for name in ("s1", "s2")] == [
            ["hang 1"],
            ["hang 2"],
        ]


@pytest.mark.slow
@pytest.mark.parametrize("first", _BOTH)
@pytest.mark.parametrize("second", _BOTH)
async def test_a_second_signal_stops_at_once(
    tmp_path: Path, first: Signals, second: Signals
) -> None:
    gateway = Gateway(tmp_path, config=_PATIENT)
    messages = [Message("m1", "c1", "hang 1"), Message("m2", "c2", "stall 2")]
    async with gateway.life(messages) as life:
        await life.until("begun", times=2)
        await life.until("sent")
        life.signal(first)
        await life.until("stopping")
        life.signal(second)
        assert await life.exit_code() == 0
    async with gateway.life(gateway.unacknowledged(messages), healed=True) as life:
        await life.until("quiet")
    assert {entry[2] for entry in gateway.said("begun")} == {1}
    with gateway.stored() as stored:
        assert sorted(stored.statuses().values()) == ["delivered", "unknown"]


@pytest.mark.slow
@pytest.mark.parametrize("number", _BOTH)
@pytest.mark.parametrize("moment", ["starting", "up", "heard", "begun", "sent"])
async def test_a_signal_at_any_stage_of_the_start_is_a_clean_stop(
    tmp_path: Path, number: Signals, moment: str
) -> None:
    gateway = Gateway(tmp_path)
    messages = [Message(f"m{n}", f"c{n % 3}", f"say {n}") for n in range(30)]
    async with gateway.life(messages) as life:
        await life.until(moment)
        life.signal(number)
        assert await life.exit_code() == 0
    assert gateway.errors == ""
    async with gateway.life(gateway.unacknowledged(messages)) as life:
        await life.until("quiet")
    with gateway.stored() as stored:
        assert sorted(stored.message_ids()) == sorted(message.id for message in messages)
        assert set(stored.statuses().values()) == {"delivered"}
        assert len(stored.statuses()) == len(messages)


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(20))
async def test_a_stop_during_a_load_loses_nothing_and_leaves_nothing_unknown(
    tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    gateway = Gateway(tmp_path, seed=seed)
    messages = [Message(f"m{n}", f"c{rng.randrange(20)}", f"say {n}") for n in range(200)]
    signals = [rng.choice(_BOTH) for _ in range(rng.choice((1, 2)))]
    async with gateway.life(messages) as life:
        await life.lines(rng.randint(1, 700))
        life.signal(signals[0])
        for number in signals[1:]:
            await life.until("stopping")
            life.signal(number)
        # A second signal may find everything closed already; it then ends the process its own way.
        code = await life.exit_code()
        assert code in {0, *(-number for number in signals[1:])}
    if code == 0:
        said = gateway.errors.splitlines()
        assert all(line.endswith("again: stopping at once") for line in said)
    if gateway.acknowledged():
        with gateway.stored() as stored:
            assert gateway.acknowledged() <= set(stored.message_ids())
            # A second signal cuts off what is being sent.
            assert len(signals) == 2 or "sending" not in stored.statuses().values()
    async with gateway.life(gateway.unacknowledged(messages)) as life:
        await life.until("quiet")
        assert await life.stop() == 0
    assert {entry[2] for entry in gateway.said("begun")} == {1}
    with gateway.stored() as stored:
        assert sorted(stored.message_ids()) == sorted(message.id for message in messages)
        assert len(stored.statuses()) == len(messages)
        expected = {"delivered"} if len(signals) == 1 else {"delivered", "unknown"}
        assert set(stored.statuses().values()) <= expected
