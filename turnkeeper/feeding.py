"""The feed: what stands in the console feed, and what happens from now on.

Also both ends of watching a runtime from another process, over the control socket: every event is a
line `{"event": …}`, and the answer to the request, which comes last, tells why there are no more.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import suppress
from types import TracebackType
from typing import Any

import trio

from .actors.bus import MAX_BEHIND, Bus, FeedLagged, Subscription
from .control import BadLine, JsonLines, RequestFailed, result_of
from .views import FeedEntry

__all__ = ["MAX_BEHIND", "Feed", "host_watcher", "watch"]


class Feed:
    """What is shown and what happens. Made by `Runtime.feed`.

    `await feed` gives the newest entries of the console feed, oldest first. `async with feed as
    events` gives what happens from then on, as an async iterator of `FeedEvent`; it ends when the
    runtime stops, and with FeedLagged if it is read too slowly.
    """

    def __init__(
        self, newest: Callable[[], Awaitable[list[FeedEntry]]], bus: Bus, max_behind: int
    ) -> None:
        self._newest = newest
        self._bus = bus
        self._max_behind = max_behind
        self._subscription: Subscription | None = None

    def __await__(self) -> Generator[Any, Any, list[FeedEntry]]:
        return self._newest().__await__()

    async def __aenter__(self) -> Subscription:
        """Watch from here on.

        Raises:
            RuntimeError: it is watched already; another call of `Runtime.feed` gives another feed.
            ValueError: no event may wait.
        """
        if self._subscription is not None:
            raise RuntimeError("this feed is watched already; ask the runtime for another one")
        self._subscription = self._bus.subscribe(self._max_behind)
        return self._subscription

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        exc_traceback: TracebackType | None,
    ) -> None:
        """Watch no more."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None


# -- the runtime's end ---------------------------------------------------------------------------


async def host_watcher(feed: Feed, lines: JsonLines) -> None:
    """Tell the peer of `lines` what happens, until it leaves or the runtime stops.

    Raises:
        RequestFailed: it was too slow.
    """
    lagged: FeedLagged | None = None
    async with feed as events, trio.open_nursery() as nursery:
        nursery.start_soon(_leave_with_peer, lines, nursery.cancel_scope)
        try:
            await lines.send({"watching": True})
            async for event in events:
                await lines.send({"event": event})
        except FeedLagged as error:
            lagged = error
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it has left
        nursery.cancel_scope.cancel()
    if lagged is not None:
        raise RequestFailed("lagged", str(lagged))


async def _leave_with_peer(lines: JsonLines, scope: trio.CancelScope) -> None:
    with suppress(BadLine):
        while await lines.receive() is not None:
            pass  # there is nothing to say to a feed
    scope.cancel()


# -- the other end -------------------------------------------------------------------------------


async def watch(lines: JsonLines) -> AsyncGenerator[dict[str, Any] | None]:
    """What happens in the runtime at the other end, as JSON has it; ends when that stops.

    The first is None: from then on nothing is missed.

    Raises:
        RequestFailed: it refused, or this end was too slow (`lagged`).
        BadLine: it speaks another version.
    """
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await lines.send({"do": "watch"})
    while (told := await lines.receive()) is not None:
        if "event" in told:
            yield told["event"]
        elif "watching" in told:
            yield None
        else:
            result_of(told)
            return
