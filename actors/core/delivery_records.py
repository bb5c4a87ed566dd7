"""The kinds of record that tell what became of a delivery, and of what others said."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypeAlias

from ..frozen import message

__all__ = [
    "DeliveryRecord",
    "DeliveryStatus",
    "NoteRecord",
    "ReceiptRecord",
    "ReopenedRecord",
]

DeliveryStatus: TypeAlias = Literal[
    "sending", "delivered", "rendered", "failed", "retrying", "unknown"
]


@message
class DeliveryRecord:
    """What became of the delivery that the assistant record `delivery_seq` asked for."""

    kind: ClassVar[str] = "delivery"
    at_us: int
    delivery_seq: int
    status: DeliveryStatus
    attempt: int = 1
    reason: str | None = None
    platform_message_id: str | None = None
    may_have_arrived: bool = False
    """Of `retrying`: this attempt, or one before it, may have reached the platform."""
    parts: tuple[Any, ...] = ()
    """Of a message that takes several: the platform's id of each that has arrived, from the first
    one on."""
    noted_in: str | None = None
    """The session whose log got the note of it, in the same batch."""
    noted_seq: int = 0


@message
class ReceiptRecord:
    """The platform has told more of a delivery that was over."""

    kind: ClassVar[str] = "receipt"
    at_us: int
    delivery_seq: int
    status: str
    """`delivered`, `read` or `failed`."""
    reason: str | None = None
    platform_message_id: str | None = None


@message
class ReopenedRecord:
    """An operator asked for another attempt at a delivery that was over."""

    kind: ClassVar[str] = "reopened"
    at_us: int
    delivery_seq: int
    instance: str | None
    conversation: str | None
    thread: str | None
    duplicate: bool = False
    """Whether it may have arrived before, and is to be marked for the reader."""
    parts: tuple[Any, ...] = ()
    """What has arrived of it already: see `DeliveryRecord`."""


@message
class NoteRecord:
    """What somebody else said in a conversation of this session, on its behalf.

    It is part of the batch that holds the outcome of the delivery, or stands for no delivery.
    """

    kind: ClassVar[str] = "note"
    at_us: int
    text: str
    source: str
    """Who said it: `mission inbox`, `session s3`, or the label that a mirror gave."""
    session_id: str | None
    """The session that said it."""
    mission: str | None
    delivery_id: str | None
    """None where nothing was sent through here."""
    instance: str | None
    conversation: str | None
    thread: str | None
    status: str = "delivered"
    """`delivered`, `partial`, `unknown` (it may have arrived), or `mirrored`."""
    platform_message_id: str | None = None
    metadata: str | None = None
    """What a mirror was given beside the text, as JSON."""
