"""A file of the blob folder while it is being written: none of it is there before it is whole."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

from .state_dir import sync_directory

__all__ = ["BlobWriting"]


class BlobWriting:
    """A file without a place yet. Every method blocks on the disk: not for the loop's thread.

    The digest grows with the file, which is held in memory nowhere.
    """

    def __init__(self, folder: Path) -> None:
        """Begin a file in `folder`, under a name that nobody else has.

        Raises:
            OSError: the disk refused.
        """
        self.size_bytes = 0
        self._path: Final = folder / secrets.token_hex(16)
        self._hash = sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file: int | None = os.open(self._path, flags, 0o600)

    @property
    def digest(self) -> bytes:
        """SHA-256 of what was written so far."""
        return self._hash.digest()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Go on with `data`.

        Raises:
            OSError: the disk refused.
        """
        assert self._file is not None
        with memoryview(data) as view, view.cast("B") as rest:
            self._hash.update(rest)
            written = 0
            while written < len(rest):
                written += os.write(self._file, rest[written:])
            self.size_bytes += written

    def sync(self, at_us: int) -> None:
        """End the writing, and make it durable as a file that was kept at `at_us`."""
        assert self._file is not None
        os.utime(self._file, ns=(at_us * 1000, at_us * 1000))
        os.fsync(self._file)
        self._close()

    def move_to(self, place: Path) -> None:
        """Put the file, which is synced, in its place."""
        self._path.rename(place)
        sync_directory(place.parent)

    def discard(self) -> None:
        """Leave nothing behind; nothing happens to a file that is in its place."""
        with suppress(OSError):  # whatever a full disk says to it: nothing of the file is wanted
            self._close()
        with suppress(OSError):  # the next opening removes it
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)
