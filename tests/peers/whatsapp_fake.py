"""A WhatsApp of our own: the Cloud API over real HTTP, with people whom a test speaks for.

It answers as Meta documents it, and posts signed webhooks; clients of others, which are tested
against it, keep it honest. `python -m tests.peers.whatsapp_fake --port N --state FILE` runs it as
a process of its own, which `remote.open_remote` drives and kills.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias, cast

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from .control import control_route, run_peer
from .fake_platform import FakePlatform, kept_world, open_fake
from .faults import Call, Fault, Rates
from .whatsapp_fake_errors import GraphError
from .whatsapp_fake_hook import Hook
from .whatsapp_fake_methods import Methods, missing_object
from .whatsapp_fake_people import People
from .whatsapp_fake_world import Json, World

__all__ = ["WhatsApp", "open_whatsapp"]

_Acted: TypeAlias = tuple[Json, tuple[str, ...], Json]
"""What was asked, the names of files that came along, and the answer."""
_Act: TypeAlias = Callable[[Request], Awaitable[_Acted]]

_VERSION: Final = re.compile(r"v\d{1,2}\.\d")
_BAD_GATEWAY: Final = "<html><head><title>Error</title></head></html>"
_MULTIPART_BYTES: Final = 110 * 1024 * 1024
_REMOTE: Final = frozenset(
    name for name in vars(People) if not name.startswith("_") and name != "posts_pending"
) | {
    "called",
    "changed",
    "fails",
    "limits",
    "loses_answers",
    "loses_requests",
    "passes_through",
    "pauses",
    "pending",
    "refuses_kind",
    "resumes",
    "subscribe",
    "uses",
}


class WhatsApp(People, FakePlatform):
    """The platform; a test's hand on people, faults, webhooks and what the business has called."""

    def __init__(self, world: World, state: Path | None, retry_s: float) -> None:
        People.__init__(self, world, self._keep)
        FakePlatform.__init__(self, world, state)
        self._methods = Methods(world)
        self.hook = Hook(world, self.pulse, self._keep, retry_s)
        self.expired: set[str] = set()
        """The ids of media whose URLs are no longer good."""

    async def subscribe(self, url: str, verify_token: str) -> bool:
        """Have changes posted to a URL, if it passes the challenge."""
        return await self.hook.verify(url, verify_token) == 200

    def uses(self, url: str) -> None:
        """Have changes posted to a URL without asking it."""
        self.world.webhook.url = url
        self._keep()

    def pauses(self) -> None:
        """Keep changes back, until `resumes()`."""
        self.hook.paused = True

    def resumes(
        self, *, per_post: int = 1, order: str = "as told", seed: int = 0, copies: int = 1
    ) -> None:
        """Post what was kept back: so many changes a post, `as told`, `reversed` or `shuffled`,
        each post so many times."""
        self.hook.release(per_post=per_post, order=order, seed=seed, copies=copies)

    def passes_through(self, *statuses: str) -> None:
        """What messages of the business go through by themselves: `sent`, `delivered`, `read`."""
        self._methods.statuses = statuses

    # What goes wrong

    def fails(
        self,
        method: str,
        *,
        times: int = 1,
        code: int = 131000,
        subcode: int | None = None,
        status: int | None = None,
    ) -> None:
        """Let requests be refused with a code; a 502 comes as a page of HTML.

        Methods are `messages`, `media` (uploads), `lookup`, `download`, and `*`.
        """
        if status in (502, 504):
            self.faults.add(Fault(method, times, status, _BAD_GATEWAY))
            return
        error = GraphError(code, subcode=subcode, status=status)
        self.faults.add(Fault(method, times, error.status, error.body()))

    def refuses_kind(self, kind: str, *, code: int, subcode: int | None = None) -> None:
        """Refuse the next message of a kind: `text`, `document` …"""
        self._methods.refusals[kind] = GraphError(code, subcode=subcode)

    def limits(self, *, per_pair: float | None = 1 / 6, overall: float | None = 80.0) -> None:
        """Allow only so many messages a second to one person and in all."""
        self.rates = Rates(per_pair, overall)

    def pending(self) -> int:
        """How many changes the webhook has not answered by 200."""
        return self.posts_pending

    # Serving

    def routes(self) -> list[BaseRoute]:
        """The Graph API; and for a process of its own, what a test does from outside."""
        return [
            control_route(self, _REMOTE),
            Route("/whatsapp_business/attachments/", self._download),
            Route("/{version}/oauth/access_token", self._app_token),
            Route("/{version}/{id}/{edge}", self._edge, methods=["POST"]),
            Route("/{version}/{id}", self._node, methods=["GET", "DELETE"]),
        ]

    async def push(self) -> None:
        """Post changes to the webhook."""
        await self.hook.run()

    async def _edge(self, request: Request) -> Response:
        edge = request.path_params["edge"]
        if edge == "messages":
            return await self._answer("messages", request, self._messages)
        if edge == "media":
            return await self._answer("media", request, self._upload)
        if edge == "subscriptions":
            return await self._answer("subscriptions", request, self._subscriptions)
        return _refused(missing_object("post", request.path_params["id"]))

    async def _node(self, request: Request) -> Response:
        return await self._answer("lookup", request, self._lookup)

    async def _answer(self, method: str, request: Request, act: _Act) -> Response:
        parameters: Json = {}
        uploads: tuple[str, ...] = ()

        async def answer() -> Response:
            nonlocal parameters, uploads
            try:
                self._admit(request, method)
                parameters, uploads, result = await act(request)
            except GraphError as error:
                return _refused(error)
            return JSONResponse(result)

        await request.body()
        response, status = await self._unless_it_fails(method, answer)
        self.calls.append(Call(method, parameters, uploads, status))
        self._keep()
        return response

    def _admit(self, request: Request, method: str) -> None:
        """Raise GraphError unless version, token and object are right."""
        if not _VERSION.fullmatch(request.path_params["version"]):
            raise GraphError(100, message="Unknown path components", subcode=None, status=400)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        given = token if scheme.lower() == "bearer" else ""
        given = request.query_params.get("access_token", given)
        wanted = self.world.token if method != "subscriptions" else self._app_access_token
        if given != wanted:
            raise GraphError(190)
        owner = self.world.app_id if method == "subscriptions" else self.world.phone_id
        if method != "lookup" and request.path_params["id"] != owner:
            raise missing_object("post", request.path_params["id"])

    async def _messages(self, request: Request) -> _Acted:
        try:
            body = cast("Json", await request.json())
        except ValueError:
            raise GraphError(100, message="Invalid JSON") from None
        if "status" not in body:
            self._check_rates(str(body.get("to") or body.get("recipient")))
        return body, (), self._methods.messages(body)

    def _check_rates(self, place: str) -> None:
        if self.rates.wait_s(place):
            overall = self.rates.is_full("overall")
            raise GraphError(130429 if overall else 131056)

    async def _upload(self, request: Request) -> _Acted:
        async with request.form(max_part_size=_MULTIPART_BYTES) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise GraphError(100, message="The parameter file is required.")
            content, name = await file.read(), file.filename or "file"
            fields: Json = {key: value for key, value in form.items() if isinstance(value, str)}
            mime = fields.get("type") or file.content_type or ""
        result = self._methods.upload(fields.get("messaging_product", ""), mime, content, name)
        return fields, (name,), result

    async def _lookup(self, request: Request) -> _Acted:
        node, fields = request.path_params["id"], request.query_params.get("fields", "")
        if node == self.world.phone_id and request.method == "GET":
            return {"id": node, "fields": fields}, (), self._methods.number(fields)
        self.expired.discard(node)
        verb = request.method.lower()
        return {"id": node}, (), self._methods.media(node, self.url, verb)

    async def _download(self, request: Request) -> Response:
        async def act() -> Response:
            if request.headers.get("authorization") != f"Bearer {self.world.token}":
                return _refused(GraphError(190))
            media = self.world.media.get(request.query_params.get("mid", ""))
            if media is None or media.id in self.expired:
                return Response("URL signature expired", 404, media_type="text/plain")
            return Response(media.content, media_type=media.mime)

        return (await self._unless_it_fails("download", act))[0]

    # Webhooks of the app

    @property
    def _app_access_token(self) -> str:
        return f"{self.world.app_id}|{self.world.app_secret[:8]}"

    async def _app_token(self, request: Request) -> Response:
        """The token of the app, for who has its secret."""
        secret = request.query_params.get("client_secret")
        if secret != self.world.app_secret:
            return _refused(GraphError(1, message="Error validating client secret.", status=400))
        return JSONResponse({"access_token": self._app_access_token, "token_type": "bearer"})

    async def _subscriptions(self, request: Request) -> _Acted:
        asked = dict(request.query_params)
        status = await self.hook.verify(asked["callback_url"], asked["verify_token"])
        if status != 200:
            raise GraphError(
                2200,
                message="Callback verification failed with the following errors: "
                f"HTTP Status Code = {status}",
            )
        return asked, (), {"success": True}


def _refused(error: GraphError) -> Response:
    return JSONResponse(error.body(), error.status)


@asynccontextmanager
async def open_whatsapp(
    *, state: Path | None = None, port: int = 0, retry_s: float = 0.05
) -> AsyncGenerator[WhatsApp]:
    """A WhatsApp on loopback until the block ends.

    With a `state` file the world outlives its process. A post that the webhook did not answer by
    200 is tried again after `retry_s`.
    """
    whatsapp = WhatsApp(kept_world(state, World), state, retry_s)
    async with open_fake(whatsapp, port):
        yield whatsapp


if __name__ == "__main__":
    run_peer(open_whatsapp)
