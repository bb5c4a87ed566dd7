"""The loop-thread half of a store: takes batches in, tells their fate, ends the store.

Owns the pending groups. A store adds the other half: something that takes groups, makes them
durable in order, and reports each one back on the loop thread.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import trio

from .base import Batch, Table, Then
from .batch import Pending
from .errors import StorageError, StoreClosed

__all__ = ["Committer"]


class Committer(ABC):
    """Submission, completion, failure, closing; :class:`~.base.Store` says what each promises."""

    def __init__(self) -> None:
        self._pending: Final = Pending(self)
        self._refusal: StorageError | None = None
        self._failure: StorageError | None = None
        self._failed: Final = trio.Event()
        self._drained: Final = trio.Event()

    def submit(self, batch: Batch, then: Then | None = None) -> None:
        """Queue `batch`; see :meth:`.base.Store.submit`."""
        if self._refusal is not None:
            raise self._refused()
        self._pending.add(batch, then)
        self._wake_writer()

    async def commit(self, batch: Batch) -> None:
        """Submit `batch` and wait until it is durable; see :meth:`.base.Store.commit`."""
        task = trio.lowlevel.current_task()
        waiting = True
        failure: StorageError | None = None

        def then(error: StorageError | None) -> None:
            nonlocal failure
            failure = error
            if waiting:
                trio.lowlevel.reschedule(task)

        def stop_waiting(_raise_cancel: Callable[[], None]) -> trio.lowlevel.Abort:
            nonlocal waiting
            waiting = False
            return trio.lowlevel.Abort.SUCCEEDED

        self.submit(batch, then)
        await trio.lowlevel.wait_task_rescheduled(stop_waiting)
        if failure is not None:
            raise failure

    @property
    def failure(self) -> StorageError | None:
        """Why the store stopped taking batches, or None."""
        return self._failure

    async def wait_failed(self) -> StorageError:
        """Return once a commit has failed."""
        await self._failed.wait()
        assert self._failure is not None
        return self._failure

    @abstractmethod
    def get(self, table: Table, key: bytes) -> bytes | None:
        """The committed value at `key`, or None."""

    @abstractmethod
    def last_seq(self, stream: int) -> int:
        """The committed sequence number of the stream's newest record; 0 when it has none."""

    @abstractmethod
    def _wake_writer(self) -> None:
        """Have the oldest group that waits written: not at once, for others may join it."""

    def _settle(self) -> None:
        """Loop thread: the oldest group that was taken is durable."""
        self._pending.pop().settle(None)
        if self._refusal is not None and not self._pending:
            self._drained.set()

    def _fail(self, failure: StorageError) -> None:
        """Loop thread: a commit failed; whatever is pending fails with it, and all that follows."""
        self._failure = self._refusal = failure
        for group in self._pending.pop_all():
            group.settle(failure)
        self._failed.set()
        self._drained.set()

    async def _drain(self) -> None:
        """Refuse what comes from now on, and wait for what is pending."""
        if self._refusal is None:
            self._refusal = StoreClosed("the store has been closed")
        if self._pending:
            await self._drained.wait()

    def _refused(self) -> StorageError:
        if self._failure is not None:
            return StoreClosed(f"the store takes nothing more: {self._failure}")
        assert self._refusal is not None
        return self._refusal
