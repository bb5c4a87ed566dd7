"""The kernel of a loop, shared by the runtimes that run on it.

It lives in a system task, outside of every nursery and cancel scope of the program: a runtime that
is cancelled needs its actors to end in order, and one that ends must not take those of another one
with it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import copy_context
from threading import get_ident

import trio

from .actors.kernel import Kernel, NoKernel

__all__ = ["kernel_of_this_loop"]


class _Host:
    """A kernel in a system task."""

    def __init__(self) -> None:
        self.users = 0
        self.opened = trio.Event()
        self.unused = trio.Event()
        self.gone = trio.Event()

    async def serve(self) -> None:
        try:
            async with Kernel.open():
                self.opened.set()
                await self.unused.wait()
        finally:
            _host.set(None)
            self.opened.set()
            self.gone.set()


_host: trio.lowlevel.RunVar[_Host | None] = trio.lowlevel.RunVar("turnkeeper kernel", default=None)


@asynccontextmanager
async def kernel_of_this_loop() -> AsyncGenerator[None]:
    """Have a kernel: the embedding program's if it has one, else one that all runtimes share."""
    while (host := _host.get()) is not None and host.unused.is_set():
        await host.gone.wait()
    if host is None and _embedded():
        yield
        return
    if host is None:
        host = _Host()
        _host.set(host)
        trio.lowlevel.spawn_system_task(host.serve, context=copy_context())
    host.users += 1
    try:
        with trio.CancelScope(shield=True):  # a few passes of the loop
            await host.opened.wait()
        yield
    finally:
        host.users -= 1
        if not host.users:
            host.unused.set()
            with trio.CancelScope(shield=True):
                await host.gone.wait()


def _embedded() -> bool:
    try:
        return Kernel.current().thread_id == get_ident()
    except NoKernel:
        return False
