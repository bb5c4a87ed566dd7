"""Syncing: what is new is asked for, heard room by room, and never asked for again once settled.

Each answer tells from where on to go on. The next one is asked for while rooms are still busy with
the ones before, of which only so many are open; the mark moves behind those that are settled.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Final, TypeAlias

import trio

from ..actors.errors import ShuttingDown
from .base import ChannelError, Rejected, Unreachable
from .handover import AGAIN_AFTER_S, insist
from .http_answer import readable
from .json_fields import Malformed
from .lanes import Lanes
from .line import Line
from .matrix_api import CLIENT, MatrixApi
from .matrix_batches import (
    Backlog,
    Batch,
    Invite,
    Page,
    RoomNews,
    arrival_in,
    batch_in,
    invitation_in,
    page_filter,
    page_in,
    sync_filter,
)
from .matrix_errors import ACCOUNT_REFUSED
from .matrix_hearing import Ear
from .matrix_mark import Mark

__all__ = ["Syncer"]

_logger = logging.getLogger(__name__)

_WAIT_S: Final = 30
"""Seconds that the homeserver waits for something new."""
_ANSWER_S: Final = 60.0
"""Seconds after that for its answer; a first one takes long."""
_MAX_OPEN: Final = 64
"""Answers that are open at most; then no more is asked for."""
_MAX_WAITING: Final = 2_000
"""Events that wait to be heard, after which no more are asked for."""
_MAX_HEARING: Final = 32
"""Rooms of which something is being heard at the same time; the others wait."""
_PAGE: Final = 50
_MAX_PAGES_BACK: Final = 10
"""Pages in which the account's invitation is looked for."""

_Waiting: TypeAlias = tuple[int, RoomNews | Invite, str]
"""The number of an answer, what it tells of a room, and where it began."""

_Page: TypeAlias = tuple[Sequence[object], Mapping[str, str]]
"""Events in their order, and display names of those who are in them."""


