"""Keys, as bytes whose order is the order that reads want.

- log: stream and sequence number, 8 bytes each, big-endian; a stream's records are neighbours
- tables: the table's number, 1 byte, then the caller's key
- numbers: a session number, 8 bytes, big-endian
- hashes: 16 bytes for anything whose length somebody else decides (platform ids, names)
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

from .base import MAX_KEY_BYTES, Table
from .errors import InvalidKey

__all__ = [
    "HASH_BYTES",
    "MAX_NUMBER",
    "hash16",
    "log_key",
    "number_key",
    "split_log_key",
    "table_bound",
    "table_key",
]

HASH_BYTES: Final = 16
"""Two of a billion hashes are alike with probability 1e-21."""
MAX_NUMBER: Final = 2**64 - 1

_LOG: Final = struct.Struct(">QQ")
_NUMBER: Final = struct.Struct(">Q")
_PREFIX: Final = {table: bytes([table]) for table in Table}


def log_key(stream: int, seq: int) -> bytes:
    """Key of record `seq` in `stream`.

    Raises:
        InvalidKey: a number is negative or has more than 64 bits.
    """
    try:
        return _LOG.pack(stream, seq)
    except struct.error as error:
        raise InvalidKey(f"no log has place {stream}/{seq}: 64 bits each") from error


def split_log_key(key: bytes) -> tuple[int, int]:
    """Stream and sequence number of a log key."""
    stream, seq = _LOG.unpack(key)
    return stream, seq


def number_key(number: int) -> bytes:
    """Key of a session number in a table.

    Raises:
        InvalidKey: the number is negative or has more than 64 bits.
    """
    try:
        return _NUMBER.pack(number)
    except struct.error as error:
        raise InvalidKey(f"no session has number {number}: 64 bits") from error


def table_key(table: Table, key: bytes) -> bytes:
    """Key in the store of `key` in `table`.

    Raises:
        InvalidKey: `key` is empty or longer than `MAX_KEY_BYTES`.
    """
    if 0 < len(key) <= MAX_KEY_BYTES:
        return _PREFIX[table] + key
    raise InvalidKey(
        f"a key of {len(key)} bytes in table {table.name}: 1 to {MAX_KEY_BYTES} bytes are allowed; "
        "hash what may be longer"
    )


def table_bound(table: Table, key: bytes | None) -> bytes:
    """Bound of a scan of `table`: `key` may be empty, the start; None is the end of the table.

    Raises:
        InvalidKey: `key` is longer than `MAX_KEY_BYTES`.
    """
    if key is None:
        return bytes([table + 1])
    return table_key(table, key) if key else _PREFIX[table]


def hash16(*parts: str | None) -> bytes:
    """16 bytes for a sequence of external ids; `("a", "bc")`, `("ab", "c")` and None differ."""
    digest = blake2b(digest_size=HASH_BYTES)
    for part in parts:
        if part is None:
            digest.update(b"-")
        else:
            data = part.encode("utf-8", "surrogatepass")
            digest.update(b"%d:" % len(data))
            digest.update(data)
    return digest.digest()
