"""What a channel has heard is handed over to the runtime: turns and changes.

Whatever comes of that, the channel needs to know one thing only: whether it is to come again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final

import trio

from ..actors.errors import AccessDenied, TurnRefused
from ..actors.messages import InboundTurn, MessageChange
from .base import Channel, Deliver, Unreachable
from .json_fields import Malformed
from .strangers import Strangers

__all__ = ["AGAIN_AFTER_S", "Handover", "insist", "warn"]

_logger = logging.getLogger(__name__)

AGAIN_AFTER_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before something is tried again: the first, the second … time."""


class Handover:
    """Hands over what one channel hears, for one run of it."""

    def __init__(self, channel: Channel, deliver: Deliver, strangers: Strangers) -> None:
        """Nothing was heard yet.

        Args:
            channel: whose `on_change` and `line` are used.
            deliver: takes turns.
            strangers: are told why theirs are not taken.
        """
        self._channel = channel
        self._deliver = deliver
        self._strangers = strangers

    def __repr__(self) -> str:
        return f"<Handover of {self._channel.name}>"

    async def turn(self, turn: InboundTurn) -> bool:
        """Return once a turn is durable: True; or refused for good: False.

        Raises:
            TurnRefused: it is to be heard again later.
        """
        try:
            await self._deliver(turn)
        except AccessDenied as denied:
            await self._strangers.tell(turn, denied)
            return False
        except TurnRefused as refused:
            self._pass_over(refused)
            return False
        return True

    async def change(self, change: MessageChange) -> None:
        """Return once a change is durable, or refused for good.

        Raises:
            TurnRefused: it is to be heard again later.
            Malformed: it is nothing that could be stored.
        """
        if self._channel.on_change is None:
            return
        try:
            await self._channel.on_change(change)
        except ValueError as error:
            raise Malformed("the change cannot be stored") from error
        except TurnRefused as refused:
            self._pass_over(refused)

    def warn(self, what: str) -> None:
        """Tell the operator; see the function of that name."""
        warn(self._channel, what)

    def _pass_over(self, refused: TurnRefused) -> None:
        """Return if it is refused for good; raise it if it is to come again."""
        if refused.retryable:
            raise refused
        _logger.debug("%s: refused for good: %s", self._channel.name, type(refused).__name__)


def warn(channel: Channel, what: str) -> None:
    """Tell the operator something, once for as long as nothing else is to be told."""
    if channel.line.warning != what:
        _logger.warning("%s: %s", channel.name, what)
        channel.line.warning = what


async def insist(name: str, act: Callable[[], Awaitable[object]]) -> None:
    """Try until something is done: for as long as it is refused for now, or cannot be reached.

    Args:
        name: of the instance, for the log.
        act: what is to be done. What else it raises is raised here.
    """
    for tried in count():
        pause_s = AGAIN_AFTER_S[min(tried, len(AGAIN_AFTER_S) - 1)]
        why: TurnRefused | Unreachable
        try:
            await act()
            return
        except TurnRefused as refused:
            if not refused.retryable:
                raise
            why = refused
        except Unreachable as error:
            pause_s = max(pause_s, error.retry_after_s or 0.0)
            why = error
        _logger.warning("%s: tried again in %g s: %s", name, pause_s, why)
        await trio.sleep(pause_s)
