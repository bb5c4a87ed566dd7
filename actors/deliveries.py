"""Messages about what is to be sent, and what became of it: frozen, keyword-only.

As in :mod:`.messages`: requests are imperative, facts are past tense, times are microseconds.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from .frozen import message
from .messages import Address, Attachment, DeliveryId, SessionId, TurnId

__all__ = [
    "Deliver",
    "DeliveryReported",
    "FileToSend",
    "LaneSeen",
    "LateReceipt",
    "LateStatus",
    "LookAtLanes",
    "MayRetry",
    "MayTell",
    "Notice",
    "Outcome",
    "OutcomeStatus",
    "Part",
    "RetryDelivery",
    "SendMessage",
    "SendPlan",
]

OutcomeStatus: TypeAlias = Literal["delivered", "rendered", "failed", "retrying", "unknown"]
LateStatus: TypeAlias = Literal["delivered", "read", "failed"]


@message
class Part:
    """What became of one part of a message that takes several: pieces of its text, then files."""

    number: int
    """1 for the first."""
    status: Literal["delivered", "failed", "unknown", "not_sent"]
    platform_message_id: str | None = None


@message
class Outcome:
    """What became of a message that was to be sent.

    `delivered`: the platform's id is held. `rendered`: shown in the feed. `failed`: it did not
    arrive, for `reason`. `retrying`: not yet, for `reason`. `unknown`: it left and no answer came.
    What was delivered for the reason `file_not_sent` has a line of text in the place of a file.
    """

    status: OutcomeStatus
    reason: str | None = None
    platform_message_id: str | None = None
    delivery_id: DeliveryId | None = None
    provenance: Literal["recorded", "not_needed"] = "not_needed"
    """Whether a note was written for the session that owns the conversation: only another one
    needs it, and only of what has arrived, or may have."""
    noted_in: SessionId | None = None
    """The session that has the note."""
    parts: tuple[Part, ...] = ()
    """Of a message that takes several, each; empty otherwise."""


@message
class SendMessage:
    """Request to send `text` from a session that no inbound turn asked. Answered with `Outcome`.

    To a conversation, to a user wherever they last wrote, or to the session's active channel.
    """

    session_id: SessionId
    text: str
    to: Address | None = None
    user: str | None = None
    by: Literal["turn", "program", "operator", "runtime"] = "program"
    during: int = 0
    """The turn in which the agent asks for it."""
    route: str | None = None
    """How `to` was found, if whoever asks knows it; else the registry fills it in."""
    dry_run: bool = False
    """Whether it is only asked where it would go; then the answer is a `SendPlan`."""
    attachments: tuple[Attachment, ...] = ()
    """Kept files that go with it; whoever asks has made sure that the session may see them."""


@message
class SendPlan:
    """Where a message would go, and what would follow."""

    session_id: SessionId
    """The session that would speak."""
    address: Address | None
    """None for the feed, or if it is refused."""
    route: str
    """How the place is found: `address`, `user alice`, `active channel` or `feed`."""
    owner: SessionId | None = None
    """The session that owns the conversation, and would get a note if it is another."""
    refused: str | None = None
    """Why it would fail at once."""


@message
class RetryDelivery:
    """Request, by the operator, to send a dead letter again. Answered with `Outcome`."""

    session_id: SessionId
    delivery_id: DeliveryId
    mark_duplicate: bool = False
    """Whether it may be sent although it may have arrived before; it is then marked."""


@message
class FileToSend:
    """A kept file that is to be sent; what is in it stays where it is until it is read."""

    kind: str
    """`image`, `audio`, `video` or `file`."""
    reference: str
    """By which it is kept."""
    size_bytes: int
    label: str
    """What it is, for a line of text: `file "report.pdf", application/pdf, 12,345 bytes`."""
    mime: str | None = None
    name: str | None = None
    """What it is called; without any path."""


@message
class Deliver:
    """Request to send a durable message; `address` None means the feed."""

    session_id: SessionId
    delivery_id: DeliveryId
    address: Address | None
    text: str
    asked_at_us: int
    reply_to: str | None = None
    attempt: int = 1
    ambiguous: bool = False
    """An earlier attempt was under way when the process died: it may have arrived."""
    duplicate: bool = False
    """It may have arrived before, and the operator wants it sent again, marked for the reader."""
    parts: tuple[str, ...] = ()
    """The platform's ids of the parts that have arrived already, from the first one on."""
    keep_id: bool = False
    """Whether the platform's id must lead back to the delivery: to be echoed in the report."""
    turn_id: TurnId | None = None
    """The turn that it answers, if it answers one."""
    files: tuple[FileToSend, ...] = ()
    """What goes with the text: each a message of its own, behind those of the text."""
    notice: Notice | None = None
    """What it is, where it is no session's: it may go out as long as the registry says so."""


@message
class Notice:
    """Request to send what the runtime itself says. It is written down nowhere."""

    delivery_id: DeliveryId
    address: Address
    text: str
    user_id: str
    """Whom it tells, in canonical form."""
    direct: bool = True
    """Whether nobody else is in the conversation."""
    to_stranger: bool = False
    """Whether it is for somebody who has not been let in."""
    reply_to: str | None = None


@message
class MayTell:
    """Request to say whether a notice may go out now. Answered with True or False."""

    notice: Notice


@message
class DeliveryReported:
    """What became of one attempt to send. A fact of the channel, for the session's log."""

    session_id: SessionId
    delivery_id: DeliveryId
    attempt: int
    status: OutcomeStatus
    reason: str | None = None
    platform_message_id: str | None = None
    may_have_arrived: bool = False
    """Whether this attempt, or one before it, may have reached the platform unanswered."""
    address: Address | None = None
    """Where it was sent; None if it was sent nowhere."""
    parts: tuple[str, ...] = ()
    """The platform's ids of the parts that have arrived, of a message that takes several."""
    parts_in_all: int = 1
    """How many parts the message takes."""
    keep_id: bool = False

    @property
    def was_heard(self) -> bool:
        """Whether it is over, and the conversation has got something of it, or may have."""
        return self.status in ("delivered", "unknown") or (
            self.status == "failed" and bool(self.parts)
        )


@message
class LookAtLanes:
    """Request to tell what waits to be sent. Answered with a tuple of `LaneSeen`."""


@message
class LaneSeen:
    """What waits to be sent to one place."""

    address: Address
    waiting: int
    """Deliveries, the one that is first included."""
    delivery_id: DeliveryId
    """The first of them."""
    next_try_at_us: int
    """When it is tried again; 0 if an attempt is under way."""
    reason: str | None
    """Why the last attempt at it failed; None if none has."""


@message
class LateReceipt:
    """What a platform tells of a message some time after it took it."""

    conversation: str
    platform_message_id: str
    status: LateStatus
    reason: str | None = None


@message
class MayRetry:
    """Request to record that another attempt begins. Answered with True once that is durable."""

    session_id: SessionId
    delivery_id: DeliveryId
    attempt: int
