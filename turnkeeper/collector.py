"""The cyclic garbage collector, kept out of the way of objects that form no cycles."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager

__all__ = ["collector_paused", "relax_collector"]


@contextmanager
def collector_paused() -> Generator[None]:
    """Look for no cycles while the block runs: among 100,000 new rows that takes a third of it."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def relax_collector() -> None:
    """Set the collector up for a process that is a gateway and nothing else.

    A turn leaves no cycles behind, but each makes hundreds of objects, and by default the collector
    looks through a good part of the heap after every 700 that live on. What was imported is set
    aside for good, and the rest is looked at less often. `turnkeeper run` and `turnkeeper.run` do
    this; a program that embeds a runtime may, since the collector is its own.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)
