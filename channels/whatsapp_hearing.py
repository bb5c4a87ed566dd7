"""What becomes of one call of WhatsApp's: turns with their files, changes, receipts, or nothing."""

from __future__ import annotations

import logging
from typing import Final

import trio

from ..actors.errors import TurnRefused
from ..actors.messages import MessageChange
from .base import Channel
from .by_conversation import ByConversation
from .handover import Handover
from .heard import Heard
from .incoming_files import HOOKED_FETCH_S
from .json_fields import Malformed
from .latest import Latest
from .whatsapp_files import FileSource
from .whatsapp_wire import Later, News, NumberChanged, Reader

__all__ = ["Ear", "Memory"]

_logger = logging.getLogger(__name__)

_SOON_S: Final = (0.1, 0.4, 1.5)
"""Pauses before a receipt is handed over again whose message was not known."""
_JUST_NOW_S: Final = 30.0
"""How long after a message is sent the news of it may overtake the note of its id."""
_MAX_REMEMBERED: Final = 10_000


class Memory:
    """What is remembered of conversations, of the latest ones. A restart forgets it."""

    def __init__(self) -> None:
        self._newest: Latest[str, str] = Latest(_MAX_REMEMBERED)
        self._spoken: Latest[str, float] = Latest(_MAX_REMEMBERED)

    def __repr__(self) -> str:
        return f"<Memory of {len(self._newest)} conversations>"

    def heard(self, conversation: str, message_id: str) -> None:
        """A human has written."""
        self._newest[conversation] = message_id

    def newest(self, conversation: str) -> str | None:
        """The last message of a human; None if none is remembered."""
        return self._newest.get(conversation)

    def spoke(self, conversation: str) -> None:
        """The agent has."""
        self._spoken[conversation] = trio.current_time()

    def just_spoke(self, conversation: str) -> bool:
        """Whether news of a message may have come before its id was noted."""
        at = self._spoken.get(conversation)
        return at is not None and at > trio.current_time() - _JUST_NOW_S


class Ear:
    """Hears calls for one run of a channel."""

    def __init__(
        self,
        channel: Channel,
        reader: Reader,
        source: FileSource,
        handover: Handover,
        memory: Memory,
    ) -> None:
        """Hear nothing yet.

        Args:
            channel: whose `on_receipt` is used.
            reader: reads calls.
            source: has the files of turns.
            handover: takes turns and changes.
            memory: of the channel's conversations.
        """
        self._channel = channel
        self._reader = reader
        self._source = source
        self._handover = handover
        self._memory = memory
        self._order = ByConversation()

    def __repr__(self) -> str:
        return f"<Ear of {self._channel.name}>"

    async def hear(self, body: object) -> bool:
        """Settle all that one call tells; False if some of it is to be told again later."""
        try:
            batch = self._reader.read(body)
        except Malformed as error:
            self.warn(f"a call that could not be read was left out: {error}")
            return True
        for why in batch.wrong:
            self.warn(f"a message that could not be read was left out: {why}")
        for what in batch.complaints:
            self.warn(f"the platform has a problem with the number or its account: {what}")
        fetch_until = trio.current_time() + HOOKED_FETCH_S
        return await self._order.hear(batch.news, lambda news: self._settle(news, fetch_until))

    async def _settle(self, news: News, fetch_until: float) -> bool:
        try:
            match news:
                case Heard():
                    turn = await news.whole(self._source.keep, until_s=fetch_until)
                    if await self._handover.turn(turn):
                        self._memory.heard(turn.address.conversation, turn.message_id)
                case MessageChange():
                    await self._handover.change(news)
                case Later():
                    await self._hear_later(news)
                case NumberChanged():
                    self.warn(
                        f"{news.conversation} has changed their number to {news.to}, "
                        "which is another conversation"
                    )
        except TurnRefused as refused:
            _logger.debug("%s: refused: %s", self._channel.name, type(refused).__name__)
            return not refused.retryable
        except ValueError as error:
            self.warn(f"a message that cannot be stored was left out: {type(error).__name__}")
        return True

    def warn(self, what: str) -> None:
        """Tell the operator."""
        self._handover.warn(what)

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
