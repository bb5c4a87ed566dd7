"""Why tokens could not be counted."""

from __future__ import annotations

__all__ = ["CountFailed", "EncodingUnavailable"]


class CountFailed(Exception):
    """The counter failed, or what it said is no count. The text names it."""


class EncodingUnavailable(CountFailed):
    """The encoding cannot be loaded. The text names it, and says why."""
