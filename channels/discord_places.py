"""What is known of guilds and channels: which channel is a thread of which, which roles we have."""

from __future__ import annotations

from typing import Any, Final, cast

import trio

from .base import Rejected
from .discord_api import DiscordApi
from .discord_fields import is_snowflake, snowflake
from .discord_wire import Me, Place, place_in
from .json_fields import Malformed, fields, items
from .latest import Latest

__all__ = ["Places"]

_MAX_PLACES: Final = 10_000
_ROLES_S: Final = 600.0
"""Seconds for which our roles in a guild are believed to stay."""
_CHANNELS: Final = frozenset({"CHANNEL_CREATE", "CHANNEL_UPDATE", "THREAD_CREATE", "THREAD_UPDATE"})
_GONE: Final = frozenset({"CHANNEL_DELETE", "THREAD_DELETE"})


class Places:
    """The channels of one bot; those that no event has told of are asked for."""

    def __init__(self, api: DiscordApi, me: Me) -> None:
        self._api = api
        self._me = me
        self._places: Latest[str, Place] = Latest(_MAX_PLACES)
        self._roles: Latest[str, tuple[float, frozenset[str]]] = Latest(_MAX_PLACES)

    def __repr__(self) -> str:
        return f"<Places: {len(self._places)}>"

    def learn(self, event: str, data: Any) -> None:
        """Hear an event that tells of channels.

        Raises:
            Malformed: it is not as documented.
        """
        if event in _CHANNELS:
            self._keep(place_in(fields(data, "d")))
        elif event in _GONE:
            self._places.pop(str(fields(data, "d").get("id")), None)
        elif event in {"GUILD_CREATE", "THREAD_LIST_SYNC"}:
            told = fields(data, "d")
            guild = snowflake(told, "id" if event == "GUILD_CREATE" else "guild_id")
            for channel in (*items(told, "channels"), *items(told, "threads")):
                self._keep(place_in(fields(channel, "channel"), guild))

    async def find(self, channel: str, *, direct: bool = False) -> Place | None:
        """What a channel is; None if we may not see it.

        Args:
            channel: which.
            direct: whether it is known to belong to no guild.

        Raises:
            Unreachable: Discord cannot be asked now.
            Malformed: it has answered what is none.
        """
        if direct:
            return Place(channel=channel)
        known = self._places.get(channel)
        if known is not None:
            self._places.move_to_end(channel)
            return known
        try:
            told = await self._api.ask("GET", "/channels/{channel}", {"channel": channel})
        except Rejected:
            return None
        place = place_in(fields(told, "channel"))
        self._keep(place)
        return place

    async def roles_in(self, guild: str) -> frozenset[str]:
        """The roles that the bot has in a guild; none if Discord does not say.

        Raises:
            Unreachable: Discord cannot be asked now.
        """
        now = trio.current_time()
        known = self._roles.get(guild)
        if known is not None and known[0] > now - _ROLES_S:
            return known[1]
        roles: frozenset[str] = frozenset()
        try:
            told = await self._api.ask(
                "GET", "/guilds/{guild}/members/{user}", {"guild": guild, "user": self._me.id}
            )
            roles = frozenset(
                cast("str", one)
                for one in items(fields(told, "member"), "roles")
                if is_snowflake(one)
            )
        except (Rejected, Malformed):
            pass
        self._roles[guild] = now, roles
        return roles

    def _keep(self, place: Place) -> None:
        self._places[place.channel] = place
