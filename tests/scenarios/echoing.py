"""The agent of gateways that are killed: it repeats what it hears, after a moment's thought."""

from __future__ import annotations

import trio

from turnkeeper import Turn

__all__ = ["answer"]

_THOUGHT_S = 0.02
"""So that a gateway which is killed has turns under way."""


async def answer(turn: Turn) -> str:
    """Repeat the message."""
    await trio.sleep(_THOUGHT_S)
    return f"re: {turn.text}"
