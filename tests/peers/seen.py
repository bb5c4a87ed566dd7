"""What a human sees on a platform: the same few words for every peer."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Seen", "SeenFile"]


@dataclass(frozen=True)
class SeenFile:
    """A file under a message."""

    name: str
    mime: str
    size_bytes: int
    url: str
    """Where the platform serves it, to whom may read it."""


@dataclass(frozen=True)
class Seen:
    """One message of a conversation, as it stands now: a deleted one is not seen."""

    message_id: str
    user: str
    """The platform's id of who wrote it."""
    text: str
    """In the platform's own markup, as it keeps it."""
    thread: str | None = None
    """What the platform names the thread by, in which it stands; None outside of threads."""
    reply_to: str | None = None
    edited: bool = False
    files: tuple[SeenFile, ...] = ()
