"""Files that came with a message: how they are named to a model, and which of them are kept here.

A file that the runtime keeps is named by what is in it: `blob:sha256:` and 64 hexadecimal digits.
Any other reference is the platform's own.
"""

from __future__ import annotations

import re
from typing import Final

from ..messages import Attachment
from .names import clean_name, quoted_name
from .records import UserRecord

__all__ = ["attachment_line", "attachments_of", "blob_digest", "blob_reference"]

_REFERENCE: Final = re.compile("blob:sha256:([0-9a-f]{64})")
_KIND: Final = re.compile("[a-z][a-z0-9_-]{0,31}")
_MIME: Final = re.compile("[a-z0-9][a-z0-9!#$&^_.+-]{0,63}/[a-z0-9][a-z0-9!#$&^_.+-]{0,63}")
"""Type and subtype as RFC 6838 has them, in lower case, each of at most 64 characters."""


def attachment_line(attachment: Attachment) -> str:
    """One line that says what came: `[attached: image "photo.jpg", image/jpeg, 123,456 bytes]`.

    Whatever the fields hold, it is one line of at most 1,024 characters, and the name ends where
    its quote ends: it is cleaned and quoted as those of speakers are. What is unknown or no such
    thing is left out; a kind that is no word is a `file`.
    """
    kind = attachment.kind if _KIND.fullmatch(attachment.kind) else "file"
    name = clean_name(attachment.name)
    told = [kind if name is None else f"{kind} {quoted_name(name, '')}"]
    mime = (attachment.mime or "").partition(";")[0].strip().lower()
    if _MIME.fullmatch(mime):
        told.append(mime)
    if attachment.size_bytes is not None:
        told.append(f"{attachment.size_bytes:,} byte{'s' if attachment.size_bytes != 1 else ''}")
    return f"[attached: {', '.join(told)}]"


def attachments_of(record: UserRecord) -> tuple[Attachment, ...]:
    """What came with the message of `record`."""
    return tuple(
        Attachment(kind=kind, reference=reference, mime=mime, size_bytes=size, name=name)
        for kind, reference, mime, size, name in record.attachments or ()
    )


def blob_reference(digest: bytes) -> str:
    """The reference of the file whose SHA-256 is `digest`."""
    return f"blob:sha256:{digest.hex()}"


def blob_digest(reference: str) -> bytes | None:
    """The SHA-256 of the file that `reference` names; None if it names none that is kept here."""
    found = _REFERENCE.fullmatch(reference)
    return bytes.fromhex(found[1]) if found is not None else None
