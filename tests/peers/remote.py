"""Programs beside the tests: third parties' clients, and fake platforms that can be killed."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from .background import open_background
from .clients import open_client
from .control import plain
from .places import peers_python
from .ports import kept_port
from .programs import Program, open_program, start_program

__all__ = ["RemotePeer", "open_remote", "run_client"]

_PATIENCE_S: Final = 30.0
"""Seconds after which a platform that has not done what was expected of it has failed."""


def run_client(name: str, *arguments: str) -> AbstractAsyncContextManager[Program]:
    """Run one of `asyncio_clients/`, with the Python that has the third parties' libraries."""
    program = Path(__file__).parent / "asyncio_clients" / f"{name}.py"
    return open_program([peers_python(), program, *arguments])


class RemotePeer:
    """A fake platform as a process of its own, which can be killed and started again.

    It comes back at the same address with the world that it had. `call` does what the method of
    that name does on the platform in this process; results are as JSON has them.
    """

    def __init__(self, module: str, state: Path, port: int, nursery: trio.Nursery) -> None:
        self._module = module
        self._state = state
        self._nursery = nursery
        self._program: Program | None = None
        self._port = port

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it; it listens when this returns."""
        command = [sys.executable, "-m", self._module]
        command += ["--port", str(self._port), "--state", str(self._state)]
        self._program = await start_program(self._nursery, command)
        await self._program.until("ready ")

    async def kill(self) -> None:
        """Kill it without a word of warning."""
        if self._program is not None:
            await self._program.kill()

    async def call(self, name: str, /, **arguments: Any) -> Any:
        """Do something in its world."""
        async with open_client(timeout=_PATIENCE_S) as client:
            body = json.dumps(plain(arguments))
            answer = await client.post(f"{self.url}/control/{name}", content=body)
            return answer.raise_for_status().json()

    async def until(self, holds: Callable[[Any], bool], name: str, **arguments: Any) -> Any:
        """Call `name` after every change until its result `holds`, and give that."""
        with trio.fail_after(_PATIENCE_S):
            since = -1
            while True:
                since = await self.call("changed", since=since)
                result = await self.call(name, **arguments)
                if holds(result):
                    return result

    @staticmethod
    def content(value: Mapping[str, str]) -> bytes:
        """The bytes in a result."""
        return base64.b64decode(value["base64"])


@asynccontextmanager
async def open_remote(module: str, state: Path) -> AsyncGenerator[RemotePeer]:
    """A fake platform as a process, `python -m module`; it is killed at the end of the block."""
    with kept_port() as port:
        async with open_background() as nursery:
            peer = RemotePeer(module, state, port, nursery)
            try:
                await peer.start()
                yield peer
            finally:
                with trio.CancelScope(shield=True):
                    await peer.kill()
