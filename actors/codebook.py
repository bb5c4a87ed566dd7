"""One-time codes in the store: those that wait, and how often anybody has tried."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Final

from ..storage.base import Batch, Reads, Table
from ..storage.codec import decode
from ..storage.errors import CorruptRecord, RecordFromFuture
from ..storage.keys import hash16
from .core import codes
from .core.codes import Attempts, CodeKind, PendingCode
from .core.records import MalformedRecord
from .ledger import starting_with

__all__ = [
    "ACCESS_CODES",
    "attempts_key",
    "code_key",
    "key_of_code",
    "load_attempts",
    "pending_codes",
    "sweep_codes",
    "waiting_at",
]

logger = logging.getLogger("turnkeeper.registry")

ACCESS_CODES: Final = b"a"
"""What the keys of access codes begin with, in `Table.CODES`."""
_KINDS: Final[dict[CodeKind, bytes]] = {"link": b"l", "access": ACCESS_CODES}
_ATTEMPTS: Final = b"t"


def code_key(kind: CodeKind, instance: str, platform: str, user_id: str) -> bytes:
    """Key of the code that an identity was given at an instance."""
    return _KINDS[kind] + hash16(instance) + hash16(platform, user_id)


def key_of_code(pending: PendingCode) -> bytes:
    """Key of a code that waits."""
    return code_key(pending.kind, pending.instance, pending.platform, pending.user_id)


def attempts_key(platform: str, user_id: str) -> bytes:
    """Key of how often an identity tried and asked."""
    return _ATTEMPTS + hash16(platform, user_id)


def load_attempts(store: Reads, key: bytes) -> Attempts:
    """How often an identity tried and asked."""
    data = store.get(Table.CODES, key)
    return codes.read_attempts(decode(data)) if data is not None else Attempts()


def pending_codes(store: Reads, kind: CodeKind) -> Iterator[PendingCode]:
    """Every code of a kind that waits."""
    for _, pending in _rows(store, _KINDS[kind]):
        yield pending


def waiting_at(store: Reads, kind: CodeKind, instance: str) -> Iterator[tuple[bytes, PendingCode]]:
    """Every code of a kind that was given at an instance, with its key."""
    yield from _rows(store, _KINDS[kind] + hash16(instance))


def _rows(store: Reads, prefix: bytes) -> Iterator[tuple[bytes, PendingCode]]:
    for key, data in starting_with(store, Table.CODES, prefix):
        pending = _read(data)
        if pending is not None:
            yield key, pending


def _read(data: bytes) -> PendingCode | None:
    """A code that waits; None if it cannot be read: then it works no more, and no other suffers."""
    try:
        return codes.read_pending(decode(data))
    except (CorruptRecord, RecordFromFuture, MalformedRecord) as error:
        logger.error("a one-time code cannot be read, and works no more: %s", error)  # noqa: TRY400
        return None


def sweep_codes(store: Reads, now_us: int) -> Batch:
    """What removes the codes that work no more, and the attempts that count no more.

    Raises:
        CorruptRecord, RecordFromFuture, MalformedRecord: attempts cannot be read. They stay, as
            whoever is locked out stays locked out.
    """
    batch = Batch()
    for kind in _KINDS.values():
        for key, data in starting_with(store, Table.CODES, kind):
            pending = _read(data)
            if pending is None or codes.is_expired(pending, now_us):
                _remove(batch, key, data)
    for key, data in starting_with(store, Table.CODES, _ATTEMPTS):
        if codes.is_blank(codes.read_attempts(decode(data)), now_us):
            _remove(batch, key, data)
    return batch


def _remove(batch: Batch, key: bytes, data: bytes) -> None:
    """Remove a row unless it was renewed meanwhile."""
    batch.expect(Table.CODES, key, data)
    batch.delete(Table.CODES, key)
