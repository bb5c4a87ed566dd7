"""Tests of the starter channel, over the platform's side of it: a server of a hundred lines."""

from __future__ import annotations

import itertools
import json
import secrets
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import trio

from turnkeeper.starter_channel import StarterChannel
from turnkeeper.testing import ChannelTests, Failure, Seen, Wire

__all__ = ["StarterWire", "TestStarterChannel"]

_TOKEN: Final = secrets.token_hex(12)
_ERRORS: Final = {"unreachable": "unavailable", "server_error": "broken"}
"""What the platform calls a failure, where it has a word of its own."""


class StarterWire(Wire):
    """The platform: what humans have said, and what they see."""

    secrets = (_TOKEN, _TOKEN[::-1])
    quotes = True
    holds = True

    def __init__(self) -> None:
        self.port = 0
        self._ids = itertools.count(1)
        self._said: dict[str, dict[str, Any]] = {}
        self._pending: list[str] = []
        self._seen: dict[str, list[Seen]] = {}
        self._keys: dict[str, str] = {}
        self._failures: deque[Failure] = deque()
        self._lines: set[trio.SocketStream] = set()
        self._listeners: list[trio.SocketStream] = []
        self._writing = trio.Lock()
        self._is_down = False
        self._gate = trio.Event()
        self._gate.set()

    # -- what the tests ask for ------------------------------------------------------------------

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        assert thread is None  # this platform has none
        assert not mention
        message_id = f"m{next(self._ids)}"
        self._said[message_id] = {
            "type": "message",
            "id": message_id,
            "room": conversation,
            "user": f"human of {conversation}",
            "text": text,
            "quotes": reply_to,
        }
        self._pending.append(message_id)
        await self._push(self._said[message_id])
        return message_id

    async def seen(self, conversation: str) -> Sequence[Seen]:
        return self._seen.get(conversation, [])

    async def redeliver(self, message_id: str, /) -> None:
        await self._push(self._said[message_id])

    async def disconnect(self) -> None:
        self._is_down = True
        for stream in list(self._lines):
            await trio.aclose_forcefully(stream)

    async def reconnect(self) -> None:
        self._is_down = False

    async def garbage(self) -> None:
        for data in (b"{not json\n", b"[1, 2]\n", b"\xff\xfe\n", b'{"type": "message", "id": 7}\n'):
            await self._write(data)

    async def unknown_update(self) -> None:
        await self._push({"type": "wave", "from": "somebody"})

    async def fail_next(self, failure: Failure, /) -> None:
        self._failures.append(failure)

    async def hold(self) -> None:
        self._gate = trio.Event()

    async def release(self) -> None:
        self._gate.set()

    # -- the server ------------------------------------------------------------------------------

    async def serve(self, stream: trio.SocketStream) -> None:
        """Speak with one connection until it ends."""
        self._lines.add(stream)
        buffer = b""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                while not self._is_down and (data := await stream.receive_some()):
                    *lines, buffer = (buffer + data).split(b"\n")
                    for line in lines:
                        await self._hear(stream, json.loads(line))
        self._lines.discard(stream)
        if stream in self._listeners:
            self._listeners.remove(stream)

    async def _hear(self, stream: trio.SocketStream, line: dict[str, Any]) -> None:
        match line["type"]:
            case "hello":
                answer = "welcome" if line["token"] == _TOKEN else "refused"
                await self._answer(stream, {"type": answer})
            case "listen":
                self._listeners.append(stream)
                for message_id in list(self._pending):
                    await self._answer(stream, self._said[message_id])
            case "ack":
                with suppress(ValueError):
                    self._pending.remove(line["id"])
            case _:
                await self._gate.wait()
                await self._take(stream, line)

    async def _take(self, stream: trio.SocketStream, line: dict[str, Any]) -> None:
        """A message of the agent's: refuse it, or show it, once for each key."""
        key = line["key"]
        failure = self._failures.popleft() if self._failures else None
        if failure is None and len(line["text"]) > 2_000:
            await self._answer(stream, {"type": "failed", "key": key, "error": "too_long"})
            return
        if failure is not None and failure.kind != "lost_answer":
            error = _ERRORS.get(failure.kind, failure.kind)
            answer = {"type": "failed", "key": key, "error": error}
            await self._answer(stream, answer | {"retry_after": failure.retry_after_s})
            return
        if key not in self._keys:
            self._keys[key] = f"a{next(self._ids)}"
            message = Seen(text=line["text"], message_id=self._keys[key], reply_to=line["quotes"])
            self._seen.setdefault(line["room"], []).append(message)
        if failure is not None:
            await trio.aclose_forcefully(stream)
            return
        await self._answer(stream, {"type": "sent", "key": key, "id": self._keys[key]})

    async def _push(self, line: dict[str, Any]) -> None:
        await self._write(json.dumps(line).encode() + b"\n")

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            for stream in list(self._listeners):
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await stream.send_all(data)

    async def _answer(self, stream: trio.SocketStream, line: dict[str, Any]) -> None:
        async with self._writing:
            await stream.send_all(json.dumps(line).encode() + b"\n")


class TestStarterChannel(ChannelTests[StarterWire]):
    """What every channel must do."""

    @asynccontextmanager
    async def open_wire(self) -> AsyncGenerator[StarterWire]:
        wire = StarterWire()
        async with trio.open_nursery() as nursery:
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            wire.port = listeners[0].socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, wire.serve, listeners)
            yield wire
            nursery.cancel_scope.cancel()

    def make_channel(self, wire: StarterWire, name: str) -> StarterChannel:
        return StarterChannel(name, port=wire.port, token=_TOKEN)

    def make_wrong_channel(self, wire: StarterWire, name: str) -> StarterChannel:
        return StarterChannel(name, port=wire.port, token=_TOKEN[::-1])
