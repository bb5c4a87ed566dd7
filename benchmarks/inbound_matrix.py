"""A homeserver with much to tell, as far as a channel asks it for that; for the inbound peers.

One room for each human, who writes to the agent alone. What is said stands in one stream, and an
answer to `/sync` holds no more of a room than its filter wants; the next one goes on there.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from benchmarks.load import TEXT
from tests.peers.web import Pulse, open_web

__all__ = ["Homeserver", "open_homeserver"]

_CLIENT: Final = "/_matrix/client/v3"
_ME: Final = "@agent:bench"


@dataclass(frozen=True)
class _Said:
    """One message."""

    number: int
    human: int

    @property
    def event(self) -> dict[str, Any]:
        return {
            "type": "m.room.message",
            "event_id": f"$message-{self.number}",
            "sender": _user(self.human),
            "origin_server_ts": 1_700_000_000_000 + self.number,
            "content": {"msgtype": "m.text", "body": TEXT},
        }


class Homeserver:
    """One account, and the rooms that it is in."""

    def __init__(self, humans: int) -> None:
        self.access_token: Final = "syt_" + "a" * 40
        self.url = ""
        self._humans = humans
        self._pulse = Pulse()
        self._waiting: list[list[_Said]] = [[] for _ in range(humans)]
        """By room, what no answer has told yet, oldest first."""
        self._answers = 0

    def says(self, messages: int) -> None:
        """All humans write, in turns; the account is told of it at once."""
        for number in range(messages):
            human = number % self._humans
            self._waiting[human].append(_Said(number, human))
        self._pulse.beat()

    def routes(self) -> list[Route]:
        """What a channel asks for."""
        answers: dict[str, Any] = {
            "/account/whoami": {"user_id": _ME},
            f"/user/{_ME}/account_data/m.direct": {
                _user(human): [_room(human)] for human in range(self._humans)
            },
            f"/profile/{_ME}": {"displayname": "Agent"},
        }
        for human in range(self._humans):
            room = f"/rooms/{_room(human)}"
            answers[f"{room}/joined_members"] = {"joined": {_ME: {}, _user(human): {}}}
            answers[f"{room}/state/m.room.name"] = {"name": f"room {human}"}
        return [
            Route(f"{_CLIENT}/sync", self._sync),
            *(Route(f"{_CLIENT}{path}", _fixed(answer)) for path, answer in answers.items()),
        ]

    async def _sync(self, request: Request) -> Response:
        asked = request.query_params
        most = json.loads(asked["filter"])["room"]["timeline"]["limit"]
        with trio.move_on_after(int(asked["timeout"]) / 1000):
            while not any(self._waiting):
                await self._pulse.wait()
        joined: dict[str, Any] = {}
        # The first answer says where the stream is, and nothing of what was said before.
        for human, waiting in enumerate(self._waiting if "since" in asked else ()):
            told, waiting[:most] = waiting[:most], []
            if told:
                events = [one.event for one in told]
                joined[_room(human)] = {"timeline": {"events": events, "limited": False}}
        self._answers += 1
        return JSONResponse({"next_batch": f"s{self._answers}", "rooms": {"join": joined}})


@asynccontextmanager
async def open_homeserver(humans: int) -> AsyncGenerator[Homeserver]:
    """A homeserver on loopback until the block ends."""
    homeserver = Homeserver(humans)
    async with open_web(Starlette(routes=homeserver.routes())) as server:
        homeserver.url = server.url
        yield homeserver


def _fixed(answer: object) -> Any:
    async def tell(_request: Request) -> Response:
        return JSONResponse(answer)

    return tell


def _user(human: int) -> str:
    return f"@human-{human}:bench"


def _room(human: int) -> str:
    return f"!room-{human}:bench"
