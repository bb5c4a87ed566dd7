"""What becomes of one update: a turn with its file, a change, or nothing."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol
from urllib.parse import quote

import trio

from ..actors.errors import AccessDenied, FileNotKept, FileTooLarge, TurnRefused
from ..actors.messages import Address, Attachment, MessageChange
from .base import Channel, ChannelError, Deliver, Rejected, Unreachable
from .fetching import Fetcher, FetchFailed, FetchRefused, safe_name
from .json_fields import Malformed, fields, text
from .secret import Secret
from .telegram_api import TelegramApi
from .telegram_files import DOWNLOAD_LIMIT_BYTES, IncomingFile
from .telegram_wire import Heard, Moved, Reader

__all__ = ["Ear", "FileSource", "Hearer"]

_logger = logging.getLogger(__name__)

_TRY_AGAIN_S: Final = (1.0, 2.0, 0.0)
"""Seconds after each time that a file is asked for in vain, before its turn comes with its id."""
_TOLD_EVERY_S: Final = 60.0
"""Seconds between two times that a stranger is told that they are one."""
_MAX_TOLD: Final = 1_000


class FileSource:
    """Where the files of one bot's chats are fetched."""

    def __init__(self, api: TelegramApi, api_url: str, place: str, token: Secret) -> None:
        """Fetch nothing yet.

        Args:
            api: tells where a file is.
            api_url: what every path is put behind.
            place: `host:port` of it, which the operator has configured.
            token: part of every path.
        """
        self._api = api
        self._api_url = api_url
        self._token = token
        self._fetcher = Fetcher(max_bytes=DOWNLOAD_LIMIT_BYTES, trusted=frozenset({place}))

    def __repr__(self) -> str:
        return f"<FileSource at {self._api_url}>"

    async def keep(self, file: IncomingFile, channel: Channel) -> Attachment | None:
        """Fetch a file, and keep it; None if Telegram does not hand it out.

        Raises:
            FetchFailed, Unreachable: try later.
            FileTooLarge, FileNotKept, ShuttingDown: it cannot be kept.
        """
        keep = channel.keep_file
        if keep is None or (file.size_bytes or 0) > DOWNLOAD_LIMIT_BYTES:
            return None
        told = fields(await self._api.ask("getFile", {"file_id": file.file_id}), "file")
        path = text(told, "file_path")
        if not path or path.startswith("/"):  # of a Bot API server that keeps files on its own disk
            return None
        url = f"{self._api_url}/file/bot{self._token.reveal()}/{quote(path)}"
        async with self._fetcher.open(url) as pieces:
            return await keep(pieces, kind=file.kind, mime=file.mime, name=_name_of(file))


class Hearer(Protocol):
    """Tells a human something that no agent says."""

    async def __call__(self, address: Address, words: str, reply_to: str, /) -> object: ...


class Ear:
    """Hears updates for one run of a channel."""

    def __init__(
        self,
        channel: Channel,
        reader: Reader,
        deliver: Deliver,
        source: FileSource,
        *,
        tell: Hearer,
        fetch_s: float,
    ) -> None:
        """Hear nothing yet.

        Args:
            channel: whose `on_change`, `keep_file` and `line` are used.
            reader: reads updates.
            deliver: takes turns.
            source: has their files.
            tell: tells a stranger that they are one.
            fetch_s: seconds that a file may take.
        """
        self._channel = channel
        self._reader = reader
        self._deliver = deliver
        self._source = source
        self._tell = tell
        self._fetch_s = fetch_s
        self._told: OrderedDict[str, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Ear of {self._channel.name}>"

    async def hear(self, update: object) -> None:
        """Return once an update is settled: durable, or nothing that could be.

        Raises:
            TurnRefused: it is to be heard again later.
        """
        try:
            news = self._reader.read(update)
            match news:
                case Heard():
                    await self._settle(lambda: self._hear_turn(news))
                case MessageChange():
                    await self._settle(lambda: self._hear_change(news))
                case Moved():
                    self._warn(
                        f"group {news.conversation} has become a supergroup and goes on as "
                        f"{news.to}, which is another conversation"
                    )
                case None:
                    _logger.debug("%s: an update that is nothing to us", self._channel.name)
        except Malformed as error:
            self._warn(f"an update that could not be read was left out: {error}")

    async def _settle(self, hear: Callable[[], Awaitable[None]]) -> None:
        try:
            await hear()
        except TurnRefused as refused:
            if refused.retryable:
                raise
            _logger.debug("%s: refused for good: %s", self._channel.name, type(refused).__name__)

    async def _hear_turn(self, heard: Heard) -> None:
        turn = heard.turn
        if heard.file is not None:
            turn = replace(turn, attachments=(await self._attachment(heard.file),))
        try:
            await self._deliver(turn)
        except AccessDenied as denied:
            if turn.direct and self._may_be_told(turn.user_id):
                await self._tell_stranger(turn.address, str(denied), turn.message_id)

    async def _hear_change(self, change: MessageChange) -> None:
        if self._channel.on_change is not None:
            try:
                await self._channel.on_change(change)
            except ValueError as error:
                raise Malformed("the change cannot be stored") from error

    async def _attachment(self, file: IncomingFile) -> Attachment:
        """A kept file; one by its id, which only this bot can use, if it cannot be kept."""
        name = self._channel.name
        with trio.move_on_after(self._fetch_s):
            for pause_s in _TRY_AGAIN_S:
                try:
                    kept = await self._source.keep(file, self._channel)
                    if kept is not None:
                        return kept
                    break
                except (FileTooLarge, FileNotKept, FetchRefused, Rejected, Malformed) as error:
                    _logger.warning("%s: a file is not kept: %s", name, error)
                    break
                except (Unreachable, FetchFailed) as error:
                    _logger.warning("%s: a file was not fetched: %s", name, error)
                    await trio.sleep(pause_s)
        return Attachment(
            kind=file.kind,
            reference=file.file_id,
            mime=file.mime,
            size_bytes=file.size_bytes,
            name=_name_of(file),
        )

    def _may_be_told(self, user_id: str) -> bool:
        """Whether a stranger was not told lately: they may write as often as they like."""
        now = trio.current_time()
        if self._told.get(user_id, float("-inf")) > now - _TOLD_EVERY_S:
            return False
        self._told[user_id] = now
        self._told.move_to_end(user_id)
        while len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)
        return True

    async def _tell_stranger(self, address: Address, words: str, reply_to: str) -> None:
        try:
            await self._tell(address, words, reply_to)
        except ChannelError as error:
            _logger.debug("%s: a stranger was not told: %s", self._channel.name, error)

    def _warn(self, what: str) -> None:
        _logger.warning("%s: %s", self._channel.name, what)
        self._channel.line.warning = what


def _name_of(file: IncomingFile) -> str | None:
    return safe_name(file.name) if file.name else None
