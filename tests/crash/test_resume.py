"""A restart goes on with what was open: turns, deliveries, retries."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Gateway, Message

pytestmark = pytest.mark.slow


async def test_a_turn_that_was_running_runs_again_with_its_id_and_the_next_attempt(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path)
    messages = [Message("m1", "c1", "hang-1"), Message("m2", "c1", "say 2")]
    async with gateway.life(messages) as life:
        _, turn_id, *_ = await life.until("begun")
        await life.kill()
    async with gateway.life(gateway.unacknowledged(messages)) as life:
        await life.until("quiet")
    begun = [tuple(entry[1:]) for entry in gateway.said("begun")]
    assert begun[:2] == [(turn_id, 1, "hang-1"), (turn_id, 2, "hang-1")]
    assert [(attempt, text) for _, attempt, text in begun[2:]] == [(1, "say 2")]
    with gateway.stored() as stored:
        assert [reply.text for _, reply in stored.replies("s1")] == ["hang-1", "say 2"]


@pytest.mark.parametrize("power", ["never", "same_id", "labelled"])
async def test_a_delivery_under_way_is_ambiguous_and_those_behind_it_go_out(
    tmp_path: Path, power: str
) -> None:
    gateway = Gateway(tmp_path, after_unknown=power)
    messages = [
        Message("m1", "c1", "stall 1"),
        Message("m2", "c1", "say 2"),
        Message("m3", "c1", "hang"),  # begins when the reply to m2 is durable
    ]
    async with gateway.life(messages) as life:
        _, delivery_id, *_ = await life.until("sent")
        await life.until("begun", ..., ..., "hang")
        await life.kill()
    async with gateway.life(gateway.unacknowledged(messages), healed=True) as life:
        await life.until("quiet")
    (stalled, *later) = [(entry[1], entry[3], entry[4]) for entry in gateway.said("sent")]
    assert stalled == (delivery_id, "stall 1", False)
    with gateway.stored() as stored:
        if power == "never":
            assert stored.delivery(delivery_id) == [("unknown", 1)]
        else:
            assert later.pop(0) == (delivery_id, "stall 1", True)
            assert stored.delivery(delivery_id) == [("delivered", 1)]
        assert set(stored.statuses().values()) <= {"delivered", "unknown"}
    assert [(text, resend) for _, text, resend in later] == [("say 2", False), ("hang", False)]


async def _pause(gateway: Gateway, text: str, fault: str) -> str:
    """Kill a gateway while a delivery pauses between attempts; return the delivery."""
    async with gateway.life(None) as life:
        await life.hear(Message("m1", "c1", text))
        _, delivery_id, *_ = await life.until(fault)
        # Acknowledged behind the news of the failed attempt, so that is durable as well.
        await life.hear(Message("m2", "c1", "say 2"))
        await life.until("acked", "m2")
        await life.kill()
    return str(delivery_id)


async def test_a_delivery_that_paused_between_attempts_goes_on_with_the_next_one(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path)
    delivery_id = await _pause(gateway, "refuse 1", "refusing")
    async with gateway.life(healed=True) as life:
        await life.until("quiet")
    with gateway.stored() as stored:
        assert stored.delivery(delivery_id) == [("retrying", 1), ("sending", 2), ("delivered", 2)]
    assert [entry[3] for entry in gateway.said("sent")] == ["refuse 1", "say 2"]


async def test_a_delivery_whose_answer_was_lost_is_still_labelled_after_a_restart(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path, after_unknown="labelled")
    delivery_id = await _pause(gateway, "lose 1", "sent")
    async with gateway.life(healed=True) as life:
        await life.until("quiet")
    shown = [entry[4] for entry in gateway.said("sent", delivery_id)]
    assert not shown[0]
    assert shown[1:]
    assert all(shown[1:])  # on a busy machine it is sent again in its first life, too


async def test_a_failed_turn_that_paused_between_attempts_loses_none_of_them(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path)
    async with gateway.life([Message("m1", "c1", "fail")]) as life:
        assert await life.exit_code() == 0
    async with gateway.life() as life:
        assert await life.exit_code() == 0
    async with gateway.life(healed=True) as life:
        await life.until("quiet")
    assert [entry[2] for entry in gateway.said("begun")] == [1, 2, 3]
    with gateway.stored() as stored:
        assert [reply.text for _, reply in stored.replies("s1")] == ["fail"]
