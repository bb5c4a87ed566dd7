"""How `verify` compares rows: those of a table with what the logs say they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from .actors.core.records import MalformedRecord
from .actors.ledger import starting_with
from .storage.base import Reads, Table
from .storage.codec import decode
from .storage.errors import CorruptRecord, RecordFromFuture
from .storage.keys import HASH_BYTES

__all__ = [
    "Problem",
    "Unreadable",
    "adopt",
    "compare_index",
    "compare_row",
    "compare_table",
    "decoded",
    "difference",
    "readable",
]

T = TypeVar("T")

_LED_TO: Final = b"\0"
"""What an index holds at each of its keys."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that does not hold."""

    place: str
    """`log STREAM/SEQ`, `ledger NUMBER`, or a table and what its row is about."""
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class Unreadable(Exception):
    """A stored value is not what was written."""


def decoded(data: bytes) -> Any:
    """The stored value.

    Raises:
        Unreadable: it is damaged, or of a newer version.
    """
    try:
        return decode(data)
    except (CorruptRecord, RecordFromFuture) as error:
        raise Unreadable(f"unreadable: {error}") from error


def readable(data: bytes, read: Callable[[Any], T]) -> T:
    """The stored row, as `read` makes it of the stored value.

    Raises:
        Unreadable: it is damaged, of a newer version, or no such row.
    """
    payload = decoded(data)
    try:
        return read(payload)
    except (MalformedRecord, CorruptRecord, TypeError, ValueError) as error:
        raise Unreadable(str(error)) from error


def difference(stored: object, expected: object) -> str:
    """How `stored` differs from what was expected; None stands for nothing.

    Of two rows with named fields, only the fields that differ are told.
    """
    if stored is None:
        return f"missing: the log says {expected!r:.120}"
    if expected is None:
        return f"holds {stored!r:.120}, of which no log tells"
    names: tuple[str, ...] = getattr(stored, "_fields", ())
    if not names or type(stored) is not type(expected):
        return f"holds {stored!r:.120}, the log says {expected!r:.120}"
    rows = zip(names, cast("Any", stored), cast("Any", expected), strict=True)
    return "; ".join(
        f"{name} is {is_stored!r:.80}, the log says {follows!r:.80}"
        for name, is_stored, follows in rows
        if is_stored != follows
    )


def compare_row(
    place: str, data: bytes | None, expected: object, read: Callable[[Any], object]
) -> Iterator[Problem]:
    """What is wrong with one row, of which it is known that it must be there."""
    if data is None:
        yield Problem(place=place, text=difference(None, expected))
        return
    try:
        stored = readable(data, read)
    except Unreadable as error:
        yield Problem(place=place, text=str(error))
        return
    if stored != expected:
        yield Problem(place=place, text=difference(stored, expected))


def compare_table(
    reads: Reads,
    table: Table,
    expected: Mapping[bytes, T],
    read: Callable[[Any], T],
    name: Callable[[T], str],
) -> Iterator[Problem]:
    """What is wrong with the rows of a table of which the logs tell every one.

    Args:
        reads: the frozen moment.
        table: whose rows.
        expected: key -> row, as the logs have it.
        read: makes a row of a stored value; raises what is no row.
        name: what a row is about.
    """
    found: set[bytes] = set()
    for key, data in starting_with(reads, table, b""):
        found.add(key)
        row = expected.get(key)
        place = name(row) if row is not None else f"{_singular(table)} {key.hex()}"
        yield from compare_row(place, data, row, read)
    if len(found) < len(expected) or not found.issuperset(expected):
        for key, row in expected.items():
            if key not in found:
                yield Problem(place=name(row), text=difference(None, row))


def compare_index(
    reads: Reads,
    table: Table,
    rows: Mapping[bytes, T],
    keys_of: Callable[[T], Collection[bytes]],
    name: Callable[[T], str],
) -> Iterator[Problem]:
    """What is wrong with a table whose keys lead to the rows of another, and end with their keys.

    Args:
        reads: the frozen moment.
        table: the index.
        rows: key -> row, of the table that it leads to.
        keys_of: every key that must lead to a row.
        name: what a row is about.
    """
    there = 0
    for row in rows.values():
        for key in keys_of(row):
            data = reads.get(table, key)
            if data is None:
                text = f"missing: nothing leads to the {name(row)}"
                yield Problem(place=f"{_singular(table)} {key.hex()}", text=text)
                continue
            there += 1
            if data != _LED_TO:
                text = f"holds {data!r:.40}, which is never written"
                yield Problem(place=f"{_singular(table)} {key.hex()}", text=text)
    if sum(1 for _ in starting_with(reads, table, b"")) == there:
        return
    for key, _ in starting_with(reads, table, b""):
        led_to = rows.get(key[-HASH_BYTES:])
        if led_to is None or key not in keys_of(led_to):
            what = f"the {name(led_to)}, which is elsewhere" if led_to is not None else "nothing"
            yield Problem(place=f"{_singular(table)} {key.hex()}", text=f"leads to {what}")


def adopt(reads: Reads, table: Table, read: Callable[[Any], T]) -> Iterator[tuple[bytes, T]]:
    """Every row that can be read, for what a damaged log cannot tell any more."""
    for key, data in starting_with(reads, table, b""):
        try:
            row = readable(data, read)
        except Unreadable:
            continue  # told where the table is compared
        yield key, row


def _singular(table: Table) -> str:
    return _SINGULAR[table]


_SINGULAR: Final = {
    Table.NAMES: "name",
    Table.BINDINGS: "binding",
    Table.PAST_BINDINGS: "earlier binding",
    Table.KEYS: "session key",
    Table.PLACES: "index of places",
    Table.IDENTITIES: "identity",
    Table.USERS: "index of users",
    Table.ACCESS: "access",
    Table.NOTES: "note of",
    Table.RUNS: "run",
    Table.ERASED: "deleted session",
}
