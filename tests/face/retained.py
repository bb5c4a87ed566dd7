"""Sessions that leave something in every table, and a look at what is left of them."""

from __future__ import annotations

from collections.abc import Callable

import trio

import turnkeeper as tk
from turnkeeper.actors.journal import load_head, load_session_number
from turnkeeper.storage.base import Reads, Table
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

NOW_US = 1_700_000_000_000_000


async def agent(turn: tk.Turn) -> str | None:
    await trio.lowlevel.checkpoint()
    if turn.text == "break":
        raise RuntimeError("broken on purpose")
    if turn.text.startswith("keep "):
        await turn.memory.set("kept", turn.text)
    return f"you said {turn.text}"


def problems(store: Reads, now_us: int = NOW_US) -> list[str]:
    return [str(problem) for problem in Verification(store, now_us).problems()]


def left_of(store: Reads, *needles: bytes) -> set[str]:
    """Tables and logs in which any of the bytes are left."""
    found = {
        table.name
        for table in Table
        for _, value in store.scan(table, limit=100_000)
        if any(needle in value for needle in needles)
    }
    logs = {
        f"log {stream}"
        for stream in range(1, 20)
        for _, value in store.read_log(stream, limit=100_000)
        if any(needle in value for needle in needles)
    }
    return found | logs


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await trio.lowlevel.checkpoint()


def is_quiet(store: Reads, session_id: str) -> bool:
    """Whether nothing of a session is open."""
    stream = load_session_number(store, session_id)
    head = load_head(store, stream) if stream is not None else None
    return head is not None and not head.open_turns and not head.open_deliveries


async def say(
    channel: LoopbackChannel, store: Reads, text: str, user_id: str, conversation: str | None = None
) -> str:
    """A human writes directly; returns once the session is quiet again, and its id."""
    accepted = await channel.receive(
        text, conversation=conversation or f"dm-{user_id}", user_id=user_id
    )
    await until(lambda: is_quiet(store, accepted.session_id))
    return accepted.session_id
