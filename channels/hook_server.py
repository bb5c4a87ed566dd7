"""The one HTTP server that all hooks share.

Hypercorn speaks the protocol of one connection at a time, Starlette reads requests and writes
answers; what is accepted, how much of it and for how long is decided here. Hypercorn's own `serve`
accepts connections without a bound, and lets a client that reads nothing hold a task for ever, so
connections are accepted here.
"""

from __future__ import annotations

import logging
import re
from functools import partial
from typing import Final, cast

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework

from .hook_limits import HookLimits
from .hook_requests import Requests
from .hook_spell import Spell
from .hook_wire import Connection, is_loopback, listening_socket, parse_listen
from .hooks import Hook, HookAnswer, HookDenied, HookHead
from .outliving import outliving_nursery

__all__ = ["HEALTH_PATH", "HookLimits", "HookServer"]

_logger = logging.getLogger(__name__)

HEALTH_PATH: Final = "/healthz"
"""Answers `ok` to whoever asks."""

_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]{1,128}){1,8}")
_QUEUED_PIECES: Final = 2
"""Pieces of a body, of 64 KiB at most, that are read ahead of a hook. The end of a request without
a body and the end of its connection must both fit in, for nobody reads the latter."""
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
        # Both speak ASGI; they only type its messages differently.
        self._app = ASGIWrapper(cast(ASGIFramework, Requests(self._hooks, self._limits)))
        self._connections = 0
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
            context = WorkerContext(None)
            try:
                async with outliving_nursery(self._limits.grace_s) as connections:
                    listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
                    task_status.started(self._url)
                    try:
                        await trio.serve_listeners(
                            partial(self._connect, self._config(), context),
                            [listener],
                            handler_nursery=connections,
                        )
                    finally:
                        # From here on, whoever is idle is closed, and so is each after its answer.
                        await context.terminated.set()
            finally:
                self._url = None

    async def _connect(
        self, config: Config, context: WorkerContext, stream: trio.SocketStream
    ) -> None:
        if self._connections >= self._limits.max_connections:
            self._crowded.refuses()
            with trio.move_on_after(self._limits.linger_s):
                await stream.send_all(_FULL)
            return
        self._connections += 1
        try:
            await Connection(stream, self._limits).serve(self._app, config, context)
        except Exception:
            _logger.exception("a connection failed")
        finally:
            self._connections -= 1

    def _config(self) -> Config:
        config = Config()
        config.accesslog = None
        config.errorlog = logging.getLogger("hypercorn.error")
        config.include_server_header = False
        config.h11_max_incomplete_size = self._limits.max_head_bytes
        config.keep_alive_timeout = self._limits.idle_timeout_s
        config.keep_alive_max_requests = self._limits.max_requests_per_connection
        config.max_app_queue_size = _QUEUED_PIECES
        return config


class _Health:
    """Says that the server is there."""

    max_body_bytes = 0

    def admit(self, head: HookHead, /) -> HookAnswer:
        if head.method not in {"GET", "HEAD"}:
            raise HookDenied(405, headers=(("allow", "GET, HEAD"),))
        return HookAnswer(body=b"ok")

    async def hear(self, _head: HookHead, _body: bytes, /) -> HookAnswer:
        raise HookDenied(405)
