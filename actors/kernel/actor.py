"""TrioActor: pykka's actor, run by a kernel."""
# The kernel's modules are one unit: they use each other's internals, and nobody else does.
# pyright: reportPrivateUsage=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, NoReturn, Self

import pykka

from .future import TrioFuture
from .kernel import Kernel
from .ref import ActorRef, Inbox, StoppedFlag
from .supervision import RestartPolicy

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["TrioActor"]


class TrioActor(pykka.Actor):
    """An actor which handles one message at a time on a kernel's loop.

    Whoever knows :class:`pykka.ThreadingActor` knows this class. Handlers and hooks may be
    ``async``; one that waits holds up its own actor only.
    """

    __slots__ = ("_ref",)

    scheduling: ClassVar[Literal["pool", "resident"]] = "pool"
    """`pool`: borrows one of the kernel's workers while it has messages. `resident`: has a task."""
    mailbox_limit: ClassVar[int | None] = None
    """Messages that may wait; None for no limit. See :class:`~.errors.MailboxFull`."""
    listed: ClassVar[bool] = True
    """Whether pykka's ActorRegistry knows it. Unlisting costs O(actors): not for thousands."""
    supervision: ClassVar[RestartPolicy | None] = None
    """How it is restarted when a handler fails on a `tell`; None: it dies, as pykka's do."""

    _ref: ActorRef[Any]

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        """Create an actor; pass `start()` its arguments rather than calling this.

        Raises:
            NoKernel: nothing would run it.
        """
        if not hasattr(self, "_ref"):  # the kernel gives its actors their ref before this
            self._ref = ActorRef(Kernel.current(), self)

    @classmethod
    def start(  # pyright: ignore[reportIncompatibleMethodOverride]  (refs are invariant)
        cls, *args: Any, **kwargs: Any
    ) -> ActorRef[Self]:
        """Start an actor on this loop's kernel, or else on the only one of the process.

        Raises:
            NoKernel: there is no such kernel.
            KernelClosed: the kernel starts no more actors.
        """
        return Kernel.current().start(cls, *args, **kwargs)

    @property
    def actor_ref(self) -> ActorRef[Self]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The reference to this actor."""
        return self._ref

    @property
    def actor_urn(self) -> str:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See :class:`pykka.Actor`."""
        return self._ref.actor_urn

    @property
    def actor_inbox(self) -> Inbox:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See :class:`pykka.Actor`."""
        return self._ref.actor_inbox

    @property
    def actor_stopped(self) -> StoppedFlag:  # type: ignore[override]  # pyright: ignore[reportIncompatibleVariableOverride]
        """See :class:`pykka.Actor`."""
        return self._ref.actor_stopped

    def take_reply(self) -> TrioFuture[Any] | None:
        """Take over the duty to answer the message that is being handled.

        Returns:
            The future of whoever asked; the actor sets it, now or later. None when nobody asked,
            or when it was taken before. Should the actor die first, it gets ActorDeadError.
        """
        return self._ref._take_reply()

    def stop(self) -> None:
        """Stop once what has been sent so far is handled."""
        self._ref.stop(block=False)

    if TYPE_CHECKING:  # pykka's hooks, which may be async here: `Any` allows both

        def on_start(self) -> Any: ...

        def on_stop(self) -> Any: ...

        def on_failure(  # pyright: ignore[reportIncompatibleMethodOverride]
            self,
            exception_type: type[BaseException] | None,
            exception_value: BaseException | None,
            traceback: TracebackType | None,
            /,
        ) -> Any: ...

    def on_quarantine(self, message: Any, error: Exception) -> Any:
        """Hear that `message` has failed `max_attempts` times and is dropped; may be async."""

    @staticmethod
    def _create_actor_inbox() -> NoReturn:
        raise TypeError("a TrioActor's inbox belongs to its kernel")

    @staticmethod
    def _create_future() -> TrioFuture[Any]:
        return TrioFuture()

    def _start_actor_loop(self) -> NoReturn:
        raise TypeError("a TrioActor is started by its kernel")
