"""Files that go with a message: how they are named to a model, and which of them are kept here.

A file that the runtime keeps is named by what is in it: `blob:sha256:` and 64 hexadecimal digits.
Any other reference is the platform's own.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from ..deliveries import FileToSend
from ..messages import Attachment
from .names import clean_name, quoted_name
from .turn_records import AssistantRecord, UserRecord

__all__ = [
    "FILE_KINDS",
    "MAX_FILE_NAME_CHARS",
    "attachment_line",
    "attachments_of",
    "blob_digest",
    "blob_reference",
    "file_name",
    "files_to_send",
    "told_of",
]

FILE_KINDS: Final = ("image", "audio", "video", "file")
"""The kinds of file that an agent may send."""
MAX_FILE_NAME_CHARS: Final = 128
"""Longest name under which a file is sent."""

_ENDING_CHARS: Final = 16
"""A file's name is no longer than this behind its last dot, if that is its ending."""
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
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
    return f"[attached: {_label(attachment)}]"


def _label(attachment: Attachment) -> str:
    kind = attachment.kind if _KIND.fullmatch(attachment.kind) else "file"
    name = clean_name(attachment.name)
    told = [kind if name is None else f"{kind} {quoted_name(name, '')}"]
    if (mime := _mime(attachment)) is not None:
        told.append(mime)
    if attachment.size_bytes is not None:
        told.append(f"{attachment.size_bytes:,} byte{'s' if attachment.size_bytes != 1 else ''}")
    return ", ".join(told)


def _mime(attachment: Attachment) -> str | None:
    """Its media type, if it is told one."""
    mime = (attachment.mime or "").partition(";")[0].strip().lower()
    return mime if _MIME.fullmatch(mime) else None


def attachments_of(record: UserRecord | AssistantRecord) -> tuple[Attachment, ...]:
    """What goes with the message of `record`."""
    return tuple(
        Attachment(kind=kind, reference=reference, mime=mime, size_bytes=size, name=name)
        for kind, reference, mime, size, name in record.attachments or ()
    )


def told_of(said: AssistantRecord) -> str:
    """What the agent has said, in one text: behind its words a line for each file."""
    lines = [attachment_line(attachment) for attachment in attachments_of(said)]
    return "\n".join([said.text, *lines] if said.text and not said.text.isspace() else lines)


def files_to_send(said: AssistantRecord) -> tuple[FileToSend, ...]:
    """The files that go with what the agent has said, as a platform may be told of them."""
    return tuple(
        FileToSend(
            kind=attachment.kind if attachment.kind in FILE_KINDS else "file",
            reference=attachment.reference,
            size_bytes=attachment.size_bytes or 0,
            label=_label(attachment),
            mime=_mime(attachment),
            name=file_name(attachment.name),
        )
        for attachment in attachments_of(said)
    )


def file_name(name: str | None) -> str | None:
    """`name` as the name of a file: without any path, and without what nobody can see.

    One that is too long keeps its ending, which tells programs what it is.
    """
    last = re.split(r"[/\\]", name)[-1] if name is not None else ""
    seen = [c for c in last if c.isspace() or unicodedata.category(c) not in _UNSEEN]
    clean = " ".join("".join(seen).split()).strip(". ")
    if len(clean) > MAX_FILE_NAME_CHARS:
        _, dot, ending = clean.rpartition(".")
        ending = dot + ending if len(ending) < _ENDING_CHARS else ""
        clean = clean[: MAX_FILE_NAME_CHARS - len(ending)] + ending
    return clean or None


def blob_reference(digest: bytes) -> str:
    """The reference of the file whose SHA-256 is `digest`."""
    return f"blob:sha256:{digest.hex()}"


def blob_digest(reference: str) -> bytes | None:
    """The SHA-256 of the file that `reference` names; None if it names none that is kept here."""
    found = _REFERENCE.fullmatch(reference)
    return bytes.fromhex(found[1]) if found is not None else None
