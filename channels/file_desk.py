"""Files on their way out: read when they are sent, and only so many of them at a time.

Until then a file is its description, wherever its delivery waits; and what is in it is let go when
its channel has sent it.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

import trio

from ..actors.deliveries import FileToSend
from .base import ChannelPowers, OutboundFile

__all__ = ["MAX_FILES_AT_ONCE", "FileDesk", "ReadFile", "in_place_of"]

MAX_FILES_AT_ONCE: Final = 8
"""Files that one instance sends at once: each is in memory meanwhile. The next one waits."""


class ReadFile(Protocol):
    """Reads kept files."""

    async def __call__(self, file: FileToSend, /) -> bytes:
        """All of it.

        Raises:
            Rejected: it is not there any more, or damaged: `file_missing`.
            Unreachable: it cannot be read now: `file_unreadable`.
        """
        ...


class FileDesk:
    """Hands files to one channel."""

    def __init__(self, read: ReadFile) -> None:
        self._read = read
        self.room: Final = trio.Semaphore(MAX_FILES_AT_ONCE)
        """To be held while a file is being sent."""

    def outbound(self, file: FileToSend) -> OutboundFile:
        """A file as its channel is given it."""
        return OutboundFile(
            kind=file.kind,
            size_bytes=file.size_bytes,
            read=partial(self._read, file),
            mime=file.mime,
            name=file.name,
        )


def in_place_of(file: FileToSend, powers: ChannelPowers) -> str | None:
    """The line of text that stands for a file which a channel cannot send; None if it can."""
    if not powers.files:
        return f"[{file.label}: cannot be sent here]"
    limit_bytes = powers.file_limit_bytes
    if limit_bytes is not None and file.size_bytes > limit_bytes:
        return f"[{file.label}: too large to be sent here]"
    return None
