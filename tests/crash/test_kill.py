"""kill -9 at any moment of a load: nothing acknowledged is missing, nothing is said twice."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from random import Random

import pytest
import trio

from .harness import Gateway, Message, Stored, seeds

_AT_ONCE = 2
"""Runs beside each other: the machine's other cores serve the disk and the writers."""


def _load(rng: Random) -> list[Message]:
    """Messages of a few humans, who write here and there, in the order of the platform."""
    each = rng.choice((1, 1, 3))
    places = [f"u{human}/{n}" for human in range(rng.choice((1, 4, 40))) for n in range(each)]
    return [
        Message(f"m{number}", rng.choice(places), f"say {number}")
        for number in range(rng.randint(100, 300))
    ]


async def _run(home: Path, seed: int) -> None:
    rng = Random(seed)
    home.mkdir()
    gateway = Gateway(home, after_unknown=rng.choice(("never", "same_id")), seed=seed)
    messages = _load(rng)
    for _ in range(rng.choice((1, 1, 2))):
        rest = gateway.unacknowledged(messages)
        async with gateway.life(rest) as life:
            await life.lines(rng.randint(1, 4 * len(rest) + 1))
            await life.kill()
        if gateway.state_dir.joinpath("store").exists():
            with gateway.stored() as stored:
                assert gateway.acknowledged() <= set(stored.message_ids())
    async with gateway.life(gateway.unacknowledged(messages)) as life:
        await life.until("quiet")
        assert await life.stop() == 0
    with gateway.stored() as stored:
        _check_turns(gateway, stored, messages)
        _check_deliveries(gateway, stored)


def _check_turns(gateway: Gateway, stored: Stored, messages: list[Message]) -> None:
    assert sorted(stored.message_ids()) == sorted(message.id for message in messages)
    owners: dict[str, set[str]] = defaultdict(set)
    for name in stored.logs:
        users = stored.users(name)
        for _, record in users:
            owners[record.user_id].add(name)
        assert len({record.user_id for _, record in users}) <= 1
        replies = [(reply.turn_seq, reply.text) for _, reply in stored.replies(name)]
        assert replies == [(seq, record.text) for seq, record in users]
        _check_arrival(gateway, [record.message_id for _, record in users])
    assert all(len(sessions) == 1 for sessions in owners.values())


def _check_arrival(gateway: Gateway, accepted: list[str]) -> None:
    """Messages were accepted in the order in which they were handed over, life after life."""
    rest = iter(accepted)
    expected = next(rest, None)
    for entry in gateway.journal:
        if entry == ["heard", expected]:
            expected = next(rest, None)
    assert expected is None


def _check_deliveries(gateway: Gateway, stored: Stored) -> None:
    shown: dict[str, list[str]] = {}
    """Texts that the platform was given, by delivery id, in the order of their first arrival."""
    for _, delivery_id, _, text, _ in gateway.said("sent"):
        shown.setdefault(delivery_id, []).append(text)
    for delivery_id, status in stored.statuses().items():
        times = len(shown.get(delivery_id, ()))
        if gateway.options["after_unknown"] == "same_id":
            assert status == "delivered"
            assert times >= 1
        else:
            assert (status, times) in {("delivered", 1), ("unknown", 1), ("unknown", 0)}
    for name in stored.logs:
        replies = stored.replies(name)
        for place in {reply.conversation for _, reply in replies}:
            asked = {f"{name}/{seq}": r.text for seq, r in replies if r.conversation == place}
            arrived = [delivery_id for delivery_id in shown if delivery_id in asked]
            assert arrived == [delivery_id for delivery_id in asked if delivery_id in shown]
            assert all(set(shown[delivery_id]) == {asked[delivery_id]} for delivery_id in arrived)


async def test_a_killed_gateway_answers_every_accepted_turn_once_after_its_restart(
    tmp_path: Path,
) -> None:
    await _run(tmp_path / "run", seed=1)


@pytest.mark.slow
async def test_fifty_kills_at_random_moments_lose_and_repeat_nothing(tmp_path: Path) -> None:
    waiting = iter(seeds(50))

    async def work() -> None:
        for seed in waiting:
            print(f"seed {seed}")
            try:
                await _run(tmp_path / str(seed), seed)
            except BaseException as error:
                error.add_note(f"repeat it with TURNKEEPER_SEED={seed}")
                raise

    async with trio.open_nursery() as nursery:
        for _ in range(_AT_ONCE):
            nursery.start_soon(work)
