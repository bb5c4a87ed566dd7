"""The kinds of record that stand in no session's log: in the ledger, the schedule and the feed."""

from __future__ import annotations

from typing import Any, ClassVar

from ..frozen import message

__all__ = [
    "AccessRecord",
    "ChangeRecord",
    "FeedRecord",
    "ScheduleRecord",
]


@message
class ChangeRecord:
    """An explicit change of who is who, or of what belongs to whom. Only in the ledger."""

    kind: ClassVar[str] = "change"
    at_us: int
    act: str
    """`link`, `unlink`, `pair`, `unpair`, `move`, `undo` or `import`."""
    by: str
    """`operator`, `program`, `config` or `code`."""
    text: str
    """What was done, in words."""
    identities: tuple[Any, ...] = ()
    """`(platform, user_id, state before, state)` each; a state is the rest of an `IdentityRow`."""
    moves: tuple[Any, ...] = ()
    """`(instance, conversation, thread, from session, to session, new version, scope before)`."""
    keys: tuple[Any, ...] = ()
    """`(key, session before, session)` each; None for no session."""
    actives: tuple[Any, ...] = ()
    """`(session, place before, place)` each; a place is a list of three, or None."""
    undoes: int | None = None
    """Number of the change that this one takes back."""
    joins: tuple[Any, ...] = ()
    """`(session, earlier session, whether it joined)` each; False where it left."""
    imported: str | None = None
    """The session that was brought in from elsewhere, where that is the change."""


@message
class AccessRecord:
    """The operator approved or revoked somebody. Only in the ledger."""

    kind: ClassVar[str] = "access"
    at_us: int
    instance: str
    user_id: str
    standing: str
    by: str
    user_name: str | None = None


@message
class ScheduleRecord:
    """A mission was added, changed, paused, resumed or removed. Only in the schedule's stream."""

    kind: ClassVar[str] = "schedule"
    at_us: int
    act: str
    name: str
    by: str
    definition: tuple[Any, ...] | None = None
    """What the mission is from here on, as `Definition.flat` has it; None: it is no more."""


@message
class FeedRecord:
    """Something was shown in the console feed. Only in the feed's own stream."""

    kind: ClassVar[str] = "feed"
    at_us: int
    session_id: str
    delivery_id: str
    text: str
