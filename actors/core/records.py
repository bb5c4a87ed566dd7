"""Every kind of record, and its flat form for the codec.

A record is written once and never changed. Everything else that is stored (heads, bindings,
outbox) follows from the log by replay. The flat form is `[kind, at_us, *fields]`; new fields are
only ever added at the end, with a default, so that old records stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast, get_args

from ..messages import Address, Instance
from .delivery_records import DeliveryRecord, NoteRecord, ReceiptRecord, ReopenedRecord
from .ownership_records import (
    ActiveRecord,
    BoundRecord,
    HiddenRecord,
    KeyedRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from .runtime_records import AccessRecord, ChangeRecord, FeedRecord, ScheduleRecord
from .turn_records import (
    AssistantRecord,
    AttemptRecord,
    FailureRecord,
    InterruptedRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
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
    "MalformedRecord",
    "Record",
    "address_of",
    "pack",
    "record_kinds",
    "unpack",
]

Record: TypeAlias = (
    OpenedRecord
    | BoundRecord
    | ReleasedRecord
    | KeyedRecord
    | LinkedRecord
    | UnlinkedRecord
    | HiddenRecord
    | ActiveRecord
    | UserRecord
    | AttemptRecord
    | InterruptedRecord
    | ToolRecord
    | AssistantRecord
    | SilentRecord
    | FailureRecord
    | QuarantinedRecord
    | MissionRecord
    | DeliveryRecord
    | ReopenedRecord
    | NoteRecord
    | ReceiptRecord
    | ClearRecord
    | SummaryRecord
    | CommandRecord
    | MemoryRecord
    | ForgottenRecord
    | ErasedRecord
    | ChangedRecord
    | FeedRecord
    | ChangeRecord
    | AccessRecord
    | ScheduleRecord
)

_CLASSES: Final[tuple[type[Record], ...]] = get_args(Record)


class MalformedRecord(Exception):
    """A stored record has the wrong shape for its kind."""


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
