"""The real command in a process of its own, with pipes or a pseudo terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

TIMEOUT_S = 30.0
"""How long anything may take before a test gives up; never waited for when all is well."""

_CONTROLS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\r")


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "turnkeeper", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """The environment of the tests without what would change the command's ways."""
    kept = {k: v for k, v in os.environ.items() if k not in ("TURNKEEPER_STATE", "NO_COLOR")}
    return {**kept, "TERM": "xterm", **changes}


def turnkeeper(
    *arguments: object,
    stdin: str | bytes = b"",
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    done = subprocess.run(
        command(*arguments),
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=TIMEOUT_S,
        cwd=cwd,
        env=env or environment(),
        check=False,
    )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


class Terminal:
    """A command at a pseudo terminal, and the human in front of it."""

    def __init__(self, process: subprocess.Popen[bytes], human: int) -> None:
        self.process = process
        self._human = human
        self._shown = b""
        self.seen = ""
        """Everything shown so far, without colours and carriage returns."""
        self._read_to = 0

    def type(self, text: str) -> None:
        os.write(self._human, text.encode())

    def wait_for(self, text: str) -> str:
        """Read until `text` is shown behind what was last waited for; return what came with it."""
        deadline = time.monotonic() + TIMEOUT_S
        while (found := self.seen.find(text, self._read_to)) < 0:
            assert time.monotonic() < deadline, f"{text!r} was not shown; seen: {self.seen!r}"
            assert self._read(), f"ended before {text!r} was shown; seen: {self.seen!r}"
        start, self._read_to = self._read_to, found + len(text)
        return self.seen[start : self._read_to]

    def hang_up(self) -> None:
        """Close the terminal, as its window does; the shell tells the command."""
        self.close()
        self.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        if self._human >= 0:
            os.close(self._human)
            self._human = -1

    def wait(self) -> int:
        """Wait for the end of the command; return its exit code."""
        while self._read():
            pass
        return self.process.wait(TIMEOUT_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._human], [], [], TIMEOUT_S)
        assert ready, f"nothing more was shown; seen: {self.seen!r}"
        try:
            data = os.read(self._human, 65536)
        except OSError:  # EIO: the other end is closed
            return False
        # All of it anew: what comes in two pieces may be torn within a character or a colour.
        self._shown += data
        self.seen = _CONTROLS.sub("", self._shown.decode("utf-8", "replace"))
        return bool(data)


@contextmanager
def terminal(*arguments: object, env: Mapping[str, str] | None = None) -> Generator[Terminal]:
    """The command at a terminal of its own; killed at the end if it still runs."""
    human, program = pty.openpty()
    process = subprocess.Popen(
        command(*arguments),
        stdin=program,
        stdout=program,
        stderr=program,
        env=env or environment(),
        start_new_session=True,
    )
    os.close(program)
    shown = Terminal(process, human)
    try:
        yield shown
    finally:
        process.kill()
        process.wait()
        shown.close()


@contextmanager
def running(*arguments: object, env: Mapping[str, str] | None = None) -> Generator[Terminal]:
    """`turnkeeper run` at a terminal, ready to be talked to."""
    with terminal("run", *arguments, env=env) as gateway:
        gateway.wait_for("> ")
        yield gateway
