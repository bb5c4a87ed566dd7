"""Which session a turn belongs to: the decision, and what is kept of it.

Pure. The rules in order: the binding that the conversation has; the pair of whoever wrote; the
session that serves the key which the scope rules give the conversation; else a new session. Every
binding names the rule that made it, so that it can be explained afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

from ..frozen import fact
from ..messages import Address, Instance
from .access import AccessRules
from .ownership_records import BoundRecord
from .records import MalformedRecord

__all__ = [
    "MAX_USER_CHARS",
    "BindingRow",
    "IdentityRow",
    "InstanceRules",
    "Key",
    "KeyRow",
    "Scope",
    "ScopeRules",
    "can_name_user",
    "check_session_name",
    "default_user",
    "is_for_others",
    "is_numbered",
    "key_of",
    "pair_of",
    "read_binding",
    "read_identity",
    "read_key",
    "record_of",
    "root_of",
    "rule_of",
    "scope_of",
]

Scope: TypeAlias = Literal["user", "main", "place", "conversation", "guild", "manual"]
"""How the session of a conversation was chosen.

`user`: whoever wrote, wherever (their link and pair count). `main`: the one session of the agent.
`place`: the conversation, and thread, alone. `conversation`: all threads of it. `guild`: all
conversations of a guild. `manual`: an operator moved it here.
"""

Key: TypeAlias = tuple[str, ...]
"""What a session serves beyond one place: `("user", agent, user)`, `("main", agent)`, `("guild",
agent, instance, guild)` or `("conversation", agent, instance, conversation)`."""

MAX_USER_CHARS: Final = 1_024
"""Longest name of a user."""
_SESSION_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_NUMBERED: Final = re.compile(r"s[0-9]+")


@fact
class ScopeRules:
    """What shares a session, at one instance."""

    dm: Literal["per-user", "per-conversation", "main"] = "per-user"
    channel: Literal["per-channel", "collapsed"] = "per-channel"
    thread: Literal["per-thread", "per-conversation"] = "per-thread"


@fact
class InstanceRules:
    """Who may talk at one instance, to which agent, in which session."""

    agent: str
    scope: ScopeRules
    access: AccessRules
    send_to: frozenset[str] = frozenset()
    """Conversations in which every agent may speak unasked, whoever they belong to."""


class BindingRow(NamedTuple):
    """A conversation and the session that owns it. A tuple, as it is stored."""

    session_id: str
    stream: int
    """Number of the session's log."""
    version: int
    """1 for the first owner, one more at every change."""
    instance: str
    conversation: str
    thread: str | None
    platform: str
    guild: str | None
    direct: bool
    at_us: int
    by: str
    """What made the binding: a rule or an operator's act."""
    user_id: str | None = None
    """Of a direct conversation: whose it is, in canonical form."""
    scope: str = "place"
    from_session: str | None = None
    """The session that owned the conversation before, if any."""

    @property
    def address(self) -> Address:
        """The bound place."""
        return Address(
            instance=Instance(self.instance), conversation=self.conversation, thread=self.thread
        )


class KeyRow(NamedTuple):
    """Which session serves a key. A tuple, as it is stored."""

    session_id: str | None
    """None where the key was given up."""
    stream: int
    version: int
    """1 for the first holder, one more at every change."""
    key: Key


class IdentityRow(NamedTuple):
    """What was decided of an identity. A tuple, as it is stored."""

    platform: str
    user_id: str
    """In canonical form."""
    user: str | None = None
    """The user that it is linked to."""
    session_id: str | None = None
    """The session that it is paired to."""
    paired_by: str | None = None
    """`config`, or whoever else made the pair."""
    linked_us: int = 0
    paired_us: int = 0

    @property
    def unified(self) -> str:
        """The user that the identity is."""
        return self.user if self.user is not None else default_user(self.platform, self.user_id)


def can_name_user(user: str) -> bool:
    """Whether somebody can be linked to `user`: 1 to `MAX_USER_CHARS` printable characters."""
    return 0 < len(user) <= MAX_USER_CHARS and user.isprintable() and user == user.strip()


def default_user(platform: str, user_id: str) -> str:
    """The user that an identity without a link is."""
    return f"{platform}:{user_id}"


def pair_of(identity: IdentityRow, find: Callable[[str, str], IdentityRow | None]) -> str | None:
    """The session that an identity is paired to, or whom it is linked to; `find` reads others."""
    if identity.session_id is not None or identity.user is None:
        return identity.session_id
    platform, colon, user_id = identity.user.partition(":")
    root = find(platform, user_id) if colon else None
    return root.session_id if root is not None else None


def root_of(user: str, find: Callable[[str, str], IdentityRow | None]) -> str:
    """The user that `user` is: the name of a linked identity leads to whom it is linked to."""
    platform, colon, user_id = user.partition(":")
    row = find(platform, user_id) if colon else None
    return row.user if row is not None and row.user is not None else user


