"""Calls of Matrix's client-server API: the token in a header, one connection pool, one rate.

Source: https://spec.matrix.org/v1.11/client-server-api/, "API Standards", "Transaction
identifiers": repeating a PUT with the same identifier, with the same token, returns what the first
one returned. How long a homeserver remembers is not specified; Synapse does for a day.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from .base import Rejected, Unreachable
from .http_client import HttpClient
from .json_fields import Fields
from .limiter import Limiter, Rate, limited
from .matrix_errors import ACCOUNT_REFUSED, result_of
from .secret import Secret

__all__ = ["CLIENT", "MatrixApi"]

CLIENT: Final = "/_matrix/client/v3"
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Longest answer: what many rooms have said while we were away."""
_CALL_S: Final = 30.0
_UPLOAD_S: Final = 300.0
_BURST: Final = 10


class MatrixApi:
    """Asks one homeserver, in the name of one account."""

    def __init__(self, homeserver: str, token: Secret, sends_per_s: float) -> None:
        """Nothing is opened before the first call.

        Raises:
            ValueError: it is no URL of HTTP, or no rate.
        """
        HttpClient(homeserver)
        self._homeserver = homeserver
        self.authorization = Secret(f"Bearer {token.reveal()}")
        self._limiter = Limiter([Rate(per_s=sends_per_s, burst=_BURST)])
        self._client: HttpClient | None = None
        self._users = 0

    def __repr__(self) -> str:
        return f"<MatrixApi at {self._homeserver}>"

    @asynccontextmanager
    async def connected(self) -> AsyncGenerator[HttpClient]:
        """Keep connections for as long as the block lasts, or the last block of several."""
        client = self._client
        if client is None:
            client = self._client = await HttpClient(
                self._homeserver,
                headers={"authorization": self.authorization},
                max_answer_bytes=_MAX_ANSWER_BYTES,
            ).__aenter__()
        self._users += 1
        try:
            yield client
        finally:
            self._users -= 1
            if not self._users:
                self._client = None
                await client.__aexit__(None, None, None)

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        values: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        timeout_s: float = _CALL_S,
    ) -> Fields:
        """What a call answers that writes nothing which people see as said.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        return await self._call(
            method, path, sends=False, values=values, params=params, json=json, timeout_s=timeout_s
        )

    async def find(self, path: str, values: Mapping[str, str]) -> Fields | None:
        """What there is; None if it is not there, or not for us.

        Raises:
            Unreachable: see `result_of`.
            Rejected: not this is refused, but the account.
        """
        try:
            return await self.ask(path, values=values)
        except Rejected as refused:
            if refused.reason in ACCOUNT_REFUSED:
                raise
            return None

    async def write(
        self, path: str, values: Mapping[str, str], content: Mapping[str, Any]
    ) -> Fields:
        """Say something, at its turn.

        Raises:
            Unreachable, Rejected, LostAnswer: see `result_of`.
        """
        await limited(self._limiter, "")
        try:
            return await self._call(
                "PUT", path, sends=True, values=values, json=content, timeout_s=_CALL_S
            )
        except Unreachable as error:
            if error.retry_after_s is not None:
                # A homeserver counts what an account says in all of its rooms.
                self._limiter.pause(None, trio.current_time() + error.retry_after_s)
            raise

    async def upload(self, content: bytes, *, name: str, mime: str) -> Fields:
        """Put a file on the homeserver, which nobody sees before a message names it.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        return await self._call(
            "POST",
            "/_matrix/media/v3/upload",
            sends=False,
            params={"filename": name},
            headers={"content-type": mime},
            content=content,
            timeout_s=_UPLOAD_S,
        )

    async def _call(self, method: str, path: str, *, sends: bool, **parts: Any) -> Fields:
        async with self.connected() as client:
            answer = await client.call(method, path, sends=sends, **parts)
        return result_of(answer, sends=sends)
