"""When a failed delivery is tried again, and when it is given up. Pure."""

from __future__ import annotations

from random import Random
from typing import Final, TypeAlias

from ..actors.frozen import fact, message

__all__ = ["GiveUp", "RetryIn", "RetryPolicy", "Verdict"]


@fact
class RetryIn:
    """Try again after `after_s` seconds."""

    after_s: float


@fact
class GiveUp:
    """It becomes a dead letter, for this reason."""

    reason: str


_MOST_DOUBLINGS: Final = 60
"""Pauses are capped long before; a float overflows at 1,024."""

Verdict: TypeAlias = RetryIn | GiveUp


@message
class RetryPolicy:
    """Caps on number and age, and the pauses between attempts."""

    max_attempts: int = 12
    max_age_s: float = 24 * 3600.0
    """Seconds since the delivery was asked for, after which nobody waits for it any more."""
    first_pause_s: float = 1.0
    max_pause_s: float = 900.0
    jitter: float = 0.2
    """Share of a pause by which it is shortened or lengthened at random."""

    def after_failure(
        self,
        attempt: int,
        age_s: float,
        rng: Random,
        *,
        reason: str,
        retry_after_s: float | None = None,
    ) -> Verdict:
        """What follows from attempt number `attempt`, which did not arrive.

        Args:
            attempt: 1 for the first.
            age_s: seconds since the delivery was asked for.
            rng: where the jitter comes from.
            reason: why it failed, for the dead letter.
            retry_after_s: the least pause that the platform allows; it is never shortened.
        """
        if attempt >= self.max_attempts:
            return GiveUp(reason)
        pause_s = min(
            self.first_pause_s * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS), self.max_pause_s
        )
        pause_s *= 1 + self.jitter * (2 * rng.random() - 1)
        pause_s = max(pause_s, retry_after_s or 0.0)
        if age_s + pause_s > self.max_age_s:
            return GiveUp("expired")
        return RetryIn(pause_s)
