"""Ages and times mean the same wherever they are typed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from turnkeeper.moments import parse_moment
from turnkeeper.retention import BadAge, cutoff_us

NOW = datetime(2026, 11, 21, 12, 30, 15, 250_000, tzinfo=UTC)
NOW_US = int(NOW.timestamp() * 1e6)


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("30m ago", timedelta(minutes=30)),
        (" 2w ", timedelta(weeks=2)),
        ("1s", timedelta(seconds=1)),
        ("7776000s", timedelta(days=90)),
        ("2026-11-21", timedelta(hours=12, minutes=30, seconds=15, milliseconds=250)),
        ("2026-11-21T12:30:15+01:00", timedelta(hours=1, milliseconds=250)),
    ],
)
def test_what_is_pruned_by_is_the_moment_that_can_be_looked_back_to(
    text: str, age: timedelta
) -> None:
    assert parse_moment(text, NOW) == NOW - age
    assert cutoff_us(text, NOW_US) == NOW_US - age // timedelta(microseconds=1)


@pytest.mark.parametrize("text", ["3000w", "1900-01-01"])
def test_before_the_epoch_there_is_nothing_to_prune(text: str) -> None:
    assert cutoff_us(text, NOW_US) == 0


@pytest.mark.parametrize("text", ["", "90", "-1d", "d", "2y", "0d", "1h ahead", "2999-01-01"])
def test_nothing_is_pruned_by_what_is_no_time_in_the_past(text: str) -> None:
    with pytest.raises(BadAge):
        cutoff_us(text, NOW_US)
