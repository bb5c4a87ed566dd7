"""The kinds of record that a session's log holds, and their flat form for the codec.

A record is written once and never changed. Everything else that is stored (heads, bindings,
outbox) follows from the log by replay. The flat form is `[kind, at_us, *fields]`; new fields are
only ever added at the end, with a default, so that old records stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any, ClassVar, Final, Literal, TypeAlias, cast

from ..frozen import message
from ..messages import Address, Attachment, InboundTurn, Instance, MessageChange, MissionTurn
from .view_records import (
    ChangedRecord,
    ClearRecord,
    CommandRecord,
    ErasedRecord,
    ForgottenRecord,
    MemoryRecord,
    SummaryRecord,
)

__all__ = [
    "AccessRecord",
    "ActiveRecord",
    "AssistantRecord",
    "AttemptRecord",
    "BoundRecord",
    "ChangeRecord",
    "ChangedRecord",
    "ClearRecord",
    "CommandRecord",
    "DeliveryRecord",
    "DeliveryStatus",
    "ErasedRecord",
    "FailureRecord",
    "FeedRecord",
    "ForgottenRecord",
    "HiddenRecord",
    "InterruptedRecord",
    "KeyedRecord",
    "LinkedRecord",
    "MalformedRecord",
    "MemoryRecord",
    "MissionRecord",
    "NoteRecord",
    "OpenedRecord",
    "QuarantinedRecord",
    "ReceiptRecord",
    "Record",
    "ReleasedRecord",
    "ReopenedRecord",
    "ScheduleRecord",
    "SilentRecord",
    "SummaryRecord",
    "ToolRecord",
    "UnlinkedRecord",
    "UserRecord",
    "address_of",
    "change_behind",
    "flat_files",
    "heard",
    "pack",
    "record_kinds",
    "turn_of",
    "unpack",
    "user_record",
]

DeliveryStatus: TypeAlias = Literal[
    "sending", "delivered", "rendered", "failed", "retrying", "unknown"
]


class MalformedRecord(Exception):
    """A stored record has the wrong shape for its kind."""


@message
class OpenedRecord:
    """The session exists. Always the first record."""

    kind: ClassVar[str] = "opened"
    at_us: int
    session_id: str
    agent: str
    by: str


@message
class BoundRecord:
    """A conversation belongs to this session from here on."""

    kind: ClassVar[str] = "bound"
    at_us: int
    instance: str
    conversation: str
    thread: str | None
    version: int
    by: str
    platform: str
    guild: str | None
    direct: bool
    user_id: str | None = None
    """Of a direct conversation: whose it is."""
    scope: str = "place"
    """The scope under which the session was chosen; see `routing.Scope`."""
    from_session: str | None = None
    """The session that owned the conversation before, if any."""


@message
class ReleasedRecord:
    """A conversation belongs to another session from here on."""

    kind: ClassVar[str] = "released"
    at_us: int
    instance: str
    conversation: str
    thread: str | None
    version: int
    by: str
    to_session: str
    merged: bool = False
    """Whether it was the last one, so that this session goes on inside the other."""


@message
class KeyedRecord:
    """This session serves a session key from here on, or does not any more."""

    kind: ClassVar[str] = "keyed"
    at_us: int
    key: tuple[str, ...]
    version: int
    held: bool = True


@message
class LinkedRecord:
    """What was said in an earlier session, up to now and later, is part of this one's context."""

    kind: ClassVar[str] = "linked"
    at_us: int
    session_id: str
    stream: int
    number: int
    """Of the change that did it, in the ledger."""
    by: str


@message
class UnlinkedRecord:
    """An earlier session is not part of this one's context any more: it lives on by itself."""

    kind: ClassVar[str] = "unlinked"
    at_us: int
    session_id: str
    stream: int
    number: int
    by: str


@message
class HiddenRecord:
    """A link was undone: what an identity said here since then is not shown to the agent."""

    kind: ClassVar[str] = "hidden"
    at_us: int
    platform: str
    user_id: str
    since_us: int
    number: int


@message
class ActiveRecord:
    """The active channel was set by an explicit act; without an instance there is none.

    An instance without a conversation: it is meant to be there, and nobody is there yet.
    """

    kind: ClassVar[str] = "active"
    at_us: int
    instance: str | None
    conversation: str | None
    thread: str | None
    by: str


@message
class ChangeRecord:
    """An explicit change of who is who, or of what belongs to whom. Only in the ledger."""

    kind: ClassVar[str] = "change"
    at_us: int
    act: str
    """`link`, `unlink`, `pair`, `unpair`, `move`, `undo` or `import`."""
    by: str
    """`operator`, `program`, `config` or `code`."""
    text: str
    """What was done, in words."""
    identities: tuple[Any, ...] = ()
    """`(platform, user_id, state before, state)` each; a state is the rest of an `IdentityRow`."""
    moves: tuple[Any, ...] = ()
    """`(instance, conversation, thread, from session, to session, new version, scope before)`."""
    keys: tuple[Any, ...] = ()
    """`(key, session before, session)` each; None for no session."""
    actives: tuple[Any, ...] = ()
    """`(session, place before, place)` each; a place is a list of three, or None."""
    undoes: int | None = None
    """Number of the change that this one takes back."""
    joins: tuple[Any, ...] = ()
    """`(session, earlier session, whether it joined)` each; False where it left."""
    imported: str | None = None
    """The session that was brought in from elsewhere, where that is the change."""


