"""Events of Matrix, read: which of them are turns, changes, or nothing to us. Pure.

Source: https://spec.matrix.org/v1.11/client-server-api/, "m.room.message", "Rich replies" (and
the fallback that v1.13 took away), "Threading", "Event replacements", "User and room mentions";
https://spec.matrix.org/v1.11/rooms/v11/ for where `redacts` stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

from ..actors.frozen import message
from ..actors.messages import Address, InboundTurn, Instance, MessageChange
from .heard import Heard, shown_name
from .incoming_files import IncomingFile
from .json_fields import Fields, Malformed, chosen, fields, items, needed, text
from .matrix_files import file_in

__all__ = [
    "EVENT_TYPES",
    "PLATFORM",
    "Encrypted",
    "Me",
    "Moved",
    "News",
    "Reader",
    "RoomChanged",
    "identifier",
]

PLATFORM: Final = "matrix"
EVENT_TYPES: Final = (
    "m.room.message",
    "m.sticker",
    "m.room.redaction",
    "m.room.encrypted",
    "m.room.member",
    "m.room.name",
    "m.room.tombstone",
)
"""What is asked for of what happens in a room."""
_MAX_ID_BYTES: Final = 255
_BEHIND_A_NAME: Final = " \t\r\n,:"
"""What stands between the agent's name and what is said to it."""
_BEHIND_A_NAME_IS: Final = re.compile(r"[\s,:;.!?]|$")
_SILENT: Final = frozenset({"m.key.verification.request", "m.server_notice"})
"""Kinds of message that no human writes."""


