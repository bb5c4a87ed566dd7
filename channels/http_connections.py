"""The connections of a channel to its platform; they stand for as long as somebody needs them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from .http_client import MAX_ANSWER_BYTES, HttpClient
from .secret import Secret

__all__ = ["HttpConnections"]


class HttpConnections:
    """Lends the client of one API to all that ask it."""

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
        self._base_url = base_url
        self._headers = dict(headers or {})
        self._max_answer_bytes = max_answer_bytes
        self._client: HttpClient | None = None
        self._users = 0
        self._new()

    def __repr__(self) -> str:
        return f"<HttpConnections to {self._base_url}, {self._users} users>"

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

    def _new(self) -> HttpClient:
        return HttpClient(
            self._base_url, headers=self._headers, max_answer_bytes=self._max_answer_bytes
        )
