"""Where the direct conversations of an identity belong, once something else is decided of it.

Pure: changes the draft of an act, and nothing else.
"""

from __future__ import annotations

from .draft import Draft, SessionDraft
from .routing import BindingRow, IdentityRow, Key, default_user

__all__ = ["settle"]


def settle(draft: Draft, identity: IdentityRow) -> None:
    """Let every direct conversation of an identity go where the rules name."""
    by_agent: dict[str, list[BindingRow]] = {}
    for row in draft.world.places_of_identity(identity.platform, identity.user_id):
        _, current = draft.move_of(row)
        if current.scope == "user":
            kept = draft.session(current.session_id).agent  # of a session that may be shared
            agent = draft.world.agent_at(row.instance) or kept
            by_agent.setdefault(agent, []).append(current)
    for agent, rows in by_agent.items():
        newest = max(
            (draft.session(row.session_id) for row in rows),
            key=lambda session: (session.agent == agent, session.last_active_us),
        )
        target = _target(draft, identity, agent, newest)
        for row in rows:
            if row.session_id != target.session_id:
                before, _ = draft.move_of(row)
                draft.move(before, target, "user")


def _target(draft: Draft, identity: IdentityRow, agent: str, current: SessionDraft) -> SessionDraft:
    """The session of an identity's conversations, which are in `current` now."""
    paired = draft.pair_of(identity)
    if paired is not None:
        return draft.find(paired) or draft.open(agent, paired)
    user = identity.unified
    key: Key = ("user", agent, user)
    holder = draft.server_of(key)
    if holder is not None and (
        draft.mode != "apart" or holder is current or _is_used_by(draft, holder, user, identity)
    ):
        return holder
    if _may_take(draft, current, key, identity):
        _take(draft, current, key)
        return current
    if holder is None:
        holder = draft.open(agent)
        draft.give_key(key, holder)
    return holder


def _may_take(draft: Draft, session: SessionDraft, key: Key, leaving: IdentityRow) -> bool:
    """Whether a session can become the one of `key` without taking anybody along."""
    if session.agent != key[1]:
        return False
    others = {
        (row.platform, row.user_id or "")
        for row in draft.places(session)
        if row.scope == "user" and (row.platform, row.user_id) != leaving[:2]
    }
    paired = [
        row
        for row in draft.world.paired_to(session.session_id)
        if draft.identity(row.platform, row.user_id).session_id == session.session_id
    ]
    if draft.mode != "together":
        return not others and not paired
    return all(
        other.unified == key[2] or other.session_id == session.session_id
        for other in (draft.identity(*who) for who in others)
    )


def _is_used_by(draft: Draft, session: SessionDraft, user: str, leaving: IdentityRow) -> bool:
    """Whether another identity of `user` has conversations in a session, as that user."""
    return any(
        draft.identity(row.platform, row.user_id).unified == user
        for row in draft.places(session)
        if row.scope == "user"
        and row.user_id is not None
        and (row.platform, row.user_id) != leaving[:2]
    )


def _take(draft: Draft, session: SessionDraft, key: Key) -> None:
    """Make `session` the one of `key`, and of no other user."""
    for old in _user_keys(draft, session):
        if old != key:
            draft.give_key(old, None)
    draft.give_key(key, session)


def _user_keys(draft: Draft, session: SessionDraft) -> list[Key]:
    """The user keys that `session` holds, found through those whose places it owns."""
    users = set[str]()
    rows = [*draft.world.places_of_session(session.stream), *draft.places(session)]
    for row in rows:
        if row.user_id is not None:
            before = draft.world.identity(row.platform, row.user_id)
            now = draft.identity(row.platform, row.user_id)
            users.update(
                (now.unified, default_user(row.platform, row.user_id))
                if before is None
                else (now.unified, before.unified, default_user(row.platform, row.user_id))
            )
    keys: list[Key] = [("user", session.agent, user) for user in sorted(users)]
    return [key for key in keys if draft.holder(key) is session]
