"""A WebSocket to a platform that sends over one, as a client opens it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import cache
from typing import Final, TypeAlias, cast
from urllib.parse import urlsplit

import trio
from trio_websocket import WebSocketConnection, wrap_client_stream

from .base import Unreachable
from .platform_url import LOOPBACK
from .secret import Secret

__all__ = ["is_websocket_url", "open_websocket"]

_CONNECT_S: Final = 15.0
"""Seconds for a connection, and again for the handshake over it."""
_RECEIVE_BYTES: Final = 65_536

_Stream: TypeAlias = trio.SocketStream | trio.SSLStream[trio.SocketStream]


def is_websocket_url(url: str, *, plain: bool) -> bool:
    """Whether what a platform has told is an address that a token may be sent to.

    Args:
        url: as it was told.
        plain: whether a server on this machine may do without encryption.
    """
    try:
        parts = urlsplit(url)
        if not parts.hostname or parts.username is not None or parts.port == 0:
            return False
    except ValueError:
        return False
    plainly = plain and parts.scheme == "ws" and parts.hostname in LOOPBACK
    return parts.scheme == "wss" or plainly


@asynccontextmanager
async def open_websocket(
    url: Secret, *, max_bytes: int
) -> AsyncGenerator[tuple[WebSocketConnection, trio.Nursery]]:
    """Connect, and break the connection when the block ends; whoever wants to close it does so.

    Gives the connection, and a nursery for what is to end with it.

    Args:
        url: an address; a secret, because some let in whoever has them.
        max_bytes: longest message that is taken.

    Raises:
        Unreachable: there is no WebSocket.
        Exception: whatever the block raises, as it is.
    """
    stream = await _connected(url)
    raised: Exception | None = None
    has_ended = False
    try:
        async with trio.open_nursery() as nursery:
            reading = _Reading(nursery)
            try:
                yield await _shaken(reading, stream, url, max_bytes), nursery
            except Exception as error:  # noqa: BLE001 - it comes out as it is, in no group
                raised = error
            has_ended = True
            nursery.cancel_scope.cancel()
    finally:
        await trio.aclose_forcefully(stream)
    if not has_ended:  # the task that reads has cancelled it
        raise _unreachable(url, type(reading.failed).__name__)
    if raised is not None:
        raise raised


async def _connected(url: Secret) -> _Stream:
    """A connection to the machine that a URL names, encrypted if it says so."""
    parts = urlsplit(url.reveal())
    host = parts.hostname or ""
    why = f"no connection within {_CONNECT_S:g} s"
    with trio.move_on_after(_CONNECT_S):
        try:
            if parts.scheme == "ws":
                return await trio.open_tcp_stream(host, parts.port or 80)
            stream = await trio.open_ssl_over_tcp_stream(
                host, parts.port or 443, ssl_context=_tls(), https_compatible=True
            )
            try:
                await stream.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
        except (OSError, trio.BrokenResourceError) as error:
            why = type(error).__name__
        else:
            return stream
    raise _unreachable(url, why)


async def _shaken(
    reading: _Reading, stream: _Stream, url: Secret, max_bytes: int
) -> WebSocketConnection:
    """The WebSocket over a connection."""
    parts = urlsplit(url.reveal())
    resource = parts._replace(scheme="", netloc="", path=parts.path or "/").geturl()
    with trio.move_on_after(_CONNECT_S) as reading.patience:
        return await wrap_client_stream(
            cast("trio.Nursery", reading),
            stream,
            parts.netloc,
            resource,
            max_message_size=max_bytes,
            receive_buffer_size=_RECEIVE_BYTES,
        )
    raise _unreachable(url, "no answer to the handshake")


class _Reading:
    """Where the task that reads begins: whoever waits for the handshake does not outwait it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.patience = trio.CancelScope()
        """In which the handshake is waited for."""
        self.failed: Exception | None = None

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        async def read_on() -> None:
            try:
                await read()
            except Exception as error:  # noqa: BLE001 - there are many ways to answer wrongly
                self.failed = error
                self._nursery.cancel_scope.cancel()
            self.patience.cancel()

        self._nursery.start_soon(read_on)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _unreachable(url: Secret, why: str) -> Unreachable:
    return Unreachable(f"no WebSocket at {urlsplit(url.reveal()).hostname}: {why}")
