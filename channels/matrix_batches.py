"""What one answer to `/sync` holds, by room; and which of the answers are settled. Pure.

Source: https://spec.matrix.org/v1.11/client-server-api/#get_matrixclientv3sync, "Syncing",
"Lazy-loading room members", "Filtering".
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from ..actors.frozen import message
from .json_fields import Fields, Malformed, chosen, fields, items, listed, needed, text
from .matrix_wire import EVENT_TYPES, identifier

__all__ = [
    "MAX_TIMELINE",
    "Backlog",
    "Batch",
    "Invite",
    "Page",
    "RoomNews",
    "arrival_in",
    "batch_in",
    "display_names",
    "invitation_in",
    "page_filter",
    "page_in",
    "sync_filter",
]

MAX_TIMELINE: Final = 20
"""Events of one room in one answer; what was said before them is asked for page by page."""
_MAX_TOKEN_CHARS: Final = 32_768
_NOTHING: Final[Mapping[str, object]] = {"types": []}


@message
class RoomNews:
    """What has happened in a room that the account is in."""

    room: str
    events: tuple[object, ...]
    names: Mapping[str, str]
    """Display names, by user id."""
    gap: str | None = None
    """From where on back there is more that was not told; None if this is all."""


@message
class Invite:
    """The account is asked into a room."""

    room: str
    by: str
    direct: bool


@message
class Page:
    """Some of what was said in a room."""

    events: tuple[object, ...]
    names: Mapping[str, str]
    end: str | None
    """From where on there is more; None if that is all."""


@message
class Batch:
    """One answer to `/sync`."""

    next: str
    """From where on the next one goes."""
    rooms: tuple[RoomNews, ...] = ()
    invites: tuple[Invite, ...] = ()
    direct: Fields | None = None
    """What the account has marked as direct, if that has changed."""
    malformed: int = 0
    """How many rooms could not be read and are left out."""


def sync_filter(*, first: bool) -> str:
    """The filter of a sync. Of the first one, nothing that was said is wanted."""
    return json.dumps(
        {
            "presence": _NOTHING,
            "account_data": {"types": ["m.direct"]},
            "room": {
                "timeline": {"limit": 1 if first else MAX_TIMELINE, "types": list(EVENT_TYPES)},
                "state": {
                    "types": ["m.room.member"],
                    "lazy_load_members": True,
                    "include_redundant_members": True,
                },
                "ephemeral": _NOTHING,
                "account_data": _NOTHING,
            },
        },
        separators=(",", ":"),
    )


def page_filter() -> str:
    """The filter of a page of a room's messages."""
    return json.dumps(
        {
            "types": list(EVENT_TYPES),
            "lazy_load_members": True,
            "include_redundant_members": True,
        },
        separators=(",", ":"),
    )


def batch_in(answer: Fields, me: str) -> Batch:
    """What an answer to `/sync` holds for the account `me`.

    Raises:
        Malformed: it does not say where the next one goes on.
    """
    rooms = chosen(answer, "rooms") or {}
    found: list[RoomNews] = []
    invites: list[Invite] = []
    malformed = 0
    for room, told in (chosen(rooms, "join") or {}).items():
        try:
            found.append(_news(room, fields(told, "room")))
        except Malformed:
            malformed += 1
    for room, told in (chosen(rooms, "invite") or {}).items():
        try:
            invites.append(_invite(room, fields(told, "room"), me))
        except Malformed:
            malformed += 1
    return Batch(
        next=_token(answer),
        rooms=tuple(found),
        invites=tuple(invites),
        direct=_direct(answer),
        malformed=malformed,
    )


def page_in(answer: Fields) -> Page:
    """What a page of messages holds.

    Raises:
        Malformed: it is none.
    """
    events = listed(answer.get("chunk"), "chunk")
    names = display_names([*items(answer, "state"), *events])
    return Page(events=tuple(events), names=names, end=text(answer, "end"))


def _token(answer: Fields) -> str:
    token = needed(answer, "next_batch")
    if len(token) > _MAX_TOKEN_CHARS or not token.isprintable() or " " in token:
        raise Malformed("next_batch is no token")
    return token


