"""Messages that their authors have edited or deleted, as the agent is shown them.

What was edited before any agent could have seen it is shown as it was edited. Of any later edit the
agent is told in a line of its own, as of a note, and the message stays as it was: so what a model
was given before is still the beginning of what it is given next. What was deleted is not shown any
more, nor is what it had been edited to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from .asides import LOOKED_AT, minute
from .names import quoted_name
from .turn_records import UserRecord
from .view_records import ChangedRecord

__all__ = [
    "DELETED",
    "MOST_TOLD",
    "Altered",
    "Changes",
    "altered_by",
    "as_altered",
    "change_text",
]

Altered: TypeAlias = Literal["edited", "deleted"]

DELETED: Final = "(deleted by its author)"
"""Shown for a message that is not to be seen any more."""
_DELETED_BY_ANYBODY: Final = "(deleted)"

MOST_TOLD: Final = 640
"""Bytes that the line of a change takes at most for what it quotes of the message: the name of the
author and the beginning of the text, neither of which is longer than a name, and a time."""


@dataclass(slots=True, eq=False)
class Changes:
    """The changes of one message, read in any order, as far as its place shows them.

    There may be very many, each as long as a message: only the newest text is kept.
    """

    added: int = 0
    """What those weigh together that stand instead of the message."""
    _seen: set[int] = field(default_factory=set[int])
    _instead: tuple[int, ChangedRecord] | None = None
    """The newest that stands instead of the message."""
    _deleted: tuple[int, ChangedRecord] | None = None
    """The oldest that has deleted it."""

    def take(self, seq: int, change: ChangedRecord, weight: int) -> None:
        """Know of a change, which is record `seq`; a second time changes nothing."""
        if seq in self._seen:
            return
        self._seen.add(seq)
        if change.shown == "instead":
            self.added += weight
            if self._instead is None or seq > self._instead[0]:
                self._instead = seq, change
        if change.text is None and (self._deleted is None or seq < self._deleted[0]):
            self._deleted = seq, change

    def that_count(self) -> list[ChangedRecord]:
        """Those that make of the message what all of them do, oldest first."""
        kept = dict(filter(None, (self._instead, self._deleted)))
        return [change for _, change in sorted(kept.items())]


def altered_by(changes: Sequence[ChangedRecord]) -> Altered | None:
    """What `changes` of one message, oldest first, have made of it where it stands."""
    if any(change.text is None for change in changes):
        return "deleted"
    return "edited" if any(change.shown == "instead" for change in changes) else None


def as_altered(record: UserRecord, changes: Sequence[ChangedRecord]) -> UserRecord:
    """A message as it is shown where it stands, after all of its `changes`, oldest first."""
    text = record.text
    for change in changes:
        if change.text is None:
            told = _DELETED_BY_ANYBODY if change.by is None else DELETED
            return replace(record, text=told, attachments=None)
        if change.shown == "instead":
            text = change.text
    return replace(record, text=text) if text != record.text else record


def change_text(change: ChangedRecord, said: UserRecord | None, *, deleted: bool) -> str:
    """A change as the agent reads it: a line of the runtime, then what the message says now.

    Args:
        change: the change.
        said: the message, if it can be read.
        deleted: whether the message is deleted by now.
    """
    at, of = minute(change.at_us), "an earlier message"
    if said is not None:
        of = f"the message of {minute(said.at_us)}"
    if change.text is None:
        if change.by is None:
            author = f" by {_author(change, said)}" if said is not None else ""
            return f"[At {at}, {of}{author} was deleted.]"
        return f"[{_author(change, said)} deleted {of}, at {at}.]"
    edited = f"{_author(change, said)} edited {of}"
    if deleted:
        return f"[{edited}, at {at}, and it was deleted later.]"
    if said is not None:
        edited += f" ({quoted_name(said.text[:LOOKED_AT], '')})"
    says = "It says now:" if change.text else "It has no text any more."
    lines = (f"| {line}" for line in change.text.splitlines())
    return "\n".join([f"[{edited}, at {at}. {says}]", *lines])


def _author(change: ChangedRecord, said: UserRecord | None) -> str:
    if said is not None:
        return quoted_name(said.user_name, said.user_id)
    return quoted_name(None, change.by or "")
