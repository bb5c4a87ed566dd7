"""Kernel: runs actors on one trio loop.

Owns the ready queue, the workers that drain it, the queue from other threads, and the set of live
actors. At most one worker is *driving*, which means taking actors from the ready queue. A worker
whose actor's handler suspends hands the duty to another and stays with the handler.
"""
# The kernel's modules are one unit: they use each other's internals, and nobody else does.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from random import Random
from threading import get_ident
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

import pykka
import trio
import trio.lowlevel as trio_low
from pykka import ActorRegistry

from .cell import Guard, More, Work
from .errors import KernelClosed, NoKernel
from .future import TrioFuture, loop_threads, refuse_to_block
from .messages import START, Envelope, Stop
from .ref import ActorRef
from .watchdog import Watchdog

if TYPE_CHECKING:
    from .actor import TrioActor

__all__ = [
    "ADMIT_LIMIT_ITEMS",
    "IDLE_WORKERS",
    "MAX_WORKERS",
    "SLICE_S",
    "STALL_AFTER_S",
    "Kernel",
    "Ref",
    "Resident",
]

A = TypeVar("A", bound="TrioActor")
Ref: TypeAlias = ActorRef[Any]

MAX_WORKERS: Final = 4096
"""Default bound on handlers of pooled actors that may be suspended at once. At the bound, pooled
actors wait for one of them to end; resident actors go on."""
IDLE_WORKERS: Final = 64
"""Workers kept for the next suspended handler; more are let go."""
SLICE_S: Final = 0.003
"""How long the driving worker goes on before the loop's other tasks have their turn. Handlers that
run one after the other find their code and data in the caches: with 1,000 turns in flight, 3 ms
take a tenth fewer cycles a turn than 1 ms."""
ADMIT_LIMIT_ITEMS: Final = 4096
"""Items taken from other threads at once, for the same reason."""
STALL_AFTER_S: Final = 1.0
"""Default threshold of the watchdog."""

_log: Final = logging.getLogger(__name__)

_kernels: Final[dict[int, Kernel]] = {}
"""The open kernels, by the ident of their loop's thread."""


class Resident:
    """The task of an actor that has one of its own."""

    __slots__ = ("parked", "started")

    def __init__(self) -> None:
        self.started = False
        self.parked: trio_low.Task | None = None


