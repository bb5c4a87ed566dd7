"""The connections of a channel to its platform; they stand for as long as somebody needs them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from .http_answer import HttpAnswer
from .http_client import MAX_ANSWER_BYTES, HttpClient
from .secret import Secret

__all__ = ["CALL_S", "UPLOAD_S", "HttpConnections"]

CALL_S: Final = 30.0
"""Seconds for a call that only answers."""
UPLOAD_S: Final = 300.0
"""Seconds for the longest file that a platform takes to leave, and to be taken in."""


class HttpConnections:
    """Lends the client of one API to all that ask it; what knows the API's calls is a child."""

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """Nothing is opened before somebody needs it.

        Args:
            base_url: what every path is put behind.
            headers: to send with every call.
            max_answer_bytes: longest answer.

        Raises:
            ValueError: `base_url` is no URL of HTTP.
        """
        self.url: Final = base_url
        self.headers: Final = dict(headers or {})
        self._max_answer_bytes = max_answer_bytes
        self._client: HttpClient | None = None
        self._users = 0
        self._new()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} at {self.url}, {self._users} users>"

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[HttpClient]:
        """Keep connections for as long as the block lasts, or the last block of several.

        So a call needs no other block around it: what is sent while nothing is heard has a
        connection of its own.
        """
        client = self._client
        if client is None:
            # Nothing is waited for while a client opens, so nobody opens a second one meanwhile.
            client = self._client = await self._new().__aenter__()
        self._users += 1
        try:
            yield client
        finally:
            self._users -= 1
            if not self._users:
                self._client = None
                await client.__aexit__(None, None, None)

    async def call(
        self, method: str, path: str, *, sends: bool, timeout_s: float = CALL_S, **parts: Any
    ) -> HttpAnswer:
        """Ask once; see `HttpClient.call`."""
        async with self.open() as client:
            return await client.call(method, path, sends=sends, timeout_s=timeout_s, **parts)

    def _new(self) -> HttpClient:
        return HttpClient(self.url, headers=self.headers, max_answer_bytes=self._max_answer_bytes)
