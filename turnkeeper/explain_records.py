"""What is explained of a record without a story of its own: what it is, and what it is part of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .actors.core.delivery_records import DeliveryRecord
from .actors.core.records import Record
from .actors.core.view_records import ChangedRecord, ClearRecord, ForgottenRecord
from .explain_changed import changed_line, shown_line
from .words import stamp, text_of

__all__ = ["record_lines"]

_CLEARED_BY: Final = {
    "operator": "the operator",
    "program": "the program",
    "user": "the human, with /new",
}


def record_lines(session_id: str, record: Record) -> Iterator[str]:
    """What a record of a session is, and where the story is told that it is part of."""
    came = stamp(record.at_us)
    match record:
        case ClearRecord():
            by = _CLEARED_BY.get(record.by, record.by)
            yield f"{came}  the context was cleared by {by}: it begins anew after this record"
            if record.summary:
                yield f"{came}  until then it began with the summary {session_id}/{record.summary}"
            elif record.cleared:
                yield f"{came}  until then it began after {session_id}/{record.cleared}"
        case ForgottenRecord():
            yield f"{came}  the memory of the agent was emptied, {text_of(record)}"
        case ChangedRecord():
            yield f"{came}  {changed_line(record)}"
            yield from (f"| {line}" for line in (record.text or "").splitlines())
            yield shown_line(record)
            yield f"it is about message {session_id}/{record.message_seq}"
        case DeliveryRecord():
            yield f"{came}  attempt {record.attempt}: {text_of(record)}"
        case _:
            first, *more = text_of(record).splitlines() or [""]
            yield f"{came}  {record.kind}{': ' if first else ''}{first}"
            yield from (f"| {line}" for line in more)
    turn = getattr(record, "turn_seq", 0) or getattr(record, "during", 0)
    if turn:
        yield f"it is part of turn {session_id}/{turn}"
    if delivery := getattr(record, "delivery_seq", 0):
        yield f"it is part of delivery {session_id}/{delivery}"
