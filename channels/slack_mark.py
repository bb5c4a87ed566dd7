"""The watermark of a channel follows what it has heard; see `slack_progress`."""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import Final

import trio

from ..actors.errors import ShuttingDown
from .base import Channel
from .slack_progress import Progress

__all__ = ["Mark"]

_STORE_EVERY_S: Final = 0.1
"""Least seconds between two states of the watermark. A state that is old costs messages heard
again, which change nothing."""
_LAST_S: Final = 2.0
"""Seconds that the last state may take to be stored, when the channel is told to end."""


class Mark:
    """Stores what is settled, for one run of a channel."""

    def __init__(self, channel: Channel, bot: str) -> None:
        """Go on from what is stored.

        Args:
            channel: whose `watermark` is used, if it has one.
            bot: who hears, in which workspace.
        """
        self._watermark = channel.watermark
        self._dirty = trio.Event()
        self.progress: Final = Progress(self._watermark.value if self._watermark else None, bot)

    def __repr__(self) -> str:
        return f"<Mark: {self.progress!r}>"

    def touch(self) -> None:
        """Let what has changed be stored soon."""
        self._dirty.set()

    async def store(self) -> None:
        """Keep the watermark up with what is settled until cancelled, and at the end once more."""
        due_s: float | None = None
        try:
            while True:
                with trio.move_on_at(inf if due_s is None else due_s):
                    await self._dirty.wait()
                self._dirty = trio.Event()
                due_s = self.progress.ripen(trio.current_time())
                await self._keep()
                await trio.sleep(_STORE_EVERY_S)
        finally:
            with trio.move_on_after(_LAST_S, shield=True):
                await self._keep()

    async def _keep(self) -> None:
        """Store what is settled now."""
        if (
            self._watermark is not None
            and (value := self.progress.stored()) != self._watermark.value
        ):
            with suppress(ShuttingDown):
                await self._watermark.move(value)
