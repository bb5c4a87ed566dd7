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
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Final

from ..storage.errors import StorageError, StoreClosed, StoreFailed
from .acting import ActDesk, Held
from .acts import Allow, Approve, Create, Delete, Link, Move, Pair, Revoke, Undo, Unlink, Unpair
from .binding import Binder
from .core.codes import REDEMPTIONS, RateLimit
from .core.commands import MAX_COMMAND_CHARS, read_command
from .core.conversation import Conversation
from .core.directory import Directory
from .core.intake import check, check_change
from .core.records import MalformedRecord
from .deletion import why_unknown
from .deliveries import DeliveryReported, MayTell, SendMessage
from .door import Refusal
from .errands import (
    FollowRules,
    HeldStill,
    Identified,
    ListRefusals,
    PlaceBound,
)
from .errors import (
    AccessDenied,
    NotAddressed,
    Overloaded,
    SessionDamaged,
    ShuttingDown,
    TurnRefused,
)
from .journal import heard_hash, load_conversation, load_seen, load_session_number
from .kernel import ActorDeadError, KernelClosed, TrioFuture
from .messages import (
    Accept,
    Address,
    CatchUp,
    HearChange,
    InboundTurn,
    Passivate,
    Passivated,
    Rotate,
    SessionId,
    StayedAwake,
)
from .missions import RunMission
from .noting import NoteDesk
from .provenance import AimAtDefault, HearReceipt, Mirror, NoteLent, NoteReturned, NoteWaits
from .self_works import Knocked, SelfLink
from .sending import Sender
from .services import Ref, Services
from .session import SessionActor
from .unknown import UnknownSession

__all__ = ["RegistryActor"]

logger = logging.getLogger("turnkeeper.registry")

_ASKING: Final = RateLimit(burst=10, every_s=6)
"""What one identity may ask of the runtime itself: nobody types more."""
_MAX_BUCKETS: Final = 10_000
"""Buckets that are kept before the full ones are dropped."""


