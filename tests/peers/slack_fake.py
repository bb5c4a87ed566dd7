"""A Slack of our own: Web API, Socket Mode and Events API over real HTTP and WebSockets.

It does what the local Slack of others leaves out: tokens and scopes, redelivery, disconnections,
rate limits, lost answers. slack_sdk, which nobody here wrote, keeps it honest.

    async with open_slack_fake() as slack:
        message = await slack.user_says(slack.general, await slack.add_user("Ada"), "hello")
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import trio
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.responses import Response as HttpResponse
from starlette.routing import Route, WebSocketRoute

from .clients import open_client
from .control import control_route, run_peer
from .fake_platform import FaultyServer
from .faults import Fault
from .seen import Seen, SeenFile
from .slack_fake_events import Deliveries
from .slack_fake_methods import Methods
from .slack_fake_world import (
    APP_TOKEN,
    BOT_TOKEN,
    SIGNING_SECRET,
    Json,
    SlackError,
    SlackWorld,
)
from .web import Pulse, WebServer, cut_connection, open_web

__all__ = ["SlackFake", "open_slack_fake"]

_PATIENCE_S: Final = 30.0
_REMOTE: Final = (
    "add_user",
    "dm",
    "events_to",
    "retries_at_connect",
    "retry_now",
    "seen",
    "user_says",
)
"""What a test may do from outside, if this is a process of its own."""
_RATED: Final = ("chat.postMessage", "chat.update")


class SlackFake(FaultyServer):
    """One workspace with a channel `general` and an app. Ids and times are text, as in Slack."""

    bot_token = BOT_TOKEN
    app_token = APP_TOKEN
    signing_secret = SIGNING_SECRET

    def __init__(
        self, nursery: trio.Nursery, client: httpx.AsyncClient, state: Path | None = None
    ) -> None:
        super().__init__()
        self._state = state
        kept: tuple[SlackWorld, dict[str, Json], str | None] | None = None
        if state is not None and state.exists():
            kept = pickle.loads(state.read_bytes())
        self.world = SlackWorld(self._tell) if kept is None else kept[0]
        self.world.listener = self._tell
        self.deliveries = Deliveries(nursery, client, self.world)
        self.calls: list[tuple[str, Json, str]] = []
        """What the bot has called: method, arguments, and `ok` or the error, or nothing."""
        if kept is None:
            self.general = self.world.add_place("general", "channel", {self.world.bot})
        else:
            self.general = next(iter(self.world.places))
            self.deliveries.resume(*kept[1:])
        self._methods = Methods(self.world, self._new_url)
        self._tokens = {self.bot_token: "", self.app_token: ""}
        """Each token that there is, and why it is refused if it is."""
        self._changed = Pulse()
        nursery.start_soon(self.deliveries.run)

    @property
    def url(self) -> str:
        """The base of the Web API, as slack_sdk takes it: with `/api/`."""
        return f"{self.server.url}/api/"

    @property
    def bot(self) -> str:
        """The bot's user id."""
        return self.world.bot

    @property
    def bot_id(self) -> str:
        """What Slack names the bot in messages besides."""
        return self.world.bot_id

    @property
    def longest_page(self) -> int:
        """Messages of one page of what was said; 15 for an app that Slack slows down."""
        return self._methods.longest_page

    @longest_page.setter
    def longest_page(self, count: int) -> None:
        self._methods.longest_page = count

    @property
    def scopes(self) -> set[str]:
        """What the bot's token may do; may be changed."""
        return self._methods.scopes

    # What humans do

    async def add_user(self, name: str, *, bot: bool = False) -> str:
        """A new member of the workspace, and of `general`; its id."""
        user = self.world.add_user(name, bot=bot)
        self.world.places[self.general].members.add(user)
        return user

    async def add_channel(self, name: str, *, private: bool = False, joined: bool = True) -> str:
        """A channel of everybody, which the bot has been invited to if it has `joined`."""
        members = set(self.world.users)
        if not joined:
            members.discard(self.bot)
        return self.world.add_place(name, "group" if private else "channel", members)

    async def dm(self, user: str) -> str:
        """The conversation between a user and the bot."""
        return self.world.im(user)

    async def user_says(
        self,
        channel: str,
        user: str,
        text: str,
        *,
        thread_ts: str | None = None,
        files: Sequence[tuple[str, bytes]] = (),
    ) -> str:
        """A user (or another bot) writes a message; `files` are names and contents. Its ts."""
        uploads = [
            self.world.files[self.world.upload(name, user, content)] for name, content in files
        ]
        return self.world.post(channel, user, text, thread_ts=thread_ts, files=uploads).ts

    async def edits(self, channel: str, message: str, text: str) -> None:
        """The author of a message changes it."""
        self.world.edit(channel, message, text)

    async def deletes(self, channel: str, message: str) -> None:
        """Somebody deletes a message."""
        self.world.delete(channel, message)

    async def reacts(self, channel: str, message: str, user: str, name: str) -> None:
        """A user puts an emoji to a message."""
        self.world.react(channel, message, user, name, on=True)

    async def archives(self, channel: str) -> None:
        """Somebody archives a channel."""
        self.world.places[channel].archived = True

    async def removes_bot(self, channel: str) -> None:
        """Somebody removes the bot from a channel."""
        self.world.places[channel].members.discard(self.bot)

    async def revoke(self, token: str, error: str = "token_revoked") -> None:
        """A token is refused from now on, and Socket Mode ends if it was the app's."""
        self._tokens[token] = error
        if token == self.app_token:
            self.deliveries.disconnect("link_disabled")

    # What humans see

    async def seen(self, channel: str, thread_ts: str | None = None) -> list[Seen]:
        """The messages of a channel, oldest first; with a thread, only those in it."""
        place = self.world.places[channel]
        return [
            _seen(
                self.world.render(place, message),
                [self.world.render_file(file) for file in message.files],
            )
            for message in place.messages.values()
            if thread_ts is None or thread_ts in (message.ts, message.thread_ts)
        ]

    async def typing(self, channel: str) -> int:
        """How often the bot was seen to begin to work: Slack shows a status, no typing."""
        return sum(1 for status in self.world.statuses.get(channel, ()) if status)

    async def until_typing(self, channel: str, *, within_s: float = _PATIENCE_S) -> None:
        """Return when the bot was seen to begin to work; raises TooSlowError."""
        with trio.fail_after(within_s):
            while not await self.typing(channel):
                await self._changed.wait()

    async def reactions(self, channel: str, message: str) -> dict[str, list[str]]:
        """Who has put which emoji to a message."""
        found = self.world.places[channel].messages[message].reactions
        return {name: users for name, users in found.items() if users}

    async def until_seen(
        self, channel: str, holds: Callable[[list[Seen]], bool], *, within_s: float = _PATIENCE_S
    ) -> list[Seen]:
        """What is seen in a channel, once it is as wanted; raises TooSlowError."""
        with trio.fail_after(within_s):
            while not holds(await self.seen(channel)):
                await self._changed.wait()
        return await self.seen(channel)

    async def download(self, file: SeenFile) -> bytes:
        """The content of a file that is seen."""
        return self.world.files[_file_id(file.url)].content

    # How events come

    async def events_to(self, url: str) -> bool:
        """Deliver to the Events API at a URL; False if nobody there answers the challenge."""
        if not await self.deliveries.verify(url):
            return False
        self.deliveries.url = url
        self._keep()
        return True

    async def retries_at_connect(self) -> None:
        """Deliver what waits as soon as somebody connects, instead of a minute later."""
        self.deliveries.retries_at_connect = True

    async def retry_now(self) -> None:
        """Deliver what waits now."""
        self.deliveries.retry_now()

    async def until_connected(self, count: int = 1, *, within_s: float = _PATIENCE_S) -> None:
        """Return when that many Socket Mode connections are open."""
        deliveries = self.deliveries
        await deliveries.changed.until(
            lambda: len(deliveries.connections) == count, within_s=within_s
        )

    async def until_acknowledged(self, *, within_s: float = _PATIENCE_S) -> None:
        """Return when no event is on its way any more."""
        deliveries = self.deliveries
        await deliveries.changed.until(lambda: deliveries.waiting == 0, within_s=within_s)

    # What goes wrong

    def fails(
        self,
        method: str,
        error: str = "internal_error",
        *,
        times: int = 1,
        status: int = 200,
        acts: bool = False,
    ) -> None:
        """Let calls of a method (`*`: any) answer an error; with `acts`, after doing it."""
        body: Json = {"ok": False, "error": error}
        self.faults.add(Fault(method.lower(), times, status, body, after_acting=acts))

    def limits(self, method: str, *, retry_after_s: int = 1, times: int = 1) -> None:
        """Let calls of a method be too many."""
        headers = {"Retry-After": str(retry_after_s)}
        body: Json = {"ok": False, "error": "ratelimited"}
        self.faults.add(Fault(method.lower(), times, 429, body, headers=headers))

    async def down(self) -> None:
        """Refuse connections, and break those that there are."""
        self.deliveries.connections.clear()
        await super().down()

    # Serving

    def app(self) -> Starlette:
        """What is served."""
        return Starlette(
            routes=[
                Route("/api/{method}", self._answer, methods=["GET", "POST"]),
                Route("/upload/v1/{file}", self._upload, methods=["POST", "PUT"]),
                Route("/files-pri/{file}/download/{name}", self._download),
                Route("/files-pri/{file}/{name}", self._download),
                Route("/login", self._login),
                WebSocketRoute("/link/", self.deliveries.connect),
                control_route(self, _REMOTE),
            ]
        )

    def _tell(self, event: Json) -> None:
        self.deliveries.deliver(event)
        self._keep()

    def _keep(self) -> None:
        """Put everything into the file of the state, before anybody is told of it."""
        if self._state is not None:
            written = self._state.with_suffix(".new")
            kept = (self.world, self.deliveries.open, self.deliveries.url)
            written.write_bytes(pickle.dumps(kept))
            os.replace(written, self._state)

    def _new_url(self) -> str:
        host = self.server.url.removeprefix("http://")
        ticket = self.deliveries.new_ticket()
        return f"ws://{host}/link/?ticket={ticket}&app_id={self.world.app}"

    async def _answer(self, request: Request) -> HttpResponse:
        method = request.path_params["method"]
        arguments = await _arguments(request)
        await self.faults.wait(method.lower())
        fault = self.faults.take(method.lower())
        if fault is not None and not fault.after_acting:
            return self._fail(method, arguments, fault)
        body, status, headers = self._call(request, method, arguments)
        if fault is not None:
            return self._fail(method, arguments, fault)
        return self._respond(method, arguments, body, status, headers)

    def _fail(self, method: str, arguments: Json, fault: Fault) -> HttpResponse:
        if fault.status == 0:
            self.calls.append((method, arguments, ""))
            self._changed.beat()
            cut_connection()
            return HttpResponse(status_code=500)
        body = fault.body if isinstance(fault.body, dict) else {}
        return self._respond(method, arguments, body, fault.status, fault.headers)

    def _respond(
        self, method: str, arguments: Json, body: Json, status: int, headers: dict[str, str]
    ) -> HttpResponse:
        outcome = "ok" if body.get("ok") else str(body.get("error"))
        self.calls.append((method, arguments, outcome))
        self._changed.beat()
        told = {"X-OAuth-Scopes": ",".join(sorted(self.scopes)), **headers}
        return JSONResponse(body, status, told)

    def _call(
        self, request: Request, method: str, arguments: Json
    ) -> tuple[Json, int, dict[str, str]]:
        try:
            self._admit(_token(request, arguments), method)
            if method in _RATED:
                wait_s = self.rates.wait_s(str(arguments.get("channel")))
                if wait_s:
                    limited = {"ok": False, "error": "ratelimited"}
                    return limited, 429, {"Retry-After": str(wait_s)}
            if method == "apps.connections.open":
                return self._methods.connect(), 200, {}
            return self._methods.call(method, arguments), 200, {}
        except SlackError as error:
            return error.body, 200, {}
        except (KeyError, TypeError, ValueError):
            return {"ok": False, "error": "invalid_arguments"}, 200, {}

    def _admit(self, token: str | None, method: str) -> None:
        """Raises SlackError unless the token may call the method at all."""
        if token is None:
            raise SlackError("not_authed")
        if token not in self._tokens:
            raise SlackError("invalid_auth")
        if self._tokens[token]:
            raise SlackError(self._tokens[token])
        if (token == self.app_token) != (method == "apps.connections.open"):
            raise SlackError("not_allowed_token_type")

    async def _upload(self, request: Request) -> HttpResponse:
        file = self.world.files.get(request.path_params["file"])
        if file is None or file.arrived:
            return PlainTextResponse("Not Found", 404)
        if request.headers.get("Content-Type", "").startswith("multipart/"):
            async with request.form() as form:
                parts = [part for _, part in form.multi_items()]
                content = b"".join(
                    [await part.read() for part in parts if isinstance(part, UploadFile)]
                )
        else:
            content = await request.body()
        if len(content) != file.length:
            return PlainTextResponse("length mismatch", 400)
        file.content = content
        file.arrived = True
        return PlainTextResponse(f"OK - {len(content)}")

    async def _download(self, request: Request) -> HttpResponse:
        """A private file; whoever may not have it is sent to a page to log in, with 200."""
        token = _token(request, {})
        if token is None or self._tokens.get(token, "unknown") or "files:read" not in self.scopes:
            return RedirectResponse("/login", 302)
        file = self.world.files.get(_file_id(request.url.path))
        if file is None:
            return PlainTextResponse("Not Found", 404)
        return HttpResponse(file.content, media_type="application/octet-stream")

    async def _login(self, _request: Request) -> HttpResponse:
        return HTMLResponse("<!DOCTYPE html><title>Sign in | Slack</title>")


