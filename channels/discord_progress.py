"""How far a bot has heard: what its watermark holds. Pure.

The session, with the number of the event before the oldest one that is not settled; and of each
channel the last message that is. A session knows what was missed for a few minutes; when it is
lost, each channel is asked for what came after its last message, and until all were asked no
session is stored, so that another process would ask them too.

Source: https://docs.discord.com/developers/events/gateway, "Resuming".
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, Final, TypeAlias, cast

from .discord_fields import is_snowflake
from .discord_gateway import Session

__all__ = ["MAX_CHANNELS", "Progress", "Ticket"]

Ticket: TypeAlias = tuple[int, int]
"""One event: which session of this process it came in, and its number."""

MAX_CHANNELS: Final = 1_000
"""Channels whose last message is remembered: those heard last. A watermark has room for 65,536
characters, and each takes up to 46."""
_MAX_CHARS: Final = 2_048
"""Longest session id or address that is stored."""


class Progress:
    """Which events were heard, and which of them are settled."""

    def __init__(self, stored: str | None, account: str) -> None:
        """Go on from a watermark; from none, or one that cannot be read, anew.

        Args:
            stored: what it held.
            account: digest of the token: with another one, a session is not resumed.
        """
        session, marks = _read(stored, account)
        self._account = account
        self.session = session
        """The session as it was heard last; None if there is none to be resumed."""
        self.marks: OrderedDict[str, str] = marks
        """Channel -> the last message that is settled; the channel heard last is the last."""
        self._open: set[int] = set()
        self._sessions = 0
        self._behind: set[str] = set()

    def __repr__(self) -> str:
        return f"<Progress: {len(self._open)} open, {len(self.marks)} channels>"

    def begin(self, session: Session) -> list[str]:
        """A new session has begun: these channels are to be asked for what was missed."""
        self.session = session
        self._open.clear()
        self._sessions += 1
        self._behind = set(self.marks)
        return list(reversed(self.marks))

    def lose(self) -> None:
        """The session cannot be resumed any more."""
        self.session = None

    def caught_up(self, channel: str) -> None:
        """Nothing is missed in a channel any more."""
        self._behind.discard(channel)

    def forget(self, channel: str) -> None:
        """A channel is gone, or can no longer be read."""
        self._behind.discard(channel)
        self.marks.pop(channel, None)

    def heard(self, session: Session) -> None:
        """An event came; `session` is as it is with this event."""
        self.session = session

    def open(self, session: Session, channel: str, message_id: str | None) -> Ticket:
        """An event of a channel came, and is not settled.

        Args:
            session: as it is with this event.
            channel: where.
            message_id: of a new message.
        """
        self.heard(session)
        self._open.add(session.seq)
        if message_id is not None and channel not in self.marks and int(message_id) > 0:
            self._mark(channel, str(int(message_id) - 1))
        return self._sessions, session.seq

    def settle(self, ticket: Ticket) -> None:
        """An event need not come again."""
        session, seq = ticket
        if session == self._sessions:
            self._open.discard(seq)

    def passed(self, channel: str, message_id: str) -> None:
        """A message need not come again, nor any before it in its channel."""
        if int(message_id) > int(self.marks.get(channel, "0")):
            self._mark(channel, message_id)

    def stored(self) -> str:
        """What the watermark is to hold."""
        told: dict[str, Any] = {"account": self._account, "marks": self.marks}
        session = self.session
        if session is not None and not self._behind:
            seq = min(self._open, default=session.seq + 1) - 1
            told["session"] = [session.session_id, session.url, seq]
        return json.dumps(told, separators=(",", ":"))

    def _mark(self, channel: str, message_id: str) -> None:
        self.marks[channel] = message_id
        self.marks.move_to_end(channel)
        while len(self.marks) > MAX_CHANNELS:
            dropped, _ = self.marks.popitem(last=False)
            self._behind.discard(dropped)


def _read(stored: str | None, account: str) -> tuple[Session | None, OrderedDict[str, str]]:
    try:
        told: object = json.loads(stored or "{}")
    except (ValueError, RecursionError):
        told = {}
    if not isinstance(told, dict):
        return None, OrderedDict()
    known = cast("dict[str, Any]", told)
    marks: OrderedDict[str, str] = OrderedDict()
    if isinstance(known.get("marks"), dict):
        for channel, message_id in cast("dict[str, Any]", known["marks"]).items():
            if is_snowflake(channel) and is_snowflake(message_id):
                marks[channel] = message_id
    same = known.get("account") == account
    return _session(known.get("session")) if same else None, marks


def _session(told: object) -> Session | None:
    match told:
        case [str(session_id), str(url), int(seq)] if (
            seq >= 0 and len(session_id) <= _MAX_CHARS and len(url) <= _MAX_CHARS
        ):
            return Session(session_id=session_id, url=url, seq=seq)
        case _:
            return None
