"""The warning that the server of hooks is full: one a spell, however many it turns away."""

from __future__ import annotations

import logging
from math import inf
from typing import Final

import trio

__all__ = ["Spell"]

_logger = logging.getLogger(__name__)

_QUIET_S: Final = 60.0
"""A spell is over when nobody was refused for so long: platforms that are told 503 come again
within it, and while they do it is still the same one."""


class Spell:
    """A time in which requests are refused for one reason."""

    def __init__(self, warning: str) -> None:
        """None yet.

        Args:
            warning: what is reached, and what may be done.
        """
        self._warning = warning
        self._refused_at = -inf

    def __repr__(self) -> str:
        return f"<Spell: {self._warning}>"

    def refuses(self) -> None:
        """Somebody is refused now; the first one of a spell is written to the log."""
        now = trio.current_time()
        if now - self._refused_at > _QUIET_S:
            _logger.warning("%s", self._warning)
        self._refused_at = now
