"""What is explained of messages that were edited or deleted after they had been heard."""

from __future__ import annotations

from collections.abc import Iterator

from .actors.core.view_records import ChangedRecord
from .actors.journal import load_head, load_records
from .storage.base import Reads
from .words import stamp

__all__ = ["changed_line", "changed_lines", "shown_line"]


def changed_lines(store: Reads, session_id: str, stream: int, seq: int) -> Iterator[str]:
    """What was told later of message `seq`, oldest first."""
    head = load_head(store, stream)
    if head is None or head.changed < seq:
        return
    for number, later in load_records(store, stream, seq + 1, head.changed + 1):
        if isinstance(later, ChangedRecord) and later.message_seq == seq:
            told = f"({session_id}/{number})"
            yield f"{stamp(later.at_us)}  {changed_line(later)} {told}; {shown_line(later)}"


def changed_line(record: ChangedRecord) -> str:
    """What was done to a message, by whom."""
    if record.text is not None:
        return f"its author, {record.by!r}, edited it"
    return "it was deleted" if record.by is None else f"its author, {record.by!r}, deleted it"


def shown_line(record: ChangedRecord) -> str:
    """What agents are told of that."""
    match record.shown:
        case "instead":
            return "its turn had not begun, and was given to the agent as it is now"
        case "nowhere":
            return "its context had begun anew before, so that no agent is told of it"
        case _:
            void = ", and the summary that may have told of it is void" * record.was_summarised
            return f"agents are told of it from the next turn on{void}"
