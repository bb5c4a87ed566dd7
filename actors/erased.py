"""Sessions that were deleted: what is left to tell of them.

Their ids and numbers are never used again. The row of each follows from the one record that is left
in its log.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ..storage.base import Batch, Reads, Table
from ..storage.codec import decode, encode
from ..storage.errors import CorruptRecord
from ..storage.keys import hash16
from .core.view_records import ErasedRecord
from .ledger import pages

__all__ = [
    "ErasedRow",
    "all_erased",
    "erased_key",
    "load_erased",
    "newest_erased",
    "put_erased",
    "read_erased",
]


class ErasedRow(NamedTuple):
    """A session that was deleted. A tuple, as it is stored."""

    session_id: str
    number: int
    at_us: int
    by: str
    records: int
    """How many records its log had held."""


def erased_key(session_id: str) -> bytes:
    """Key of a session in `Table.ERASED`."""
    return hash16(session_id)


def put_erased(batch: Batch, stream: int, record: ErasedRecord) -> None:
    """Let `batch` say of session number `stream` what the record in its log does."""
    row = ErasedRow(record.session_id, stream, record.at_us, record.by, record.records)
    batch.put(Table.ERASED, erased_key(record.session_id), encode(list(row)))


def load_erased(store: Reads, session_id: str) -> ErasedRow | None:
    """When the session called `session_id` was deleted, and by whom; None if it never was."""
    data = store.get(Table.ERASED, erased_key(session_id))
    return read_erased(decode(data)) if data is not None else None


def all_erased(store: Reads) -> Iterator[list[ErasedRow]]:
    """Every session that was deleted, a page at a time, in no order."""
    for page in pages(store, Table.ERASED):
        yield [read_erased(decode(data)) for _, data in page]


def newest_erased(store: Reads) -> int:
    """The highest number of a session that was deleted; 0 if none was."""
    return max((row.number for page in all_erased(store) for row in page), default=0)


def read_erased(payload: object) -> ErasedRow:
    """The row whose tuple is `payload`.

    Raises:
        CorruptRecord: it is none.
    """
    match payload:
        case [str(session_id), int(number), int(at_us), str(by), int(records)]:
            return ErasedRow(session_id, number, at_us, by, records)
        case _:
            raise CorruptRecord(f"a deleted session is kept as {payload!r:.80}")
