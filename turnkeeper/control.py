"""The control socket: how other processes of the same user talk to a running runtime.

`control.sock` in the state directory, for its owner alone. Lines of JSON, each an object with the
protocol's version: a request `{"v": 1, "do": NAME, …}` is answered by `{"v": 1, "ok": …}` or
`{"v": 1, "error": KIND, "text": …}`, one at a time on each connection. An operation may take the
connection over and go on with messages of its own, as `join` does.

The socket is reached through `/proc/self/fd`, since the address of a unix socket holds 107 bytes
and the path of a state directory may be longer.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import trio

from .plain import to_json

__all__ = [
    "MAX_CONNECTIONS",
    "MAX_LINE_BYTES",
    "PROTOCOL_VERSION",
    "SOCKET_NAME",
    "BadLine",
    "ControlServer",
    "JsonLines",
    "Operation",
    "RequestFailed",
    "ask",
    "connect",
    "result_of",
]

logger = logging.getLogger("turnkeeper.control")

PROTOCOL_VERSION: Final = 1
SOCKET_NAME: Final = "control.sock"
MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""Longest request. A line of a console may have 1 MiB, and JSON writes an undecodable byte of it
as six."""
MAX_CONNECTIONS: Final = 64
"""Clients at once; the next one is told to come back."""

_READ_BYTES: Final = 64 * 1024
_MODE: Final = 0o600


class BadLine(Exception):
    """What came is not a line of this protocol; the connection is of no more use."""


class RequestFailed(Exception):
    """A request was refused. `kind` is one word, the text is for humans."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class JsonLines:
    """A connection that carries JSON objects, one a line."""

    def __init__(self, stream: trio.SocketStream, *, max_line_bytes: int | None = None) -> None:
        """Args: max_line_bytes: longest line that is taken; None for a peer that is trusted."""
        self._stream = stream
        self._max_line_bytes = max_line_bytes
        self._buffer = bytearray()
        self._searched = 0
        self._sending = trio.Lock()

    async def receive(self) -> dict[str, Any] | None:
        """The next object; None once the peer has gone.

        Raises:
            BadLine: the line is too long, or not a JSON object.
        """
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._max_line_bytes is not None and self._searched > self._max_line_bytes:
                raise BadLine(f"a line may have {self._max_line_bytes} bytes")
            try:
                data = await self._stream.receive_some(_READ_BYTES)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
            if not data:
                return None
            self._buffer.extend(data)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return _parse(line)

    async def send(self, message: Mapping[str, object]) -> None:
        """Send one object, whole or not at all: a send that is cut short ends the connection.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: the peer has gone.
        """
        data = to_json({"v": PROTOCOL_VERSION, **message}).encode("ascii") + b"\n"
        async with self._sending:
            try:
                await self._stream.send_all(data)
            except BaseException:
                self._stream.socket.close()
                raise


def _parse(line: bytes) -> dict[str, Any]:
    try:
        message: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLine("a line must be a JSON object") from error
    if not isinstance(message, dict):
        raise BadLine("a line must be a JSON object")
    known = cast("dict[str, Any]", message)
    if known.get("v") != PROTOCOL_VERSION:
        raise BadLine(
            f"the other side speaks version {known.get('v')!r:.20} of the control protocol, this "
            f"one {PROTOCOL_VERSION}: use the turnkeeper that the runtime was started with"
        )
    return known


# -- serving -------------------------------------------------------------------------------------

Operation: TypeAlias = Callable[[JsonLines, Mapping[str, Any]], Awaitable[object]]
"""Carries out a request; what it returns is the answer. Raises RequestFailed to refuse."""


class ControlServer:
    """Answers requests while :meth:`serve` runs. Whoever makes one holds the state directory."""

    def __init__(self, state_dir: Path, operations: Mapping[str, Operation]) -> None:
        """Listen from here on.

        Raises:
            OSError: there can be no socket in this directory.
        """
        self._state_dir = state_dir
        self._operations = operations
        self._connections = 0
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # On Linux the file gets the mode that its socket has; nobody can connect in between.
            os.fchmod(listener.fileno(), _MODE)
            with _short_path(state_dir) as path:
                with suppress(FileNotFoundError):
                    os.unlink(path)  # left behind by a crash: we hold the lock, so it is nobody's
                listener.bind(path)
            listener.listen(MAX_CONNECTIONS)
        except BaseException:
            listener.close()
            raise
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listener))

    async def serve(self) -> None:
        """Answer until cancelled, then remove the socket."""
        try:
            await trio.serve_listeners(self._handle, [self._listener])
        finally:
            self._listener.socket.close()
            with suppress(OSError):
                os.unlink(self._state_dir / SOCKET_NAME)

    async def _handle(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        lines = JsonLines(stream, max_line_bytes=MAX_LINE_BYTES)
        try:
            if self._connections > MAX_CONNECTIONS:
                await _refuse(lines, "busy", f"{MAX_CONNECTIONS} clients are connected already")
            else:
                await self._converse(lines)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has gone
        except Exception:  # the supervisor's edge: one client disturbs no other
            logger.exception("a client of the control socket was dropped")
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)

    async def _converse(self, lines: JsonLines) -> None:
        while True:
            try:
                request = await lines.receive()
            except BadLine as error:
                await _refuse(lines, "bad_request", str(error))
                return
            if request is None:
                return
            try:
                answer = await self._carry_out(lines, request)
            except RequestFailed as error:
                await _refuse(lines, error.kind, str(error))
            else:
                await lines.send({"ok": answer})

    async def _carry_out(self, lines: JsonLines, request: Mapping[str, Any]) -> object:
        operation = self._operations.get(str(request.get("do")))
        if operation is None:
            known = ", ".join(sorted(self._operations))
            raise RequestFailed("unknown_operation", f"there is: {known}")
        return await operation(lines, request)


async def _refuse(lines: JsonLines, kind: str, text: str) -> None:
    await lines.send({"error": kind, "text": text})


# -- asking --------------------------------------------------------------------------------------


@contextmanager
def _short_path(state_dir: Path) -> Generator[str]:
    """A path of the socket that every address can hold; valid within the block."""
    directory = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET_NAME}"
    finally:
        os.close(directory)


def _connected(state_dir: Path) -> socket.socket | None:
    """A socket whose other end is the runtime on `state_dir`; None if nobody answers there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short_path(state_dir) as path:
            client.connect(path)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        client.close()
        return None
    except BaseException:
        client.close()
        raise
    return client


