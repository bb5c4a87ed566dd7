"""Other people's programs as processes: started, heard, and ended by their id."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from .background import open_background
from .places import CHECKOUT
from .web import Pulse

__all__ = ["Program", "ProgramEnded", "open_program", "start_program"]

_PATIENCE_S: Final = 60.0
"""Seconds a test waits for a line of a program before it fails."""
_GRACE_S: Final = 5.0
"""Seconds that a program has to end by itself."""
_TAIL: Final = 60
"""Lines of a program's output that a failure shows."""


class ProgramEnded(Exception):
    """It ended while something was expected of it; says its last lines."""


class Program:
    """A running program, and what it has written: standard output and errors, as they came."""

    def __init__(self, process: trio.Process, name: str) -> None:
        self._process = process
        self._name = name
        self._changed = Pulse()
        self._open = True
        self._given = 0
        self.lines: list[str] = []

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def until_line(
        self, wanted: Callable[[str], bool], *, after: int = 0, within_s: float = _PATIENCE_S
    ) -> str:
        """The first line from number `after` on that is `wanted`, once it is there.

        Raises:
            ProgramEnded: it will not come any more, or has not within `within_s`.
        """
        with trio.move_on_after(within_s):
            while True:
                for line in self.lines[after:]:
                    if wanted(line):
                        return line
                after = len(self.lines)
                if not self._open:
                    raise self._ended("ended without the line that was waited for")
                await self._changed.wait()
        raise self._ended(f"did not write the line within {within_s:.0f} s")

    async def until(self, start: str) -> str:
        """The next line that begins with `start`, behind the one that was given here last.

        Raises:
            ProgramEnded: as `until_line` does.
        """
        line = await self.until_line(lambda one: one.startswith(start), after=self._given)
        self._given = self.lines.index(line, self._given) + 1
        return line

    async def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{line}\n".encode())

    async def ends(self) -> int:
        """Wait for its end by itself, which must come soon; its status."""
        with trio.fail_after(_PATIENCE_S):
            return await self._process.wait()

    def stop(self) -> None:
        """Ask it to end: SIGTERM."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)

    async def end(self) -> int:
        """Ask it to end (no more input, SIGTERM), and insist if it does not in time; its status."""
        assert self._process.stdin is not None
        await self._process.stdin.aclose()
        self.stop()
        with trio.move_on_after(_GRACE_S):
            return await self._process.wait()
        return await self.kill()

    async def kill(self) -> int:
        """End it with SIGKILL, and return its status."""
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        return await self._process.wait()

    async def pump(self) -> None:
        """Read what it writes until it closes its output."""
        assert self._process.stdout is not None
        rest = b""
        try:
            async for piece in self._process.stdout:
                *lines, rest = (rest + piece).split(b"\n")
                self.lines += [line.decode("utf-8", "replace") for line in lines]
                self._changed.beat()
            self.lines += [rest.decode("utf-8", "replace")] if rest else []
        finally:
            self._open = False
            self._changed.beat()

    def _ended(self, what: str) -> ProgramEnded:
        return ProgramEnded("\n".join([f"{self._name} {what}", *self.lines[-_TAIL:]]))


async def start_program(
    nursery: trio.Nursery,
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = CHECKOUT,
) -> Program:
    """Start a program, which the caller ends; the nursery reads what it writes."""
    process = await trio.lowlevel.open_process(
        [str(word) for word in command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=folder,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
    )
    program = Program(process, " ".join(str(word) for word in command[:4]))
    nursery.start_soon(program.pump)
    return program


@asynccontextmanager
async def open_program(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    folder: Path = CHECKOUT,
) -> AsyncGenerator[Program]:
    """Run a program until the block ends, and end it then."""
    async with open_background() as nursery:
        program = await start_program(nursery, command, environment=environment, folder=folder)
        try:
            yield program
        finally:
            with trio.CancelScope(shield=True):
                await program.end()
