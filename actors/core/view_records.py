"""The kinds of record that move what is seen of a session, and what its agent keeps.

The log before them stays as it is.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..frozen import message

__all__ = [
    "ChangedRecord",
    "ClearRecord",
    "CommandRecord",
    "ErasedRecord",
    "ForgottenRecord",
    "MemoryRecord",
    "SummaryRecord",
]


@message
class ClearRecord:
    """The context begins anew here; what is before stays in the log."""

    kind: ClassVar[str] = "clear"
    at_us: int
    by: str
    """Who cleared it: `operator`, `program`, `user`, or the policy, as `policy daily`."""
    cleared: int = 0
    """Sequence number of the marker that held before; 0 for none."""
    summary: int = 0
    """Sequence number of the summary that held before; 0 for none."""


@message
class SummaryRecord:
    """The older part of the context is summarised; what it covers stays in the log."""

    kind: ClassVar[str] = "summary"
    at_us: int
    text: str
    through: int
    """Turns up to the one of this number are covered; 0 for none of this log."""
    asides: int
    """What belongs to no turn is covered up to this sequence number."""
    by: str
    """Who wrote it: `extract` for the built-in summary, else the summariser's name."""
    tokens: int
    """Its own size."""
    covered_tokens: int
    """The size of what it covers, an earlier summary's included."""
    covered_bound: int
    """What it covers of this log, as `weight` has it, an earlier summary included."""
    covered_messages: int
    """How many messages of this log it covers, an earlier summary included."""
    previous: int = 0
    """Sequence number of the summary that it folds in; 0 for none."""
    others: tuple[Any, ...] = ()
    """What is covered of each joined log: `(stream, through, asides, hidden entries there)`."""
    for_turn: int = 0
    """The turn that waited for it before its agent was asked; 0 for none."""
    fault: str | None = None
    """Why the summariser's own text was not taken, where this is the built-in one instead."""


@message
class CommandRecord:
    """A human asked the runtime for something; no agent is told."""

    kind: ClassVar[str] = "command"
    at_us: int
    command: str
    """`new` or `compact`."""
    instance: str
    conversation: str
    thread: str | None
    platform: str
    message_id: str
    user_id: str


@message
class ChangedRecord:
    """A human has edited or deleted a message that was heard before. Its own record stays."""

    kind: ClassVar[str] = "changed"
    at_us: int
    message_seq: int
    """The message."""
    change_id: str
    """The platform's id of the change."""
    text: str | None
    """What the message says now; None if it was deleted."""
    by: str | None
    """User id of its author; None where the platform did not say who deleted it."""
    shown: str
    """How windows tell of it. `later`: between two turns, since an agent may have seen the message
    as it was. `instead` of the message as it was, whose turn had not begun. `nowhere`: the context
    had begun anew since."""
    was_summarised: bool = False
    """Of a deletion: whether the summary that held then may tell of it, and so is void."""


@message
class MemoryRecord:
    """The agent keeps a value under a key, or none any more."""

    kind: ClassVar[str] = "memory"
    at_us: int
    key: str
    value: str | None
    during: int = 0
    """The turn in which it did; 0 for none."""


@message
class ForgottenRecord:
    """All that the agent had kept is gone from its memory."""

    kind: ClassVar[str] = "forgotten"
    at_us: int
    by: str


@message
class ErasedRecord:
    """The session was deleted. The only record that is left of it, behind its last one."""

    kind: ClassVar[str] = "erased"
    at_us: int
    session_id: str
    by: str
    records: int
    """How many records its log had held."""
