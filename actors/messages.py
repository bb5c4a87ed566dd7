"""Messages between actors: frozen, keyword-only, without behaviour.

Requests are imperative (`Deliver`), facts are past tense (`Delivered`). Times are microseconds
since the Unix epoch, UTC.
"""

from __future__ import annotations

from typing import Any, Final, Literal, NamedTuple, NewType, TypeAlias

from .frozen import message

__all__ = [
    "Accept",
    "Accepted",
    "Address",
    "AgentBegan",
    "AgentEnded",
    "AgentReply",
    "AgentSays",
    "AnyTurn",
    "Attachment",
    "CatchUp",
    "Clear",
    "Cleared",
    "DeliveryId",
    "FindSession",
    "HearChange",
    "InboundTurn",
    "Instance",
    "MessageChange",
    "MissionTurn",
    "Passivate",
    "Passivated",
    "RetryTurn",
    "Rotate",
    "SessionId",
    "StartIsolated",
    "StayedAwake",
    "ToolCall",
    "TurnEnded",
    "TurnFailed",
    "TurnFinished",
    "TurnId",
    "TurnInterrupted",
    "Wake",
    "split_record_id",
]

Instance = NewType("Instance", str)
"""Name of one configured channel, e.g. `tg`."""
SessionId = NewType("SessionId", str)
"""Name of a session, e.g. `s42`; without `/`, so that it can prefix turn and delivery ids."""
TurnId = NewType("TurnId", str)
"""`<session>/<seq of the user record>`: stable across attempts and restarts."""
DeliveryId = NewType("DeliveryId", str)
"""`<session>/<seq of the record that asked for it>`: stable across attempts and restarts."""

_MAX_DIGITS: Final = 18
"""Decimal digits of a sequence number: so many always fit into 64 bits."""


def split_record_id(record_id: str) -> tuple[SessionId, int] | None:
    """The session and the sequence number in the id of a turn or a delivery; None if it is none."""
    session_id, slash, seq = record_id.rpartition("/")
    if not slash or len(seq) > _MAX_DIGITS or not (seq.isascii() and seq.isdecimal()):
        return None
    return SessionId(session_id), int(seq)


class Address(NamedTuple):
    """A place on an instance. Platform ids only, never display names.

    A tuple, because it is looked up several times in every turn.
    """

    instance: Instance
    conversation: str
    thread: str | None = None


@message
class Attachment:
    """A file that goes with a message, by reference."""

    kind: str
    """`image`, `audio`, `video` or `file`."""
    reference: str
    """A file that is kept here (`blob:…`), or where its channel can fetch it: an opaque id or URL
    of the platform."""
    mime: str | None = None
    size_bytes: int | None = None
    name: str | None = None


@message
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
    mentioned: bool = True
    """Whether the message is meant for the agent: names it, or answers it. For groups only."""
    reply_to: str | None = None
    """Platform id of the message which this one quotes."""
    attachments: tuple[Attachment, ...] = ()


@message
class MessageChange:
    """A human has edited or deleted a message that was heard before."""

    address: Address
    platform: str
    message_id: str
    """The platform's id of the message, as in its turn."""
    change_id: str
    """The same again when this change is told again, and no other change of the message has it."""
    user_id: str | None
    """Who has changed it: its author. None if the platform does not say; then only for a deletion,
    which moderators may do too."""
    text: str | None
    """What it says now; None if it was deleted."""


@message
class MissionTurn:
    """One run of a mission: a turn that no human asked for."""

    mission: str
    run: int
    """1 for the mission's first run."""
    text: str
    """The prompt."""
    due_us: int
    """When it was due."""


AnyTurn: TypeAlias = InboundTurn | MissionTurn


@message
class Accepted:
    """A turn is durable: the channel may acknowledge it to its platform."""

    session_id: SessionId
    """Empty for a command to the runtime (`/link`), which no session hears."""
    turn_id: TurnId
    """Of a command that the session hears (`/new`), which is no turn: the id of its record."""
    duplicate: bool
    """True when the same message had been accepted before; nothing was changed."""


@message
class Accept:
    """Request, by a channel, to make `turn` durable. Answered with `Accepted`."""

    turn: InboundTurn


@message
class HearChange:
    """Request, by a channel, to make `change` durable.

    Answered with True once it is; with False if no such message was heard from this human.
    """

    change: MessageChange
    session_id: SessionId = SessionId("")
    """Who heard the message; the registry fills it in."""


@message
class ToolCall:
    """One call that the agent made while it worked on a turn, with what came back."""

    name: str
    arguments: str
    result: str


@message
class AgentReply:
    """What an agent made of a turn. Without text or files it has chosen silence."""

    text: str | None
    tools: tuple[ToolCall, ...] = ()
    saw: tuple[Any, ...] | None = None
    """What of the context its window held, if that was not all of it: see `windows.Seen`."""
    attachments: tuple[Attachment, ...] = ()
    """Kept files that go with it; it is no silence if it has any."""


@message
class AgentBegan:
    """An agent has been asked to answer a human, for the first time or once more."""

    turn_id: TurnId
    address: Address
    reply_to: str
    """The platform's id of the human's message."""


@message
class AgentSays:
    """An agent has yielded a piece of its reply; nothing of it is durable."""

    turn_id: TurnId
    text: str
    """All of it up to now."""


@message
class AgentEnded:
    """An agent has returned, raised or been stopped."""

    turn_id: TurnId
    answered: bool
    """Whether there is a reply, for which a delivery will follow."""


@message
class TurnFinished:
    """The agent has returned."""

    session_id: SessionId
    turn_seq: int
    turn: AnyTurn
    reply: AgentReply


@message
class TurnFailed:
    """The agent raised, ran out of time or returned something that is no reply."""

    session_id: SessionId
    turn_seq: int
    turn: AnyTurn
    error: str
    retryable: bool


@message
class TurnInterrupted:
    """The runtime stopped the agent; the attempt does not count."""

    session_id: SessionId
    turn_seq: int
    turn: AnyTurn


@message
class StartIsolated:
    """Request to begin the last attempt of a turn, now that no other last attempt runs."""

    session_id: SessionId
    turn_seq: int


@message
class RetryTurn:
    """Request to begin the next attempt of a turn whose pause is over."""

    session_id: SessionId
    turn_seq: int


@message
class Clear:
    """Request to begin the context of a session anew. Answered with `Cleared` once durable."""

    session_id: SessionId
    by: str


@message
class Cleared:
    """The context of a session begins after record `seq`."""

    session_id: SessionId
    seq: int


@message
class Passivate:
    """Request to leave memory, if nothing is open."""

    session_id: SessionId


@message
class Passivated:
    """The session has left memory; its state is in the store."""

    session_id: SessionId
    ref: object
    """The actor that has left: its successor may be in memory already."""


@message
class StayedAwake:
    """The session has open work and stays in memory."""

    session_id: SessionId


@message
class Rotate:
    """Request to let those sessions leave memory that were idle since the last such request."""


@message
class FindSession:
    """Request for the actor of a session, brought into memory if need be."""

    session_id: SessionId


@message
class CatchUp:
    """Request to answer once everything that was sent before has been handled."""


@message
class Wake:
    """Request to load a session that has open work, so that the work goes on."""

    session_id: SessionId


@message
class TurnEnded:
    """A turn has been answered, or has ended in silence or failure."""

    turn_id: TurnId
    address: Address
    status: Literal["answered", "silent", "quarantined"]
    delivery_id: DeliveryId | None = None
    """The reply that this turn produced, if any."""
