"""TrioFuture: pykka's future, awaited on trio without a thread and `.get()` from any other thread.

Owns the result and who waits for it. The lock is shared by all futures and held for a few
instructions, so that a future itself costs no lock.
"""

from __future__ import annotations

import functools
import queue
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, cast

import pykka
import trio
import trio.lowlevel as trio_low

from .errors import WouldDeadlock

if TYPE_CHECKING:
    from pykka._types import OptExcInfo

__all__ = ["TrioFuture", "loop_threads", "refuse_to_block"]

T = TypeVar("T")
J = TypeVar("J")
M = TypeVar("M")
R = TypeVar("R")

loop_threads: Final[set[int]] = set()
"""Idents of the threads on which a kernel runs: nothing may block there."""

_PENDING: Final = object()
_lock: Final = threading.RLock()
"""Guards result and waiters of all futures; reentrant, for a signal handler may set one too."""


def refuse_to_block(what: str) -> None:
    """Raise unless this thread may block.

    Raises:
        WouldDeadlock: a kernel runs on this thread.
    """
    if get_ident() in loop_threads:
        raise WouldDeadlock(
            f"{what} would block the loop that has to answer it: await the future instead "
            "(`await ref.ask(message, block=False)`, `await ref.stop(block=False)`)"
        )


class _Waiter(Protocol):
    def wake(self) -> None: ...


class _TaskWaiter:
    """A trio task which sleeps until the future is set."""

    __slots__ = ("_future", "_task", "_thread_id", "_token")

    def __init__(self, future: TrioFuture[Any]) -> None:
        self._future = future
        self._task: trio_low.Task | None = trio_low.current_task()
        self._token = trio_low.current_trio_token()
        self._thread_id = get_ident()

    def wake(self) -> None:
        if get_ident() == self._thread_id:
            self._reschedule()
            return
        with suppress(trio.RunFinishedError):  # else its loop has ended, and the task with it
            self._token.run_sync_soon(self._reschedule)

    def _reschedule(self) -> None:
        if self._task is not None:
            task, self._task = self._task, None
            trio_low.reschedule(task)

    def abort(self, _: Any) -> trio_low.Abort:
        self._task = None
        self._future.remove_waiter(self)
        return trio_low.Abort.SUCCEEDED


class _ThreadWaiter:
    """A thread which blocks until the future is set."""

    __slots__ = ("_gate",)

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self, timeout_s: float | None) -> bool:
        return self._gate.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0))

    def wake(self) -> None:
        self._gate.release()


class _Failure:
    """An exception as a result."""

    __slots__ = ("error", "traceback")

    def __init__(self, error: BaseException, traceback: TracebackType | None) -> None:
        self.error = error
        self.traceback = traceback

    def raise_again(self) -> BaseException:
        return self.error.with_traceback(self.traceback)


class _Derived:
    """A result made from other futures' results, when it is first asked for."""

    __slots__ = ("_combine", "_sources", "value")

    def __init__(self, combine: Callable[..., Any], sources: tuple[pykka.Future[Any], ...]) -> None:
        self._combine = combine
        self._sources = sources
        self.value: Any = _PENDING

    def get(self, timeout_s: float | None) -> Any:
        if self.value is _PENDING:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            values = [
                source.get(timeout=None if deadline is None else deadline - time.monotonic())
                for source in self._sources
            ]
            self.value = self._combine(*values)
        return self.value

    async def wait(self) -> Any:
        if self.value is _PENDING:
            values = [
                await source
                if isinstance(source, TrioFuture)
                else await trio.to_thread.run_sync(source.get, abandon_on_cancel=True)
                for source in self._sources
            ]
            self.value = self._combine(*values)
        return self.value


class _Hooked:
    """A result which a caller's own blocking function gets."""

    __slots__ = ("_hook", "value")

    def __init__(self, hook: Callable[[float | None], Any]) -> None:
        self._hook = hook
        self.value: Any = _PENDING

    def get(self, timeout_s: float | None) -> Any:
        if self.value is _PENDING:
            self.value = self._hook(timeout_s)
        return self.value

    async def wait(self) -> Any:
        if self.value is _PENDING:
            return await trio.to_thread.run_sync(self.get, None, abandon_on_cancel=True)
        return self.value


