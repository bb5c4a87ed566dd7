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
        self._salt = self._user = ""
        self._since: str | None = None
        self._lock = trio.Lock()

    def __repr__(self) -> str:
        return f"<Mark of {self._channel.name}>"

    async def since(self, user: str) -> str | None:
        """From where on `user` is to hear; None if this account was never connected here.

        Raises:
            ShuttingDown: it could not be made durable.
        """
        await self._read()
        if user != self._user:  # the place in another account's stream says nothing
            self._user, self._since = user, None
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
                await self._write(self._salt, self._user, since)
                self._since = since

    async def _read(self) -> None:
        async with self._lock:
            if self._salt:
                return
            mark = self._channel.watermark
            salt, user, since, *_ = [*((mark.value if mark else None) or "").split(" "), "", ""]
            if not salt:
                salt = token_hex(8)
                await self._write(salt, "", "")
            self._salt, self._user, self._since = salt, user, since or None

    async def _write(self, salt: str, user: str, since: str) -> None:
        if self._channel.watermark is not None:
            await self._channel.watermark.move(f"{salt} {user} {since}")
