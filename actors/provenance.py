"""Messages about what is said on a session's behalf: notes, mirrors and the active channel.

A note and the outcome of its delivery are one batch over two logs. The registry lets no session be
part of two such batches at once; the owner lends its half, and whoever spoke submits both.
"""

from __future__ import annotations

from typing import Literal

from ..storage.base import Batch
from .deliveries import DeliveryReported, LateReceipt
from .frozen import message
from .messages import DeliveryId, Instance, SessionId

__all__ = [
    "AimAtDefault",
    "HearReceipt",
    "KeepNote",
    "LateReceipt",
    "Mirror",
    "Mirrored",
    "NoteLent",
    "NoteReturned",
    "NoteWaits",
]


@message
class KeepNote:
    """Request to the owner of a conversation: lend the half of a batch that notes what was said."""

    session_id: SessionId
    """The owner."""
    speaker: SessionId
    speaker_stream: int
    report: DeliveryReported


@message
class NoteLent:
    """The owner's half, for whoever spoke; until it is returned, the owner submits nothing."""

    session_id: SessionId
    """Who spoke."""
    report: DeliveryReported
    owner: SessionId | None
    """Who has the note: an earlier owner, if it was written before. None where nobody can keep one;
    then nothing was lent."""
    lender: SessionId | None = None
    """Who was asked for its half, and waits for its return; None if that is nobody."""
    note_seq: int = 0
    batch: Batch | None = None
    """None if the note was written before, or cannot be."""
    awaits_owner: bool = False
    """Whether the conversation belongs to nobody yet: then the note waits for whoever it will."""


@message
class NoteReturned:
    """Whoever spoke has submitted what the owner lent, or has no use for it."""

    session_id: SessionId
    """The owner."""
    speaker: SessionId
    delivery_id: DeliveryId
    kept: bool


@message
class NoteWaits:
    """A note waits for the owner of a conversation that has none, and is durable, or refused."""

    delivery_id: DeliveryId


@message
class Mirror:
    """Request to note what was said elsewhere, without sending it. Answered with `Mirrored`."""

    text: str
    source: str
    session_id: SessionId | None = None
    user: str | None = None
    """Instead of a session: whose direct session it is."""
    metadata: str | None = None
    """As JSON."""


@message
class Mirrored:
    """What became of a mirror. A failure breaks nothing: it is a value, and logged."""

    status: Literal["recorded", "failed"]
    session_id: SessionId | None = None
    """The session whose agent knows it from its next turn on."""
    seq: int = 0
    """Of the note, in that session's log."""
    reason: str | None = None


@message
class AimAtDefault:
    """Request to let a session's messages go where a human last wrote to its agent at `instance`.

    Answered with that `Address`; with None where there is none, and what was before stays.
    """

    session_id: SessionId
    instance: Instance
    by: str


@message
class HearReceipt:
    """Request to write a late receipt down. Answered with whether it was about one of ours."""

    instance: Instance
    receipt: LateReceipt
    session_id: SessionId = SessionId("")
    """Whose delivery it was; the registry fills it in."""
    delivery_seq: int = 0
