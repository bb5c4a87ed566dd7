"""The derived tables, compared with what the logs say; the second half of `verify`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final

from .actors.core.intake import seen_window
from .actors.core.records import MalformedRecord, UserRecord, turn_of, unpack
from .actors.core.routing import BindingRow, read_binding
from .actors.journal import name_key, seen_hash, seen_key
from .storage.base import Reads, Table
from .storage.codec import decode
from .storage.errors import CorruptRecord, RecordFromFuture
from .storage.keys import split_log_key
from .views import pages

__all__ = ["Expected", "Problem", "Unreadable", "compare_tables", "decoded", "difference"]

_LOG_KEY_BYTES: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that does not hold."""

    place: str
    """`log STREAM/SEQ`, or a table and what its row is about."""
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Unreadable(Exception):
    """A stored value is not what was written."""


@dataclass(slots=True)
class Expected:
    """What follows from the logs, as far as it must be kept until every log is read."""

    names: dict[bytes, int] = field(default_factory=dict[bytes, int])
    """Key in `Table.NAMES` -> session number."""
    bindings: dict[bytes, BindingRow] = field(default_factory=dict[bytes, BindingRow])
    """Key in `Table.BINDINGS` -> the newest binding of that place."""
    seen: int = 0
    """Rows of `Table.SEEN` that a user record has been found to own."""
    broken: set[int] = field(default_factory=set[int])
    """Logs that could not be read whole: what is missing in them cannot be held against a table."""


def compare_tables(reads: Reads, expected: Expected) -> Iterator[Problem]:
    """What is wrong with names, bindings, and rows of the other tables that no log owns."""
    yield from _names(reads, expected)
    yield from _bindings(reads, expected)
    if sum(1 for _ in _rows(reads, Table.SEEN)) != expected.seen:
        yield from _seen_without_owner(reads, expected)
    yield from _trouble_without_log(reads)


def decoded(data: bytes) -> Any:
    """The stored value.

    Raises:
        Unreadable: it is damaged, or of a newer version.
    """
    try:
        return decode(data)
    except (CorruptRecord, RecordFromFuture) as error:
        raise Unreadable(f"unreadable: {error}") from error


def difference(stored: object, expected: object) -> str:
    """How `stored` differs from what was expected; None stands for nothing."""
    if stored is None:
        return f"missing: the log says {expected!r:.120}"
    if expected is None:
        return f"holds {stored!r:.120}, of which no log tells"
    return f"holds {stored!r:.120}, the log says {expected!r:.120}"


def _rows(reads: Reads, table: Table) -> Iterator[tuple[bytes, bytes]]:
    return chain.from_iterable(pages(reads, table))


def _names(reads: Reads, expected: Expected) -> Iterator[Problem]:
    found: set[bytes] = set()
    for key, data in _rows(reads, Table.NAMES):
        found.add(key)
        place, number = f"name {key.hex()}", expected.names.get(key)
        try:
            stored = decoded(data)
        except Unreadable as error:
            yield Problem(place=place, text=str(error))
            continue
        if stored != number and not (number is None and stored in expected.broken):
            yield Problem(place=place, text=difference(stored, number))
    for key, number in expected.names.items():
        if key not in found:
            yield Problem(place=f"name of session {number}", text="missing")


def _bindings(reads: Reads, expected: Expected) -> Iterator[Problem]:
    found: set[bytes] = set()
    for key, data in _rows(reads, Table.BINDINGS):
        found.add(key)
        row = expected.bindings.get(key)
        place = _place(row) if row is not None else f"binding {key.hex()}"
        try:
            stored = read_binding(decoded(data))
        except (Unreadable, MalformedRecord) as error:
            yield Problem(place=place, text=str(error))
            continue
        if stored != row and not (row is None and stored.stream in expected.broken):
            yield Problem(place=place, text=difference(stored, row))
    for key, row in expected.bindings.items():
        if key not in found:
            yield Problem(place=_place(row), text=f"missing: log {row.stream} has it")


def _place(row: BindingRow) -> str:
    thread = f"/{row.thread}" if row.thread is not None else ""
    return f"binding of {row.instance}/{row.conversation}{thread}"


def _seen_without_owner(reads: Reads, expected: Expected) -> Iterator[Problem]:
    for key, data in _rows(reads, Table.SEEN):
        place = f"seen {key.hex()}"
        try:
            session_id, seq, _ = decoded(data)
            owned = _seen_key_of(reads, str(session_id), int(seq), expected.broken)
        except (Unreadable, MalformedRecord, TypeError, ValueError) as error:
            yield Problem(place=place, text=str(error))
            continue
        if owned is not None and owned != key:
            yield Problem(place=place, text=f"leads to {session_id}/{seq}, which is another")


def _seen_key_of(reads: Reads, session_id: str, seq: int, broken: set[int]) -> bytes | None:
    """Key of the message that a record accepted; None if its log is damaged anyway."""
    name = reads.get(Table.NAMES, name_key(session_id))
    stream = decoded(name) if name is not None else None
    if stream in broken:
        return None
    found = reads.read_log(stream, seq, seq + 1, limit=1) if stream is not None else []
    record = unpack(decoded(found[0][1])) if found else None
    if not isinstance(record, UserRecord):
        return b""
    return seen_key(seen_window(record.at_us), seen_hash(turn_of(record)))


def _trouble_without_log(reads: Reads) -> Iterator[Problem]:
    for key, _ in _rows(reads, Table.TROUBLE):
        if len(key) != _LOG_KEY_BYTES:
            yield Problem(place=f"trouble {key.hex()}", text="has a key of another kind")
            continue
        stream, seq = split_log_key(key)
        if not reads.last_seq(stream):
            yield Problem(place=f"trouble {stream}/{seq}", text="leads to no log")
