"""One client of the server of hooks: its requests, one after the other, in one task.

h11 knows the protocol. Here is decided how long is waited for what, and when enough is enough.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from email.utils import formatdate
from typing import Final

import h11
import trio

from .hook_limits import HookLimits
from .hooks import HookAnswer, HookDenied

__all__ = ["ClientGone", "Connection", "Incoming"]

_READ_BYTES: Final = 64 * 1024
_BODILESS: Final = frozenset({204, 304})
"""Answers that have no body, and say nothing of its length."""


class ClientGone(Exception):
    """The client has left, or reads nothing: there is nobody to answer."""


class Incoming:
    """One request: its head, and its body as it comes. All of it is the word of a stranger."""

    def __init__(self, connection: Connection, head: h11.Request, peer: str) -> None:
        path, _, self.query = head.target.partition(b"?")
        self.path = path.decode("ascii")
        """As it was written."""
        self.method = head.method.decode("ascii")
        self.version = head.http_version.decode("ascii")
        self.headers = list(head.headers)
        """Names in lower case."""
        self.peer = peer
        """The IP address that it comes from."""
        self.ended = False
        """Whether all of it was read."""
        self._connection = connection

    def __repr__(self) -> str:
        return f"<Incoming {self.method} from {self.peer}>"

    async def piece(self) -> bytes:
        """The next piece of the body; the last one is empty.

        Raises:
            ClientGone: there is none, and that was not all.
            HookDenied: what comes is no body.
        """
        try:
            event = await self._connection.event()
        except h11.RemoteProtocolError as error:
            raise HookDenied(error.error_status_hint) from error
        if isinstance(event, h11.Data):
            return bytes(event.data)
        self.ended = True
        return b""


class Connection:
    """One client."""

    def __init__(self, stream: trio.SocketStream, limits: HookLimits) -> None:
        self._stream = stream
        self._limits = limits
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.max_head_bytes)
        self._requests = 0
        self._idle = trio.CancelScope()
        """Around the wait for the next head."""
        self._stopping = False

    def __repr__(self) -> str:
        return f"<Connection: {self._requests} requests>"

    def stop(self) -> None:
        """End it now if it is idle, else behind the answer."""
        self._stopping = True
        self._idle.cancel()

    async def serve(self, answer: Callable[[Incoming], Awaitable[HookAnswer]]) -> None:
        """Answer requests until either side has had enough.

        Args:
            answer: finds the answer. It may leave the rest of a body where it is: that ends the
                connection, and the client is told so.
        """
        try:
            peer = str(self._stream.socket.getpeername()[0])
            while await self._serve_one(answer, peer):
                pass
        except (ClientGone, OSError):
            return
        if not self._stopping:
            await self._linger()

    async def event(self) -> object:
        """What comes next, as one of h11's events.

        Raises:
            ClientGone: nothing.
            h11.RemoteProtocolError: something that is not HTTP.
        """
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            if self._protocol.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._write(self._protocol.send(go_on) or b"")
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except trio.BrokenResourceError as error:
                raise ClientGone from error
            if not data:
                raise ClientGone
            self._protocol.receive_data(data)
        return event

    async def _serve_one(
        self, answer: Callable[[Incoming], Awaitable[HookAnswer]], peer: str
    ) -> bool:
        """Answer one request; whether another one may follow."""
        try:
            head = await self._head()
        except h11.RemoteProtocolError as error:
            await self._answer(HookAnswer(status=error.error_status_hint), closes=True)
            return False
        if head is None:
            return False
        self._requests += 1
        incoming = Incoming(self, head, peer)
        found = await answer(incoming)
        closes = (
            self._stopping
            or not incoming.ended
            or self._requests >= self._limits.max_requests_per_connection
        )
        await self._answer(found, closes=closes, bare=incoming.method == "HEAD")
        if self._protocol.our_state is not h11.DONE:  # it must be closed: one side has said so
            return False
        self._protocol.start_next_cycle()
        return True

    async def _head(self) -> h11.Request | None:
        """The next head; None if it does not come in time, or the server stops."""
        self._idle = trio.move_on_after(self._limits.idle_timeout_s)
        if self._stopping:
            return None
        with self._idle:
            event = await self.event()
            return event if isinstance(event, h11.Request) else None
        return None

    async def _answer(self, answer: HookAnswer, *, closes: bool, bare: bool = False) -> None:
        """Send an answer, all of it at once; `bare` leaves its body out."""
        headers = {
            "date": formatdate(usegmt=True),
            "content-type": answer.content_type,
            **dict(answer.headers),
        }
        has_body = answer.status not in _BODILESS
        if has_body:
            headers["content-length"] = str(len(answer.body))
        if closes:
            headers["connection"] = "close"
        head = h11.Response(status_code=answer.status, headers=list(headers.items()))
        pieces = [self._protocol.send(head)]
        if has_body and not bare:
            pieces.append(self._protocol.send(h11.Data(data=answer.body)))
        pieces.append(self._protocol.send(h11.EndOfMessage()))
        await self._write(b"".join(piece or b"" for piece in pieces))

    async def _write(self, data: bytes) -> None:
        # A client that reads nothing must not hold it for ever.
        with trio.move_on_after(self._limits.write_timeout_s) as patience:
            try:
                await self._stream.send_all(data)
            except trio.BrokenResourceError as error:
                raise ClientGone from error
        if patience.cancelled_caught:
            raise ClientGone

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
