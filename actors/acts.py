"""Explicit acts: what an operator, a program or a proven human asks of the registry.

Requests and what they are answered with. Nothing else changes who is who, or moves a conversation
from one session to another.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from .frozen import message
from .messages import Address, SessionId

__all__ = [
    "AccessEntry",
    "Act",
    "ActRefused",
    "ActiveChange",
    "Allow",
    "Approve",
    "By",
    "Change",
    "Create",
    "Created",
    "Delete",
    "Deleted",
    "Joined",
    "Link",
    "Move",
    "Moved",
    "Pair",
    "Revoke",
    "Undo",
    "Unlink",
    "Unpair",
]

By: TypeAlias = Literal["operator", "program", "config", "code", "resolver"]
"""Who asks: a person at the command line, the embedding program, the configuration, the human
concerned, who has proven it with a code, or the identity resolver, which says so."""


class ActRefused(Exception):
    """The act makes no sense as things are; nothing was changed. The text says what would help."""


@message
class Link:
    """Request: the identity is this user from now on. Answered with `Change`."""

    platform: str
    user_id: str
    user: str
    by: By = "program"
    dry_run: bool = False


@message
class Unlink:
    """Request: the identity is nobody but itself from now on. Answered with `Change`."""

    platform: str
    user_id: str
    by: By = "program"
    dry_run: bool = False


@message
class Pair:
    """Request: the identity's direct conversations belong to this session. Answered with `Change`.

    A session that does not exist yet is opened, now or by the identity's first message.
    """

    platform: str
    user_id: str
    session_id: SessionId
    by: By = "program"
    dry_run: bool = False


@message
class Unpair:
    """Request: the identity goes where its link says, or on its own. Answered with `Change`."""

    platform: str
    user_id: str
    by: By = "program"
    dry_run: bool = False


@message
class Move:
    """Request: a conversation belongs to this session. Answered with `Change`."""

    address: Address
    session_id: SessionId | None = None
    """None for the session that the rules of now would choose."""
    by: By = "program"
    dry_run: bool = False


@message
class Undo:
    """Request: take a change back, as though it had not been made. Answered with `Change`."""

    number: int | None = None
    """None for the newest one that can be."""
    by: By = "program"
    dry_run: bool = False


@message
class Approve:
    """Request: whoever was given this access code may talk. Answered with `AccessEntry`."""

    code: str


@message
class Allow:
    """Request: this user may talk on this instance. Answered with `AccessEntry`."""

    instance: str
    platform: str
    user_id: str


@message
class Revoke:
    """Request: this user may not talk on this instance any more. Answered with `AccessEntry`."""

    instance: str
    platform: str
    user_id: str


@message
class Create:
    """Request: there is a session of this name, which owns nothing yet. Answered with `Created`."""

    session_id: SessionId
    agent: str
    by: By = "program"


@message
class Delete:
    """Request: the session is no more, and nothing is left of it. Answered with `Deleted`.

    Once that is durable nobody finds it; what is left of its log is to be removed then.
    """

    session_id: SessionId
    by: By = "program"
    dry_run: bool = False
    even_open: bool = False
    """Whether turns and messages that are open go with it; where nothing runs, nobody waits."""
    records: int | None = None
    """How many records its log must hold; None for however many there are."""


Act: TypeAlias = (
    Link | Unlink | Pair | Unpair | Move | Undo | Approve | Allow | Revoke | Create | Delete
)


@message
class Moved:
    """A conversation that changed its owner."""

    address: Address
    from_session: SessionId
    to_session: SessionId
    version: int
    """Of its binding, afterwards."""


@message
class Joined:
    """A session whose history joined, or left, the context of another one."""

    session_id: SessionId
    """The session that goes on."""
    earlier: SessionId
    records: int
    """How many records the earlier one's log holds."""
    joined: bool
    """False where it left."""


@message
class ActiveChange:
    """An active channel that was moved along."""

    session_id: SessionId
    before: Address | None
    after: Address | None


@message
class Change:
    """What an act has changed, or would change."""

    number: int | None
    """Where it stands in the ledger; None if nothing was written."""
    act: str
    text: str
    """What was done, in words."""
    dry_run: bool
    moved: tuple[Moved, ...] = ()
    joined: tuple[Joined, ...] = ()
    active: tuple[ActiveChange, ...] = ()
    opened: tuple[SessionId, ...] = ()
    """Sessions that the act opened."""


@message
class Created:
    """A session that an act has opened by name. It has no conversation yet."""

    session_id: SessionId
    agent: str
    """Who answers in it."""


@message
class Deleted:
    """What the deletion of a session has removed, or would remove."""

    session_id: SessionId
    number: int
    """Of its log. Neither it nor the id is used again."""
    records: int
    """How many records its log held."""
    dry_run: bool
    conversations: tuple[Address, ...] = ()
    """Those that belonged to it: the next message there opens another session."""
    memories: int = 0
    """How many values its agent kept."""
    open_turns: int = 0
    open_deliveries: int = 0
    last_active_us: int = 0
    """When a human last wrote, in microseconds since the Unix epoch."""


@message
class AccessEntry:
    """Where somebody stands at an instance."""

    instance: str
    user_id: str
    standing: Literal["approved", "revoked", "pending"]
    at_us: int
    user_name: str | None = None
    """Display name; untrusted."""
    expires_us: int | None = None
    """Of `pending`."""
