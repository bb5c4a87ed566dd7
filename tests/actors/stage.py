"""A whole runtime on a disk in memory, with a wall clock that follows trio's."""

from __future__ import annotations

import copy
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import dropwhile
from typing import Any, Final

import trio

from turnkeeper import Agent, Channel, Runtime, Turn, open_runtime
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.journal import load_records
from turnkeeper.storage.base import Reads
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory

__all__ = ["START", "Stage", "crashed", "echo", "kinds", "log", "on_stage", "said", "wall_clock"]

START: Final = datetime(2026, 1, 7, 12, tzinfo=UTC)
"""When every story begins: a Wednesday, in the middle of a window of recognition."""


@dataclass(frozen=True)
class Stage:
    runtime: Runtime
    store: MemoryStore
    disk: MemoryDisk


async def echo(turn: Turn) -> str:
    """Say what was said."""
    return turn.text


def wall_clock(start: datetime = START) -> Callable[[], datetime]:
    """A clock that shows `start` now and goes on as trio's does."""
    began = trio.current_time()
    return lambda: start + timedelta(seconds=trio.current_time() - began)


@asynccontextmanager
async def on_stage(
    agent: Agent,
    *channels: Channel,
    disk: MemoryDisk | None = None,
    start: datetime = START,
    **config: Any,
) -> AsyncGenerator[Stage]:
    """Run a runtime over `disk`; `config` are the sections of its configuration."""
    disk = disk or MemoryDisk()
    async with (
        open_memory(disk) as store,
        open_runtime(
            None,
            agent=agent,
            channels=channels,
            store=store,
            config=config,
            clock=wall_clock(start),
            seed=1,
        ) as runtime,
    ):
        yield Stage(runtime, store, disk)


def crashed(disk: MemoryDisk) -> MemoryDisk:
    """The disk as a power cut at this moment would leave it."""
    return copy.deepcopy(disk)


def log(store: Reads, stream: int = 1) -> list[Record]:
    """Every record of a session."""
    return [record for _, record in load_records(store, stream)]


def kinds(store: Reads, stream: int = 1) -> list[str]:
    """The kind of every record of a session, without those that opened it."""
    opening = {"opened", "keyed", "bound"}
    return [r.kind for r in dropwhile(lambda record: record.kind in opening, log(store, stream))]


def said(store: Reads, stream: int = 1) -> tuple[list[str], list[str]]:
    """What the human and the agent said in a session, in the order of the log."""
    records = log(store, stream)
    return (
        [record.text for record in records if isinstance(record, UserRecord)],
        [record.text for record in records if isinstance(record, AssistantRecord)],
    )
