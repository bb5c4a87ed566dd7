"""The HTTP server under every fake platform: real sockets, and the ways in which they fail.

hypercorn speaks HTTP, but connections are accepted here, so that a fake can cut the one that a
request came in on without a byte of an answer, and can be unreachable for a while at the same port.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState

from .background import open_background
from .ports import kept_port

__all__ = ["Pulse", "WebServer", "cut_connection", "open_web"]

_PATIENCE_S: Final = 30.0
"""Seconds a test waits for what a peer should do before it fails."""

_connection: ContextVar[trio.SocketStream] = ContextVar("connection")

Application: TypeAlias = Callable[..., Any]
"""An ASGI application; frameworks write its type in as many ways as there are frameworks."""


def cut_connection() -> None:
    """Reset the connection of the request that is being answered: nothing of an answer arrives."""
    stream = _connection.get()
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.socket.close()


class Pulse:
    """Wakes whoever waits for a condition each time that something has changed."""

    def __init__(self) -> None:
        self._event = trio.Event()
        self.count = 0
        """How often something has changed."""

    def beat(self) -> None:
        """Something has changed."""
        self.count += 1
        self._event.set()
        self._event = trio.Event()

    async def wait(self) -> None:
        """Return at the next change."""
        await self._event.wait()

    async def until(self, holds: Callable[[], bool], *, within_s: float = _PATIENCE_S) -> None:
        """Return when `holds()`; raises TooSlowError if that takes longer than `within_s`."""
        with trio.fail_after(within_s):
            while not holds():
                await self._event.wait()


class _Connection(TCPServer):
    """One connection, which is over once its client is gone.

    hypercorn's own waits for the next request of a client that left in the middle of one.
    """

    _ended = False

    async def _read_data(self) -> None:
        await super()._read_data()
        self._ended = True
        await self.idle_task.stop()

    async def _idle_timeout(self) -> None:
        if not self._ended:
            await super()._idle_timeout()


class WebServer:
    """An application at one address of loopback, which can be taken away and given back."""

    def __init__(self, app: Application, port: int, nursery: trio.Nursery) -> None:
        self._config = Config()
        self._config.errorlog = None
        self._config.keep_alive_timeout = 60
        self._app: AppWrapper = ASGIWrapper(app)
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._closed = trio.Event()
        self.port = port

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    async def up(self) -> None:
        """Listen, at the same port as before."""
        self._scope = trio.CancelScope()
        self._closed = trio.Event()
        await self._nursery.start(self._serve)

    async def down(self) -> None:
        """Refuse connections, and break those that there are."""
        self._scope.cancel()
        await self._closed.wait()

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self._scope:
                listeners = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
                task_status.started()
                await trio.serve_listeners(self._talk, listeners)
        finally:
            self._closed.set()

    async def _talk(self, stream: trio.SocketStream) -> None:
        _connection.set(stream)
        context = WorkerContext(None)
        await _Connection(self._app, self._config, context, ConnectionState({}), stream)  # type: ignore[arg-type]  # it takes plain streams, too


@asynccontextmanager
async def open_web(app: Application, *, port: int = 0) -> AsyncGenerator[WebServer]:
    """Serve `app` on 127.0.0.1 until the block ends; port 0 takes one of its own."""
    with kept_port() if port == 0 else nullcontext(port) as kept:
        async with open_background() as nursery:
            server = WebServer(app, kept, nursery)
            await server.up()
            yield server
