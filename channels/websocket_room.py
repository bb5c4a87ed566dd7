"""What one conversation remembers: its recent replies, and who has got them. No I/O.

A room lives in memory. Its cursors are `<epoch>-<number>`; the epoch is drawn anew with every room,
so a cursor from before a restart is recognised as one that this room knows nothing about.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio

from ..actors.messages import DeliveryId
from .base import Outbound

__all__ = ["Reply", "Room", "UnknownCursor"]

_EPOCH_BYTES: Final = 6


class UnknownCursor(ValueError):
    """The cursor was never given out by this room."""


@dataclass(kw_only=True, slots=True, eq=False)
class Reply:
    """One message to the human."""

    number: int
    delivery_id: DeliveryId
    text: str
    reply_to: str | None
    size_bytes: int
    left: bool = False
    """Whether bytes of it may have left this process."""
    got: bool = False
    """Whether a client has said that it holds it."""
    awaited: bool = False
    """Whether a `send` waits for its receipt; it is not forgotten then."""
    waiters: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    """Woken when it is got, and when nobody is left who could get it."""

    def __repr__(self) -> str:
        state = "got" if self.got else "left" if self.left else "queued"
        return f"<Reply {self.number} {self.delivery_id} {state}>"

    def leave(self) -> None:
        """Its first byte may leave now."""
        self.left = True


class Room:
    """The recent replies of one conversation, oldest first."""

    def __init__(self, *, max_replies: int, max_bytes: int, epoch: str | None = None) -> None:
        self._epoch = epoch or secrets.token_hex(_EPOCH_BYTES)
        self._max_replies = max_replies
        self._max_bytes = max_bytes
        self._replies: OrderedDict[DeliveryId, Reply] = OrderedDict()
        self._bytes = 0
        self._last = 0
        self._forgotten = 0
        """Highest number that was dropped for want of room."""

    def __repr__(self) -> str:
        waiting = sum(not reply.got for reply in self._replies.values())
        return f"<Room {self.cursor}: {len(self._replies)} kept, {waiting} not got>"

    @property
    def last(self) -> int:
        """Number of the newest reply; 0 before the first."""
        return self._last

    @property
    def cursor(self) -> str:
        """Cursor of the newest reply."""
        return self.cursor_of(self._last)

    def cursor_of(self, number: int) -> str:
        """The cursor that stands for a reply's number."""
        return f"{self._epoch}-{number}"

    def add(self, outbound: Outbound) -> tuple[Reply, bool]:
        """Take a reply in; the same delivery again is the same reply.

        Returns:
            The reply, and whether it is new.
        """
        known = self._replies.get(outbound.delivery_id)
        if known is not None:
            return known, False
        self._last += 1
        reply = Reply(
            number=self._last,
            delivery_id=outbound.delivery_id,
            text=outbound.text,
            reply_to=outbound.reply_to,
            size_bytes=len(outbound.text.encode("utf-8", "surrogatepass")),
        )
        self._replies[reply.delivery_id] = reply
        self._bytes += reply.size_bytes
        self._make_room()
        return reply, True

    def resume(self, cursor: str | None) -> tuple[list[Reply], bool]:
        """What a client that holds everything up to `cursor` still needs.

        A client without a cursor is new: it needs what nobody has got yet. A cursor of this room
        also proves that everything up to it has arrived.

        Returns:
            The replies, oldest first, and whether others may be missing between them and the
            cursor.
        """
        kept = list(self._replies.values())
        if cursor is None:
            return [reply for reply in kept if not reply.got], False
        try:
            number = self._number_of(cursor)
        except UnknownCursor:
            return kept, True
        self._mark_got(number)
        return [reply for reply in kept if reply.number > number], number < self._forgotten

    def got(self, cursor: str, *, highest: int) -> bool:
        """A client holds everything up to `cursor`; it was given replies up to `highest`.

        Returns:
            Whether that was news.

        Raises:
            UnknownCursor: it was not given to this client.
        """
        number = self._number_of(cursor)
        if number > highest:
            raise UnknownCursor(f"cursor {cursor} was not sent here")
        return self._mark_got(number)

    def held(self, reply: Reply) -> None:
        """A client has said that it holds this reply."""
        reply.got = True
        reply.waiters.unpark_all()

    def abandon(self) -> None:
        """The last client has gone: nobody can answer what is under way."""
        for reply in self._replies.values():
            reply.waiters.unpark_all()

    def forget(self, reply: Reply) -> None:
        """A reply that never left is not ours to send later."""
        self._drop(reply)

    def _number_of(self, cursor: str) -> int:
        epoch, _, number = cursor.rpartition("-")
        if epoch != self._epoch or not (number.isascii() and number.isdecimal()):
            raise UnknownCursor(f"cursor {cursor!r} is not of this conversation's present server")
        if int(number) > self._last:
            raise UnknownCursor(f"cursor {cursor} was never given out")
        return int(number)

    def _mark_got(self, number: int) -> bool:
        news = False
        for reply in self._replies.values():
            if reply.number <= number and not reply.got:
                self.held(reply)
                news = True
        return news

    def _make_room(self) -> None:
        while self._is_full() and (victim := self._next_victim()) is not None:
            self._drop(victim)
            self._forgotten = max(self._forgotten, victim.number)

    def _next_victim(self) -> Reply | None:
        """The oldest that somebody has got, as only other devices want it; else the oldest."""
        idle = [
            reply
            for reply in self._replies.values()
            if not reply.awaited and reply.number != self._last
        ]
        return next((reply for reply in idle if reply.got), idle[0] if idle else None)

    def _is_full(self) -> bool:
        return len(self._replies) > self._max_replies or self._bytes > self._max_bytes

    def _drop(self, reply: Reply) -> None:
        if self._replies.pop(reply.delivery_id, None) is not None:
            self._bytes -= reply.size_bytes
