"""The process of `worker.py`, as seen by the thread that asks it."""

from __future__ import annotations

import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from . import worker
from .failures import EncodingUnavailable

__all__ = ["WorkerFailed", "WorkerProcess"]

_REAP_WITHIN_S: Final = 5.0
"""A killed process is gone at once, unless the kernel holds it; then it is left to itself."""
_MAX_ANSWER_BYTES: Final = 1 << 20
_READ_BYTES: Final = 1 << 16
_MAX_REASON_CHARS: Final = 500


class WorkerFailed(Exception):
    """The process did not start, ended, took too long or made no sense. It is of no further use."""


class WorkerProcess:
    """One process with one encoding. Everything blocks, and belongs to one thread; but see `kill`.

    Time is the machine's own and no loop's: a test's clock that runs ahead of the world must not
    take an honest process for one that hangs.

    Args:
        encoding: which one; the shipped one is loaded from `rank_file`.

    Raises:
        WorkerFailed: it cannot be started.
    """

    def __init__(self, encoding: str, rank_file: Path) -> None:
        self._encoding = encoding
        greeting = worker.pack_greeting(encoding, rank_file, [os.path.abspath(p) for p in sys.path])
        self._unsent: bytes = greeting
        self._ready = False
        try:
            # -I and -S: neither the environment nor site files have a say; it is told our path.
            # A group of its own: Ctrl-C at a terminal is for the gateway, which then ends it.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", worker.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                cwd="/",
                process_group=0,
            )
        except (OSError, ValueError) as error:
            raise WorkerFailed(f"it cannot be started: {error}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests, self._answers = self._process.stdin, self._process.stdout
        os.set_blocking(self._requests.fileno(), False)
        os.set_blocking(self._answers.fileno(), False)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def wait_ready(self, timeout_s: float) -> None:
        """Wait until the encoding is loaded. A second time costs nothing.

        Raises:
            EncodingUnavailable: it cannot be.
            WorkerFailed: the process ended, or took too long.
        """
        if not self._ready:
            self._ask(self._unsent, timeout_s)
            self._ready = True

    def count(
        self, texts: Sequence[bytes], timeout_s: float, meanwhile: Callable[[], None]
    ) -> tuple[int, ...]:
        """The tokens of each text (UTF-8); `meanwhile` is called while the process works.

        Raises:
            WorkerFailed: the process ended, took too long, or made no sense.
        """
        body = self._ask(worker.pack_texts(texts), timeout_s, meanwhile)
        try:
            counts = worker.unpack_counts(body)
        except struct.error as error:
            raise WorkerFailed(f"its answer has {len(body)} bytes") from error
        if len(counts) != len(texts):
            raise WorkerFailed(f"it answered {len(counts)} counts for {len(texts)} texts")
        return counts

    def kill(self) -> None:
        """End it at once, from any thread. Who waits for its answer gets `WorkerFailed`."""
        with suppress(ProcessLookupError):
            self._process.kill()

    def close(self) -> None:
        """End it, and give back what it holds."""
        self.kill()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_REAP_WITHIN_S)
        self._requests.close()
        self._answers.close()

    def _ask(
        self, frame: bytes, timeout_s: float, meanwhile: Callable[[], None] = lambda: None
    ) -> bytes:
        deadline = time.monotonic() + timeout_s
        self._send(frame, deadline)
        meanwhile()
        (length,) = worker.FRAME_LENGTH.unpack(self._receive(worker.FRAME_LENGTH.size, deadline))
        if not 0 < length <= _MAX_ANSWER_BYTES:
            raise WorkerFailed(f"it announced an answer of {length} bytes")
        answer = self._receive(length, deadline)
        kind, body = answer[:1], answer[1:]
        if kind == worker.REFUSED:
            reason = body.decode("utf-8", "replace")[:_MAX_REASON_CHARS]
            raise EncodingUnavailable(f"the encoding {self._encoding!r} cannot be had: {reason}")
        if kind != worker.READY:
            raise WorkerFailed(f"its answer begins with {kind!r}")
        return body

    def _send(self, frame: bytes, deadline: float) -> None:
        rest = memoryview(frame)
        while rest:
            self._await(self._requests.fileno(), select.POLLOUT, deadline)
            try:
                rest = rest[os.write(self._requests.fileno(), rest) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise WorkerFailed(f"it reads no more: {error}") from error

    def _receive(self, size: int, deadline: float) -> bytes:
        parts: list[bytes] = []
        while size:
            self._await(self._answers.fileno(), select.POLLIN, deadline)
            try:
                part = os.read(self._answers.fileno(), min(size, _READ_BYTES))
            except BlockingIOError:
                continue
            if not part:
                raise WorkerFailed(f"it ended ({self._end()})")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _await(self, descriptor: int, event: int, deadline: float) -> None:
        # Not `select`, which knows no descriptor above 1,023.
        waiting = select.poll()
        waiting.register(descriptor, event)
        left_s = deadline - time.monotonic()
        if left_s <= 0 or not waiting.poll(left_s * 1000):
            raise WorkerFailed("it gave no answer in time")

    def _end(self) -> str:
        try:
            return f"exit code {self._process.wait(_REAP_WITHIN_S)}"
        except subprocess.TimeoutExpired:
            return "without exit code"
