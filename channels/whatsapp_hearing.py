"""What becomes of one call of WhatsApp's: turns with their files, changes, receipts, or nothing."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, Protocol, TypeVar

import trio

from ..actors.errors import AccessDenied, FileNotKept, FileTooLarge, TurnRefused
from ..actors.messages import Address, Attachment, MessageChange
from .base import Channel, ChannelError, Deliver, Rejected
from .by_conversation import ByConversation
from .fetching import FetchFailed, FetchRefused
from .json_fields import Malformed
from .whatsapp_content import IncomingFile
from .whatsapp_files import FileSource
from .whatsapp_wire import Heard, Later, News, NumberChanged, Reader

__all__ = ["Ear", "Memory", "Teller"]

_logger = logging.getLogger(__name__)

T = TypeVar("T")

_FETCH_S: Final = 15.0
"""Seconds for all files of one call, which the server of hooks ends after thirty."""
_TRY_AGAIN_S: Final = 1.0
_SOON_S: Final = (0.1, 0.4, 1.5)
"""Pauses before a receipt is handed over again whose message was not known."""
_JUST_NOW_S: Final = 30.0
"""How long after a message is sent the news of it may overtake the note of its id."""
_TELL_S: Final = 5.0
"""Seconds for telling a stranger; or they are not told."""
_TOLD_EVERY_S: Final = 60.0
"""Seconds between two times that a stranger is told that they are one."""
_MAX_REMEMBERED: Final = 10_000


class Memory:
    """What is remembered of conversations, of the latest ones. A restart forgets it."""

    def __init__(self) -> None:
        self._newest: OrderedDict[str, str] = OrderedDict()
        self._spoken: OrderedDict[str, float] = OrderedDict()
        self._told: OrderedDict[str, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Memory of {len(self._newest)} conversations>"

    def heard(self, conversation: str, message_id: str) -> None:
        """A human has written."""
        _put(self._newest, conversation, message_id)

    def newest(self, conversation: str) -> str | None:
        """The last message of a human; None if none is remembered."""
        return self._newest.get(conversation)

    def spoke(self, conversation: str) -> None:
        """The agent has."""
        _put(self._spoken, conversation, trio.current_time())

    def just_spoke(self, conversation: str) -> bool:
        """Whether news of a message may have come before its id was noted."""
        at = self._spoken.get(conversation)
        return at is not None and at > trio.current_time() - _JUST_NOW_S

    def may_tell(self, user_id: str) -> bool:
        """Whether a stranger was not told lately: they may write as often as they like."""
        now = trio.current_time()
        if self._told.get(user_id, float("-inf")) > now - _TOLD_EVERY_S:
            return False
        _put(self._told, user_id, now)
        return True


class Teller(Protocol):
    """Tells a human something that no agent says."""

    async def __call__(self, address: Address, words: str, reply_to: str, /) -> object: ...


class Ear:
    """Hears calls for one run of a channel."""

    def __init__(
        self,
        channel: Channel,
        reader: Reader,
        deliver: Deliver,
        source: FileSource,
        memory: Memory,
        *,
        tell: Teller,
    ) -> None:
        """Hear nothing yet.

        Args:
            channel: whose `on_change`, `on_receipt`, `keep_file` and `line` are used.
            reader: reads calls.
            deliver: takes turns.
            source: has their files.
            memory: of the channel's conversations.
            tell: tells a stranger that they are one.
        """
        self._channel = channel
        self._reader = reader
        self._deliver = deliver
        self._source = source
        self._memory = memory
        self._tell = tell
        self._order = ByConversation()

    def __repr__(self) -> str:
        return f"<Ear of {self._channel.name}>"

    async def hear(self, body: object) -> bool:
        """Settle all that one call tells; False if some of it is to be told again later."""
        try:
            batch = self._reader.read(body)
        except Malformed as error:
            self._warn(f"a call that could not be read was left out: {error}")
            return True
        for why in batch.wrong:
            self._warn(f"a message that could not be read was left out: {why}")
        fetch_until = trio.current_time() + _FETCH_S
        return await self._order.hear(batch.news, lambda news: self._settle(news, fetch_until))

    async def _settle(self, news: News, fetch_until: float) -> bool:
        try:
            match news:
                case Heard():
                    await self._hear_turn(news, fetch_until)
                case MessageChange():
                    await self._hear_change(news)
                case Later():
                    await self._hear_later(news)
                case NumberChanged():
                    self._warn(
                        f"{news.conversation} has changed their number to {news.to}, "
                        "which is another conversation"
                    )
        except TurnRefused as refused:
            _logger.debug("%s: refused: %s", self._channel.name, type(refused).__name__)
            return not refused.retryable
        except ValueError as error:
            self._warn(f"a message that cannot be stored was left out: {type(error).__name__}")
        return True

    async def _hear_turn(self, heard: Heard, fetch_until: float) -> None:
        turn = heard.turn
        if heard.file is not None:
            turn = replace(turn, attachments=(await self._attachment(heard.file, fetch_until),))
        try:
            await self._deliver(turn)
        except AccessDenied as denied:
            if self._memory.may_tell(turn.user_id):
                await self._tell_stranger(turn.address, str(denied), turn.message_id)
        else:
            self._memory.heard(turn.address.conversation, turn.message_id)

    async def _hear_change(self, change: MessageChange) -> None:
        if self._channel.on_change is not None:
            await self._channel.on_change(change)

    async def _hear_later(self, later: Later) -> None:
        if await self._hand_over(later):
            return
        if any(self._memory.just_spoke(one.conversation) for one in later.receipts):
            for pause_s in _SOON_S:
                await trio.sleep(pause_s)
                if await self._hand_over(later):
                    return
        _logger.debug("%s: a receipt of no message of ours", self._channel.name)

    async def _hand_over(self, later: Later) -> bool:
        hear = self._channel.on_receipt
        if hear is None:
            return True
        for receipt in later.receipts:
            if await hear(receipt):
                return True
        return False

    async def _attachment(self, file: IncomingFile, until: float) -> Attachment:
        """A kept file; one by its id, which only this business can use, if it cannot be kept."""
        with trio.move_on_at(until):
            kept = await self._try(lambda: self._source.keep(file, self._channel))
            if kept is not None:
                return kept
        return Attachment(kind=file.kind, reference=file.media_id, mime=file.mime, name=file.name)

    async def _try(self, keep: Callable[[], Awaitable[Attachment | None]]) -> Attachment | None:
        """Once more, if the platform was at fault and not the file."""
        for tried in (1, 2):
            try:
                return await keep()
            except (FileTooLarge, FileNotKept, FetchRefused, Malformed, Rejected) as error:
                _logger.warning("%s: a file is not kept: %s", self._channel.name, error)
                return None
            except (FetchFailed, ChannelError) as error:
                _logger.warning("%s: a file was not fetched: %s", self._channel.name, error)
                if tried == 2:
                    return None
            await trio.sleep(_TRY_AGAIN_S)
        return None

    async def _tell_stranger(self, address: Address, words: str, reply_to: str) -> None:
        try:
            with trio.move_on_after(_TELL_S):  # the platform waits for the answer to its call
                await self._tell(address, words, reply_to)
        except ChannelError as error:
            _logger.debug("%s: a stranger was not told: %s", self._channel.name, error)

    def _warn(self, what: str) -> None:
        _logger.warning("%s: %s", self._channel.name, what)
        self._channel.line.warning = what


def _put(remembered: OrderedDict[str, T], key: str, value: T) -> None:
    """Remember it as the latest, and forget what is oldest."""
    remembered[key] = value
    remembered.move_to_end(key)
    while len(remembered) > _MAX_REMEMBERED:
        remembered.popitem(last=False)
