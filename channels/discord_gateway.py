"""The gateway's protocol, version 10: what to answer, when to beat, how to go on. Pure.

The one who has the socket hands every payload to `Gateway.hear` and looks at it again at `due_at`;
what it returns is to be done in its order. Of the token it knows nothing.

Source: https://docs.discord.com/developers/events/gateway, "Connection Lifecycle", "Sending
Heartbeats", "Resuming", "Rate Limiting"; .../developers/topics/opcodes-and-status-codes, "Gateway".
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any, Final, Literal, TypeAlias

from ..actors.frozen import message
from .base import Rejected
from .json_fields import Fields, Malformed, fields, flag, number, text

__all__ = [
    "IDENTIFY",
    "LEAVE_CODE",
    "RESUME",
    "Act",
    "Event",
    "Gateway",
    "GoneOn",
    "Leave",
    "Say",
    "Session",
    "next_after_close",
]

_DISPATCH: Final = 0
_HEARTBEAT: Final = 1
IDENTIFY: Final = 2
RESUME: Final = 6
_RECONNECT: Final = 7
_INVALID_SESSION: Final = 9
_HELLO: Final = 10
_HEARTBEAT_ACK: Final = 11

LEAVE_CODE: Final = 4000
"""What connections are closed with: 1000 and 1001 would end their sessions too."""
_HELLO_S: Final = 20.0
"""Seconds within which the gateway must have greeted."""
_LEAST_BEAT_S: Final = 0.05
_MOST_BEAT_S: Final = 3600.0
"""Intervals of heartbeats that make sense."""
_SENDS: Final = 110
_SENDS_S: Final = 60.0
"""Discord disconnects who sends more than 120 payloads a minute; only it can make us beat so often,
and from here on it is not answered."""
_PAUSE_S: Final = (1.0, 5.0)
"""Seconds, at random in between, to wait after a session was declared invalid."""
_SECONDS_IN_VAIN: Final = 5.0
"""One bot may identify once in five seconds; who is refused then waits at least as long."""

_SWITCH_ON: Final = (
    "switch on the Message Content Intent on the bot's page at Discord, under Privileged Gateway "
    "Intents; or set message_content = false, and only direct messages and mentions are heard"
)
_REFUSALS: Final = {
    4004: ("unauthorized", "the token is wrong: make a new one on the bot's page at Discord"),
    4010: ("bad_shard", "Discord refuses the shard"),
    4011: ("sharding_required", "the bot is in too many guilds for one connection"),
    4012: ("bad_version", "Discord no longer speaks version 10 of its gateway"),
    4013: ("bad_intents", "Discord refuses the intents"),
    4014: ("disallowed_intents", _SWITCH_ON),
}
"""Codes after which one must not come back -> a word, and what to do."""
_SESSION_IS_OVER: Final = frozenset({1000, 1001, 4003, 4007, 4009})
"""Codes after which a session cannot be resumed. 4003 tells that it has been invalidated."""


@message
class Session:
    """What is needed to go on where a connection has ended."""

    session_id: str
    url: str
    seq: int
    """Of the last event that need not come again."""


@message
class Say:
    """Send a payload; those that identify or resume have the token put into them."""

    op: int
    data: Any = None


@message
class Event:
    """Something has happened."""

    name: str
    seq: int
    data: Any


@message
class GoneOn:
    """The session stands: it is new, or nothing of it was lost."""

    resumed: bool


@message
class Leave:
    """Close the connection with `LEAVE_CODE`, and come back after a pause."""

    why: str
    pause_s: float = 0.0


Act: TypeAlias = Say | Event | GoneOn | Leave


class Gateway:
    """One connection, from its greeting to its end."""

    def __init__(self, session: Session | None, *, intents: int, rng: Random, now_s: float) -> None:
        """Nothing was heard yet.

        Args:
            session: to be resumed; a new one begins without.
            intents: which events are wanted.
            rng: where jitter comes from.
            now_s: on the clock of all further times.
        """
        self.session = session
        """The session as far as it was heard; None when it cannot be resumed."""
        self.due_at: float = now_s + _HELLO_S
        """When `tick` is to be called next."""
        self.stands = False
        """Whether the session stands on this connection."""
        self._intents = intents
        self._rng = rng
        self._interval_s: float | None = None
        self._unanswered = False
        self._sent: deque[float] = deque(maxlen=_SENDS)

    def __repr__(self) -> str:
        return f"<Gateway {'up' if self.stands else 'connecting'}>"

    @property
    def url(self) -> str | None:
        """Where the session is resumed."""
        return self.session.url if self.session is not None else None

    def hear(self, payload: object, now_s: float) -> list[Act]:
        """What follows from a payload.

        Raises:
            Malformed: it is not as documented; the connection can go on.
        """
        told = fields(payload, "payload")
        op = number(told, "op")
        if op == _DISPATCH:
            return self._hear_event(told)
        if op == _HEARTBEAT:
            return self._beat(now_s)
        if op == _RECONNECT:
            return [Leave(why="Discord wants us to connect anew")]
        if op == _INVALID_SESSION:
            return self._invalidated(resumable=flag(told, "d"))
        if op == _HELLO:
            return self._greeted(fields(told.get("d"), "d"), now_s)
        if op == _HEARTBEAT_ACK:
            self._unanswered = False
        return []

    def tick(self, now_s: float, *, listens: bool = True) -> list[Act]:
        """What is due.

        Args:
            now_s: when it is.
            listens: whether what has come was read; otherwise an answer may lie there.
        """
        if now_s < self.due_at:
            return []
        if self._interval_s is None:
            return [Leave(why="Discord did not greet")]
        self.due_at = now_s + self._interval_s
        if self._unanswered and listens:
            return [Leave(why="a heartbeat was not answered")]
        self._unanswered = True
        return self._beat(now_s)

    def _hear_event(self, told: Fields) -> list[Act]:
        name, seq, data = text(told, "t"), number(told, "s"), told.get("d")
        if not name:
            raise Malformed("an event has no name")
        if name == "READY":
            ready = fields(data, "d")
            session_id, url = text(ready, "session_id"), text(ready, "resume_gateway_url")
            if not session_id or not url:
                raise Malformed("a session has no id, or no address")
            self.session = Session(session_id=session_id, url=url, seq=seq)
        elif self.session is not None and seq > self.session.seq:
            self.session = Session(
                session_id=self.session.session_id, url=self.session.url, seq=seq
            )
        event = Event(name=name, seq=seq, data=data)
        if name in {"READY", "RESUMED"}:
            self.stands = True
            return [event, GoneOn(resumed=name == "RESUMED")]
        return [event]

    def _greeted(self, told: Fields, now_s: float) -> list[Act]:
        interval_ms: object = told.get("heartbeat_interval")
        if type(interval_ms) not in {int, float}:
            raise Malformed("heartbeat_interval is no number")
        assert isinstance(interval_ms, int | float)
        if self._interval_s is not None:
            return []  # a second greeting
        self._interval_s = min(max(interval_ms / 1000, _LEAST_BEAT_S), _MOST_BEAT_S)
        self.due_at = now_s + self._interval_s * self._rng.random()
        self._sent.append(now_s)
        if self.session is None:
            return [
                Say(
                    op=IDENTIFY,
                    data={
                        "intents": self._intents,
                        "properties": {
                            "os": "linux",
                            "browser": "turnkeeper",
                            "device": "turnkeeper",
                        },
                    },
                )
            ]
        return [
            Say(
                op=RESUME,
                data={"session_id": self.session.session_id, "seq": self.session.seq},
            )
        ]

    def _invalidated(self, *, resumable: bool) -> list[Act]:
        pause_s = self._rng.uniform(*_PAUSE_S)
        if resumable:
            return [Leave(why="Discord asks to resume the session", pause_s=pause_s)]
        if self.session is None:
            pause_s += _SECONDS_IN_VAIN
        self.session = None
        return [Leave(why="Discord has ended the session", pause_s=pause_s)]

    def _beat(self, now_s: float) -> list[Act]:
        if len(self._sent) == _SENDS and self._sent[0] > now_s - _SENDS_S:
            return []
        self._sent.append(now_s)
        return [Say(op=_HEARTBEAT, data=self.session.seq if self.session is not None else None)]


def next_after_close(code: int | None) -> Literal["resume", "identify"]:
    """How to go on after Discord has closed the connection.

    Args:
        code: what it was closed with; None if it broke.

    Raises:
        Rejected: one must not come back before somebody has mended it.
    """
    if code in _REFUSALS:
        reason, words = _REFUSALS[code]
        raise Rejected(f"the gateway closed with {code}: {words}", reason=reason)
    return "identify" if code in _SESSION_IS_OVER else "resume"
