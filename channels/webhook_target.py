"""Where a program is called."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from .http_client import HttpAnswer, HttpClient
from .secret import Secret

__all__ = ["Target"]

_LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_CALL_S: Final = 30.0
"""The longest that the specification of Standard Webhooks recommends to wait."""
_MAX_ANSWER_BYTES: Final = 64 * 1024


class Target:
    """One URL. It may hold a secret of its own, so all of it is treated as one."""

    def __init__(self, url: str) -> None:
        """Take it out of a configuration; nothing is opened.

        Raises:
            ValueError: it is no plain URL, or not encrypted on its way to another machine.
        """
        self._secret = Secret.of(url, "outbound_url")
        try:
            parsed = urlsplit(url)
            port = parsed.port
        except ValueError:
            raise ValueError("outbound_url is no URL") from None
        host = parsed.hostname
        if not host or parsed.username or parsed.password or parsed.fragment:
            raise ValueError("outbound_url must be like https://example.org/hook")
        if parsed.scheme != "https" and not (parsed.scheme == "http" and host in _LOOPBACK):
            raise ValueError(
                "outbound_url must begin with https://; http:// is for this machine only"
            )
        segments = [unquote(segment) for segment in parsed.path.split("/")[1:]]
        if any(segment in {".", ".."} for segment in segments):
            raise ValueError("outbound_url must have no . or .. in its path")
        self.host = host
        """Which may be shown."""
        place = f"[{host}]" if ":" in host else host
        self._base = f"{parsed.scheme}://{place}" + (f":{port}" if port else "")
        # Errors show a path without its values.
        self._path = "/" + "/".join(
            f"{{path{number}}}" if segment else "" for number, segment in enumerate(segments)
        )
        self._values = {
            f"path{number}": segment for number, segment in enumerate(segments) if segment
        }
        self._params = dict(parse_qsl(parsed.query, keep_blank_values=True)) or None
        self._client: HttpClient | None = None
        self._users = 0
        self._new()

    def __repr__(self) -> str:
        return f"<Target at {self.host}>"

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[HttpClient]:
        """Keep connections for as long as the block lasts, or the last block of several."""
        client = self._client
        if client is None:
            client = self._client = await self._new().__aenter__()
        self._users += 1
        try:
            yield client
        finally:
            self._users -= 1
            if not self._users:
                self._client = None
                await client.__aexit__(None, None, None)

    async def post(self, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """Call, and return whatever is answered.

        Raises:
            Unreachable: nothing left.
            LostAnswer: something may have left, and no answer came.
        """
        async with self.connected() as client:
            return await client.call(
                "POST",
                self._path,
                sends=True,
                values=self._values,
                params=self._params,
                headers={**headers, "content-type": "application/json"},
                content=body,
                timeout_s=_CALL_S,
            )

    def _new(self) -> HttpClient:
        return HttpClient(self._base, max_answer_bytes=_MAX_ANSWER_BYTES)