class RegistryActor(Sender):
    """Shell of the directory and of the bindings."""

    def __init__(self, services: Services, next_stream: int) -> None:
        super().__init__(services, next_stream)
        self._sessions: Directory[SessionId, Ref, Held] = Directory()
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
            self._let_in(message, self.take_reply())
        except Exception as error:  # the supervisor's edge: one bad session stops no other
            if (answer := self.take_reply()) is not None:
                _refuse(answer, error)
            elif not isinstance(error, KernelClosed):  # else the next start goes on
                logger.exception("%s could not be handled", type(message).__name__)
        return None

    # -- turns -----------------------------------------------------------------------------------

    def _let_in(self, message: Any, answer: TrioFuture[Any] | None) -> None:
        try:
            route = self._ROUTES.get(type(message))  # pyright: ignore[reportUnknownArgumentType]
            if route is not None:
                route(self, message, answer)
            else:
                self._to_session(message.session_id, message, answer)
        except Exception as error:  # the supervisor's edge, as in `on_receive`
            if answer is not None:
                _refuse(answer, error)
            elif not isinstance(error, KernelClosed):
                logger.exception("%s could not be handled", type(message).__name__)

    def _route(self, message: Accept, answer: TrioFuture[Any] | None) -> None:
        turn = message.turn
        check(turn)
        user_id = self._canonical(turn)
        if user_id != turn.user_id:
            turn = replace(turn, user_id=user_id)
            message = Accept(turn=turn)
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
            if self._is_unrouted(message, answer) or self._is_ownerless(message, answer):
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
        if self._services.door.judge(turn, self._services.now_us()) is None:
            return
        if self._may_ask(turn):
            self._request_act(Knocked(turn=turn), None)
        raise AccessDenied("I do not know you; the person who runs me can let you in")

    def _obey(self, turn: InboundTurn, answer: TrioFuture[Any] | None) -> bool:
        """Carry out a command; False if the text is none."""
        command = read_command(turn.text) if self._services.self_link else None
        if command is None:
            return False
        if self._may_ask(turn, redeems=command.argument is not None):
            self._request_act(SelfLink(turn=turn, command=command), answer)
        elif answer is not None:
            answer.fail(Overloaded("too many commands at once; try again in a minute"))
        return True

    def _void(self, turn: InboundTurn) -> None:
        """A code that was posted in a group is void, even where nobody is answered."""
        command = read_command(turn.text)
        if turn.direct or command is None or command.argument is None:
            return
        if self._may_ask(turn, redeems=True):
            self._request_act(SelfLink(turn=turn, command=command, unanswered=True), None)

    def _may_ask(self, turn: InboundTurn, *, redeems: bool = False) -> bool:
        """Whether somebody has not asked the runtime for too much lately."""
        now_us, instance = self._services.now_us(), turn.address.instance
        buckets: list[tuple[RateLimit, tuple[str, ...]]] = [
            (_ASKING, (turn.platform, turn.user_id))
        ]
        if redeems:
            buckets.append((REDEMPTIONS, (instance,)))
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets = {who: full for who, full in self._buckets.items() if full > now_us}
        for limit, who in buckets:
            granted, self._buckets[who] = limit.take(self._buckets.get(who, 0), now_us)
            if not granted:
                return False
        return True

    def _may_tell(self, message: MayTell) -> bool:
        return self._services.door.may_tell(message.notice)

    def _hear_change(self, message: HearChange, answer: TrioFuture[Any] | None) -> None:
        """Pass a change on to whoever heard the message, or is just hearing it."""
        change, services = message.change, self._services
        check_change(change)
        if change.user_id is not None:
            user_id = services.canonical(change.platform, change.user_id)
            change = replace(change, user_id=user_id)
        heard = heard_hash(change.address, change.message_id)
        row = load_seen(services.store, heard, services.now_us())
        session_id = SessionId(row[0]) if row is not None else self._owner_of(change.address)
        if session_id is None and self._waits_behind_turn(message, answer):
            return
        if not session_id or not self._is_there(session_id):
            if answer is not None:
                answer.resolve(False)
            return
        found = replace(message, change=change, session_id=session_id)
        self._to_session(session_id, found, answer)

    def _waits_behind_turn(self, message: HearChange, answer: TrioFuture[Any] | None) -> bool:
        """Let a change wait with the first turns of its place, if any do."""
        place = message.change.address
        if (asking := self._asking.get(place)) is not None:
            asking.append((message, answer))
        elif any(_is_of(place, held) for held in self._first_turns):
            self._first_turns.append((message, answer))
        elif any(_is_of(place, held) for held in self._unrouted):
            self._unrouted.append((message, answer))
        else:
            return False
        return True

    def _is_there(self, session_id: SessionId) -> bool:
        """Whether a session is stored, or on its way to the store."""
        if self._sessions.find(session_id) is not None:
            return True
        return load_session_number(self._services.store, session_id) is not None

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

    def _goes(self, session_id: SessionId) -> None:
        if (ref := self._sessions.find(session_id)) is not None:
            self._sessions.leaves(session_id, ref)

    def _session_in_memory(self, session_id: SessionId) -> Ref | None:
        return self._sessions.find_any(session_id)

    def _forward(
        self, session_id: SessionId, ref: Ref, message: Any, answer: TrioFuture[Any] | None
    ) -> None:
        if ref.is_alive():
            ref.forward(message, answer)
            return
        self._sessions.leaves(session_id, ref)
        self._sessions.hold(session_id, (message, answer))
        self._has_died(session_id, ref)

    def _has_died(self, session_id: SessionId, ref: Ref) -> None:
        """Count a session as gone once all that it has submitted is durable."""
        gone = Passivated(session_id=session_id, ref=ref)
        self._when_durable(partial(self._is_gone, gone))

    def _is_gone(self, gone: Passivated, _error: StorageError | None) -> None:
        with suppress(ActorDeadError):  # a stopped registry passes nothing on
            self.actor_ref.tell(gone)

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
        known = self._just_read
        stream = (
            known[1]
            if known is not None and known[0] == session_id
            else load_session_number(store, session_id)
        )
        conversation = load_conversation(store, stream) if stream is not None else None
        if stream is None or conversation is None:
            raise UnknownSession(why_unknown(store, session_id))
        return self._start(session_id, stream, conversation)

    def _start(self, session_id: SessionId, stream: int, conversation: Conversation) -> Ref:
        ref = SessionActor.start(self._services, stream, conversation)
        self._sessions.add(session_id, ref)
        self._agents.put(session_id, conversation.agent)  # which is not stored yet if it is new
        return ref

    def _rotate(self, _message: Rotate) -> None:
        self._places.rotate()
        self._agents.rotate()
        for session_id, ref in self._sessions.idle():
            if ref.is_alive():
                ref.tell(Passivate(session_id=session_id))
            else:
                self._has_died(session_id, ref)

    def _passivated(self, message: Passivated) -> None:
        session_id = message.session_id
        if self._sessions.find_any(session_id) is not message.ref:
            return  # it is known already, and its successor may have come
        if self._goes_while_lent(message):
            return
        held = [one for one in self._sessions.left(session_id) if not _is_settled(one)]
        if self._binding:
            self._no_more_binding(session_id, held)
        if self._writes_notes():
            self._notes_lost(session_id, held)
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

    def _answer_catch_up(self, message: CatchUp, answer: TrioFuture[Any] | None) -> None:
        """Tell which sessions are in memory: they have to catch up next."""
        if answer is not None and not self._is_unrouted(message, answer):
            answer.resolve(tuple(ref for _, ref in self._sessions.items()))

    def _do_act(self, act: Any) -> None:
        self._request_act(act, self.take_reply())

    def _follow_rules(self, message: FollowRules) -> None:
        services = self._services
        services.rules = message.rules
        services.door.follow(message.rules)
        services.commands, services.reset = message.commands, message.reset

    def _list_refusals(self, _message: ListRefusals) -> tuple[Refusal, ...]:
        return tuple(self._services.door.refusals)

    _ROUTES: ClassVar[dict[type, Callable[[Any, Any, Any], None]]] = {
        Accept: _route,
        CatchUp: _answer_catch_up,
        DeliveryReported: NoteDesk._hear_outcome,
        SendMessage: Sender._send,
        RunMission: Sender._run,
        Mirror: Sender._mirror,
        AimAtDefault: Sender._aim_at_default,
        HearReceipt: Sender._hear_receipt,
        HearChange: _hear_change,
    }
    """What finds its session here first; everything else names it."""
    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        Rotate: _rotate,
        Passivated: _passivated,
        StayedAwake: _stayed_awake,
        NoteLent: NoteDesk._note_lent,
        NoteReturned: NoteDesk._note_returned,
        NoteWaits: NoteDesk._note_waits,
        HeldStill: ActDesk._held_still,
        PlaceBound: ActDesk._place_bound,
        Identified: Binder._identified_as,
        FollowRules: _follow_rules,
        ListRefusals: _list_refusals,
        MayTell: _may_tell,
        **dict.fromkeys((Link, Unlink, Pair, Unpair, Move, Undo), _do_act),
        **dict.fromkeys((Approve, Allow, Revoke, Create, Delete), _do_act),
    }


def _is_of(place: Address, held: Held) -> bool:
    """Whether a message that waits is a turn of `place`."""
    return isinstance(held[0], Accept) and held[0].turn.address == place


def _is_settled(held: Held) -> bool:
    """Whether a message concerns only a life that is over: its successor knows what is stored."""
    return isinstance(held[0], NoteReturned)


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
