"""The world as an act will leave it, and what must be written for that.

Pure: reads one moment of the world, returns a :class:`Plan`. Every act works alike. It changes what
is decided of some identities; then each of their direct conversations goes to the session which
the rules now name for it, and histories, keys and active channels go along:

- a session whose last conversation leaves it in an act that brings people together goes on inside
  the session that took it: its log joins that one's context, whole and growing;
- a session which owns a conversation again leaves every context that it had joined;
- a key belongs to one session, and a session whose people change takes the key along.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ..acts import ActiveChange, ActRefused, By, Change, Joined, Moved
from ..messages import Address, SessionId
from .head import Head
from .ownership_records import (
    ActiveRecord,
    HiddenRecord,
    KeyedRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from .records import Record
from .routing import (
    BindingRow,
    IdentityRow,
    Key,
    KeyRow,
    Scope,
    default_user,
    is_for_others,
    pair_of,
    record_of,
)
from .runtime_records import ChangeRecord
from .world import Plan, World

__all__ = ["Draft", "Mode", "SessionDraft"]

Mode: TypeAlias = Literal["together", "apart", "back"]
"""Whether an act brings people together, takes them apart, or takes another act back."""


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
    """The world as it will be, and what must be written for that."""

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
        self._moves: dict[Address, tuple[BindingRow, BindingRow]] = {}
        self._next_stream = world.next_stream
        self._opened: dict[SessionId, int] = {}

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
        self._opened[name] = stream
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

    # -- where identities belong -----------------------------------------------------------------

    def settle(self, identity: IdentityRow) -> None:
        """Let every direct conversation of an identity go where the rules name."""
        by_agent: dict[str, list[BindingRow]] = {}
        for row in self.world.places_of_identity(identity.platform, identity.user_id):
            current = self._moves[row.address][1] if row.address in self._moves else row
            if current.scope == "user":
                kept = self.session(current.session_id).agent  # of a session that may be shared
                agent = self.world.agent_at(row.instance) or kept
                by_agent.setdefault(agent, []).append(current)
        for agent, rows in by_agent.items():
            newest = max(
                (self.session(row.session_id) for row in rows),
                key=lambda session: (session.agent == agent, session.last_active_us),
            )
            target = self._target(identity, agent, newest)
            for row in rows:
                if row.session_id != target.session_id:
                    original = self._moves[row.address][0] if row.address in self._moves else row
                    self.move(original, target, "user")

    def _target(self, identity: IdentityRow, agent: str, current: SessionDraft) -> SessionDraft:
        """The session of an identity's conversations, which are in `current` now."""
        paired = self.pair_of(identity)
        if paired is not None:
            return self.find(paired) or self.open(agent, paired)
        user = identity.unified
        key: Key = ("user", agent, user)
        holder = self.server_of(key)
        if holder is not None and (
            self.mode != "apart" or holder is current or self._is_used_by(holder, user, identity)
        ):
            return holder
        if self._may_take(current, key, identity):
            self._take(current, key)
            return current
        if holder is None:
            holder = self.open(agent)
            self.give_key(key, holder)
        return holder

    def _may_take(self, session: SessionDraft, key: Key, leaving: IdentityRow) -> bool:
        """Whether a session can become the one of `key` without taking anybody along."""
        if session.agent != key[1]:
            return False
        others = {
            (row.platform, row.user_id or "")
            for row in self.places(session)
            if row.scope == "user" and (row.platform, row.user_id) != leaving[:2]
        }
        paired = [
            row
            for row in self.world.paired_to(session.session_id)
            if self.identity(row.platform, row.user_id).session_id == session.session_id
        ]
        if self.mode != "together":
            return not others and not paired
        return all(
            other.unified == key[2] or other.session_id == session.session_id
            for other in (self.identity(*who) for who in others)
        )

    def _is_used_by(self, session: SessionDraft, user: str, leaving: IdentityRow) -> bool:
        """Whether another identity of `user` has conversations in a session, as that user."""
        return any(
            self.identity(row.platform, row.user_id).unified == user
            for row in self.places(session)
            if row.scope == "user"
            and row.user_id is not None
            and (row.platform, row.user_id) != leaving[:2]
        )

    def _take(self, session: SessionDraft, key: Key) -> None:
        """Make `session` the one of `key`, and of no other user."""
        for old in self._user_keys(session):
            if old != key:
                self.give_key(old, None)
        self.give_key(key, session)

    def _user_keys(self, session: SessionDraft) -> list[Key]:
        """The user keys that `session` holds, found through those whose places it owns."""
        users = set[str]()
        rows = [*self.world.places_of_session(session.stream), *self.places(session)]
        for row in rows:
            if row.user_id is not None:
                before = self.world.identity(row.platform, row.user_id)
                now = self.identity(row.platform, row.user_id)
                users.update(
                    (now.unified, default_user(row.platform, row.user_id))
                    if before is None
                    else (now.unified, before.unified, default_user(row.platform, row.user_id))
                )
        keys: list[Key] = [("user", session.agent, user) for user in sorted(users)]
        return [key for key in keys if self.holder(key) is session]

    # -- what follows ----------------------------------------------------------------------------

    def finish(
        self,
        act: str,
        *,
        merge: bool,
        rejoin: Collection[tuple[str, str]] = (),
        hide: Iterable[tuple[IdentityRow, int]] = (),
        restore: Mapping[str, Address] | None = None,
        undoes: int | None = None,
    ) -> Plan:
        """Add what follows from the moves: merged histories, active channels, the record of it all.

        Args:
            act: what was asked for.
            merge: whether a session that loses its last conversation goes on in the other one.
            rejoin: sessions that do so anyhow, each with the one that it had been part of before.
            hide: identities, and since when what they said where they leave is not to be shown.
            restore: active channels to bring back, where the session owns the place again.
            undoes: number of the change that is taken back.
        """
        moves = list(self._moves.values())
        gainers = [self.session(row.session_id) for _, row in moves]
        joined = self._leave_contexts(gainers)
        emptied = {
            earlier: target
            for earlier, target in self._emptied(moves).items()
            if merge or (earlier, target.session_id) in rejoin
        }
        actives = self._actives(moves, restore or {})
        last = {before.session_id: before.address for before, _ in moves}
        for before, after in moves:
            self.session(before.session_id).records.append(
                ReleasedRecord(
                    at_us=self.now_us,
                    instance=before.instance,
                    conversation=before.conversation,
                    thread=before.thread,
                    version=after.version,
                    by=self.text,
                    to_session=after.session_id,
                    merged=before.session_id in emptied
                    and last[before.session_id] == before.address,
                )
            )
            self.session(after.session_id).records.append(record_of(after))
        for earlier, target in emptied.items():
            joined += self._join(self.session(earlier), target)
        self._hide(moves, hide)
        for active in actives:
            self._set_active(active)
        self._keep_active(moves, {active.session_id for active in actives})
        return self._plan(act, moves, joined, actives, undoes)

    def _hide(
        self,
        moves: Sequence[tuple[BindingRow, BindingRow]],
        hide: Iterable[tuple[IdentityRow, int]],
    ) -> None:
        """Let each session that an identity leaves show no more of what it said there."""
        for identity, since_us in hide:
            sessions = dict.fromkeys(
                row.session_id
                for row, _ in moves
                if (row.platform, row.user_id) == (identity.platform, identity.user_id)
            )
            for session_id in sessions:
                self.session(session_id).records.append(
                    HiddenRecord(
                        at_us=self.now_us,
                        platform=identity.platform,
                        user_id=identity.user_id,
                        since_us=since_us,
                        number=self.number,
                    )
                )

    def _leave_contexts(self, gainers: Sequence[SessionDraft]) -> list[Joined]:
        """Sessions that own a conversation again leave the contexts which they had joined."""
        left: list[Joined] = []
        for session in {session.session_id: session for session in gainers}.values():
            streams = {session.stream: session.session_id, **self._inside(session)}
            through = session.head.merged_into if session.head is not None else None
            visited = {session.session_id}
            while through is not None and through not in visited:
                visited.add(SessionId(through))
                host = self.find(through)
                if host is None:
                    break  # it was deleted
                for stream, earlier in streams.items():
                    if host.joined.pop(stream, None) is not None:
                        host.records.append(
                            UnlinkedRecord(
                                at_us=self.now_us,
                                session_id=earlier,
                                stream=stream,
                                number=self.number,
                                by=self.text,
                            )
                        )
                        left.append(self._joining(host, earlier, joined=False))
                through = host.head.merged_into if host.head is not None else None
        return left

    def _emptied(self, moves: Sequence[tuple[BindingRow, BindingRow]]) -> dict[str, SessionDraft]:
        """Sessions that own nothing any more, and the one session each where all of it went."""
        targets: dict[str, set[str]] = {}
        for before, after in moves:
            if before.session_id != after.session_id:
                targets.setdefault(before.session_id, set()).add(after.session_id)
        return {
            earlier: self.session(next(iter(found)))
            for earlier, found in targets.items()
            if len(found) == 1 and next(self.places(self.session(earlier)), None) is None
        }

    def _join(self, earlier: SessionDraft, target: SessionDraft) -> list[Joined]:
        """Let the context of `target` include `earlier`, and what had joined that."""
        new: list[Joined] = []
        inside = self._inside(earlier)
        for stream, session_id in {**inside, earlier.stream: earlier.session_id}.items():
            if stream == target.stream or stream in target.joined:
                continue
            target.joined[stream] = session_id
            target.records.append(
                LinkedRecord(
                    at_us=self.now_us,
                    session_id=session_id,
                    stream=stream,
                    number=self.number,
                    by=self.text,
                )
            )
            new.append(self._joining(target, session_id, joined=True))
        return new

    def _inside(self, session: SessionDraft) -> dict[int, str]:
        """The sessions that go on in this one: not those that went on by themselves since."""
        return {
            stream: earlier
            for stream, earlier in session.joined.items()
            if self._goes_on_in(self.find(earlier), session.session_id)
        }

    def _goes_on_in(self, earlier: SessionDraft | None, session_id: str) -> bool:
        """Whether a session goes on in another one; one that was deleted goes on nowhere."""
        passed: set[str] = set()
        while (
            earlier is not None
            and earlier.head is not None
            and earlier.head.merged_into is not None
        ):
            following = earlier.head.merged_into
            if following == session_id or following in passed:
                return following == session_id
            passed.add(following)
            earlier = self.find(following)
        return False

    def _joining(self, host: SessionDraft, earlier: str, *, joined: bool) -> Joined:
        other = self.session(earlier)
        return Joined(
            session_id=host.session_id,
            earlier=other.session_id,
            records=other.head.next_seq - 1 if other.head is not None else len(other.records),
            joined=joined,
        )

    def _actives(
        self,
        moves: Sequence[tuple[BindingRow, BindingRow]],
        restore: Mapping[str, Address],
    ) -> list[ActiveChange]:
        """Active channels move with their conversations; the human's newest one counts."""
        changes: list[ActiveChange] = []
        gone = {
            (before.session_id, before.address)
            for before, after in moves
            if before.session_id != after.session_id
        }
        for session_id in dict.fromkeys(before.session_id for before, _ in moves):
            session = self.session(session_id)
            if session.active is not None and (session_id, session.active) in gone:
                after = self._restored(session, restore)
                changes.append(
                    ActiveChange(session_id=session.session_id, before=session.active, after=after)
                )
        taken: dict[str, list[tuple[BindingRow, BindingRow]]] = {}
        for before, after_row in moves:
            taken.setdefault(after_row.session_id, []).append((before, after_row))
        for session_id, rows in taken.items():
            session = self.session(session_id)
            best = self._restored(session, restore) or self._newest_active(session, rows)
            if best is not None and best != session.active:
                changes.append(
                    ActiveChange(session_id=session.session_id, before=session.active, after=best)
                )
        return changes

    def _restored(self, session: SessionDraft, restore: Mapping[str, Address]) -> Address | None:
        place = restore.get(session.session_id)
        if place is None or all(row.address != place for row in self.places(session)):
            return None
        return place

    def _newest_active(
        self, session: SessionDraft, rows: Sequence[tuple[BindingRow, BindingRow]]
    ) -> Address | None:
        if self.mode == "back" and session.active is not None:
            return None
        newest_us = session.last_active_us if session.active is not None else -1
        best: Address | None = None
        for before, after in rows:
            earlier = self.session(before.session_id)
            if earlier.active == before.address and earlier.last_active_us > newest_us:
                best, newest_us = after.address, earlier.last_active_us
        if best is None and session.active is None:
            best = rows[-1][1].address
        return best

    def _set_active(self, change: ActiveChange) -> None:
        place = change.after
        if place is None:
            return  # what was released is not the active channel any more
        self.session(change.session_id).records.append(
            ActiveRecord(
                at_us=self.now_us,
                instance=place.instance,
                conversation=place.conversation,
                thread=place.thread,
                by=self.text,
            )
        )

    def _keep_active(
        self, moves: Sequence[tuple[BindingRow, BindingRow]], changed: Collection[str]
    ) -> None:
        """A conversation that stays where it is, by another rule, stays the active one."""
        for before, after in moves:
            session = self.session(after.session_id)
            is_active = before.session_id == after.session_id and session.active == after.address
            if is_active and session.session_id not in changed:
                place = session.active
                self._set_active(
                    ActiveChange(session_id=session.session_id, before=place, after=place)
                )

    def _plan(
        self,
        act: str,
        moves: Sequence[tuple[BindingRow, BindingRow]],
        joined: list[Joined],
        actives: list[ActiveChange],
        undoes: int | None,
    ) -> Plan:
        identities = [pair for pair in self._identities.values() if pair[0] != pair[1]]
        keys = [(before, after) for before, after in self._keys.values() if before != after]
        record = ChangeRecord(
            at_us=self.now_us,
            act=act,
            by=self.by,
            text=self.text,
            identities=tuple(_identity_change(before, after) for before, after in identities),
            moves=tuple(
                (*row.address, row.session_id, after.session_id, after.version, row.scope)
                for row, after in moves
            ),
            keys=tuple(
                (after.key, before.session_id if before else None, after.session_id)
                for before, after in keys
                if (before.session_id if before else None) != after.session_id
            ),
            actives=tuple(
                (change.session_id, _plain(change.before), _plain(change.after))
                for change in actives
            ),
            undoes=undoes,
            joins=tuple((j.session_id, j.earlier, j.joined) for j in joined),
        )
        change = Change(
            number=self.number,
            act=act,
            text=self.text,
            dry_run=False,
            moved=tuple(
                Moved(
                    address=row.address,
                    from_session=SessionId(row.session_id),
                    to_session=SessionId(after.session_id),
                    version=after.version,
                )
                for row, after in moves
            ),
            joined=tuple(joined),
            active=tuple(actives),
            opened=tuple(self._opened),
        )
        written = [session for session in self._sessions.values() if session.records]
        return Plan(
            change=change,
            record=record,
            logs={session.stream: session.records for session in written},
            concerned={
                session.session_id: session.stream
                for session in written
                if session.session_id not in self._opened
            },
            opened=self._opened,
            identities=identities,
            bindings=list(moves),
            keys=keys,
        )


def _identity_change(before: IdentityRow | None, after: IdentityRow) -> tuple[Any, ...]:
    old = before or IdentityRow(after.platform, after.user_id)
    return (
        after.platform,
        after.user_id,
        (old.user, old.session_id, old.paired_by, old.linked_us, old.paired_us),
        (after.user, after.session_id, after.paired_by, after.linked_us, after.paired_us),
    )


def _plain(place: Address | None) -> tuple[Any, ...] | None:
    return tuple(place) if place is not None else None
