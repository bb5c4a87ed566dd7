"""From a TCP connection to a client that has said hello, within bounds fit for strangers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    wrap_server_stream,
)

from .websocket_access import Denied, Door, Guest
from .websocket_goodbye import Hangup, part, part_from_flood, too_big
from .websocket_limits import WebSocketLimits
from .websocket_wire import BadFrame, Hello, Kind, UnreadableFrame, decode, kind_of, parse

__all__ = ["ClientStream", "Entered", "let_in"]

_HANDSHAKE_BYTES: Final = 16 * 1024
"""For the HTTP request before the hello."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Entered:
    """A client that was let in."""

    stream: ClientStream
    ws: WebSocketConnection
    hello: Hello
    guest: Guest
    kind: Kind


async def let_in(
    stream: trio.SocketStream, wire: trio.Nursery, door: Door, limits: WebSocketLimits
) -> Entered | None:
    """Shake hands and hear the hello.

    Args:
        stream: a fresh connection.
        wire: where the connection's reader runs.
        door: decides.
        limits: of time and size.

    Returns:
        None for a client that does not get in; it has been told why, and only the stream is left to
        close.
    """
    client = ClientStream(stream, budget_bytes=_HANDSHAKE_BYTES + limits.max_hello_bytes)
    ws: WebSocketConnection | None = None
    hangup = Hangup("hello_timeout", f"no hello within {limits.hello_timeout_s:g} s")
    kind: Kind = "json"
    with trio.move_on_after(limits.hello_timeout_s):
        request = await _request(client, wire, limits)
        if request is None:
            return None
        address, port = stream.socket.getsockname()[:2]
        if not door.admits_origin(_origin(request.headers), address=address, port=port):
            await request.reject(403, body=b"this origin may not connect\n")
            return None
        ws = await request.accept()
        try:
            first = await ws.get_message()
            kind = kind_of(first)
            hello, guest = _admit(first, door, limits)
        except ConnectionClosed:
            if client.exceeded:
                flood = too_big(limits.max_hello_bytes)
                await part_from_flood(stream, flood, limits.close_timeout_s)
            return None
        except Hangup as unfit:
            hangup = unfit
        else:
            client.lift()
            return Entered(stream=client, ws=ws, hello=hello, guest=guest, kind=kind)
    if ws is not None:
        await part(ws, hangup, kind, limits.close_timeout_s)
    return None


async def _request(
    client: ClientStream, wire: trio.Nursery, limits: WebSocketLimits
) -> WebSocketRequest | None:
    """Wait for the HTTP request; None when the connection ends first, or asks for no websocket."""
    request: WebSocketRequest | None = None
    with trio.CancelScope() as scope:
        # The library tells nobody that its reader has given up on a handshake.
        client.on_end = scope.cancel
        request = await wrap_server_stream(wire, client, max_message_size=limits.max_frame_bytes)
    client.on_end = None
    return request


def _admit(first: str | bytes, door: Door, limits: WebSocketLimits) -> tuple[Hello, Guest]:
    size = len(first.encode("utf-8", "surrogatepass")) if isinstance(first, str) else len(first)
    if size > limits.max_hello_bytes:
        raise too_big(limits.max_hello_bytes)
    try:
        hello = parse(decode(first))
    except UnreadableFrame as error:
        raise Hangup("unreadable", str(error), close_code=1007) from error
    except BadFrame as error:
        raise Hangup("bad_frame", str(error)) from error
    if not isinstance(hello, Hello):
        raise Hangup("hello_expected", "the first frame is a hello")
    try:
        return hello, door.admit(hello)
    except Denied as error:
        raise Hangup("denied", str(error)) from error


def _origin(headers: list[tuple[bytes, bytes]]) -> str | None:
    origins = [value.decode("latin-1") for name, value in headers if name.lower() == b"origin"]
    # Two of them are nobody's: no browser sends that.
    return None if not origins else origins[0] if len(origins) == 1 else ""


class ClientStream(trio.abc.Stream):
    """A stream whose first bytes are counted, as strangers may send only so many."""

    def __init__(self, inner: trio.SocketStream, *, budget_bytes: int) -> None:
        self.inner = inner
        self.mid_write = False
        """Whether a write was begun and did not end: then only its rest could follow."""
        self._left_bytes: int | None = budget_bytes
        self.exceeded = False
        self.on_end: Callable[[], None] | None = None
        """Called when no more bytes will be received."""

    def lift(self) -> None:
        """Stop counting: the client is no stranger any more."""
        self._left_bytes = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        try:
            data = await self.inner.receive_some(max_bytes)
        finally:
            if not data:
                self._end()
        if self._left_bytes is not None:
            self._left_bytes -= len(data)
            if self._left_bytes < 0:
                self.exceeded = True
                self._end()
                raise trio.BrokenResourceError("too much before hello")
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.mid_write = True
        await self.inner.send_all(data)
        self.mid_write = False

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        self._end()
        await self.inner.aclose()

    def _end(self) -> None:
        if self.on_end is not None:
            self.on_end()
