"""The acts that change who is who, and which conversation belongs to which session.

Pure: each reads one moment of the world and returns the :class:`~.world.Plan` of what to write, or
refuses. Nothing else changes an owner.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ..acts import ActRefused, By
from ..messages import Address, Instance
from .draft import Draft, SessionDraft
from .finishing import finish
from .routing import (
    MAX_USER_CHARS,
    BindingRow,
    IdentityRow,
    Scope,
    can_name_user,
    check_session_name,
    default_user,
    is_numbered,
    key_of,
    root_of,
)
from .runtime_records import ChangeRecord
from .settling import settle
from .world import Plan, World

__all__ = ["check_target", "plan_join", "plan_link", "plan_move", "plan_pair", "plan_undo"]


def plan_link(
    world: World, platform: str, user_id: str, user: str | None, *, now_us: int, by: By
) -> Plan:
    """Link an identity to `user`; None takes its link away.

    Whoever was linked to the identity itself comes along.

    Raises:
        ActRefused: it is so already, or `user` is no name.
    """
    stored = world.identity(platform, user_id) or IdentityRow(platform, user_id)
    name = default_user(platform, user_id)
    if user is None:
        if stored.user is None:
            raise ActRefused(f"{name} is not linked{_linked_to_it(world, name)}")
        draft = Draft(world, now_us, "apart", by, f"{name} is {stored.user} no more")
        rows = [stored._replace(user=None, linked_us=now_us)]
        act = "unlink"
    else:
        target = root_of(_checked_user(user), world.identity)
        if target == stored.unified:
            raise ActRefused(f"{name} is {target} already")
        if target == name:
            raise ActRefused(
                f"{name} cannot be linked to itself; `identity unlink` takes its link away"
            )
        draft = Draft(world, now_us, "together", by, f"{name} is {target}")
        followers = world.identities_of(name)
        rows = [row._replace(user=target, linked_us=now_us) for row in (stored, *followers)]
        act = "link"
    for row in rows:
        draft.decide(row)
    for row in rows:
        settle(draft, row)
    return finish(draft, act, merge=act == "link")


def plan_join(world: World, issuer: IdentityRow, redeemer: IdentityRow, *, now_us: int) -> Plan:
    """Make two identities one user, as their human has proven that both are the same.

    Whoever is alone joins the other; else all of the redeemer's identities join the issuer's user.

    Raises:
        ActRefused: they are one user already.
    """
    if issuer.unified == redeemer.unified:
        raise ActRefused(f"{redeemer.unified} is one user already")
    coming, staying = redeemer, issuer
    if len(_one_with(world, redeemer)) > 1 and len(_one_with(world, issuer)) == 1:
        coming, staying = issuer, redeemer
    rows = _one_with(world, coming)
    names = ", ".join(default_user(row.platform, row.user_id) for row in rows)
    draft = Draft(world, now_us, "together", "code", f"{names} is {staying.unified}")
    for row in rows:
        draft.decide(row._replace(user=staying.unified, linked_us=now_us))
    for row in rows:
        settle(draft, draft.identity(row.platform, row.user_id))
    return finish(draft, "link", merge=True)


def _one_with(world: World, identity: IdentityRow) -> list[IdentityRow]:
    """Every identity of the same user."""
    user = identity.unified
    rows = {row[:2]: row for row in (identity, *world.identities_of(user))}
    platform, colon, user_id = user.partition(":")
    if colon and (platform, user_id) not in rows:
        root = world.identity(platform, user_id) or IdentityRow(platform, user_id)
        if root.unified == user:
            rows[platform, user_id] = root
    return list(rows.values())


def _linked_to_it(world: World, name: str) -> str:
    others = world.identities_of(name)
    if not others:
        return ""
    listed = ", ".join(default_user(row.platform, row.user_id) for row in others[:3])
    return f"; but these are linked to it: {listed}{', …' if len(others) > 3 else ''}"


def _checked_user(user: str) -> str:
    if not can_name_user(user):
        raise ActRefused(
            f"{user!r:.80} cannot name a user: 1 to {MAX_USER_CHARS} printable characters, "
            "without spaces around them"
        )
    return user


def plan_pair(
    world: World, platform: str, user_id: str, session_id: str | None, *, now_us: int, by: By
) -> Plan:
    """Pair an identity with a session; None takes its pair away.

    Raises:
        ActRefused: it is so already, the configuration says otherwise, or the session's name is
            none.
    """
    stored = world.identity(platform, user_id) or IdentityRow(platform, user_id)
    name = default_user(platform, user_id)
    if stored.paired_by == "config" and by != "config":
        raise ActRefused(
            f"the configuration pairs {name} with {stored.session_id}: change it there, under "
            "[pairing], and reload"
        )
    if session_id is None:
        if stored.session_id is None:
            raise ActRefused(f"{name} is not paired")
        draft = Draft(world, now_us, "apart", by, f"{name} is not paired with {stored.session_id}")
        row = stored._replace(session_id=None, paired_by=None, paired_us=now_us)
    else:
        if stored.session_id == session_id and stored.paired_by == by:
            raise ActRefused(f"{name} is paired with {session_id} already")
        check_target(world, session_id)
        draft = Draft(world, now_us, "together", by, f"{name} is paired with {session_id}")
        row = stored._replace(session_id=session_id, paired_by=by, paired_us=now_us)
    draft.decide(row)
    for one in (row, *world.identities_of(name)):
        settle(draft, one)
    return finish(draft, "unpair" if session_id is None else "pair", merge=session_id is not None)


def check_target(world: World, session_id: str) -> None:
    """Refuse what names no session, and may name no new one.

    Raises:
        ActRefused: there is none of this name, and a new one cannot have it.
    """
    if world.session(session_id) is not None:
        return
    try:
        check_session_name(session_id)
    except ValueError as error:
        raise ActRefused(str(error)) from error
    if is_numbered(session_id):
        raise ActRefused(
            f"there is no session {session_id!r}, and such names are given by the runtime; "
            "choose another for a new one"
        )


def plan_move(
    world: World,
    row: BindingRow,
    session_id: str | None,
    scope: Scope,
    agent: str,
    *,
    now_us: int,
    by: By,
) -> Plan:
    """Move one conversation to a session; None for the one that the rules would choose.

    Args:
        world: what is stored.
        row: the binding of the conversation.
        session_id: where it shall go.
        scope: how its session would be chosen now.
        agent: who would answer there now.
        now_us: the time.
        by: who asks.

    Raises:
        ActRefused: it is there already, or there is no such session.
    """
    place = "/".join(part for part in row.address if part is not None)
    if session_id is not None:
        check_target(world, session_id)
        draft = Draft(world, now_us, "together", by, f"{place} was moved to {session_id}")
        target = draft.find(session_id) or draft.open(agent, session_id)
        scope = "manual"
    else:
        draft = Draft(world, now_us, "together", by, f"{place} was moved to where the rules say")
        target = _chosen(draft, row, scope, agent)
    if target.session_id == row.session_id and scope == row.scope:
        raise ActRefused(f"{place} belongs to {row.session_id} already, by the rules of now")
    draft.move(row, target, scope)
    return finish(draft, "move", merge=True)


def _chosen(draft: Draft, row: BindingRow, scope: Scope, agent: str) -> SessionDraft:
    user = ""
    if scope == "user" and row.user_id is not None:
        identity = draft.identity(row.platform, row.user_id)
        paired = draft.pair_of(identity)
        if paired is not None:
            return draft.find(paired) or draft.open(agent, paired)
        user = identity.unified
    key = key_of(scope, agent, row.address, row.guild, user)
    if key is None:
        current = draft.session(row.session_id)
        alone = current.agent == agent and len(list(islice(draft.places(current), 2))) == 1
        return current if alone else draft.open(agent)
    holder = draft.server_of(key) if scope == "user" else draft.holder(key)
    if holder is None:
        holder = draft.open(agent)
        draft.give_key(key, holder)
    return holder


def plan_undo(
    world: World,
    number: int,
    undone: ChangeRecord,
    later: Sequence[tuple[int, ChangeRecord]],
    *,
    now_us: int,
    by: By,
) -> Plan:
    """Take change `number` back; `later` are the changes that came after it.

    Raises:
        ActRefused: it was taken back before, or something later builds on it.
    """
    if undone.act == "undo":
        raise ActRefused(f"change {number} is itself an undo; do again what it took back")
    if undone.imported is not None:
        raise ActRefused(
            f"change {number} is an import; `sessions delete {undone.imported}` removes the session"
        )
    taken_back = {change.undoes for _, change in later}
    if number in taken_back:
        raise ActRefused(f"change {number} was taken back already")
    touched = _touched(undone)
    for other, change in later:
        if change.act != "undo" and other not in taken_back and touched & _touched(change):
            raise ActRefused(f"change {other} ({change.text}) builds on it: undo that one first")
    apart = undone.act in {"link", "pair"}
    draft = Draft(world, now_us, "back", by, f"undo of change {number}: {undone.text}")
    rows: list[IdentityRow] = []
    for platform, user_id, before, _ in undone.identities:
        rows.append(IdentityRow(platform, user_id, *before))
        draft.decide(rows[-1])
    settled = [one for row in rows for one in (row, *world.identities_of(default_user(*row[:2])))]
    for key, before, _ in undone.keys:
        settled += _identities_under(world, key)
        draft.give_key(tuple(key), draft.find(before) if before is not None else None)
    for instance, conversation, thread, before, after, _, scope in undone.moves:
        place = Address(instance=Instance(instance), conversation=conversation, thread=thread)
        session = draft.session(after)
        owned = (row for row in world.places_of_session(session.stream) if row.address == place)
        held = next(owned, None)
        if held is None:
            raise ActRefused(
                f"{instance}/{conversation} was moved again since change {number}; "
                "`bindings move` can move it anywhere"
            )
        draft.move(held, draft.session(before), scope)
        if held.user_id is not None:
            settled.append(IdentityRow(held.platform, held.user_id))
    for platform, user_id in dict.fromkeys(row[:2] for row in settled):
        settle(draft, draft.identity(platform, user_id))
    restore = {
        session_id: Address(Instance(place[0]), place[1], place[2])
        for session_id, place, _ in undone.actives
        if place is not None
    }
    return finish(
        draft,
        "undo",
        merge=undone.act in {"unlink", "unpair"},
        rejoin={(earlier, host) for host, earlier, joined in undone.joins if not joined},
        hide=[(row, undone.at_us) for row in rows] if apart else (),
        restore=restore,
        undoes=number,
    )


def _identities_under(world: World, key: Sequence[str]) -> list[IdentityRow]:
    """Whoever may have come to a session under a user's key since it was given away."""
    if key[0] != "user":
        return []
    platform, colon, user_id = key[2].partition(":")
    root = [IdentityRow(platform, user_id)] if colon else []
    return [*root, *world.identities_of(key[2])]


def _touched(change: ChangeRecord) -> set[tuple[str, ...]]:
    """What a change has its hands on: identities, users, sessions and places."""
    found: set[tuple[str, ...]] = set()
    for platform, user_id, before, after in change.identities:
        found.add(("identity", platform, user_id))
        found.update(("user", state[0]) for state in (before, after) if state[0] is not None)
    for instance, conversation, thread, *_ in change.moves:
        found.add(("place", instance, conversation, thread or ""))
    for key, before, after in change.keys:
        found.add(("key", *key))
        found.update(("session", s) for s in (before, after) if s is not None)
    return found
