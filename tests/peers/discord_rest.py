"""Discord's REST interface, version 10, over a world: simcord's routes behind real HTTP.

What simcord leaves to the network is added: tokens, rate limits with their headers, nonces, uploads
and the CDN, and faults that a test asks for. Runs in the peers' environment only.
"""

# mypy: disable-error-code="import-not-found"
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import fnmatch
import io
import json
import math
import re
import time
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web
from simcord.backend.errors import BackendError
from simcord.http import router

from .discord_world import World, file_name

__all__ = ["Fault", "Rest"]

API: Final = "/api/v10"
_MAJOR: Final = re.compile(r"^/(channels|guilds|webhooks)/(\d+)")
_MESSAGES: Final = re.compile(r"^/channels/(\d+)/messages$")
_TEXT_LIMIT: Final = 2000
_NONCE_LIMIT: Final = 25
_FILES: Final = 10
_FILE_BYTES: Final = 10 * 1024 * 1024
_REQUEST_BYTES: Final = 25 * 1024 * 1024
_MAY_READ_CONTENT: Final = 1 << 19
"""The flag of an application whose owner has switched on the Message Content Intent."""
_BUCKET: Final = 5
"""Requests that a bucket holds at first, for `_BUCKET_S` seconds, where limits are enforced."""
_BUCKET_S: Final = 5.0
_LARGE_BUCKET: Final = 10_000
"""What a bucket holds elsewhere: nobody who obeys the headers is slowed down."""


class _Refused(Exception):
    """An answer that is an error of Discord's."""

    def __init__(
        self, status: int, code: int, message: str, errors: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"message": message, "code": code}
        if errors is not None:
            self.body["errors"] = errors


@dataclass
class Fault:
    """What happens to the next `times` requests that fit, instead of an answer."""

    kind: str
    """`status`, `rate limit`, `cut` (no answer) or `hang` (none until it is mended, or the client
    gives up)."""
    method: str = "*"
    path: str = "*"
    """A pattern of the path without `/api/v10`, as in `/channels/*/messages`."""
    times: int = 1
    acts: bool = False
    """Whether what was asked for is done all the same."""
    status: int = 500
    retry_after_s: float = 0.1
    scope: str = "user"
    """Of a rate limit: `user`, `shared` or `global`."""

    def fits(self, method: str, path: str) -> bool:
        """Whether it is about this request."""
        return self.method in (method, "*") and fnmatch.fnmatch(path, self.path)


@dataclass
class _File:
    """An upload in the form that simcord reads."""

    filename: str
    fp: io.BytesIO
    description: str | None = None


@dataclass
class _Bucket:
    """How much of a rate limit is left."""

    remaining: int
    resets_at: float


