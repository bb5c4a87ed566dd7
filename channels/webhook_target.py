"""Where a program is called."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from .http_client import HttpAnswer, HttpClient
from .http_connections import HttpConnections
from .platform_url import platform_url
from .secret import Secret

__all__ = ["Target"]

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
        place = platform_url(url, "outbound_url", "https://example.org/hook", with_query=True)
        self._secret = Secret.of(url, "outbound_url")
        parsed = urlsplit(url)
        segments = [unquote(segment) for segment in parsed.path.split("/")[1:]]
        if any(segment in {".", ".."} for segment in segments):
            raise ValueError("outbound_url must have no . or .. in its path")
        self.host = place.host
        """Which may be shown."""
        # Errors show a path without its values.
        self._path = "/" + "/".join(
            f"{{path{number}}}" if segment else "" for number, segment in enumerate(segments)
        )
        self._values = {
            f"path{number}": segment for number, segment in enumerate(segments) if segment
        }
        self._params = dict(parse_qsl(parsed.query, keep_blank_values=True)) or None
        self._connections = HttpConnections(
            f"{parsed.scheme}://{parsed.netloc}", max_answer_bytes=_MAX_ANSWER_BYTES
        )

    def __repr__(self) -> str:
        return f"<Target at {self.host}>"

    def connected(self) -> AbstractAsyncContextManager[HttpClient]:
        """Keep connections for as long as the block lasts."""
        return self._connections.open()

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