@message
class AccessRecord:
    """The operator approved or revoked somebody. Only in the ledger."""

    kind: ClassVar[str] = "access"
    at_us: int
    instance: str
    user_id: str
    standing: str
    by: str
    user_name: str | None = None


@message
class UserRecord:
    """A human said something: the turn is accepted."""

    kind: ClassVar[str] = "user"
    at_us: int
    text: str
    instance: str
    conversation: str
    thread: str | None
    platform: str
    message_id: str
    user_id: str
    user_name: str | None = None
    chat_name: str | None = None
    guild: str | None = None
    direct: bool = True
    reply_to: str | None = None
    attachments: tuple[Any, ...] | None = None


@message
class MissionRecord:
    """A mission's tick: the agent is given its prompt, which is a turn that no human asked for."""

    kind: ClassVar[str] = "mission"
    at_us: int
    text: str
    """The prompt."""
    mission: str
    run: int
    """1 for the mission's first run."""
    due_us: int
    """When it was due; the time of the request if somebody asked for it."""
    by: str = "schedule"
    """`schedule`, or whoever asked for this run."""


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


@message
class AttemptRecord:
    """The agent is given a turn once more, after a failure or a restart."""

    kind: ClassVar[str] = "attempt"
    at_us: int
    turn_seq: int
    attempt: int


@message
class InterruptedRecord:
    """A stopping runtime took the turn away from the agent; that attempt does not count."""

    kind: ClassVar[str] = "interrupted"
    at_us: int
    turn_seq: int


@message
class ToolRecord:
    """The agent called a tool during the turn."""

    kind: ClassVar[str] = "tool"
    at_us: int
    turn_seq: int
    name: str
    arguments: str
    result: str


@message
class AssistantRecord:
    """The agent said something; the record is also the request to deliver it.

    `turn_seq` is 0 when it is not the answer to a turn. Without an instance it goes to the feed;
    with one and no conversation there is nobody to address.
    """

    kind: ClassVar[str] = "assistant"
    at_us: int
    text: str
    turn_seq: int
    instance: str | None
    conversation: str | None
    thread: str | None
    reply_to: str | None = None
    by: str | None = None
    """Who asked for it, where it is no answer: `turn`, `program`, `operator` or `runtime`."""
    during: int = 0
    """The turn in which the agent asked for it, where it is no answer."""
    route: str | None = None
    """How the place was found, where it is no answer: see `addressing`."""
    saw: tuple[Any, ...] | None = None
    """Of an answer: what its agent was shown, if that was not the whole context."""
    attachments: tuple[Any, ...] | None = None
    """The files that go with it: kept ones only, laid flat as those of a human's message are."""


@message
class SilentRecord:
    """The agent ended the turn without a word."""

    kind: ClassVar[str] = "silent"
    at_us: int
    turn_seq: int
    saw: tuple[Any, ...] | None = None
    """What the agent was shown, if that was not the whole context."""


@message
class FailureRecord:
    """An attempt at the turn failed; another one follows."""

    kind: ClassVar[str] = "failure"
    at_us: int
    turn_seq: int
    attempt: int
    error: str


@message
class QuarantinedRecord:
    """The turn was given up after its last attempt; the session goes on without it."""

    kind: ClassVar[str] = "quarantined"
    at_us: int
    turn_seq: int
    attempts: int
    error: str


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
class FeedRecord:
    """Something was shown in the console feed. Only in the feed's own stream."""

    kind: ClassVar[str] = "feed"
    at_us: int
    session_id: str
    delivery_id: str
    text: str


@message
class ScheduleRecord:
    """A mission was added, changed, paused, resumed or removed. Only in the schedule's stream."""

    kind: ClassVar[str] = "schedule"
    at_us: int
    act: str
    name: str
    by: str
    definition: tuple[Any, ...] | None = None
    """What the mission is from here on, as `missions.MissionRow` lays it flat; None: no more."""


Record: TypeAlias = (
    OpenedRecord
    | BoundRecord
    | UserRecord
    | AttemptRecord
    | InterruptedRecord
    | ToolRecord
    | AssistantRecord
    | SilentRecord
    | FailureRecord
    | QuarantinedRecord
    | DeliveryRecord
    | ReopenedRecord
    | FeedRecord
    | ReleasedRecord
    | KeyedRecord
    | LinkedRecord
    | UnlinkedRecord
    | HiddenRecord
    | ActiveRecord
    | ChangeRecord
    | AccessRecord
    | MissionRecord
    | NoteRecord
    | ReceiptRecord
    | ClearRecord
    | ScheduleRecord
    | SummaryRecord
    | CommandRecord
    | MemoryRecord
    | ForgottenRecord
    | ErasedRecord
    | ChangedRecord
)

