"""The head of a session: the little that is kept beside its log so that it wakes up fast.

A head follows from the log by replay; `verify` compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, cast

from ..messages import Address, Instance
from .lifecycle import Phase
from .records import MalformedRecord

__all__ = ["Head", "is_outdated", "read_head"]


class Head(NamedTuple):
    """State of a session between two commits. A tuple, because it is written at every one."""

    session_id: str
    agent: str
    opened_at_us: int
    last_active_us: int
    next_seq: int
    settled: int
    """Sequence number of the newest user record whose turn is over."""
    open_turns: int
    attempts: int
    """How often the oldest open turn has been begun."""
    oldest_delivery: int
    """Sequence number of the record that opened the oldest open delivery, or 0."""
    open_deliveries: int
    context_bound: int
    """How many tokens the context takes at most: see `weight`. Joined logs are not counted."""
    instance: str | None
    """Where a human last wrote: the active channel. None before the first message. Without a
    conversation, nobody is there yet to whom a message could go."""
    conversation: str | None
    thread: str | None
    joined: tuple[tuple[int, str], ...] | None = None
    """Earlier sessions whose logs are part of the context: number and id each."""
    hidden: tuple[tuple[str, str, int, int], ...] | None = None
    """What the context leaves out: platform, user id, since when, up to which sequence number."""
    merged_into: str | None = None
    """The session that this one goes on in, once it owns no conversation any more."""
    cleared: int = 0
    """Sequence number of the newest record after which the context begins; 0 if it never did."""
    phase: Phase = "created"
    """See `lifecycle`."""
    last_turn_us: int = 0
    """When a turn was accepted or ended, or older messages summarised, for the last time."""
    context_messages: int = 0
    """How many messages the context has. Joined logs are not counted."""
    summary: int = 0
    """Sequence number of the summary that the context begins with; 0 if there is none."""
    covered_bound: int = 0
    """What `context_bound` would be higher by without that summary."""
    covered_messages: int = 0
    """What `context_messages` would be higher by without that summary."""
    unseen_bound: int = 0
    """How many tokens it takes at most what others have said since the last turn began."""
    unseen_messages: int = 0
    """How many messages that is."""
    cleared_turn: int = 0
    """The newest turn that had begun when the context began anew; 0 for none."""
    changed: int = 0
    """Sequence number of the newest change of a message; 0 if there was none."""
    deletions: int = 0
    """How many changes were deletions."""

    @property
    def veils(self) -> int:
        """How often something was taken out of the context: by undone links, and by deletions."""
        return len(self.hidden or ()) + self.deletions

    @property
    def active_channel(self) -> Address | None:
        """Where the session's proactive messages go."""
        if self.instance is None or self.conversation is None:
            return None
        return Address(
            instance=Instance(self.instance), conversation=self.conversation, thread=self.thread
        )

    @property
    def open_since(self) -> int:
        """First sequence number from which the open work can be brought back; 0 if none is open."""
        starts: list[int] = []
        if self.open_turns:
            starts.append(self.settled + 1)
        if self.open_deliveries:
            starts.append(self.oldest_delivery)
        return min(starts, default=0)


_LEAST: Final = len(Head._fields) - len(Head._field_defaults)


def is_outdated(payload: object) -> bool:
    """Whether an earlier version wrote this head, which did not know of all that is in one now.

    Then it tells whose log it is and what is open in it, and nothing sure of the context.
    """
    return isinstance(payload, list | tuple) and _LEAST <= len(
        cast("Sequence[object]", payload)
    ) < len(Head._fields)


def read_head(payload: object) -> Head:
    """The head whose tuple is `payload`. One that :func:`is_outdated` is filled up with defaults.

    Raises:
        MalformedRecord: it is not a head.
    """
    if not isinstance(payload, list | tuple):
        raise MalformedRecord(f"a head must be a list: {payload!r:.80}")
    values = cast("Sequence[object]", payload)
    if not _LEAST <= len(values) <= len(Head._fields):
        raise MalformedRecord(f"a head has {len(values)} fields, not {len(Head._fields)}")
    head = Head(*values)  # type: ignore[arg-type]  # the checksum vouches for the types
    if head.joined is None and head.hidden is None:
        return head
    return head._replace(joined=_rows(head.joined), hidden=_rows(head.hidden))


def _rows(stored: Any) -> Any:
    """Rows as tuples, which the codec gives back as lists."""
    return tuple(tuple(row) for row in stored) if stored else None
