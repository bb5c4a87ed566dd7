"""Binding: the half of the registry that chooses the session of a new conversation.

The one owner of bindings and keys. Two sessions for one key are impossible: what is on its way to
the store is known here until it is durable, and the store creates only what is absent.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from ..storage.errors import StorageError
from .acting import ActDesk, Held
from .acts import Link, Unlink
from .core.conversation import Conversation
from .core.delivery_records import NoteRecord
from .core.directory import Recent
from .core.routing import (
    BindingRow,
    IdentityRow,
    Key,
    KeyRow,
    Scope,
    can_name_user,
    default_user,
    is_for_others,
    key_of,
    pair_of,
    root_of,
    rule_of,
    scope_of,
)
from .erased import load_erased
from .errands import BindPlace, Identified
from .errors import InvalidTurn, Unidentified
from .happenings import noted
from .journal import load_binding, load_session_number
from .kernel import TrioFuture
from .ledger import (
    StoreWorld,
    load_identity,
    load_key,
    next_version,
    opening,
    opening_alone,
    waiting_notes,
)
from .messages import Accept, Address, InboundTurn, SessionId
from .services import Ref, Resolve, Services
from .unknown import UnknownSession

__all__ = ["Binder"]

logger = logging.getLogger("turnkeeper.registry")

_MAX_FOLLOWED: Final = 10_000
"""Links of a resolver that are remembered as tried."""


class Binder(ActDesk):
    """Finds the session of a conversation, or opens one."""

    def __init__(self, services: Services, next_stream: int) -> None:
        super().__init__(services, next_stream)
        self._places: Recent[Address, SessionId] = Recent()
        self._just_read: tuple[SessionId, int] | None = None
        """The session that was resolved last, and its number."""
        self._opening: dict[Key, KeyRow] = {}
        """Keys of sessions that are on their way to the store; `("name", id)` for a named one."""
        self._asking: dict[Address, list[Held]] = {}
        """Turns whose human the program's identity resolver is asked about."""
        self._identified: set[Address] = set()
        """New conversations about whose human the resolver has been asked."""
        self._followed: dict[tuple[str, str], str] = {}
        """What the resolver said last of an identity, where it was written down."""

    @abstractmethod
    def _to_session(
        self, session_id: SessionId, message: Any, answer: TrioFuture[Any] | None
    ) -> None:
        """Pass a message on, with the duty to answer it."""

    @abstractmethod
    def _start(self, session_id: SessionId, stream: int, conversation: Conversation) -> Ref:
        """Bring a session into memory."""

    def _forget_place(self, place: Address) -> None:
        self._places.drop(place)

    def _canonical(self, turn: InboundTurn) -> str:
        try:
            return self._services.canonical(turn.platform, turn.user_id)
        except ValueError as error:
            raise InvalidTurn(f"user_id is none of {turn.platform}: {error}") from error

    def _resolve(self, message: Accept, answer: TrioFuture[Any] | None) -> SessionId | None:
        """The session of a conversation; None while the identity resolver is asked."""
        turn, services = message.turn, self._services
        place = turn.address
        if (asking := self._asking.get(place)) is not None:
            asking.append((message, answer))
            return None
        binding = load_binding(services.store, place)
        if binding is not None:
            session_id = SessionId(binding.session_id)
            self._just_read = session_id, binding.stream
            return session_id
        rules = services.rules[place.instance]
        scope = scope_of(turn.direct, turn.guild, rules.scope)
        user_id = turn.user_id if turn.direct else None
        if scope == "user" and user_id is not None and services.resolve is not None:
            if place not in self._identified:
                self._asking[place] = [(message, answer)]
                services.runner.soon(self._ask_resolver, services.resolve, turn, user_id)
                return None
            self._identified.discard(place)
        return self._choose(turn, scope, user_id, rules.agent)

    def _choose(
        self, turn: InboundTurn, scope: Scope, user_id: str | None, agent: str
    ) -> SessionId:
        """The session that the rules name for a new conversation; opened if there is none yet."""
        store, place = self._services.store, turn.address
        paired: str | None = None
        identity: IdentityRow | None = None
        if scope == "user" and user_id is not None:
            identity = load_identity(store, turn.platform, user_id) or IdentityRow(
                turn.platform, user_id
            )
            paired = pair_of(identity, partial(load_identity, store))
        row = BindingRow(
            session_id="",
            stream=0,
            version=next_version(store, place),
            instance=place.instance,
            conversation=place.conversation,
            thread=place.thread,
            platform=turn.platform,
            guild=turn.guild,
            direct=turn.direct,
            at_us=self._services.now_us(),
            by=rule_of(scope, paired, identity.user if identity is not None else None),
            user_id=user_id,
            scope=scope,
        )
        user = identity.unified if identity is not None else ""
        key = ("name", paired) if paired else key_of(scope, agent, place, turn.guild, user)
        holder = self._holder(key) if key is not None else None
        if holder is not None and key not in self._opening and key == ("user", agent, user):
            holder = self._if_still_for(user, holder)
        if holder is None or holder.session_id is None:
            return self._open_session(row, agent, key, holder)
        session_id = SessionId(holder.session_id)
        row = row._replace(session_id=session_id, stream=holder.stream)
        self._binding[place] = session_id
        try:
            self._to_session(session_id, BindPlace(session_id=session_id, row=row), None)
        except BaseException:
            del self._binding[place]
            raise
        return session_id

    def _holder(self, key: Key) -> KeyRow | None:
        """The session that serves `key`, even if it is still on its way to the store."""
        if (opening := self._opening.get(key)) is not None:
            return opening
        if key[0] != "name":
            return self._if_there(load_key(self._services.store, key))
        stream = load_session_number(self._services.store, key[1])
        return KeyRow(key[1], stream, 0, key) if stream is not None else None

    def _if_there(self, holder: KeyRow | None) -> KeyRow | None:
        """The session that serves a key, or nobody, if it was deleted."""
        if holder is None or holder.session_id is None:
            return holder
        if load_session_number(self._services.store, holder.session_id) is not None:
            return holder
        return holder._replace(session_id=None)

    def _check_name(self, session_id: str) -> None:
        """Refuse to open a session whose id was that of another.

        Raises:
            UnknownSession: it was deleted.
        """
        if load_erased(self._services.store, session_id) is not None:
            raise UnknownSession(
                f"the session {session_id!r} was deleted, and its id is never used again"
            )

    def _if_still_for(self, user: str, holder: KeyRow) -> KeyRow:
        """The session that serves a user, or nobody, if it has come to be that of somebody else."""
        world = StoreWorld(self._services.store, self._next_stream)
        places = world.places_of_session(holder.stream)
        if is_for_others(places, user, holder.session_id or "", world.identity):
            return holder._replace(session_id=None)
        return holder

    def _open_session(
        self, row: BindingRow, agent: str, key: Key | None, before: KeyRow | None
    ) -> SessionId:
        """Open a session that owns the place of `row` and serves `key`."""
        if key is not None and key[0] == "name":
            self._check_name(key[1])
        stream = self._next_stream
        self._next_stream += 1
        session_id = SessionId(key[1] if key is not None and key[0] == "name" else f"s{stream}")
        row = row._replace(session_id=session_id, stream=stream)
        holder: KeyRow | None = None
        if key is not None:
            holder = KeyRow(session_id, stream, before.version + 1 if before else 1, key)
            self._opening[key] = holder
        is_named = key is not None and key[0] == "name"
        notes = waiting_notes(self._services.store, row.address)
        batch, conversation = opening(row, agent, None if is_named else holder, notes)
        first = conversation.next_seq - len(notes)
        kept = [(session_id, seq, note) for seq, (_, note) in enumerate(notes, first)]
        self._services.store.submit(batch, partial(self._opened, row.address, key, kept))
        self._start(session_id, stream, conversation)
        return session_id

    def _open_alone(self, session_id: SessionId, agent: str, by: str) -> None:
        """Open a session that owns no conversation, unless there is one of this name."""
        key: Key = ("name", session_id)
        if self._holder(key) is not None:
            return
        self._check_name(session_id)
        stream = self._next_stream
        self._next_stream += 1
        self._opening[key] = KeyRow(session_id, stream, 1, key)
        batch, conversation = opening_alone(session_id, stream, agent, by, self._services.now_us())
        self._services.store.submit(batch, partial(self._opened, None, key, ()))
        self._start(session_id, stream, conversation)

    def _opened(
        self,
        place: Address | None,
        key: Key | None,
        kept: Sequence[tuple[SessionId, int, NoteRecord]],
        error: StorageError | None,
    ) -> None:
        if key is not None:
            self._opening.pop(key, None)
        if error is None and self._services.bus.subscribers:
            for session_id, seq, note in kept:
                self._services.bus.publish(noted(session_id, seq, note, self._services.now_us()))
        if error is not None:
            logger.error("no session could be opened for %s: %s", place or key, error)
            if place is not None:
                self._places.drop(place)

    # -- whom the identity resolver knows --------------------------------------------------------

    async def _ask_resolver(self, resolve: Resolve, turn: InboundTurn, user_id: str) -> None:
        user: str | None = None
        error: str | None = None
        try:
            user = await resolve(turn.platform, user_id)
        except Unidentified as failed:
            error = str(failed)
        self.actor_ref.tell(
            Identified(
                address=turn.address,
                platform=turn.platform,
                user_id=user_id,
                user=user,
                error=error,
            )
        )

    def _identified_as(self, message: Identified) -> None:
        """The turns that waited go on, once what the resolver says is what is written down."""
        held = self._asking.pop(message.address, [])
        error = message.error or "nobody knows who this is"
        itself = default_user(message.platform, message.user_id)
        if message.user is not None and message.user != itself and not can_name_user(message.user):
            error = f"the identity resolver says {message.user!a:.80}, which cannot name a user"
        elif message.user is not None:
            self._go_on_as(message, message.user, held)
            return
        logger.warning("%s", error)
        for _, answer in held:
            if answer is not None:
                answer.fail(Unidentified(error))

    def _go_on_as(self, message: Identified, user: str, held: list[Held]) -> None:
        self._follow_resolver(message.platform, message.user_id, user)
        if held:
            self._identified.add(message.address)
        for turn, answer in held:
            self._let_in(turn, answer)

    def _relinked(self, before: IdentityRow, after: IdentityRow) -> None:
        """Let the resolver know; until it does, its old word is not followed back."""
        tell = self._services.tell_resolver
        if tell is not None:
            self._followed[after.platform, after.user_id] = before.unified
            self._services.runner.soon(tell, after.platform, after.user_id, after.user)

    def _follow_resolver(self, platform: str, user_id: str, user: str) -> None:
        row = load_identity(self._services.store, platform, user_id)
        itself = default_user(platform, user_id)
        root = itself
        if user != itself:
            root = root_of(user, partial(load_identity, self._services.store))
        if root == (row.unified if row is not None else itself):
            if self._followed.get((platform, user_id)) != user:
                self._followed.pop((platform, user_id), None)  # it may come back to its old word
            return
        if self._followed.get((platform, user_id)) == user:
            return  # it was tried, and refused
        if len(self._followed) >= _MAX_FOLLOWED:
            self._followed.clear()
        self._followed[platform, user_id] = user
        act: Link | Unlink = (
            Unlink(platform=platform, user_id=user_id, by="resolver")
            if user == itself
            else Link(platform=platform, user_id=user_id, user=user, by="resolver")
        )
        self._request_act(act, None)
