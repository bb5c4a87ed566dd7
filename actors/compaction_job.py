"""A session whose context the compactor is working on, and who wants to know what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import trio

from .compactions import AskedBy
from .core.compaction import Compacted
from .kernel import TrioFuture
from .messages import SessionId

__all__ = ["Asker", "Job"]

Asker: TypeAlias = TrioFuture[Any] | AskedBy
"""Gets a `Compacted`: the answer of a question, or a human."""


@dataclass(slots=True, eq=False)
class Job:
    """A session whose context is being worked on."""

    session_id: SessionId
    stream: int
    full: bool
    """Whether the window may not hold the context, as far as is known."""
    asked: bool = False
    """Whether somebody wants a summary, however small the context is."""
    askers: list[Asker] = field(default_factory=list[Asker])
    """Who is to be told what comes of it."""
    fits: trio.Event = field(default_factory=trio.Event)
    """Set once there is nothing to wait for any more."""
    telling: trio.Event | None = None
    """While the session makes a summary its own; set once it has answered."""
    held: int = 0
    """The turn that waits, or 0."""
    done: Compacted | None = None
    """What has come of it so far; None as long as there is no summary."""
    is_given_up: bool = False
    """Whether a human has been told what comes of it: no further summary may."""

    @property
    def is_waited_for(self) -> bool:
        """Whether a turn has to wait for room."""
        return self.full and not self.fits.is_set()

    @property
    def is_asked_by_human(self) -> bool:
        """Whether it is a human who is to be told."""
        return any(isinstance(asker, AskedBy) for asker in self.askers)

    @property
    def is_telling(self) -> bool:
        """Whether the session is making a summary its own."""
        return self.telling is not None and not self.telling.is_set()

    def hold_turns(self) -> None:
        """Let turns wait for room from now on."""
        if not self.full:
            self.full, self.fits = True, trio.Event()

    def let_turns_go(self) -> None:
        """Let no turn wait for room."""
        self.full = False
        self.fits.set()

    def give_up(self) -> list[AskedBy]:
        """The humans who are to be told at once; without any, what is under way may go on."""
        humans = [asker for asker in self.askers if isinstance(asker, AskedBy)]
        self.is_given_up = bool(humans)
        self.askers = [asker for asker in self.askers if not isinstance(asker, AskedBy)]
        return humans
