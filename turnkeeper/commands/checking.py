"""`verify`: read everything, replay it, and compare."""

from __future__ import annotations

import sys
import time
from typing import Final

from ..storage.blobs import Blobs
from ..storage.errors import StoreDamaged
from ..verify import Problem, Verification
from ..words import counted
from .base import Command, CommandError, Exit, Invocation
from .output import print_json, print_line
from .reading import frozen

__all__ = ["COMMANDS"]

_PROGRESS_S: Final = 0.2
"""Seconds between two signs of life on a terminal."""


def _verify(invocation: Invocation) -> int:
    progress = _Progress() if sys.stderr.isatty() else None
    try:
        with frozen(invocation.state_dir) as reads:
            blobs = Blobs(invocation.state_dir, _now_us)
            examined = Verification(reads, _now_us(), progress, blobs)
            problems: list[Problem] = []
            for problem in examined.problems():
                problems.append(problem)
                if not invocation.json:
                    print_line(str(problem))
    except StoreDamaged as damage:
        raise CommandError(str(damage)) from damage
    finally:
        if progress is not None:
            progress.clear()
    if invocation.json:
        print_json(
            {"sessions": examined.sessions, "records": examined.records, "problems": problems}
        )
    else:
        what = f"{counted(examined.sessions, 'session')}, {counted(examined.records, 'record')}"
        print_line(f"{what}: {counted(len(problems), 'problem') if problems else 'no problems'}")
    return Exit.FAILED if problems else Exit.OK


def _now_us() -> int:
    return time.time_ns() // 1000


class _Progress:
    """A line on stderr that tells how far it is."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _PROGRESS_S
        self._shown = False

    def __call__(self, records: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PROGRESS_S
            self._shown = True
            sys.stderr.write(f"\r{records} records read")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave no trace."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")


COMMANDS: Final = (
    Command(
        words=("verify",),
        summary="read every record and kept file, replay the logs, and compare what follows",
        action=_verify,
        examples=("turnkeeper verify", "turnkeeper verify --json"),
        lists=True,
    ),
)
