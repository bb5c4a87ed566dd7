"""How fake platforms post."""

from __future__ import annotations

from collections.abc import Mapping

import httpx

from turnkeeper.channels.http_pieces import Body

__all__ = ["post_body"]


async def post_body(
    client: httpx.AsyncClient,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float | None = None,
) -> httpx.Response:
    """Post a body, and return the answer; raises what httpx does.

    Nothing of it is left to the garbage collector when it fails or is cancelled: what is given to
    httpx as `content` it wraps into a generator, whatever it is.
    """
    timeout = client.timeout if timeout_s is None else timeout_s
    request = client.build_request("POST", url, content=body, headers=headers, timeout=timeout)
    request.stream = Body(body)
    return await client.send(request)