def ask(state_dir: Path, do: str, *, timeout_s: float = 10.0, **arguments: object) -> Any:
    """The answer of the runtime on `state_dir` to one request; None if none runs there.

    Raises:
        RequestFailed: it refused.
        BadLine: it speaks another version.
        TimeoutError: the answer took longer than `timeout_s` seconds.
        OSError: the socket cannot be used.
    """
    client = _connected(state_dir)
    if client is None:
        return None
    request = {"v": PROTOCOL_VERSION, "do": do, **arguments}
    with client, client.makefile("rb") as file:
        client.settimeout(timeout_s)
        with suppress(BrokenPipeError):  # it has refused us already: its answer says why
            client.sendall(to_json(request).encode("ascii") + b"\n")
        line = file.readline()
    if not line:
        raise ConnectionResetError("the runtime stopped before it answered")
    return result_of(_parse(line))


def result_of(answer: Mapping[str, Any]) -> Any:
    """What an answer says.

    Raises:
        RequestFailed: it is a refusal.
    """
    if "error" in answer:
        raise RequestFailed(str(answer["error"]), str(answer.get("text", "")))
    return answer.get("ok")


@asynccontextmanager
async def connect(state_dir: Path) -> AsyncGenerator[JsonLines | None]:
    """A connection to the runtime on `state_dir`; None if none runs there.

    Raises:
        OSError: the socket cannot be used.
    """
    client = await trio.to_thread.run_sync(partial(_connected, state_dir))
    if client is None:
        yield None
        return
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(client))
    try:
        yield JsonLines(stream)
    finally:
        await trio.aclose_forcefully(stream)
