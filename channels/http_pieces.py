"""What goes and comes over a connection piece by piece, and how it is left before its end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import trio

__all__ = ["Body", "abandon"]


async def abandon(pieces: AsyncIterator[bytes]) -> None:
    """End a stream whose rest nobody wants.

    The HTTP libraries nest generators, and closing the outermost leaves the others to the garbage
    collector, which trio warns of. So what the innermost waits for is cancelled, and all of them
    end in their order, and close the connection.
    """
    with trio.CancelScope() as scope:
        scope.cancel()
        async for _ in pieces:
            pass


class Body(httpx.AsyncByteStream):
    """The body of a request, in one piece.

    The HTTP libraries' own are generators, and one of those that is left in the middle, because
    sending has failed or was cancelled, is found by the garbage collector, which trio warns of.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Once(self._content)


class _Once:
    def __init__(self, content: bytes) -> None:
        self._content: bytes | None = content

    def __aiter__(self) -> _Once:
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, None
        if content is None:
            raise StopAsyncIteration
        return content
