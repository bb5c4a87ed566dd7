"""Calls of Matrix's client-server API: the token in a header, one connection pool, one rate.

Source: https://spec.matrix.org/v1.11/client-server-api/, "API Standards", "Transaction
identifiers": repeating a PUT with the same identifier, with the same token, returns what the first
one returned. How long a homeserver remembers is not specified; Synapse does for a day.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from .base import Rejected
from .http_connections import CALL_S, UPLOAD_S, HttpConnections
from .json_fields import Fields
from .limiter import Limiter, Rate, limited, pausing
from .matrix_errors import ACCOUNT_REFUSED, result_of
from .secret import Secret

__all__ = ["CLIENT", "MatrixApi"]

CLIENT: Final = "/_matrix/client/v3"
_MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""Longest answer: what many rooms have said while we were away."""
_BURST: Final = 10


class MatrixApi(HttpConnections):
    """Asks one homeserver, in the name of one account."""

    def __init__(self, homeserver: str, token: Secret, sends_per_s: float) -> None:
        """Nothing is opened before the first call.

        Raises:
            ValueError: it is no URL of HTTP, or no rate.
        """
        super().__init__(
            homeserver,
            headers={"authorization": Secret(f"Bearer {token.reveal()}")},
            max_answer_bytes=_MAX_ANSWER_BYTES,
        )
        self._limiter = Limiter([Rate(per_s=sends_per_s, burst=_BURST)])

    async def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        values: Mapping[str, str] | None = None,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        timeout_s: float = CALL_S,
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
        with pausing(self._limiter, None):  # it counts what an account says in all of its rooms
            return await self._call("PUT", path, sends=True, values=values, json=content)

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
            timeout_s=UPLOAD_S,
        )

    async def _call(self, method: str, path: str, *, sends: bool, **parts: Any) -> Fields:
        return result_of(await self.call(method, path, sends=sends, **parts), sends=sends)
