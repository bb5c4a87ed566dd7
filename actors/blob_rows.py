"""Which records name a kept file: rows beside the records, so that none is looked for in the logs.

The key of a row is the file's digest, then where the record is. So it is known at once whether
anything names a file at all, and which sessions may see it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ..storage.base import Batch, Reads, Table
from ..storage.keys import log_key, number_key, split_log_key
from .core.attached import blob_digest
from .ledger import starting_with
from .messages import Attachment

__all__ = ["BLOB_ROW", "blob_keys", "is_named", "named_in", "refer", "split_blob_key"]

BLOB_ROW: Final = b"\x01"
"""What a row holds: its key says everything."""
_DIGEST_BYTES: Final = 32
_KEY_BYTES: Final = 48


def blob_keys(stream: int, seq: int, attachments: Iterable[Attachment]) -> set[bytes]:
    """Keys in `Table.BLOBS` of the kept files that record `seq` names; none for others' files."""
    digests = {blob_digest(attachment.reference) for attachment in attachments}
    return {digest + log_key(stream, seq) for digest in digests if digest is not None}


def split_blob_key(key: bytes) -> tuple[bytes, int, int] | None:
    """Digest, stream and sequence number of a key; None if it is none."""
    if len(key) != _KEY_BYTES:
        return None
    return key[:_DIGEST_BYTES], *split_log_key(key[_DIGEST_BYTES:])


def refer(batch: Batch, stream: int, seq: int, attachments: Iterable[Attachment]) -> None:
    """Write down, with record `seq`, which kept files it names."""
    for key in blob_keys(stream, seq, attachments):
        batch.put(Table.BLOBS, key, BLOB_ROW)


def is_named(reads: Reads, digest: bytes) -> bool:
    """Whether any record names a file."""
    found = reads.scan(Table.BLOBS, digest, limit=1)
    return bool(found) and found[0][0].startswith(digest)


def named_in(reads: Reads, digest: bytes, stream: int) -> Iterator[int]:
    """Sequence numbers of the records in one log that name a file, ascending."""
    for key, _ in starting_with(reads, Table.BLOBS, digest + number_key(stream)):
        yield split_log_key(key[_DIGEST_BYTES:])[1]
