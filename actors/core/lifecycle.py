"""The life of a session, in one table.

`created`: it exists, and nobody has spoken yet. `active`: somebody has, lately. `idle`: nobody has
for a while; the context is kept. `compacted`: the window was full, and its older part has been
summarised since anybody spoke. A `clear` drops that summary with all else: the session is active
again, and its context begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

__all__ = ["LIFECYCLE", "PHASES", "Happening", "Phase", "follow", "phase_at"]

Phase: TypeAlias = Literal["created", "active", "idle", "compacted"]
Happening: TypeAlias = Literal["turn", "summary", "clear", "quiet"]
"""A turn was accepted; older messages were summarised; the context was cleared; nothing happened
for a while."""

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)

LIFECYCLE: Final[Mapping[tuple[Phase, Happening], Phase]] = {
    ("created", "turn"): "active",
    ("created", "summary"): "created",
    ("created", "clear"): "created",
    ("created", "quiet"): "created",
    ("active", "turn"): "active",
    ("active", "summary"): "compacted",
    ("active", "clear"): "active",
    ("active", "quiet"): "idle",
    ("idle", "turn"): "active",
    ("idle", "summary"): "compacted",
    ("idle", "clear"): "idle",
    ("idle", "quiet"): "idle",
    ("compacted", "turn"): "active",
    ("compacted", "summary"): "compacted",
    ("compacted", "clear"): "active",
    ("compacted", "quiet"): "idle",
}


def follow(phase: Phase, happening: Happening) -> Phase:
    """What a session is after something has happened to it."""
    return LIFECYCLE[phase, happening]


def phase_at(phase: Phase, open_turns: int, last_us: int, now_us: int, idle_after_us: int) -> Phase:
    """What a session is now.

    Args:
        phase: what its log says.
        open_turns: its turns that are not over: while there is one, it is active.
        last_us: when a turn was accepted or ended, or older messages were summarised.
        now_us: the time.
        idle_after_us: how long nothing has to happen until it is quiet.
    """
    if open_turns:
        return "active"
    return follow(phase, "quiet") if now_us - last_us >= idle_after_us else phase
