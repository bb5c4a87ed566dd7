"""The state of a fake Slack: one workspace, one app with a bot, people, channels, messages, files.

Everything that happens is told to `listener` as the inner event of the Events API.
"""

from __future__ import annotations

import itertools
import mimetypes
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from uuid import uuid4

__all__ = [
    "APP_TOKEN",
    "BOT_TOKEN",
    "SIGNING_SECRET",
    "Json",
    "SlackError",
    "SlackMessage",
    "SlackPlace",
    "SlackWorld",
]

BOT_TOKEN: Final = "xoxb-17653672481-19874698323-peerFakeBotTokenAbCdEf12"
APP_TOKEN: Final = "xapp-1-A01FAKEAPP-17653672481-peerfakeapptoken0123456789abcdef"
SIGNING_SECRET: Final = "8f742231b10e8888abcd99yyyzzz85a5"
TEXT_LIMIT: Final = 40_000
"""Characters after which the text of a new message is cut."""

Json: TypeAlias = dict[str, Any]

_NOT_IN_MENTIONS: Final = {"channel_type", "subtype", "files"}


class SlackError(Exception):
    """What Slack answers with `"ok": false`."""

    def __init__(self, error: str, **more: Any) -> None:
        super().__init__(error)
        self.body: Json = {"ok": False, "error": error, **more}


@dataclass
class SlackUser:
    """A human, or another app's bot."""

    user_id: str
    name: str
    bot: bool = False


@dataclass
class SlackPlace:
    """A conversation; `kind` is `channel`, `group` (a private channel), `im` or `mpim`."""

    channel_id: str
    name: str
    kind: str
    members: set[str]
    archived: bool = False
    connected: bool = False
    """Whether it is shared with another workspace: messages name their files by ids alone."""
    messages: dict[str, SlackMessage] = field(default_factory=dict[str, "SlackMessage"])


@dataclass
class SlackFile:
    """An upload; private to whoever uploaded it until it is shared."""

    file_id: str
    name: str
    user: str
    content: bytes = b""
    arrived: bool = False
    shared: bool = False
    length: int = 0
    """What was announced."""
    shares: dict[str, tuple[str, str]] = field(default_factory=dict[str, tuple[str, str]])
    """Where it is shared: the channel, whether that is public, and the ts of the message."""


@dataclass
class SlackMessage:
    """One message as it stands now."""

    ts: str
    user: str
    text: str
    thread_ts: str | None = None
    bot: bool = False
    """Whether our bot wrote it."""
    edited_ts: str | None = None
    files: list[SlackFile] = field(default_factory=list[SlackFile])
    reactions: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    client_msg_id: str = field(default_factory=lambda: str(uuid4()))
    blocks: list[Json] = field(default_factory=list[Json])


