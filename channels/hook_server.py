"""The one HTTP server that all hooks share.

It is a small one of our own, on h11: platforms ask for nothing but HTTP/1.1, and each of the larger
ones takes a task, a channel and several sends for a request, and knows no bound on connections, on
the patience with a client that reads nothing, or on the other protocols that strangers may begin.
"""

from __future__ import annotations

import logging
import re
from typing import Final

import trio

from .hook_connection import Connection
from .hook_limits import HookLimits
from .hook_requests import Requests
from .hook_spell import Spell
from .hook_wire import is_loopback, listening_socket, parse_listen
from .hooks import Hook, HookAnswer, HookDenied, HookHead

__all__ = ["HEALTH_PATH", "HookLimits", "HookServer"]

_logger = logging.getLogger(__name__)

HEALTH_PATH: Final = "/healthz"
"""Answers `ok` to whoever asks."""

_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]{1,128}){1,8}")
_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)


class HookServer:
    """Serves hooks, each under its own path.

    A hook that fails is answered for with 500, and the others do not notice.
    """

    def __init__(self, *, listen: str = "127.0.0.1:0", limits: HookLimits | None = None) -> None:
        """Nothing listens before `serve`.

        Args:
            listen: address and port; port 0 for one that is free, see `url`.
            limits: see there.

        Raises:
            ValueError: `listen` is no address and port.
        """
        self._host, self._port = parse_listen(listen)
        self._limits = limits or HookLimits()
        self._hooks: dict[str, Hook] = {HEALTH_PATH: _Health()}
        self._requests = Requests(self._hooks, self._limits)
        self._connections: set[Connection] = set()
        self._stopped = trio.Event()
        self._crowded = Spell(
            f"{self._limits.max_connections} connections are open, and further ones get 503: let "
            "those who call keep fewer open, or a proxy in front share them"
        )
        self._url: str | None = None

    def __repr__(self) -> str:
        return f"<HookServer at {self._url}: {', '.join(sorted(self._hooks))}>"

    @property
    def exposed(self) -> bool:
        """Whether it listens beyond this machine."""
        return not is_loopback(self._host)

    @property
    def url(self) -> str:
        """Where it listens, e.g. `http://127.0.0.1:8080`.

        Raises:
            RuntimeError: it does not listen.
        """
        if self._url is None:
            raise RuntimeError("the server of hooks does not listen")
        return self._url

    def mount(self, path: str, hook: Hook) -> None:
        """Hand what is sent to a path to a hook, from now on.

        Raises:
            ValueError: the path is taken, or is not plain, e.g. `/hooks/mine`.
        """
        if not _PATH.fullmatch(path):
            raise ValueError(f"{path!r} is not a plain path such as /hooks/mine")
        if path in self._hooks:
            raise ValueError(f"the path {path} is taken")
        self._hooks[path] = hook

    def unmount(self, path: str) -> None:
        """Answer 404 there, from now on; what is being heard is heard to its end.

        Raises:
            KeyError: no hook is there.
        """
        del self._hooks[path]

    async def serve(self, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; started with the `url`.

        Requests that are being heard then get `grace_s` to end. Nothing is left when it returns.

        Raises:
            OSError: the address cannot be listened on; the text says why.
            RuntimeError: it listens already.
        """
        if self._url is not None:
            raise RuntimeError(f"the server of hooks listens already, at {self._url}")
        with listening_socket(self._host, self._port) as listening:
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._url = f"http://{host}:{listening.getsockname()[1]}"
            self._stopped = trio.Event()
            try:
                async with trio.open_nursery() as nursery:
                    connections = await nursery.start(self._hold_connections)
                    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
                    task_status.started(self._url)
                    try:
                        await trio.serve_listeners(
                            self._connect, [listener], handler_nursery=connections
                        )
                    finally:
                        # From here on, whoever is idle is closed, and so is each after its answer.
                        self._stopped.set()
                        for connection in self._connections:
                            connection.stop()
            finally:
                self._url = None

    async def _hold_connections(
        self, task_status: trio.TaskStatus[trio.Nursery] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold a nursery whose tasks outlive the cancellation of the server by the grace."""
        async with trio.open_nursery() as connections:
            connections.cancel_scope.shield = True
            task_status.started(connections)
            await self._stopped.wait()
            connections.cancel_scope.deadline = trio.current_time() + self._limits.grace_s

    async def _connect(self, stream: trio.SocketStream) -> None:
        if len(self._connections) >= self._limits.max_connections:
            self._crowded.refuses()
            with trio.move_on_after(self._limits.linger_s):
                await stream.send_all(_FULL)
            return
        connection = Connection(stream, self._limits)
        if self._stopped.is_set():
            connection.stop()  # it was accepted just before
        self._connections.add(connection)
        try:
            await connection.serve(self._requests.answer)
        except Exception:
            _logger.exception("a connection failed")
        finally:
            self._connections.remove(connection)


class _Health:
    """Says that the server is there."""

    max_body_bytes = 0

    def admit(self, head: HookHead, /) -> HookAnswer:
        if head.method not in {"GET", "HEAD"}:
            raise HookDenied(405, headers=(("allow", "GET, HEAD"),))
        return HookAnswer(body=b"ok")

    async def hear(self, _head: HookHead, _body: bytes, /) -> HookAnswer:
        raise HookDenied(405)
