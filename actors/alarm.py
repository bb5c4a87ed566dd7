"""An alarm that goes by the clock on the wall, which may be set while it waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from .services import NowUs

__all__ = ["SLICE_S", "Alarm"]

SLICE_S: Final = 60.0
"""Longest sleep: a clock on the wall that is set meanwhile is noticed by then."""


class Alarm:
    """Rings when the clock on the wall shows the time it is set to, or has been set itself."""

    def __init__(self, now_us: NowUs, ring: Callable[[], None]) -> None:
        """Nothing rings before :meth:`run`.

        Args:
            now_us: what the clock shows, in microseconds since the epoch.
            ring: called on the loop; it may set the alarm anew, and must not raise.
        """
        self._now_us = now_us
        self._ring = ring
        self._at_us: int | None = None
        self._changed = trio.Event()

    def set(self, at_us: int | None) -> None:
        """Ring at `at_us`, or at once if that is over; None: not at all."""
        if at_us != self._at_us:
            self._at_us = at_us
            self._changed.set()

    async def run(self) -> None:
        """Ring, again and again, until cancelled; after each slice too."""
        while True:
            at_us, self._changed = self._at_us, trio.Event()
            wait_s = SLICE_S
            if at_us is None:
                wait_s = float("inf")
            elif (left_us := at_us - self._now_us()) < SLICE_S * 1e6:
                wait_s = max(left_us / 1e6, 0.0)
            with trio.move_on_after(wait_s) as slept:
                await self._changed.wait()
            if slept.cancelled_caught:
                if at_us == self._at_us and at_us is not None and self._now_us() >= at_us:
                    self._at_us = None  # it rings once
                self._ring()
