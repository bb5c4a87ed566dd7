"""What a session is given when it starts: the world, passed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ..storage.base import Store
from .kernel import ActorRef
from .messages import Instance
from .runner import TurnRunner

__all__ = ["MAX_OPEN_TURNS", "NowUs", "Post", "Ref", "Services"]

MAX_OPEN_TURNS: Final = 100_000
"""Turns of one session that may wait for the agent. They wait on disk."""

Ref: TypeAlias = ActorRef[Any]
NowUs: TypeAlias = Callable[[], int]
"""The time, in microseconds since the Unix epoch, UTC."""


@dataclass(slots=True)
class Post:
    """Where deliveries go."""

    channels: Mapping[Instance, Ref]
    """The channel actor of every configured instance."""
    feed: Ref
    """The actor that shows what has no channel."""
    hearers: frozenset[Instance]
    """Instances that want to know when a turn has ended."""


@dataclass(slots=True)
class Services:
    """Shared by all sessions of a runtime."""

    store: Store
    now_us: NowUs
    failure_notice: str | None = None
    """What a human is told when a turn is given up; None for nothing."""
    max_open_turns: int = MAX_OPEN_TURNS
    stopping: bool = False
    """Whether what could begin now belongs to the next start."""
    registry: Ref = field(init=False)
    """Set, like the two that follow, once that actor has started: they need each other."""
    runner: TurnRunner = field(init=False)
    post: Post = field(init=False)
