"""Programs beside the tests: third parties' clients, and fake platforms that can be killed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from .background import open_background
from .clients import open_client
from .control import plain
from .places import CHECKOUT, peers_python
from .ports import kept_port

__all__ = ["Program", "RemotePeer", "open_remote", "run_client", "run_program"]

_PATIENCE_S: Final = 30.0
"""Seconds after which a program that has not done what was expected of it has failed."""


class Program:
    """A running program: what it prints, line by line, and how it ends."""

    def __init__(self, process: trio.Process, lines: trio.MemoryReceiveChannel[str]) -> None:
        self._process = process
        self._lines = lines
        self.said: list[str] = []

    async def until(self, start: str) -> str:
        """The next line that begins with `start`; an AssertionError if it ends before."""
        with trio.fail_after(_PATIENCE_S):
            async for line in self._lines:
                self.said.append(line)
                if line.startswith(start):
                    return line
        said = "\n".join(self.said[-40:])
        raise AssertionError(f"it ended before it said {start!r}:\n{said}")

    async def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line.encode() + b"\n")

    async def ends(self) -> int:
        """Wait for its end by itself, which must come soon; its exit code."""
        with trio.fail_after(_PATIENCE_S):
            return await self.ended()

    async def ended(self) -> int:
        """Wait for its end, whenever that is; its exit code."""
        return await self._process.wait()

    def stop(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once, whatever it does."""
        self._process.kill()


@asynccontextmanager
async def run_program(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[Program]:
    """Run a program from the checkout; at the end of the block it is killed if it still runs."""
    run = partial(
        trio.run_process,
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        deliver_cancel=_kill,
    )
    async with open_background() as nursery:
        process: trio.Process = await nursery.start(run)
        said, lines = trio.open_memory_channel[str](100_000)
        nursery.start_soon(_read, process, said)
        yield Program(process, lines)


async def _kill(process: trio.Process) -> None:
    process.kill()


async def _read(process: trio.Process, said: trio.MemorySendChannel[str]) -> None:
    assert process.stdout is not None
    rest = b""
    async with said:
        async for piece in process.stdout:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                await said.send(line.decode("utf-8", "replace"))
        if rest:
            await said.send(rest.decode("utf-8", "replace"))


@asynccontextmanager
async def run_client(name: str, *arguments: str) -> AsyncGenerator[Program]:
    """Run one of `asyncio_clients/`, with the Python that has the third parties' libraries."""
    program = Path(__file__).parent / "asyncio_clients" / f"{name}.py"
    async with run_program([peers_python(), program, *arguments]) as client:
        yield client


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
        self._ended = trio.Event()
        self._port = port

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Start it; it listens when this returns."""
        self._ended = trio.Event()
        program: Program = await self._nursery.start(self._run)
        self._program = program
        await program.until("ready ")

    async def kill(self) -> None:
        """Kill it without a word of warning."""
        assert self._program is not None
        self._program.kill()
        with trio.fail_after(_PATIENCE_S):
            await self._ended.wait()

    async def _run(self, task_status: trio.TaskStatus[Program]) -> None:
        command = [sys.executable, "-m", self._module]
        command += ["--port", str(self._port), "--state", str(self._state)]
        async with run_program(command) as program:
            task_status.started(program)
            await program.ended()
        self._ended.set()

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
            await peer.start()
            yield peer