@message
class Me:
    """Who the account is."""

    user_id: str
    display_name: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What humans write to name it, the longest first, in folded letters."""
        localpart = self.user_id[1:].partition(":")[0]
        names = {self.user_id, f"@{localpart}", localpart}
        if self.display_name:
            names |= {self.display_name, f"@{self.display_name}"}
        return tuple(sorted((name.casefold() for name in names), key=len, reverse=True))


@message
class Encrypted:
    """Something was said that cannot be read."""

    room: str


@message
class Moved:
    """A room was replaced by another one."""

    room: str
    to: str
    by: str


@message
class RoomChanged:
    """A room has another name, or other people are in it."""

    room: str


News: TypeAlias = Heard | MessageChange | Encrypted | Moved | RoomChanged


def identifier(value: object, sigil: str, name: str) -> str:
    """An id of Matrix's: its sigil, and no more than 255 bytes.

    Raises:
        Malformed: it is none.
    """
    if (
        not isinstance(value, str)
        or not value.startswith(sigil)
        or not 1 < len(value.encode("utf-8", "surrogatepass")) <= _MAX_ID_BYTES
        or not value.isprintable()
    ):
        raise Malformed(f"{name} is no id")
    return value


class Reader:
    """Reads events for one account."""

    def __init__(self, instance: Instance, me: Me, *, allow_bots: bool = False) -> None:
        self._instance = instance
        self._me = me
        self._names = me.names
        self._allow_bots = allow_bots

    def __repr__(self) -> str:
        return f"<Reader of {self._instance} for {self._me.user_id}>"

    @property
    def me(self) -> Me:
        """Whose events are no news."""
        return self._me

    def read(self, room: str, event: object, names: Mapping[str, str]) -> News | None:
        """What an event tells; None for what is nothing to us.

        Args:
            room: where it was.
            event: of a timeline.
            names: display names, by user id.

        Raises:
            Malformed: it is not as documented.
        """
        told = fields(event, "event")
        kind, content = needed(told, "type"), fields(told.get("content"), "content")
        if kind == "m.room.tombstone" and "state_key" in told:
            to = identifier(content.get("replacement_room"), "!", "replacement_room")
            return Moved(room=room, to=to, by=identifier(told.get("sender"), "@", "sender"))
        if "state_key" in told:
            return RoomChanged(room=room)
        sender = identifier(told.get("sender"), "@", "sender")
        if sender == self._me.user_id:
            return None
        match kind:
            case "m.room.encrypted":
                return Encrypted(room=room)
            case "m.room.redaction":
                return self._deletion(room, told, content)
            case "m.room.message" | "m.sticker" if content:  # it has none when it was redacted
                return self._message(room, told, content, sender, names.get(sender))
            case _:
                return None

    def _deletion(self, room: str, told: Fields, content: Fields) -> MessageChange:
        """Whoever redacts may be a moderator, and whose message it was is not told."""
        redacted: object = content.get("redacts", told.get("redacts"))
        return MessageChange(
            address=Address(self._instance, room),
            platform=PLATFORM,
            message_id=identifier(redacted, "$", "redacts"),
            change_id=identifier(told.get("event_id"), "$", "event_id"),
            user_id=None,
            text=None,
        )

    def _message(
        self, room: str, told: Fields, content: Fields, sender: str, name: str | None
    ) -> News | None:
        event_id = identifier(told.get("event_id"), "$", "event_id")
        relation = chosen(content, "m.relates_to") or {}
        rel_type = text(relation, "rel_type")
        if rel_type == "m.replace":
            return self._edit(room, event_id, content, relation, sender)
        msgtype = text(content, "msgtype") or ""
        if msgtype in _SILENT or (msgtype == "m.notice" and not self._allow_bots):
            return None
        thread = None
        if rel_type == "m.thread":
            thread = identifier(relation.get("event_id"), "$", "the thread")
        reply_to = self._quoted(relation)
        file = file_in(content, sticker=told.get("type") == "m.sticker")
        said = _said(content, file, quotes="m.in_reply_to" in relation)
        mentioned = self._is_named(content, said)
        if mentioned:
            said = self._without_name(said) or ("" if file else said)
        if not said and file is None:
            return None
        turn = InboundTurn(
            address=Address(self._instance, room, thread),
            platform=PLATFORM,
            message_id=event_id,
            user_id=sender,
            text=said,
            user_name=shown_name(name),
            direct=False,
            mentioned=mentioned,
            reply_to=reply_to,
        )
        return Heard(turn=turn, files=() if file is None else (file,))

    def _quoted(self, relation: Fields) -> str | None:
        """The message that is answered. In a thread it may stand there for old clients only."""
        quoted = chosen(relation, "m.in_reply_to")
        if quoted is None or (
            relation.get("rel_type") == "m.thread" and relation.get("is_falling_back") is True
        ):
            return None
        return identifier(quoted.get("event_id"), "$", "m.in_reply_to")

    def _edit(
        self, room: str, event_id: str, content: Fields, relation: Fields, sender: str
    ) -> MessageChange | None:
        new = chosen(content, "m.new_content")
        if new is None:
            return None  # no valid edit, which is to be ignored
        said = _said(new, None, quotes=False)
        if self._is_named(new, said):
            said = self._without_name(said) or said
        return MessageChange(
            address=Address(self._instance, room),
            platform=PLATFORM,
            message_id=identifier(relation.get("event_id"), "$", "m.relates_to"),
            change_id=event_id,
            user_id=sender,
            text=said,
        )

    def _is_named(self, content: Fields, said: str) -> bool:
        """Whether it names the account: as `m.mentions` says, or without that as the text does."""
        mentions = chosen(content, "m.mentions")
        if mentions is not None:
            return self._me.user_id in items(mentions, "user_ids")
        if f"https://matrix.to/#/{self._me.user_id}" in (text(content, "formatted_body") or ""):
            return True
        words = said.casefold()
        return any(
            re.search(rf"(?<!\w){re.escape(name)}(?!\w)", words) is not None for name in self._names
        )

    def _without_name(self, said: str) -> str:
        for name in self._names:
            rest = said[len(name) :]
            if said[: len(name)].casefold() == name and _BEHIND_A_NAME_IS.match(rest):
                return rest.lstrip(_BEHIND_A_NAME)
        return said


def _said(content: Fields, file: IncomingFile | None, *, quotes: bool) -> str:
    body = text(content, "body") or ""
    if file is not None:
        # It is a caption only if the name stands elsewhere.
        name = text(content, "filename")
        return "" if name is None or name == body else body
    match text(content, "msgtype"):
        case "m.location":
            return f"[location: {text(content, 'geo_uri') or 'unknown'}] {body}".rstrip()
        case "m.emote":
            body = f"* {body}"
        case _:
            pass
    return _without_quote(body) if quotes else body


def _without_quote(body: str) -> str:
    """The text without the quote that older clients put before an answer."""
    lines = body.split("\n")
    if not lines[0].startswith(("> <@", "> * <@")):
        return body
    count = next((n for n, line in enumerate(lines) if not line.startswith(">")), len(lines))
    rest = lines[count:]
    return "\n".join(rest[1:] if rest and not rest[0] else rest)
