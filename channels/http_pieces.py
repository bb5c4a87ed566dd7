"""What comes over a connection piece by piece, and how it is left before its end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio

__all__ = ["abandon"]


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
