"""What the registry asks of a session, beyond what is in :mod:`.messages`, and is itself told."""

from __future__ import annotations

from collections.abc import Mapping

from .core.records import Record
from .core.reset import ResetPolicy
from .core.routing import BindingRow, InstanceRules
from .frozen import message
from .messages import Address, Instance, SessionId

__all__ = [
    "BindPlace",
    "FollowRules",
    "HeldStill",
    "HoldStill",
    "Identified",
    "ListRefusals",
    "PlaceBound",
    "TakeOver",
]


@message
class BindPlace:
    """Request to own a conversation that nobody owns yet; its first turn follows."""

    session_id: SessionId
    row: BindingRow


@message
class PlaceBound:
    """A session owns one more place, and that is durable; or it could not be stored."""

    address: Address
    stored: bool


@message
class HoldStill:
    """Request to say `HeldStill` once all that was decided is durable.

    Until it says otherwise, the registry passes nothing on to this session.
    """

    session_id: SessionId


@message
class HeldStill:
    """Nothing of this session is on its way to the store."""

    session_id: SessionId


@message
class TakeOver:
    """An act has appended `records` to the session's log, from `first_seq` on."""

    session_id: SessionId
    first_seq: int
    records: tuple[Record, ...]


@message
class Identified:
    """The program's identity resolver has answered, or failed."""

    address: Address
    platform: str
    user_id: str
    user: str | None
    """None if it failed."""
    error: str | None = None


@message
class FollowRules:
    """Request to judge, route and begin sessions anew by these rules from now on."""

    rules: Mapping[Instance, InstanceRules]
    commands: bool
    """See `Services`, as for the next one."""
    reset: ResetPolicy | None


@message
class ListRefusals:
    """Request for the refusals that are remembered, the oldest first."""
