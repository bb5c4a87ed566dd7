"""Mailbox: what waits for an actor, in which order, and what happens at the bound.

State, all of it owned by the loop thread: `_queue` collects arrivals and is None exactly while the
actor is idle (so that an idle actor costs no list, and only the first message schedules it);
`_batch` is what is being worked off, reversed, so that taking a message is a `pop`; `_urgent`
overtakes both. Other threads reach it only through the kernel's queue.
"""
# The kernel's modules are one unit: they use each other's internals, and nobody else does.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import outcome
import trio.lowlevel as trio_low
from pykka import ActorDeadError

from .errors import MailboxFull
from .future import TrioFuture
from .messages import STOPS, Control, Envelope, Stop, is_urgent

if TYPE_CHECKING:
    from .kernel import Kernel

__all__ = [
    "Bound",
    "Mailbox",
    "answer_with",
    "fail_with",
    "is_stop",
]

_log: Final = logging.getLogger(__name__)


class Bound:
    """The limit of one mailbox, and who waits for room in it."""

    __slots__ = ("in_flight", "limit_messages", "lock", "stopping", "waiting")

    def __init__(self, limit_messages: int) -> None:
        self.limit_messages = limit_messages
        self.lock = threading.Lock()
        self.in_flight = 0
        """Messages of other threads which have been promised room and have not arrived."""
        self.stopping = False
        """A stop has been asked for: nobody who waits will get room any more."""
        self.waiting: deque[tuple[trio_low.Task, Any]] = deque()


