"""Files that come with turns, between channels and agents on one side and the blob folder."""

from __future__ import annotations

from typing import Final

from .actors.core.attached import blob_reference
from .actors.errors import FileNotKept, FileTooLarge
from .storage.blobs import Blobs, Content
from .storage.errors import BlobTooLarge, StorageError

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
