"""A runtime with a folder for files, on a disk in memory, and agents that send them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from turnkeeper import Agent, Channel, ChannelPowers, Reply, Runtime, Turn, open_runtime
from turnkeeper.storage.blobs import Blobs
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory
from turnkeeper.testing import SentMessage

__all__ = [
    "FILES",
    "NOW",
    "PLAN",
    "REPORT",
    "Stage",
    "on_stage",
    "place_of",
    "received",
    "reporter",
]

REPORT: Final = b"%PDF the report"
PLAN: Final = b"a drawing of the plan"
FILES: Final = ChannelPowers(files=True, text_limit=40, after_unknown="same_id")
"""Of a platform that takes files and short texts, and recognises what it has."""
NOW: Final = datetime(2026, 1, 7, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Stage:
    runtime: Runtime
    store: MemoryStore
    disk: MemoryDisk
    blobs: Blobs


@asynccontextmanager
async def on_stage(
    state_dir: Path,
    agent: Agent,
    *channels: Channel,
    disk: MemoryDisk | None = None,
    clock: Callable[[], datetime] | None = None,
    **config: Any,
) -> AsyncGenerator[Stage]:
    """Run a runtime over `disk`, with its files in `state_dir`."""
    disk = disk or MemoryDisk()
    clock = clock or (lambda: NOW)
    async with (
        open_memory(disk) as store,
        open_runtime(
            state_dir,
            agent=agent,
            channels=channels,
            store=store,
            config=config,
            clock=clock,
            seed=1,
        ) as runtime,
    ):
        yield Stage(runtime, store, disk, Blobs(state_dir, lambda: 0))


async def reporter(turn: Turn) -> Reply:
    """Reply with what was said, and a report and a plan."""
    report = await turn.keep_file(REPORT, mime="application/pdf", name="report.pdf")
    plan = await turn.keep_file(PLAN, kind="image", mime="image/png", name="plan.png")
    return Reply(text=turn.text, attachments=(report, plan))


def place_of(state_dir: Path, content: bytes) -> Path:
    """Where a kept file is."""
    return Blobs(state_dir, lambda: 0).path(sha256(content).digest())


def received(*messages: SentMessage) -> list[str | tuple[str, str | None, bytes]]:
    """What humans have got: texts, and files by kind, name and content."""
    return [
        sent.text if sent.file is None else (sent.file.kind, sent.file.name, sent.file.content)
        for sent in messages
    ]
