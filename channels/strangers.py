"""Strangers who write to the agent are told that they are, one by one and now and then."""

from __future__ import annotations

import logging
from typing import Final, Protocol

import trio

from ..actors.errors import AccessDenied
from ..actors.messages import Address, InboundTurn
from .base import ChannelError
from .latest import Latest

__all__ = ["TELL_S", "TOLD_EVERY_S", "Strangers", "Teller"]

_logger = logging.getLogger(__name__)

TOLD_EVERY_S: Final = 60.0
"""Seconds between two times that a stranger is told: they may write as often as they like."""
TELL_S: Final = 5.0
"""Seconds for telling one; or they are not told. A platform may wait for the answer to its call."""
_MAX_TOLD: Final = 1_000


class Teller(Protocol):
    """Tells a human something that no agent says, in answer to a message of theirs."""

    async def __call__(self, address: Address, words: str, reply_to: str, /) -> object: ...


class Strangers:
    """Whom one instance has told lately that they are strangers."""

    def __init__(self, name: str, tell: Teller) -> None:
        """Nobody was told.

        Args:
            name: of the instance, for the log.
            tell: says it. That it cannot is nobody's concern.
        """
        self._name = name
        self._tell = tell
        self._told: Latest[str, float] = Latest(_MAX_TOLD)

    def __repr__(self) -> str:
        return f"<Strangers of {self._name}: {len(self._told)} told>"

    async def tell(self, turn: InboundTurn, denied: AccessDenied) -> None:
        """Tell who has said a turn why it was not taken, in a direct conversation.

        In a group nothing is said: whoever can write there could let the agent speak.
        """
        if not turn.direct or not self._may_be_told(turn.user_id):
            return
        with trio.move_on_after(TELL_S):
            try:
                await self._tell(turn.address, str(denied), turn.message_id)
            except ChannelError as error:
                _logger.debug("%s: a stranger was not told: %s", self._name, error)

    def _may_be_told(self, user_id: str) -> bool:
        now = trio.current_time()
        if self._told.get(user_id, float("-inf")) > now - TOLD_EVERY_S:
            return False
        self._told[user_id] = now
        return True