_CLASSES: Final[tuple[type[Record], ...]] = (
    OpenedRecord,
    BoundRecord,
    UserRecord,
    AttemptRecord,
    InterruptedRecord,
    ToolRecord,
    AssistantRecord,
    SilentRecord,
    FailureRecord,
    QuarantinedRecord,
    DeliveryRecord,
    ReopenedRecord,
    FeedRecord,
    ReleasedRecord,
    KeyedRecord,
    LinkedRecord,
    UnlinkedRecord,
    HiddenRecord,
    ActiveRecord,
    ChangeRecord,
    AccessRecord,
    MissionRecord,
    NoteRecord,
    ReceiptRecord,
    ClearRecord,
    ScheduleRecord,
    SummaryRecord,
    CommandRecord,
    MemoryRecord,
    ForgottenRecord,
    ErasedRecord,
    ChangedRecord,
)


class _Shape:
    """How one kind of record is laid flat."""

    __slots__ = ("flatten", "make", "names", "required")

    def __init__(self, cls: type[Record]) -> None:
        self.make: Callable[..., Record] = cls
        self.names = tuple(field.name for field in fields(cls))
        self.required = sum(1 for field in fields(cls) if field.default is MISSING)
        self.flatten = cast("Callable[[Record], tuple[Any, ...]]", attrgetter("kind", *self.names))


_BY_KIND: Final = {cls.kind: _Shape(cls) for cls in _CLASSES}


def record_kinds() -> tuple[type[Record], ...]:
    """The class of every kind of record."""
    return _CLASSES


def pack(record: Record) -> list[Any]:
    """The flat form of `record`, of values that the codec takes."""
    return list(_BY_KIND[record.kind].flatten(record))


def unpack(payload: object) -> Record:
    """The record whose flat form is `payload`.

    Raises:
        MalformedRecord: the payload is not the flat form of any kind known here.
    """
    if not isinstance(payload, list | tuple) or not payload:
        raise MalformedRecord(f"a record must be a list that starts with its kind: {payload!r:.80}")
    kind, *values = cast("Sequence[Any]", payload)
    shape = _BY_KIND.get(kind) if type(kind) is str else None
    if shape is None:
        raise MalformedRecord(f"unknown record kind {kind!r:.40}")
    if not shape.required <= len(values) <= len(shape.names):
        raise MalformedRecord(f"a {kind!r} record has {len(values)} fields: {payload!r:.80}")
    return shape.make(**dict(zip(shape.names, values, strict=False)))


def address_of(
    record: UserRecord
    | AssistantRecord
    | ReopenedRecord
    | BoundRecord
    | ReleasedRecord
    | ActiveRecord
    | NoteRecord
    | CommandRecord,
) -> Address | None:
    """The place that `record` speaks of; None for the feed, and where nobody is to address."""
    if record.instance is None or record.conversation is None:
        return None
    return Address(
        instance=Instance(record.instance),
        conversation=record.conversation,
        thread=record.thread,
    )


def user_record(turn: InboundTurn, at_us: int) -> UserRecord:
    """The record of an inbound turn."""
    address = turn.address
    return UserRecord(
        at_us=at_us,
        text=turn.text,
        instance=address.instance,
        conversation=address.conversation,
        thread=address.thread,
        platform=turn.platform,
        message_id=turn.message_id,
        user_id=turn.user_id,
        user_name=turn.user_name,
        chat_name=turn.chat_name,
        guild=turn.guild,
        direct=turn.direct,
        reply_to=turn.reply_to,
        attachments=flat_files(turn.attachments),
    )


def flat_files(attachments: Sequence[Attachment]) -> tuple[Any, ...] | None:
    """Files as records hold them; None for none."""
    rows = ((a.kind, a.reference, a.mime, a.size_bytes, a.name) for a in attachments)
    return tuple(rows) or None


def turn_of(record: UserRecord | MissionRecord) -> InboundTurn | MissionTurn:
    """The turn that `record` was made from."""
    if isinstance(record, MissionRecord):
        return MissionTurn(
            mission=record.mission, run=record.run, text=record.text, due_us=record.due_us
        )
    return heard(record)


def heard(record: UserRecord) -> InboundTurn:
    """The inbound turn that `record` was made from."""
    return InboundTurn(
        address=Address(
            instance=Instance(record.instance),
            conversation=record.conversation,
            thread=record.thread,
        ),
        platform=record.platform,
        message_id=record.message_id,
        user_id=record.user_id,
        text=record.text,
        user_name=record.user_name,
        chat_name=record.chat_name,
        guild=record.guild,
        direct=record.direct,
        reply_to=record.reply_to,
        attachments=tuple(
            Attachment(kind=kind, reference=reference, mime=mime, size_bytes=size, name=name)
            for kind, reference, mime, size, name in record.attachments or ()
        ),
    )


def change_behind(record: ChangedRecord, said: UserRecord) -> MessageChange:
    """The change of message `said` that `record` was made from."""
    return MessageChange(
        address=heard(said).address,
        platform=said.platform,
        message_id=said.message_id,
        change_id=record.change_id,
        user_id=record.by,
        text=record.text,
    )
