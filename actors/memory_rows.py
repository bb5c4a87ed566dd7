"""What agents keep, in the store: the keys of the rows, and the rows written and read back."""

from __future__ import annotations

from collections.abc import Iterator

from ..storage.base import Batch, Reads, Table
from ..storage.codec import decode, encode
from ..storage.errors import CorruptRecord
from ..storage.keys import hash16, number_key
from .core.view_records import MemoryRecord
from .ledger import starting_with

__all__ = [
    "load_memory",
    "load_value",
    "memory_key",
    "memory_keys",
    "put_memory",
    "read_memory_row",
]


def memory_key(stream: int, key: str) -> bytes:
    """Key in `Table.MEMORY` of what session number `stream` keeps under `key`."""
    return number_key(stream) + hash16(key)


def put_memory(batch: Batch, stream: int, record: MemoryRecord) -> None:
    """Let `batch` keep what `record` says, for session number `stream`."""
    row = memory_key(stream, record.key)
    if record.value is None:
        batch.delete(Table.MEMORY, row)
    else:
        batch.put(Table.MEMORY, row, encode((record.key, record.value)))


def read_memory_row(payload: object) -> tuple[str, str]:
    """The key and the value whose tuple is `payload`.

    Raises:
        CorruptRecord: it is none.
    """
    match payload:
        case [str(key), str(value)]:
            return key, value
        case _:
            raise CorruptRecord(f"what an agent keeps is stored as {payload!r:.80}")


def load_value(store: Reads, stream: int, key: str) -> str | None:
    """What session number `stream` keeps under `key`, or None.

    Raises:
        CorruptRecord: it cannot be read.
    """
    data = store.get(Table.MEMORY, memory_key(stream, key))
    return read_memory_row(decode(data, ("memory", stream)))[1] if data is not None else None


def load_memory(store: Reads, stream: int) -> dict[str, str]:
    """All that session number `stream` keeps, by key, in the order of the keys.

    Raises:
        CorruptRecord: something of it cannot be read.
    """
    rows = starting_with(store, Table.MEMORY, number_key(stream))
    return dict(sorted(read_memory_row(decode(data, ("memory", stream))) for _, data in rows))


def memory_keys(store: Reads, stream: int) -> Iterator[bytes]:
    """The key in `Table.MEMORY` of each thing that session number `stream` keeps."""
    return (key for key, _ in starting_with(store, Table.MEMORY, number_key(stream)))