class Syncer:
    """Syncs for one run of a channel; what is said in one room is heard in its order."""

    def __init__(self, api: MatrixApi, ear: Ear, line: Line, mark: Mark) -> None:
        self._api = api
        self._ear = ear
        self._line = line
        self._mark = mark
        self._backlog = Backlog()
        self._waiting = 0
        """Events in all lanes."""
        self._lanes = Lanes(self._settle)
        self._room_for = trio.Semaphore(_MAX_HEARING)
        self._settled = trio.Event()
        self._moved = trio.Event()
        self._failed: ChannelError | None = None
        self._scope = trio.CancelScope()

    def __repr__(self) -> str:
        return f"<Syncer: {self._backlog!r}>"

    async def run(self) -> None:
        """Hear until cancelled.

        Raises:
            Unreachable, Rejected: the homeserver does not let us.
        """
        with self._scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._move_mark)
                try:
                    await self._poll(nursery)
                except (Unreachable, Rejected) as error:
                    self._fail(error)
        if self._failed is not None:
            raise self._failed

    def _fail(self, error: ChannelError) -> None:
        """End this run. What was being heard is not settled, and comes again."""
        self._failed = self._failed or error
        self._scope.cancel()

    async def _poll(self, nursery: trio.Nursery) -> None:
        since = await self._mark.since(self._ear.me)
        batch = None if since is None else await self._resumed(since)
        if since is None or batch is None:
            # The rule for old messages: what was said before the account was first connected is
            # nobody's question any more. Only invitations are taken up.
            first = await self._sync(None, waits_s=0)
            self._enqueue(Batch(next=first.next, invites=first.invites), "", nursery)
            while len(self._backlog):
                await self._moved.wait()
            since = first.next
            batch = await self._sync(since, waits_s=0)
        while True:
            self._line.up()
            if batch.next != since:
                self._enqueue(batch, since, nursery)
            since = batch.next
            while len(self._backlog) >= _MAX_OPEN or self._waiting >= _MAX_WAITING:
                await self._moved.wait()
            batch = await self._sync(since, waits_s=_WAIT_S)

    async def _resumed(self, since: str) -> Batch | None:
        """What was missed; None if the homeserver does not know any more where that began."""
        try:
            return await self._sync(since, waits_s=0)
        except Rejected as refused:
            if refused.reason != "rejected":
                raise
            self._ear.warn(
                "the homeserver does not know where hearing had stopped, so what was said "
                f"meanwhile is not heard: {refused}"
            )
            return None

    async def _sync(self, since: str | None, *, waits_s: int) -> Batch:
        params: dict[str, str | int] = {
            "timeout": waits_s * 1000,
            "filter": sync_filter(first=since is None),
        }
        if since is not None:
            params["since"] = since
        answer = await self._api.ask(f"{CLIENT}/sync", params=params, timeout_s=waits_s + _ANSWER_S)
        with readable("sync"):
            return batch_in(answer, self._ear.me)

    def _enqueue(self, batch: Batch, since: str, nursery: trio.Nursery) -> None:
        if batch.malformed:
            self._ear.warn(f"{batch.malformed} rooms that could not be read were left out")
        if batch.direct is not None:
            self._ear.rooms.learn_direct(batch.direct)
        number = self._backlog.add(batch.next, len(batch.rooms) + len(batch.invites))
        both: list[RoomNews | Invite] = [*batch.invites, *batch.rooms]
        self._waiting += sum(len(news.events) for news in batch.rooms)
        for one in both:
            self._lanes.put(one.room, (number, one, since), nursery)
        self._settled.set()

    async def _move_mark(self) -> None:
        """Let the mark follow what is settled."""
        while True:
            await self._settled.wait()
            self._settled = trio.Event()
            since = self._backlog.settled()
            if since is not None:
                try:
                    await self._mark.move(since)
                except ShuttingDown:
                    await trio.sleep_forever()  # until this is cancelled
            self._moved.set()
            self._moved = trio.Event()

    async def _settle(self, waiting: _Waiting) -> None:
        """Settle what one answer tells of one room."""
        number, one, since = waiting
        try:
            if isinstance(one, Invite):
                await self._accept(one)
            else:
                await self._hear(one, since)
                self._waiting -= len(one.events)
        except (Unreachable, Rejected) as error:
            self._fail(error)
            await trio.sleep_forever()  # until this is cancelled
        self._backlog.settle(number)
        self._settled.set()

    async def _hear(self, news: RoomNews, since: str) -> None:
        async with aclosing(self._pages(news, since)) as pages:
            async for events, names in pages:
                for event in events:
                    await self._hear_event(news.room, event, names)

    async def _hear_event(self, room: str, event: object, names: Mapping[str, str]) -> None:
        async def hear() -> None:
            async with self._room_for:
                await self._ear.hear(room, event, names)

        await insist(self._ear.name, hear)

    async def _accept(self, invite: Invite) -> None:
        for pause_s in AGAIN_AFTER_S:
            try:
                async with self._room_for:
                    await self._ear.rooms.accept(invite)
                return
            except Unreachable as error:
                _logger.warning("an invitation is tried again in %s s: %s", pause_s, error)
                await trio.sleep(max(pause_s, error.retry_after_s or 0.0))
            except Rejected as refused:
                if refused.reason in ACCOUNT_REFUSED:
                    raise
                self._ear.warn(f"an invitation to {invite.room} was not accepted: {refused}")
                return
        self._ear.warn(f"an invitation to {invite.room} could not be accepted")

    # -- what was said in between ----------------------------------------------------------------

    async def _pages(self, news: RoomNews, since: str) -> AsyncGenerator[_Page]:
        """Everything since then, oldest first.

        Of a room into which the account has just come: what was said since it was invited, which
        may be longer ago; nothing from before that.
        """
        came = arrival_in(news.events, self._ear.me)
        if came is not None:
            arrived, was_invited = came
            invited = invitation_in(news.events[:arrived], self._ear.me)
            if invited is None and was_invited and news.gap is not None:
                earlier = await self._since_invitation(news.room, news.gap)
                for page in earlier or ():
                    yield page
                invited = 0 if earlier is not None else None
            yield news.events[arrived if invited is None else invited :], news.names
            return
        if news.gap is not None:
            async with aclosing(self._gap(news.room, since, news.gap)) as pages:
                async for page in pages:
                    yield page
        yield news.events, news.names

    async def _gap(self, room: str, since: str, until: str) -> AsyncGenerator[_Page]:
        """What lies between two places in the stream, a page at a time, oldest first."""
        start: str | None = since
        while start is not None and start != until:
            page = await self._page(room, {"dir": "f", "from": start, "to": until})
            if page is None:
                return
            yield page.events, page.names
            start = page.end if page.end != start else None

    async def _since_invitation(self, room: str, until: str) -> list[_Page] | None:
        """What was said since the account was invited; None if that was too long ago to find."""
        pages: list[_Page] = []
        start: str | None = until
        for _ in range(_MAX_PAGES_BACK):
            page = await self._page(room, {"dir": "b", "from": start or until})
            if page is None:
                return None
            chunk = page.events[::-1]
            invited = invitation_in(chunk, self._ear.me)
            pages.insert(0, (chunk[invited or 0 :], page.names))
            if invited is not None:
                return pages
            if page.end is None or page.end == start:
                return None
            start = page.end
        return None

    async def _page(self, room: str, params: Mapping[str, str]) -> Page | None:
        """A page of what was said in a room; None if it is not to be had.

        Raises:
            Unreachable: after the channel has tried for a while.
        """
        for pause_s in (*AGAIN_AFTER_S, None):
            try:
                answer = await self._api.ask(
                    f"{CLIENT}/rooms/{{room}}/messages",
                    values={"room": room},
                    params={**params, "limit": _PAGE, "filter": page_filter()},
                )
                return page_in(answer)
            except Unreachable as error:
                if pause_s is None:
                    raise
                await trio.sleep(max(pause_s, error.retry_after_s or 0.0))
            except (Rejected, Malformed) as refused:
                if isinstance(refused, Rejected) and refused.reason in ACCOUNT_REFUSED:
                    raise
                self._ear.warn(f"what was said in {room} meanwhile is not to be had: {refused}")
                return None
        raise AssertionError("the last try returns or raises")
