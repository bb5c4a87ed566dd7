"""What becomes of one update: a turn with its file, a change, or nothing."""

from __future__ import annotations

import logging
from urllib.parse import quote

import trio

from ..actors.messages import Attachment, Instance, MessageChange
from .base import Channel
from .fetching import Fetcher
from .handover import Handover
from .heard import Heard
from .incoming_files import IncomingFile
from .json_fields import Malformed, fields, text
from .telegram_api import TelegramApi
from .telegram_files import DOWNLOAD_LIMIT_BYTES
from .telegram_wire import Moved, Reader

__all__ = ["Ear", "FileSource"]

_logger = logging.getLogger(__name__)


class FileSource:
    """Where the files of one bot's chats are fetched."""

    def __init__(self, channel: Channel, api: TelegramApi, address: str) -> None:
        """Fetch nothing yet.

        Args:
            channel: whose `keep_file` keeps them.
            api: tells where a file is; its token is part of every path.
            address: `host:port` of it, which the operator has configured.
        """
        self._channel = channel
        self._api = api
        self._fetcher = Fetcher(max_bytes=DOWNLOAD_LIMIT_BYTES, trusted=frozenset({address}))

    def __repr__(self) -> str:
        return f"<FileSource at {self._api.url}>"

    async def keep(self, file: IncomingFile) -> Attachment | None:
        """Fetch a file, and keep it; None if Telegram does not hand it out.

        Raises:
            FetchFailed, Unreachable: try later.
            FetchRefused, Rejected, Malformed: it is not to be had.
            FileTooLarge, FileNotKept, ShuttingDown: it cannot be kept.
        """
        keep = self._channel.keep_file
        if keep is None or (file.size_bytes or 0) > DOWNLOAD_LIMIT_BYTES:
            return None
        told = fields(await self._api.ask("getFile", {"file_id": file.reference}), "file")
        path = text(told, "file_path")
        if not path or path.startswith("/"):  # of a Bot API server that keeps files on its own disk
            return None
        url = f"{self._api.url}/file/bot{self._api.token.reveal()}/{quote(path)}"
        async with self._fetcher.open(url) as pieces:
            return await keep(pieces, kind=file.kind, mime=file.mime, name=file.shown_name)


class Ear:
    """Hears updates for one run of a channel."""

    def __init__(
        self,
        name: Instance,
        reader: Reader,
        source: FileSource,
        handover: Handover,
        *,
        fetch_s: float,
    ) -> None:
        """Hear nothing yet.

        Args:
            name: of the instance.
            reader: reads updates.
            source: has the files of turns.
            handover: takes turns and changes.
            fetch_s: seconds that a file may take.
        """
        self._name = name
        self._reader = reader
        self._source = source
        self._handover = handover
        self._fetch_s = fetch_s

    def __repr__(self) -> str:
        return f"<Ear of {self._name}>"

    async def hear(self, update: object) -> None:
        """Return once an update is settled: durable, or nothing that could be.

        Raises:
            TurnRefused: it is to be heard again later.
        """
        try:
            news = self._reader.read(update)
            match news:
                case Heard():
                    until_s = trio.current_time() + self._fetch_s
                    turn = await news.whole(self._source.keep, until_s=until_s)
                    await self._handover.turn(turn)
                case MessageChange():
                    await self._handover.change(news)
                case Moved():
                    self.warn(
                        f"group {news.conversation} has become a supergroup and goes on as "
                        f"{news.to}, which is another conversation"
                    )
                case None:
                    _logger.debug("%s: an update that is nothing to us", self._name)
        except Malformed as error:
            self.warn(f"an update that could not be read was left out: {error}")

    def warn(self, what: str) -> None:
        """Tell the operator."""
        self._handover.warn(what)
