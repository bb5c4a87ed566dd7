"""Names that strangers give to files, made fit for any file system. Pure."""

from __future__ import annotations

import re
from email.message import Message
from typing import Final
from urllib.parse import unquote

__all__ = ["MAX_NAME_BYTES", "name_of", "safe_name"]

MAX_NAME_BYTES: Final = 255
"""Longest name of a file, in UTF-8, on the file systems in use."""
_MAX_EXTENSION_BYTES: Final = 32
"""What stands behind the last dot and is longer is no extension."""
_MAX_HEADER_CHARS: Final = 4_096
"""Longest Content-Disposition that is read: 255 characters with every byte of them escaped, and as
much again. Reading one takes the square of its length."""

_HOSTILE: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029"  # controls and line ends
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidi: `exe.txt` that is a `txt.exe`
    "\ud800-\udfff\ufeff\ufffe\uffff]"  # what no encoding can write, or nobody can see
)
_FORBIDDEN: Final = re.compile(r'[<>:"|?*]')
_RESERVED: Final = re.compile(r"(?i)(?:con|prn|aux|nul|(?:com|lpt)[0-9¹²³]|conin\$|conout\$)")


def safe_name(name: str) -> str | None:
    """The name, without whatever could lead it elsewhere or show it as what it is not.

    Folders before it are dropped, and so are controls, marks that reorder text, dots and blanks at
    both ends. What Windows does not take becomes `_`. At most 255 bytes of UTF-8; the extension is
    kept. None if nothing is left.
    """
    # First what cannot be seen: it may hide a dot or a separator.
    name = _HOSTILE.sub("", name)
    name = re.split(r"[/\\]", name)[-1]
    name = _FORBIDDEN.sub("_", name).strip(" .\u00a0\u3000\t")
    name = _short(name)
    if _RESERVED.fullmatch(name.partition(".")[0].rstrip(" ")):
        name = _short(f"_{name}")
    return name or None


def name_of(disposition: str | None, path: str) -> str | None:
    """What an answer calls its file: its Content-Disposition, or the last part of its path."""
    if disposition and len(disposition) <= _MAX_HEADER_CHARS:
        header = Message()
        header["content-disposition"] = disposition.replace("\r", "").replace("\n", "")
        try:
            told = header.get_filename()
        except (LookupError, ValueError):
            told = None
        if told and (name := safe_name(told)) is not None:
            return name
    return safe_name(unquote(path.rpartition("/")[2]))


def _short(name: str) -> str:
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > _MAX_EXTENSION_BYTES:
        stem, dot, extension = name, "", ""
    room = MAX_NAME_BYTES - len(f"{dot}{extension}".encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(" .") + dot + extension
