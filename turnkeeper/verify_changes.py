"""Whether what was told of messages later is of messages, and is recognised when told again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .actors.core.heard import change_behind
from .actors.core.intake import change_digest, seen_window
from .actors.core.turn_records import UserRecord
from .actors.core.view_records import ChangedRecord
from .actors.journal import change_hash, load_record, seen_key
from .storage.base import Reads, Table
from .storage.errors import CorruptRecord, RecordFromFuture
from .verify_rows import Problem, compare_row

__all__ = ["change_key", "check_changed"]


def change_key(reads: Reads, stream: int, record: ChangedRecord) -> bytes | None:
    """Key of the row by which a change is recognised; None if its message cannot be read."""
    try:
        said = load_record(reads, stream, record.message_seq)
    except (CorruptRecord, RecordFromFuture):
        return None  # told where that record is read
    if not isinstance(said, UserRecord):
        return b""
    return seen_key(seen_window(record.at_us), change_hash(change_behind(record, said)))


def check_changed(
    reads: Reads, stream: int, seq: int, record: ChangedRecord, session_id: str, oldest: int
) -> Iterator[Problem | None]:
    """What is wrong with a change, and None for the row that it owns.

    Args:
        reads: the frozen moment.
        stream: number of the session.
        seq: where the change is.
        record: the change.
        session_id: the session; empty where it cannot be told.
        oldest: the oldest window in which messages must be recognised.
    """
    key = change_key(reads, stream, record)
    if key == b"" or not 0 < record.message_seq < seq:
        text = f"changes {record.message_seq}, which is no earlier message of a human"
        yield Problem(place=f"log {stream}/{seq}", text=text)
        return
    data = reads.get(Table.SEEN, key) if key is not None else None
    place = f"seen {stream}/{seq}"
    if data is not None:
        yield None
        expected = [session_id, seq, change_digest(record.text)]
        yield from compare_row(place, data, expected, lambda row: _named(row, session_id))
    elif key is not None and seen_window(record.at_us) >= oldest:
        yield Problem(place=place, text="missing: the same change would be taken as new")


def _named(payload: Any, session_id: str) -> Any:
    """The row as it is, in the name of a session that cannot be told where that is empty."""
    return payload if session_id else ["", *payload[1:]]
