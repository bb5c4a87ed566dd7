"""What stands between a bot and its homeserver, and spoils it: faults for a server that has none.

Requests go through unchanged, long polls included, unless a test has said that one of their kind is
refused, held, lost on its way, or answered to nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .clients import open_client
from .faults import Faults
from .web import Pulse, WebServer, cut_connection, open_web

__all__ = ["Proxy", "open_proxy"]

_KINDS: Final = (
    ("send", re.compile(r"PUT .*/rooms/[^/]+/send/")),
    ("redact", re.compile(r"PUT .*/rooms/[^/]+/redact/")),
    ("typing", re.compile(r"PUT .*/rooms/[^/]+/typing/")),
    ("join", re.compile(r"POST .*/(rooms/[^/]+/join|join/[^/]+)$")),
    ("messages", re.compile(r"GET .*/rooms/[^/]+/messages$")),
    ("sync", re.compile(r"GET .*/sync$")),
    ("upload", re.compile(r"POST /_matrix/media/v3/upload$")),
    ("download", re.compile(r"GET .*/media/(v1/|r0/|v3/)?download/")),
    ("login", re.compile(r"POST .*/login$")),
    ("whoami", re.compile(r"GET .*/account/whoami$")),
)
_METHODS: Final = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD"]
_HOP: Final = frozenset({"connection", "content-encoding", "content-length", "transfer-encoding"})
"""Headers that are about one connection, not about what is said."""


class Proxy:
    """A server that passes requests on to another one."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        """The client's base URL is the server behind; it outlives the server in front."""
        self._client = client
        self.faults = Faults()
        self.calls: list[tuple[str, str, int]] = []
        """What the bot has asked for: kind, path, status of the answer, 0 for none."""
        self.changed = Pulse()
        self.again: list[tuple[str, dict[str, Any]]] = []
        """Rooms and events that the next answer to a sync with something new tells once more."""

    def app(self) -> Starlette:
        """What is served."""
        return Starlette(routes=[Route("/{path:path}", self._pass, methods=_METHODS)])

    async def _pass(self, request: Request) -> Response:
        kind = _kind(request)
        body = await request.body()
        await self.faults.wait(kind)
        fault = self.faults.take(kind)
        if fault is not None and not fault.after_acting:
            answer = _spoiled(fault.status, fault.body, fault.headers)
        else:
            answer = await self._forward(request, body)
            if fault is not None:
                answer = _spoiled(fault.status, fault.body, fault.headers)
        self.calls.append((kind, request.url.path, answer.status_code if answer else 0))
        self.changed.beat()
        if answer is None:
            cut_connection()
            return Response(status_code=500)
        return answer

    async def _forward(self, request: Request, body: bytes) -> Response | None:
        raw = request.scope["raw_path"] + b"?" + request.scope["query_string"]
        headers = [(name, value) for name, value in request.headers.raw if name != b"host"]
        url = self._client.base_url.copy_with(raw_path=raw)
        try:
            answer = await self._client.request(
                request.method, url, content=body, headers=headers, follow_redirects=False
            )
        except (httpx.TransportError, trio.BrokenResourceError):
            return None
        told = {name: value for name, value in answer.headers.items() if name not in _HOP}
        content = answer.content
        if _kind(request) == "sync" and self.again and answer.is_success:
            content = self._retold(content)
        return Response(content, answer.status_code, told)

    def _retold(self, content: bytes) -> bytes:
        """An answer to a sync, with the events that are to be told again before its own."""
        body = json.loads(content)
        joined: dict[str, Any] = body.get("rooms", {}).get("join", {})
        for room, event in [one for one in self.again if one[0] in joined]:
            joined[room]["timeline"]["events"].insert(0, event)
            self.again.remove((room, event))
        return json.dumps(body).encode()


@asynccontextmanager
async def open_proxy(target: str) -> AsyncGenerator[tuple[Proxy, WebServer]]:
    """A server in front of the one at a URL, until the block ends."""
    async with open_client(base_url=target, timeout=None) as client:
        proxy = Proxy(client)
        async with open_web(proxy.app()) as server:
            yield proxy, server


def _kind(request: Request) -> str:
    """What a request asks for, in one word; `other` for what no test is about."""
    line = f"{request.method} {request.url.path}"
    return next((kind for kind, pattern in _KINDS if pattern.search(line)), "other")


def _spoiled(status: int, body: object, headers: dict[str, str]) -> Response | None:
    return JSONResponse(body, status, headers) if status else None