def _news(room: str, told: Fields) -> RoomNews:
    timeline = chosen(told, "timeline") or {}
    events = tuple(items(timeline, "events"))
    state = chosen(told, "state") or {}
    limited = timeline.get("limited") is True
    return RoomNews(
        room=identifier(room, "!", "room"),
        events=events,
        names=display_names([*items(state, "events"), *events]),
        gap=text(timeline, "prev_batch") if limited else None,
    )


def _invite(room: str, told: Fields, me: str) -> Invite:
    state = chosen(told, "invite_state") or {}
    for event in items(state, "events"):
        member = _membership(event, me)
        if member is not None and member[0] == "invite":
            one = fields(event, "event")
            return Invite(
                room=identifier(room, "!", "room"),
                by=identifier(one.get("sender"), "@", "sender"),
                direct=member[1].get("is_direct") is True,
            )
    raise Malformed("nobody has invited")


def _direct(answer: Fields) -> Fields | None:
    data = chosen(answer, "account_data") or {}
    for event in items(data, "events"):
        one = fields(event, "event")
        if one.get("type") == "m.direct":
            return fields(one.get("content"), "content")
    return None


def display_names(events: Iterable[object]) -> dict[str, str]:
    """What people call themselves, as the events tell of their membership."""
    names: dict[str, str] = {}
    for event in events:
        if _is_object(event):
            one = fields(event, "event")
            user, content = one.get("state_key"), one.get("content")
            name = fields(content, "content").get("displayname") if _is_object(content) else None
            if one.get("type") == "m.room.member" and isinstance(user, str) and name:
                names[user] = str(name)
    return names


def arrival_in(events: Iterable[object], me: str) -> tuple[int, bool] | None:
    """Where in the events the account comes into the room, and whether it was invited."""
    for number, event in reversed(list(enumerate(events))):
        member = _membership(event, me)
        if member is None or member[0] != "join":
            continue
        unsigned = fields(event, "event").get("unsigned")
        before = fields(unsigned, "unsigned").get("prev_content") if _is_object(unsigned) else None
        was = fields(before, "before").get("membership") if _is_object(before) else None
        if was != "join":  # then it has only changed its name
            return number, was == "invite"
    return None


def invitation_in(events: Iterable[object], me: str) -> int | None:
    """Where in the events the account was invited, the last time."""
    for number, event in reversed(list(enumerate(events))):
        member = _membership(event, me)
        if member is not None and member[0] == "invite":
            return number
    return None


def _membership(event: object, me: str) -> tuple[str, Fields] | None:
    """What an event says of the account's membership, with its content; None if nothing."""
    if not _is_object(event):
        return None
    one = fields(event, "event")
    if one.get("type") != "m.room.member" or one.get("state_key") != me:
        return None
    content = one.get("content")
    if not _is_object(content):
        return None
    told = fields(content, "content")
    return str(told.get("membership")), told


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


class Backlog:
    """Which answers have something that is not settled."""

    def __init__(self) -> None:
        self._first = 0
        self._batches: deque[tuple[str, int]] = deque()
        """Where each goes on, and how much of it is open; the oldest first."""

    def __repr__(self) -> str:
        return f"<Backlog of {len(self._batches)}>"

    def __len__(self) -> int:
        return len(self._batches)

    def add(self, next_batch: str, count: int) -> int:
        """Take an answer with `count` things to settle; returns its number."""
        self._batches.append((next_batch, count))
        return self._first + len(self._batches) - 1

    def settle(self, number: int) -> None:
        """One more thing of an answer is settled."""
        next_batch, count = self._batches[number - self._first]
        self._batches[number - self._first] = (next_batch, count - 1)

    def settled(self) -> str | None:
        """Where to go on behind all that is settled; None if that is where it was.

        What lies behind the first open answer does not count, settled or not.
        """
        token = None
        while self._batches and self._batches[0][1] == 0:
            token, _ = self._batches.popleft()
            self._first += 1
        return token
