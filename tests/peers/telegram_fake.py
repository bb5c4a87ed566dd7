"""A Telegram of our own: the Bot API over real HTTP, with people whom a test speaks for.

It answers as the Bot API is documented and known to answer; clients of others, which are tested
against it, keep it honest. `python -m tests.peers.telegram_fake --port N --state FILE` runs it as
a process of its own, which `remote.open_remote` drives and kills.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .control import control_route, run_peer
from .fake_platform import FakePlatform, kept_world, open_fake
from .faults import Call, Fault, Rates
from .telegram_fake_methods import SENDS, Methods
from .telegram_fake_people import People
from .telegram_fake_requests import ApiError, Parameters, read_parameters
from .telegram_fake_updates import Answered, Pusher, Updates
from .telegram_fake_world import TOKEN, Json, World

__all__ = ["TOKEN", "Telegram", "open_telegram"]

_TOKEN: Final = re.compile(r"\d+:[\w-]{30,}")
_BAD_GATEWAY: Final = "<html><head><title>502 Bad Gateway</title></head></html>"
_REMOTE: Final = frozenset(
    name for name in vars(People) if not name.startswith("_") and name != "updates_pending"
) | {
    "called",
    "changed",
    "fails",
    "limits",
    "loses_answers",
    "loses_requests",
    "methods_called",
    "pending",
}


class Telegram(People, FakePlatform):
    """The platform; a test's hand on people, faults and what the bot has called."""

    def __init__(self, world: World, state: Path | None, retry_s: float) -> None:
        People.__init__(self, world, self._keep)
        FakePlatform.__init__(self, world, state)
        self._group_rates = Rates()
        self._methods = Methods(world)
        self._updates = Updates(world, self.pulse)
        self._pusher = Pusher(world, self.pulse, retry_s)

    @property
    def token(self) -> str:
        return self.world.token

    @property
    def polling(self) -> bool:
        """Whether the bot waits for updates."""
        return self._updates.polling

    # What goes wrong

    def fails(
        self,
        method: str,
        *,
        times: int = 1,
        status: int = 500,
        description: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Let requests of a method (`*`: any) be refused; a 502 comes as a page of HTML."""
        words = description or {
            429: f"Too Many Requests: retry after {retry_after or 1}",
            500: "Internal Server Error",
        }.get(status, "Bad Request")
        body: Json = {"ok": False, "error_code": status, "description": words}
        if status == 429:
            body["parameters"] = {"retry_after": retry_after or 1}
        page = _BAD_GATEWAY if status in (502, 503, 504) else body
        self.faults.add(Fault(method.lower(), times, status, page, headers=_headers(body)))

    def limits(
        self,
        *,
        per_chat: float | None = 1.0,
        overall: float | None = 30.0,
        per_group_a_minute: int | None = 20,
    ) -> None:
        """Allow only so many messages a second to one chat and in all, and a minute to groups."""
        self.rates = Rates(per_chat, overall)
        a_second = per_group_a_minute / 60 if per_group_a_minute is not None else None
        self._group_rates = Rates(a_second, window_s=60)

    # What the bot does

    def methods_called(self) -> list[str]:
        """The names of all methods that were called, in their order."""
        return [call.method for call in self.calls]

    def pending(self) -> int:
        """How many updates the bot has not confirmed."""
        return self.updates_pending

    # Serving

    def routes(self) -> list[BaseRoute]:
        """The Bot API; and for a process of its own, what a test does from outside."""
        return [
            Route("/bot{token}/{method}", self._answer, methods=["GET", "POST"]),
            Route("/file/bot{token}/{path:path}", self._download),
            control_route(self, _REMOTE),
        ]

    async def push(self) -> None:
        """Push updates while there is a webhook."""
        await self._pusher.run()

    async def _download(self, request: Request) -> Response:
        if request.path_params["token"] != self.token:
            return _refused(ApiError(401, "Unauthorized"))

        async def act() -> Response:
            for file in self.world.files.values():
                if file.path == request.path_params["path"]:
                    return Response(file.content, media_type="application/octet-stream")
            return _refused(ApiError(404, "Not Found"))

        return (await self._unless_it_fails("file", act))[0]

    async def _answer(self, request: Request) -> Response:
        token, method = request.path_params["token"], request.path_params["method"]
        name = method.lower()
        try:
            if not _TOKEN.fullmatch(token):
                raise ApiError(404, "Not Found")
            if token != self.token:
                raise ApiError(401, "Unauthorized")
            parameters = await read_parameters(request)
        except ApiError as error:
            return _refused(error)
        response, status = await self._unless_it_fails(
            name, lambda: self._act(name, parameters, request)
        )
        self.calls.append(Call(method, parameters.fields, tuple(parameters.uploads), status))
        self._keep()
        return response

    async def _act(self, name: str, parameters: Parameters, request: Request) -> Response:
        try:
            if name == "getupdates":
                return _accepted(await self._poll(parameters, request))
            self._check_rates(name, parameters)
            return _accepted(self._do(name, parameters))
        except Answered as answer:
            return _accepted(answer.result, answer.description)
        except ApiError as error:
            return _refused(error)

    def _check_rates(self, name: str, parameters: Parameters) -> None:
        if name not in SENDS:
            return
        chat_id = parameters.text("chat_id")
        wait_s = self.rates.wait_s(chat_id)
        if not wait_s and chat_id.startswith("-"):
            wait_s = self._group_rates.wait_s(chat_id)
        if wait_s:
            raise ApiError(429, f"Too Many Requests: retry after {wait_s}", {"retry_after": wait_s})

    def _do(self, name: str, parameters: Parameters) -> Any:
        if name == "setwebhook":
            return self._updates.set_webhook(parameters)
        if name == "deletewebhook":
            return self._updates.delete_webhook(parameters)
        if name == "getwebhookinfo":
            return self._updates.webhook_info(parameters)
        if name not in self._methods.by_name:
            raise ApiError(404, "Not Found")
        return self._methods.by_name[name](parameters)

    async def _poll(self, parameters: Parameters, request: Request) -> list[Json]:
        """Wait for updates as long as the bot does."""
        updates: list[Json] = []

        async def leave_with_the_bot(scope: trio.CancelScope) -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            scope.cancel()

        failed: ApiError | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(leave_with_the_bot, nursery.cancel_scope)
            try:
                updates = await self._updates.get(parameters)
            except ApiError as error:
                failed = error
            nursery.cancel_scope.cancel()
        if failed is not None:
            raise failed
        return updates


def _accepted(result: object, description: str | None = None) -> Response:
    body: Json = {"ok": True, "result": result}
    if description is not None:
        body["description"] = description
    return JSONResponse(body)


def _refused(error: ApiError) -> Response:
    body: Json = {"ok": False, "error_code": error.code, "description": error.description}
    if error.parameters is not None:
        body["parameters"] = error.parameters
    return JSONResponse(body, error.code, _headers(body))


def _headers(body: Json) -> dict[str, str]:
    """The headers of a refusal: when to come again stands there, too."""
    parameters = body.get("parameters", {})
    if "retry_after" not in parameters:
        return {}
    return {"retry-after": str(parameters["retry_after"])}


@asynccontextmanager
async def open_telegram(
    *, reads_all: bool = True, state: Path | None = None, port: int = 0, retry_s: float = 0.05
) -> AsyncGenerator[Telegram]:
    """A Telegram on loopback until the block ends.

    In privacy mode, `reads_all=False`, the bot is not given all that is said in groups. With a
    `state` file the world outlives its process. A failed webhook is tried again after `retry_s`.
    """
    world = kept_world(state, lambda: World(reads_all=reads_all))
    telegram = Telegram(world, state, retry_s)
    async with open_fake(telegram, port):
        yield telegram


if __name__ == "__main__":
    run_peer(open_telegram)
