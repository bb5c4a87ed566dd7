"""Long polling: updates are asked for, heard, and confirmed once they are settled.

Telegram has one offset for all chats: asking from it confirms whatever is before it. So it stands
at the oldest update that is not settled, and those behind it that are come again and are skipped.

Source: https://core.telegram.org/bots/api#getupdates and "Update": ids grow by one, except that
after a week without any the next one is random. So no offset is named where nothing is left to be
confirmed, and Telegram's own memory of what was confirmed is all that outlives a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import trio

from ..actors.messages import Instance
from .base import ChannelError, Rejected, Unreachable
from .handover import insist
from .http_answer import readable
from .json_fields import Malformed, listed
from .lanes import Lanes
from .line import Line
from .telegram_api import TelegramApi
from .telegram_errors import CONFLICT
from .telegram_hearing import Ear
from .telegram_wire import conversation_of, update_id

__all__ = ["MAX_UPDATES", "Backlog", "Poller"]

MAX_UPDATES: Final = 100
"""What one poll can fetch. So at most that many updates are being heard, and the newest of them is
that far behind the oldest."""
_WAIT_S: Final = 50
"""Seconds that Telegram waits for an update; the longest that it does."""
_ANSWER_S: Final = 20.0
"""Seconds after that for its answer."""
_LOOK_S: Final = 1.0
"""Seconds between two polls while something waits to be settled."""
_QUIET_S: Final = 600.0
"""Seconds without a conflict after which it is no longer warned of."""
_IN_CONFLICT: Final = (
    "another program polls with this token, or has set a webhook: only one may run at a time"
)


class Backlog:
    """Which updates were fetched and are not settled. Pure."""

    def __init__(self) -> None:
        self._open: set[int] = set()
        self._settled: set[int] = set()
        self._next: int | None = None

    def __repr__(self) -> str:
        return f"<Backlog of {len(self._open)} from {self._next}>"

    def __len__(self) -> int:
        return len(self._open)

    def ask_from(self) -> int | None:
        """The offset of the next poll; None if there is nothing to confirm."""
        offset = min(self._open) if self._open else self._next
        self._settled = {one for one in self._settled if offset is not None and one >= offset}
        return offset

    def take(self, updates: Sequence[object]) -> tuple[dict[int, Any], int]:
        """Those of a poll's updates that are new, and how many have no id and are left out."""
        if not updates and not self._open:
            self._next = None  # the poll has confirmed all that there was
        new: dict[int, Any] = {}
        nameless = 0
        for update in updates:
            try:
                number = update_id(update)
            except Malformed:
                nameless += 1
                continue
            if number not in self._open and number not in self._settled:
                new[number] = update
        self._open.update(new)
        if new:
            self._next = max(new) + 1
        return new, nameless

    def settle(self, number: int) -> None:
        """An update need not come again."""
        self._open.discard(number)
        self._settled.add(number)


class Poller:
    """Polls for one run of a channel; the updates of one chat are heard in their order."""

    def __init__(
        self, name: Instance, api: TelegramApi, ear: Ear, line: Line, kinds: Sequence[str]
    ) -> None:
        self._name = name
        self._api = api
        self._ear = ear
        self._line = line
        self._kinds = list(kinds)
        self._backlog = Backlog()
        self._lanes = Lanes(self._hear)
        self._empty = trio.Event()
        self._began = trio.current_time()
        self._limit = MAX_UPDATES

    def __repr__(self) -> str:
        return f"<Poller: {self._backlog!r}>"

    async def run(self) -> None:
        """Hear until cancelled.

        Raises:
            Unreachable, Rejected: Telegram does not let us.
        """
        failed: ChannelError
        async with trio.open_nursery() as nursery:
            try:
                while True:
                    await self._poll(nursery)
            except (Unreachable, Rejected) as error:
                failed = error
            nursery.cancel_scope.cancel()  # what was being heard is not confirmed, and comes again
        raise failed

    async def _poll(self, nursery: trio.Nursery) -> None:
        waits_s = 0 if self._backlog else _WAIT_S
        updates = await self._updates(waits_s)
        new, nameless = self._backlog.take(updates)
        if nameless:
            self._ear.warn(f"{nameless} updates that have no id were left out")
        self._empty = trio.Event()
        for number, update in new.items():
            self._lanes.put(conversation_of(update), (number, update), nursery)
        if self._backlog or (nameless and not new):
            with trio.move_on_after(_LOOK_S):
                await self._empty.wait()

    async def _updates(self, waits_s: int) -> list[object]:
        try:
            told = await self._api.ask(
                "getUpdates",
                {
                    "offset": self._backlog.ask_from(),
                    "limit": self._limit,
                    "timeout": waits_s,
                    "allowed_updates": self._kinds,
                },
                timeout_s=waits_s + _ANSWER_S,
            )
        except Unreachable as error:
            if error.reason == "bad_answer" and self._limit > 1:
                # A hundred of the largest may be too long for us, one of them is not.
                self._limit = 1
                return await self._updates(0)
            if error.reason == CONFLICT:
                self._line.warning = _IN_CONFLICT
                raise Unreachable(f"{_IN_CONFLICT} ({error})", reason=CONFLICT) from error
            raise
        with readable("getUpdates"):
            updates = listed(told, "the result")
        self._limit = MAX_UPDATES
        if self._line.warning == _IN_CONFLICT and trio.current_time() - self._began > _QUIET_S:
            self._line.warning = ""
        return updates

    async def _hear(self, numbered: tuple[int, object]) -> None:
        number, update = numbered
        await insist(self._name, lambda: self._ear.hear(update))
        self._backlog.settle(number)
        if not self._backlog:
            self._empty.set()
