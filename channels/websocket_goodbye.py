"""How a websocket connection ends: the client is told why, for a moment, and then it is cut."""

from __future__ import annotations

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection
from wsproto.frame_protocol import FrameProtocol

from .websocket_wire import Kind, encode, error_frame

__all__ = ["Hangup", "linger", "part", "part_from_flood", "too_big"]


class Hangup(Exception):
    """The connection must end; `code` is of the protocol, `close_code` of RFC 6455."""

    def __init__(self, code: str, text: str, *, close_code: int = 1008) -> None:
        super().__init__(text)
        self.code = code
        self.close_code = close_code


async def part(
    ws: WebSocketConnection, hangup: Hangup | None, kind: Kind, timeout_s: float
) -> None:
    """Close a connection, telling the client why; cut it when that takes too long."""
    with trio.move_on_after(timeout_s, shield=True):
        try:
            if hangup is None:
                await ws.aclose(1001, "the server is leaving")
            else:
                await ws.send_message(encode(error_frame(hangup.code, str(hangup)), kind))
                await ws.aclose(hangup.close_code, hangup.code)
        except ConnectionClosed:
            pass  # It was quicker.


def too_big(limit_bytes: int) -> Hangup:
    """A frame over its limit."""
    return Hangup("too_big", f"a frame here is at most {limit_bytes} bytes", close_code=1009)


async def part_from_flood(stream: trio.SocketStream, hangup: Hangup, timeout_s: float) -> None:
    """Close a connection whose frames are not parsed any more."""
    close = FrameProtocol(client=False, extensions=[]).close(hangup.close_code, hangup.code)
    with trio.move_on_after(timeout_s):
        try:
            await stream.send_all(close)
        except trio.BrokenResourceError:
            return  # It was quicker.
        await linger(stream, timeout_s)


async def linger(stream: trio.SocketStream, timeout_s: float) -> None:
    """Read and throw away what a closed client still sends, for a moment.

    Bytes left unread would make the kernel reset the connection, and the client might never see
    the close frame.
    """
    with trio.move_on_after(timeout_s):
        try:
            await stream.send_eof()
            while await stream.receive_some():
                pass
        except (trio.BrokenResourceError, trio.BusyResourceError, trio.ClosedResourceError):
            pass  # It was quicker, or still takes our last bytes.
