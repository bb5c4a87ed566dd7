"""Supervision, decided: whether and when to try again. Pure: no clock, no randomness of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Decision", "GiveUp", "RestartAfter", "RestartPolicy", "after_failure"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RestartPolicy:
    """How often, and how fast, something that fails is started again."""

    first_delay_s: float = 0.1
    max_delay_s: float = 30.0
    factor: float = 2.0
    """Each failure within the window multiplies the delay by this."""
    jitter: float = 0.1
    """The delay varies by this share of it, up or down."""
    max_restarts: int = 10
    """Restarts allowed within `window_s`; the next failure is final."""
    window_s: float = 120.0
    max_attempts: int = 3
    """How often one message may be handled and fail before it is quarantined."""

    def __post_init__(self) -> None:
        if not 0 <= self.first_delay_s <= self.max_delay_s:
            raise ValueError("0 <= first_delay_s <= max_delay_s must hold")
        if self.factor < 1 or not 0 <= self.jitter < 1:
            raise ValueError("factor >= 1 and 0 <= jitter < 1 must hold")
        if self.max_restarts < 0 or self.window_s <= 0 or self.max_attempts < 1:
            raise ValueError("max_restarts >= 0, window_s > 0 and max_attempts >= 1 must hold")


@dataclass(frozen=True, slots=True)
class RestartAfter:
    """Start it again, `delay_s` seconds from now."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """It failed `failures` times within the window: leave it, and say so."""

    failures: int


Decision: TypeAlias = RestartAfter | GiveUp


def after_failure(
    policy: RestartPolicy, failures: tuple[float, ...], now_s: float, chance: float
) -> tuple[tuple[float, ...], Decision]:
    """Decide what follows a failure.

    Args:
        failures: when the earlier ones were, as this function returned them.
        now_s: the time of this failure, on the same clock.
        chance: a number drawn evenly from [0, 1), for the jitter.

    Returns:
        The failures to remember, and the decision.
    """
    recent = (*(at for at in failures if now_s - at < policy.window_s), now_s)
    if len(recent) > policy.max_restarts:
        return recent, GiveUp(len(recent))
    # The exponent is capped, for a float overflows long before a patient policy gives up.
    growth = policy.factor ** min(len(recent) - 1, 64)
    delay_s = min(policy.first_delay_s * growth, policy.max_delay_s)
    return recent, RestartAfter(delay_s * (1 + policy.jitter * (2 * chance - 1)))
