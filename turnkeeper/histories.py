"""The raw log of a session, a page at a time. Reads only."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from .actors.core.delivery_records import NoteRecord, ReopenedRecord
from .actors.core.ownership_records import ActiveRecord, BoundRecord, ReleasedRecord
from .actors.core.records import Record, address_of
from .actors.core.shown import Source, source_of
from .actors.core.turn_records import AssistantRecord, UserRecord
from .actors.core.view_records import CommandRecord
from .actors.frozen import message
from .actors.journal import load_records, load_session_number
from .actors.messages import Address, Instance
from .storage.base import Reads
from .storage.errors import StorageError
from .storage.keys import MAX_NUMBER
from .words import text_of, time_of

__all__ = ["DAMAGED", "HistoryRecord", "history"]

DAMAGED: Final = "damaged"
"""The kind of a record whose bytes cannot be read."""


@message
class HistoryRecord:
    """One record of a session's log."""

    seq: int
    kind: str
    """`damaged` where the record cannot be read: its text says why, and nothing else is known."""
    text: str
    at: datetime | None
    """None of a damaged record."""
    conversation: Address | None
    """Where it was said."""
    source: Source | None = None
    """Of a note: who said it, and as which delivery; None for everything else."""
    detail: dict[str, Any] | None = None
    """Everything else that the record holds."""


def _place(record: Record) -> Address | None:
    match record:
        case (
            UserRecord()
            | AssistantRecord()
            | ReopenedRecord()
            | BoundRecord()
            | ReleasedRecord()
            | ActiveRecord()
            | NoteRecord()
        ):
            return address_of(record)
        case CommandRecord():
            return Address(Instance(record.instance), record.conversation, record.thread)
        case _:
            return None


_SHOWN_ELSEWHERE: Final = frozenset(
    {"kind", "at_us", "text", "instance", "conversation", "thread", "error"}
)


def _entry(seq: int, record: Record) -> HistoryRecord:
    names = type(record).__dataclass_fields__
    return HistoryRecord(
        seq=seq,
        kind=record.kind,
        text=text_of(record),
        at=time_of(record.at_us),
        conversation=_place(record),
        source=source_of(record) if isinstance(record, NoteRecord) else None,
        detail={
            name: value
            for name in names
            if name not in _SHOWN_ELSEWHERE and (value := getattr(record, name)) not in (None, ())
        },
    )


def _damaged(seq: int, error: StorageError) -> HistoryRecord:
    return HistoryRecord(seq=seq, kind=DAMAGED, text=str(error), at=None, conversation=None)


def history(
    store: Reads,
    session_id: str,
    *,
    before: int | None = None,
    after: int | None = None,
    limit: int | None = None,
) -> list[HistoryRecord] | None:
    """A page of the raw log of a session, oldest first; None if there is no such session.

    Args:
        store: one moment of it.
        session_id: the session.
        before: only what has a lower sequence number.
        after: only what has a higher one.
        limit: how many records: the oldest of them where `after` is given, else the newest. None
            for all.

    Raises:
        ValueError: a number is negative.
    """
    for name, number in (("before", before), ("after", after), ("limit", limit)):
        if number is not None and number < 0:
            raise ValueError(f"{name} must be 0 or more, not {number}")
    stream = load_session_number(store, session_id)
    if stream is None:
        return None
    most = min(limit, MAX_NUMBER) if limit is not None else MAX_NUMBER
    start = min(after, MAX_NUMBER - 1) + 1 if after is not None else 1
    stop = min(before, MAX_NUMBER) if before is not None else None
    newest_first = after is None and limit is not None
    found: list[HistoryRecord] = []
    records = load_records(
        store,
        stream,
        start,
        stop,
        reverse=newest_first,
        damaged=lambda seq, error: found.append(_damaged(seq, error)),
    )
    while len(found) < most and (read := next(records, None)) is not None:
        found.append(_entry(*read))
    del found[most:]  # of several damaged ones in a row, the last may be too many
    return found[::-1] if newest_first else found
