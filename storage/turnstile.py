"""When the loop hands work to the writer thread, and when it waits for it.

A thread that comes back from C waits for the interpreter lock until its holder sleeps, or until the
switch interval has passed without the lock being given up at all. A busy trio loop gives it up
between two passes, for the microseconds in which it asks for events, and takes it again before the
writer has woken: the interval starts anew each time, and a commit of 0.1 ms takes seconds. LMDB's
binding moreover gives the lock up at every single put.

So the loop hands over between two passes, and waits there until the transaction is prepared, which
takes microseconds while nobody competes. While the disk works, the loop goes on. Once the disk is
done, the loop waits again between two passes, until the writer has said so. The switch interval,
which belongs to the whole process, stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import trio

__all__ = ["Turnstile"]

_MAX_WAIT_S: Final = 0.02
"""Longest wait for the writer at once; mostly microseconds, unless others compete too."""


class Turnstile(trio.abc.Instrument):
    """Between two passes of the loop: hands work over, and lets the writer go first.

    Args:
        hand_over: gives the waiting work to the writer.
        last_txn: number of the newest transaction that is written, if not yet durable.
    """

    def __init__(self, hand_over: Callable[[], None], last_txn: Callable[[], int]) -> None:
        self.has_work = False
        """Loop: there is something to hand over."""
        self._hand_over: Final = hand_over
        self._last_txn: Final = last_txn
        self._writer_works = False
        self._just_settled = False
        self._committing: int | None = None
        self._writer_is_free = True
        """Whether the writer could go on without the interpreter, as far as it has said."""
        self._loop_waits = False
        self._let_go: Final = threading.Lock()
        """Locked, but for the moment in which the writer lets the waiting loop go."""
        self._let_go.acquire()

    def before_io_wait(self, timeout: float) -> None:
        """Trio: every task of this pass has run; `timeout` is 0 when others are ready to."""
        busy = timeout <= 0
        if self._writer_works:
            committing = self._committing
            if busy and committing is not None and self._last_txn() >= committing:
                self._wait(committing)
        # Whoever was just told of a commit is about to submit again: one transaction for them all.
        elif self.has_work and not (busy and self._just_settled):
            self._writer_works = True
            self._writer_is_free = False
            self._hand_over()
            self._wait()
        self._just_settled = False

    def settled(self) -> None:
        """Loop: the writer has nothing to do, and those who waited for it have been told."""
        self._writer_works = False
        self._just_settled = True

    def writer_commits(self, txn: int) -> None:
        """Writer: only the disk is needed from here on."""
        self._committing = txn
        self.writer_sleeps()

    def writer_returns(self) -> None:
        """Writer: back from the disk."""
        self._writer_is_free = False
        self._committing = None

    def writer_sleeps(self) -> None:
        """Writer: the interpreter is not needed from here on."""
        self._writer_is_free = True
        if self._loop_waits:
            self._loop_waits = False
            # Unlocked already if the loop stopped waiting just before it was let go.
            if self._let_go.locked():
                self._let_go.release()

    def _wait(self, committing: int | None = None) -> None:
        """Wait until the writer lets go; also for the report of `committing`, which is written."""
        self._loop_waits = True
        # Asked after the flag is up: the writer may have got past it a moment ago.
        if not self._writer_is_free or (committing is not None and self._committing == committing):
            self._let_go.acquire(timeout=_MAX_WAIT_S)
        self._loop_waits = False
