"""Messages about what an agent keeps of a session."""

from __future__ import annotations

from .frozen import message
from .messages import SessionId

__all__ = ["Forget", "Remember"]


@message
class Remember:
    """Request to keep a value under a key. Answered once durable: whether anything changed.

    Refused with `MemoryFull`, TypeError or ValueError; then nothing is stored.
    """

    session_id: SessionId
    key: str
    value: str | None
    """None: nothing is kept under the key any more."""
    during: int = 0
    """The turn in which the agent asks for it; 0 for none."""


@message
class Forget:
    """Request to keep nothing any more. Answered once durable: how many keys there were."""

    session_id: SessionId
    by: str
