"""Platforms of our own with many messages to tell, for :mod:`benchmarks.inbound`.

    python -m benchmarks.inbound_peers KIND MESSAGES CONVERSATIONS CONNECTIONS

First it prints how the channel finds it, as one JSON line; null if the platform is not installed.
At a line on stdin, the URL at which
the channel is called if it is one that is, all messages are told: one human in each conversation,
who writes to the agent alone. Then it prints how long each request took, in seconds, as a JSON
list; empty where no requests are made. Or the line is `idle N URL`: N connections tell one message
each and stay open.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import trio

from benchmarks.inbound_matrix import open_homeserver
from benchmarks.load import TEXT
from tests.peers.discord_peer import open_discord
from tests.peers.places import peers
from tests.peers.slack_fake import open_slack_fake
from tests.peers.telegram_fake import open_telegram
from tests.peers.whatsapp_fake import open_whatsapp
from tests.peers.whatsapp_fake_hook import packed, raw_body, signature
from turnkeeper.channels.webhook_signing import SigningKey, sign

_SECRET: Final = "whsec_" + b64encode(bytes(range(32))).decode()
_FOREVER_S: Final = 3_600.0

AT_ONCE: Final = 8
"""Requests that make humans say something, where the platform is in yet another process."""

Speak: TypeAlias = Callable[[str], Awaitable[list[float]]]
Request: TypeAlias = tuple[dict[str, str], bytes]
"""Headers and body of one call."""


@dataclass(frozen=True)
class Plan:
    """How much is told."""

    messages: int
    conversations: int
    connections: int
    """Over which a platform calls at the same time."""


# -- calling ---------------------------------------------------------------------------------------


class Caller:
    """One connection on which one request follows the other."""

    def __init__(self, stream: trio.abc.Stream, url: str) -> None:
        place = urlsplit(url)
        self._stream = stream
        self._head = f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
        self._rest = b""

    @classmethod
    async def to(cls, url: str) -> Caller:
        place = urlsplit(url)
        assert place.hostname is not None
        return cls(await trio.open_tcp_stream(place.hostname, place.port or 80), url)

    async def call(self, request: Request) -> None:
        """Return once it is answered well; raises RuntimeError if it is refused."""
        headers, body = request
        told = {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        await self._stream.send_all(f"{self._head}{lines}\r\n".encode() + body)
        head = await self._until(b"\r\n\r\n")
        status, *fields = head.decode("latin-1").split("\r\n")
        if not status.split(" ")[1].startswith("2"):
            raise RuntimeError(f"it was not taken in: {status}")
        named = dict(field.lower().split(": ", 1) for field in fields if field)
        await self._take(int(named["content-length"]))
        if named.get("connection") == "close":
            raise RuntimeError("the connection was closed")

    async def _until(self, end: bytes) -> bytes:
        while end not in self._rest:
            self._rest += await self._piece()
        found, _, self._rest = self._rest.partition(end)
        return found

    async def _take(self, count: int) -> None:
        while len(self._rest) < count:
            self._rest += await self._piece()
        self._rest = self._rest[count:]

    async def _piece(self) -> bytes:
        piece = await self._stream.receive_some()
        if not piece:
            raise RuntimeError("the connection has ended")
        return bytes(piece)


async def call_all(url: str, requests: Iterable[Sequence[Request]]) -> list[float]:
    """Make these calls: those of one connection after each other. The seconds that each took."""
    times: list[float] = []

    async def one(calls: Sequence[Request]) -> None:
        caller = await Caller.to(url)
        for each in calls:
            began = time.perf_counter()
            await caller.call(each)
            times.append(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for calls in requests:
            nursery.start_soon(one, calls)
    return times


# -- the platforms ---------------------------------------------------------------------------------


@asynccontextmanager
async def telegram(plan: Plan) -> AsyncGenerator[tuple[Any, Speak]]:
    """Polled for updates; a poll fetches a hundred."""
    async with open_telegram() as peer:

        async def speak(_url: str) -> list[float]:
            for number in range(plan.messages):
                user = 1001 + number % plan.conversations
                peer.user_says(user, user, TEXT)
            return []

        yield {"token": peer.token, "api_url": peer.url}, speak


@asynccontextmanager
async def matrix(plan: Plan) -> AsyncGenerator[tuple[Any, Speak]]:
    """Synced from; an answer holds twenty messages of each room."""
    async with open_homeserver(plan.conversations) as peer:

        async def speak(_url: str) -> list[float]:
            peer.says(plan.messages)
            return []

        yield {"homeserver": peer.url, "access_token": peer.access_token}, speak


@asynccontextmanager
async def slack(plan: Plan) -> AsyncGenerator[tuple[Any, Speak]]:
    """Tells by Socket Mode, and waits for the acknowledgements as long as they take."""
    async with open_slack_fake() as peer:
        peer.deliveries.ack_within_s = _FOREVER_S
        users = [await peer.add_user(f"Human {number}") for number in range(plan.conversations)]
        places = [await peer.dm(user) for user in users]

        async def speak(_url: str) -> list[float]:
            for number in range(plan.messages):
                who = number % plan.conversations
                peer.world.post(places[who], users[who], TEXT)
            return []

        tokens = {"token": peer.bot_token, "app_token": peer.app_token}
        yield {**tokens, "api_url": peer.url.rstrip("/")}, speak


@asynccontextmanager
async def whatsapp(plan: Plan) -> AsyncGenerator[tuple[Any, Speak]]:
    """Calls with one message at a time, over several connections."""
    async with open_whatsapp() as peer:
        peer.pauses()
        world = peer.world

        async def speak(url: str) -> list[float]:
            for number in range(plan.messages):
                peer.user_says(str(491_751_234_000 + number % plan.conversations), TEXT)
            calls: list[list[Request]] = [[] for _ in range(plan.connections)]
            for number, change in enumerate(world.changes):
                body = raw_body(packed(world.account_id, [change]))
                proof = {"X-Hub-Signature-256": signature(world.app_secret, body)}
                calls[number % plan.conversations % plan.connections].append((proof, body))
            return await call_all(url, calls)

        yield (
            {
                "token": world.token,
                "phone_number_id": world.phone_id,
                "app_secret": world.app_secret,
                "verify_token": "nobody asks for it",
                "api_url": peer.url,
            },
            speak,
        )


def signed(key: SigningKey, conversation: int, message_id: str) -> Request:
    """One call of a program, as Standard Webhooks sign it."""
    told = {"conversation": f"chat-{conversation}", "user": f"user-{conversation}", "text": TEXT}
    body = json.dumps({**told, "message_id": message_id}).encode()
    return sign([key], f"call-{message_id}", int(time.time()), body), body


@asynccontextmanager
async def webhook(plan: Plan) -> AsyncGenerator[tuple[Any, Speak]]:
    """A program that calls, over several connections; or over many which then are idle."""
    key = SigningKey(_SECRET, "secret")

    async def speak(url: str) -> list[float]:
        if url.startswith("idle "):
            _, count, url = url.split(" ")
            for number in range(int(count)):
                caller = await Caller.to(url)
                idle.append(caller)
                await caller.call(signed(key, number % plan.conversations, f"idle-{number}"))
            return []
        calls: list[list[Request]] = [[] for _ in range(plan.connections)]
        for number in range(plan.messages):
            who = number % plan.conversations
            calls[who % plan.connections].append(signed(key, who, f"message-{number}"))
        return await call_all(url, calls)

    idle: list[Caller] = []
    yield {"secret": _SECRET}, speak


@asynccontextmanager
async def discord(plan: Plan) -> AsyncGenerator[tuple[Any, Speak]]:
    """Tells all of it when a connection that had broken is resumed."""
    if not os.access(peers() / "venv" / "bin" / "python", os.X_OK):
        yield None, _say_nothing
        return
    with tempfile.TemporaryDirectory() as folder:
        async with open_discord(Path(folder)) as peer:
            users = [await peer.add_user(f"human-{number}") for number in range(plan.conversations)]
            places = [await peer.dm(user) for user in users]

            async def say(first: int) -> None:
                for number in range(first, plan.messages, AT_ONCE):
                    who = number % plan.conversations
                    await peer.user_says(places[who], users[who], TEXT)

            async def speak(_url: str) -> list[float]:
                await peer.gateway("hold", True)
                await peer.gateway("cut")
                async with trio.open_nursery() as nursery:
                    for first in range(AT_ONCE):
                        nursery.start_soon(say, first)
                await peer.gateway("hold", False)
                return []

            yield {"token": peer.token, "api_url": peer.url}, speak


async def _say_nothing(_url: str) -> list[float]:
    return []


KINDS: Final = {
    "telegram": telegram,
    "slack": slack,
    "whatsapp": whatsapp,
    "webhook": webhook,
    "discord": discord,
    "matrix": matrix,
}


async def main(kind: str, plan: Plan) -> None:
    async with KINDS[kind](plan) as (options, speak):
        print(json.dumps(options), flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
            print(json.dumps(await speak(line.strip())), flush=True)


if __name__ == "__main__":
    trio.run(main, sys.argv[1], Plan(*map(int, sys.argv[2:])))
