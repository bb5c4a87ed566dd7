"""What becomes of events: the messages of each channel are heard in their order.

Channels do not wait for each other. Where messages were missed because a session was lost, they are
fetched before those that come live.

Source: https://docs.discord.com/developers/resources/message, "Get Channel Messages"
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Final, Protocol, TypeAlias, cast

import trio

from ..actors.errors import AccessDenied, ShuttingDown, TurnRefused
from ..actors.frozen import fact
from ..actors.messages import Address, MessageChange
from .base import Channel, ChannelError, Deliver, Rejected, Unreachable, Watermark
from .discord_api import DiscordApi
from .discord_fields import Fields, Malformed, fields, snowflake, snowflake_at
from .discord_files import FileSource
from .discord_gateway import Event, Session
from .discord_places import Places
from .discord_progress import Progress, Ticket
from .discord_wire import MESSAGE_EVENTS, Heard, Reader, channel_in

__all__ = ["MAX_IN_FLIGHT", "MISSED_AGE_S", "MISSED_MESSAGES", "Ear", "Hearer"]

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
_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before what was refused is tried again: the first, the second … time."""
_TOLD_EVERY_S: Final = 60.0
"""Seconds between two times that a stranger is told that they are one."""
_MAX_TOLD: Final = 1_000
_STORE_EVERY_S: Final = 0.1
"""Least seconds between two states of the watermark."""


class Hearer(Protocol):
    """Tells a human something that no agent says."""

    async def __call__(self, address: Address, words: str, reply_to: str, /) -> object: ...


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
        deliver: Deliver,
        source: FileSource,
        api: DiscordApi,
        *,
        tell: Hearer,
        echo: Callable[[Fields], None],
    ) -> None:
        """Hear nothing yet.

        Args:
            channel: whose `on_change`, `watermark` and `line` are used.
            reader: reads messages.
            places: knows channels.
            deliver: takes turns.
            source: has their files.
            api: asked for missed messages.
            tell: tells a stranger that they are one.
            echo: hears of the bot's own messages.
        """
        self._channel = channel
        self._reader = reader
        self._places = places
        self._deliver = deliver
        self._source = source
        self._api = api
        self._tell = tell
        self._echo = echo
        self._watermark: Watermark | None = channel.watermark
        self.progress: Final = Progress(
            self._watermark.value if self._watermark else None, channel.account or ""
        )
        self._lanes: dict[str, deque[_Item]] = {}
        self._room = trio.Semaphore(MAX_IN_FLIGHT)
        self._fetching = trio.Semaphore(_FETCHING)
        self._told: OrderedDict[str, float] = OrderedDict()
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
                self._enqueue(_Missed(channel=channel), nursery)
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
            self._warn(f"an event that could not be read was left out: {error}")
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
        self._enqueue(item, nursery)
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

    # -- lanes -----------------------------------------------------------------------------------

    def _enqueue(self, item: _Item, nursery: trio.Nursery) -> None:
        lane = self._lanes.get(item.channel)
        if lane is not None:
            lane.append(item)
        else:
            self._lanes[item.channel] = deque([item])
            nursery.start_soon(self._work, item.channel)

    async def _work(self, channel: str) -> None:
        """Hear what happened in one channel, one after the other."""
        lane = self._lanes[channel]
        while lane:
            item = lane[0]
            if isinstance(item, _Missed):
                await self._catch_up(channel)
            else:
                direct = item.data.get("guild_id") is None
                await self._settle(item.name, item.data, channel, direct=direct)
                if item.message_id is not None:
                    self.progress.passed(channel, item.message_id)
                self.progress.settle(item.ticket)
                self._room.release()
            self._dirty.set()
            lane.popleft()
        del self._lanes[channel]

    async def _catch_up(self, channel: str) -> None:
        """Fetch what came in a channel since its last settled message."""
        async with self._fetching:
            try:
                await self._again(lambda: self._fetch(channel))
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
        self._warn(
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
            await self._again(lambda: self._hear(name, data, channel, direct=direct))
        except Malformed as error:
            self._warn(f"an event that could not be read was left out: {error}")
        except Rejected as refused:
            self._warn(f"an event was left out: {refused}")

    async def _again(self, act: Callable[[], Awaitable[None]]) -> None:
        """Try until something is done, or refused for good."""
        for tried in count():
            pause_s = _PAUSES_S[min(tried, len(_PAUSES_S) - 1)]
            try:
                await act()
                return
            except TurnRefused as refused:
                if not refused.retryable:
                    _logger.debug("%s: refused: %s", self._channel.name, type(refused).__name__)
                    return
                _logger.warning("%s: heard again in %g s: %s", self._channel.name, pause_s, refused)
            except Unreachable as error:
                pause_s = max(pause_s, error.retry_after_s or 0.0)
                _logger.warning("%s: tried again in %g s: %s", self._channel.name, pause_s, error)
            await trio.sleep(pause_s)

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
                await self._hear_turn(news)
            else:
                await self._hear_change(news)

    async def _hear_turn(self, heard: Heard) -> None:
        turn = heard.turn
        if heard.files:
            kept = [await self._source.attachment(file, self._channel) for file in heard.files]
            turn = replace(turn, attachments=tuple(kept))
        try:
            await self._deliver(turn)
        except AccessDenied as denied:
            if turn.direct and self._may_be_told(turn.user_id):
                await self._tell_stranger(turn.address, str(denied), turn.message_id)

    async def _hear_change(self, change: MessageChange) -> None:
        if self._channel.on_change is not None:
            try:
                await self._channel.on_change(change)
            except ValueError as error:
                raise Malformed("the change cannot be stored") from error

    def _may_be_told(self, user_id: str) -> bool:
        """Whether a stranger was not told lately: they may write as often as they like."""
        now = trio.current_time()
        if self._told.get(user_id, float("-inf")) > now - _TOLD_EVERY_S:
            return False
        self._told[user_id] = now
        self._told.move_to_end(user_id)
        while len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)
        return True

    async def _tell_stranger(self, address: Address, words: str, reply_to: str) -> None:
        try:
            await self._tell(address, words, reply_to)
        except ChannelError as error:
            _logger.debug("%s: a stranger was not told: %s", self._channel.name, error)

    def _warn(self, what: str) -> None:
        _logger.warning("%s: %s", self._channel.name, what)
        self._channel.line.warning = what


def _page_of(told: object) -> list[tuple[str, Fields]]:
    """A page of messages, the oldest first. They do not name their guild.

    Raises:
        Malformed: it is none.
    """
    if not isinstance(told, list):
        raise Malformed("a page of messages is no list")
    page = [fields(one, "message") for one in cast("list[object]", told)]
    return sorted(((snowflake(one, "id"), one) for one in page), key=lambda one: int(one[0]))
