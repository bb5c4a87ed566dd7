"""A Discord on loopback: `python -m tests.peers.discord_bridge --port N [--state FILE]`.

simcord's world behind a real HTTP server and a real gateway. With a file it keeps its world there
and goes on with it after any end, SIGKILL included; sessions are lost with the process. It writes
`up PORT` when it answers, and ends when its standard input does.

Tests act through `POST /_control`, a JSON object `{"do": NAME, ...}`: see `Control`.
Runs in the peers' environment only.
"""

# mypy: disable-error-code="import-not-found"
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from simcord.backend.errors import BackendError

from .discord_gateway import Gateway
from .discord_rest import API, Fault, Rest
from .discord_world import World


class Control:
    """What a test may ask for, by name; the arguments are those of the methods of `World`."""

    def __init__(self, world: World, rest: Rest, gateway: Gateway) -> None:
        self._world = world
        self._rest = rest
        self._gateway = gateway

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Do what is asked, and tell what came of it."""
        wish: dict[str, Any] = await request.json()
        try:
            result = await self._do(wish.pop("do"), wish)
        except (BackendError, KeyError, TypeError, ValueError) as error:
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
        return web.json_response({"result": result})

    async def _do(self, name: str, wish: dict[str, Any]) -> Any:
        match name:
            case "change":
                return await self._world.change(wish["since"])
            case "fault":
                self._rest.faults.append(Fault(**wish))
            case "mend":
                self._rest.mend()
            case "limit":
                self._rest.limit(bool(wish["on"]))
            case "calls":
                return self._rest.calls
            case "gateway":
                await self._gateway.control(wish["what"], wish.get("value"))
            case "gateway log":
                return self._gateway.log
            case "replace token":
                self._world.replace_token(wish["token"])
                self._gateway.log_out()
            case (
                "add_user" | "add_channel" | "dm" | "add_thread" | "user_says" | "edits"
                | "deletes" | "types" | "removes_channel" | "leaves" | "forbids"
                | "forgets_nonces" | "seen" | "typing" | "describe"
            ):  # fmt: skip
                return getattr(self._world, name)(**wish)
            case _:
                raise KeyError(name)
        return None


async def _until_told(reader: asyncio.StreamReader) -> None:
    """Return when standard input ends."""
    while await reader.read(4096):
        pass


async def _standard_input() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _serve(port: int, state: Path | None) -> None:
    listener = socket.create_server(("127.0.0.1", port))
    port = listener.getsockname()[1]
    world = World(f"http://127.0.0.1:{port}", state)
    gateway_url = f"ws://127.0.0.1:{port}"
    rest = Rest(world, gateway_url)
    gateway = Gateway(world, gateway_url)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/_control", Control(world, rest, gateway).answer)
    app.router.add_get("/attachments/{channel}/{file}/{name}", rest.download)
    app.router.add_route("*", API + "/{path:.*}", rest.answer)
    app.router.add_get("/", gateway.connect)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5, handler_cancellation=True)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    print(f"up {port}", flush=True)
    ended = asyncio.create_task(_until_told(await _standard_input()))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.cancel)
    await asyncio.wait([ended])
    await runner.cleanup()


def main() -> None:
    """Run until standard input ends, or SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path)
    arguments = parser.parse_args()
    asyncio.run(_serve(arguments.port, arguments.state))


if __name__ == "__main__":
    main()
