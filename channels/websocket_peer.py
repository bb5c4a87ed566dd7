"""One client that was let in: a bounded queue, a clean goodbye, and nobody else harmed.

Knows frames and their socket, and nothing of conversations.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import trio
from trio_websocket import ConnectionClosed

from .websocket_entry import Entered
from .websocket_goodbye import Hangup, linger, part, too_big
from .websocket_limits import FRAME_COST_BYTES, WebSocketLimits
from .websocket_wire import Frame, Kind, encode, kind_of

__all__ = ["Peer"]

_logger = logging.getLogger(__name__)

_Queued = tuple[Frame, int, Callable[[], None] | None]


class Peer:
    """A client that has said hello."""

    def __init__(self, entered: Entered, limits: WebSocketLimits) -> None:
        self.guest = entered.guest
        self.kind: Kind = entered.kind
        self.highest = 0
        """Number of the last reply that was queued for this client, or that it had."""
        self.seen: frozenset[str] = frozenset()
        self.scope = trio.CancelScope()
        self._ws = entered.ws
        self._stream = entered.stream
        self._limits = limits
        self._queue_in, self._queue_out = trio.open_memory_channel[_Queued](limits.max_queue_frames)
        self._queued_bytes = 0
        self._drained = trio.Event()
        self._dropped: Hangup | None = None

    def __repr__(self) -> str:
        return f"<Peer {self.guest.user} in {self.guest.conversation}>"

    def push(
        self,
        frame: Frame,
        *,
        cost_bytes: int = FRAME_COST_BYTES,
        on_leave: Callable[[], None] | None = None,
    ) -> None:
        """Queue a frame; a client whose queue is full is dropped.

        Args:
            frame: what to write.
            cost_bytes: what it counts towards `max_queue_bytes`.
            on_leave: called when its first byte may leave.
        """
        if self._queued_bytes + cost_bytes > self._limits.max_queue_bytes:
            self._drop("too much waits to be written")
            return
        try:
            self._queue_in.send_nowait((frame, cost_bytes, on_leave))
        except trio.WouldBlock:
            self._drop("too much waits to be written")
        except trio.ClosedResourceError:
            pass  # It is saying goodbye.
        else:
            self._queued_bytes += cost_bytes

    async def next_message(self) -> str | bytes:
        """The next frame of the client.

        Raises:
            Hangup: the frame is too large or not of the kind that the hello was.
            ConnectionClosed: the client has gone.
        """
        data = await self._ws.get_message()
        size = len(data.encode("utf-8", "surrogatepass")) if isinstance(data, str) else len(data)
        if size > self._limits.max_frame_bytes:
            raise too_big(self._limits.max_frame_bytes)
        if kind_of(data) != self.kind:
            raise Hangup("wrong_kind", f"this connection speaks {self.kind}", close_code=1003)
        return data

    async def write_queue(self) -> None:
        """Write what is queued until the queue is closed or the client gone."""
        try:
            async for frame, cost_bytes, on_leave in self._queue_out:
                self._queued_bytes -= cost_bytes
                if on_leave is not None:
                    on_leave()
                with trio.move_on_after(self._limits.write_timeout_s) as patience:
                    await self._ws.send_message(encode(frame, self.kind))
                if patience.cancelled_caught:
                    self._drop("a frame was not read in time")
                    return
        except ConnectionClosed:
            pass  # The reader sees it too, and ends the connection.
        finally:
            self._drained.set()

    async def keep_alive(self) -> None:
        """Ping the client now and then; drop it when it is silent."""
        try:
            while True:
                await trio.sleep(self._limits.ping_interval_s)
                with trio.move_on_after(self._limits.pong_timeout_s) as patience:
                    await self._ws.ping()
                if patience.cancelled_caught:
                    self._drop("a ping was not answered in time")
        except ConnectionClosed:
            pass  # The reader sees it too, and ends the connection.

    async def flush(self) -> None:
        """Write what is queued, for a moment, and take nothing more."""
        self._queue_in.close()
        with trio.move_on_after(self._limits.close_timeout_s):
            await self._drained.wait()

    async def part(self, hangup: Hangup | None) -> None:
        """Say goodbye, for a moment; without a hangup, because the server is leaving.

        A client in the middle of a frame is cut off: its socket takes no goodbye either.
        """
        if self._stream.mid_write:
            return
        await part(self._ws, self._dropped or hangup, self.kind, self._limits.close_timeout_s)
        if self._ws.closed is not None and self._ws.closed.code == 1009:
            await linger(self._stream.inner, self._limits.close_timeout_s)

    def _drop(self, why: str) -> None:
        if self._dropped is None:
            _logger.warning("%r is dropped: %s", self, why)
            self._dropped = Hangup("too_slow", why)
            self.scope.cancel()
