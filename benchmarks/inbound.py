"""How fast does a channel take in what its platform has to tell?

``python -m benchmarks.inbound [--quick] [--json PATH] [--plot PATH] [--only KIND]``

The platform is a fake of ours in a process of its own, over real sockets; it has all messages at
once. A message counts once its turn is durable and the channel is told so. The time runs from the
first turn that is handed over to the last one that is durable. Beside it stands what the same
turns take without a platform, in the same run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Final

import trio

import turnkeeper as tk
from benchmarks.channels import Clients
from benchmarks.disk import Disk
from benchmarks.living import memory
from benchmarks.load import TEXT, quiet
from benchmarks.report import Figure, Options, Report, read_options
from turnkeeper.channels.base import Channel, Deliver
from turnkeeper.collector import relax_collector
from turnkeeper.config_tables import ChannelConfig
from turnkeeper.kinds import make_channel
from turnkeeper.testing import LoopbackChannel

QUESTION: Final = "How fast does a channel take in what its platform has to tell?"
CONVERSATIONS: Final = 50
MESSAGES: Final = 2_000
QUICK_MESSAGES: Final = 500
CONNECTIONS: Final = 16
"""Over which a platform calls at the same time: as many requests are heard at once."""
IDLE: Final = 200
"""Connections of which the memory is measured; fewer than the server lets in."""
KINDS: Final = ("telegram", "slack", "discord", "matrix", "whatsapp", "webhook")
_NAME: Final = "b"
_PATIENCE_S: Final = 120.0


class Counter:
    """Counts the turns of a channel that are durable."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._began = 0.0
        self._ended = 0.0
        self._count = 0
        self._all = trio.Event()

    def on(self, channel: Channel) -> None:
        """Count what this channel hears."""
        run = channel.run

        async def counted_run(deliver: Deliver) -> None:
            async def counted(turn: tk.InboundTurn) -> tk.Accepted:
                self._began = self._began or time.perf_counter()
                accepted = await deliver(turn)
                self._count += 1
                if self._count == self._wanted:
                    self._ended = time.perf_counter()
                    self._all.set()
                return accepted

            await run(counted)

        channel.run = counted_run  # type: ignore[method-assign]  # whatever class it is of

    async def rate(self) -> float:
        """Turns a second, once all are durable."""
        with trio.fail_after(_PATIENCE_S):
            await self._all.wait()
        return self._wanted / (self._ended - self._began)


async def silent(_turn: tk.Turn) -> None:
    """Nothing is sent: how fast that goes is another question."""


@asynccontextmanager
async def peer_of(kind: str, messages: int) -> AsyncGenerator[tuple[Clients, Channel | None]]:
    """The process of a platform and the channel to it; None if the platform is not installed."""
    plan = (messages, CONVERSATIONS, CONNECTIONS)
    words = [sys.executable, "-m", "benchmarks.inbound_peers", kind, *map(str, plan)]
    async with trio.open_nursery() as nursery:
        run = partial(trio.run_process, words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        peer = Clients(await nursery.start(run))
        with trio.fail_after(_PATIENCE_S):
            found: dict[str, Any] | None = json.loads(await peer.line())
        channel = None
        if found is not None:
            channel = make_channel(ChannelConfig(name=_NAME, kind=kind, options=found))
        yield peer, channel
        await peer.dismiss()


@asynccontextmanager
async def connected(directory: Path, channel: Channel) -> AsyncGenerator[tk.Runtime]:
    """A runtime whose channel hears its platform."""
    config = {"channels": {_NAME: {"access": "open"}}, "http": {"listen": "127.0.0.1:0"}}
    async with tk.open_runtime(
        directory, agent=silent, channels=[channel], config=config, seed=1
    ) as runtime:
        with trio.fail_after(_PATIENCE_S):
            while channel.line.state != "connected":  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.01)
        yield runtime


async def of_platform(
    kind: str, directory: Path, messages: int
) -> tuple[float, list[float]] | None:
    """Turns a second, and the milliseconds that each of the platform's calls took."""
    counter = Counter(messages)
    async with peer_of(kind, messages) as (peer, channel):
        if channel is None:
            return None
        counter.on(channel)
        async with connected(directory, channel):
            calls_ms = await peer.ask(channel.hook_url or "-")
            return await counter.rate(), calls_ms


