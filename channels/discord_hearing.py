"""What becomes of events: the messages of each channel are heard in their order.

Channels do not wait for each other. Where messages were missed because a session was lost, they are
fetched before those that come live.

Source: https://docs.discord.com/developers/resources/message, "Get Channel Messages"
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import trio

from ..actors.errors import ShuttingDown
from ..actors.frozen import fact
from .base import Channel, Rejected, Watermark
from .discord_api import DiscordApi
from .discord_fields import snowflake, snowflake_at
from .discord_files import FileSource
from .discord_gateway import Event, Session
from .discord_places import Places
from .discord_progress import Progress, Ticket
from .discord_wire import MESSAGE_EVENTS, Reader, channel_in
from .handover import Handover, insist
from .heard import Heard
from .incoming_files import FETCH_S
from .json_fields import Fields, Malformed, fields, listed
from .lanes import Lanes

__all__ = ["MAX_IN_FLIGHT", "MISSED_AGE_S", "MISSED_MESSAGES", "Ear"]

_logger = logging.getLogger(__name__)

MAX_IN_FLIGHT: Final = 256
"""Events that were read and are not settled; then no more are read."""
MISSED_MESSAGES: Final = 1_000
"""Messages of one channel that are fetched after a session was lost: the oldest."""
MISSED_AGE_S: Final = 24 * 3600.0
"""Seconds after which a missed message is not fetched any more."""
_PAGE: Final = 100
"""Messages of one request; Discord's most."""
_FETCHING: Final = 4
"""Channels that are asked at once for what was missed."""
_STORE_EVERY_S: Final = 0.1
"""Least seconds between two states of the watermark."""


@fact
class _Told:
    """One event that waits in its lane."""

    name: str
    data: Fields
    channel: str
    message_id: str | None
    """Of a new message."""
    ticket: Ticket


@fact
class _Missed:
    """Messages of a channel are to be fetched."""

    channel: str


_Item: TypeAlias = _Told | _Missed