class Rest:
    """The answers to HTTP requests."""

    def __init__(self, world: World, gateway_url: str) -> None:
        self._world = world
        self._gateway_url = gateway_url
        self._buckets: dict[str, _Bucket] = {}
        self.limited = False
        """Whether the limits are Discord's; otherwise nobody reaches them."""
        self.faults: list[Fault] = []
        self._mended = asyncio.Event()
        self.calls: list[dict[str, Any]] = []
        """What was asked, oldest first: method, path, status of the answer."""

    def limit(self, on: bool) -> None:
        """Begin with other limits."""
        self.limited = on
        self._buckets.clear()

    def mend(self) -> None:
        """Nothing fails any more, and what hangs goes on."""
        self.faults.clear()
        self._mended.set()
        self._mended = asyncio.Event()

    async def download(self, request: web.Request) -> web.StreamResponse:
        """A file of the CDN: anybody who knows its whole address may have it."""
        content = self._world.backend.cdn.get(str(request.url))
        if content is None:
            return web.Response(status=404, text="This content is no longer available.")
        return web.Response(body=content, content_type="application/octet-stream")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request to the interface."""
        path = request.path.removeprefix(API)
        call: dict[str, Any] = {"method": request.method, "path": path, "status": 0}
        self.calls.append(call)
        fault = next((one for one in self.faults if one.fits(request.method, path)), None)
        if fault is not None:
            fault.times -= 1
            if fault.times <= 0:
                self.faults.remove(fault)
            if not fault.acts:
                return await self._fail(request, fault, call)
        response = await self._try(request, path)
        if fault is not None:
            return await self._fail(request, fault, call)
        call["status"] = response.status
        self._world.touch()
        return response

    async def _fail(
        self, request: web.Request, fault: Fault, call: dict[str, Any]
    ) -> web.StreamResponse:
        """Answer as a fault says."""
        await request.read()
        self._world.touch()
        if fault.kind == "hang":
            await self._mended.wait()
            response = await self._try(request, request.path.removeprefix(API))
            call["status"] = response.status
            return response
        if fault.kind == "cut":
            assert request.transport is not None
            request.transport.abort()
            raise asyncio.CancelledError
        if fault.kind == "rate limit":
            call["status"] = 429
            return _too_many(fault.retry_after_s, fault.scope)
        call["status"] = fault.status
        return web.Response(status=fault.status, text="upstream connect error")

    async def _try(self, request: web.Request, path: str) -> web.StreamResponse:
        headers, wait_s = self._take(request.method, path)
        try:
            if path != "/gateway":
                self._admit(request)
            if wait_s is not None:
                return _too_many(wait_s, "user", headers)
            answer = await self._do(request, path)
        except _Refused as refused:
            return _json(refused.body, refused.status, headers)
        except (router.RouteNotImplemented, router.UnsupportedField) as error:
            return _json({"message": str(error), "code": 0}, 501, headers)
        except BackendError as error:
            return _json(error.to_json(), error.status, headers)
        except (KeyError, ValueError) as error:
            body = {"message": f"Invalid Form Body: {error}", "code": 50035, "errors": {}}
            return _json(body, 400, headers)
        if answer is None:
            return web.Response(status=204, headers=headers)
        return _json(answer, 200, headers)

    def _admit(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bot {self._world.token}":
            raise _Refused(401, 0, "401: Unauthorized")

    async def _do(self, request: web.Request, path: str) -> Any:
        if request.method == "GET" and path in ("/gateway", "/gateway/bot"):
            return self._tell_gateway(whole=path == "/gateway/bot")
        if request.method == "GET" and path == "/applications/@me":
            return {"id": self._world.bot, "name": "keeper", "flags": _MAY_READ_CONTENT}
        body, files = await _read(request)
        params = dict(request.query)
        found = _MESSAGES.match(path)
        if found and request.method == "POST":
            return self._send(path, int(found[1]), body, files)
        if found and request.method == "GET":
            return self._history(path, params)
        return self._dispatch(request.method, path, body, params, files)

    def _dispatch(
        self,
        method: str,
        path: str,
        body: Any = None,
        params: dict[str, Any] | None = None,
        files: list[_File] | None = None,
    ) -> Any:
        return router.dispatch(
            self._world.backend, method, path, json=body, params=params, files=files
        )

    def _tell_gateway(self, *, whole: bool) -> dict[str, Any]:
        if not whole:
            return {"url": self._gateway_url}
        limit = {"total": 1000, "remaining": 999, "reset_after": 14400000, "max_concurrency": 1}
        return {"url": self._gateway_url, "shards": 1, "session_start_limit": limit}

    def _send(self, path: str, channel: int, body: Any, files: list[_File]) -> Any:
        """Send a message, unless its nonce says that this was done a moment ago."""
        body = body if isinstance(body, dict) else {}
        _check_message(body, files)
        nonce = body.get("nonce")
        enforced = bool(body.get("enforce_nonce")) and nonce is not None
        known = self._world.nonces.get(f"{channel}/{nonce}") if enforced else None
        if known is not None:
            message = self._world.backend.messages.get(channel, {}).get(known)
            if message is not None:
                return self._dispatch("GET", f"{path}/{known}") | {"nonce": nonce}
        self._world.sending = nonce
        try:
            sent: dict[str, Any] = self._dispatch("POST", path, body, None, files)
        finally:
            self._world.sending = None
        if enforced:
            self._world.nonces[f"{channel}/{nonce}"] = int(sent["id"])
        return sent | {"nonce": nonce}

    def _history(self, path: str, params: dict[str, str]) -> Any:
        """Messages of a channel, newest first; after a message, those next to it."""
        limit = int(params.get("limit", 50))
        if not 1 <= limit <= 100:
            raise _Refused(400, 50035, "Invalid Form Body", _invalid("limit", "NUMBER_TYPE_MAX"))
        if "after" not in params:
            return self._dispatch("GET", path, None, params)
        everything = self._dispatch("GET", path, None, {**params, "limit": 1_000_000})
        return everything[-limit:]

    def _take(self, method: str, path: str) -> tuple[dict[str, str], float | None]:
        """Count a request; the headers that tell of it, and how long to wait if it is too many."""
        major = _MAJOR.match(path)
        route = re.sub(r"\d{15,}", "id", path)
        name = f"{method} {route} {major[2] if major else ''}"
        now = time.time()
        bucket = self._buckets.get(name)
        size = _BUCKET if self.limited else _LARGE_BUCKET
        if bucket is None or bucket.resets_at <= now:
            bucket = self._buckets[name] = _Bucket(size, now + _BUCKET_S)
        wait_s = None
        if bucket.remaining:
            bucket.remaining -= 1
        else:
            wait_s = bucket.resets_at - now
        return {
            "X-RateLimit-Limit": str(size),
            "X-RateLimit-Remaining": str(bucket.remaining),
            "X-RateLimit-Reset": f"{bucket.resets_at:.3f}",
            "X-RateLimit-Reset-After": f"{bucket.resets_at - now:.3f}",
            "X-RateLimit-Bucket": f"{hash((method, route)) & 0xFFFFFFFFFFFFFFFF:016x}",
            "Via": "1.1 google",
        }, wait_s


def _json(body: Any, status: int, headers: dict[str, str]) -> web.StreamResponse:
    """An answer in JSON, with the media type as Discord writes it: bare."""
    told = {**headers, "Content-Type": "application/json"}
    return web.Response(body=json.dumps(body).encode(), status=status, headers=told)


def _too_many(
    wait_s: float, scope: str, headers: dict[str, str] | None = None
) -> web.StreamResponse:
    """429, with the time to wait in the three places where clients look for it."""
    body = {
        "message": "You are being rate limited.",
        "retry_after": round(wait_s, 3),
        "global": scope == "global",
    }
    everywhere = {"X-RateLimit-Global": "true"} if scope == "global" else {}
    told = {
        "Via": "1.1 google",
        **(headers or {}),
        **everywhere,
        "Retry-After": str(math.ceil(wait_s)),
        "X-RateLimit-Scope": scope,
    }
    return _json(body, 429, told)


def _invalid(field: str, code: str, message: str = "") -> dict[str, Any]:
    return {field: {"_errors": [{"code": code, "message": message}]}}


def _check_message(body: dict[str, Any], files: list[_File]) -> None:
    """What Discord says of a message before it looks at anything else."""
    content = body.get("content") or ""
    if not isinstance(content, str):
        raise _Refused(400, 50035, "Invalid Form Body", _invalid("content", "STRING_TYPE_CONVERT"))
    carries = ("embeds", "sticker_ids", "components", "poll")
    if not content.strip() and not files and not any(body.get(key) for key in carries):
        raise _Refused(400, 50006, "Cannot send an empty message")
    if len(content) > _TEXT_LIMIT:
        words = f"Must be {_TEXT_LIMIT} or fewer in length."
        errors = _invalid("content", "BASE_TYPE_MAX_LENGTH", words)
        raise _Refused(400, 50035, "Invalid Form Body", errors)
    nonce = body.get("nonce")
    if nonce is not None and (
        isinstance(nonce, bool)
        or not isinstance(nonce, str | int)
        or len(str(nonce)) > _NONCE_LIMIT
    ):
        errors = _invalid("nonce", "NONCE_TYPE_TOO_LONG", "Nonce is too long")
        raise _Refused(400, 50035, "Invalid Form Body", errors)
    if len(files) > _FILES:
        raise _Refused(400, 30015, "Maximum number of attachments in a message reached (10)")
    if any(len(file.fp.getbuffer()) > _FILE_BYTES for file in files):
        raise _Refused(413, 40005, "Request entity too large")


async def _read(request: web.Request) -> tuple[Any, list[_File]]:
    """The JSON of a request, and what was uploaded with it."""
    if request.content_length is not None and request.content_length > _REQUEST_BYTES:
        raise _Refused(413, 40005, "Request entity too large")
    if request.content_type == "multipart/form-data":
        return await _read_parts(request)
    raw = await request.read()
    if not raw:
        return None, []
    if request.content_type != "application/json":
        raise _Refused(400, 50109, "The request body contains invalid JSON.")
    return _parse(raw), []


async def _read_parts(request: web.Request) -> tuple[Any, list[_File]]:
    body: Any = None
    files: dict[str, _File] = {}
    form = await request.post()
    for name, value in form.items():
        if isinstance(value, web.FileField):
            index = name.removeprefix("files[").removesuffix("]")
            files[index] = _File(value.filename, io.BytesIO(value.file.read()))
        elif name == "payload_json":
            body = _parse(value)
    for described in (body or {}).get("attachments") or ():
        file = files.get(str(described.get("id")))
        if file is not None:
            file.description = described.get("description")
            file.filename = described.get("filename") or file.filename
    for file in files.values():
        file.filename = file_name(file.filename)
    return body, list(files.values())


def _parse(raw: str | bytes | bytearray) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        raise _Refused(400, 50109, "The request body contains invalid JSON.") from None
