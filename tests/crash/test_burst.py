"""Ten thousand messages at once on one conversation, and a crash in the middle."""

from __future__ import annotations

from pathlib import Path

import pytest

from .harness import Gateway, Message


@pytest.mark.slow
@pytest.mark.timeout(600)  # twenty thousand commits, one after the other
async def test_a_burst_on_one_conversation_is_answered_in_order_across_a_crash(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path, after_unknown="same_id")
    messages = [Message(f"m{number}", "c1", f"say {number}") for number in range(10_000)]
    async with gateway.life(messages) as life:
        await life.until("acked", times=6_000)
        await life.kill()
    async with gateway.life(gateway.unacknowledged(messages)) as life:
        await life.until("quiet")
        assert await life.stop() == 0
    texts = [message.text for message in messages]
    with gateway.stored() as stored:
        assert [record.text for _, record in stored.users("s1")] == texts
        assert [reply.text for _, reply in stored.replies("s1")] == texts
        assert set(stored.statuses().values()) == {"delivered"}
    assert list(dict.fromkeys(entry[3] for entry in gateway.said("sent"))) == texts
