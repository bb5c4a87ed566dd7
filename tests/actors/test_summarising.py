"""How summaries are asked for, and what is logged of summarisers that fail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import pytest
import trio
import trio.testing

from turnkeeper.actors.core.compaction import SummaryRequest
from turnkeeper.actors.core.shown import Message
from turnkeeper.actors.counting import Counting
from turnkeeper.actors.summarising import BUILT_IN, SummaryWriter

LONG = " ".join(f"We meet in room {number} tomorrow." for number in range(40))


def request(session_id: str) -> SummaryRequest:
    said = Message(role="user", kind="user", text=LONG, seq=2, at_us=1_000_000)
    return SummaryRequest(session_id=session_id, agent="main", messages=(said,), max_tokens=400)


async def directly(function: Callable[..., Any], *args: Any) -> Any:
    """Run it here: a thread would let virtual time run away."""
    await trio.lowlevel.checkpoint()
    return function(*args)


class ByLength:
    """Takes each character for a token."""

    name = "length"
    exact = True

    async def count(self, texts: Sequence[str]) -> list[int]:
        await trio.lowlevel.checkpoint()
        return [len(text) for text in texts]


async def test_a_kind_of_fault_is_a_warning_once_in_a_session(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    numbers = count()

    async def fail(_request: SummaryRequest) -> str:
        await trio.lowlevel.checkpoint()
        number = next(numbers)
        if number % 3 == 1:
            return ""
        raise ConnectionError(f"no model for number {number}")

    writer = SummaryWriter(
        Counting(ByLength()), {"main": fail}, timeout_s=1, attempts=3, offload=directly
    )
    with caplog.at_level(logging.INFO, "turnkeeper.compactor"):
        for session_id in ("s1", "s1", "s2"):
            written = await writer.write(request(session_id), 1_000)
            assert written is not None
            assert written.by == BUILT_IN
    tries = [record for record in caplog.records if record.msg.startswith("summary of")]
    assert len(tries) == 9
    assert [r.getMessage() for r in tries if r.levelno == logging.WARNING] == [
        "summary of s1, try 1: ConnectionError: no model for number 0",
        "summary of s1, try 2: the summary is empty",
        "summary of s2, try 1: ConnectionError: no model for number 6",
        "summary of s2, try 2: the summary is empty",
    ]
