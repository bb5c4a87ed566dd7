"""What an agent saw of a session at one of its turns. Reads only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from .actors.core.records import Record
from .actors.core.turn_records import MissionRecord, UserRecord
from .actors.core.window import Message
from .actors.journal import load_head, load_record, load_session_number
from .actors.windows import turn_before, window_at
from .outlook import Outlook
from .storage.base import Reads
from .storage.keys import MAX_NUMBER
from .words import stamp

__all__ = ["context_at"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def context_at(
    store: Reads, session_id: str, at: int | datetime, outlook: Outlook
) -> tuple[Message, ...] | None:
    """The window that the agent was given at a turn; None if there is no such session.

    Args:
        store: one moment of it.
        session_id: the session.
        at: sequence number of the turn; or a time, UTC if it names no zone: then it is the newest
            turn that had been accepted by then.
        outlook: how large a window may be, and with what it begins: the log does not tell.

    Raises:
        LookupError: there was no such turn, or it has not begun yet; the text says so, and which
            turn may be meant.
        StorageError: a record that is needed for it cannot be read.
    """
    stream = load_session_number(store, session_id)
    if stream is None:
        return None
    if isinstance(at, datetime):
        seq = _turn_by(store, session_id, stream, at)
    else:
        seq = _checked(store, session_id, stream, at)
    try:
        return window_at(store, stream, seq, outlook.rules)
    except LookupError as error:
        raise LookupError(f"{session_id}: {error}") from error


def _turn_by(store: Reads, session_id: str, stream: int, at: datetime) -> int:
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    at_us = (at - _EPOCH) // timedelta(microseconds=1)
    try:
        return turn_before(store, stream, at_us)
    except LookupError:
        head = load_head(store, stream)
        opened = f": it was opened at {stamp(head.opened_at_us)}" if head is not None else ""
        raise LookupError(
            f"no turn of {session_id} had been accepted by {stamp(at_us)}{opened}"
        ) from None


def _checked(store: Reads, session_id: str, stream: int, seq: int) -> int:
    """`seq`, if it is a turn.

    Raises:
        LookupError: it is none.
    """
    last = store.last_seq(stream)
    if not 0 < seq <= min(last, MAX_NUMBER):
        raise LookupError(f"{session_id} has no record {seq}: its log goes from 1 to {last}")
    record = load_record(store, stream, seq)
    if isinstance(record, UserRecord | MissionRecord):
        return seq
    what = f"record {seq} of {session_id} is no turn"
    if record is not None:
        what += f": its kind is {record.kind!r}"
        turn = _turn_of(store, stream, record)
        if turn:
            what += f", and it belongs to turn {turn}"
    raise LookupError(what)


def _turn_of(store: Reads, stream: int, record: Record) -> int:
    """The turn in which a record was written, as far as it tells; 0 if it does not."""
    for name in ("turn_seq", "during", "for_turn"):
        if turn := getattr(record, name, 0):
            return int(turn)
    if delivery := getattr(record, "delivery_seq", 0):
        said = load_record(store, stream, delivery)
        return _turn_of(store, stream, said) if said is not None else 0
    return 0
