"""Where a message goes that is no answer: to whom it may, and to nobody else.

Reads only. A conversation is found by what a human last did there, never by what a mission or
another session said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from operator import itemgetter
from typing import Final

from ..storage.base import Reads
from .core.mission_definition import Asker
from .core.records import Record
from .core.routing import BindingRow, IdentityRow
from .core.turn_records import UserRecord
from .journal import (
    find_session,
    load_binding,
    load_head,
    load_last,
    load_records,
    load_session_number,
)
from .ledger import StoreWorld, past_bindings
from .messages import Address, Instance, SessionId

__all__ = [
    "default_place",
    "goes_on_in",
    "place_of_user",
    "place_on_behalf",
    "session_of_user",
]

_LOOK_BACK: Final = 20_000
"""Newest records of a log that are searched for the last word of a human; reading them takes some
100 ms."""


def default_place(store: Reads, session_id: str, agent: str, instance: str) -> Address | None:
    """Where a human last wrote to a session at `instance`.

    A session that owns conversations speaks in these alone, so that nobody gets what is meant for
    somebody else; one that goes on in another, in that one's. One that owns none, as that of a
    mission, speaks where a human last wrote to its agent.

    Args:
        store: one moment of it.
        session_id: the session that is to speak, or for which it is done.
        agent: who speaks.
        instance: where.
    """
    stream = load_session_number(store, goes_on_in(store, session_id))
    owned = list(_owned(store, stream)) if stream is not None else []
    if stream is None or not owned:
        last = load_last(store, agent, instance)
        return last.address if last is not None else None
    head = load_head(store, stream)
    active = head.active_channel if head is not None else None
    there = [row for row in owned if row.instance == instance]
    if active in {row.address for row in there}:
        return active
    newest = _last_written(store, there, None)
    return newest or (there[0].address if len(there) == 1 else None)


def place_on_behalf(store: Reads, asker: Asker, agent: str, instance: str) -> Address | None:
    """Where what somebody asked for is said: to them, or nowhere.

    That is the conversation in which they asked; at another instance, the direct conversation in
    which the same user last wrote. What was asked for in a group goes to the session's own
    conversations, or to those of the one that it goes on in.
    """
    asked = load_binding(store, asker.place) if asker.place is not None else None
    if asked is not None and _agent_of(store, asked) == agent:
        if asked.instance == instance:
            return asked.address
        if asked.user_id is not None:
            return _place_of_identity(store, asked.platform, asked.user_id, agent, instance)
    session_id = goes_on_in(store, asker.session_id)
    stream = load_session_number(store, session_id)
    if stream is None or next(_owned(store, stream), None) is None:
        return None
    return default_place(store, session_id, agent, instance)


def place_of_user(
    store: Reads, user: str, agent: str | None = None, instance: str | None = None
) -> Address | None:
    """The direct conversation in which a user last wrote.

    Args:
        store: one moment of it.
        user: who.
        agent: to whom; None for anybody.
        instance: where; None for wherever it is.
    """
    identities = _identities(store, user)
    world = StoreWorld(store, 0)
    return _last_written(
        store,
        (
            row
            for identity in identities
            for row in world.places_of_identity(*identity)
            if row.direct
            and agent in (None, _agent_of(store, row))
            and instance in (None, row.instance)
        ),
        identities,
    )


def _place_of_identity(
    store: Reads, platform: str, user_id: str, agent: str, instance: str
) -> Address | None:
    """The direct conversation at `instance` in which whoever is the same user last wrote."""
    world = StoreWorld(store, 0)
    identity = world.identity(platform, user_id) or IdentityRow(platform, user_id)
    return place_of_user(store, identity.unified, agent, instance)


def session_of_user(store: Reads, user: str) -> SessionId | None:
    """The session in which a user last wrote and would get an answer; None if there is none."""
    place = place_of_user(store, user)
    row = load_binding(store, place) if place is not None else None
    return SessionId(row.session_id) if row is not None else None


def goes_on_in(store: Reads, session_id: str) -> str:
    """The session that goes on with what was said in another: itself, if that lives by itself.

    That it does too where the other one was deleted.
    """
    passed = {session_id}
    while True:
        found = find_session(store, session_id)
        following = found[1].merged_into if found is not None else None
        if following is None or following in passed or find_session(store, following) is None:
            return session_id
        session_id = following
        passed.add(session_id)


def _owned(store: Reads, stream: int) -> Iterator[BindingRow]:
    return StoreWorld(store, 0).places_of_session(stream)


def _identities(store: Reads, user: str) -> set[tuple[str, str]]:
    """Every identity that is `user`: those linked to that name, or the one that it names."""
    world = StoreWorld(store, 0)
    found = {(row.platform, row.user_id) for row in world.identities_of(user)}
    platform, colon, user_id = user.partition(":")
    if colon:
        identity = world.identity(platform, user_id)
        if identity is None or identity.user is None:
            found.add((platform, user_id))
    return found


def _agent_of(store: Reads, row: BindingRow) -> str | None:
    head = load_head(store, row.stream)
    return head.agent if head is not None else None


def _last_written(
    store: Reads, rows: Iterable[BindingRow], speakers: set[tuple[str, str]] | None
) -> Address | None:
    """The conversation in which a human wrote last, whichever session owned it then."""
    logs: dict[int, set[Address]] = {}
    for row in rows:
        for owner in (row, *past_bindings(store, row.address)):
            logs.setdefault(owner.stream, set()).add(row.address)
    found: list[tuple[int, Address]] = []
    for stream, places in logs.items():
        records = load_records(store, stream, reverse=True)
        found.extend(islice(_written(records, places, speakers), 1))
    return max(found, key=itemgetter(0))[1] if found else None


def _written(
    records: Iterable[tuple[int, Record]],
    places: set[Address],
    speakers: set[tuple[str, str]] | None,
) -> Iterator[tuple[int, Address]]:
    for _, record in islice(records, _LOOK_BACK):
        if isinstance(record, UserRecord) and (
            speakers is None or (record.platform, record.user_id) in speakers
        ):
            place = Address(Instance(record.instance), record.conversation, record.thread)
            if place in places:
                yield record.at_us, place