class SlackWorld:
    """What there is, and how it changes."""

    def __init__(self, listener: Callable[[Json], None]) -> None:
        self.listener = listener
        self._numbers = itertools.count(1)
        self._last_ts = 0
        self.team = "T01FAKE"
        self.app = "A01FAKEAPP"
        self.bot_id = "B01FAKEBOT"
        self.users: dict[str, SlackUser] = {}
        self.places: dict[str, SlackPlace] = {}
        self.files: dict[str, SlackFile] = {}
        self.statuses: dict[str, list[str]] = {}
        """What the assistant showed of itself in a channel while it worked, in order."""
        self.bot = self.add_user("keeper", bot=True)
        self.url = ""
        self.mentions = "after"
        """When the event of a mention comes: `after` that of its message, `before` it, or `alone`,
        because the app is told of no messages in channels."""
        self.mentions_have_files = True

    def __getstate__(self) -> dict[str, Any]:
        """Everything but who listens, which is another one in the next process."""
        return {**self.__dict__, "listener": None}

    # People and places

    def add_user(self, name: str, *, bot: bool = False) -> str:
        """A new account; its id."""
        user = f"U{next(self._numbers):08d}"
        self.users[user] = SlackUser(user, name, bot)
        return user

    def add_place(self, name: str, kind: str, members: set[str]) -> str:
        """A new conversation; its id."""
        letter = {"channel": "C", "group": "G", "im": "D", "mpim": "G"}[kind]
        channel = f"{letter}{next(self._numbers):08d}"
        self.places[channel] = SlackPlace(channel, name, kind, members)
        return channel

    def im(self, user: str) -> str:
        """The conversation between a user and the bot alone."""
        for place in self.places.values():
            if place.kind == "im" and user in place.members:
                return place.channel_id
        return self.add_place("", "im", {user, self.bot})

    def place(self, channel: object) -> SlackPlace:
        """A conversation that the bot can see; raises SlackError."""
        place = self.places.get(str(channel))
        if place is None or (place.kind != "channel" and self.bot not in place.members):
            raise SlackError("channel_not_found")
        return place

    def message(self, channel: object, ts: object) -> tuple[SlackPlace, SlackMessage]:
        """A message that the bot can see; raises SlackError."""
        place = self.place(channel)
        message = place.messages.get(str(ts))
        if message is None:
            raise SlackError("message_not_found")
        return place, message

    def now_ts(self) -> str:
        """A time that no message has: seconds since 1970, later than any before."""
        self._last_ts = max(self._last_ts + 1, time.time_ns() // 1000)
        return f"{self._last_ts // 1_000_000}.{self._last_ts % 1_000_000:06d}"

    # What happens

    def post(
        self,
        channel: str,
        user: str,
        text: str,
        *,
        thread_ts: str | None = None,
        files: list[SlackFile] | None = None,
        blocks: list[Json] | None = None,
    ) -> SlackMessage:
        """A message appears, and everybody is told."""
        place = self.places[channel]
        message = SlackMessage(self.now_ts(), user, text[:TEXT_LIMIT], thread_ts)
        message.bot = user == self.bot
        message.files = files or []
        message.blocks = blocks or []
        for file in message.files:
            file.shared = True
            kind = "public" if place.kind == "channel" else "private"
            file.shares[channel] = (kind, message.ts)
        place.messages[message.ts] = message
        event = self.render(place, message)
        event |= {"event_ts": message.ts, "channel": channel, "channel_type": place.kind}
        if message.files:
            event["subtype"] = "file_share"
        events = [event]
        if place.kind != "im" and self.mentions == "alone":
            events.clear()
        if place.kind != "im" and f"<@{self.bot}>" in text and not message.bot:
            left_out = {"channel_type"} if self.mentions_have_files else _NOT_IN_MENTIONS
            mention = {key: value for key, value in event.items() if key not in left_out}
            events.insert(0 if self.mentions == "before" else 1, mention | {"type": "app_mention"})
        for one in events:
            self._tell(place, one)
        return message

    def edit(self, channel: str, ts: str, text: str, blocks: list[Json] | None = None) -> None:
        """The author of a message changes it."""
        place, message = self.places[channel], self.places[channel].messages[ts]
        before = self.render(place, message)
        message.text = text
        if blocks is not None:
            message.blocks = blocks
        message.edited_ts = self.now_ts()
        changed = {"message": self.render(place, message), "previous_message": before}
        self._tell(place, self._hidden(place, "message_changed") | changed)

    def delete(self, channel: str, ts: str) -> None:
        """Somebody deletes a message."""
        place = self.places[channel]
        message = place.messages.pop(ts)
        gone = {"deleted_ts": ts, "previous_message": self.render(place, message)}
        self._tell(place, self._hidden(place, "message_deleted") | gone)

    def react(self, channel: str, ts: str, user: str, name: str, *, on: bool) -> None:
        """Somebody puts an emoji to a message, or takes it away."""
        place, message = self.places[channel], self.places[channel].messages[ts]
        users = message.reactions.setdefault(name, [])
        if on == (user in users):
            raise SlackError("already_reacted" if on else "no_reaction")
        (users.append if on else users.remove)(user)
        event: Json = {
            "type": "reaction_added" if on else "reaction_removed",
            "user": user,
            "reaction": name,
            "item": {"type": "message", "channel": channel, "ts": ts},
            "item_user": message.user,
            "event_ts": self.now_ts(),
        }
        self._tell(place, event)

    def upload(self, name: str, user: str, content: bytes | None = None, length: int = 0) -> str:
        """A file, with its content or announced; its id."""
        file = SlackFile(f"F{next(self._numbers):08d}", name, user, content or b"")
        file.arrived = content is not None
        file.length = length
        self.files[file.file_id] = file
        return file.file_id

    # How it is written

    def render(self, place: SlackPlace, message: SlackMessage) -> Json:
        """A message as Slack writes it."""
        body: Json = {
            "type": "message",
            "user": message.user,
            "text": message.text,
            "ts": message.ts,
            "team": self.team,
        }
        if message.blocks:
            body["blocks"] = message.blocks
        if message.bot or self.users[message.user].bot:
            own = message.bot
            bot_id = self.bot_id if own else f"B{message.user[1:]}"
            app = self.app if own else "A09OTHER"
            profile = {"id": bot_id, "app_id": app, "name": self.users[message.user].name}
            body |= {"bot_id": bot_id, "app_id": app, "bot_profile": profile}
        else:
            body["client_msg_id"] = message.client_msg_id
        if message.thread_ts is not None:
            body["thread_ts"] = message.thread_ts
            parent = place.messages.get(message.thread_ts)
            if parent is not None:
                body["parent_user_id"] = parent.user
        if message.edited_ts is not None:
            body["edited"] = {"user": message.user, "ts": message.edited_ts}
        if message.files:
            written = _to_be_asked_for if place.connected else self.render_file
            body["files"] = [written(file) for file in message.files]
        reactions = [
            {"name": name, "users": list(users), "count": len(users)}
            for name, users in message.reactions.items()
            if users
        ]
        if reactions:
            body["reactions"] = reactions
        return body

    def render_in_history(self, place: SlackPlace, message: SlackMessage) -> Json:
        """A message as Slack writes it to who reads a channel: with what became of its thread."""
        body = self.render(place, message)
        replies = [one for one in place.messages.values() if one.thread_ts == message.ts]
        if replies:
            body |= {
                "thread_ts": message.ts,
                "reply_count": len(replies),
                "reply_users": sorted({one.user for one in replies}),
                "latest_reply": max((one.ts for one in replies), key=float),
                "is_locked": False,
            }
        return body

    def render_file(self, file: SlackFile) -> Json:
        """A file as Slack writes it."""
        extension = file.name.rpartition(".")[2]
        private = f"{self.url}/files-pri/{self.team}-{file.file_id}"
        shares: Json = {}
        for channel, (kind, ts) in file.shares.items():
            shares.setdefault(kind, {})[channel] = [{"ts": ts, "team_id": self.team}]
        return {
            "id": file.file_id,
            "created": int(time.time()),
            "name": file.name,
            "title": file.name,
            "mimetype": mimetypes.guess_type(file.name)[0] or "application/octet-stream",
            "filetype": extension or "binary",
            "pretty_type": extension.upper(),
            "user": file.user,
            "size": len(file.content),
            "mode": "hosted",
            "is_external": False,
            "file_access": "visible",
            "shares": shares,
            "url_private": f"{private}/{file.name}",
            "url_private_download": f"{private}/download/{file.name}",
        }

    def _hidden(self, place: SlackPlace, subtype: str) -> Json:
        ts = self.now_ts()
        return {
            "type": "message",
            "subtype": subtype,
            "hidden": True,
            "channel": place.channel_id,
            "channel_type": place.kind,
            "ts": ts,
            "event_ts": ts,
        }

    def _tell(self, place: SlackPlace, event: Json) -> None:
        """The app hears of places in which its bot is."""
        if self.bot in place.members:
            self.listener(event)


def _to_be_asked_for(file: SlackFile) -> Json:
    """A file in a channel that is shared with another workspace."""
    return {
        "id": file.file_id,
        "created": 0,
        "timestamp": 0,
        "user": "",
        "mode": "file_access",
        "file_access": "check_file_info",
    }
