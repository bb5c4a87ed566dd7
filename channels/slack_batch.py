"""What was missed in one channel, on its way from Slack to being heard."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from heapq import heappop, heappush
from typing import Final

import trio

from .base import Rejected
from .json_fields import Fields, Malformed, fields
from .slack_fields import seconds_of, stamp

__all__ = ["MISSED_MESSAGES", "Batch"]

MISSED_MESSAGES: Final = 1_000
"""Messages of one channel, answers in its threads included, that are fetched at once."""


class Batch:
    """Messages of one channel that were fetched, and are not heard."""

    def __init__(self, oldest: str) -> None:
        self.oldest: Final = oldest
        self.ready: Final = trio.Event()
        """Set once what is known to be missed is here, as far as Slack lets us read it."""
        self.refused: Rejected | None = None
        self.is_cut = False
        """Whether some of what was missed is left out, because it is too much."""
        self.read: Final[set[str | None]] = set()
        """What was read: threads, and the channel itself as None."""
        self.answered: Final[set[str]] = set()
        """Messages that have answers in a thread."""
        self.newest: str | None = None
        self._known: set[str] = set()
        self._waiting: list[tuple[Decimal, str, Fields]] = []
        """A heap, the oldest first."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether no more is taken in."""
        return len(self._known) >= MISSED_MESSAGES

    def add(self, messages: Sequence[object]) -> int:
        """Take in what is new of a page; return how much of it cannot be read.

        The first message of a thread may come with each page of it.
        """
        unread = 0
        for one in messages:
            try:
                message = fields(one, "message")
                message_id = stamp(message, "ts")
            except Malformed:
                unread += 1
                continue
            if message_id in self._known or seconds_of(message_id) <= seconds_of(self.oldest):
                continue
            if self.is_full:
                self.is_cut = True
                break
            self._known.add(message_id)
            heappush(self._waiting, (seconds_of(message_id), message_id, message))
            if message.get("reply_count"):
                self.answered.add(message_id)
            if self.newest is None or seconds_of(message_id) > seconds_of(self.newest):
                self.newest = message_id
        return unread

    def first(self) -> Fields:
        """The oldest that waits."""
        return self._waiting[0][2]

    def settle_first(self) -> None:
        """The oldest waits no more."""
        heappop(self._waiting)
