"""The gateway's WebSocket: carries what `discord_gateway` decides."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from typing import Any, Final, cast
from urllib.parse import urlsplit

import trio
from trio_websocket import (
    ConnectionClosed,
    HandshakeError,
    WebSocketConnection,
    wrap_client_stream,
)

from .base import Unreachable
from .discord_gateway import IDENTIFY, LEAVE_CODE, RESUME, Event, Gateway, GoneOn, Leave, Say
from .http_json import BadJson, parse_json
from .json_fields import Malformed
from .secret import Secret

__all__ = ["Ended", "GatewaySocket", "checked_gateway_url"]

_logger = logging.getLogger(__name__)

_CONNECT_S: Final = 20.0
_CLOSE_S: Final = 1.0
_SEND_S: Final = 20.0
_MAX_FRAME_BYTES: Final = 32 * 1024 * 1024
"""Longest payload; one that tells of a large guild has some MiB."""
_RECEIVE_BYTES: Final = 65_536
_QUERY: Final = "/?v=10&encoding=json"
_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class Ended(Exception):
    """A connection is over. `code`: what Discord closed it with; None if we left, or it broke."""

    def __init__(self, why: str, *, code: int | None = None, pause_s: float = 0.0) -> None:
        super().__init__(why)
        self.code = code
        self.pause_s = pause_s


class GatewaySocket:
    """One connection to the gateway."""

    def __init__(
        self,
        gateway: Gateway,
        token: Secret,
        *,
        hear: Callable[[Event], Awaitable[None]],
        gone_on: Callable[[bool], None],
        warn: Callable[[str], None],
    ) -> None:
        """Connect nothing yet.

        Args:
            gateway: decides what is said.
            token: goes with what identifies or resumes.
            hear: takes events, one after the other.
            gone_on: is told that the session stands; whether it was resumed.
            warn: is told of what could not be read.
        """
        self._gateway = gateway
        self._token = token
        self._hear = hear
        self._gone_on = gone_on
        self._warn = warn
        self._hearing = False
        self._sleep = trio.CancelScope()
        """In which the next heartbeat is waited for."""

    def __repr__(self) -> str:
        return f"<GatewaySocket: {self._gateway!r}>"

    async def run(self, url: str) -> None:
        """Connect to `url` and go on until the connection is over.

        Raises:
            Unreachable: it cannot be connected.
            Ended: always, once it was.
        """
        stream = await _opened(url)
        ended: Ended | Unreachable | None = None
        try:
            async with trio.open_nursery() as nursery:
                try:
                    socket = await _greeted(nursery, stream, url)
                except Unreachable as error:
                    ended = error
                else:
                    ended = await self._until_ended(socket)
                nursery.cancel_scope.cancel()
        except* HandshakeError as refused:  # in the task that reads
            ended = _unreachable(url, type(refused.exceptions[0]).__name__)
        finally:
            await trio.aclose_forcefully(stream)
        assert ended is not None
        raise ended

    async def _until_ended(self, socket: WebSocketConnection) -> Ended:
        ends: list[Ended] = []

        async def do(act: Callable[[WebSocketConnection], Awaitable[None]]) -> None:
            try:
                await act(socket)
            except Ended as ended:
                ends.append(ended)
            except ConnectionClosed as closed:
                code = closed.reason.code if closed.reason is not None else None
                shown = "without a word" if code is None else f"with {code}"
                ends.append(Ended(f"Discord has closed the connection {shown}", code=code))
            nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(do, self._beat)
                nursery.start_soon(do, self._listen)
        finally:
            # Never with 1000, as it would be closed by itself: the session is to go on.
            with trio.move_on_after(_CLOSE_S, shield=True), suppress(ConnectionClosed):
                await socket.aclose(LEAVE_CODE)
        return ends[0]

    async def _listen(self, socket: WebSocketConnection) -> None:
        while True:
            frame = await socket.get_message()
            try:
                raw = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
                acts = self._gateway.hear(parse_json(raw), trio.current_time())
                self._sleep.deadline = min(self._sleep.deadline, self._gateway.due_at)
            except (BadJson, Malformed) as error:
                self._warn(f"a payload that could not be read was left out: {error}")
                continue
            for act in acts:
                match act:
                    case Event():
                        self._hearing = True
                        await self._hear(act)
                        self._hearing = False
                    case GoneOn():
                        self._gone_on(act.resumed)
                    case Say():
                        await self._say(socket, act)
                    case Leave():
                        raise Ended(act.why, pause_s=act.pause_s)

    async def _beat(self, socket: WebSocketConnection) -> None:
        while True:
            with trio.move_on_at(self._gateway.due_at) as self._sleep:
                await trio.sleep_forever()
            for act in self._gateway.tick(trio.current_time(), listens=not self._hearing):
                match act:
                    case Say():
                        await self._say(socket, act)
                    case Leave():
                        raise Ended(act.why, pause_s=act.pause_s)
                    case _:
                        pass

    async def _say(self, socket: WebSocketConnection, say: Say) -> None:
        data: Any = say.data
        if say.op in (IDENTIFY, RESUME):
            data = {**data, "token": self._token.reveal()}
        with trio.move_on_after(_SEND_S):
            await socket.send_message(json.dumps({"op": say.op, "d": data}))
            return
        raise Ended("Discord takes nothing any more")


def checked_gateway_url(url: str, *, plain: bool) -> str:
    """An address that the token may be sent to.

    Args:
        url: as Discord has told it.
        plain: whether a gateway on this machine may do without encryption.

    Raises:
        Unreachable: it is none.
    """
    try:
        parts = urlsplit(url)
        is_one = bool(parts.hostname) and parts.username is None and parts.port != 0
    except ValueError:
        is_one, parts = False, urlsplit("")
    plainly = plain and parts.scheme == "ws" and parts.hostname in _LOOPBACK
    if not is_one or not (parts.scheme == "wss" or plainly):
        raise Unreachable("Discord has told no address of a gateway", reason="bad_answer")
    return url


async def _opened(url: str) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """A connection to the gateway's machine, encrypted if its address says so."""
    parts = urlsplit(url)
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


async def _greeted(
    nursery: trio.Nursery, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], url: str
) -> WebSocketConnection:
    """A WebSocket on a connection."""
    why = "no WebSocket"
    with trio.move_on_after(_CONNECT_S) as patience:
        readers = cast("trio.Nursery", _Readers(nursery, patience))
        try:
            return await wrap_client_stream(
                readers,
                stream,
                urlsplit(url).netloc,
                _QUERY,
                max_message_size=_MAX_FRAME_BYTES,
                receive_buffer_size=_RECEIVE_BYTES,
            )
        except (HandshakeError, ConnectionClosed, trio.BrokenResourceError) as error:
            why = type(error).__name__
    raise _unreachable(url, why)


class _Readers:
    """Where the task begins that reads: who waits for the handshake does not outwait it."""

    def __init__(self, nursery: trio.Nursery, patience: trio.CancelScope) -> None:
        self._nursery = nursery
        self._patience = patience

    def start_soon(self, read: Callable[[], Awaitable[None]]) -> None:
        async def read_on() -> None:
            await read()
            self._patience.cancel()

        self._nursery.start_soon(read_on)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _unreachable(url: str, why: str) -> Unreachable:
    return Unreachable(f"the gateway at {urlsplit(url).hostname} cannot be reached: {why}")
