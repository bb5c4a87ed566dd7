"""Discord's messages, read: which of them are turns, changes, or nothing to us. Pure.

Source: https://docs.discord.com/developers/resources/message, "Message Object"; .../resources/
channel, "Channel Object"; .../topics/threads; .../events/gateway-events, "Messages".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias

from ..actors.frozen import message
from ..actors.messages import Address, InboundTurn, Instance, MessageChange
from .discord_fields import snowflake
from .heard import Heard, shown_name
from .incoming_files import IncomingFile, kind_of, mime_in
from .json_fields import Fields, chosen, fields, flag, items, length, needed, number, text

__all__ = [
    "MESSAGE_EVENTS",
    "PLATFORM",
    "Me",
    "News",
    "Place",
    "Reader",
    "channel_in",
    "files_in",
    "me_in",
    "place_in",
]

PLATFORM: Final = "discord"
MESSAGE_EVENTS: Final = frozenset(
    {"MESSAGE_CREATE", "MESSAGE_UPDATE", "MESSAGE_DELETE", "MESSAGE_DELETE_BULK"}
)
_SAID: Final = frozenset({0, 19})
"""Types of messages that humans write: plain ones, and answers."""
_THREADS: Final = frozenset({10, 11, 12})
"""Types of channels that are threads: of announcements, public, private. A post in a forum is a
public one."""
_FORWARD: Final = 1
"""The type of a reference that brings its message along."""
_MAX_FILES: Final = 10
"""Files of one message: as many as Discord takes."""
_MAX_OPTIONS: Final = 12
_NAMED: Final = re.compile(r"<@(?P<what>[!&]?)(?P<id>[0-9]{1,19})>[ \t\r\n,:]*")
"""Somebody, or a role, named in a text, and what stands between a name and what is said."""


@message
class Me:
    """Who the bot is."""

    id: str
    name: str


@message
class Place:
    """What a channel is."""

    channel: str
    parent: str | None = None
    """Of a thread: the channel that it belongs to."""
    guild: str | None = None
    """None for a direct conversation."""
    name: str | None = None


News: TypeAlias = Heard | MessageChange


class Reader:
    """Reads messages for one bot."""

    def __init__(self, instance: Instance, me: Me, *, allow_bots: bool = False) -> None:
        self._instance = instance
        self._me = me
        self._allow_bots = allow_bots

    def __repr__(self) -> str:
        return f"<Reader of {self._instance} for bot {self._me.id}>"

    def is_mine(self, told: Fields) -> bool:
        """Whether the bot itself has written a message.

        Raises:
            Malformed: its author is no object.
        """
        author: object = told.get("author")
        return author is not None and fields(author, "author").get("id") == self._me.id

    def address(self, place: Place) -> Address:
        """A channel, and the thread if it is one."""
        if place.parent is None:
            return Address(self._instance, place.channel)
        return Address(self._instance, place.parent, place.channel)

    def read(
        self, name: str, told: Fields, place: Place, roles: Collection[str] = ()
    ) -> tuple[News, ...]:
        """What an event of `MESSAGE_EVENTS` tells.

        Args:
            name: of the event.
            told: its data.
            place: the channel that it happened in.
            roles: which the bot has there.

        Raises:
            Malformed: it is not as documented.
        """
        match name:
            case "MESSAGE_CREATE":
                heard = self._message(told, place, roles)
                return () if heard is None else (heard,)
            case "MESSAGE_UPDATE":
                change = self._edit(told, place, roles)
                return () if change is None else (change,)
            case "MESSAGE_DELETE":
                return (self._deletion(snowflake(told, "id"), place),)
            case "MESSAGE_DELETE_BULK":
                ids = items(told, "ids")
                return tuple(self._deletion(snowflake({"id": one}, "id"), place) for one in ids)
            case _:
                return ()

    def _message(self, told: Fields, place: Place, roles: Collection[str]) -> Heard | None:
        author = self._author(told)
        if author is None or number(told, "type") not in _SAID:
            return None
        files = files_in(told)
        said, mentioned = self._said(told, roles, has_files=bool(files))
        if not said and not files:
            return None  # a preview alone, or a text that Discord hides from us
        guild = place.guild
        reference = self._answered(told)
        turn = InboundTurn(
            address=self.address(place),
            platform=PLATFORM,
            message_id=snowflake(told, "id"),
            user_id=author[0],
            text=said,
            user_name=author[1],
            chat_name=shown_name(place.name),
            guild=guild,
            direct=guild is None,
            mentioned=guild is None or mentioned or self._answers_me(told, reference),
            reply_to=reference,
        )
        return Heard(turn=turn, files=files)

    def _edit(self, told: Fields, place: Place, roles: Collection[str]) -> MessageChange | None:
        """An edit; None where nobody has edited: a preview was loaded, a message pinned.

        Those leave `edited_timestamp` as it was, and so are the edit before told again.
        """
        edited = text(told, "edited_timestamp")
        if not edited or "content" not in told or "author" not in told:
            return None
        author = self._author(told)
        if author is None:
            return None
        said, _ = self._said(told, roles, has_files=bool(files_in(told)))
        return MessageChange(
            address=self.address(place),
            platform=PLATFORM,
            message_id=snowflake(told, "id"),
            change_id=edited[:64],
            user_id=author[0],
            text=said,
        )

    def _deletion(self, message_id: str, place: Place) -> MessageChange:
        return MessageChange(
            address=self.address(place),
            platform=PLATFORM,
            message_id=message_id,
            change_id="deleted",
            user_id=None,
            text=None,
        )

    def _author(self, told: Fields) -> tuple[str, str | None] | None:
        """Id and name of who has written; None if that is nobody who is listened to."""
        if told.get("webhook_id") is not None:
            return None
        user = fields(told.get("author"), "author")
        user_id = snowflake(user, "id")
        is_bot = flag(user, "bot") and not self._allow_bots
        if user_id == self._me.id or is_bot or flag(user, "system"):
            return None
        member = chosen(told, "member")
        nick = None if member is None else text(member, "nick")
        return user_id, shown_name(nick or text(user, "global_name") or text(user, "username"))

    def _answered(self, told: Fields) -> str | None:
        """The message that is answered."""
        reference = chosen(told, "message_reference")
        if reference is None or reference.get("type", 0) != 0:
            return None
        if reference.get("channel_id") not in (None, told.get("channel_id")):
            return None
        return None if reference.get("message_id") is None else snowflake(reference, "message_id")

    def _answers_me(self, told: Fields, reference: str | None) -> bool:
        answered = None if reference is None else chosen(told, "referenced_message")
        return answered is not None and self.is_mine(answered)

    def _said(self, told: Fields, roles: Collection[str], *, has_files: bool) -> tuple[str, bool]:
        """The text without the bot's name before it, and whether the bot is named."""
        said = text(told, "content") or ""
        named = [fields(user, "mention").get("id") for user in items(told, "mentions")]
        mentioned = self._me.id in named or any(
            isinstance(role, str) and role in roles for role in items(told, "mention_roles")
        )
        shorter = said
        while (match := _NAMED.match(shorter)) is not None:
            mine = match["id"] in roles if match["what"] == "&" else match["id"] == self._me.id
            if not mine:
                break
            mentioned = True
            shorter = shorter[match.end() :]
        said = shorter if shorter or has_files else said
        return said or _words_for(told), mentioned


