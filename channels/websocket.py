"""The websocket channel: apps of one's own, and browsers, over JSON or CBOR frames.

Owns the listening socket, the connections and one room per conversation. The protocol is written
down in docs/websocket.md. Talks to the channel actor around it through `run`, `send`, `turn_ended`
and the `on_reachable` hook.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any, Final

import trio

from .base import (
    Channel,
    ChannelPowers,
    Deliver,
    LostAnswer,
    Outbound,
    Receipt,
    Rejected,
    TurnEnded,
    Unreachable,
)
from .outliving import outliving_nursery
from .websocket_access import Door, is_loopback
from .websocket_entry import Entered, let_in
from .websocket_goodbye import Hangup
from .websocket_limits import FRAME_COST_BYTES, WebSocketLimits
from .websocket_peer import Peer
from .websocket_room import Reply, Room
from .websocket_talk import Talk
from .websocket_wire import PROTOCOL_VERSION, Frame, Hello

__all__ = ["WebSocketChannel", "WebSocketLimits"]

_logger = logging.getLogger(__name__)

_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)


class WebSocketChannel(Channel):
    """A websocket server for the humans' own apps."""

    platform = "websocket"
    powers = ChannelPowers(after_unknown="same_id", hears_turn_ends=True)

    def __init__(
        self,
        name: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tokens: Mapping[str, str] | None = None,
        allowed_origins: Collection[str] = (),
        shared_conversations: Collection[str] = (),
        limits: WebSocketLimits | Mapping[str, Any] | None = None,
    ) -> None:
        """Nothing listens before `run`.

        Args:
            name: instance name.
            host: address to listen on.
            port: 0 for one that is free; see `address`.
            tokens: secret → user id. None lets any local program in as whom it says it is, and is
                possible on a loopback address only.
            allowed_origins: origins of further pages that may connect, e.g. `https://example.org`.
            shared_conversations: names of conversations that every user may join.
            limits: see there; or a mapping of their names, as in a configuration file.

        Raises:
            TypeError: there is no such limit.
            ValueError: no token although others can reach the address; or a name that is not plain.
        """
        if tokens is None and not is_loopback(host):
            raise ValueError(
                f"{name}: {host} can be reached from elsewhere, so tokens are needed; "
                "or listen on 127.0.0.1"
            )
        super().__init__(name)
        self._host = host
        self._port = port
        self._door = Door(
            tokens=tokens,
            allowed_origins=allowed_origins,
            shared_conversations=shared_conversations,
        )
        self._limits = (
            limits if isinstance(limits, WebSocketLimits) else WebSocketLimits(**(limits or {}))
        )
        self._rooms: OrderedDict[str, Room] = OrderedDict()
        self._peers: dict[str, set[Peer]] = {}
        self._connections = 0
        self._strangers = 0
        self._address: tuple[str, int] | None = None
        self._listening = trio.Event()

    def __repr__(self) -> str:
        return f"<WebSocketChannel {self.name} at {self._address}: {self._connections} connected>"

    @property
    def exposed(self) -> bool:
        """True beyond this machine without tokens, which construction refuses anyway.

        There nobody could be told from anybody else, so that no rule of access would mean anything.
        """
        return not self._door.needs_token and not is_loopback(self._host)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it listens on.

        Raises:
            RuntimeError: it does not listen.
        """
        if self._address is None:
            raise RuntimeError(f"{self.name} does not listen")
        return self._address

    async def listening(self) -> tuple[str, int]:
        """Wait until clients can connect, and return the address."""
        await self._listening.wait()
        return self.address

    async def run(self, deliver: Deliver) -> None:
        """Serve until cancelled.

        Raises:
            OSError: the address cannot be listened on.
        """
        listeners = await trio.open_tcp_listeners(self._port, host=self._host)
        self._address = listeners[0].socket.getsockname()[:2]
        self._listening.set()
        self.line.up()
        try:
            await trio.serve_listeners(partial(self._serve, deliver), listeners)
        finally:
            self._address = None
            self._listening = trio.Event()

    async def send(self, outbound: Outbound) -> Receipt:
        """Send a reply to every client in the conversation; one that says `got` is the receipt.

        The same delivery sent again is the same reply under the same cursor, and is not shown
        twice.

        Raises:
            Unreachable: nobody is connected, or nobody stayed until it left.
            Rejected: it is over `max_reply_bytes`.
            LostAnswer: it was sent, and nobody has said `got` in time.
        """
        conversation = outbound.address.conversation
        if len(outbound.text.encode("utf-8", "surrogatepass")) > self._limits.max_reply_bytes:
            raise Rejected(
                f"{outbound.delivery_id} is longer than {self._limits.max_reply_bytes} bytes",
                reason="too_long",
            )
        if conversation not in self._peers:
            raise Unreachable(
                f"{outbound.delivery_id}: nobody is connected to {conversation!r}",
                reason="not_connected",
            )
        room = self._rooms[conversation]
        reply, is_new = room.add(outbound)
        if is_new:
            for peer in tuple(self._peers[conversation]):
                self._push_reply(room, peer, reply)
        await self._until_got(conversation, reply)
        if reply.got:
            return Receipt(platform_message_id=outbound.delivery_id)
        if not reply.left and conversation not in self._peers:
            room.forget(reply)
            raise Unreachable(
                f"{outbound.delivery_id}: the connection ended first", reason="not_connected"
            )
        raise LostAnswer(f"{outbound.delivery_id} was sent, and nobody said that it arrived")

    def turn_ended(self, ended: TurnEnded) -> None:
        """Tell the clients of the conversation; told once, to whoever is there."""
        frame = {"type": "turn_ended", "turn": ended.turn_id, "status": ended.status}
        if ended.delivery_id is not None:
            frame["delivery_id"] = ended.delivery_id
        for peer in tuple(self._peers.get(ended.address.conversation, ())):
            peer.push(frame)

    async def _until_got(self, conversation: str, reply: Reply) -> None:
        reply.awaited = True
        try:
            with trio.move_on_after(self._limits.receipt_timeout_s):
                while not reply.got and conversation in self._peers:
                    await reply.waiters.park()
        finally:
            reply.awaited = False

    def _push_reply(self, room: Room, peer: Peer, reply: Reply) -> None:
        peer.highest = reply.number
        if reply.delivery_id in peer.seen:
            room.held(reply)
            return
        frame = {
            "type": "reply",
            "cursor": room.cursor_of(reply.number),
            "delivery_id": reply.delivery_id,
            "text": reply.text,
        }
        if reply.reply_to is not None:
            frame["reply_to"] = reply.reply_to.removeprefix(f"{peer.guest.user}/")
        peer.push(frame, cost_bytes=FRAME_COST_BYTES + reply.size_bytes, on_leave=reply.leave)

    async def _serve(self, deliver: Deliver, stream: trio.SocketStream) -> None:
        limits = self._limits
        if self._connections >= limits.max_connections or self._strangers >= (
            limits.max_unauthenticated
        ):
            with trio.move_on_after(limits.close_timeout_s):
                await stream.send_all(_FULL)
            return
        self._connections += 1
        try:
            async with outliving_nursery() as wire:
                self._strangers += 1
                try:
                    entered = await let_in(stream, wire, self._door, limits)
                finally:
                    self._strangers -= 1
                if entered is not None:
                    await self._host_client(entered, deliver)
        except Exception:
            _logger.exception("%s: a connection failed", self.name)
        finally:
            self._connections -= 1

    async def _host_client(self, entered: Entered, deliver: Deliver) -> None:
        peer = Peer(entered, self._limits)
        # Unless there is another reason: whoever cancels us is shutting the server down.
        hangup: Hangup | None = None
        try:
            with peer.scope:
                room = self._enter(peer, entered.hello)
                talk = Talk(peer, room, deliver, instance=self.name, limits=self._limits)
                hangup = await talk.converse()
        except Exception:
            hangup = Hangup("internal", "something failed on this side", close_code=1011)
            raise
        finally:
            self._leave(peer)
            await peer.part(hangup)

    def _enter(self, peer: Peer, hello: Hello) -> Room:
        """Welcome a client, and give it what it missed, before anything newer can reach it."""
        conversation = peer.guest.conversation
        room = self._rooms.get(conversation)
        if room is None:
            room = self._rooms[conversation] = Room(
                max_replies=self._limits.replay_replies, max_bytes=self._limits.replay_bytes
            )
        self._peers.setdefault(conversation, set()).add(peer)
        peer.seen = hello.seen
        missed, gap = room.resume(hello.resume)
        # The cursor before what follows: a client may store it at once, and lose nothing.
        start = missed[0].number - 1 if missed else room.last
        peer.push(self._welcome(peer, room.cursor_of(start), gap=gap))
        for reply in missed:
            self._push_reply(room, peer, reply)
        peer.highest = room.last
        if self.on_reachable is not None:
            self.on_reachable(conversation)
        return room

    def _leave(self, peer: Peer) -> None:
        conversation = peer.guest.conversation
        there = self._peers.get(conversation, set())
        there.discard(peer)
        if there:
            return
        self._peers.pop(conversation, None)
        self._rooms[conversation].abandon()
        self._rooms.move_to_end(conversation)
        while len(self._rooms) - len(self._peers) > self._limits.max_rooms:
            del self._rooms[next(name for name in self._rooms if name not in self._peers)]

    def _welcome(self, peer: Peer, cursor: str, *, gap: bool) -> Frame:
        limits = self._limits
        return {
            "type": "welcome",
            "version": PROTOCOL_VERSION,
            "user": peer.guest.user,
            "conversation": peer.guest.conversation,
            "cursor": cursor,
            "missed": gap,
            "limits": {
                "max_text_bytes": limits.max_text_bytes,
                "max_frame_bytes": limits.max_frame_bytes,
                "messages_per_s": limits.messages_per_s,
                "burst_messages": limits.burst_messages,
                "max_in_flight": limits.max_in_flight,
            },
        }
