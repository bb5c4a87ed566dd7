"""Messages about contexts that are measured and summarised."""

from __future__ import annotations

from .core.compaction import Base, Compacted
from .core.view_records import SummaryRecord
from .frozen import fact, message
from .messages import Address, SessionId

__all__ = ["AskedBy", "Compact", "CompactionEnded", "Measured", "SummaryMade"]


@fact
class AskedBy:
    """The message in which a human asked for a summary."""

    address: Address
    message_id: str


@message
class Compact:
    """Summarise the older part of a session's context now. Answered with a `Compacted`."""

    session_id: SessionId


@message
class SummaryMade:
    """A summary is ready; it becomes the session's if its context is still the one of `base`.

    Answered with its sequence number once it is durable; 0 if the context is another.
    """

    session_id: SessionId
    base: Base
    record: SummaryRecord
    mark: bytes | None = None
    """Of the counter that counted it; None where its size is a bound."""
    awaited: bool = False
    """Whether a human has asked for it, and is told what comes of that: see `CompactionEnded`."""


@message
class CompactionEnded:
    """What came of a summary that a human has asked for. Told to the session, which tells them."""

    session_id: SessionId
    asked: AskedBy
    outcome: Compacted


@message
class Measured:
    """The context of a session was counted."""

    session_id: SessionId
    bound: int
    """What it took at most when it was counted, all logs that joined included, but not the turns
    that wait."""
    tokens: int
    """What it took."""
    told: int
    """How many messages the heads told of, counted likewise."""
    messages: int
    """How many there were."""
    settled: int
    """The last turn that was over."""
    base: Base
    stuck: bool
    """Whether it is too large, and there is nothing that could be summarised then."""
