"""Telegram's updates, read: which of them are turns, changes, or nothing to us. Pure.

Source: https://core.telegram.org/bots/api, "Update", "Message", "MessageEntity", "Chat", "User".
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final, TypeAlias

from ..actors.frozen import message
from ..actors.messages import Address, InboundTurn, Instance, MessageChange
from .heard import Heard, shown_name
from .json_fields import Fields, Malformed, chosen, fields, flag, items, needed, number, text
from .telegram_files import file_in, words_for

__all__ = [
    "PLATFORM",
    "Me",
    "Moved",
    "News",
    "Reader",
    "conversation_of",
    "me_in",
    "units",
    "update_id",
]

PLATFORM: Final = "telegram"
_BEHIND_A_NAME: Final = " \t\r\n,:"
"""What stands between the agent's name and what is said to it."""


@message
class Me:
    """Who the bot is, as `getMe` says."""

    id: int
    username: str
    """Without `@`; every bot has one."""


@message
class Moved:
    """A group has become a supergroup, and goes on under another id."""

    conversation: str
    to: str


News: TypeAlias = Heard | MessageChange | Moved


def update_id(update: object) -> int:
    """By which an update is confirmed.

    Raises:
        Malformed: it has none, or none that could be an offset: a negative one counts from the end.
    """
    told = number(fields(update, "update"), "update_id")
    if told < 0:
        raise Malformed("update_id is negative")
    return told


def conversation_of(update: object) -> str:
    """The chat in whose order an update is heard; empty for one without."""
    for kind in ("message", "edited_message", "channel_post", "edited_channel_post"):
        try:
            content = chosen(fields(update, "update"), kind)
            if content is not None:
                return str(number(fields(content.get("chat"), "chat"), "id"))
        except Malformed:
            break
    return ""


