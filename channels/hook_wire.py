"""The TCP side of the server of hooks: where it listens, and one connection."""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Final, cast

import trio
from hypercorn.config import Config
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper

from .hook_limits import HookLimits

__all__ = ["CONNECTION", "Connection", "is_loopback", "listening_socket", "parse_listen"]

CONNECTION: Final = "turnkeeper.connection"
"""Where a request finds its `Connection` in the `state` of its scope."""

_LISTEN: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<v4>[^:\[\]]+)):(?P<port>[0-9]{1,5})"
)
_BACKLOG: Final = 128
"""Connections that the kernel holds until they are accepted."""


def parse_listen(listen: str) -> tuple[str, int]:
    """Split `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`; port 0 is one that is free.

    Raises:
        ValueError: it is nothing of the kind.
    """
    match = _LISTEN.fullmatch(listen)
    host = (match["v6"] or match["v4"]) if match else ""
    if host == "localhost":
        host = "127.0.0.1"
    try:
        ip_address(host)
    except ValueError:
        host = ""
    if match is None or not host or int(match["port"]) > 65_535:
        raise ValueError(f"{listen!r} is no address and port, such as 127.0.0.1:8080")
    return host, int(match["port"])


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    return ip_address(host).is_loopback


def listening_socket(host: str, port: int) -> socket.socket:
    """Listen, at once.

    Raises:
        OSError: nobody can listen there; the text says why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` would be the whole of IPv4 as well, on some machines.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        why = {
            errno.EADDRINUSE: f"port {port} is taken",
            errno.EACCES: f"port {port} needs privileges",
            errno.EADDRNOTAVAIL: f"this machine has no address {host}",
        }.get(error.errno or 0, error.strerror or "it cannot be listened on")
        raise OSError(error.errno, f"{why} ({host}:{port})") from error
    return listener


class Connection:
    """One client, as the stream that Hypercorn reads and writes.

    Whoever closes it ends everything that is under way on it.
    """

    def __init__(self, stream: trio.SocketStream, limits: HookLimits) -> None:
        self.socket = stream.socket
        self._stream = stream
        self._limits = limits
        self._scope = trio.CancelScope()
        self._server: TCPServer | None = None
        self._unsent = b""
        self._answering = trio.Lock()
        """Held by the task that puts an answer together in `_unsent`."""
        self._sending = trio.Lock()

    async def serve(self, app: AppWrapper, config: Config, context: WorkerContext) -> None:
        """Speak HTTP until either side has had enough."""
        # It asks for no more of a stream than is here; `do_handshake` is missing on purpose,
        # because that is how it tells a stream without TLS.
        stream = cast("trio.SSLStream[trio.SocketStream]", self)
        self._server = TCPServer(app, config, context, {CONNECTION: self}, stream)
        with self._scope:
            await self._server
        if not context.terminated.is_set():
            await self._linger()

    def cut(self) -> None:
        """End it now, whatever is under way. What was sent still arrives."""
        self._scope.cancel()

    @asynccontextmanager
    async def in_one_piece(self) -> AsyncGenerator[None]:
        """Let what is sent in the block leave at its end, or when the server closes.

        The server sends head, body and end of an answer one by one, each as a packet of its own.
        """
        async with self._answering:
            yield
        await self._send_unsent()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._server is not None and isinstance(self._server.protocol.protocol, H2Protocol):
            # No platform speaks HTTP/2 here, and whoever began it could stay idle for ever.
            self.cut()
            await trio.lowlevel.checkpoint()
        try:
            data = await self._stream.receive_some(max_bytes)
        except trio.BrokenResourceError:
            data = b""
        if not data and self._server is not None:
            # It would wait for the next request of a client that is gone.
            await self._server.idle_task.stop()
        return data

    async def send_all(self, data: bytes) -> None:
        self._unsent += data
        if not self._answering.locked():
            await self._send_unsent()

    async def send_eof(self) -> None:
        """Nothing yet: `aclose` follows, and says it when nobody is sending any more."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        try:
            if self._answering.statistics().owner is not trio.lowlevel.current_task():
                # The server closes because of what came behind a request: its answer leaves first.
                async with self._answering:
                    pass
            with suppress(trio.BrokenResourceError):  # the client has left
                await self._send_unsent()
        finally:
            self.cut()
        await trio.lowlevel.checkpoint()

    async def _send_unsent(self) -> None:
        async with self._sending:
            data, self._unsent = self._unsent, b""
            if not data:
                return
            # A client that reads nothing must not hold it for ever.
            with trio.move_on_after(self._limits.write_timeout_s) as scope:
                await self._stream.send_all(data)
            if scope.cancelled_caught:
                self.cut()
                raise trio.BrokenResourceError("the client reads nothing")

    async def _linger(self) -> None:
        """Read and throw away what still comes, for a moment.

        Bytes left unread would make the kernel reset the connection, and a client that was refused
        before its body was read might never see why.
        """
        left = self._limits.linger_bytes
        with trio.move_on_after(self._limits.linger_s):
            try:
                await self._stream.send_eof()
                while left > 0 and (piece := await self._stream.receive_some()):
                    left -= len(piece)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # It was quicker.