def _file_id(url: str) -> str:
    """The id in the path of a private file: `/files-pri/TEAM-FILE/NAME`."""
    return url.partition("/files-pri/")[2].partition("/")[0].partition("-")[2]


def _token(request: Request, arguments: Json) -> str | None:
    """The token of a request: of its header, or else of its arguments."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token
    given = arguments.get("token")
    return str(given) if given else None


async def _arguments(request: Request) -> Json:
    """The arguments of a call, in each of the ways in which Slack reads them."""
    arguments: Json = dict(request.query_params)
    kind = request.headers.get("Content-Type", "")
    if kind.startswith("application/json"):
        loaded: Any = json.loads(await request.body() or b"{}")
        arguments |= loaded
    elif request.method == "POST":
        arguments |= dict(await request.form())
    return arguments


def _seen(message: Json, files: list[Json]) -> Seen:
    thread = message.get("thread_ts")
    return Seen(
        message_id=message["ts"],
        user=message["user"],
        text=message["text"],
        thread=thread if thread != message["ts"] else None,
        edited="edited" in message,
        files=tuple(
            SeenFile(file["name"], file["mimetype"], file["size"], file["url_private"])
            for file in files
        ),
    )


@asynccontextmanager
async def open_slack_fake(*, port: int = 0, state: Path | None = None) -> AsyncGenerator[SlackFake]:
    """A workspace until the block ends; with a `state` file it outlives its process."""
    async with open_client() as client, trio.open_nursery() as nursery:
        slack = SlackFake(nursery, client, state)
        async with open_web(slack.app(), port=port) as server:
            slack.server = server
            slack.world.url = server.url
            yield slack
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def _open_process(*, port: int, state: Path | None) -> AsyncGenerator[WebServer]:
    async with open_slack_fake(port=port, state=state) as slack:
        yield slack.server


if __name__ == "__main__":
    run_peer(_open_process)