class Mailbox:
    """An actor's mailbox. Methods run on the loop thread unless they say otherwise."""

    __slots__ = ("_batch", "_bound", "_kernel", "_queue", "_stopped", "_urgent")

    def __init__(self, kernel: Kernel, limit_messages: int | None) -> None:
        self._kernel = kernel
        self._queue: list[Any] | None = []  # held back until `_open`
        self._batch: list[Any] | None = None
        self._urgent: list[Any] | None = None
        self._bound = None if limit_messages is None else Bound(limit_messages)
        self._stopped = False

    def _size(self) -> int:
        """Messages that count against the bound."""
        return len(self._queue or ()) + len(self._batch or ())

    def _put(self, item: Any) -> None:
        """Take one message.

        Raises:
            ActorDeadError: the actor is dead.
            MailboxFull: the bound is reached.
        """
        if self._stopped:
            raise self._dead()
        bound = self._bound
        if bound is not None and not _ignores_bound(item):
            with bound.lock:
                in_flight = bound.in_flight
            if self._size() + in_flight >= bound.limit_messages:
                raise self._full(bound)
        self._push(item)

    def _push(self, item: Any) -> None:
        """Take one message for which there is room."""
        if is_urgent(item):
            if self._urgent is None:
                self._urgent = [item]
            else:
                self._urgent.append(item)
            if self._queue is None:
                self._queue = []
                self._kernel._schedule(self)
        elif self._queue is None:
            self._queue = [item]
            self._kernel._schedule(self)
        else:
            self._queue.append(item)
        if self._bound is not None and is_stop(item):
            self._bound.stopping = True

    def _post(self, item: Any) -> None:
        """Take one message on any other thread.

        Raises:
            ActorDeadError: the actor is dead.
            MailboxFull: the bound is reached.
        """
        if self._stopped:
            raise self._dead()
        bound = self._bound
        if bound is not None and not _ignores_bound(item):
            with bound.lock:
                if self._size() + bound.in_flight >= bound.limit_messages:
                    raise self._full(bound)
                bound.in_flight += 1
        self._kernel._post(self._arrive, item)

    def _arrive(self, item: Any) -> None:
        """Take what another thread has posted; it has been promised room."""
        bound = self._bound
        if bound is not None and not _ignores_bound(item):
            with bound.lock:
                bound.in_flight -= 1
        if self._stopped:
            self._refuse(item)
        else:
            self._push(item)

    def _open(self, _: Any = None) -> None:
        """Let go of what was held back while the actor was being made."""
        if self._stopped:
            return
        if self._queue or self._urgent:
            self._kernel._schedule(self)
        else:
            self._queue = None

    def _take_urgent(self) -> Any:
        """The first of the urgent messages; there must be one."""
        urgent = self._urgent
        assert urgent is not None
        item = urgent.pop(0)
        if not urgent:
            self._urgent = None
        return item

    def _admit_sender(self) -> None:
        """Hand free room to the sender which has waited longest."""
        bound = self._bound
        if bound is None or bound.stopping:
            return
        while bound.waiting and self._size() + bound.in_flight < bound.limit_messages:
            task, item = bound.waiting.popleft()
            self._push(item)
            trio_low.reschedule(task)

    async def _put_when_room(self, item: Any) -> None:
        """Take one message, waiting for room behind those who waited before.

        Raises:
            ActorDeadError: the actor is dead, or died meanwhile; the message was not taken.
        """
        await trio_low.checkpoint_if_cancelled()
        try:
            self._put(item)
        except MailboxFull:
            bound = self._bound
            assert bound is not None
            place = (trio_low.current_task(), item)
            bound.waiting.append(place)

            def abort(_: Any) -> trio_low.Abort:
                bound.waiting.remove(place)
                return trio_low.Abort.SUCCEEDED

            await trio_low.wait_task_rescheduled(abort)
        else:
            await trio_low.cancel_shielded_checkpoint()

    def _close(self) -> list[Any]:
        """Take no message from here on; return those that were waiting, in their order."""
        self._stopped = True
        leftover: list[Any] = []
        if self._urgent is not None:
            leftover += self._urgent
        if self._batch is not None:
            leftover += reversed(self._batch)
            self._batch.clear()  # whoever is working it off holds this very list
        if self._queue is not None:
            leftover += self._queue
        self._urgent = self._batch = self._queue = None
        if self._bound is not None:
            while self._bound.waiting:
                task, _ = self._bound.waiting.popleft()
                trio_low.reschedule(task, outcome.Error(self._dead()))
        return leftover

    def _refuse(self, item: Any, *, was_alive: bool = False) -> None:
        """Answer a message that nobody will handle."""
        if type(item) is not Envelope:
            _log.debug("%s is dead and drops %r", self, item)
            return
        reply: Any = item.reply_to
        if type(item.message) is Stop:
            answer_with(reply, was_alive)
        elif was_alive and type(item.message) in STOPS:
            answer_with(reply, None)
        else:
            fail_with(reply, ActorDeadError(f"{self} stopped before handling the message"))

    def _dead(self) -> ActorDeadError:
        return ActorDeadError(f"{self} not found")

    def _full(self, bound: Bound) -> MailboxFull:
        return MailboxFull(
            f"the mailbox of {self} holds {bound.limit_messages} messages, its limit"
        )


def answer_with(reply: Any, value: Any) -> None:
    """Set a reply, of pykka's own kind too; one which is set already stays as it is."""
    if type(reply) is TrioFuture:
        reply.resolve(value)
    elif reply is not None:
        with suppress(queue.Full):
            reply.set(value)


def fail_with(reply: Any, error: BaseException) -> None:
    """Set a reply to `error`; as :func:`answer_with`."""
    if type(reply) is TrioFuture:
        reply.fail(error)
    elif reply is not None:
        with suppress(queue.Full):
            reply.set_exception((type(error), error, error.__traceback__))


def is_stop(item: Any) -> bool:
    """Whether `item`, perhaps in an envelope, ends the actor."""
    return type(item.message if type(item) is Envelope else item) in STOPS


def _ignores_bound(item: Any) -> bool:
    message: Any = item.message if type(item) is Envelope else item
    return isinstance(message, Control) or type(message) in STOPS
