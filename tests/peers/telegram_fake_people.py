"""What people do in Telegram: write, edit, delete, press, block, move; a test speaks for them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from .telegram_fake_methods import media, member
from .telegram_fake_text import Entity, found_entities, utf16_length
from .telegram_fake_world import Chat, Json, Seen, User, World, words_of

__all__ = ["People"]


class People:
    """The people of one world. Ids that nobody has spoken of are made up: users are positive,
    supergroups begin with -100, other negative ones are groups."""

    def __init__(self, world: World, changed: Callable[[], None]) -> None:
        self.world = world
        self._changed = changed

    # Who and where

    def adds_user(
        self, user: int, name: str, *, username: str | None = None, is_bot: bool = False
    ) -> None:
        """Make a user, or another bot."""
        self.world.users[user] = User(user, name, username, is_bot)
        self._changed()

    def opens_private(self, user: int, *, started: bool = True) -> None:
        """Make a private chat; `started` says whether its user has ever written to the bot."""
        self.world.chat(user).started = started
        self._changed()

    def opens_chat(
        self,
        chat: int,
        *,
        kind: str = "supergroup",
        title: str = "A chat",
        username: str | None = None,
        forum: bool = False,
        bot: str = "member",
    ) -> None:
        """Make a group, supergroup or channel which the bot is in, as `bot` says."""
        self.world.chats[chat] = Chat(
            chat, kind, title=title, username=username, is_forum=forum, bot_status=bot
        )
        self._changed()

    def opens_topic(self, chat: int, name: str, *, user: int = 1) -> int:
        """Make a topic of a forum; its thread id is the id of the message that says so."""
        place = self.world.chat(chat)
        place.is_forum = True
        body = {"forum_topic_created": {"name": name, "icon_color": 7322096}}
        message = self.world.post(place, self.world.user(user), body)
        thread_id: int = message["message_id"]
        message.update(message_thread_id=thread_id, is_topic_message=True)
        place.topics[thread_id] = name
        self._tell(place, message)
        return thread_id

    def closes_topic(self, chat: int, thread: int) -> None:
        """Close a topic: only administrators write in it."""
        self.world.chat(chat).closed_topics.add(thread)
        self._changed()

    def deletes_topic(self, chat: int, thread: int) -> None:
        """Delete a topic with its messages; bots are not told."""
        self.world.chat(chat).topics.pop(thread, None)
        for key, message in list(self.world.messages.items()):
            if key[0] == chat and message.get("message_thread_id") == thread:
                del self.world.messages[key]
        self._changed()

    # Messages

    def user_says(
        self,
        chat: int,
        user: int,
        text: str,
        *,
        reply_to: int | None = None,
        quote: str | None = None,
        thread: int | None = None,
        mentions: Mapping[str, int] | None = None,
        entities: Sequence[Entity] = (),
    ) -> int:
        """Write a message; `mentions` are words of it that name users without a username."""
        marked = [*entities, *(self._mention(text, *each) for each in (mentions or {}).items())]
        body = _text(text, marked)
        if quote is not None:
            body["quote"] = {"text": quote, "position": 0, "is_manual": True}
        return self._writes(chat, user, body, reply_to, thread)

    def user_sends(
        self,
        chat: int,
        user: int,
        content: bytes,
        *,
        kind: str = "document",
        name: str = "file.bin",
        mime: str = "application/octet-stream",
        caption: str = "",
        group: str | None = None,
        reply_to: int | None = None,
        thread: int | None = None,
    ) -> int:
        """Send a file; those with the same `group` are shown together."""
        body = media(kind, self.world.keep(content, name, mime))
        body.update(_text(caption, [], name="caption"))
        if group is not None:
            body["media_group_id"] = group
        return self._writes(chat, user, body, reply_to, thread)

    def user_shares(self, chat: int, user: int, body: Json, *, thread: int | None = None) -> int:
        """Write a message of any other kind: a contact, a place, a poll …"""
        return self._writes(chat, user, body, None, thread)

    def posts(self, channel: int, text: str) -> int:
        """Post in a channel, in the name of the channel."""
        place = self.world.chat(channel)
        place.type = "channel"
        message = self.world.post(place, None, _text(text, []))
        self._tell(place, message, "channel_post")
        return int(message["message_id"])

    def edits(self, chat: int, message_id: int, text: str) -> None:
        """Edit a message or the caption of one."""
        place = self.world.chat(chat)
        message = self.world.messages[chat, message_id]
        name = "text" if "text" in message else "caption"
        for key in ("text", "entities", "caption", "caption_entities"):
            message.pop(key, None)
        message.update(_text(text, [], name=name), edit_date=int(time.time()))
        kind = "edited_channel_post" if place.type == "channel" else "edited_message"
        self._tell(place, message, kind)

    def deletes(self, chat: int, message_id: int) -> None:
        """Delete a message; bots are never told."""
        del self.world.messages[chat, message_id]
        self._changed()

    def presses(self, chat: int, user: int, message_id: int, data: str) -> str:
        """Press a button under a message; the id of the query, which the bot ought to answer."""
        query = str(self.world.count(2) + 4_000_000_000)
        self.world.callbacks[query] = False
        self.world.tell(
            "callback_query",
            {
                "id": query,
                "from": self.world.user(user).view(),
                "message": self.world.messages[chat, message_id],
                "chat_instance": f"instance{chat}",
                "data": data,
            },
        )
        self._changed()
        return query

    def _mention(self, text: str, word: str, user: int) -> Entity:
        offset = utf16_length(text[: text.index(word)])
        who = self.world.user(user).view()
        return {"type": "text_mention", "offset": offset, "length": utf16_length(word), "user": who}

    def _writes(
        self, chat: int, user: int, body: Json, reply_to: int | None, thread: int | None
    ) -> int:
        place, sender = self.world.chat(chat), self.world.user(user)
        if place.user_id is not None:
            place.started = True
        message = self.world.post(place, sender, body, reply_to=reply_to, thread_id=thread)
        if self._bot_hears(place, sender, message):
            self._tell(place, message)
        else:
            self._changed()
        return int(message["message_id"])

    def _bot_hears(self, place: Chat, sender: User, message: Json) -> bool:
        """Whether the bot is given a message: never another bot's, and in privacy mode in groups
        only commands, mentions of it and replies to it."""
        if sender.is_bot or sender.blocked:
            return False
        everything = self.world.reads_all or place.bot_status == "administrator"
        if place.type == "private" or everything:
            return True
        bot = self.world.bot
        text = words_of(message)
        answered = message.get("reply_to_message", {}).get("from", {}).get("id")
        return text.startswith("/") or f"@{bot.username}" in text or answered == bot.id

    def _tell(self, place: Chat, content: Json, kind: str = "message") -> None:
        if place.bot_status in ("member", "administrator"):
            self.world.tell(kind, dict(content))
        self._changed()

    # Membership

    def blocks(self, user: int) -> None:
        """Block the bot."""
        self.world.user(user).blocked = True
        self._bot_becomes(self.world.chat(user), "kicked", user)

    def unblocks(self, user: int) -> None:
        """Let the bot write again."""
        self.world.user(user).blocked = False
        self._bot_becomes(self.world.chat(user), "member", user)

    def deactivates(self, user: int) -> None:
        """Delete the account of a user; bots are not told."""
        self.world.user(user).deactivated = True
        self._changed()

    def adds_bot(self, chat: int, *, user: int = 1, status: str = "member") -> None:
        """Let the bot in, or make it an administrator."""
        self._bot_becomes(self.world.chat(chat), status, user)

    def kicks(self, chat: int, *, user: int = 1) -> None:
        """Throw the bot out."""
        self._bot_becomes(self.world.chat(chat), "kicked", user)

    def _bot_becomes(self, place: Chat, status: str, user: int) -> None:
        old, place.bot_status = place.bot_status, status
        if place.user_id is not None:
            place.bot_status = "member"  # of a private chat the block itself says it
        self.world.tell(
            "my_chat_member",
            {
                "chat": self.world.chat_view(place),
                "from": self.world.user(user).view(),
                "date": int(time.time()),
                "old_chat_member": member(self.world.bot, "kicked" if status == "member" else old),
                "new_chat_member": member(self.world.bot, status),
            },
        )
        self._changed()

    def upgrades(self, chat: int, *, user: int = 1) -> int:
        """Turn a group into a supergroup; gives the id of that."""
        old = self.world.chat(chat)
        new_id = int(f"-100{abs(chat)}")
        new = Chat(new_id, "supergroup", title=old.title, bot_status=old.bot_status)
        self.world.chats[new_id] = new
        who = self.world.user(user)
        self._tell(old, self.world.post(old, who, {"migrate_to_chat_id": new_id}))
        self._tell(new, self.world.post(new, who, {"migrate_from_chat_id": chat}))
        old.migrated_to = new_id
        self._changed()
        return new_id

    # What people see

    def seen(self, chat: int, *, thread: int | None = None) -> list[Seen]:
        """The messages of a chat, or of one topic of it, without those that were deleted."""
        seen = self.world.seen(chat)
        return [each for each in seen if thread is None or each.thread_id == thread]

    def heard(self, chat: int) -> list[Seen]:
        """What the bot has written in a chat."""
        own = {self.world.bot.id, chat} if chat < 0 else {self.world.bot.id}
        return [each for each in self.seen(chat) if each.sender_id in own]

    def typing(self, chat: int) -> list[str]:
        """What the bot is shown to be doing: its actions since it last wrote."""
        return list(self.world.chat(chat).typing)

    @property
    def updates_pending(self) -> int:
        """How many updates the bot has not confirmed."""
        return len(self.world.updates)


def _text(text: str, entities: list[Entity], *, name: str = "text") -> Json:
    body: Json = {name: text} if text or name == "text" else {}
    found = found_entities(text, entities)
    if found:
        body["entities" if name == "text" else "caption_entities"] = found
    return body
