"""The registry actor: which session a conversation belongs to, and which sessions are in memory.

The one owner of bindings: since every first message passes here, one at a time, two at once cannot
make two sessions, and the store's create-if-absent holds even if they could. It never waits: a new
session and its first turn are submitted one behind the other, and the store keeps that order.

Everything meant for a session comes through here, so that a session can leave memory between two
messages without anything being lost. Its mailbox has no bound of its own: what arrives is bounded
where it starts, by the channels' turns in flight, the running agents and the open deliveries.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from ..storage.base import Table
from ..storage.codec import encode
from ..storage.errors import StorageError, StoreClosed, StoreFailed
from .core.conversation import Conversation
from .core.directory import Directory, Recent
from .core.effects import Step
from .core.intake import check, check_outgoing
from .core.records import MalformedRecord
from .core.routing import Bound, bind, route
from .errors import SessionDamaged, ShuttingDown, TurnRefused
from .journal import (
    batch_for,
    binding_key,
    load_binding,
    load_conversation,
    load_session_number,
    name_key,
)
from .kernel import TrioActor, TrioFuture
from .messages import (
    Accept,
    Address,
    CatchUp,
    InboundTurn,
    Instance,
    Outcome,
    Passivate,
    Passivated,
    Rotate,
    SendMessage,
    SessionId,
    StayedAwake,
)
from .services import Ref, Services
from .session import SessionActor

__all__ = ["RegistryActor", "UnknownSession"]

logger = logging.getLogger("turnkeeper.registry")

_Held = tuple[Any, "TrioFuture[Any] | None"]
"""A message, and the future that its answer goes to."""


class UnknownSession(LookupError):
    """No session has this id."""


class RegistryActor(TrioActor):
    """Shell of the directory and of the bindings."""

    scheduling: ClassVar[Literal["pool", "resident"]] = "resident"

    def __init__(
        self, services: Services, agents: Mapping[Instance, str], next_stream: int
    ) -> None:
        super().__init__()
        self._services = services
        self._agents = agents
        self._next_stream = next_stream
        self._sessions: Directory[SessionId, Ref, _Held] = Directory()
        self._places: Recent[Address, SessionId] = Recent()

    def __str__(self) -> str:
        return "registry"

    def on_receive(self, message: Any) -> Any:
        """Bind, bring in or let go; everything else goes to its session."""
        try:
            handler = self._HANDLERS.get(type(message))  # pyright: ignore[reportUnknownArgumentType]
            if handler is not None:
                return handler(self, message)
            self._to_session(message.session_id, message)
        except Exception as error:  # the supervisor's edge: one bad session stops no other
            if (answer := self.take_reply()) is None:
                logger.exception("%s could not be handled", type(message).__name__)
            else:
                _refuse(answer, error)
        return None

    # -- binding ---------------------------------------------------------------------------------

    def _accept(self, message: Accept) -> None:
        turn = message.turn
        check(turn)
        session_id = self._places.get(turn.address)
        if session_id is None:
            session_id = self._resolve(turn)
            self._places.put(turn.address, session_id)
        self._to_session(session_id, message)

    def _resolve(self, turn: InboundTurn) -> SessionId:
        decided = route(turn, load_binding(self._services.store, turn.address))
        if isinstance(decided, Bound):
            return decided.session_id
        return self._open_session(turn, decided.by)

    def _open_session(self, turn: InboundTurn, by: str) -> SessionId:
        stream = self._next_stream
        self._next_stream += 1
        session_id = SessionId(f"s{stream}")
        agent = self._agents[turn.address.instance]
        row, records = bind(turn, session_id, stream, agent, by, self._services.now_us())
        conversation = Conversation()
        step = Step(conversation.next_seq)
        for record in records:
            conversation.apply(record)
            step.records.append(record)
        batch = batch_for(stream, conversation, step)
        batch.create(Table.NAMES, name_key(session_id), encode(stream))
        batch.create(Table.BINDINGS, binding_key(turn.address), encode(list(row)))
        self._services.store.submit(batch, partial(self._opened, turn.address))
        self._start(session_id, stream, conversation)
        return session_id

    def _opened(self, place: Address, error: StorageError | None) -> None:
        if error is not None:
            logger.error("no session could be opened for %s: %s", place, error)
            self._places.drop(place)

    # -- sessions in memory ----------------------------------------------------------------------

    def _to_session(self, session_id: SessionId, message: Any) -> None:
        """Pass the current message on, with the duty to answer it."""
        if self._sessions.is_leaving(session_id):
            self._sessions.hold(session_id, (message, self.take_reply()))
            return
        ref = self._sessions.find(session_id) or self._bring_in(session_id)
        self._forward(session_id, ref, message, self.take_reply())

    def _forward(
        self, session_id: SessionId, ref: Ref, message: Any, answer: TrioFuture[Any] | None
    ) -> None:
        if ref.is_alive():
            ref.forward(message, answer)
            return
        self._hand_over(session_id, [*self._sessions.left(session_id), (message, answer)])

    def _hand_over(self, session_id: SessionId, held: list[_Held]) -> None:
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
        if held := self._sessions.left(message.session_id):
            self._hand_over(message.session_id, held)

    def _stayed_awake(self, message: StayedAwake) -> None:
        session_id = message.session_id
        if held := self._sessions.stayed(session_id):
            ref = self._sessions.find(session_id)
            assert ref is not None  # messages are held for known sessions only
            for earlier, answer in held:
                self._forward(session_id, ref, earlier, answer)

    def _catch_up(self, _message: CatchUp) -> tuple[Ref, ...]:
        """The sessions in memory: they have to catch up next."""
        return tuple(ref for _, ref in self._sessions.items())

    # -- sends that no turn asked for ------------------------------------------------------------

    def _send_message(self, message: SendMessage) -> Outcome | None:
        check_outgoing(message.text)
        if message.to is not None:
            binding = load_binding(self._services.store, message.to)
            if binding is None:
                return Outcome(status="failed", reason="no_recipient")
            if binding.session_id != message.session_id:
                return Outcome(status="failed", reason="not_owner")
        self._to_session(message.session_id, message)
        return None

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        Accept: _accept,
        CatchUp: _catch_up,
        Rotate: _rotate,
        Passivated: _passivated,
        StayedAwake: _stayed_awake,
        SendMessage: _send_message,
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
