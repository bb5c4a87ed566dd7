"""Lets the writer thread have the interpreter lock when the loop would not leave it any.

A thread that comes back from C waits for the lock until its holder sleeps, or until the switch
interval has passed without the lock being given up at all. A busy trio loop gives it up between two
passes, for the microseconds in which it asks for events, and takes it again before the writer has
woken: the interval starts anew each time, and a commit of 0.1 ms takes seconds. So at the end of a
pass after which the loop will not sleep, the loop thread waits until the writer needs the lock no
more: while it prepares a transaction, and while it reports one; not while the disk works. The
switch interval, which belongs to the whole process, stays as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

import trio

__all__ = ["Turnstile"]

_MAX_WAIT_S: Final = 0.002
"""Longest wait for the writer, once a pass; mostly microseconds, unless others compete too."""


class Turnstile(trio.abc.Instrument):
    """Between two passes of the loop: hands work over, and lets the writer go first.

    Args:
        hand_over: gives the waiting work to the writer.
        last_txn: number of the newest transaction that is on its way out of the page cache or done.
    """

    def __init__(self, hand_over: Callable[[], None], last_txn: Callable[[], int]) -> None:
        self.has_work = False
        """Set by the loop: hand over at the end of this pass."""
        self._hand_over: Final = hand_over
        self._last_txn: Final = last_txn
        self._writer_works = False
        self._committing: int | None = None
        self._loop_waits = False
        self._let_go: Final = threading.Semaphore(0)

    def before_io_wait(self, timeout: float) -> None:
        """Trio: every task has run; `timeout` is 0 when more are waiting to."""
        if self.has_work:
            self.has_work = False
            self._writer_works = True
            self._hand_over()
        if timeout > 0 or not self._writer_works:
            return
        committing = self._committing
        if committing is None or self._last_txn() >= committing:
            self._loop_waits = True
            self._let_go.acquire(timeout=_MAX_WAIT_S)
            self._loop_waits = False

    def writer_commits(self, txn: int) -> None:
        """Writer: only the disk is needed from here on."""
        self._committing = txn
        self._let_loop_go()

    def writer_goes_on(self) -> None:
        """Writer: back from the disk."""
        self._committing = None

    def writer_sleeps(self) -> None:
        """Writer: nothing to do until the next hand-over."""
        self._writer_works = False
        self._let_loop_go()

    def _let_loop_go(self) -> None:
        if self._loop_waits:
            self._loop_waits = False
            self._let_go.release()