class TrioFuture(pykka.Future[T]):
    """A value that is there now or later.

    ``await future`` in a trio task, of any loop; ``future.get(timeout=...)`` in a plain thread.
    Set once, from any thread. Cancelling an await leaves the future as it is.
    """

    __slots__ = ("_result", "_waiters")

    def __init__(self) -> None:
        # pykka's own fields are not needed, and would double the cost of a future.
        self._result: Any = _PENDING
        self._waiters: list[_Waiter] | _Waiter | None = None

    def __repr__(self) -> str:
        result = self._result
        if result is _PENDING:
            state = "pending"
        elif type(result) is _Failure:
            state = f"failed with {result.error!r}"
        elif type(result) in _LAZY:
            state = "derived"
        else:
            state = f"set to {result!r}"
        return f"<TrioFuture {state}>"

    def done(self) -> bool:
        """Whether it is set; a derived future never counts as set, for it is made when asked."""
        return self._result is not _PENDING and type(self._result) not in _LAZY

    def get(self, *, timeout: float | None = None) -> T:
        """Block until it is set, at most `timeout` seconds; return the value or raise the error.

        Raises:
            pykka.Timeout: not set in time.
            WouldDeadlock: it is not set, and a kernel runs on this thread.
        """
        if self._result is _PENDING:
            refuse_to_block("future.get()")
            waiter = _ThreadWaiter()
            if self._add_waiter(waiter) and not waiter.wait(timeout):
                self.remove_waiter(waiter)
                raise pykka.Timeout(f"{timeout} seconds")
        result = self._result
        if type(result) is _Failure:
            raise result.raise_again()
        if type(result) in _LAZY:
            return cast(T, result.get(timeout))
        return cast(T, result)

    def __await__(self) -> Generator[Any, Any, T]:
        if self._result is _PENDING:
            waiter = _TaskWaiter(self)
            if self._add_waiter(waiter):
                yield from trio_low.wait_task_rescheduled(waiter.abort).__await__()
        else:
            yield from trio_low.checkpoint().__await__()
        result = self._result
        if type(result) is _Failure:
            raise result.raise_again()
        if type(result) in _LAZY:
            return cast(T, (yield from result.wait().__await__()))
        return cast(T, result)

    __iter__ = __await__

    def set(self, value: T | None = None) -> None:
        """Set the value.

        Raises:
            queue.Full: it is set already, or derived.
        """
        if not self.resolve(value):
            raise queue.Full

    def set_exception(self, exc_info: OptExcInfo | None = None) -> None:
        """Set an exception, by default the one which is being handled.

        Raises:
            queue.Full: it is set already, or derived.
        """
        kind, error, traceback = exc_info or sys.exc_info()
        if error is None:
            if kind is None:
                raise ValueError("set_exception() outside of an except block needs exc_info")
            error = kind()
        if not self.resolve(_Failure(error, traceback)):
            raise queue.Full

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Let the blocking function `func(timeout)` make the value when it is first asked for.

        Awaiting such a future runs `func` in a worker thread.

        Raises:
            queue.Full: it is set already.
        """
        if not self.resolve(_Hooked(func)):
            raise queue.Full

    def resolve(self, result: Any) -> bool:
        """Set the value unless there is one; whether it was set now."""
        with _lock:
            if self._result is not _PENDING:
                return False
            self._result = result
            waiters = self._waiters
            self._waiters = None
        if waiters is not None:
            if isinstance(waiters, list):
                for waiter in waiters:
                    waiter.wake()
            else:
                waiters.wake()
        return True

    def fail(self, error: BaseException) -> bool:
        """Set `error` unless there is a result; whether it was set now."""
        return self.resolve(_Failure(error, error.__traceback__))

    def map(self, func: Callable[[T], M]) -> TrioFuture[M]:
        """A future of `func(value)`."""
        return _derived(func, self)

    def filter(
        self: pykka.Future[Iterable[J]], func: Callable[[J], bool]
    ) -> TrioFuture[Iterable[J]]:
        """A future of the items for which `func(item)` is true."""

        def keep(items: Iterable[J]) -> list[J]:
            return [item for item in items if func(item)]

        return _derived(keep, self)

    def join(self, *futures: pykka.Future[Any]) -> TrioFuture[Iterable[Any]]:
        """A future of the list of this value and the others'."""

        def gather(*values: Any) -> list[Any]:
            return list(values)

        return _derived(gather, self, *futures)

    def reduce(
        self: pykka.Future[Iterable[J]], func: Callable[[R, J], R], *args: R
    ) -> TrioFuture[R]:
        """A future of `functools.reduce(func, value, *args)`."""

        def fold(items: Iterable[J]) -> R:
            return functools.reduce(func, items, *args)

        return _derived(fold, self)

    def _add_waiter(self, waiter: _Waiter) -> bool:
        """Whether there is anything to wait for."""
        with _lock:
            if self._result is not _PENDING:
                return False
            if self._waiters is None:
                self._waiters = waiter
            elif isinstance(self._waiters, list):
                self._waiters.append(waiter)
            else:
                self._waiters = [self._waiters, waiter]
            return True

    def remove_waiter(self, waiter: _Waiter) -> None:
        """Forget somebody who waits no more."""
        with _lock:
            if self._waiters is waiter:
                self._waiters = None
            elif isinstance(self._waiters, list) and waiter in self._waiters:
                self._waiters.remove(waiter)


_LAZY: Final = frozenset({_Derived, _Hooked})


def _derived(combine: Callable[..., Any], *sources: pykka.Future[Any]) -> TrioFuture[Any]:
    future: TrioFuture[Any] = TrioFuture()
    future.resolve(_Derived(combine, sources))
    return future