async def of_loopback(directory: Path, messages: int) -> float:
    """Turns a second without a platform; in each conversation one after the other."""
    channel = LoopbackChannel(_NAME)
    counter = Counter(messages)
    counter.on(channel)
    async with tk.open_runtime(directory, agent=silent, channels=[channel], seed=1):

        async def human(who: int) -> None:
            for number in range(who, messages, CONVERSATIONS):
                await channel.receive(
                    TEXT,
                    conversation=f"chat-{who}",
                    user_id=f"user-{who}",
                    message_id=f"message-{number}",
                )

        async with trio.open_nursery() as nursery:
            for who in range(CONVERSATIONS):
                nursery.start_soon(human, who)
        return await counter.rate()


async def idle_kib(directory: Path) -> float:
    """What one idle connection to a webhook takes, in KiB."""
    async with peer_of("webhook", 0) as (peer, channel):
        assert channel is not None  # nothing is to be installed for it
        async with connected(directory, channel) as runtime:
            await peer.ask(f"idle {CONVERSATIONS} {channel.hook_url}")  # opens the sessions
            await quiet(runtime)
            before = memory().private_bytes
            await peer.ask(f"idle {IDLE} {channel.hook_url}")
            await quiet(runtime)
            return (memory().private_bytes - before) / IDLE / 1024


def measure(options: Options, kinds: Sequence[str]) -> None:
    report = Report(question=QUESTION, options=options)
    relax_collector()
    messages = QUICK_MESSAGES if options.quick else MESSAGES
    rounds = 1 if options.quick else 3
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder)
        disk = Disk(scratch)
        for kind in kinds:
            bare: list[float] = []
            rates: list[float] = []
            calls_ms: list[float] = []
            for number in range(rounds):
                disk.measure(20)
                bare.append(trio.run(of_loopback, scratch / f"bare-{kind}-{number}", messages))
                found = trio.run(of_platform, kind, scratch / f"{kind}-{number}", messages)
                if found is None:
                    break
                rates.append(found[0])
                calls_ms += found[1]
            if not rates:
                report.notes.append(f"{kind}: not measured, its platform is missing: make peers")
                continue
            add_rates(report, kind, rates, bare)
            if calls_ms:
                add_calls(report, kind, calls_ms)
        if "webhook" in kinds:
            each = trio.run(idle_kib, scratch / "idle")
            report.add(Figure(name="webhook: one idle connection", value=each, unit="KiB"))
        disk.measure(50)
        report.add(disk.figure())
    report.notes.append(
        f"{messages:,} messages in {CONVERSATIONS} conversations; an agent that says nothing; the "
        "ratio is to the same turns through LoopbackChannel"
    )
    report.notes.append(
        f"WhatsApp and the program behind the webhook call over {CONNECTIONS} connections, each "
        "with one message at a time, and wait until it is durable; Telegram hands over a hundred "
        "at once, Matrix twenty of each room, Slack and Discord as many as the channel takes"
    )
    report.notes.append(
        "the platforms are stand-ins that share the processor with the runtime: a real one is "
        "slower to tell, and takes none of it"
    )
    report.finish()


def add_rates(report: Report, kind: str, rates: Sequence[float], bare: Sequence[float]) -> None:
    report.add(
        Figure(
            name=f"{kind}: durable turns a second",
            value=median(rates),
            unit="1/s",
            beside="no platform",
            beside_value=median(bare),
            ratio=median(rates) / median(bare),
        )
    )


def add_calls(report: Report, kind: str, calls_ms: Sequence[float]) -> None:
    report.add(Figure(name=f"{kind}: call → answer, p50", value=median(calls_ms), unit="ms"))
    p99 = quantiles(calls_ms, n=100)[98]
    report.add(Figure(name=f"{kind}: call → answer, p99", value=p99, unit="ms"))


def main() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--only", choices=KINDS, help="one kind of channel")
    chosen, others = parser.parse_known_args()
    measure(read_options(QUESTION, others), [chosen.only] if chosen.only else KINDS)


if __name__ == "__main__":
    main()
