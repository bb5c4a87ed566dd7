"""The clocks that a benchmark reads: of the wall, of this process, of this thread."""

from __future__ import annotations

import time
from typing import NamedTuple

__all__ = ["Clocks"]


class Clocks(NamedTuple):
    """One reading of all three, or the time between two, in seconds."""

    wall_s: float
    process_s: float
    """Time on a processor, of all threads: other programs disturb it less than the wall's."""
    thread_s: float
    """The same of the calling thread alone."""

    @classmethod
    def now(cls) -> Clocks:
        return cls(time.perf_counter(), time.process_time(), time.thread_time())

    def since(self, earlier: Clocks) -> Clocks:
        return Clocks(*(now - then for now, then in zip(self, earlier, strict=True)))
