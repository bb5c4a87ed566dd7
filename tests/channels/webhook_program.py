"""The wire of the webhook channel: a program that calls it, and is called, over real HTTP.

It signs and verifies with code of its own, and takes the same `webhook-id` once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from turnkeeper import Channel
from turnkeeper.channels.fetching import Fetcher
from turnkeeper.channels.webhook import WebhookChannel
from turnkeeper.testing import Failure, Seen, Wire

from ..peers.background import open_background
from ..peers.clients import open_client
from ..peers.web import Pulse, WebServer, cut_connection, open_web

__all__ = ["IN", "OLD", "OUT", "Program", "digest", "make_webhook", "open_program", "signed"]

IN: Final = "whsec_" + base64.b64encode(b"what programs sign with, 1").decode()
OUT: Final = "whsec_" + base64.b64encode(b"what we sign our own with").decode()
OLD: Final = "whsec_" + base64.b64encode(b"what we have signed with").decode()
_RETRY_S: Final = 0.05


def digest(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature of a call, without its version."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = message_id.encode() + b"." + timestamp.encode() + b"." + body
    return base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def signed(
    body: bytes, *, secret: str = IN, message_id: str = "msg_1", timestamp: str | None = None
) -> dict[str, str]:
    """The headers of a call."""
    at = str(int(time.time())) if timestamp is None else timestamp
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{digest(secret, message_id, at, body)}",
    }


class Program(Wire):
    """Conversations of its own making."""

    conversations = ("room/1", "room/2")
    group = "hall"
    threads = (("forum", "one"), ("forum", "two"))
    secrets = (IN, OUT, IN.removeprefix("whsec_"), OUT.removeprefix("whsec_"))
    quotes = True
    holds = True

    def __init__(self) -> None:
        self.pulse = Pulse()
        self.queue: deque[tuple[str, bytes]] = deque()
        """What is to be told, with the id of its call."""
        self.answers: list[tuple[int, Any]] = []
        """How the channel has answered what it has settled."""
        self.held: dict[str, dict[str, Any]] = {}
        """What it was told, by `webhook-id`."""
        self.calls: list[tuple[Mapping[str, str], bytes]] = []
        self.paths: list[str] = []
        """Path and query of each call, as they came."""
        self.files: dict[str, tuple[bytes, str]] = {}
        self.failures: deque[Failure] = deque()
        self.says_ids = True
        self.redirects_to = ""
        self.hook_url = ""
        self.server: WebServer
        self._said: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count(1)
        self._free = trio.Event()
        self._free.set()

    # What it tells

    def tells(self, told: object, *, message_id: str | None = None) -> None:
        """Call the channel, until it has settled this."""
        raw = told if isinstance(told, bytes) else json.dumps(told).encode()
        self.queue.append((message_id or f"call_{next(self._numbers)}", raw))
        self.pulse.beat()

    async def run(self) -> None:
        """Call, one call after the other, each until it is settled."""
        async with open_client(timeout=40) as client:
            while True:
                if not (self.queue and self.hook_url):
                    await self.pulse.wait()
                    continue
                message_id, body = self.queue[0]
                try:
                    answer = await client.post(
                        self.hook_url, content=body, headers=signed(body, message_id=message_id)
                    )
                except httpx.TransportError:
                    await trio.sleep(_RETRY_S)
                    continue
                if answer.status_code >= 500:
                    await trio.sleep(_RETRY_S)
                    continue
                self.queue.popleft()
                self.answers.append((answer.status_code, answer.json()))
                self.pulse.beat()

    async def attached(self, channel: Channel) -> None:
        assert channel.hook_url is not None
        self.hook_url = channel.hook_url
        self.pulse.beat()

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        told: dict[str, Any] = {"conversation": conversation, "thread": thread, "user": "ann"}
        told |= {"text": text, "reply_to": reply_to, "message_id": f"m{next(self._numbers)}"}
        if conversation == self.group:
            told |= {"direct": False, "mentioned": mention}
        self._said[told["message_id"]] = told
        self.tells(told)
        return str(told["message_id"])

    async def user_sends_file(
        self, name: str, content: bytes, mime: str, /, *, conversation: str
    ) -> str:
        self.files[name] = (content, mime)
        message_id = f"m{next(self._numbers)}"
        file = {"url": f"{self.server.url}/files/{name}", "name": name, "mime": mime}
        told = {"conversation": conversation, "user": "ann", "attachments": [file]}
        self.tells({**told, "message_id": message_id})
        return message_id

    async def redeliver(self, message_id: str, /) -> None:
        self.tells(self._said[message_id])

    async def garbage(self) -> None:
        self.tells(b"{no json")
        self.tells(b"\xff\xfe")
        self.tells([])
        self.tells({"conversation": 5, "user": [], "text": None})
        self.tells({"items": [7, {"conversation": "c"}, {"text": "\ud800"}]})

    async def unknown_update(self) -> None:
        self.tells({"type": "hologram", "conversation": "room/1", "user": "ann"})

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        told = {"type": "edited", "conversation": conversation, "user": "ann", "text": text}
        self.tells({**told, "message_id": message_id})

    async def delete(self, message_id: str, /, *, conversation: str) -> None:
        told = {"type": "deleted", "conversation": conversation, "user": "ann"}
        self.tells({**told, "message_id": message_id})

    # What it is told

    async def seen(self, conversation: str) -> Sequence[Seen]:
        return [
            Seen(
                text=told["text"],
                message_id=f"p-{message_id}" if self.says_ids else message_id,
                reply_to=told["reply_to"],
                thread=told["thread"],
            )
            for message_id, told in self.held.items()
            if told["conversation"] == conversation
        ]

    async def hold(self) -> None:
        self._free = trio.Event()

    async def release(self) -> None:
        self._free.set()

    async def fail_next(self, failure: Failure, /) -> None:
        self.failures.append(failure)

    async def called(self, request: Request) -> Response:
        """Take a message."""
        body = await request.body()
        self.calls.append((dict(request.headers), body))
        self.paths.append(f"{request.scope['raw_path'].decode()}?{request.url.query}")
        await self._free.wait()
        if self.redirects_to:
            return Response(status_code=307, headers={"location": self.redirects_to})
        message_id = request.headers["webhook-id"]
        stamp = request.headers["webhook-timestamp"]
        ours = f"v1,{digest(OUT, message_id, stamp, body)}"
        if ours not in request.headers["webhook-signature"].split(" "):
            return Response(status_code=401)
        failure = self.failures.popleft() if self.failures else None
        if failure is None or failure.kind == "lost_answer":
            self.held.setdefault(message_id, json.loads(body))
        self.pulse.beat()
        if failure is None:
            answer = {"id": f"p-{message_id}"} if self.says_ids else {}
            return JSONResponse(answer, status_code=202)
        if failure.kind == "lost_answer":
            cut_connection()
        wait = {"retry-after": f"{failure.retry_after_s or 1:g}"}
        return {
            "rate_limited": Response(status_code=429, headers=wait),
            "unreachable": Response(status_code=503),
            "unauthorized": Response(status_code=401),
            "forbidden": Response(status_code=403),
            "gone": Response(status_code=410),
        }.get(failure.kind, Response(status_code=500))

    async def file(self, request: Request) -> Response:
        """Hand out a file."""
        content, mime = self.files[request.path_params["name"]]
        return Response(content, media_type=mime)


@asynccontextmanager
async def open_program() -> AsyncGenerator[Program]:
    """A program, until the block ends."""
    program = Program()
    routes = [
        Route("/in/{rest:path}", program.called, methods=["POST"]),
        Route("/files/{name}", program.file),
    ]
    async with open_web(Starlette(routes=routes)) as server, open_background() as nursery:
        program.server = server
        nursery.start_soon(program.run)
        yield program


def make_webhook(program: Program, name: str, **keys: Any) -> WebhookChannel:
    """A channel for that program."""
    place = program.server.url.removeprefix("http://")
    given: dict[str, Any] = {
        "secret": IN,
        "outbound_url": f"{program.server.url}/in/a%20place?key=1",
        "outbound_secret": OUT,
        "fetcher": Fetcher(max_bytes=1_000_000, trusted=frozenset({place})),
        **keys,
    }
    return WebhookChannel(name, **given)
