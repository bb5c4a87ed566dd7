"""What a file that the agent sends is called, and declared as. Pure."""

from __future__ import annotations

from mimetypes import guess_extension
from typing import Final

from .base import OutboundFile

__all__ = ["ANY_TYPE", "declared_type", "sent_name"]

ANY_TYPE: Final = "application/octet-stream"
"""What a file is declared as of which nobody knows what it is."""


def declared_type(file: OutboundFile) -> str:
    """The media type in small letters, without parameters; empty if nobody has told it."""
    return (file.mime or "").partition(";")[0].strip().lower()


def sent_name(file: OutboundFile) -> str:
    """Its name; where the agent gives none, one that ends as files of its type do."""
    return file.name or f"file{guess_extension(declared_type(file)) or ''}"
