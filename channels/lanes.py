"""What has come and waits to be heard, by conversation: one task for each that has something."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

__all__ = ["Lanes"]

T = TypeVar("T")


class Lanes(Generic[T]):
    """Hears the things of one conversation in their order, and those of several at once.

    What waits costs no task, so a runtime that is slow is no reason to have thousands of them. How
    much waits is bounded by whoever puts it here.
    """

    def __init__(self, hear: Callable[[T], Awaitable[None]]) -> None:
        """Nothing waits.

        Args:
            hear: hears one thing. What it raises ends the nursery that it was put with.
        """
        self._hear = hear
        self._lanes: dict[str, deque[T]] = {}

    def __repr__(self) -> str:
        return f"<Lanes: {len(self._lanes)} conversations>"

    def put(self, conversation: str, thing: T, nursery: trio.Nursery) -> None:
        """Let a thing be heard behind what came before it in its conversation."""
        lane = self._lanes.get(conversation)
        if lane is not None:
            lane.append(thing)
        else:
            self._lanes[conversation] = deque([thing])
            nursery.start_soon(self._work, conversation)

    async def _work(self, conversation: str) -> None:
        lane = self._lanes[conversation]
        while lane:
            await self._hear(lane[0])
            lane.popleft()
        del self._lanes[conversation]
