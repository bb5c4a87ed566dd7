"""A channel whose hook is served over real HTTP, with what a runtime would give it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import trio

from turnkeeper import Channel
from turnkeeper.channels.hook_server import HookServer

from ..peers.background import open_background
from ..peers.clients import open_client
from .given import Runtime

__all__ = ["PATH", "Runtime", "hooked", "post_raw"]

PATH: Final = "/hooks/mine"


@asynccontextmanager
async def hooked(
    channel: Channel, runtime: Runtime | None = None
) -> AsyncGenerator[tuple[Runtime, httpx.AsyncClient]]:
    """Run a channel, and a client of its server of hooks."""
    runtime = runtime or Runtime()
    runtime.serve(channel)
    assert channel.hook is not None
    server = HookServer()
    server.mount(PATH, channel.hook)
    async with open_background() as nursery:
        url = await nursery.start(server.serve)
        channel.hook_url = url + PATH

        async def run() -> Any:
            await channel.run(runtime.deliver)

        nursery.start_soon(run)
        async with open_client(base_url=url, timeout=20) as client:
            with trio.fail_after(5):
                while channel.line.state != "connected":  # noqa: ASYNC110 - it tells nobody
                    await trio.sleep(0.01)
            yield runtime, client


async def post_raw(
    url: str, path: str, headers: Mapping[str, str], body: bytes, chunked: bool
) -> tuple[str, int]:
    """Post, and stop at the first byte of an answer.

    Returns:
        The first line of the answer, and how many bytes of the body were taken until then.
    """
    place = urlsplit(url)
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    lines = [f"POST {path} HTTP/1.1", "host: x", length]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    stream = await trio.open_tcp_stream(place.hostname or "", place.port or 80)
    sent = 0

    async def send() -> None:
        nonlocal sent
        try:
            for start in range(0, len(body), 65_536):
                piece = body[start : start + 65_536]
                frame = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
                await stream.send_all(frame)
                sent += len(piece)
        except trio.BrokenResourceError:
            return  # it was cut off

    async with stream, open_background() as nursery:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        nursery.start_soon(send)
        with trio.fail_after(10):
            answer = bytes(await stream.receive_some())
    return answer.partition(b"\r\n")[0].decode(), sent