class Reader:
    """Reads updates for one bot."""

    def __init__(self, instance: Instance, me: Me, *, allow_bots: bool = False) -> None:
        self._instance = instance
        self._me = me
        self._names = f"@{me.username}".casefold()
        self._allow_bots = allow_bots

    def __repr__(self) -> str:
        return f"<Reader of {self._instance} for bot {self._me.id}>"

    def read(self, update: object) -> News | None:
        """What an update tells; None for what is nothing to us.

        Raises:
            Malformed: it is not as documented.
        """
        told = fields(update, "update")
        for kind in ("message", "channel_post"):
            content = chosen(told, kind)
            if content is not None:
                return self._message(content)
        for kind in ("edited_message", "edited_channel_post"):
            content = chosen(told, kind)
            if content is not None:
                return self._change(content)
        return None

    def _message(self, content: Fields) -> News | None:
        chat = fields(content.get("chat"), "chat")
        if "migrate_to_chat_id" in content:
            return Moved(
                conversation=str(number(chat, "id")), to=str(number(content, "migrate_to_chat_id"))
            )
        author = self._author(content)
        if author is None:
            return None
        file = file_in(content)
        said, mentioned = self._said(content, has_file=file is not None)
        said = said or words_for(content)
        if not said and file is None:
            return None  # that somebody joined, a pinned message, a game …
        user_id, user_name = author
        direct = text(chat, "type") == "private"
        quoted = self._quoted(content)
        turn = InboundTurn(
            address=self._address(content, chat),
            platform=PLATFORM,
            message_id=str(number(content, "message_id")),
            user_id=user_id,
            text=said,
            user_name=user_name,
            chat_name=shown_name(text(chat, "title")),
            direct=direct,
            mentioned=direct or mentioned or self._is_mine(quoted),
            reply_to=None if quoted is None else str(number(quoted, "message_id")),
        )
        return Heard(turn=turn, files=() if file is None else (file,))

    def _change(self, content: Fields) -> MessageChange | None:
        """An edit; None where nothing was edited.

        Telegram tells of edits that no human has made: of a first reaction, of a preview that was
        loaded. Those have no `edit_date`, or that of the edit before with the same text.
        Source: https://github.com/tdlib/telegram-bot-api/issues/388
        """
        author = self._author(content)
        if author is None or content.get("edit_date") is None:
            return None
        has_file = file_in(content) is not None
        if not has_file and text(content, "text") is None:
            return None  # a place that moves, a poll that is answered
        said, _ = self._said(content, has_file=has_file)
        digest = sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        return MessageChange(
            address=self._address(content, fields(content.get("chat"), "chat")),
            platform=PLATFORM,
            message_id=str(number(content, "message_id")),
            change_id=f"{number(content, 'edit_date')}.{digest}",
            user_id=author[0],
            text=said,
        )

    def _address(self, content: Fields, chat: Fields) -> Address:
        """The chat, and the topic if it is one; comments below a channel's post are no topic."""
        thread = None
        if flag(content, "is_topic_message"):
            thread = str(number(content, "message_thread_id"))
        return Address(self._instance, str(number(chat, "id")), thread)

    def _author(self, content: Fields) -> tuple[str, str | None] | None:
        """Id and name of who has written; None if that is nobody who is listened to.

        Who writes in the name of a chat (as an anonymous administrator, or a channel) is that chat:
        the `from` beside it is made up. Messages to a channel, which have threads of another kind,
        and a channel's posts that are shown in its group as well are left out.
        """
        if flag(content, "is_automatic_forward") or "direct_messages_topic" in content:
            return None
        chat = chosen(content, "sender_chat")
        if chat is not None:
            return str(number(chat, "id")), shown_name(text(chat, "title"))
        user = fields(content.get("from"), "from")
        user_id = number(user, "id")
        if user_id == self._me.id or (flag(user, "is_bot") and not self._allow_bots):
            return None
        names = (text(user, "first_name"), text(user, "last_name"))
        return str(user_id), shown_name(" ".join(name for name in names if name))

    def _quoted(self, content: Fields) -> Fields | None:
        """The message that is answered. In a topic, everything answers the topic's first one."""
        quoted = chosen(content, "reply_to_message")
        if quoted is None or "forum_topic_created" in quoted:
            return None
        if flag(content, "is_topic_message") and (
            quoted.get("message_id") == content.get("message_thread_id")
        ):
            return None
        return quoted

    def _is_mine(self, quoted: Fields | None) -> bool:
        author = None if quoted is None else chosen(quoted, "from")
        return author is not None and author.get("id") == self._me.id

    def _said(self, content: Fields, *, has_file: bool) -> tuple[str, bool]:
        """Text or caption, without the bot's name before it; and whether it names the bot."""
        said, marks = text(content, "text"), items(content, "entities")
        if said is None:
            said, marks = text(content, "caption") or "", items(content, "caption_entities")
        mentioned = False
        shorter = said
        for mark in marks:
            entity = fields(mark, "entity")
            offset, length = number(entity, "offset"), number(entity, "length")
            if offset < 0 or length < 1:
                raise Malformed("an entity begins or ends outside of its text")
            piece, rest = units(said, offset, length)
            if not self._names_me(entity, piece):
                continue
            mentioned = True
            if offset == 0:
                is_command = entity.get("type") == "bot_command"
                name = piece[: -len(self._names)] if is_command else ""
                shorter = name + (rest if is_command else rest.lstrip(_BEHIND_A_NAME))
        return (shorter if shorter or has_file else said), mentioned

    def _names_me(self, entity: Fields, piece: str) -> bool:
        match entity.get("type"):
            case "mention":
                return piece.casefold() == self._names
            case "bot_command":
                return piece.casefold().endswith(self._names)
            case "text_mention":
                return fields(entity.get("user"), "user").get("id") == self._me.id
            case _:
                return False


def me_in(told: Any) -> Me:
    """Who `getMe` says that the bot is.

    Raises:
        Malformed: it does not say.
    """
    bot = fields(told, "bot")
    return Me(id=number(bot, "id"), username=needed(bot, "username"))


def units(whole: str, offset: int, length: int) -> tuple[str, str]:
    """A piece of a text, and what follows it, as entities count: in UTF-16 code units.

    Half of a character counts as none. Source: "MessageEntity" of the Bot API.
    """
    raw = whole.encode("utf-16-le", "surrogatepass")
    end = 2 * (offset + length)
    return (
        raw[2 * offset : end].decode("utf-16-le", "ignore"),
        raw[end:].decode("utf-16-le", "ignore"),
    )
