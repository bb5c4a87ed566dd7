"""The order in which trio runs its tasks, drawn from a seed: any that it may choose, and late.

trio promises nothing about which of the tasks that can run does so first, or in which pass of the
loop. In practice all of them run in the next pass; what counts on that breaks on a busy day. Here
some are held back for a pass or two, or ten.

    pytest --disorder 7

draws from 7 and each test's name. What a test does with real files, processes and sockets is not
the same again from the same seed, but all that it does on a virtual clock is.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from random import Random
from typing import Any, Final

__all__ = ["Disorder", "disordered"]

_HELD: Final = 0.25
"""How likely a task is held back, in a pass in which any is."""

_loop: Final[Any] = import_module("trio._core._run")


class Disorder(Random):
    """What trio shuffles its tasks with: they are those of the pass that begins."""

    def shuffle(self, x: Any) -> None:
        """Put the tasks into any order, and hold some of them back for the next pass."""
        super().shuffle(x)
        if self.random() < 0.5:
            return
        later = _loop.GLOBAL_RUN_CONTEXT.runner.runq
        now: list[Any] = []
        for task in x:
            (later if self.random() < _HELD else now).append(task)
        x[:] = now


@contextmanager
def disordered(seed: int | str) -> Generator[None]:
    """Run tasks in the order that is drawn from `seed`, in this thread, until the block ends."""
    before = _loop._ALLOW_DETERMINISTIC_SCHEDULING, _loop._r
    _loop._ALLOW_DETERMINISTIC_SCHEDULING, _loop._r = True, Disorder(seed)
    try:
        yield
    finally:
        _loop._ALLOW_DETERMINISTIC_SCHEDULING, _loop._r = before
