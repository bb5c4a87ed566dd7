"""Files of Matrix: what a message says of one, where it is fetched, and what to send with one.

Source: https://spec.matrix.org/v1.11/client-server-api/, "m.room.message msgtypes", "Media
captions", "Content repository" with `GET /_matrix/client/v1/media/download`, which asks for the
token; homeservers from before v1.11 have `/_matrix/media/v3/download` only, which does not.
"""

from __future__ import annotations

import re
from mimetypes import guess_extension
from typing import Any, Final

from ..actors.frozen import message
from ..actors.messages import Attachment
from .base import Channel, OutboundFile
from .fetching import Fetcher, FetchRefused, safe_name
from .json_fields import Fields, Malformed, chosen, needed, text
from .secret import Secret

__all__ = [
    "UPLOAD_LIMIT_BYTES",
    "IncomingFile",
    "MediaSource",
    "Upload",
    "file_in",
    "upload_for",
]

UPLOAD_LIMIT_BYTES: Final = 50_000_000
"""What Synapse takes unless it is told otherwise; a homeserver may take less."""
_DOWNLOAD_LIMIT_BYTES: Final = 200_000_000
_KINDS: Final = {"m.image": "image", "m.audio": "audio", "m.video": "video", "m.file": "file"}
_TYPES: Final = {kind: msgtype for msgtype, kind in _KINDS.items()}
_MXC: Final = re.compile(r"mxc://([A-Za-z0-9.:\[\]-]{1,255})/([A-Za-z0-9_-]{1,255})")
_MAX_MIME_CHARS: Final = 255
_PATHS: Final = ("/_matrix/client/v1/media/download/", "/_matrix/media/v3/download/")


@message
class IncomingFile:
    """A file that a human has sent."""

    kind: str
    server: str
    """Where it was sent from; every homeserver hands out the files of all."""
    media_id: str
    mime: str | None = None
    name: str | None = None
    size_bytes: int | None = None

    @property
    def reference(self) -> str:
        """By which Matrix names it."""
        return f"mxc://{self.server}/{self.media_id}"


@message
class Upload:
    """How a file is sent."""

    msgtype: str
    name: str
    mime: str
    size_bytes: int

    def content(self, uri: str) -> dict[str, Any]:
        """What the message says, once the homeserver has the file."""
        return {
            "msgtype": self.msgtype,
            "body": self.name,
            "filename": self.name,
            "url": uri,
            "info": {"mimetype": self.mime, "size": self.size_bytes},
        }


def file_in(content: Fields, *, sticker: bool = False) -> IncomingFile | None:
    """The file of a message; None if it has none.

    Raises:
        Malformed: it is not as documented.
    """
    kind = "image" if sticker else _KINDS.get(text(content, "msgtype") or "")
    if kind is None:
        return None
    found = _MXC.fullmatch(needed(content, "url"))
    if found is None:
        raise Malformed("url is none of Matrix's")
    info = chosen(content, "info") or {}
    mime, size = text(info, "mimetype"), info.get("size")
    return IncomingFile(
        kind=kind,
        server=found[1],
        media_id=found[2],
        mime=mime[:_MAX_MIME_CHARS] if mime else None,
        name=text(content, "filename") or (None if sticker else text(content, "body")),
        size_bytes=size if type(size) is int and size >= 0 else None,
    )


def upload_for(file: OutboundFile) -> Upload:
    """How to send a file."""
    mime = (file.mime or "").partition(";")[0].strip().lower() or "application/octet-stream"
    return Upload(
        msgtype=_TYPES.get(file.kind, "m.file"),
        name=file.name or f"file{guess_extension(mime) or ''}",
        mime=mime,
        size_bytes=file.size_bytes,
    )


class MediaSource:
    """Where the files of an account's rooms are fetched: from its own homeserver."""

    def __init__(self, homeserver: str, place: str, authorization: Secret) -> None:
        """Fetch nothing yet.

        Args:
            homeserver: what every path is put behind.
            place: `host:port` of it, which the operator has configured.
            authorization: a header for it and nobody else.
        """
        self._homeserver = homeserver
        self._headers = {"authorization": authorization}
        self._fetcher = Fetcher(
            max_bytes=_DOWNLOAD_LIMIT_BYTES,
            trusted=frozenset({place}),
            credential_hosts=frozenset({place}),
        )

    def __repr__(self) -> str:
        return f"<MediaSource at {self._homeserver}>"

    async def keep(self, file: IncomingFile, channel: Channel) -> Attachment | None:
        """Fetch a file, and keep it; None if there is nowhere to keep it.

        Raises:
            FetchFailed: try later.
            FetchRefused: it is not handed out.
            FileTooLarge, FileNotKept, ShuttingDown: it cannot be kept.
        """
        if channel.keep_file is None:
            return None
        *newer, oldest = _PATHS
        for path in newer:
            try:
                return await self._keep(path, file, channel)
            except FetchRefused as refused:
                if refused.reason != "not_found":
                    raise
        return await self._keep(oldest, file, channel)

    async def _keep(self, path: str, file: IncomingFile, channel: Channel) -> Attachment:
        keep = channel.keep_file
        assert keep is not None  # it was looked at
        url = f"{self._homeserver}{path}{file.server}/{file.media_id}"
        async with self._fetcher.open(url, headers=self._headers) as pieces:
            name = safe_name(file.name) if file.name else None
            return await keep(pieces, kind=file.kind, mime=file.mime, name=name)
