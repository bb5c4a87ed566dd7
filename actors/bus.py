"""The bus: one ordered stream of what happens, for as many as want to watch.

Whoever publishes never waits and is never held up: a subscription has room for so many events, and
one that is further behind is dropped, alone, and told so. Used on the loop thread only.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import trio

from .happenings import FeedEvent

__all__ = ["MAX_BEHIND", "Bus", "FeedLagged", "Subscription"]

MAX_BEHIND: Final = 1_000
"""Events that wait for one subscriber, unless it says otherwise."""


class FeedLagged(Exception):
    """A subscriber was too slow and was dropped; it has got everything up to event `last`."""

    def __init__(self, behind: int, last: int) -> None:
        super().__init__(
            f"too slow: {behind} events were waiting when one more came, so the feed goes on "
            f"without this subscriber; the last event it got is number {last}"
        )
        self.behind = behind
        """How many events were waiting for it when it was dropped; it has got them since."""
        self.last = last
        """Number of the last event that it has got."""


class Subscription:
    """The events from here on, in order; an async iterator that ends with the runtime."""

    def __init__(self, bus: Bus, max_behind: int) -> None:
        self._bus = bus
        self._max_behind = max_behind
        self._in, self._out = trio.open_memory_channel[FeedEvent](max_behind)
        self._lagged = False
        self._last = 0

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> FeedEvent:
        event = await self.receive()
        if event is None:
            raise StopAsyncIteration
        return event

    async def receive(self) -> FeedEvent | None:
        """The next event; None once there are no more, because the runtime or `close` ended it.

        Raises:
            FeedLagged: it was too slow, and has got what was kept for it.
        """
        try:
            event = await self._out.receive()
        except trio.ClosedResourceError:
            return None
        except trio.EndOfChannel:
            if self._lagged:
                raise FeedLagged(self._max_behind, self._last) from None
            return None
        self._last = event.number
        return event

    def close(self) -> None:
        """Hear nothing more. Idempotent."""
        self._bus.drop(self)
        self.end()
        self._out.close()

    def put(self, event: FeedEvent) -> bool:
        """Keep one more event; False if there is no room, which ends the subscription."""
        try:
            self._in.send_nowait(event)
        except trio.WouldBlock:
            self._lagged = True
            self.end()
            return False
        return True

    def end(self) -> None:
        """Let nothing follow what is kept. Idempotent."""
        self._in.close()


class Bus:
    """Hands every event to every subscriber."""

    def __init__(self) -> None:
        self.subscribers: tuple[Subscription, ...] = ()
        """Empty while nobody watches: ask before an event is made."""
        self._number = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"<Bus at {self._number} for {len(self.subscribers)}>"

    def publish(self, event: FeedEvent) -> None:
        """Number `event`, and hand it to whoever watches now. Never waits, and raises nothing."""
        if not self.subscribers:
            return
        self._number += 1
        numbered = replace(event, number=self._number)
        for subscription in self.subscribers:
            if not subscription.put(numbered):
                self.drop(subscription)

    def subscribe(self, max_behind: int = MAX_BEHIND) -> Subscription:
        """A subscription to what happens from now on; to be closed by whoever asked for it.

        Args:
            max_behind: events that may wait for it.

        Raises:
            ValueError: `max_behind` is less than 1.
        """
        if max_behind < 1:
            raise ValueError(f"max_behind must be 1 or more, not {max_behind!r}")
        subscription = Subscription(self, max_behind)
        if self._closed:
            subscription.end()
        else:
            self.subscribers = (*self.subscribers, subscription)
        return subscription

    def drop(self, subscription: Subscription) -> None:
        """Hand nothing more to `subscription`."""
        self.subscribers = tuple(one for one in self.subscribers if one is not subscription)

    def close(self) -> None:
        """Nothing more will happen: whoever watches gets what is kept, and then the end."""
        self._closed = True
        for subscription in self.subscribers:
            subscription.end()
        self.subscribers = ()
