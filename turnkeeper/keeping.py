"""Files that come with turns, between channels and agents on one side and the blob folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from .actors.blob_rows import named_in
from .actors.context_logs import Log, logs_of
from .actors.core.attached import blob_digest, blob_reference
from .actors.core.records import UserRecord
from .actors.core.veil import Hidden, Veil
from .actors.errors import FileNotKept, FileTooLarge
from .actors.journal import load_head, load_record
from .actors.messages import Attachment
from .actors.unknown import UnknownAttachment
from .storage.base import Reads
from .storage.blobs import Blobs, Content
from .storage.errors import BlobMissing, BlobTooLarge, StorageError

__all__ = ["Keeping"]

_NO_FOLDER: Final = "this runtime keeps no files: it was opened without a state directory"


class Keeping:
    """What a runtime keeps of files.

    Args:
        blobs: the folder; None for a runtime without a state directory.
        limit_bytes: how long a file may be.
    """

    def __init__(self, blobs: Blobs | None, limit_bytes: int) -> None:
        self.blobs: Final = blobs
        self.limit_bytes: Final = limit_bytes

    async def clear_leftovers(self) -> None:
        """Remove what a crash left half written; before anything is kept.

        Raises:
            StoreUnusable: the operating system refuses.
        """
        if self.blobs is not None:
            await self.blobs.clear_leftovers()

    async def keep(self, content: Content, /) -> tuple[str, int]:
        """Keep a file; its reference, and how many bytes it has.

        Raises:
            FileTooLarge: it is longer than the limit.
            FileNotKept: there is no folder, or the operating system refuses.
        """
        if self.blobs is None:
            raise FileNotKept(_NO_FOLDER)
        try:
            kept = await self.blobs.keep(content, self.limit_bytes)
        except BlobTooLarge as error:
            raise FileTooLarge(error.limit_bytes) from error
        except StorageError as error:
            raise FileNotKept(f"the file cannot be kept: {error}") from error
        return blob_reference(kept.digest), kept.size_bytes

    async def read(self, store: Reads, stream: int, attachment: Attachment) -> bytes:
        """All of a file that session `stream` may see.

        Raises:
            UnknownAttachment: there is none.
            BlobMissing, BlobDamaged: it is not what was kept any more.
            BlobTooLarge: it was kept when longer files were allowed.
            StoreUnusable: the operating system refuses.
        """
        blobs, digest = self._find(store, stream, attachment)
        return await blobs.read(digest, self.limit_bytes)

    def path(self, store: Reads, stream: int, attachment: Attachment) -> Path:
        """Where a file is that session `stream` may see.

        Raises:
            UnknownAttachment: there is none.
            BlobMissing: it is not there any more.
        """
        blobs, digest = self._find(store, stream, attachment)
        path = blobs.path(digest)
        if not path.is_file():
            raise BlobMissing(f"{path} is missing: restore it from a copy")
        return path

    def _find(self, store: Reads, stream: int, attachment: Attachment) -> tuple[Blobs, bytes]:
        digest = blob_digest(attachment.reference)
        if digest is None:
            raise UnknownAttachment(
                f"the channel has not kept {attachment.reference!r:.100}: only it can fetch that"
            )
        if self.blobs is None:
            raise UnknownAttachment(_NO_FOLDER)
        head = load_head(store, stream)
        logs = logs_of(store, stream, head) if head is not None else []
        if not any(_is_shown_in(store, log, digest) for log in logs):
            raise UnknownAttachment(f"no message of this session came with {attachment.reference}")
        return self.blobs, digest


def _is_shown_in(store: Reads, log: Log, digest: bytes) -> bool:
    """Whether a message came with a file that no undone link has taken out of the log."""
    hidden = log.head.hidden
    veil = Veil([Hidden(*entry) for entry in hidden]) if hidden else None
    for seq in named_in(store, digest, log.stream):
        record = load_record(store, log.stream, seq)
        if isinstance(record, UserRecord) and (
            veil is None or not veil.covers_question(seq, record)
        ):
            return True
    return False
