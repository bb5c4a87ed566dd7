"""Files of Matrix: what a message says of one, where it is fetched, and what to send with one.

Source: https://spec.matrix.org/v1.11/client-server-api/, "m.room.message msgtypes", "Media
captions", "Content repository" with `GET /_matrix/client/v1/media/download`, which asks for the
token; homeservers from before v1.11 have `/_matrix/media/v3/download` only, which does not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from ..actors.frozen import message
from ..actors.messages import Attachment
from .base import Channel, KeepFile, OutboundFile
from .fetching import Fetcher, FetchRefused
from .incoming_files import IncomingFile, mime_in
from .json_fields import Fields, Malformed, chosen, needed, text
from .outgoing_files import ANY_TYPE, declared_type, sent_name
from .platform_url import PlatformUrl
from .secret import Secret

__all__ = [
    "UPLOAD_LIMIT_BYTES",
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
_MXC: Final = re.compile(r"mxc://[A-Za-z0-9.:\[\]-]{1,255}/[A-Za-z0-9_-]{1,255}")
_PATHS: Final = ("/_matrix/client/v1/media/download/", "/_matrix/media/v3/download/")


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
    reference = needed(content, "url")
    if not _MXC.fullmatch(reference):
        raise Malformed("url is none of Matrix's")
    info = chosen(content, "info") or {}
    size = info.get("size")
    return IncomingFile(
        kind=kind,
        reference=reference,
        mime=mime_in(info, "mimetype"),
        name=text(content, "filename") or (None if sticker else text(content, "body")),
        size_bytes=size if type(size) is int and size >= 0 else None,
    )


def upload_for(file: OutboundFile) -> Upload:
    """How to send a file."""
    return Upload(
        msgtype=_TYPES.get(file.kind, "m.file"),
        name=sent_name(file),
        mime=declared_type(file) or ANY_TYPE,
        size_bytes=file.size_bytes,
    )


class MediaSource:
    """Where the files of an account's rooms are fetched: from its own homeserver."""

    def __init__(
        self, channel: Channel, homeserver: PlatformUrl, headers: Mapping[str, str | Secret]
    ) -> None:
        """Fetch nothing yet.

        Args:
            channel: whose `keep_file` keeps them.
            homeserver: what every path is put behind.
            headers: for it and nobody else.
        """
        self._channel = channel
        self._homeserver = homeserver.url
        self._headers = headers
        self._fetcher = Fetcher(
            max_bytes=_DOWNLOAD_LIMIT_BYTES,
            trusted=frozenset({homeserver.address}),
            credential_hosts=frozenset({homeserver.address}),
        )

    def __repr__(self) -> str:
        return f"<MediaSource at {self._homeserver}>"

    async def keep(self, file: IncomingFile) -> Attachment | None:
        """Fetch a file, and keep it; None if there is nowhere to keep it.

        Raises:
            FetchFailed: try later.
            FetchRefused: it is not handed out.
            FileTooLarge, FileNotKept, ShuttingDown: it cannot be kept.
        """
        keep = self._channel.keep_file
        if keep is None:
            return None
        *newer, oldest = _PATHS
        for path in newer:
            try:
                return await self._keep(path, file, keep)
            except FetchRefused as refused:
                if refused.reason != "not_found":
                    raise
        return await self._keep(oldest, file, keep)

    async def _keep(self, path: str, file: IncomingFile, keep: KeepFile) -> Attachment:
        url = f"{self._homeserver}{path}{file.reference.removeprefix('mxc://')}"
        async with self._fetcher.open(url, headers=self._headers) as pieces:
            return await keep(pieces, kind=file.kind, mime=file.mime, name=file.shown_name)
