"""Files of WhatsApp messages: fetched with the token, and brought over before they are sent.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/business-phone-numbers/media/
"""

from __future__ import annotations

from typing import Final

from ..actors.frozen import message
from ..actors.messages import Attachment
from .base import Channel, OutboundFile
from .fetching import Fetcher, FetchRefused
from .incoming_files import IncomingFile
from .json_fields import needed
from .outgoing_files import declared_type, sent_name
from .platform_url import address_of
from .whatsapp_api import WhatsAppApi

__all__ = ["FILE_LIMIT_BYTES", "FileSource", "Upload", "uploads_for"]

FILE_LIMIT_BYTES: Final = 100 * 1024 * 1024
"""The longest document, in both directions."""
_MEDIA_HOST: Final = "lookaside.fbsbx.com:443"
"""Where the URLs of files lead."""

_MB: Final = 1024 * 1024
_SHOWN: Final = {
    "image": (frozenset({"image/jpeg", "image/png"}), 5 * _MB),
    "audio": (
        frozenset({"audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"}),
        16 * _MB,
    ),
    "video": (frozenset({"video/mp4", "video/3gpp"}), 16 * _MB),
}
"""Kind -> the types that are shown as such, and how long they may be."""
_OFFICE: Final = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS: Final = frozenset(
    {
        "text/plain",
        "application/pdf",
        "application/msword",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        f"{_OFFICE}.wordprocessingml.document",
        f"{_OFFICE}.spreadsheetml.sheet",
        f"{_OFFICE}.presentationml.presentation",
    }
)
"""The types that a document may have."""
_ANY: Final = "text/plain"
"""What documents of other types are declared as: no other type is taken. Their name says more."""


@message
class Upload:
    """How a file is sent."""

    kind: str
    """The type of the message."""
    name: str
    mime: str


class FileSource:
    """Where the files that come to one business number are fetched."""

    def __init__(self, channel: Channel, api: WhatsAppApi, address: str) -> None:
        """Fetch nothing yet.

        Args:
            channel: whose `keep_file` keeps them.
            api: tells where a file is.
            address: `host:port` of it, which the operator has configured.
        """
        self._channel = channel
        self._api = api
        self._places = frozenset({address, _MEDIA_HOST})
        self._fetcher = Fetcher(
            max_bytes=FILE_LIMIT_BYTES,
            trusted=frozenset({address}),
            credential_hosts=self._places,
        )

    def __repr__(self) -> str:
        return "<FileSource of WhatsApp>"

    async def keep(self, file: IncomingFile) -> Attachment | None:
        """Fetch a file, and keep it; None if nobody keeps files.

        Raises:
            FetchRefused: it is gone, too large, or elsewhere than at the platform's own hosts.
            FetchFailed, Unreachable, Rejected, Malformed: the platform does not hand it out.
            FileTooLarge, FileNotKept, ShuttingDown: it cannot be kept.
        """
        keep = self._channel.keep_file
        if keep is None:
            return None
        url = needed(await self._api.media(file.reference), "url")
        if not self._is_ours(url):
            raise FetchRefused("the file is at none of the platform's hosts", reason="elsewhere")
        async with self._fetcher.open(url, headers=self._api.headers) as pieces:
            return await keep(pieces, kind=file.kind, mime=file.mime, name=file.shown_name)

    def _is_ours(self, url: str) -> bool:
        try:
            return address_of(url) in self._places
        except ValueError:
            return False


def uploads_for(file: OutboundFile) -> tuple[Upload, ...]:
    """The ways to send a file, the one that people see best first; the last takes anything."""
    mime, name = declared_type(file), sent_name(file)
    document = Upload(kind="document", name=name, mime=mime if mime in _DOCUMENTS else _ANY)
    types, limit_bytes = _SHOWN.get(file.kind, (frozenset[str](), 0))
    if mime in types and file.size_bytes <= limit_bytes:
        return (Upload(kind=file.kind, name=name, mime=mime), document)
    return (document,)