def is_for_others(
    places: Iterable[BindingRow],
    user: str,
    session_id: str,
    find: Callable[[str, str], IdentityRow | None],
) -> bool:
    """Whether a session has come to be that of somebody other than `user`.

    A key stays with its session when the last conversation of its user was moved elsewhere, and
    others may have been put there since. Those who are paired with the session are its guests.

    Args:
        places: what the session owns.
        user: whose session it was.
        session_id: its name.
        find: reads identities.
    """
    for row in places:
        if row.scope == "user" and row.user_id is not None:
            identity = find(row.platform, row.user_id) or IdentityRow(row.platform, row.user_id)
            if identity.unified != user and pair_of(identity, find) != session_id:
                return True
    return False


def check_session_name(name: str) -> None:
    """Refuse what cannot name a session.

    Raises:
        ValueError: it is empty, too long or has other characters than letters, digits, `_.-`.
    """
    if not _SESSION_NAME.fullmatch(name):
        raise ValueError(
            f"{name!r:.80} cannot name a session: 1 to 64 letters, digits, '_', '.' or '-', "
            "beginning with a letter or digit"
        )


def is_numbered(session_id: str) -> bool:
    """Whether the runtime itself gives such names to sessions."""
    return _NUMBERED.fullmatch(session_id) is not None


def scope_of(direct: bool, guild: str | None, rules: ScopeRules) -> Scope:
    """How the session of a conversation is to be chosen.

    Args:
        direct: whether it is between one human and the agent alone.
        guild: the guild or workspace that it is part of.
        rules: of its instance.
    """
    if direct and rules.dm != "per-conversation":
        return "user" if rules.dm == "per-user" else "main"
    if not direct and rules.channel == "collapsed" and guild is not None:
        return "guild"
    if rules.thread == "per-conversation":
        return "conversation"
    return "place"


def key_of(scope: Scope, agent: str, place: Address, guild: str | None, user: str) -> Key | None:
    """The key that a place has under `scope`; None where the place stands for itself."""
    match scope:
        case "user":
            return ("user", agent, user)
        case "main":
            return ("main", agent)
        case "guild" if guild is not None:
            return ("guild", agent, place.instance, guild)
        case "conversation":
            return ("conversation", agent, place.instance, place.conversation)
        case _:
            return None


_RULES: Final[dict[str, str]] = {
    "user": "dm_scope per-user",
    "main": "dm_scope main",
    "guild": "channel_scope collapsed",
    "conversation": "thread_scope per-conversation",
    "place": "its own session",
}


def rule_of(scope: Scope, paired: str | None, user: str | None) -> str:
    """The name of the rule by which a first message found its session.

    Args:
        scope: how the session was chosen.
        paired: the session that whoever wrote is paired to.
        user: the user that whoever wrote is linked to.
    """
    if scope == "user" and paired is not None:
        return f"pair with {paired}"
    if scope == "user" and user is not None:
        return f"link to {user}"
    return f"first message, {_RULES[scope]}"


def record_of(row: BindingRow) -> BoundRecord:
    """The record that a session keeps of a binding."""
    return BoundRecord(
        at_us=row.at_us,
        instance=row.instance,
        conversation=row.conversation,
        thread=row.thread,
        version=row.version,
        by=row.by,
        platform=row.platform,
        guild=row.guild,
        direct=row.direct,
        user_id=row.user_id,
        scope=row.scope,
        from_session=row.from_session,
    )


# -- stored rows ---------------------------------------------------------------------------------


def read_binding(payload: object) -> BindingRow:
    """The binding whose tuple is `payload`.

    Raises:
        MalformedRecord: it is not a binding.
    """
    return BindingRow(*_fields(payload, BindingRow, "a binding"))


def read_key(payload: object) -> KeyRow:
    """The holder of a key whose tuple is `payload`.

    Raises:
        MalformedRecord: it is not one.
    """
    session_id, stream, version, key = _fields(payload, KeyRow, "a key")
    return KeyRow(session_id, stream, version, tuple(key))


def read_identity(payload: object) -> IdentityRow:
    """The identity whose tuple is `payload`.

    Raises:
        MalformedRecord: it is not one.
    """
    return IdentityRow(*_fields(payload, IdentityRow, "an identity"))


def _fields(payload: object, row: type[NamedTuple], what: str) -> Sequence[Any]:
    """The values of a stored row; the checksum vouches for their types."""
    if not isinstance(payload, list | tuple):
        raise MalformedRecord(f"{what} must be a list: {payload!r:.80}")
    values = cast("Sequence[Any]", payload)
    most = len(row._fields)
    if not most - len(row._field_defaults) <= len(values) <= most:
        raise MalformedRecord(f"{what} has {len(values)} fields, not {most}")
    return values
