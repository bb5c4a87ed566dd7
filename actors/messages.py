"""Messages between actors: frozen, keyword-only, without behaviour.

Requests are imperative (`Deliver`), facts are past tense (`Delivered`). Times are microseconds
since the Unix epoch, UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NewType, TypeAlias

__all__ = [
    "Accepted",
    "Address",
    "Attachment",
    "DeliveryId",
    "InboundTurn",
    "Instance",
    "OutcomeStatus",
    "SessionId",
    "TurnId",
]

Instance = NewType("Instance", str)
"""Name of one configured channel, e.g. `tg`."""
SessionId = NewType("SessionId", str)
"""Name of a session, e.g. `s42`; without `/`, so that it can prefix turn and delivery ids."""
TurnId = NewType("TurnId", str)
"""`<session>/<seq of the user record>`: stable across attempts and restarts."""
DeliveryId = NewType("DeliveryId", str)
"""`<session>/<seq of the record that asked for it>`: stable across attempts and restarts."""

OutcomeStatus: TypeAlias = Literal["delivered", "rendered", "failed", "retrying", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """A place on an instance. Platform ids only, never display names."""

    instance: Instance
    conversation: str
    thread: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Attachment:
    """A file that came with a message, by reference."""

    kind: str
    """`image`, `audio`, `video` or `file`."""
    reference: str
    """Where the channel can fetch it: an opaque id or URL of the platform."""
    mime: str | None = None
    size_bytes: int | None = None
    name: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class InboundTurn:
    """One message of a human, as its channel heard it."""

    address: Address
    platform: str
    message_id: str
    """The platform's id of the message: the same again when it is redelivered."""
    user_id: str
    """The platform's stable id of the human."""
    text: str
    user_name: str | None = None
    """Display name; untrusted, never used to decide anything."""
    chat_name: str | None = None
    """Display name of the conversation; untrusted."""
    guild: str | None = None
    """Guild, workspace or team that the conversation belongs to."""
    direct: bool = True
    """Whether the conversation is between this human and the agent alone."""
    reply_to: str | None = None
    """Platform id of the message which this one quotes."""
    attachments: tuple[Attachment, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A turn is durable: the channel may acknowledge it to its platform."""

    session_id: SessionId
    turn_id: TurnId
    duplicate: bool
    """True when the same message had been accepted before; nothing was changed."""
