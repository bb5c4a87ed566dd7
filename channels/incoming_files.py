"""Files that humans send: kept, so that the agent can read them; or known by a reference.

A file never holds back its turn for ever: after some tries, or when its time is up, the turn comes
with what the platform calls the file, its name and its size.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import trio

from ..actors.errors import FileNotKept, FileTooLarge
from ..actors.frozen import message
from ..actors.messages import Attachment
from .base import Rejected, Unreachable
from .fetching import FetchFailed, FetchRefused, safe_name
from .json_fields import Fields, Malformed, text

__all__ = [
    "FETCH_S",
    "HOOKED_FETCH_S",
    "IncomingFile",
    "KeepIncoming",
    "attachments_of",
    "kind_of",
    "mime_in",
]

_logger = logging.getLogger(__name__)

FETCH_S: Final = 120.0
"""Seconds for the files of a message; other conversations do not wait for them."""
HOOKED_FETCH_S: Final = 15.0
"""The same while a platform waits for the answer to its call, which the server of hooks ends after
thirty."""
_AGAIN_AFTER_S: Final = (1.0, 2.0, None)
"""Seconds after each time that a file is asked for in vain; none after the last time."""
_KINDS: Final = frozenset({"image", "audio", "video"})
_MAX_MIME_CHARS: Final = 255


@message
class IncomingFile:
    """A file that a human has sent."""

    kind: str
    """`image`, `audio`, `video` or `file`."""
    reference: str
    """By which the platform names it."""
    url: str | None = None
    """Where it is, if the platform has told that with the message."""
    mime: str | None = None
    name: str | None = None
    """As the human calls it; untrusted."""
    size_bytes: int | None = None

    @property
    def shown_name(self) -> str | None:
        """Its name, made safe."""
        return safe_name(self.name) if self.name else None

    @property
    def unkept(self) -> Attachment:
        """What its turn names if it cannot be kept."""
        return Attachment(
            kind=self.kind,
            reference=self.reference,
            mime=self.mime,
            size_bytes=self.size_bytes,
            name=self.shown_name,
        )


def mime_in(of: Fields, name: str) -> str | None:
    """A media type that may be missing; no longer than one that can be kept.

    Raises:
        Malformed: it is there, and no text.
    """
    return (text(of, name) or "")[:_MAX_MIME_CHARS] or None


def kind_of(mime: str | None) -> str:
    """What an agent is told that a file is: `image`, `audio`, `video`, or else `file`."""
    family = (mime or "").partition("/")[0]
    return family if family in _KINDS else "file"


KeepIncoming: TypeAlias = Callable[[IncomingFile], Awaitable[Attachment | None]]
"""Fetches a file and keeps it, once; None if it is not to be had, or nobody keeps files.

What it raises as FetchFailed or Unreachable is tried again; Rejected, FetchRefused, Malformed,
FileTooLarge and FileNotKept are not.
"""


async def attachments_of(
    files: Sequence[IncomingFile], keep: KeepIncoming, *, name: str, until_s: float
) -> tuple[Attachment, ...]:
    """Each of the files, kept; or by its reference, if it cannot be.

    Args:
        files: of one message.
        keep: fetches and keeps one.
        name: of the instance, for the log.
        until_s: when the turn must come, on trio's clock.

    Raises:
        ShuttingDown: the runtime stops, and the turn comes again.
    """
    kept: list[Attachment] = []
    with trio.move_on_at(until_s):
        for file in files:
            kept.append(await _kept(file, keep, name) or file.unkept)  # noqa: PERF401  (some count)
    if len(kept) < len(files):
        _logger.warning("%s: %d files took too long", name, len(files) - len(kept))
    return (*kept, *(file.unkept for file in files[len(kept) :]))


async def _kept(file: IncomingFile, keep: KeepIncoming, name: str) -> Attachment | None:
    for pause_s in _AGAIN_AFTER_S:
        try:
            return await keep(file)
        except (FileTooLarge, FileNotKept, FetchRefused, Rejected, Malformed) as error:
            _logger.warning("%s: a file is not kept: %s", name, error)
            return None
        except (Unreachable, FetchFailed) as error:
            _logger.warning("%s: a file was not fetched: %s", name, error)
            if pause_s is not None:
                await trio.sleep(max(pause_s, error.retry_after_s or 0.0))
    return None
