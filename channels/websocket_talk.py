"""What a client that was let in may say, and what it is answered.

Takes frames within the client's rate, hands messages over in the client's order, and acknowledges
each once it is durable.
"""

from __future__ import annotations

from typing import Final, NoReturn

import trio
from trio_websocket import ConnectionClosed

from ..actors.errors import InvalidTurn, MessageIdReused, Overloaded, ShuttingDown, TurnRefused
from ..actors.messages import Address, InboundTurn, Instance
from .base import Deliver
from .limiter import Bucket, Rate
from .websocket_goodbye import Hangup
from .websocket_limits import WebSocketLimits
from .websocket_peer import Peer
from .websocket_room import Room, UnknownCursor
from .websocket_wire import (
    BadFrame,
    Frame,
    Got,
    Hello,
    Message,
    UnreadableFrame,
    decode,
    error_frame,
    parse,
    refused_frame,
)

__all__ = ["Talk"]

_REFUSALS: Final[dict[type[TurnRefused], str]] = {
    InvalidTurn: "invalid",
    MessageIdReused: "id_reused",
    Overloaded: "overloaded",
    ShuttingDown: "shutting_down",
}


class Talk:
    """One client's side of a conversation, while it is connected."""

    def __init__(
        self,
        peer: Peer,
        room: Room,
        deliver: Deliver,
        *,
        instance: Instance,
        limits: WebSocketLimits,
    ) -> None:
        self._peer = peer
        self._room = room
        self._deliver = deliver
        self._instance = instance
        self._limits = limits
        rate = Rate(per_s=limits.messages_per_s, burst=limits.burst_messages)
        self._bucket = Bucket(rate, trio.current_time())
        self._slow_downs = 0
        """Refusals for haste in a row."""
        self._in_flight = 0
        """Messages taken and not answered yet."""
        self._inbox_in, self._inbox_out = trio.open_memory_channel[Message](limits.max_in_flight)

    async def converse(self) -> Hangup | None:
        """Talk until the client goes; or until it may not go on: then return why."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._peer.write_queue)
            nursery.start_soon(self._peer.keep_alive)
            nursery.start_soon(self._hand_over)
            try:
                await self._hear()
            except ConnectionClosed:
                return None
            except Hangup as hangup:
                await self._peer.flush()
                return hangup
            finally:
                nursery.cancel_scope.cancel()

    async def _hear(self) -> NoReturn:
        """Take the client's frames until it goes.

        Raises:
            Hangup: it may not go on.
            ConnectionClosed: it has gone.
        """
        while True:
            data = await self._peer.next_message()
            try:
                frame = parse(decode(data))
            except UnreadableFrame as error:
                raise Hangup("unreadable", str(error), close_code=1007) from error
            except BadFrame as error:
                if self._has_patience(error.message_id):
                    self._peer.push(_complaint(error))
                continue
            match frame:
                case Message():
                    self._take_message(frame)
                case Got():
                    self._take_got(frame)
                case Hello():
                    if self._has_patience(None):
                        self._peer.push(error_frame("bad_frame", "hello was said already"))

    def _take_message(self, message: Message) -> None:
        if not self._has_patience(message.id):
            return
        if len(message.text.encode("utf-8", "surrogatepass")) > self._limits.max_text_bytes:
            text = f"text is longer than {self._limits.max_text_bytes} bytes"
            self._peer.push(refused_frame(message.id, "too_long", text))
            return
        if self._in_flight >= self._limits.max_in_flight:
            text = f"{self._in_flight} messages wait for their ack"
            self._peer.push(refused_frame(message.id, "too_many_in_flight", text, retryable=True))
            return
        self._in_flight += 1
        self._inbox_in.send_nowait(message)

    def _take_got(self, got: Got) -> None:
        try:
            was_news = self._room.got(got.cursor, highest=self._peer.highest)
        except UnknownCursor as error:
            if self._has_patience(None):
                self._peer.push(error_frame("bad_cursor", str(error)))
            return
        if not was_news:
            # Acknowledging is as frequent as replies are; repeating oneself is not.
            self._has_patience(None)

    def _has_patience(self, message_id: str | None) -> bool:
        """Whether the client keeps to its rate; tell it when not.

        Raises:
            Hangup: it has been told often enough.
        """
        now_s = trio.current_time()
        wait_s = self._bucket.ready_at(now_s) - now_s
        if not wait_s:
            self._bucket.take(now_s)
            self._slow_downs = 0
            return True
        self._slow_downs += 1
        text = f"more than {self._limits.messages_per_s:g} messages per second"
        if self._slow_downs > self._limits.max_slow_downs:
            raise Hangup("slow_down", text)
        if message_id is None:
            self._peer.push(error_frame("slow_down", text))
        else:
            self._peer.push(
                refused_frame(message_id, "slow_down", text, retryable=True)
                | {"retry_after_s": round(wait_s, 3)}
            )
        return False

    async def _hand_over(self) -> None:
        """Deliver messages in the client's order, and acknowledge each once it is durable."""
        async for message in self._inbox_out:
            try:
                accepted = await self._deliver(self._turn_of(message))
            except TurnRefused as refused:
                code = _REFUSALS.get(type(refused), "refused")
                self._peer.push(
                    refused_frame(message.id, code, str(refused), retryable=refused.retryable)
                )
            else:
                self._peer.push(
                    {
                        "type": "ack",
                        "id": message.id,
                        "turn": accepted.turn_id,
                        "session": accepted.session_id,
                        "duplicate": accepted.duplicate,
                    }
                )
            self._in_flight -= 1

    def _turn_of(self, message: Message) -> InboundTurn:
        guest = self._peer.guest
        return InboundTurn(
            address=Address(instance=self._instance, conversation=guest.conversation),
            platform="websocket",
            # Two users may count their messages alike.
            message_id=f"{guest.user}/{message.id}",
            user_id=guest.user,
            user_name=guest.name,
            text=message.text,
            direct=guest.direct,
            reply_to=message.reply_to,
            attachments=message.attachments,
        )


def _complaint(bad: BadFrame) -> Frame:
    if bad.message_id is None:
        return error_frame("bad_frame", str(bad))
    return refused_frame(bad.message_id, "bad_frame", str(bad))
