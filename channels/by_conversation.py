"""Conversations that are heard at once, each in its own order.

A platform that calls has several calls under way, and each may hold messages of several
conversations. What came first of a conversation is settled before the next of it begins, also where
a file takes long; other conversations do not wait.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, TypeVar

import trio

from .queues import Queues

__all__ = ["ByConversation"]

T = TypeVar("T")

_AT_ONCE: Final = 8
"""Conversations of one call that are heard at once."""


class ByConversation:
    """The order of one instance's conversations."""

    def __init__(self) -> None:
        self._queues = Queues()

    def __repr__(self) -> str:
        return f"<ByConversation: {len(self._queues)} under way>"

    async def hear(
        self,
        pieces: Iterable[tuple[str, T]],
        settle: Callable[[T], Awaitable[bool]],
    ) -> bool:
        """Settle every piece, behind what came before it in its conversation.

        Args:
            pieces: each with its conversation, in the order in which they were said.
            settle: returns whether the conversation goes on; if not, what follows of it in this
                call is left out.

        Returns:
            Whether every piece was settled.
        """
        groups: dict[str, list[T]] = {}
        for conversation, piece in pieces:
            groups.setdefault(conversation, []).append(piece)
        # Nothing is waited for up to here, so places are taken in the order of the calls.
        places = {conversation: self._queues.stand(conversation) for conversation in groups}
        limit = trio.CapacityLimiter(_AT_ONCE)
        whole = True

        async def hear_group(conversation: str) -> None:
            nonlocal whole
            # Those that are cancelled before it is their turn leave their places, too.
            async with places[conversation], limit:
                whole = await _settle_all(groups[conversation], settle) and whole

        async with trio.open_nursery() as nursery:
            for conversation in groups:
                nursery.start_soon(hear_group, conversation)
        return whole


async def _settle_all(pieces: Sequence[T], settle: Callable[[T], Awaitable[bool]]) -> bool:
    for piece in pieces:
        if not await settle(piece):
            return False
    return True
