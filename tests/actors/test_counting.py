"""What is counted where a counter cannot, and what is logged of it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest
import trio

from turnkeeper.actors.counting import Counting


class Broken:
    """A counter that has an error of several lines."""

    name = "broken"
    exact = True

    async def count(self, texts: Sequence[str]) -> list[int]:
        await trio.lowlevel.checkpoint()
        raise ValueError(f"no counts for {len(texts)} texts\nPlugins found:\n  none")


async def test_a_counter_that_fails_is_told_of_once_and_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    counting = Counting(Broken())
    with caplog.at_level(logging.INFO, "turnkeeper"):
        assert await counting.count(["abc", "ü"]) == ([3, 2], None)
        assert await counting.count(["abc"]) == ([3], None)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert record.getMessage() == (
        "tokens cannot be counted, a byte is taken for one: "
        "ValueError: no counts for 2 texts Plugins found: none"
    )
