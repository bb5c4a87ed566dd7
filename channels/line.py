"""The line between a channel and its platform: whether it stands, and since when.

Owned by the channel; the runtime gives it the time, and notes what it sees from outside: turns that
are heard, a `run` that begins or has ended, when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from .pauses import least_pause_s
from .secret import redact

__all__ = ["Line", "LineState"]

LineState: TypeAlias = Literal["starting", "connected", "disconnected", "refused", "ended"]
"""`starting`: not connected yet. `disconnected`: it was, or could not be, and tries again.
`refused`: the platform says no until somebody mends it. `ended`: nothing will ever be heard."""


class Line:
    """How the connection of one instance is, and was. Times are microseconds, UTC."""

    __slots__ = (
        "breaks",
        "clock",
        "error",
        "error_at_us",
        "heard_at_us",
        "next_try_at_us",
        "since_us",
        "state",
        "warning",
    )

    def __init__(self, clock: Callable[[], int] = lambda: 0) -> None:
        self.clock = clock
        """The time; set by the runtime."""
        self.state: LineState = "starting"
        self.since_us = 0
        """When the state began; 0 if nobody was there to look at a clock."""
        self.heard_at_us = 0
        """When a turn was heard last; 0 for never."""
        self.error = ""
        """Why it was not connected the last time; empty if it always was."""
        self.error_at_us = 0
        self.next_try_at_us = 0
        """When it is tried again; 0 if that is not known, or needless."""
        self.breaks = 0
        """How often the connection was lost, or not made."""
        self.warning = ""
        """What the operator should know although it works: somebody else uses the same token."""

    def __repr__(self) -> str:
        return f"<Line {self.state}{f': {self.error}' if self.error else ''}>"

    def begin(self) -> None:
        """It is tried now, perhaps once more; what was to be looked at may have been mended."""
        self.next_try_at_us = 0
        self.warning = ""

    def up(self) -> None:
        """It stands now."""
        if self.state != "connected":
            self._enter("connected", self.clock())
        self.next_try_at_us = 0

    def heard(self) -> None:
        """A turn has come through it."""
        self.heard_at_us = self.clock()

    def down(self, why: str, *, retry_in_s: float | None = None, refused: bool = False) -> None:
        """It does not stand; `why` says what happened. Secrets in it are hidden.

        Args:
            why: what happened, for the operator.
            retry_in_s: seconds until it is tried again, if that is known.
            refused: whether the platform refuses for good.
        """
        state: LineState = "refused" if refused else "disconnected"
        now_us = self.clock()
        if self.state != state:  # trying again in vain does not begin it anew
            self._enter(state, now_us)
        self.error, self.error_at_us = redact(why), now_us
        self.breaks += 1
        pause_s = least_pause_s(retry_in_s)
        self.next_try_at_us = 0 if pause_s is None else now_us + round(pause_s * 1_000_000)

    def end(self) -> None:
        """Nothing more will come through it."""
        self._enter("ended", self.clock())
        self.next_try_at_us = 0

    def _enter(self, state: LineState, at_us: int) -> None:
        self.state, self.since_us = state, at_us
