"""A turn that kills the process is given up, and only that one."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnkeeper import stories
from turnkeeper.actors.core.turn_records import QuarantinedRecord

from .harness import Gateway, Message, Stored

pytestmark = pytest.mark.slow

_ATTEMPTS = 3


async def _restart_until_quiet(gateway: Gateway, messages: list[Message]) -> int:
    """Restart the gateway whenever it dies; return how often it did."""
    for deaths in range(2 * _ATTEMPTS + 1):
        async with gateway.life(gateway.unacknowledged(messages)) as life:
            await life.lines(100_000)
            if gateway.journal[-1] == ["quiet"]:
                return deaths
            await life.exit_code()
    raise AssertionError(f"the gateway died again and again: {gateway.journal[-20:]}")


def _quarantined(stored: Stored) -> list[str]:
    """Texts of the turns that were given up."""
    return [
        dict(stored.users(name))[record.turn_seq].text
        for name, log in stored.logs.items()
        for _, record in log
        if isinstance(record, QuarantinedRecord)
    ]


@pytest.mark.parametrize("poison", ["die", "exit"])
async def test_a_turn_that_kills_the_process_three_times_is_quarantined_and_the_session_goes_on(
    tmp_path: Path, poison: str
) -> None:
    gateway = Gateway(tmp_path)
    messages = [Message("m1", "c1", poison), Message("m2", "c1", "say 2")]
    assert await _restart_until_quiet(gateway, messages) == _ATTEMPTS
    assert [entry[2] for entry in gateway.said("begun", ..., ..., poison)] == [1, 2, 3]
    (turn_id,) = {entry[1] for entry in gateway.said("begun", ..., ..., poison)}
    with gateway.stored() as stored:
        assert _quarantined(stored) == [poison]
        assert [reply.text for _, reply in stored.replies("s1")] == ["say 2"]
        story = stories.explain(stored.store, turn_id)
        assert story is not None
        assert "quarantined" in story.lines[-1]


async def test_turns_that_ran_beside_the_one_that_killed_the_process_are_answered(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path)
    bystanders = [Message(f"m{n}", f"c{n}", f"hang-2 {n}") for n in range(1, 6)]
    poison = Message("m0", "c0", "die")
    async with gateway.life(None) as life:
        await life.hear(*bystanders)
        await life.until("begun", times=len(bystanders))
        await life.hear(poison)
        await life.exit_code()
    assert await _restart_until_quiet(gateway, [*bystanders, poison]) == _ATTEMPTS - 1
    with gateway.stored() as stored:
        assert _quarantined(stored) == ["die"]
        answered = [r.text for name in stored.logs for _, r in stored.replies(name)]
        assert sorted(answered) == [message.text for message in bystanders]
