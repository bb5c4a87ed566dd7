"""A thread that names the actor which keeps the loop from turning.

It costs the loop one counter a turn: the actor is found in the loop thread's stack, and only once a
stall is suspected.
"""
# The kernel's modules are one unit: they use each other's internals, and nobody else does.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import logging
import sys
import threading
import time
from types import CodeType, FrameType
from typing import Final

import trio.abc

from .cell import Cell

__all__ = ["Watchdog"]

_log: Final = logging.getLogger(__name__)

_RUNS_HANDLERS: Final[frozenset[CodeType]] = frozenset(
    function.__code__ for function in (Cell._drain, Cell._finish)
)
_CHECKS_PER_THRESHOLD: Final = 4
"""A stall is reported at most a quarter of the threshold late."""


class Watchdog(trio.abc.Instrument):
    """Watches the loop of one thread from another thread."""

    def __init__(self, thread_id: int, stall_after_s: float) -> None:
        self._thread_id = thread_id
        self._stall_after_s = stall_after_s
        self._turns = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="turnkeeper-watchdog", daemon=True)

    def after_io_wait(self, timeout: float) -> None:
        """Count a turn of the loop."""
        self._turns += 1

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        turns, since, reported = self._turns, time.monotonic(), False
        while not self._ended.wait(self._stall_after_s / _CHECKS_PER_THRESHOLD):
            now = time.monotonic()
            if self._turns != turns:
                turns, since, reported = self._turns, now, False
            elif not reported and now - since >= self._stall_after_s:
                reported = self._report(now - since)

    def _report(self, stalled_s: float) -> bool:
        """Log which actor is running; False when none is, as on an idle loop."""
        innermost = sys._current_frames().get(self._thread_id)
        frame: FrameType | None = innermost
        handler: FrameType | None = innermost
        while frame is not None:
            if frame.f_code in _RUNS_HANDLERS:
                assert handler is not None
                _log.warning(
                    "%s has held the loop for %.3g s: %s, line %d of %s",
                    frame.f_locals["self"],
                    stalled_s,
                    handler.f_code.co_qualname,
                    handler.f_lineno,
                    handler.f_code.co_filename,
                )
                return True
            if not frame.f_code.co_filename.startswith(_OURS):
                handler = frame
            frame = frame.f_back
        return False


_OURS: Final = __file__.rpartition("/")[0] + "/"