def _words_for(told: Fields) -> str:
    """What was forwarded, a sticker or a poll, in words; empty if there is none."""
    for snapshot in _forwarded(told):
        said = text(snapshot, "content")
        if said:
            return f"[forwarded]\n{said}"
    stickers = [fields(one, "sticker") for one in items(told, "sticker_items")]
    if stickers:
        return " ".join(f"[sticker: {text(one, 'name') or ''}]" for one in stickers)
    poll = chosen(told, "poll")
    if poll is None:
        return ""
    question = fields(poll.get("question"), "question")
    answers = [
        fields(fields(one, "answer").get("poll_media"), "poll_media")
        for one in items(poll, "answers")[:_MAX_OPTIONS]
    ]
    options = "".join(f"\n- {text(one, 'text') or ''}" for one in answers)
    return f"[poll: {text(question, 'text') or ''}]{options}"


def _forwarded(told: Fields) -> list[Fields]:
    reference = chosen(told, "message_reference")
    if reference is None or reference.get("type") != _FORWARD:
        return []
    return [
        fields(fields(one, "snapshot").get("message"), "message")
        for one in items(told, "message_snapshots")
    ]


def files_in(told: Fields) -> tuple[IncomingFile, ...]:
    """The files of a message, or of what it forwards.

    Raises:
        Malformed: they are not as documented.
    """
    place = f"{snowflake(told, 'channel_id')}/{snowflake(told, 'id')}"
    found = [
        _file(fields(one, "attachment"), place)
        for source in (told, *_forwarded(told))
        for one in items(source, "attachments")
    ]
    return tuple(found[:_MAX_FILES])


def _file(told: Fields, place: str) -> IncomingFile:
    mime = (mime_in(told, "content_type") or "").partition(";")[0].strip().lower()
    return IncomingFile(
        kind=kind_of(mime),
        url=needed(told, "url"),
        reference=f"{place}/{snowflake(told, 'id')}",
        mime=mime or None,
        name=text(told, "filename"),
        size_bytes=length(told, "size"),
    )


def channel_in(data: object) -> tuple[Fields, str]:
    """The data of an event of `MESSAGE_EVENTS`, and its channel.

    Raises:
        Malformed: it has none.
    """
    told = fields(data, "d")
    return told, snowflake(told, "channel_id")


def place_in(told: Fields, guild: str | None = None) -> Place:
    """What a channel says of itself.

    Args:
        told: the channel.
        guild: its guild, where it does not say so.

    Raises:
        Malformed: it is not as documented.
    """
    is_thread = number(told, "type") in _THREADS
    return Place(
        channel=snowflake(told, "id"),
        parent=snowflake(told, "parent_id") if is_thread else None,
        guild=guild if told.get("guild_id") is None else snowflake(told, "guild_id"),
        name=text(told, "name"),
    )


def me_in(told: Any) -> Me:
    """Who `/users/@me` says that the bot is.

    Raises:
        Malformed: it does not say.
    """
    user: Mapping[str, Any] = fields(told, "user")
    return Me(id=snowflake(user, "id"), name=text(user, "username") or "")