class Ear:
    """Hears events for one run of a channel."""

    def __init__(
        self,
        channel: Channel,
        reader: Reader,
        places: Places,
        source: FileSource,
        api: DiscordApi,
        handover: Handover,
        *,
        echo: Callable[[Fields], None],
    ) -> None:
        """Hear nothing yet.

        Args:
            channel: whose `watermark` is used.
            reader: reads messages.
            places: knows channels.
            source: has the files of turns.
            api: asked for missed messages.
            handover: takes turns and changes.
            echo: hears of the bot's own messages.
        """
        self._channel = channel
        self._reader = reader
        self._places = places
        self._source = source
        self._api = api
        self._handover = handover
        self._echo = echo
        self._watermark: Watermark | None = channel.watermark
        self.progress: Final = Progress(
            self._watermark.value if self._watermark else None, channel.account or ""
        )
        self._lanes = Lanes(self._hear_item)
        self._room = trio.Semaphore(MAX_IN_FLIGHT)
        self._fetching = trio.Semaphore(_FETCHING)
        self._dirty = trio.Event()

    def __repr__(self) -> str:
        return f"<Ear of {self._channel.name}: {self.progress!r}>"

    async def hear(self, event: Event, session: Session, nursery: trio.Nursery) -> None:
        """Take an event in; return when there is room for the next.

        Args:
            event: what has happened.
            session: as it is with this event.
            nursery: where it is heard.
        """
        if event.name == "READY":
            for channel in self.progress.begin(session):
                self._lanes.put(channel, _Missed(channel=channel), nursery)
            self._dirty.set()
            return
        try:
            if event.name not in MESSAGE_EVENTS:
                self._places.learn(event.name, event.data)
                self._pass(session)
                return
            told, channel = channel_in(event.data)
            is_new = event.name == "MESSAGE_CREATE"
            if is_new and self._reader.is_mine(told):
                self._echo(told)
                self._pass(session)
                return
            message_id = snowflake(told, "id") if is_new else None
        except Malformed as error:
            self._handover.warn(f"an event that could not be read was left out: {error}")
            self._pass(session)
            return
        await self._room.acquire()
        item = _Told(
            name=event.name,
            data=told,
            channel=channel,
            message_id=message_id,
            ticket=self.progress.open(session, channel, message_id),
        )
        self._lanes.put(channel, item, nursery)
        self._dirty.set()  # a channel that is new is remembered before its first message is settled

    async def store(self) -> None:
        """Keep the watermark up with what is settled, until cancelled."""
        while True:
            await self._dirty.wait()
            self._dirty = trio.Event()
            await self.keep()
            await trio.sleep(_STORE_EVERY_S)

    async def keep(self) -> None:
        """Store what is settled now."""
        value = self.progress.stored()
        if self._watermark is not None and value != self._watermark.value:
            with suppress(ShuttingDown):
                await self._watermark.move(value)

    def _pass(self, session: Session) -> None:
        self.progress.heard(session)
        self._dirty.set()

    # -- channels --------------------------------------------------------------------------------

    async def _hear_item(self, item: _Item) -> None:
        """Hear what happened in a channel."""
        if isinstance(item, _Missed):
            await self._catch_up(item.channel)
        else:
            direct = item.data.get("guild_id") is None
            await self._settle(item.name, item.data, item.channel, direct=direct)
            if item.message_id is not None:
                self.progress.passed(item.channel, item.message_id)
            self.progress.settle(item.ticket)
            self._room.release()
        self._dirty.set()

    async def _catch_up(self, channel: str) -> None:
        """Fetch what came in a channel since its last settled message."""
        async with self._fetching:
            try:
                await insist(self._channel.name, lambda: self._fetch(channel))
            except (Rejected, Malformed) as error:
                _logger.info("%s: channel %s was not read: %s", self._channel.name, channel, error)
                self.progress.forget(channel)
            else:
                self.progress.caught_up(channel)

    async def _fetch(self, channel: str) -> None:
        mark = self.progress.marks.get(channel)
        if mark is None:
            return  # so many other channels were heard that it is not remembered
        after = max(mark, snowflake_at(time.time() - MISSED_AGE_S), key=int)
        for _ in range(MISSED_MESSAGES // _PAGE):
            told = await self._api.ask(
                "GET",
                "/channels/{channel}/messages",
                {"channel": channel},
                params={"after": after, "limit": _PAGE},
            )
            page = _page_of(told)
            for message_id, message in page:
                if not self._reader.is_mine(message):
                    await self._settle("MESSAGE_CREATE", message, channel, direct=False)
                self.progress.passed(channel, message_id)
                self._dirty.set()
                after = message_id
            if len(page) < _PAGE:
                return
        self._handover.warn(
            f"over {MISSED_MESSAGES:,} messages were missed in channel {channel}: those after "
            f"{after} were left out"
        )

    async def _settle(self, name: str, data: Fields, channel: str, *, direct: bool) -> None:
        """Return once an event is durable, or nothing that could be.

        Args:
            name: of the event.
            data: its data.
            channel: where.
            direct: whether the channel is known to belong to no guild.
        """
        try:
            await insist(self._channel.name, lambda: self._hear(name, data, channel, direct=direct))
        except Malformed as error:
            self._handover.warn(f"an event that could not be read was left out: {error}")
        except Rejected as refused:
            self._handover.warn(f"an event was left out: {refused}")

    # -- one event -------------------------------------------------------------------------------

    async def _hear(self, name: str, data: Fields, channel: str, *, direct: bool) -> None:
        place = await self._places.find(channel, direct=direct)
        if place is None:
            return
        roles: frozenset[str] = frozenset()
        if place.guild is not None and data.get("mention_roles"):
            roles = await self._places.roles_in(place.guild)
        for news in self._reader.read(name, data, place, roles):
            if isinstance(news, Heard):
                until_s = trio.current_time() + FETCH_S
                await self._handover.turn(await news.whole(self._source.keep, until_s=until_s))
            else:
                await self._handover.change(news)


def _page_of(told: object) -> list[tuple[str, Fields]]:
    """A page of messages, the oldest first. They do not name their guild.

    Raises:
        Malformed: it is none.
    """
    page = [fields(one, "message") for one in listed(told, "a page of messages")]
    return sorted(((snowflake(one, "id"), one) for one in page), key=lambda one: int(one[0]))
