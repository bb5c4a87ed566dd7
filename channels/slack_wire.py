"""Slack's events, read: which of them are turns, changes, or nothing to us. Pure.

Source: https://docs.slack.dev/reference/events/message and its subtypes,
https://docs.slack.dev/reference/events/app_mention, https://docs.slack.dev/apis/events-api/,
https://docs.slack.dev/reference/objects/file-object,
https://docs.slack.dev/reference/methods/conversations.history.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from ..actors.frozen import message
from ..actors.messages import Address, InboundTurn, Instance, MessageChange
from .heard import Heard
from .incoming_files import IncomingFile, kind_of, mime_in
from .json_fields import Fields, Malformed, chosen, fields, items, text
from .slack_fields import named, stamp
from .slack_text import plain_text

__all__ = [
    "PLATFORM",
    "Me",
    "News",
    "Reader",
    "Said",
    "Throttled",
    "event_in_history",
    "event_of",
    "file_in",
    "said_in",
]

PLATFORM: Final = "slack"
_SAID: Final = (None, "file_share", "thread_broadcast", "me_message")
"""Subtypes with which humans say something. A message without one is the usual message."""
_BY_BOT: Final = "bot_message"
_SLACKBOT: Final = "USLACKBOT"
_LARGEST: Final = 2**63


@message
class Me:
    """Who the bot is, as `auth.test` says."""

    user_id: str
    bot_id: str | None = None
    team_id: str | None = None


@message
class Throttled:
    """Slack leaves out events, because they are too many."""


@message
class Said:
    """That there is a new message, whether or not it is for us."""

    channel: str
    message_id: str
    partial: bool = False
    """Whether it is told as a mention without files, and so perhaps without those that it has."""


News: TypeAlias = Heard | MessageChange | Throttled


def event_of(payload: object) -> tuple[str, str]:
    """Id and conversation of an event, as far as it has them; empty for what it has not.

    A delivery that is repeated has the same id. Events of one conversation are heard in order.
    """
    if not isinstance(payload, dict):
        return "", ""
    try:
        told = fields(payload, "payload")  # pyright: ignore[reportUnknownArgumentType]  # JSON
        event = chosen(told, "event") or {}
        return text(told, "event_id") or "", text(event, "channel") or ""
    except Malformed:
        return "", ""


def said_in(payload: object) -> Said | None:
    """The new message that an event tells of; None if it tells of none, or cannot be read."""
    try:
        event = chosen(fields(payload, "payload"), "event") or {}
        kind, subtype = event.get("type"), event.get("subtype")
        if kind not in ("message", "app_mention") or subtype not in (*_SAID, _BY_BOT):
            return None
        return Said(
            channel=named(event, "channel"),
            message_id=stamp(event, "ts"),
            partial=kind == "app_mention" and not event.get("files"),
        )
    except Malformed:
        return None


def event_in_history(content: Fields, channel: str) -> Fields:
    """The event that tells of a message, as the message stands now in what a channel holds.

    What a channel holds names the channel in no message. A message of another workspace names that.
    """
    return {
        "type": "event_callback",
        "team_id": content.get("team"),
        "event": {**content, "channel": channel},
    }


class Reader:
    """Reads events for one bot."""

    def __init__(
        self,
        instance: Instance,
        me: Me,
        *,
        allow_bots: bool = False,
        reply_in_thread: bool = True,
    ) -> None:
        self._instance = instance
        self._me = me
        self._allow_bots = allow_bots
        self._reply_in_thread = reply_in_thread

    def __repr__(self) -> str:
        return f"<Reader of {self._instance} for bot {self._me.user_id}>"

    def read(self, payload: object) -> News | None:
        """What an event tells; None for what is nothing to us.

        Raises:
            Malformed: it is not as documented.
        """
        told = fields(payload, "payload")
        if told.get("type") == "app_rate_limited":
            return Throttled()
        if told.get("type") != "event_callback":
            return None
        event = fields(told.get("event"), "event")
        kind, subtype = event.get("type"), event.get("subtype")
        if kind not in ("message", "app_mention"):
            return None
        if subtype == "message_changed":
            return self._changed(event)
        if subtype == "message_deleted":
            return self._deleted(event, chosen(event, "previous_message") or {})
        if subtype in _SAID or (subtype == _BY_BOT and self._allow_bots):
            return self._said(event, team=text(told, "team_id"))
        return None

    def _said(self, event: Fields, team: str | None) -> Heard | None:
        author = self._author(event)
        if author is None:
            return None
        said, named_me = self._text(event)
        named_files = (file_in(file) for file in items(event, "files"))
        files = tuple(file for file in named_files if file is not None)
        if not said and not files:
            return None
        direct = _is_direct(event)
        answers_me = event.get("parent_user_id") == self._me.user_id
        root = _root(event)
        return Heard(
            turn=InboundTurn(
                address=self._address(event, event),
                platform=PLATFORM,
                message_id=stamp(event, "ts"),
                user_id=author,
                text=said,
                guild=None if direct else self._workspace(team),
                direct=direct,
                mentioned=direct or named_me or answers_me or event["type"] == "app_mention",
                reply_to=root if answers_me else None,
            ),
            files=files,
        )

    def _changed(self, event: Fields) -> MessageChange | None:
        """An edit; a deletion, if answers to it remain; None where nobody has edited anything.

        Slack tells in the same way of previews of links that were loaded, of a message that has
        become the root of a thread, and of the agent's own edits.
        """
        now = fields(event.get("message"), "message")
        before = chosen(event, "previous_message") or {}
        if now.get("subtype") == "tombstone":
            return self._deleted({**event, "deleted_ts": now.get("ts")}, before)
        edited = chosen(now, "edited")
        if edited is None or now.get("subtype") not in _SAID:
            return None
        author = self._author(now)
        if author is None or edited.get("user") != author:
            return None
        earlier = chosen(before, "edited") or {}
        change_id = stamp(edited, "ts")
        if earlier.get("ts") == change_id or before.get("text") == now.get("text"):
            return None
        return MessageChange(
            address=self._address(event, now),
            platform=PLATFORM,
            message_id=stamp(now, "ts"),
            change_id=change_id,
            user_id=author,
            text=self._text(now)[0],
        )

    def _deleted(self, event: Fields, before: Fields) -> MessageChange | None:
        """A deletion, of which Slack does not say whose it was; None if a bot had written it."""
        if before and self._author(before) is None:
            return None
        message_id = stamp(event, "deleted_ts")
        return MessageChange(
            address=self._address(event, {**before, "ts": message_id}),
            platform=PLATFORM,
            message_id=message_id,
            change_id="deleted",
            user_id=None,
            text=None,
        )

    def _address(self, event: Fields, content: Fields) -> Address:
        """The channel, and the thread of the message.

        What begins a conversation in a channel is answered in the thread below it, so it belongs to
        that thread already; unless the channel is to be answered.
        """
        root = _root(content)
        if root is None and self._reply_in_thread and not _is_direct(event):
            root = stamp(content, "ts")
        return Address(self._instance, named(event, "channel"), root)

    def _workspace(self, told: str | None) -> str | None:
        """The bot's own, if it has one; a bot of a whole organisation has none.

        In channels that are shared with other workspaces, events name that of whoever has written.
        """
        ours = self._me.team_id
        return ours if ours is not None and ours.startswith("T") else told or ours

    def _author(self, content: Fields) -> str | None:
        """Id of who has written; None if that is nobody who is listened to."""
        bot_id = text(content, "bot_id")
        user_id = text(content, "user")
        if user_id == self._me.user_id or (bot_id is not None and bot_id == self._me.bot_id):
            return None
        is_bot = bot_id is not None or user_id == _SLACKBOT
        if is_bot and not self._allow_bots:
            return None
        return named(content, "bot_id" if user_id is None and is_bot else "user")

    def _text(self, content: Fields) -> tuple[str, bool]:
        """What it says in plain text, with messages that are passed on; and whether it names us."""
        said, named_me = plain_text(text(content, "text") or "", self._me.user_id)
        pieces = [said] if said else []
        for attachment in items(content, "attachments"):
            shared = fields(attachment, "attachment")
            if shared.get("is_share") is True:
                quoted = text(shared, "text") or text(shared, "fallback") or ""
                quoted, _ = plain_text(quoted, self._me.user_id)
                pieces.append("\n".join(f"> {line}" for line in quoted.split("\n")))
        return "\n".join(pieces), named_me


def _is_direct(event: Fields) -> bool:
    """Whether it is a conversation with one human, whose ids begin with D.

    Events of mentions come without `channel_type`.
    """
    return event.get("channel_type") == "im" or (text(event, "channel") or "").startswith("D")


def _root(content: Fields) -> str | None:
    """The first message of the thread that it is in; None outside, and for the first itself."""
    if content.get("thread_ts") is None:
        return None
    root = stamp(content, "thread_ts")
    return None if root == content.get("ts") else root


def file_in(value: object) -> IncomingFile | None:
    """A file of a message; None for one that was deleted, or is hidden by the workspace's plan.

    It has no `url` if another service has it, or if Slack wants to be asked what it is.

    Raises:
        Malformed: it is not as documented.
    """
    file = fields(value, "file")
    if file.get("mode") in ("tombstone", "hidden_by_limit"):
        return None
    mime = mime_in(file, "mimetype")
    size: object = file.get("size")
    url = text(file, "url_private_download") or text(file, "url_private")
    return IncomingFile(
        kind=kind_of(mime),
        reference=named(file, "id"),
        url=None if file.get("is_external") is True else url,
        mime=mime,
        name=text(file, "name") or text(file, "title"),
        size_bytes=size if type(size) is int and 0 <= size < _LARGEST else None,
    )