class Kernel:
    """Runs actors on the trio loop it was opened on. See :meth:`open` and :meth:`in_thread`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        *,
        max_workers: int,
        rng: Random,
        on_give_up: Callable[[Ref, Exception], object] | None,
    ) -> None:
        """Not to be called: use `open` or `in_thread`."""
        self.thread_id = get_ident()
        """Ident of the thread whose loop runs the actors."""
        self._nursery = nursery
        self._token = trio_low.current_trio_token()
        self._max_workers = max_workers
        self._rng = rng
        self._on_give_up = on_give_up
        self._actors: dict[Ref, None] = {}
        self._ready: deque[Ref] = deque()
        self._driving = False
        self._workers = 0
        self._warned = False
        self._idle: list[trio_low.Task] = []
        self._posted: deque[tuple[Callable[[Any], None], Any]] = deque()
        self._armed = False
        self._closing = False
        self._closed = False
        self._emptied = trio.Event()
        self._stops: dict[Ref, TrioFuture[bool]] = {}
        _kernels[self.thread_id] = self
        loop_threads.add(self.thread_id)

    def __repr__(self) -> str:
        return (
            f"<Kernel actors={len(self._actors)} ready={len(self._ready)} "
            f"workers={self._workers} closing={self._closing}>"
        )

    @classmethod
    def open(
        cls,
        *,
        max_workers: int = MAX_WORKERS,
        stall_after_s: float | None = STALL_AFTER_S,
        rng: Random | None = None,
        on_give_up: Callable[[Ref, Exception], object] | None = None,
    ) -> AbstractAsyncContextManager[Kernel, None]:
        """Open a kernel on this trio loop.

        At the end of the block all actors are asked to stop, the last started first, and awaited.
        When the block raises, or is cancelled, they die at once, and all asks get ActorDeadError.

        Args:
            max_workers: handlers of pooled actors that may be suspended at once.
            stall_after_s: name an actor that holds the loop for so many seconds; None: never.
            rng: source of the jitter of restarts.
            on_give_up: called when a supervised actor has failed too often, with its last error.

        Raises:
            RuntimeError: a kernel is open on this loop.
        """
        # Cast, for type checkers to know that it swallows no exception.
        opened = cls._open(max_workers, stall_after_s, rng, on_give_up)
        return cast("AbstractAsyncContextManager[Kernel, None]", opened)

    @classmethod
    @asynccontextmanager
    async def _open(
        cls,
        max_workers: int,
        stall_after_s: float | None,
        rng: Random | None,
        on_give_up: Callable[[Ref, Exception], object] | None,
    ) -> AsyncGenerator[Kernel]:
        if get_ident() in _kernels:
            raise RuntimeError("a kernel is already open on this loop: use that one")
        kernel: Kernel | None = None
        single: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                kernel = cls(
                    nursery,
                    max_workers=max_workers,
                    rng=rng or Random(),  # noqa: S311  (jitter needs no secrecy)
                    on_give_up=on_give_up,
                )
                nursery.start_soon(kernel._die_when_cancelled)
                with kernel._watched(stall_after_s):
                    try:
                        yield kernel
                        await kernel._stop_all()
                    except BaseException:
                        kernel._abort_all()  # before any worker has another turn
                        raise
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # The nursery is not the user's: one error leaves the block as it was raised in it.
            if len(group.exceptions) != 1:
                raise
            single = group.exceptions[0]
        finally:
            if kernel is not None:
                kernel._end()
        if single is not None:
            raise single

    @classmethod
    def in_thread(
        cls,
        *,
        max_workers: int = MAX_WORKERS,
        stall_after_s: float | None = STALL_AFTER_S,
        rng: Random | None = None,
        on_give_up: Callable[[Ref, Exception], object] | None = None,
    ) -> AbstractContextManager[Kernel, None]:
        """Open a kernel on a loop of its own, in a thread; arguments and end as of :meth:`open`.

        Raises:
            WouldDeadlock: a kernel runs on this thread.
        """
        opened = cls._in_thread(max_workers, stall_after_s, rng, on_give_up)
        return cast("AbstractContextManager[Kernel, None]", opened)

    @classmethod
    @contextmanager
    def _in_thread(
        cls,
        max_workers: int,
        stall_after_s: float | None,
        rng: Random | None,
        on_give_up: Callable[[Ref, Exception], object] | None,
    ) -> Generator[Kernel]:
        refuse_to_block("Kernel.in_thread()")
        opened: TrioFuture[tuple[Kernel, trio.Event, trio.CancelScope]] = TrioFuture()
        failures: list[BaseException] = []

        async def main() -> None:
            end = trio.Event()
            with trio.CancelScope() as scope:
                async with cls.open(
                    max_workers=max_workers,
                    stall_after_s=stall_after_s,
                    rng=rng,
                    on_give_up=on_give_up,
                ) as kernel:
                    opened.set((kernel, end, scope))
                    await end.wait()

        def run() -> None:
            try:
                trio.run(main)
            except BaseException as error:
                if not opened.fail(error):
                    failures.append(error)

        thread = threading.Thread(target=run, name="turnkeeper-kernel")
        thread.start()
        kernel, end, scope = opened.get()
        leave: Callable[[], object] = scope.cancel
        try:
            yield kernel
            leave = end.set
        finally:
            with suppress(trio.RunFinishedError):  # else it broke, and says why below
                kernel._token.run_sync_soon(leave)
            thread.join()
        if failures:
            raise failures[0]

    @staticmethod
    def current() -> Kernel:
        """The kernel of this loop, or else the only one of the process.

        Raises:
            NoKernel: there is none, or more than one.
        """
        kernel = _kernels.get(get_ident())
        if kernel is not None:
            return kernel
        running = list(_kernels.values())
        if len(running) == 1:
            return running[0]
        if running:
            raise NoKernel(
                f"{len(running)} kernels are running, and none on this thread: "
                "say which one, with kernel.start(MyActor, ...)"
            )
        raise NoKernel(
            "no kernel is running: open one with `async with Kernel.open():` on trio, "
            "or `with Kernel.in_thread():` elsewhere"
        )

    def start(self, actor_class: type[A], /, *args: Any, **kwargs: Any) -> ActorRef[A]:
        """Start an actor on this kernel, from any thread; the arguments are its own.

        Raises:
            KernelClosed: the kernel is closing or closed.
        """
        self._refuse_when_closing(actor_class)
        actor = actor_class.__new__(actor_class)
        ref = actor._ref = ActorRef(self, actor)
        actor.__init__(*args, **kwargs)  # type: ignore[misc]
        if actor_class.scheduling == "resident":
            ref._resident = Resident()
        if actor_class.supervision is not None:
            ref._guard = Guard(actor_class.supervision, self._rng, args, kwargs)
        if actor_class.on_start is not pykka.Actor.on_start:
            ref._urgent = [START]
        # Closing sets its flag before it looks at the actors, and this looks at the flag after
        # adding one: an actor is either stopped with the rest, or not started.
        self._actors[ref] = None
        try:
            self._refuse_when_closing(actor_class)
        except KernelClosed:
            ref.kill()
            raise
        if actor_class.listed:
            ActorRegistry.register(ref)  # before it can die, for it is unregistered then
        if get_ident() == self.thread_id:
            ref._open()
        else:
            self._post(ref._open, None)
        return ref

    def _refuse_when_closing(self, actor_class: type[TrioActor]) -> None:
        if self._closing:
            raise KernelClosed(f"{actor_class.__name__} cannot be started: {self!r}")

    # Scheduling, on the loop thread.

    def _schedule(self, ref: Any) -> None:
        """Have an actor drained that was idle."""
        resident = ref._resident
        if resident is None:
            self._ready.append(ref)
            if not self._driving:
                self._summon()
        elif not resident.started:
            resident.started = True
            self._nursery.start_soon(self._reside, ref, name=str(ref.actor_class.__name__))
        elif resident.parked is not None:
            task, resident.parked = resident.parked, None
            trio_low.reschedule(task)

    def _summon(self) -> None:
        """Have a worker drive, if one can be had."""
        if self._idle:
            self._driving = True
            trio_low.reschedule(self._idle.pop())
        elif self._workers < self._max_workers:
            self._driving = True
            self._workers += 1
            self._nursery.start_soon(self._work, name="turnkeeper worker")
            if self._workers == self._max_workers and not self._warned:
                self._warned = True
                _log.warning(
                    "all %d workers are in use: while their handlers wait, other pooled actors do",
                    self._max_workers,
                )

    async def _work(self) -> None:
        """Be a worker: drive, or stay with a suspended handler, or wait to be summoned."""
        driving = True
        task = trio_low.current_task()

        def abort(_: Any) -> trio_low.Abort:
            self._idle.remove(task)
            return trio_low.Abort.SUCCEEDED

        try:
            with trio.CancelScope() as scope:
                while True:
                    suspended = self._run_slice()
                    if suspended is not None:
                        self._driving = driving = False
                        if self._ready:
                            self._summon()
                        ref, work = suspended
                        await self._stay_with(ref, work, scope)
                        if scope.cancel_called:
                            break
                        if not self._driving:
                            self._driving = driving = True
                            continue
                    elif self._ready:
                        await trio_low.checkpoint()
                        continue
                    else:
                        self._driving = driving = False
                    if len(self._idle) >= IDLE_WORKERS:
                        break
                    self._idle.append(task)
                    await trio_low.wait_task_rescheduled(abort)
                    driving = True
        finally:
            self._workers -= 1
            if driving:
                self._driving = False
            if self._ready and not self._driving:
                self._summon()

    def _run_slice(self) -> tuple[Ref, Work] | None:
        """Drain ready actors until one suspends, or there are none, or the time is used up."""
        ready = self._ready
        until = perf_counter() + SLICE_S
        while ready:
            ref = ready.popleft()
            left = ref._drain()
            if left is not None:
                if isinstance(left, More):
                    ready.append(ref)
                else:
                    return ref, left
            if perf_counter() >= until:
                break
        return None

    async def _stay_with(self, ref: Ref, work: Work, scope: trio.CancelScope) -> None:
        """Finish a suspended handler, and have its actor go on."""
        ref._scope = scope
        if ref._actor is None:  # it was killed by its own handler, before it had a scope
            scope.cancel()
        try:
            await ref._finish(work)
        finally:
            ref._scope = None
        if ref._actor is not None and ref._resident is None:
            self._ready.append(ref)

    async def _reside(self, ref: Ref) -> None:
        """Be the task of one resident actor."""
        resident: Resident = ref._resident
        with trio.CancelScope() as scope:
            while not ref._stopped:
                left = ref._drain()
                if isinstance(left, More):
                    await trio_low.checkpoint()
                elif left is not None:
                    await self._stay_with(ref, left, scope)
                elif not ref._stopped:
                    ref._scope = scope
                    resident.parked = trio_low.current_task()

                    def abort(_: Any) -> trio_low.Abort:
                        resident.parked = None
                        return trio_low.Abort.SUCCEEDED

                    await trio_low.wait_task_rescheduled(abort)
                    ref._scope = None

    # From other threads.

    def _post(self, take: Callable[[Any], None], item: Any) -> None:
        """Have `take(item)` called on the loop, in order; on any other thread.

        The loop disarms before it empties the queue, and this appends before it looks whether it is
        armed: whichever comes first, somebody takes the item. Likewise with closing.
        """
        self._posted.append((take, item))
        if not self._armed:
            self._armed = True
            with suppress(trio.RunFinishedError):  # else the queue is emptied below
                self._token.run_sync_soon(self._admit, idempotent=True)
        if self._closed:
            self._turn_away()

    def _admit(self) -> None:
        """Take what other threads have posted."""
        self._armed = False
        posted = self._posted
        for _ in range(ADMIT_LIMIT_ITEMS):
            if not posted:
                return
            take, item = posted.popleft()
            take(item)
        if not self._armed:
            self._armed = True
            self._token.run_sync_soon(self._admit, idempotent=True)

    def _turn_away(self) -> None:
        """Answer what was posted to a closed kernel: its actors are dead, and refuse it."""
        while True:
            try:
                take, item = self._posted.popleft()
            except IndexError:
                return
            take(item)

    # Ends.

    @contextmanager
    def _watched(self, stall_after_s: float | None) -> Generator[None]:
        if stall_after_s is None:
            yield
            return
        watchdog = Watchdog(self.thread_id, stall_after_s)
        trio_low.add_instrument(watchdog)
        watchdog.start()
        try:
            yield
        finally:
            watchdog.stop()
            trio_low.remove_instrument(watchdog)

    async def _stop_all(self) -> None:
        """Ask all actors to stop, the last started first, and wait until they have."""
        self._closing = True
        for ref in reversed(list(self._actors)):
            if not ref._stopped:
                ref._put(Envelope(Stop(), None))
        while self._actors:
            self._emptied = trio.Event()
            await self._emptied.wait()

    async def _die_when_cancelled(self) -> None:
        """Let all actors die with the tasks that run them, even while the block still cleans up."""
        try:
            await trio.sleep_forever()
        finally:
            self._abort_all()

    def _abort_all(self) -> None:
        """Let all actors die at once, the last started first."""
        self._closing = True
        for ref in reversed(list(self._actors)):
            ref._abort()

    def _end(self) -> None:
        """Let whatever still lives die, and answer everybody who still waits."""
        self._abort_all()
        loop_threads.discard(self.thread_id)
        _kernels.pop(self.thread_id, None)
        self._closed = True
        self._turn_away()

    def _retire(self, ref: Any) -> None:
        """Forget an actor that has come to its end."""
        self._actors.pop(ref, None)
        if self._closing and not self._actors:
            self._emptied.set()

    def _escalate(self, ref: Any, error: Exception) -> None:
        """Say that a supervised actor was given up."""
        _log.error("%s is given up: it failed too often", ref)
        if self._on_give_up is not None:
            self._on_give_up(ref, error)

    def _stop_of(self, ref: Ref) -> TrioFuture[bool]:
        """A future of the actor's stop; on any thread."""
        stop = self._stops.setdefault(ref, TrioFuture())
        if ref._stopped:
            stop.resolve(True)
            self._stops.pop(ref, None)
        return stop

    def _announce_stop(self, ref: Any) -> None:
        stop = self._stops.pop(ref, None)
        if stop is not None:
            stop.resolve(True)
