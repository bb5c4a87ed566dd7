"""When a failed delivery is tried again, and when it is given up."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.channels.retry import GiveUp, RetryIn, RetryPolicy

STEADY = RetryPolicy(jitter=0.0)


def pauses(policy: RetryPolicy, attempts: int, seed: int = 1) -> list[float]:
    rng = Random(seed)
    found: list[float] = []
    for attempt in range(1, attempts + 1):
        verdict = policy.after_failure(attempt, 0.0, rng, reason="refused")
        assert isinstance(verdict, RetryIn)
        found.append(verdict.after_s)
    return found


def test_pauses_double_up_to_their_cap() -> None:
    assert pauses(STEADY, 11) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]


def test_the_last_attempt_is_the_last_one() -> None:
    policy = RetryPolicy(max_attempts=3, jitter=0.0)
    assert policy.after_failure(2, 0.0, Random(1), reason="refused") == RetryIn(2.0)
    assert policy.after_failure(3, 0.0, Random(1), reason="refused") == GiveUp("refused")


def test_a_pause_that_ends_after_the_greatest_age_is_not_begun() -> None:
    policy = RetryPolicy(max_age_s=10.0, jitter=0.0)
    assert policy.after_failure(1, 9.0, Random(1), reason="refused") == RetryIn(1.0)
    assert policy.after_failure(1, 9.1, Random(1), reason="refused") == GiveUp("expired")


@pytest.mark.parametrize("retry_after_s", [3.0, 120.0, 80_000.0])
def test_a_platforms_own_pause_is_never_shortened(retry_after_s: float) -> None:
    for seed in range(50):
        verdict = RetryPolicy().after_failure(
            1, 0.0, Random(seed), reason="rate_limited", retry_after_s=retry_after_s
        )
        assert verdict == RetryIn(retry_after_s), f"seed {seed}"


def test_a_platforms_own_pause_beyond_the_greatest_age_ends_the_delivery() -> None:
    verdict = RetryPolicy().after_failure(
        1, 0.0, Random(1), reason="rate_limited", retry_after_s=90_000.0
    )
    assert verdict == GiveUp("expired")


def test_however_many_attempts_are_allowed_the_pause_stays_at_its_cap() -> None:
    policy = RetryPolicy(max_attempts=10_000, max_age_s=1e9, jitter=0.0)
    assert policy.after_failure(5_000, 0.0, Random(1), reason="refused") == RetryIn(900.0)


@given(st.integers(1, 11), st.integers(0, 2**32))
def test_jitter_keeps_within_its_share(attempt: int, seed: int) -> None:
    (exact,) = pauses(STEADY, attempt)[-1:]
    verdict = RetryPolicy().after_failure(attempt, 0.0, Random(seed), reason="refused")
    assert isinstance(verdict, RetryIn)
    assert 0.8 * exact <= verdict.after_s <= 1.2 * exact


def test_the_same_seed_gives_the_same_pauses() -> None:
    assert pauses(RetryPolicy(), 8, seed=7) == pauses(RetryPolicy(), 8, seed=7)
    assert pauses(RetryPolicy(), 8, seed=7) != pauses(RetryPolicy(), 8, seed=8)
