"""The pauses that platforms ask for. Pure."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_PAUSE_S", "least_pause_s"]

MAX_PAUSE_S: Final = 7 * 24 * 3600.0
"""A platform that asks for more is not believed: the clock of either side is wrong."""


def least_pause_s(asked_s: object) -> float | None:
    """The pause that a platform asks for, in seconds, at most a week; None if it makes no sense."""
    if isinstance(asked_s, int | float) and asked_s > 0:  # which NaN is not
        return float(min(asked_s, MAX_PAUSE_S))
    return None
