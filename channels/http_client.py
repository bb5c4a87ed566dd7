"""How a channel asks its platform over HTTP.

It says of every failure whether anything can have left, and shows no secret in any error.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, TypeAlias
from urllib.parse import quote

import httpx
import trio

from ..actors.frozen import message
from .base import LostAnswer, Rejected, Unreachable
from .http_answer import HttpAnswer, Words, expect_json, raise_for, raise_unread, retry_after_s
from .http_pieces import Body, abandon
from .secret import PLAIN_IN_PATHS, Secret, redact

__all__ = [
    "MAX_ANSWER_BYTES",
    "HttpAnswer",
    "HttpClient",
    "HttpTimeouts",
    "UploadedFile",
    "Words",
    "expect_json",
    "raise_for",
    "retry_after_s",
]

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""Longest answer of an API: lists of members are a few hundred KiB."""
_KEEP_ALIVE_S: Final = 4.0
"""How long an idle connection may be used again: less than any server is known to keep it."""
_MAX_CONNECTIONS: Final = 32
"""At once; more calls wait for one of them, `HttpTimeouts.pool_s` at most."""
_LEAVING: Final = ".send_request_headers.started"
"""How the event ends that comes before the first byte of a request."""

UploadedFile: TypeAlias = tuple[str, bytes, str]
"""Name, content, media type."""


@message
class HttpTimeouts:
    """For how long, in seconds, a call may take."""

    connect_s: float = 10.0
    """To find, reach and greet the server."""
    pool_s: float = 10.0
    """For one of the connections to become free."""
    total_s: float = 60.0
    """For all of it, unless the call says otherwise."""


