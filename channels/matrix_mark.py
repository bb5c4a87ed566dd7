"""How far the account has heard, and what makes its transactions its own; both survive restarts."""

from __future__ import annotations

from hashlib import sha256
from secrets import token_hex

import trio

from .base import Channel

__all__ = ["Mark"]


class Mark:
    """What the watermark of a channel says.

    A homeserver takes two messages with the same transaction id for one, for as long as it
    remembers. Delivery ids begin anew with every new state directory, so a part of the id is drawn
    once for each, and kept beside the place in the stream.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._salt = ""
        self._since: str | None = None
        self._lock = trio.Lock()

    def __repr__(self) -> str:
        return f"<Mark of {self._channel.name}>"

    async def since(self) -> str | None:
        """From where on to hear; None if nothing was ever heard."""
        await self._read()
        return self._since

    async def transaction(self, part_id: str, what: str) -> str:
        """The transaction id of one thing that is done for one part of a delivery.

        Raises:
            ShuttingDown: it could not be made durable.
        """
        await self._read()
        return sha256(f"{self._salt} {part_id} {what}".encode()).hexdigest()[:40]

    async def move(self, since: str) -> None:
        """Everything before `since` is durable.

        Raises:
            ShuttingDown: nothing was stored.
        """
        await self._read()
        async with self._lock:
            if since != self._since:
                await self._write(since)
                self._since = since

    async def _read(self) -> None:
        async with self._lock:
            if self._salt:
                return
            mark = self._channel.watermark
            salt, _, since = ((mark.value if mark else None) or "").partition(" ")
            self._since = since or None
            if not salt:
                salt = token_hex(8)
                await self._write("", salt)
            self._salt = salt

    async def _write(self, since: str, salt: str = "") -> None:
        if self._channel.watermark is not None:
            await self._channel.watermark.move(f"{salt or self._salt} {since}")
