"""The rooms of an account: which are direct, what they are called, who may ask it into one.

Source: https://spec.matrix.org/v1.11/client-server-api/, "Direct Messaging", "Room membership",
"Room upgrades".
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Final

import trio

from ..actors.frozen import message
from .heard import shown_name
from .json_fields import Fields, Malformed, chosen, listed, needed, text
from .latest import Latest
from .matrix_api import CLIENT, MatrixApi
from .matrix_batches import Invite

__all__ = ["JoinPolicy", "Room", "Rooms", "name_in", "user_in"]

_logger = logging.getLogger(__name__)

_MAX_ROOMS: Final = 1_000
_MAX_OWN: Final = 10_000
"""Messages of ours of which it is remembered that they are."""
_JOIN_S: Final = 120.0
"""Seconds for a homeserver to join a room of another one."""
_DIRECT_PATH: Final = f"{CLIENT}/user/{{user}}/account_data/m.direct"


@message
class Room:
    """What is known of a room."""

    name: str | None
    direct: bool
    """Whether it was marked as direct, and one human alone is in it with the account."""


class JoinPolicy:
    """Whose invitations are accepted."""

    def __init__(self, join_invites: str | Collection[str]) -> None:
        """Take `all`, `none`, `server` (people of the account's own homeserver), or user ids.

        Raises:
            ValueError: it is none of these.
        """
        self._word = join_invites if isinstance(join_invites, str) else ""
        self._users: frozenset[str] = frozenset()
        if not isinstance(join_invites, str):
            self._users = frozenset(join_invites)
            for user in self._users:
                if not user.startswith("@") or ":" not in user:
                    raise ValueError(f"join_invites: {user!r} is no user id like @ann:example.org")
        elif join_invites not in ("all", "none", "server"):
            raise ValueError('join_invites must be "server", "all", "none" or a list of user ids')

    def __repr__(self) -> str:
        return f"<JoinPolicy {self._word or f'{len(self._users)} users'}>"

    def admits(self, user: str, me: str) -> bool:
        """Whether `user` may ask the account `me` into a room."""
        if self._word == "server":
            return user.partition(":")[2] == me.partition(":")[2]
        return self._word == "all" or user in self._users


class Rooms:
    """What one run of a channel knows of its rooms."""

    def __init__(self, api: MatrixApi, me: str, policy: JoinPolicy) -> None:
        self._api = api
        self._me = me
        self._policy = policy
        self._direct: dict[str, list[object]] = {}
        self._known: Latest[str, Room] = Latest(_MAX_ROOMS)
        self._own: Latest[str, bool] = Latest(_MAX_OWN)
        self._marking = trio.Lock()

    def __repr__(self) -> str:
        return f"<Rooms of {self._me}: {len(self._known)} known>"

    async def begin(self) -> None:
        """Learn which rooms the account has marked as direct.

        Raises:
            Unreachable, Rejected: as the homeserver answers.
        """
        self.learn_direct(await self._api.find(_DIRECT_PATH, {"user": self._me}) or {})

    def learn_direct(self, marked: Fields) -> None:
        """Take what the account has marked as direct."""
        self._direct = {}
        for user, rooms in marked.items():
            with suppress(Malformed):
                self._direct[user] = listed(rooms, "rooms")
        self._known.clear()

    def forget(self, room: str) -> None:
        """Something of a room has changed."""
        self._known.pop(room, None)

    async def look(self, room: str) -> Room:
        """What is known of a room; asked for once, until it changes.

        Raises:
            Unreachable, Rejected: as the homeserver answers.
        """
        if room not in self._known:
            told = await self._api.find(
                f"{CLIENT}/rooms/{{room}}/state/m.room.name", {"room": room}
            )
            name: object = (told or {}).get("name")
            self._known[room] = Room(
                name=shown_name(name) if isinstance(name, str) else None,
                direct=await self._is_direct(room),
            )
        return self._known[room]

    async def _is_direct(self, room: str) -> bool:
        """A mark alone is not enough: more people may have come, who would read what is said."""
        if not any(room in rooms for rooms in self._direct.values()):
            return False
        path = f"{CLIENT}/rooms/{{room}}/joined_members"
        told = await self._api.find(path, {"room": room}) or {}
        members = chosen(told, "joined") or {}
        return len(members) == 2 and self._me in members

    def note_own(self, event_id: str, *, own: bool = True) -> None:
        """Remember whether a message is ours."""
        self._own[event_id] = own

    async def is_own(self, room: str, event_id: str) -> bool:
        """Whether a message is ours; asked for if it is not remembered.

        Raises:
            Unreachable, Rejected: as the homeserver answers.
        """
        if event_id not in self._own:
            told = await self.event(room, event_id)
            self.note_own(event_id, own=(told or {}).get("sender") == self._me)
        return self._own[event_id]

    async def event(self, room: str, event_id: str) -> Fields | None:
        """An event; None if it is not there."""
        return await self._api.find(
            f"{CLIENT}/rooms/{{room}}/event/{{event}}", {"room": room, "event": event_id}
        )

    async def accept(self, invite: Invite) -> bool:
        """Come into a room, if whoever asks may ask; mark it as direct, if it was meant so.

        Raises:
            Unreachable, Rejected: as the homeserver answers.
        """
        if not self._policy.admits(invite.by, self._me):
            _logger.debug("an invitation to %s is not accepted", invite.room)
            return False
        await self._join(invite.room, invite.by)
        if invite.direct:
            await self._mark_direct(invite.room, invite.by)
        return True

    async def _join(self, room: str, by: str) -> None:
        via = by.partition(":")[2]
        await self._api.ask(
            f"{CLIENT}/join/{{room}}",
            method="POST",
            values={"room": room},
            # The second one is what homeservers from before v1.12 know.
            params={"via": via, "server_name": via},
            json={},
            timeout_s=_JOIN_S,
        )

    async def _mark_direct(self, room: str, user: str) -> None:
        async with self._marking:
            if any(room in rooms for rooms in self._direct.values()):
                return
            marked = {**self._direct, user: [*self._direct.get(user, []), room]}
            await self._api.ask(_DIRECT_PATH, method="PUT", values={"user": self._me}, json=marked)
            self._direct = marked
            self.forget(room)


def user_in(whoami: Fields) -> str:
    """The user id that `whoami` tells.

    Raises:
        Malformed: it tells none.
    """
    return needed(whoami, "user_id")


def name_in(profile: Fields | None) -> str | None:
    """The display name of a profile."""
    return text(profile, "displayname") if profile else None
