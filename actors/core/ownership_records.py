"""The kinds of record that tell what belongs to a session.

Its conversations, its keys, the earlier sessions that are part of its context, and the place where
its messages go.
"""

from __future__ import annotations

from typing import ClassVar

from ..frozen import message

__all__ = [
    "ActiveRecord",
    "BoundRecord",
    "HiddenRecord",
    "KeyedRecord",
    "LinkedRecord",
    "OpenedRecord",
    "ReleasedRecord",
    "UnlinkedRecord",
]


@message
class OpenedRecord:
    """The session exists. Always the first record."""

    kind: ClassVar[str] = "opened"
    at_us: int
    session_id: str
    agent: str
    by: str


@message
class BoundRecord:
    """A conversation belongs to this session from here on."""

    kind: ClassVar[str] = "bound"
    at_us: int
    instance: str
    conversation: str
    thread: str | None
    version: int
    by: str
    platform: str
    guild: str | None
    direct: bool
    user_id: str | None = None
    """Of a direct conversation: whose it is."""
    scope: str = "place"
    """The scope under which the session was chosen; see `routing.Scope`."""
    from_session: str | None = None
    """The session that owned the conversation before, if any."""


@message
class ReleasedRecord:
    """A conversation belongs to another session from here on."""

    kind: ClassVar[str] = "released"
    at_us: int
    instance: str
    conversation: str
    thread: str | None
    version: int
    by: str
    to_session: str
    merged: bool = False
    """Whether it was the last one, so that this session goes on inside the other."""


@message
class KeyedRecord:
    """This session serves a session key from here on, or does not any more."""

    kind: ClassVar[str] = "keyed"
    at_us: int
    key: tuple[str, ...]
    version: int
    held: bool = True


@message
class LinkedRecord:
    """What was said in an earlier session, up to now and later, is part of this one's context."""

    kind: ClassVar[str] = "linked"
    at_us: int
    session_id: str
    stream: int
    number: int
    """Of the change that did it, in the ledger."""
    by: str


@message
class UnlinkedRecord:
    """An earlier session is not part of this one's context any more: it lives on by itself."""

    kind: ClassVar[str] = "unlinked"
    at_us: int
    session_id: str
    stream: int
    number: int
    by: str


@message
class HiddenRecord:
    """A link was undone: what an identity said here since then is not shown to the agent."""

    kind: ClassVar[str] = "hidden"
    at_us: int
    platform: str
    user_id: str
    since_us: int
    number: int


@message
class ActiveRecord:
    """The active channel was set by an explicit act; without an instance there is none.

    An instance without a conversation: it is meant to be there, and nobody is there yet.
    """

    kind: ClassVar[str] = "active"
    at_us: int
    instance: str | None
    conversation: str | None
    thread: str | None
    by: str
