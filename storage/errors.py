"""What can go wrong in storage, and whose fault it is.

StorageError
├── Conflict           the caller's view was stale: reload and decide again
├── InvalidKey         the caller's key is empty or too long
├── BatchTooLarge      the caller's batch is more than one transaction may hold
├── Unencodable        the caller's value has no safe encoding
├── CorruptRecord      stored bytes are not what was written
├── RecordFromFuture   stored by a newer version of the format
├── NotAStore          the directory holds something else
├── StoreFromFuture    the directory was written by a newer version
├── StoreDamaged       the data file is shorter than it must be, or not there
├── StoreLocked        another process has it open
├── StoreUnusable      the operating system refuses the directory (read-only, symlink, owner)
├── BlobTooLarge       a file is longer than it may be
├── BlobMissing        a file that was kept is not there any more
├── BlobDamaged        a file is not what was kept
├── StoreClosed        this store has been closed
└── StoreFailed        a commit failed: the disk, not the caller
"""

from __future__ import annotations

__all__ = [
    "BatchTooLarge",
    "BlobDamaged",
    "BlobMissing",
    "BlobTooLarge",
    "Conflict",
    "CorruptRecord",
    "InvalidKey",
    "NotAStore",
    "RecordFromFuture",
    "StorageError",
    "StoreClosed",
    "StoreDamaged",
    "StoreFailed",
    "StoreFromFuture",
    "StoreLocked",
    "StoreUnusable",
    "Unencodable",
]


class StorageError(Exception):
    """Root of everything storage raises."""


class Conflict(StorageError):
    """A precondition of a batch did not hold; nothing of the batch was stored."""


class InvalidKey(StorageError):
    """A key that no table can hold."""


class BatchTooLarge(StorageError):
    """More bytes in one batch than one transaction may hold."""


class Unencodable(StorageError):
    """A value outside of what the codec stores."""


class CorruptRecord(StorageError):
    """Stored bytes fail their checksum or do not parse."""


class RecordFromFuture(StorageError):
    """A record carries a version that this code does not know."""


class NotAStore(StorageError):
    """The directory is not empty and holds no store."""


class StoreFromFuture(StorageError):
    """The store was written by a newer version of turnkeeper."""


class StoreDamaged(StorageError):
    """The store's data file is truncated, empty or missing."""


class StoreLocked(StorageError):
    """Another process holds the store."""


class StoreUnusable(StorageError):
    """The operating system refuses the state directory."""


class BlobTooLarge(StorageError):
    """A file is longer than `limit_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the file is longer than {limit_bytes:,} bytes")
        self.limit_bytes = limit_bytes


class BlobMissing(StorageError):
    """A file that was kept is not there any more."""


class BlobDamaged(StorageError):
    """A file is not what was kept: its bytes have another SHA-256 than its name."""


class StoreClosed(StorageError):
    """The store has been closed."""


class StoreFailed(StorageError):
    """A commit failed; nothing is acknowledged any more."""
