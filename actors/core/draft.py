"""The world as an act will leave it.

Pure: reads one moment of the world. Every act works alike. It changes what is decided of some
identities; then each of their direct conversations goes to the session which the rules now name
for it (`settling`), and histories, keys and active channels go along (`finishing`):

- a session whose last conversation leaves it in an act that brings people together goes on inside
  the session that took it: its log joins that one's context, whole and growing;
- a session which owns a conversation again leaves every context that it had joined;
- a key belongs to one session, and a session whose people change takes the key along.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ..acts import ActRefused, By
from ..messages import Address, SessionId
from .head import Head
from .ownership_records import KeyedRecord, OpenedRecord
from .records import Record
from .routing import BindingRow, IdentityRow, Key, KeyRow, Scope, is_for_others, pair_of
from .world import World

__all__ = ["Draft", "Mode", "Move", "SessionDraft"]

Mode: TypeAlias = Literal["together", "apart", "back"]
"""Whether an act brings people together, takes them apart, or takes another act back."""

Move: TypeAlias = tuple[BindingRow, BindingRow]
"""Of a conversation, before and after."""


@dataclass(slots=True)
class SessionDraft:
    """A session as the draft knows it."""

    session_id: SessionId
    stream: int
    agent: str
    head: Head | None
    """None of one that the draft opens."""
    joined: dict[int, str] = field(default_factory=dict[int, str])
    records: list[Record] = field(default_factory=list[Record])

    @property
    def active(self) -> Address | None:
        return self.head.active_channel if self.head is not None else None

    @property
    def last_active_us(self) -> int:
        """When a human last wrote in it; 0 if nobody ever did."""
        head = self.head
        return head.last_active_us if head is not None and (head.settled or head.open_turns) else 0


class Draft:
    """The world as it will be, and what its sessions must write for that."""

    def __init__(self, world: World, now_us: int, mode: Mode, by: By, text: str) -> None:
        self.world = world
        self.now_us = now_us
        self.mode: Mode = mode
        self.by: By = by
        self.text = text
        self.number = world.next_number
        self._sessions: dict[str, SessionDraft] = {}
        self._identities: dict[tuple[str, str], tuple[IdentityRow | None, IdentityRow]] = {}
        self._keys: dict[Key, tuple[KeyRow | None, KeyRow]] = {}
        self._moves: dict[Address, Move] = {}
        self._next_stream = world.next_stream
        self.opened: dict[SessionId, int] = {}
        """The new sessions, and their numbers."""

    # -- the world, with what the draft changes --------------------------------------------------

    def find(self, session_id: str) -> SessionDraft | None:
        if (known := self._sessions.get(session_id)) is not None:
            return known
        stored = self.world.session(session_id)
        if stored is None:
            return None
        stream, head = stored
        found = SessionDraft(SessionId(session_id), stream, head.agent, head)
        found.joined.update(head.joined or ())
        self._sessions[session_id] = found
        return found

    def session(self, session_id: str) -> SessionDraft:
        found = self.find(session_id)
        if found is None:
            raise ActRefused(f"there is no session {session_id!r}")
        return found

    def identity(self, platform: str, user_id: str) -> IdentityRow:
        changed = self._identities.get((platform, user_id))
        if changed is not None:
            return changed[1]
        return self.world.identity(platform, user_id) or IdentityRow(platform, user_id)

    def pair_of(self, identity: IdentityRow) -> str | None:
        """The session that an identity is paired to, itself or as the one whom it is linked to."""
        return pair_of(identity, self.identity)

    def places(self, session: SessionDraft) -> Iterator[BindingRow]:
        """What `session` owns, once the draft is done. There may be very many."""
        for _, row in self._moves.values():
            if row.stream == session.stream:
                yield row
        for row in self.world.places_of_session(session.stream):
            if row.address not in self._moves:
                yield row

    def holder(self, key: Key) -> SessionDraft | None:
        row = self._keys[key][1] if key in self._keys else self.world.key(key)
        return self.find(row.session_id) if row is not None and row.session_id else None

    def server_of(self, key: Key) -> SessionDraft | None:
        """The session that serves the user of `key`; None if it came to serve others meanwhile."""
        holder = self.holder(key)
        if holder is None or is_for_others(
            self.places(holder), key[2], holder.session_id, self.identity
        ):
            return None
        return holder

    def move_of(self, row: BindingRow) -> Move:
        """A stored binding as it is, and as it will be: the same where it stays."""
        return self._moves.get(row.address, (row, row))

    @property
    def moves(self) -> list[Move]:
        """The conversations that go elsewhere, or stay by another rule."""
        return list(self._moves.values())

    @property
    def decided(self) -> list[tuple[IdentityRow | None, IdentityRow]]:
        """The identities of which something else is decided, before and after."""
        return [pair for pair in self._identities.values() if pair[0] != pair[1]]

    @property
    def given(self) -> list[tuple[KeyRow | None, KeyRow]]:
        """The keys that another session serves, before and after."""
        return [pair for pair in self._keys.values() if pair[0] != pair[1]]

    @property
    def written(self) -> list[SessionDraft]:
        """The sessions that get records."""
        return [session for session in self._sessions.values() if session.records]

    # -- changes ---------------------------------------------------------------------------------

    def decide(self, row: IdentityRow) -> None:
        """What holds of an identity from now on."""
        who = (row.platform, row.user_id)
        before = self._identities[who][0] if who in self._identities else self.world.identity(*who)
        self._identities[who] = (before, row)

    def open(self, agent: str, session_id: str | None = None) -> SessionDraft:
        stream = self._next_stream
        self._next_stream += 1
        name = SessionId(session_id or f"s{stream}")
        opened = SessionDraft(name, stream, agent, None)
        opened.records.append(
            OpenedRecord(at_us=self.now_us, session_id=name, agent=agent, by=self.text)
        )
        self._sessions[name] = opened
        self.opened[name] = stream
        return opened

    def give_key(self, key: Key, session: SessionDraft | None) -> None:
        """Let `session` serve `key` from now on, or nobody."""
        before, latest = self._keys.get(key) or (self.world.key(key),) * 2
        holder = self.holder(key)
        if holder is session:
            return
        version = latest.version + 1 if latest is not None else 1
        if holder is not None:
            holder.records.append(
                KeyedRecord(at_us=self.now_us, key=key, version=version, held=False)
            )
        if session is not None:
            session.records.append(KeyedRecord(at_us=self.now_us, key=key, version=version))
            row = KeyRow(session.session_id, session.stream, version, key)
        else:
            row = KeyRow(None, 0, version, key)
        self._keys[key] = (before, row)

    def move(self, row: BindingRow, target: SessionDraft, scope: Scope | None = None) -> None:
        """Let `target` own the place of `row` from now on."""
        if row.session_id == target.session_id and scope in {None, row.scope}:
            self._moves.pop(row.address, None)
            return
        moved = row._replace(
            session_id=target.session_id,
            stream=target.stream,
            version=row.version + 1,
            at_us=self.now_us,
            by=self.text,
            scope=scope or row.scope,
            from_session=row.session_id,
        )
        self._moves[row.address] = (row, moved)
