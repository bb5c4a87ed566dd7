"""ActorRef: pykka's reference to an actor, and the kernel's additions to it."""
# The kernel's modules are one unit: they use each other's internals, and nobody else does.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import threading
import uuid
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, TypeVar, overload

import pykka
from pykka import ActorDeadError

from .cell import Cell
from .errors import MailboxFull
from .future import TrioFuture, refuse_to_block
from .messages import Control, Envelope, Stop

if TYPE_CHECKING:
    from pykka._envelope import Envelope as PykkaEnvelope

    from .actor import TrioActor
    from .kernel import Kernel

__all__ = [
    "ActorRef",
    "Inbox",
    "StoppedFlag",
]

A = TypeVar("A", bound="TrioActor")

_naming: Final = threading.Lock()
"""Held while an actor gets its urn, which is made when first asked for."""


class Inbox:
    """pykka's view of a mailbox, for code that puts envelopes itself."""

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[Any]) -> None:
        self._ref = ref

    def put(self, envelope: PykkaEnvelope[Any], /) -> None:
        """Send an envelope; where the actor is dead, its reply is the error."""
        if envelope.reply_to is None:
            self._ref.tell(envelope.message)
        else:
            self._ref._deliver(Envelope(envelope.message, envelope.reply_to))

    def get(self) -> NoReturn:
        """Refuse: only the kernel takes messages out."""
        raise TypeError("only the kernel takes messages out of a TrioActor's inbox")

    def empty(self) -> bool:
        """Whether nothing waits."""
        return self._ref._size() == 0


class StoppedFlag:
    """pykka's view of whether an actor has stopped: a threading.Event that costs nothing idle."""

    __slots__ = ("_ref",)

    def __init__(self, ref: ActorRef[Any]) -> None:
        self._ref = ref

    def is_set(self) -> bool:
        """Whether the actor takes no more messages."""
        return self._ref._stopped

    def set(self) -> None:
        """Have the actor stop without handling what is left, and without `on_stop`."""
        self._ref.kill()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the actor has stopped, at most `timeout` seconds; whether it has.

        Raises:
            WouldDeadlock: a kernel runs on this thread.
        """
        if self._ref._stopped:
            return True
        try:
            return self._ref._kernel._stop_of(self._ref).get(timeout=timeout)
        except pykka.Timeout:
            return False


class ActorRef(pykka.ActorRef[A], Cell):
    """Reference to an actor; may be passed to, and used from, any thread."""

    __slots__ = ("_urn",)

    actor_class: type[A]  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, kernel: Kernel, actor: A) -> None:
        # pykka's own __init__ would give every actor a urn, an event and a weak reference.
        Cell.__init__(self, kernel, actor)
        self._urn: str | None = None

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """The actor's URN, made when it is first asked for."""
        if self._urn is None:
            with _naming:
                if self._urn is None:
                    self._urn = uuid.uuid4().urn
        return self._urn

    @property
    def actor_inbox(self) -> Inbox:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """The actor's inbox, as pykka knows it."""
        return Inbox(self)

    @property
    def actor_stopped(self) -> StoppedFlag:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the actor has stopped, as pykka knows it."""
        return StoppedFlag(self)

    def _actor_weakref(self) -> A | None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """The actor while it lives: pykka's proxies look at its attributes."""
        return self._actor  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    def is_alive(self) -> bool:
        """Whether the actor takes messages."""
        return not self._stopped

    def tell(self, message: Any) -> None:
        """Send a message without waiting for an answer, from any thread.

        Raises:
            ActorDeadError: the actor is dead.
            MailboxFull: `mailbox_limit` is reached; `await ref.send(...)` waits instead.
        """
        if get_ident() != self._kernel.thread_id:
            self._post(message)
            return
        queue = self._queue
        if queue is None or self._bound is not None or isinstance(message, Control):
            self._put(message)
        else:
            queue.append(message)

    async def send(self, message: Any) -> None:
        """Send a message, waiting while the mailbox is full, in the order of arrival.

        To be awaited on the kernel's loop. When cancelled, the message was not sent.

        Raises:
            ActorDeadError: the actor is dead, or was stopped while this waited.
        """
        if get_ident() != self._kernel.thread_id:
            raise RuntimeError(
                "send() waits on the actor's own loop: elsewhere use tell() or ask()"
            )
        await self._put_when_room(message)

    @overload  # type: ignore[override]  # no `block` means to block
    def ask(
        self, message: Any, *, block: Literal[False], timeout: float | None = None
    ) -> TrioFuture[Any]: ...

    @overload
    def ask(
        self, message: Any, *, block: Literal[True] = True, timeout: float | None = None
    ) -> Any: ...

    @overload
    def ask(
        self, message: Any, *, block: bool, timeout: float | None = None
    ) -> Any | TrioFuture[Any]: ...

    def ask(  # pyright: ignore[reportIncompatibleMethodOverride]  (its future is narrower)
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any | TrioFuture[Any]:
        """Send a message and get the answer: blocking, or as a future with ``block=False``.

        The future always ends: with the reply, the handler's error, ActorDeadError or MailboxFull.

        Raises:
            WouldDeadlock: it would block, and a kernel runs on this thread; nothing was sent.
            pykka.Timeout: no answer within `timeout` seconds.
            Exception: whatever the future would raise.
        """
        if block:
            refuse_to_block("ask()")
        future: TrioFuture[Any] = TrioFuture()
        self._deliver(Envelope(message, future))
        return future.get(timeout=timeout) if block else future

    def forward(self, message: Any, reply_to: TrioFuture[Any] | None) -> None:
        """Send a message whose answer goes to a future that somebody already waits for.

        Raises:
            ActorDeadError, MailboxFull: only when `reply_to` is None; else the future gets them.
        """
        if reply_to is None:
            self.tell(message)
        else:
            self._deliver(Envelope(message, reply_to))

    def _deliver(self, envelope: Envelope) -> None:
        """Send an envelope that has a reply."""
        try:
            if get_ident() == self._kernel.thread_id:
                self._put(envelope)
            else:
                self._post(envelope)
        except ActorDeadError:
            self._refuse(envelope)
        except MailboxFull as error:
            reply: Any = envelope.reply_to
            reply.set_exception((MailboxFull, error, None))

    @overload  # type: ignore[override]  # as of ask
    def stop(self, *, block: Literal[True] = True, timeout: float | None = None) -> bool: ...

    @overload
    def stop(self, *, block: Literal[False], timeout: float | None = None) -> TrioFuture[bool]: ...

    @overload
    def stop(self, *, block: bool, timeout: float | None = None) -> bool | TrioFuture[bool]: ...

    def stop(  # pyright: ignore[reportIncompatibleMethodOverride]  (as of ask)
        self, *, block: bool = True, timeout: float | None = None
    ) -> bool | TrioFuture[bool]:
        """Ask the actor to stop once it has handled what was sent before.

        Never refused by a full mailbox. The answer is True when it stopped, False when it was dead.

        Raises:
            WouldDeadlock: it would block, and a kernel runs on this thread; nothing was sent.
            pykka.Timeout: it has not stopped within `timeout` seconds.
        """
        if block:
            refuse_to_block("stop()")
        future: TrioFuture[bool] = TrioFuture()
        self._deliver(Envelope(Stop(), future))
        return future.get(timeout=timeout) if block else future

    def kill(self) -> None:
        """End the actor now, from any thread: no hooks, no backlog.

        A suspended handler is cancelled; its ask and all that wait get ActorDeadError.
        """
        if get_ident() == self._kernel.thread_id:
            self._kill()
        elif not self._stopped or self._scope is not None:
            self._kernel._post(self._kill, None)
