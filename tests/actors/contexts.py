"""A runtime whose contexts become full, with nothing in a thread: for virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
import trio

from turnkeeper import Agent, Channel, Message, SummaryRequest, open_runtime
from turnkeeper.actors.core.view_records import SummaryRecord
from turnkeeper.actors.core.weight import OVERHEAD, attachment_tokens
from turnkeeper.actors.journal import load_records
from turnkeeper.compaction import CompactionPlan, plan_compaction
from turnkeeper.storage.base import Reads
from turnkeeper.storage.memory import MemoryDisk, open_memory

from .stage import START, Stage, wall_clock

__all__ = ["SMALL", "Letters", "Summing", "on_small_stage", "size_of", "summaries", "tokens_of"]

SMALL: Final = {"max_context_tokens": 1_000}
"""The smallest window that there is: summarised from 850 tokens on, in 200 at most; 170 stay."""


def tokens_of(text: str) -> int:
    """Four letters are a token here."""
    return -(-len(text) // 4)


def size_of(window: Iterable[Message]) -> int:
    """What a window takes, everything counted."""
    return sum(
        tokens_of(message.attributed) + OVERHEAD + sum(map(attachment_tokens, message.attachments))
        for message in window
    )


class Letters:
    """Counts on the loop."""

    name = "letters"
    exact = True

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text."""
        await trio.lowlevel.checkpoint()
        return [tokens_of(text) for text in texts]


class Summing:
    """A summariser that does as a test says, and keeps what it was given."""

    def __init__(self, *modes: str) -> None:
        self.modes = list(modes)
        """What it does at each call; the last one stays. `good` if there is none."""
        self.requests: list[SummaryRequest] = []
        self.asked = trio.Event()
        """Set at the next call."""
        self.go = trio.Event()
        """Ends `hold`."""
        self.does: dict[str, Callable[[SummaryRequest], Awaitable[Any]]] = {}
        """What further modes do."""

    async def __call__(self, request: SummaryRequest) -> Any:
        self.requests.append(request)
        self.asked.set()
        self.asked = trio.Event()
        mode = self.modes[0] if self.modes else "good"
        if len(self.modes) > 1:
            del self.modes[0]
        await trio.lowlevel.checkpoint()
        if mode in self.does:
            return await self.does[mode](request)
        return await self.answer(mode, request)

    async def answer(self, mode: str, request: SummaryRequest) -> Any:
        match mode:
            case "hold":
                await self.go.wait()
            case "hang":
                await trio.sleep_forever()
            case "fail":
                raise RuntimeError("no summary today \ud800")
            case "cancelled":
                raise asyncio.CancelledError
            case "empty":
                return " \n"
            case "long":
                return "long " * request.max_tokens
            case "endless":
                return "e" * 10_000_000
            case "nothing":
                return None
            case "bytes":
                return b"summary"
            case "broken":
                return "half a pair: \ud800 \udfff"
            case _:
                pass
        return f"Summary {len(self.requests)} of {len(request.messages)} messages."


async def _on_the_loop(function: Callable[..., Any], *args: Any) -> Any:
    await trio.lowlevel.checkpoint()
    return function(*args)


def _plan_on_the_loop(*args: Any) -> CompactionPlan:
    return replace(plan_compaction(*args), offload=_on_the_loop)


@asynccontextmanager
async def on_small_stage(
    agent: Agent | Mapping[str, Agent],
    *channels: Channel,
    summariser: Any = None,
    disk: MemoryDisk | None = None,
    began: float | None = None,
    **config: Any,
) -> AsyncGenerator[Stage]:
    """A runtime with a small window; `began` is trio's time when the wall clock showed `START`."""
    disk = disk or MemoryDisk()
    config["session"] = {**SMALL, **config.get("session", {})}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "turnkeeper.opening.plan_compaction",
            _plan_on_the_loop,
        )
        since = timedelta(seconds=0 if began is None else trio.current_time() - began)
        async with (
            open_memory(disk) as store,
            open_runtime(
                None,
                agents={"main": agent} if callable(agent) else agent,
                channels=channels,
                store=store,
                config=config,
                summariser=summariser,
                token_counter=Letters(),
                clock=wall_clock(START + since),
                seed=1,
            ) as runtime,
        ):
            yield Stage(runtime, store, disk)


def summaries(store: Reads, stream: int = 1) -> list[tuple[int, SummaryRecord]]:
    """Every summary in a session's log."""
    return [(s, r) for s, r in load_records(store, stream) if isinstance(r, SummaryRecord)]
