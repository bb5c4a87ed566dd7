"""The files that humans send: fetched from Discord's own hosts, and kept.

Source: https://docs.discord.com/developers/reference, "Signed Attachment CDN URLs": the addresses
of files end after a while, so a file that is not kept is known by its message instead.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from ..actors.messages import Attachment
from .base import Channel
from .fetching import Fetcher
from .incoming_files import IncomingFile
from .platform_url import address_of

__all__ = ["FileSource"]

_ADDRESSES: Final = frozenset({"cdn.discordapp.com:443", "media.discordapp.net:443"})
_LONGEST_BYTES: Final = 500_000_000
"""What a human may send at most; the configuration usually keeps less."""


class FileSource:
    """Where files are fetched."""

    def __init__(self, channel: Channel, trusted: str | None) -> None:
        """Fetch nothing yet.

        Args:
            channel: whose `keep_file` keeps them.
            trusted: `host:port` of another API than Discord's own, which has its files too.
        """
        self._channel = channel
        self._trusted = trusted
        self._fetcher = Fetcher(
            max_bytes=_LONGEST_BYTES,
            trusted=frozenset() if trusted is None else frozenset({trusted}),
        )

    def __repr__(self) -> str:
        return "<FileSource>"

    async def keep(self, file: IncomingFile) -> Attachment | None:
        """Fetch a file, and keep it; None if it is not at Discord's, or nobody keeps files.

        Raises:
            FetchRefused: Discord does not hand it out.
            FetchFailed: try later.
            FileTooLarge, FileNotKept, ShuttingDown: it cannot be kept.
        """
        keep = self._channel.keep_file
        if keep is None or file.url is None or not self._is_ours(file.url):
            return None
        async with self._fetcher.open(file.url) as pieces:
            return await keep(pieces, kind=file.kind, mime=file.mime, name=file.shown_name)

    def _is_ours(self, url: str) -> bool:
        try:
            scheme, address = urlsplit(url).scheme, address_of(url)
        except ValueError:
            return False
        return address == self._trusted or (scheme == "https" and address in _ADDRESSES)
