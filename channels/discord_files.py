"""The files that humans send: fetched from Discord's own hosts, and kept.

Source: https://docs.discord.com/developers/reference, "Signed Attachment CDN URLs": the addresses
of files end after a while, so a file that is not kept is known by its message instead.
"""

from __future__ import annotations

import logging
from typing import Final
from urllib.parse import urlsplit

import trio

from ..actors.errors import FileNotKept, FileTooLarge
from ..actors.messages import Attachment
from .base import Channel
from .discord_wire import IncomingFile
from .fetching import Fetcher, FetchFailed, FetchRefused, safe_name

__all__ = ["FileSource"]

_logger = logging.getLogger(__name__)

_HOSTS: Final = frozenset({"cdn.discordapp.com", "media.discordapp.net"})
_LONGEST_BYTES: Final = 500_000_000
"""What a human may send at most; the configuration usually keeps less."""
_FETCH_S: Final = 120.0
_TRIES: Final = 3
"""How often a file is asked for before its turn comes without what is in it."""
_TRY_AGAIN_S: Final = 1.0


class FileSource:
    """Where files are fetched."""

    def __init__(self, trusted: str | None) -> None:
        """Fetch nothing yet.

        Args:
            trusted: `host:port` of another API than Discord's own, which has its files too.
        """
        self._trusted = trusted
        self._fetcher = Fetcher(
            max_bytes=_LONGEST_BYTES,
            trusted=frozenset() if trusted is None else frozenset({trusted}),
        )

    def __repr__(self) -> str:
        return "<FileSource>"

    async def attachment(self, file: IncomingFile, channel: Channel) -> Attachment:
        """A kept file; one by its message, if it cannot be kept."""
        with trio.move_on_after(_FETCH_S):
            for tried in range(_TRIES):
                try:
                    kept = await self._keep(file, channel)
                except (FileTooLarge, FileNotKept, FetchRefused) as error:
                    _logger.warning("%s: a file is not kept: %s", channel.name, error)
                    break
                except FetchFailed as error:
                    _logger.warning("%s: a file was not fetched: %s", channel.name, error)
                    await trio.sleep(_TRY_AGAIN_S * 2**tried)
                else:
                    if kept is not None:
                        return kept
                    break
        return Attachment(
            kind=file.kind,
            reference=file.reference,
            mime=file.mime,
            size_bytes=file.size_bytes,
            name=_name_of(file),
        )

    async def _keep(self, file: IncomingFile, channel: Channel) -> Attachment | None:
        keep = channel.keep_file
        if keep is None or not self._is_ours(file.url):
            return None
        async with self._fetcher.open(file.url) as pieces:
            return await keep(pieces, kind=file.kind, mime=file.mime, name=_name_of(file))

    def _is_ours(self, address: str) -> bool:
        try:
            url = urlsplit(address)
            host, port = url.hostname or "", url.port
        except ValueError:
            return False
        if self._trusted is not None and f"{host}:{port}" == self._trusted:
            return True
        return url.scheme == "https" and host in _HOSTS and port in {None, 443}


def _name_of(file: IncomingFile) -> str | None:
    return safe_name(file.name) if file.name else None
