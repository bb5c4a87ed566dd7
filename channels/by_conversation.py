"""Conversations that are heard at once, each in its own order.

A platform that calls has several calls under way, and each may hold messages of several
conversations. What came first of a conversation is settled before the next of it begins, also where
a file takes long; other conversations do not wait.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import trio

__all__ = ["ByConversation"]

T = TypeVar("T")

_AT_ONCE: Final = 8
"""Conversations of one call that are heard at once."""


class ByConversation:
    """The order of one instance's conversations."""

    def __init__(self) -> None:
        self._last: dict[str, trio.Event] = {}
        """Set once what came last of a conversation is settled."""

    def __repr__(self) -> str:
        return f"<ByConversation: {len(self._last)} under way>"

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
        places = {conversation: self._take(conversation) for conversation in groups}
        limit = trio.CapacityLimiter(_AT_ONCE)
        whole = True

        async def hear_group(conversation: str) -> None:
            nonlocal whole
            async with limit, self._held(conversation, *places[conversation]):
                whole = await _settle_all(groups[conversation], settle) and whole

        try:
            async with trio.open_nursery() as nursery:
                for conversation in groups:
                    nursery.start_soon(hear_group, conversation)
        finally:
            # Those that were cancelled before they had begun.
            for conversation, (_, settled) in places.items():
                self._leave(conversation, settled)
        return whole

    def _take(self, conversation: str) -> tuple[trio.Event | None, trio.Event]:
        before, settled = self._last.get(conversation), trio.Event()
        self._last[conversation] = settled
        return before, settled

    @asynccontextmanager
    async def _held(
        self, conversation: str, before: trio.Event | None, settled: trio.Event
    ) -> AsyncGenerator[None]:
        if before is not None:
            await before.wait()
        try:
            yield
        finally:
            self._leave(conversation, settled)

    def _leave(self, conversation: str, settled: trio.Event) -> None:
        settled.set()
        if self._last.get(conversation) is settled:
            del self._last[conversation]


async def _settle_all(pieces: Sequence[T], settle: Callable[[T], Awaitable[bool]]) -> bool:
    for piece in pieces:
        if not await settle(piece):
            return False
    return True
