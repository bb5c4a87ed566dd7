"""Connections that are not cut in the middle of a word when what holds them is cancelled."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

__all__ = ["outliving_nursery"]


@asynccontextmanager
async def outliving_nursery(grace_s: float = 0.0) -> AsyncGenerator[trio.Nursery]:
    """A nursery whose tasks still run while a cancelled block says its goodbyes.

    Args:
        grace_s: seconds that they then have, from the end of the block on.
    """
    over = trio.Event()
    async with trio.open_nursery() as outer:
        inner: trio.Nursery = await outer.start(_hold_nursery, over)
        try:
            yield inner
        finally:
            inner.cancel_scope.deadline = trio.current_time() + grace_s
            over.set()


async def _hold_nursery(over: trio.Event, task_status: trio.TaskStatus[trio.Nursery]) -> None:
    async with trio.open_nursery() as nursery:
        await trio.lowlevel.checkpoint_if_cancelled()  # or nobody could end what has a shield
        nursery.cancel_scope.shield = True
        task_status.started(nursery)
        await over.wait()
