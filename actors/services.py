"""What a session is given when it starts: the world, passed in."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from ..storage.base import Store
from .bus import Bus
from .core.reset import ResetPolicy
from .core.routing import InstanceRules
from .door import Door
from .kernel import ActorRef
from .messages import Instance
from .runner import TurnRunner

if TYPE_CHECKING:
    from .compactor import Compactor  # which needs the services itself

__all__ = ["MAX_OPEN_TURNS", "NowUs", "Post", "Ref", "Resolve", "Services", "TellResolver"]

MAX_OPEN_TURNS: Final = 100_000
"""Turns of one session that may wait for the agent. They wait on disk."""

Ref: TypeAlias = ActorRef[Any]
NowUs: TypeAlias = Callable[[], int]
"""The time, in microseconds since the Unix epoch, UTC."""


Resolve: TypeAlias = Callable[[str, str], Awaitable[str]]
"""The user that an identity (platform, canonical user id) is. Raises Unidentified."""


TellResolver: TypeAlias = Callable[[str, str, str | None], Awaitable[None]]
"""Given an identity and its user, or None for nobody but itself. Logs a failure, raises nothing."""


def _as_it_is(_platform: str, user_id: str) -> str:
    return user_id


@dataclass(slots=True)
class Post:
    """Where deliveries go."""

    channels: Mapping[Instance, Ref]
    """The channel actor of every configured instance."""
    feed: Ref
    """The actor that shows what has no channel."""
    hearers: frozenset[Instance]
    """Instances that want to know when a turn has ended."""
    watchers: frozenset[Instance] = frozenset()
    """Instances that show that an agent is at work."""
    receipted: frozenset[Instance] = frozenset()
    """Instances whose platform tells more of a message later."""
    scheduler: Ref | None = None
    """The actor that runs missions; None on a store at rest."""


@dataclass(slots=True)
class Services:
    """Shared by all sessions of a runtime."""

    store: Store
    now_us: NowUs
    rules: Mapping[Instance, InstanceRules]
    """What holds at each instance."""
    door: Door
    canonical: Callable[[str, str], str] = _as_it_is
    """The canonical form of a user id, given the platform. Raises ValueError for what is none."""
    redact: Callable[[str], str] = str
    """Hides the secrets of this process in what an agent or a summariser has raised."""
    random: Callable[[int], bytes] = secrets.token_bytes
    """So many bytes that nobody can guess."""
    self_link: bool = True
    """Whether humans may link their accounts themselves, with `/link`."""
    resolve: Resolve | None = None
    """Asks the program's own identity resolver who somebody is; None if there is none."""
    tell_resolver: TellResolver | None = None
    """Tells that resolver who somebody is from now on."""
    failure_notice: str | None = None
    """What a human is told when a turn is given up; None for nothing."""
    commands: bool = True
    """Whether `/new` and `/compact` are the runtime's, and not the agent's."""
    reset: ResetPolicy | None = None
    """When sessions begin anew by themselves; None for never."""
    max_open_turns: int = MAX_OPEN_TURNS
    stopping: bool = False
    """Whether what could begin now belongs to the next start."""
    acts_done: int = 0
    """How many acts were carried out: whoever remembers what they change asks again after each."""
    bus: Bus = field(default_factory=Bus)
    """Where whoever watches is told what has happened."""
    compaction_notice: str | None = None
    """What a human is told when older messages were summarised; None for nothing."""
    registry: Ref = field(init=False)
    """Set, like the three that follow, once that actor has started: they need each other."""
    runner: TurnRunner = field(init=False)
    compactor: Compactor = field(init=False)
    post: Post = field(init=False)
