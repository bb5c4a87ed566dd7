"""The registry actor: which session a conversation belongs to, and which sessions are in memory.

The one owner of bindings: since every first message passes here, one at a time, two at once cannot
make two sessions, and the store's create-if-absent holds even if they could. It never waits: a new
session and its first turn are submitted one behind the other, and the store keeps that order.
Explicit changes (links, pairs, moves) are acts, which its other half carries out: :mod:`.acting`.

Everything meant for a session comes through here, so that a session can leave memory between two
messages without anything being lost. Its mailbox has no bound of its own: what arrives is bounded
where it starts, by the channels' turns in flight, the running agents and the open deliveries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final

from ..storage.base import Table
from ..storage.codec import encode
from ..storage.errors import StorageError, StoreClosed, StoreFailed
from .acting import ActDesk, Held
from .acts import Allow, Approve, Link, Move, Pair, Revoke, Undo, Unlink, Unpair
from .core.codes import REDEMPTIONS, RateLimit
from .core.commands import MAX_COMMAND_CHARS, read_command
from .core.conversation import Conversation
from .core.directory import Directory, Recent
from .core.effects import Step
from .core.intake import check, check_outgoing
from .core.records import KeyedRecord, MalformedRecord, OpenedRecord, Record
from .core.routing import (
    BindingRow,
    IdentityRow,
    Key,
    KeyRow,
    Scope,
    default_user,
    key_of,
    pair_of,
    record_of,
    rule_of,
    scope_of,
)
from .door import Refusal
from .errands import (
    BindPlace,
    FindRefusal,
    FollowRules,
    HeldStill,
    Identified,
    ListRefusals,
    PlaceBound,
)
from .errors import (
    AccessDenied,
    InvalidTurn,
    NotAddressed,
    Overloaded,
    SessionDamaged,
    ShuttingDown,
    TurnRefused,
    Unidentified,
)
from .journal import (
    batch_for,
    load_binding,
    load_conversation,
    load_session_number,
    name_key,
)
from .kernel import TrioFuture
from .ledger import key_key, load_identity, load_key, put_binding
from .messages import (
    Accept,
    Address,
    CatchUp,
    InboundTurn,
    Outcome,
    Passivate,
    Passivated,
    Rotate,
    SendMessage,
    SessionId,
    StayedAwake,
)
from .services import Ref, Resolve, Services
from .session import SessionActor
from .works import Knocked, SelfLink

__all__ = ["RegistryActor", "UnknownSession"]

logger = logging.getLogger("turnkeeper.registry")

_ASKING: Final = RateLimit(burst=10, every_s=6)
"""What one identity may ask of the runtime itself: nobody types more."""
_MAX_BUCKETS: Final = 10_000
"""Buckets that are kept before the full ones are dropped."""


class UnknownSession(LookupError):
    """No session has this id."""


class RegistryActor(ActDesk):
    """Shell of the directory and of the bindings."""

    def __init__(self, services: Services, next_stream: int) -> None:
        super().__init__(services, next_stream)
        self._sessions: Directory[SessionId, Ref, Held] = Directory()
        self._places: Recent[Address, SessionId] = Recent()
        self._opening: dict[Key, KeyRow] = {}
        """Keys of sessions that are on their way to the store; `("name", id)` for a named one."""
        self._asking: dict[Address, list[Held]] = {}
        """Turns whose human the program's identity resolver is asked about."""
        self._identified: set[Address] = set()
        """New conversations about whose human the resolver has been asked."""
        self._buckets: dict[tuple[str, ...], int] = {}
        """When the bucket of each identity, and of each instance, is full again."""

    def __str__(self) -> str:
        return "registry"

    def on_receive(self, message: Any) -> Any:
        """Bind, bring in or let go; everything else goes to its session."""
        try:
            handler = self._HANDLERS.get(type(message))  # pyright: ignore[reportUnknownArgumentType]
            if handler is not None:
                return handler(self, message)
            self._to_session(message.session_id, message, self.take_reply())
        except Exception as error:  # the supervisor's edge: one bad session stops no other
            if (answer := self.take_reply()) is None:
                logger.exception("%s could not be handled", type(message).__name__)
            else:
                _refuse(answer, error)
        return None

    # -- turns -----------------------------------------------------------------------------------

    def _accept(self, message: Accept) -> None:
        self._let_in(message, self.take_reply())

    def _let_in(self, message: Any, answer: TrioFuture[Any] | None) -> None:
        try:
            if isinstance(message, Accept):
                self._route(message, answer)
            elif isinstance(message, CatchUp):
                self._answer_catch_up(message, answer)
            else:
                self._to_session(message.session_id, message, answer)
        except Exception as error:  # the supervisor's edge, as in `on_receive`
            if answer is None:
                logger.exception("%s could not be handled", type(message).__name__)
            else:
                _refuse(answer, error)

    def _route(self, message: Accept, answer: TrioFuture[Any] | None) -> None:
        turn = message.turn
        check(turn)
        if not self._services.door.is_wide_open(turn.address.instance):
            try:
                self._judge(turn)
            except (AccessDenied, NotAddressed):
                self._void(turn)
                raise
        if turn.text[:MAX_COMMAND_CHARS].lstrip()[:1] == "/" and self._obey(turn, answer):
            return
        session_id = self._places.get(turn.address)
        if session_id is None:
            if self._is_unrouted(message, answer):
                return
            session_id = self._resolve(message, answer)
            if session_id is None:
                return
            self._places.put(turn.address, session_id)
        self._to_session(session_id, message, answer)

    def _judge(self, turn: InboundTurn) -> None:
        """Let the turn in, or a stranger knock.

        Raises:
            AccessDenied, NotAddressed: it is not let in.
        """
        user_id = self._canonical(turn)
        if self._services.door.judge(turn, user_id, self._services.now_us()) is None:
            return
        if self._may_ask(turn, user_id):
            self._request_act(Knocked(turn=turn, user_id=user_id), None)
        raise AccessDenied("I do not know you; the person who runs me can let you in")

    def _obey(self, turn: InboundTurn, answer: TrioFuture[Any] | None) -> bool:
        """Carry out a command; False if the text is none."""
        command = read_command(turn.text) if self._services.self_link else None
        if command is None:
            return False
        user_id = self._canonical(turn)
        if self._may_ask(turn, user_id, redeems=command.argument is not None):
            self._request_act(SelfLink(turn=turn, command=command, user_id=user_id), answer)
        elif answer is not None:
            answer.fail(Overloaded("too many commands at once; try again in a minute"))
        return True

    def _void(self, turn: InboundTurn) -> None:
        """A code that was posted in a group is void, even where nobody is answered."""
        command = read_command(turn.text)
        if not turn.direct and command is not None and command.argument is not None:
            user_id = self._canonical(turn)
            if self._may_ask(turn, user_id, redeems=True):
                act = SelfLink(turn=turn, command=command, user_id=user_id, unanswered=True)
                self._request_act(act, None)

    def _may_ask(self, turn: InboundTurn, user_id: str, *, redeems: bool = False) -> bool:
        """Whether somebody has not asked the runtime for too much lately."""
        now_us, instance = self._services.now_us(), turn.address.instance
        buckets: list[tuple[RateLimit, tuple[str, ...]]] = [(_ASKING, (turn.platform, user_id))]
        if redeems:
            buckets.append((REDEMPTIONS, (instance,)))
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets = {who: full for who, full in self._buckets.items() if full > now_us}
        for limit, who in buckets:
            granted, self._buckets[who] = limit.take(self._buckets.get(who, 0), now_us)
            if not granted:
                return False
        return True

    def _canonical(self, turn: InboundTurn) -> str:
        try:
            return self._services.canonical(turn.platform, turn.user_id)
        except ValueError as error:
            raise InvalidTurn(f"user_id is none of {turn.platform}: {error}") from error

    # -- binding ---------------------------------------------------------------------------------

    def _resolve(self, message: Accept, answer: TrioFuture[Any] | None) -> SessionId | None:
        """The session of a conversation; None while the identity resolver is asked."""
        turn, services = message.turn, self._services
        place = turn.address
        if (asking := self._asking.get(place)) is not None:
            asking.append((message, answer))
            return None
        binding = load_binding(services.store, place)
        if binding is not None:
            return SessionId(binding.session_id)
        rules = services.rules[place.instance]
        scope = scope_of(turn.direct, turn.guild, rules.scope)
        user_id = self._canonical(turn) if turn.direct else None
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
            version=1,
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
            return load_key(self._services.store, key)
        stream = load_session_number(self._services.store, key[1])
        return KeyRow(key[1], stream, 0, key) if stream is not None else None

    def _open_session(
        self, row: BindingRow, agent: str, key: Key | None, before: KeyRow | None
    ) -> SessionId:
        """Open a session that owns the place of `row` and serves `key`."""
        stream = self._next_stream
        self._next_stream += 1
        session_id = SessionId(key[1] if key is not None and key[0] == "name" else f"s{stream}")
        row = row._replace(session_id=session_id, stream=stream)
        records: list[Record] = [
            OpenedRecord(at_us=row.at_us, session_id=session_id, agent=agent, by=row.by)
        ]
        holder: KeyRow | None = None
        if key is not None:
            holder = KeyRow(session_id, stream, before.version + 1 if before else 1, key)
            self._opening[key] = holder
            if key[0] != "name":
                records.append(KeyedRecord(at_us=row.at_us, key=key, version=holder.version))
        records.append(record_of(row))
        conversation = Conversation()
        step = Step(conversation.next_seq)
        for record in records:
            conversation.apply(record)
            step.records.append(record)
        batch = batch_for(stream, conversation, step)
        batch.create(Table.NAMES, name_key(session_id), encode(stream))
        put_binding(batch, row, first=True)
        if holder is not None and holder.key[0] != "name":
            batch.put(Table.KEYS, key_key(holder.key), encode(list(holder)))
        self._services.store.submit(batch, partial(self._opened, row.address, key))
        self._start(session_id, stream, conversation)
        return session_id

    def _opened(self, place: Address, key: Key | None, error: StorageError | None) -> None:
        if key is not None:
            self._opening.pop(key, None)
        if error is not None:
            logger.error("no session could be opened for %s: %s", place, error)
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
        if message.user is None:
            logger.warning("%s", message.error)
            for _, answer in held:
                if answer is not None:
                    answer.fail(Unidentified(message.error or "nobody knows who this is"))
            return
        self._follow_resolver(message.platform, message.user_id, message.user)
        if held:
            self._identified.add(message.address)
        for turn, answer in held:
            self._let_in(turn, answer)

    def _follow_resolver(self, platform: str, user_id: str, user: str) -> None:
        row = load_identity(self._services.store, platform, user_id)
        itself = default_user(platform, user_id)
        if user == (row.unified if row is not None else itself):
            return
        act: Link | Unlink = (
            Unlink(platform=platform, user_id=user_id, by="resolver")
            if user == itself
            else Link(platform=platform, user_id=user_id, user=user, by="resolver")
        )
        self._request_act(act, None)

    # -- sessions in memory ----------------------------------------------------------------------

    def _to_session(
        self, session_id: SessionId, message: Any, answer: TrioFuture[Any] | None
    ) -> None:
        """Pass a message on, with the duty to answer it."""
        if self._still and self._is_held(session_id, message, answer):
            return
        if self._sessions.is_leaving(session_id):
            self._sessions.hold(session_id, (message, answer))
            return
        ref = self._sessions.find(session_id) or self._bring_in(session_id)
        self._forward(session_id, ref, message, answer)

    def _session_in_memory(self, session_id: SessionId) -> Ref | None:
        return self._sessions.find_any(session_id)

    def _forget_place(self, place: Address) -> None:
        self._places.drop(place)

    def _forward(
        self, session_id: SessionId, ref: Ref, message: Any, answer: TrioFuture[Any] | None
    ) -> None:
        if ref.is_alive():
            ref.forward(message, answer)
            return
        self._hand_over(session_id, [*self._sessions.left(session_id), (message, answer)])

    def _hand_over(self, session_id: SessionId, held: list[Held]) -> None:
        """Give messages that were taken over before to the session's next life."""
        try:
            fresh = self._bring_in(session_id)
        except (UnknownSession, StorageError, MalformedRecord) as error:
            logger.warning("%s does not come back", session_id, exc_info=error)
            for _, answer in held:
                if answer is not None:
                    _refuse(answer, error)
            return
        for message, answer in held:
            fresh.forward(message, answer)

    def _bring_in(self, session_id: SessionId) -> Ref:
        store = self._services.store
        stream = load_session_number(store, session_id)
        conversation = load_conversation(store, stream) if stream is not None else None
        if stream is None or conversation is None:
            raise UnknownSession(f"there is no session {session_id!r}")
        return self._start(session_id, stream, conversation)

    def _start(self, session_id: SessionId, stream: int, conversation: Conversation) -> Ref:
        ref = SessionActor.start(self._services, stream, conversation)
        self._sessions.add(session_id, ref)
        return ref

    def _rotate(self, _message: Rotate) -> None:
        self._places.rotate()
        for session_id, ref in self._sessions.idle():
            if ref.is_alive():
                ref.tell(Passivate(session_id=session_id))
            else:
                self._passivated(Passivated(session_id=session_id))

    def _passivated(self, message: Passivated) -> None:
        session_id = message.session_id
        held = self._sessions.left(session_id)
        if self._binding:
            self._no_more_binding(session_id)
        if session_id in self._still:
            self._still[session_id][:0] = held
            self._at_rest(session_id)
        elif held:
            self._hand_over(session_id, held)

    def _stayed_awake(self, message: StayedAwake) -> None:
        session_id = message.session_id
        if held := self._sessions.stayed(session_id):
            ref = self._sessions.find(session_id)
            assert ref is not None  # messages are held for known sessions only
            for earlier, answer in held:
                self._forward(session_id, ref, earlier, answer)

    def _catch_up(self, message: CatchUp) -> None:
        self._answer_catch_up(message, self.take_reply())

    def _answer_catch_up(self, message: CatchUp, answer: TrioFuture[Any] | None) -> None:
        """Tell which sessions are in memory: they have to catch up next."""
        if answer is not None and not self._is_unrouted(message, answer):
            answer.resolve(tuple(ref for _, ref in self._sessions.items()))

    def _do_act(self, act: Any) -> None:
        self._request_act(act, self.take_reply())

    def _follow_rules(self, message: FollowRules) -> None:
        self._services.rules = message.rules
        self._services.door.follow(message.rules)

    def _find_refusal(self, message: FindRefusal) -> Refusal | None:
        for refusal in reversed(self._services.door.refusals):
            if refusal.address == message.address and refusal.message_id == message.message_id:
                return refusal
        return None

    def _list_refusals(self, _message: ListRefusals) -> tuple[Refusal, ...]:
        return tuple(self._services.door.refusals)

    # -- sends that no turn asked for ------------------------------------------------------------

    def _send_message(self, message: SendMessage) -> Outcome | None:
        check_outgoing(message.text)
        if message.to is not None:
            binding = load_binding(self._services.store, message.to)
            if binding is None:
                return Outcome(status="failed", reason="no_recipient")
            if binding.session_id != message.session_id:
                return Outcome(status="failed", reason="not_owner")
        self._to_session(message.session_id, message, self.take_reply())
        return None

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        Accept: _accept,
        CatchUp: _catch_up,
        Rotate: _rotate,
        Passivated: _passivated,
        StayedAwake: _stayed_awake,
        SendMessage: _send_message,
        HeldStill: ActDesk._held_still,
        PlaceBound: ActDesk._place_bound,
        Identified: _identified_as,
        FollowRules: _follow_rules,
        FindRefusal: _find_refusal,
        ListRefusals: _list_refusals,
        **dict.fromkeys((Link, Unlink, Pair, Unpair, Move, Undo, Approve, Allow, Revoke), _do_act),
    }


def _refuse(answer: TrioFuture[Any], error: Exception) -> None:
    """Answer with `error`, in the words of those who ask."""
    refused: TurnRefused | None = None
    if isinstance(error, StoreClosed | StoreFailed):
        refused = ShuttingDown(f"nothing is stored any more: {error}")
    elif isinstance(error, StorageError | MalformedRecord):
        refused = SessionDamaged(f"the session's stored state cannot be read: {error}")
    if refused is not None:
        refused.__cause__ = error
    answer.fail(refused or error)
