"""The console's two ends: lines from a file descriptor, shown text to another.

Neither blocks the event loop, and both can be cancelled: reading and writing wait for the
descriptor to be ready and touch its flags never, since a shell shares them with other programs.
"""

from __future__ import annotations

import io
import os
import select
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

import trio

from .display import printable

__all__ = ["HasDescriptor", "Line", "LineReader", "ShownKind", "Terminal", "TextOutput"]

ShownKind: TypeAlias = Literal["reply", "message", "notice"]
"""A reply of the agent, a message typed in another view, a word of the channel itself."""

_READ_BYTES: Final = 64 * 1024
_WRITE_BYTES: Final = select.PIPE_BUF
"""A pipe that polls as writable takes this many bytes without blocking (POSIX)."""

_COLOURS: Final[dict[ShownKind, str]] = {"reply": "36", "message": "2", "notice": "33"}
_PROMPT: Final = "> "
_ERASE_LINE: Final = "\r\x1b[K"


class HasDescriptor(Protocol):
    """Anything that reads from a file descriptor."""

    def fileno(self) -> int: ...


class TextOutput(Protocol):
    """What the console needs of a text stream."""

    def fileno(self) -> int: ...
    def isatty(self) -> bool: ...
    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of input."""

    number: int
    """1 for the first line."""
    text: str | None
    """Without its line end; None when it was over the limit and has been thrown away."""


class LineReader:
    """Lines of a terminal, pipe or file, of bounded length."""

    def __init__(self, source: HasDescriptor, *, max_line_bytes: int) -> None:
        self._fd = source.fileno()
        self._max_line_bytes = max_line_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._number = 0
        self._too_long = False
        self._ended = False

    async def next_line(self) -> Line | None:
        """The next line, or None at the end of the input.

        Bytes that are not UTF-8 become lone surrogates (`surrogateescape`), so nothing is lost.
        """
        while True:
            end = self._buffer.find(b"\n", self._searched)
            if end >= 0:
                return self._take(end, skip=1)
            if self._ended:
                return self._take(len(self._buffer), skip=0) if self._has_rest() else None
            if len(self._buffer) > self._max_line_bytes:
                self._too_long = True
                self._buffer.clear()
            self._searched = len(self._buffer)
            data = await _read(self._fd)
            self._ended = not data
            self._buffer += data

    def _has_rest(self) -> bool:
        return bool(self._buffer) or self._too_long

    def _take(self, end: int, *, skip: int) -> Line:
        raw = bytes(self._buffer[:end])
        del self._buffer[: end + skip]
        too_long = self._too_long or len(raw) > self._max_line_bytes
        self._searched = 0
        self._too_long = False
        self._number += 1
        text = None if too_long else raw.decode("utf-8", "surrogateescape").removesuffix("\r")
        return Line(number=self._number, text=text)


class Terminal:
    """Where the local human reads: a terminal with a prompt, or plain lines to a pipe or file."""

    def __init__(self, output: TextOutput, *, interactive: bool, colours: bool) -> None:
        self._output = output
        self._interactive = interactive
        self._colours = colours
        self._lock = trio.Lock()

    async def show(self, kind: ShownKind, text: str) -> None:
        """Show a text on lines of its own.

        Away from a terminal only replies are shown: the rest would mix with what is piped on.

        Raises:
            OSError: nobody reads the output any more.
        """
        if not self._interactive and kind != "reply":
            return
        shown = printable(text, keep_lines=True)
        if kind == "message":
            shown = _PROMPT + shown
        if self._colours:
            shown = f"\x1b[{_COLOURS[kind]}m{shown}\x1b[0m"
        if self._interactive:
            # A line that is half typed leaves the screen too, and stays in the terminal's buffer:
            # the terminal edits, so only it knows the line.
            shown = f"{_ERASE_LINE}{shown}\n{_PROMPT}"
        else:
            shown += "\n"
        await self._write(shown)

    async def prompt(self) -> None:
        """Invite the next line, on a terminal only."""
        if self._interactive:
            await self._write(_PROMPT)

    async def leave(self) -> None:
        """Give the shell a line of its own."""
        if self._interactive:
            await self._write("\n")

    async def _write(self, text: str) -> None:
        encoding = getattr(self._output, "encoding", None) or "utf-8"
        data = text.encode(encoding, "backslashreplace")
        async with self._lock:
            try:
                fd = self._output.fileno()
            except io.UnsupportedOperation:
                self._output.write(data.decode(encoding))
                self._output.flush()
                return
            self._output.flush()
            while data:
                await _until_ready(trio.lowlevel.wait_writable, fd)
                data = data[os.write(fd, data[:_WRITE_BYTES]) :]


class _Wait(Protocol):
    async def __call__(self, fd: int, /) -> None: ...


async def _read(fd: int) -> bytes:
    while True:
        await _until_ready(trio.lowlevel.wait_readable, fd)
        try:
            return os.read(fd, _READ_BYTES)
        except BlockingIOError:
            continue
        except OSError:
            # A terminal that hung up answers EIO: for a reader that is the end of the input.
            return b""


async def _until_ready(wait: _Wait, fd: int) -> None:
    try:
        await wait(fd)
    except PermissionError:
        # epoll refuses regular files, which are always ready.
        await trio.lowlevel.checkpoint()
