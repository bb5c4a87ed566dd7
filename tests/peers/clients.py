"""HTTP clients that may be cancelled, or lose their server, at any moment."""

from __future__ import annotations

from typing import Any

import httpx

from turnkeeper.channels.http_pieces import Body

__all__ = ["open_client"]


class _Whole(httpx.AsyncHTTPTransport):
    """Sends bodies in one piece: one that is left in the middle leaves nothing behind."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.stream = Body(await request.aread())
        return await super().handle_async_request(request)


def open_client(**options: Any) -> httpx.AsyncClient:
    """An `httpx.AsyncClient` with these options, which heeds nothing in the environment."""
    return httpx.AsyncClient(transport=_Whole(trust_env=False), trust_env=False, **options)
