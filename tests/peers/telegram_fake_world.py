"""What Telegram knows: people, chats, messages, files, and the updates that wait for the bot.

All of it is plain data, so that it can be kept in a file while its process is killed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from .telegram_fake_text import Entity

__all__ = [
    "MEDIA",
    "TOKEN",
    "Chat",
    "File",
    "Json",
    "Seen",
    "User",
    "Webhook",
    "World",
    "media_of",
    "words_of",
]

Json: TypeAlias = dict[str, Any]

TOKEN: Final = "123456789:AAF-a_token_that_opens_nothing_at_all"  # a fake's
_BOT_ID: Final = 123456789
_FIRST_UPDATE: Final = 700_000_001
_NOT_BY_DEFAULT: Final = ("chat_member", "message_reaction", "message_reaction_count")


@dataclass(slots=True)
class User:
    """A person, or another bot."""

    id: int
    first_name: str
    username: str | None = None
    is_bot: bool = False
    blocked: bool = False
    """Whether the user has blocked the bot."""
    deactivated: bool = False

    def view(self) -> Json:
        view: Json = {"id": self.id, "is_bot": self.is_bot, "first_name": self.first_name}
        if self.username:
            view["username"] = self.username
        if not self.is_bot:
            view["language_code"] = "en"
        return view


@dataclass(slots=True)
class Chat:
    """Where messages are; a private chat has the id of its user."""

    id: int
    type: str
    title: str | None = None
    username: str | None = None
    user_id: int | None = None
    is_forum: bool = False
    topics: dict[int, str] = field(default_factory=dict[int, str])
    closed_topics: set[int] = field(default_factory=set[int])
    bot_status: str = "member"
    started: bool = False
    """Whether its user has ever written; before that the bot may not."""
    migrated_to: int | None = None
    typing: list[str] = field(default_factory=list[str])

    @property
    def numbers_its_own(self) -> bool:
        """Whether messages are numbered in this chat, not over all chats of the bot."""
        return self.type in ("supergroup", "channel")


@dataclass(frozen=True, slots=True)
class File:
    """Bytes that were sent, and what is told of them."""

    id: str
    content: bytes
    name: str
    mime: str

    @property
    def path(self) -> str:
        return f"documents/{self.id}/{self.name}"


@dataclass(frozen=True, slots=True)
class Seen:
    """One message as people in a chat see it."""

    message_id: int
    sender_id: int
    text: str
    """Of a message, or the caption of a file."""
    entities: tuple[Entity, ...]
    thread_id: int | None
    reply_to: int | None
    edited: bool
    silent: bool
    file: File | None
    kind: str
    """`text`, `document`, `photo` …"""
    raw: Json
    """The message as the Bot API tells it."""


@dataclass(slots=True)
class Webhook:
    """Where updates are pushed to."""

    url: str = ""
    secret: str = ""
    max_connections: int = 40
    last_error: str | None = None
    last_error_at: int | None = None


@dataclass(slots=True)
class World:
    """The state of one bot's Telegram."""

    token: str = TOKEN
    reads_all: bool = True
    """Whether the bot sees everything in groups; otherwise it is in privacy mode."""
    users: dict[int, User] = field(default_factory=dict[int, User])
    chats: dict[int, Chat] = field(default_factory=dict[int, Chat])
    messages: dict[tuple[int, int], Json] = field(default_factory=dict[tuple[int, int], Json])
    silent: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    files: dict[str, File] = field(default_factory=dict[str, File])
    updates: list[Json] = field(default_factory=list[Json])
    allowed: list[str] = field(default_factory=list[str])
    webhook: Webhook = field(default_factory=Webhook)
    commands: list[Json] = field(default_factory=list[Json])
    callbacks: dict[str, bool] = field(default_factory=dict[str, bool])
    """Presses of buttons, and whether they were answered."""
    reactions: dict[tuple[int, int], list[Json]] = field(
        default_factory=dict[tuple[int, int], list[Json]]
    )
    next_update: int = _FIRST_UPDATE
    counters: dict[int, int] = field(default_factory=dict[int, int])

    def __post_init__(self) -> None:
        self.users.setdefault(_BOT_ID, User(_BOT_ID, "Keeper", "keeper_bot", is_bot=True))

    @property
    def bot(self) -> User:
        return self.users[_BOT_ID]

    def user(self, user_id: int) -> User:
        """A user, made up when nobody has spoken of them yet."""
        if user_id not in self.users:
            self.users[user_id] = User(user_id, f"User {user_id}", f"user_{user_id}")
        return self.users[user_id]

    def chat(self, chat_id: int) -> Chat:
        """A chat, made up of what its id says when nobody has spoken of it yet."""
        if chat_id not in self.chats:
            if chat_id > 0:
                chat = Chat(chat_id, "private", user_id=self.user(chat_id).id)
            elif str(chat_id).startswith("-100"):
                chat = Chat(chat_id, "supergroup", title=f"Supergroup {chat_id}")
            else:
                chat = Chat(chat_id, "group", title=f"Group {chat_id}")
            self.chats[chat_id] = chat
        return self.chats[chat_id]

    def chat_view(self, chat: Chat) -> Json:
        """A chat as messages name it."""
        view: Json = {"id": chat.id, "type": chat.type}
        if chat.user_id is not None:
            user = self.users[chat.user_id]
            view["first_name"] = user.first_name
            if user.username:
                view["username"] = user.username
        else:
            view["title"] = chat.title
        if chat.is_forum:
            view["is_forum"] = True
        return view

    def count(self, counter: int) -> int:
        """The next number of a counter."""
        self.counters[counter] = self.counters.get(counter, 0) + 1
        return self.counters[counter]

    def post(
        self,
        chat: Chat,
        sender: User | None,
        body: Json,
        *,
        reply_to: int | None = None,
        thread_id: int | None = None,
        silent: bool = False,
    ) -> Json:
        """Put a message into a chat; without a sender, the chat itself posts it.

        Two things here surprise bots. What answers nothing in a topic is told as an answer to the
        message that made the topic. And where there are no topics, answers in supergroups have a
        thread nevertheless, of the message that the first of them answers.
        """
        message_id = self.count(chat.id if chat.numbers_its_own else 0)
        message: Json = {
            "message_id": message_id,
            "date": int(time.time()),
            "chat": self.chat_view(chat),
        }
        if sender is not None:
            message["from"] = sender.view()
        elif chat.type == "channel":
            message["sender_chat"] = self.chat_view(chat)
        replied = self.messages.get((chat.id, reply_to)) if reply_to is not None else None
        if thread_id is not None:
            message["message_thread_id"] = thread_id
            message["is_topic_message"] = True
            replied = replied or self.messages.get((chat.id, thread_id))
        elif replied is not None and chat.type == "supergroup" and not chat.is_forum:
            message["message_thread_id"] = replied.get("message_thread_id", replied["message_id"])
        if replied is not None:
            message["reply_to_message"] = {
                key: value for key, value in replied.items() if key != "reply_to_message"
            }
        message.update(body)
        self.messages[chat.id, message_id] = message
        if silent:
            self.silent.add((chat.id, message_id))
        return message

    def tell(self, kind: str, content: Json) -> None:
        """Make an update for the bot, if it asked for this kind."""
        wanted = kind in self.allowed if self.allowed else kind not in _NOT_BY_DEFAULT
        if wanted:
            self.updates.append({"update_id": self.next_update, kind: content})
            self.next_update += 1

    def keep(self, content: bytes, name: str, mime: str) -> File:
        """Keep a file."""
        file = File(f"file-{self.count(1)}-{self.bot.id}", content, name, mime)
        self.files[file.id] = file
        return file

    def seen(self, chat_id: int) -> list[Seen]:
        """Messages of a chat in their order; those that were deleted are gone."""
        return [
            self._as_seen(chat_id, message)
            for (of_chat, _), message in self.messages.items()
            if of_chat == chat_id
        ]

    def _as_seen(self, chat_id: int, message: Json) -> Seen:
        sender = message.get("from") or message.get("sender_chat") or {"id": 0}
        kind, attached = media_of(message)
        thread_id = message["message_thread_id"] if "is_topic_message" in message else None
        reply_to = message.get("reply_to_message", {}).get("message_id")
        return Seen(
            message_id=message["message_id"],
            sender_id=sender["id"],
            text=words_of(message),
            entities=tuple(message.get("entities") or message.get("caption_entities") or ()),
            thread_id=thread_id,
            reply_to=reply_to if reply_to != thread_id else None,
            edited="edit_date" in message,
            silent=(chat_id, message["message_id"]) in self.silent,
            file=self.files[attached["file_id"]] if attached else None,
            kind=kind,
            raw=message,
        )


MEDIA: Final = ("photo", "document", "audio", "video", "voice", "animation", "sticker")


def words_of(message: Json) -> str:
    """The text of a message, or the caption of a file."""
    words: str = message.get("text") or message.get("caption") or ""
    return words


def media_of(message: Json) -> tuple[str, Json | None]:
    """The kind of a message and what is attached to it."""
    for kind in MEDIA:
        if kind in message:
            return kind, message[kind][-1] if kind == "photo" else message[kind]
    return ("text", None) if "text" in message else ("service", None)
