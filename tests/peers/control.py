"""A fake platform in a process of its own: what a test does to it comes over HTTP as well.

`POST /control/NAME` with an object calls the method of that name, and answers with its result.
The process says `ready URL` on its standard output once it listens, and runs until it is killed.
"""

from __future__ import annotations

import argparse
import base64
import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol, cast

import trio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

__all__ = ["control_route", "plain", "run_peer"]


class Peer(Protocol):
    """A fake platform that can be reached."""

    @property
    def url(self) -> str: ...


def control_route(peer: object, names: Collection[str]) -> Route:
    """The route under which a test calls the methods of `peer` that have these names."""

    async def control(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in names:
            return JSONResponse({"unknown": name}, 404)
        arguments = {key: _bytes(value) for key, value in (await request.json()).items()}
        result = getattr(peer, name)(**arguments)
        if inspect.isawaitable(result):
            result = await result
        return JSONResponse(plain(result))

    return Route("/control/{name}", control, methods=["POST"])


def plain(value: Any) -> Any:
    """A value as JSON has it; bytes become `{"base64": …}`."""
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, dict):
        members = cast("Mapping[Any, Any]", value)
        return {str(key): plain(inner) for key, inner in members.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in cast("Iterable[Any]", value)]
    return value


def _bytes(value: Any) -> Any:
    match value:
        case {"base64": str(encoded)}:
            return base64.b64decode(encoded)
        case _:
            return value


def run_peer(open_peer: Callable[..., AbstractAsyncContextManager[Peer]]) -> None:
    """Run a fake platform as a program, at the port and with the state file it is told."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path, default=None)
    chosen = parser.parse_args()

    async def run() -> None:
        async with open_peer(port=chosen.port, state=chosen.state) as peer:
            print("ready", peer.url, flush=True)
            await trio.sleep_forever()

    trio.run(run)
