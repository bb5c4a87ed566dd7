"""Whether the files that go with messages are there, and the table that tells which records."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .actors.blob_rows import BLOB_ROW, blob_keys, split_blob_key
from .actors.core.attached import attachments_of, blob_reference
from .actors.core.records import MalformedRecord, Record
from .actors.core.turn_records import AssistantRecord, UserRecord
from .actors.journal import load_record
from .actors.ledger import starting_with
from .storage.base import Reads, Table
from .storage.blobs import Blobs
from .storage.errors import BlobMissing, CorruptRecord, RecordFromFuture, StorageError
from .verify_rows import Problem

__all__ = ["KeptFiles"]


class KeptFiles:
    """Which records name kept files; nothing of it is held in memory but how many there are.

    Args:
        reads: the frozen moment.
        blobs: the folder, each of whose files is read; None where there is none to be looked at.
    """

    def __init__(self, reads: Reads, blobs: Blobs | None) -> None:
        self._reads = reads
        self._blobs = blobs
        self._rows = 0
        """Rows that a record has been found to own."""

    def named(self, stream: int, seq: int, record: Record) -> Iterator[Problem]:
        """A record was read; look for the rows that tell of its files."""
        if not isinstance(record, UserRecord | AssistantRecord) or not record.attachments:
            return
        for key in sorted(blob_keys(stream, seq, attachments_of(record))):
            if self._reads.get(Table.BLOBS, key) is None:
                reference = blob_reference(key[:32])
                text = f"missing: the file {reference} would be removed, as if nothing named it"
                yield Problem(place=f"kept file of {stream}/{seq}", text=text)
            else:
                self._rows += 1

    def compare(self, broken: Collection[int], foreign: Collection[int]) -> Iterator[Problem]:
        """What is wrong with the table, and with the files.

        Args:
            broken: numbers of the logs that cannot be read whole.
            foreign: numbers of sessions that were brought in, without their files.
        """
        rows, examined = 0, b""
        wrong: StorageError | None = None
        for key, data in starting_with(self._reads, Table.BLOBS, b""):
            rows += 1
            found = split_blob_key(key)
            if found is None:
                yield Problem(place=f"kept file {key.hex()}", text="has a key of another kind")
                continue
            digest, stream, seq = found
            if data != BLOB_ROW:
                text = f"holds {data!r:.40}, which is never written"
                yield Problem(place=f"kept file of {stream}/{seq}", text=text)
            if digest != examined:
                examined, wrong = digest, self._examine(digest)
            if isinstance(wrong, BlobMissing) and stream in foreign:
                continue
            if wrong is not None:
                yield Problem(place=f"log {stream}/{seq}", text=f"names a file: {wrong}")
        if rows != self._rows:
            yield from self._without_record(broken)

    def _examine(self, digest: bytes) -> StorageError | None:
        """What is wrong with a file; None if nothing is."""
        try:
            if self._blobs is not None:
                self._blobs.check(digest)
        except StorageError as error:
            return error
        return None

    def _without_record(self, broken: Collection[int]) -> Iterator[Problem]:
        for key, _ in starting_with(self._reads, Table.BLOBS, b""):
            found = split_blob_key(key)
            if found is None or found[1] in broken:
                continue
            _, stream, seq = found
            try:
                record = load_record(self._reads, stream, seq)
            except (CorruptRecord, RecordFromFuture, MalformedRecord):
                continue  # told where that log is read
            named = (
                attachments_of(record) if isinstance(record, UserRecord | AssistantRecord) else ()
            )
            if key not in blob_keys(stream, seq, named):
                text = f"leads to a record that names no {blob_reference(key[:32])}"
                yield Problem(place=f"kept file of {stream}/{seq}", text=text)
