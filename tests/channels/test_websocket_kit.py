"""The websocket channel passes what every channel has to; its wire are the apps of its users."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, wrap_client_stream

from turnkeeper import Channel
from turnkeeper.channels.websocket import WebSocketChannel
from turnkeeper.testing import ChannelTests, Seen, Wire

TOKENS = {"ann-secret-5512": "ann", "bob-secret-9003": "bob"}
LIMITS = {"messages_per_s": 1_000, "burst_messages": 1_000}


class App:
    """The app of one user: keeps what has no `ack`, and comes back after every end."""

    def __init__(self, token: str, user: str) -> None:
        self.token = token
        self.user = user
        self.pending: list[dict[str, Any]] = []
        self.shown: dict[str, Seen] = {}
        self.news = trio.Event()
        self.said: dict[str, Any] = {}
        self.connection: WebSocketConnection | None = None

    def say(self, message: dict[str, Any]) -> None:
        self.pending.append(message)
        self.news.set()

    async def stay(self, address: tuple[str, int]) -> None:
        """Be connected to a server until it is gone."""
        host, port = address
        while True:
            try:
                stream = await trio.open_tcp_stream(host, port)
                async with stream, trio.open_nursery() as nursery:
                    self.connection = await wrap_client_stream(nursery, stream, host, "/")
                    await self._talk(self.connection)
            except* (ConnectionClosed, HandshakeError, OSError):
                self.connection = None
            await trio.sleep(0.05)  # a page that loads itself again

    async def _talk(self, ws: WebSocketConnection) -> None:
        hello = {"type": "hello", "token": self.token, "seen": [*self.shown][-60:]}
        await ws.send_message(json.dumps(hello))
        welcome = json.loads(await ws.get_message())
        assert welcome["type"] == "welcome", welcome
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send_all, ws)
            while True:
                await self._hear(json.loads(await ws.get_message()), ws)

    async def _send_all(self, ws: WebSocketConnection) -> None:
        """One at a time: what is refused for now must not be overtaken."""
        while True:
            while not self.pending:
                self.news = trio.Event()
                await self.news.wait()
            message = self.pending[0]
            self.news = trio.Event()
            await ws.send_message(json.dumps(message))
            while message in self.pending and self.said.get("retry") != message["id"]:
                await self.news.wait()
                self.news = trio.Event()
            if self.said.pop("retry", None) is not None:
                await trio.sleep(0.05)

    async def _hear(self, frame: dict[str, Any], ws: WebSocketConnection) -> None:
        match frame["type"]:
            case "reply":
                quoted = frame.get("reply_to")
                self.shown[frame["delivery_id"]] = Seen(
                    text=frame["text"],
                    message_id=frame["delivery_id"],
                    reply_to=f"{self.user}/{quoted}" if quoted else None,
                )
                await ws.send_message(json.dumps({"type": "got", "cursor": frame["cursor"]}))
            case "ack":
                self.pending = [one for one in self.pending if one["id"] != frame["id"]]
                self.news.set()
            case "refused" if frame["retryable"]:
                self.said["retry"] = frame["id"]
                self.news.set()
            case _:
                pass


class AppsWire(Wire):
    """Ann and Bob, each with an app."""

    conversations = ("ann", "bob")
    secrets = tuple(TOKENS)
    quotes = True
    holds = True

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._life: trio.CancelScope | None = None
        self._ids = itertools.count(1)
        self._apps = {user: App(token, user) for token, user in TOKENS.items()}
        self._said: dict[str, tuple[App, dict[str, Any]]] = {}

    async def attached(self, channel: Channel) -> None:
        assert isinstance(channel, WebSocketChannel)
        address = await channel.listening()
        if self._life is not None:
            self._life.cancel()
        self._life = trio.CancelScope()
        self._nursery.start_soon(self._live, self._life, address)

    async def _live(self, life: trio.CancelScope, address: tuple[str, int]) -> None:
        with life:
            async with trio.open_nursery() as nursery:
                for app in self._apps.values():
                    nursery.start_soon(app.stay, address)

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        assert thread is None
        assert not mention
        app = self._apps[conversation]
        message = {"type": "message", "id": f"m{next(self._ids)}", "text": text}
        if reply_to is not None:
            message["reply_to"] = reply_to
        message_id = f"{app.user}/{message['id']}"
        self._said[message_id] = app, message
        app.say(message)
        return message_id

    async def seen(self, conversation: str) -> Sequence[Seen]:
        return list(self._apps[conversation].shown.values())

    async def redeliver(self, message_id: str, /) -> None:
        app, message = self._said[message_id]
        app.say(message)

    async def garbage(self) -> None:
        for app in self._apps.values():
            if app.connection is not None:
                await app.connection.send_message("{")

    async def unknown_update(self) -> None:
        for app in self._apps.values():
            if app.connection is not None:
                await app.connection.send_message('{"type": "wave"}')


class TestWebSocketChannel(ChannelTests[AppsWire]):
    @asynccontextmanager
    async def open_wire(self) -> AsyncGenerator[AppsWire]:
        async with trio.open_nursery() as nursery:
            yield AppsWire(nursery)
            nursery.cancel_scope.cancel()

    def make_channel(self, wire: AppsWire, name: str) -> Channel:
        return WebSocketChannel(name, port=0, tokens=TOKENS, limits=LIMITS)
