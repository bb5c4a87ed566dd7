"""A program that calls the agent's webhook and is called by it; it can be killed at any time.

It keeps what it has to tell, and what it was told, in a file before anybody hears of it. In each
conversation it makes one call after the other, each until it is settled; and it takes the same
`webhook-id` as the same message.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from ..channels.webhook_program import OUT, digest, signed
from .clients import open_client
from .control import control_route, run_peer
from .fake_platform import FakePlatform, kept_world, open_fake

__all__ = ["WebhookProgram", "open_webhook_program"]

_REMOTE: Final = ("says", "heard", "uses")
_RETRY_S: Final = 0.05
_TAKING_S: Final = 0.2
"""Between writing a message down and saying so. They are taken one after the other; so whatever is
killed while there are some, one was taken of which the agent does not know."""
_PATIENCE_S: Final = 40.0


@dataclass
class _Notebook:
    """What outlives the process."""

    url: str = ""
    """Where the agent is called."""
    said: int = 0
    """How many messages there were; they are numbered."""
    to_tell: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict[str, Any])
    """By conversation: the id and the body of each call that is not settled, oldest first."""
    told: dict[str, dict[str, Any]] = field(default_factory=dict[str, Any])
    """By `webhook-id`: what the agent has said, in the order in which it came first."""


class WebhookProgram(FakePlatform):
    """Conversations of one human each, whose name is that of the conversation."""

    def __init__(self, state: Path | None) -> None:
        self._notebook = kept_world(state, _Notebook)
        super().__init__(self._notebook, state)
        self._taking = trio.Lock()

    def uses(self, *, url: str) -> None:
        """Call the agent there from now on."""
        self._notebook.url = url
        self._keep()

    def says(self, *, user: str, text: str) -> None:
        """The human writes."""
        notebook = self._notebook
        notebook.said += 1
        told = {"conversation": user, "user": user, "text": text}
        body = json.dumps({**told, "message_id": f"m{notebook.said}"}).encode()
        notebook.to_tell.setdefault(user, []).append((f"call_{notebook.said}", body))
        self._keep()

    def heard(self, *, user: str) -> list[dict[str, Any]]:
        """What the agent has said to a human, each message once."""
        told = self._notebook.told.items()
        return [{**one, "id": name} for name, one in told if one["conversation"] == user]

    async def take(self, request: Request) -> Response:
        """Take a message, once; refuse another one of the same id, and one that comes again
        without saying so."""
        body = await request.body()
        name, stamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        ours = f"v1,{digest(OUT, name, stamp, body)}"
        if ours not in request.headers["webhook-signature"].split(" "):
            return Response(status_code=401)
        message = json.loads(body)
        async with self._taking:
            again = message.pop("resend")
            known = self._notebook.told.setdefault(name, message)
            if known is not message and not (again and known == message):
                return Response(status_code=409)
            self._keep()
            await trio.sleep(_TAKING_S)
        return JSONResponse({"id": name}, status_code=202)

    async def push(self) -> None:
        """Tell what there is to tell, in all conversations at once."""
        calling: set[str] = set()
        async with (
            open_client(timeout=_PATIENCE_S) as client,
            trio.open_nursery() as nursery,
        ):
            while True:
                for conversation in self._notebook.to_tell.keys() - calling:
                    calling.add(conversation)
                    nursery.start_soon(self._tell, conversation, client)
                await self.pulse.wait()

    async def _tell(self, conversation: str, client: httpx.AsyncClient) -> None:
        calls = self._notebook.to_tell[conversation]
        while True:
            while not (calls and self._notebook.url):
                await self.pulse.wait()
            name, body = calls[0]
            if await self._is_settled(client, name, body):
                del calls[0]
                self._keep()
            else:
                await trio.sleep(_RETRY_S)

    async def _is_settled(self, client: httpx.AsyncClient, name: str, body: bytes) -> bool:
        headers = signed(body, message_id=name, timestamp=str(int(time.time())))
        try:
            answer = await client.post(self._notebook.url, content=body, headers=headers)
        except httpx.TransportError:
            return False
        if answer.status_code >= 500:
            return False
        answer.raise_for_status()
        return True

    def routes(self) -> list[BaseRoute]:
        """Where it is called, by the agent and by a test."""
        return [Route("/in", self.take, methods=["POST"]), control_route(self, _REMOTE)]


@asynccontextmanager
async def open_webhook_program(
    *, state: Path | None = None, port: int = 0
) -> AsyncGenerator[WebhookProgram]:
    """A program on loopback until the block ends; with a `state` file it outlives its process."""
    program = WebhookProgram(state)
    async with open_fake(program, port):
        yield program


if __name__ == "__main__":
    run_peer(open_webhook_program)
