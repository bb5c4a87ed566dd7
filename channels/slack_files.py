"""Files in both directions: fetched from Slack's own hosts, brought to them, and shared.

Source: https://docs.slack.dev/messaging/working-with-files,
https://docs.slack.dev/reference/methods/files.completeUploadExternal: a file is shared after the
answer, so that the time of its message may have to be asked for. Of files in channels that are
shared with other workspaces an event holds the id alone:
https://docs.slack.dev/reference/objects/file-object/#slack_connect_files.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Final

import trio

from ..actors.messages import Address, Attachment
from .base import Channel, ChannelError, OutboundFile, Receipt
from .fetching import Fetcher, FetchRefused
from .http_answer import readable
from .incoming_files import IncomingFile
from .json_fields import Fields, Malformed, chosen, fields, items, text
from .outgoing_files import sent_name
from .slack_api import SlackApi
from .slack_fields import named, stamp
from .slack_wire import file_in

__all__ = ["FILE_LIMIT_BYTES", "Files"]

_logger = logging.getLogger(__name__)

FILE_LIMIT_BYTES: Final = 100_000_000
"""Longest file that is sent or fetched. Slack takes 1 GB, but what leaves is held in memory."""
_SHARED_AFTER_S: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each look whether a file is shared already."""


class Files:
    """The files of one bot's conversations."""

    def __init__(self, channel: Channel, api: SlackApi) -> None:
        """Fetch nothing yet; the channel's `keep_file` keeps what is."""
        self._channel = channel
        self._api = api
        place = api.place
        self._fetcher = Fetcher(
            max_bytes=FILE_LIMIT_BYTES,
            trusted=frozenset({place.address}),
            credential_hosts=frozenset({place.address, place.files_host}),
        )

    def __repr__(self) -> str:
        return f"<Files at {self._api.place.files_host}>"

    # -- in --------------------------------------------------------------------------------------

    async def keep(self, file: IncomingFile) -> Attachment | None:
        """Fetch a file, and keep it; or tell what it is, if it is not Slack's, or too long.

        Returns:
            None if nobody keeps files.

        Raises:
            FetchRefused, Rejected, Malformed: Slack does not hand it out.
            FetchFailed, Unreachable: try later.
            FileTooLarge, FileNotKept, ShuttingDown: it cannot be kept.
        """
        keep = self._channel.keep_file
        if keep is None:
            return None
        if file.url is None:
            told, _ = await self._api.ask("files.info", file=file.reference)
            file = file_in(told.get("file")) or file
        if file.url is None or not self._api.place.has_files_at(file.url):
            return file.unkept
        if (file.size_bytes or 0) > FILE_LIMIT_BYTES:
            return file.unkept
        headers = {"authorization": self._api.bearer}
        async with self._fetcher.open(file.url, headers=headers) as pieces:
            whole = _whole(pieces, file.size_bytes)
            return await keep(whole, kind=file.kind, mime=file.mime, name=file.shown_name)

    # -- out -------------------------------------------------------------------------------------

    async def send(self, file: OutboundFile, address: Address) -> Receipt:
        """Bring a file to Slack, and share it.

        The receipt has the time of its message; or the id of the file, if Slack does not tell the
        time soon, or to whom may not read files.

        Raises:
            Unreachable, Rejected: nobody sees it.
            LostAnswer: nobody knows.
        """
        content = await file.read()
        name = sent_name(file)
        begun, _ = await self._api.ask(
            "files.getUploadURLExternal", filename=name, length=len(content)
        )
        with readable("files.getUploadURLExternal"):
            url, file_id = text(begun, "upload_url") or "", named(begun, "file_id")
        await self._api.upload(url, name, content)
        done = await self._api.write(
            "files.completeUploadExternal",
            address.conversation,
            files=[{"id": file_id, "title": name}],
            channel_id=address.conversation,
            thread_ts=address.thread,
        )
        shared = await self._shared(file_id, done, address.conversation)
        return Receipt(platform_message_id=shared or file_id)

    async def _shared(self, file_id: str, done: Fields, channel: str) -> str | None:
        """The time of the message that a file is in, once it is."""
        try:
            for file in items(done, "files"):
                if (shared := _shared_in(file, channel)) is not None:
                    return shared
            for pause_s in _SHARED_AFTER_S:
                await trio.sleep(pause_s)
                told, _ = await self._api.ask("files.info", file=file_id)
                if (shared := _shared_in(told.get("file"), channel)) is not None:
                    return shared
        except (ChannelError, Malformed) as error:
            _logger.debug("a file is shared, and the time of its message is not known: %s", error)
        return None


def _shared_in(file: object, channel: str) -> str | None:
    """The time of the message in which a file stands in a channel."""
    shares = chosen(fields(file, "file"), "shares") or {}
    for kind in ("public", "private"):
        for share in items(chosen(shares, kind) or {}, channel):
            return stamp(fields(share, "share"), "ts")
    return None


async def _whole(pieces: AsyncIterable[bytes], size_bytes: int | None) -> AsyncGenerator[bytes]:
    """The pieces of a file that is as long as it was announced.

    Whoever may not read files is shown a page to sign in, with a status of success.
    """
    came = 0
    async for piece in pieces:
        came += len(piece)
        yield piece
    if size_bytes is not None and came != size_bytes:
        raise FetchRefused(
            f"{came} bytes came instead of {size_bytes}: the token may lack the scope files:read",
            reason="other_file",
        )