class HttpClient:
    """The connections of one channel to one API.

    An idle connection that the server has closed is noticed before anything is written to it, and
    replaced; in the moment in which both happen at once nobody can tell whether the request was
    read, and it counts as lost. Connections are therefore not kept as long as servers keep them.

    Nothing is followed, sent twice, unpacked, or taken from the environment.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        timeouts: HttpTimeouts | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
        proxy: str | None = None,
        trust_env: bool = False,
    ) -> None:
        """Nothing is opened before it is entered.

        Args:
            base_url: what every path is put behind.
            headers: to send with every call.
            timeouts: see there.
            max_answer_bytes: longest answer; a longer one is not read on.
            proxy: URL of a proxy.
            trust_env: whether proxies and certificates may come from environment variables.

        Raises:
            ValueError: `base_url` is no URL of HTTP.
        """
        try:
            self._base_url = httpx.URL(base_url)
        except httpx.InvalidURL:
            raise ValueError("the base URL is no URL") from None
        if self._base_url.scheme not in {"http", "https"} or not self._base_url.host:
            raise ValueError("the base URL must begin with https:// or http:// and name a host")
        self._headers = _revealed(headers)
        self._timeouts = timeouts or HttpTimeouts()
        self._max_answer_bytes = max_answer_bytes
        self._proxy = proxy
        self._trust_env = trust_env
        self._client: httpx.AsyncClient | None = None
        self._closing = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<HttpClient for {self._base_url.host}>"

    async def __aenter__(self) -> HttpClient:
        self._client = await self._closing.enter_async_context(
            httpx.AsyncClient(
                base_url=self._base_url,
                headers={"accept-encoding": "identity", **self._headers},
                follow_redirects=False,
                trust_env=self._trust_env,
                proxy=self._proxy,
                limits=httpx.Limits(
                    max_connections=_MAX_CONNECTIONS,
                    max_keepalive_connections=_MAX_CONNECTIONS,
                    keepalive_expiry=_KEEP_ALIVE_S,
                ),
            )
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client = None
        await self._closing.aclose()

    async def call(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        path: str,
        *,
        sends: bool,
        values: Mapping[str, str | Secret] | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str | Secret] | None = None,
        json: Any = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, UploadedFile] | None = None,
        content: bytes | None = None,
        timeout_s: float | None = None,
    ) -> HttpAnswer:
        """Ask once, and return whatever is answered; `raise_for` says what it means.

        Args:
            method: of HTTP.
            path: from its `/` on, behind the base URL; `{name}` stands for one of the values.
                Errors show it as it is here, so ids of humans and secrets belong into the values.
            sends: whether it writes something that people see: then a failure after anything may
                have left is a lost answer.
            values: parts of the path; each is one segment, whatever is in it.
            params: of the query.
            headers: besides those of every call.
            json: a body to write as JSON.
            data: fields of a form.
            files: of a form.
            content: a body as it is.
            timeout_s: for all of it, if not the usual; long polls need more.

        Raises:
            Unreachable: nothing left, or it does not send.
            LostAnswer: it sends, and something may have left.
            Rejected: it is no request that could ever be sent.
            RuntimeError: the client is not open.
        """
        if self._client is None:
            raise RuntimeError("the HTTP client is not open")
        asked = f"{method} {path}"
        attempt = _Attempt(asked, sends)
        total_s = self._timeouts.total_s if timeout_s is None else timeout_s
        try:
            request = self._client.build_request(
                method,
                _filled(path, values or {}),
                params=params,
                headers=_revealed(headers),
                json=json,
                data=data,
                files=files,
                content=content,
                timeout=httpx.Timeout(
                    None, connect=self._timeouts.connect_s, pool=self._timeouts.pool_s
                ),
                extensions={"trace": attempt.trace},
            )
        except (httpx.InvalidURL, ValueError, TypeError) as error:
            raise Rejected(f"{asked}: no such request: {_told(error)}") from None
        with trio.move_on_after(total_s):
            return await self._exchange(self._client, request, attempt)
        raise attempt.failure(f"no answer within {total_s:g} s")

    async def _exchange(
        self, client: httpx.AsyncClient, request: httpx.Request, attempt: _Attempt
    ) -> HttpAnswer:
        try:
            request.stream = Body(await request.aread())
            response = await client.send(request, stream=True)
            try:
                body = await self._body(response, attempt)
            finally:
                await response.aclose()
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise Rejected(f"{attempt.asked}: no such request: {_told(error)}") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            where = request.url.netloc.decode()
            raise attempt.failure(f"cannot connect to {where}: {_told(error)}") from None
        except httpx.HTTPError as error:
            raise attempt.failure(_told(error)) from None
        return HttpAnswer(
            asked=attempt.asked,
            status=response.status_code,
            headers={name.lower(): value for name, value in response.headers.items()},
            body=body,
        )

    async def _body(self, response: httpx.Response, attempt: _Attempt) -> bytes:
        packed = response.headers.get("content-encoding", "identity")
        if packed.lower() != "identity":
            # A few bytes can unpack to gigabytes, and we have asked for plain ones.
            raise_unread(f"{attempt.asked}: the answer is packed", attempt.sends)
        most = self._max_answer_bytes
        body = bytearray()
        pieces = response.aiter_raw()
        async for piece in pieces:
            body += piece
            if len(body) > most:
                await abandon(pieces)
                raise_unread(f"{attempt.asked}: over {most:,} bytes of answer", attempt.sends)
        return bytes(body)


class _Attempt:
    """One request on its way, and whether anything of it can have left."""

    def __init__(self, asked: str, sends: bool) -> None:
        self.asked = asked
        self.sends = sends
        self.left = False

    async def trace(self, event: str, _info: Mapping[str, Any]) -> None:
        if event.endswith(_LEAVING):
            self.left = True

    def failure(self, why: str) -> LostAnswer | Unreachable:
        if self.sends and self.left:
            return LostAnswer(f"{self.asked}: {why}")
        return Unreachable(f"{self.asked}: {why}")


def _filled(path: str, values: Mapping[str, str | Secret]) -> str:
    """The path with its values, none of which can become more than a part of a segment.

    Raises:
        ValueError: a value is missing, is empty, or would climb to another path; or the path
            begins elsewhere.
    """
    if not path.startswith("/"):
        raise ValueError("the path must begin with /")
    parts: dict[str, str] = {}
    for name, value in values.items():
        text = value.reveal() if isinstance(value, Secret) else value
        if text in {"", ".", ".."}:
            raise ValueError(f"{name} is no part of a path")
        parts[name] = quote(text, safe=PLAIN_IN_PATHS)
    try:
        return path.format_map(parts)
    except KeyError as error:
        raise ValueError(f"{error.args[0]} is missing") from None


def _revealed(headers: Mapping[str, str | Secret] | None) -> dict[str, str]:
    return {
        name: value.reveal() if isinstance(value, Secret) else value
        for name, value in (headers or {}).items()
    }


def _told(error: Exception) -> str:
    text = redact(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
