"""How long do a thousand clients wait for their replies, and what does each connection take?

``python -m benchmarks.channels [--quick] [--json PATH] [--plot PATH]``

The clients are in a process of their own, so that a reply's way over a real socket is measured and
their work is not the server's. A client waits for the reply to each of its messages before the
next one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Final

import trio

import turnkeeper as tk
from benchmarks.disk import Disk
from benchmarks.living import memory
from benchmarks.load import agent_without_work, quiet
from benchmarks.report import Figure, Options, Report, read_options
from turnkeeper.channels.websocket import WebSocketChannel
from turnkeeper.collector import relax_collector

QUESTION: Final = "How long do WebSocket clients wait for replies, and what does each take?"
CLIENTS: Final = 1_000
PACE_PER_S: Final = 250.0
"""Messages a second, where clients do not all speak at once."""


class Clients:
    """The process in which the clients are."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None  # both are pipes
        assert process.stdout is not None
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._rest = bytearray()

    async def line(self) -> str:
        while b"\n" not in self._rest:
            piece = await self._stdout.receive_some()
            if not piece:
                raise RuntimeError("the clients have gone; what they said is above")
            self._rest += piece
        line, _, rest = bytes(self._rest).partition(b"\n")
        self._rest = bytearray(rest)
        return line.decode()

    async def dismiss(self) -> None:
        """Let them go."""
        await self._stdin.aclose()

    async def ask(self, order: str) -> list[float]:
        """Let them speak; how long each reply took, in milliseconds."""
        await self._stdin.send_all(order.encode() + b"\n")
        seconds: list[float] = json.loads(await self.line())
        return [1000 * each for each in seconds]


@asynccontextmanager
async def clients_of(url: str, number: int) -> AsyncGenerator[Clients]:
    """So many clients, once all of them are connected."""
    async with trio.open_nursery() as nursery:
        words = [sys.executable, "-m", "benchmarks.clients", url, str(number)]
        run = partial(trio.run_process, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        process: trio.Process = await nursery.start(run)
        clients = Clients(process)
        with trio.fail_after(120):
            await clients.line()
        yield clients
        await clients.dismiss()


async def serve(scratch: Path, rounds: int, report: Report) -> None:
    relax_collector()
    limits = {"max_connections": CLIENTS + 100, "max_unauthenticated": 100}
    channel = WebSocketChannel("web", limits=limits)
    async with tk.open_runtime(
        scratch / "state", agent=agent_without_work, channels=[channel], seed=1
    ) as runtime:
        host, port = await channel.listening()
        url = f"ws://{host}:{port}"
        async with clients_of(url, 10):  # what the first connections bring with them is not theirs
            await quiet(runtime)
        before = memory().private_bytes
        async with clients_of(url, CLIENTS) as clients:
            await quiet(runtime)
            each_kib = (memory().private_bytes - before) / CLIENTS / 1024
            await clients.ask("burst")  # opens a session for each
            bursts = [await clients.ask("burst") for _ in range(rounds)]
            paced = await clients.ask(f"paced {PACE_PER_S} {int(PACE_PER_S * 2 * rounds)}")
    report.add(Figure(name="one idle connection", value=each_kib, unit="KiB"))
    add_waits(report, f"{CLIENTS:,} messages at once", [ms for burst in bursts for ms in burst])
    add_waits(report, f"{PACE_PER_S:g} messages a second", paced)
    lasting = [max(burst) for burst in bursts]
    report.add(
        Figure(
            name=f"replies a second, {CLIENTS:,} messages at once",
            value=CLIENTS / (median(lasting) / 1000),
            unit="1/s",
        )
    )


def add_waits(report: Report, of: str, waits_ms: Sequence[float]) -> None:
    report.add(Figure(name=f"message → reply, {of}, p50", value=median(waits_ms), unit="ms"))
    p99 = quantiles(waits_ms, n=100)[98]
    report.add(Figure(name=f"message → reply, {of}, p99", value=p99, unit="ms"))


def measure(options: Options) -> None:
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder)
        disk = Disk(scratch)
        disk.measure(50)
        trio.run(serve, scratch, 3 if options.quick else 10, report)
        disk.measure(50)
        report.add(disk.figure())
    report.notes.append(
        f"{CLIENTS:,} clients in one other process, each connected over loopback TCP; an agent "
        "that answers at once; every message and reply durable before it is told"
    )
    report.finish()


def main() -> None:
    measure(read_options(QUESTION))


if __name__ == "__main__":
    main()
