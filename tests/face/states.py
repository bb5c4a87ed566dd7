"""State directories with something in them, made by a real runtime."""

from __future__ import annotations

from pathlib import Path

import trio

import turnkeeper as tk
from turnkeeper.testing import LoopbackChannel

HOSTILE = "\x1b[2J\u202egnp.exe\x00\udce9 tail"
"""Clears the screen, turns the reading direction, ends a C string, and is no valid Unicode."""


async def _agent(turn: tk.Turn) -> str | None:
    if turn.text == "break":
        raise RuntimeError("broken on purpose")
    return None if turn.text == "hush" else f"you said {turn.text}"


async def _fill(state_dir: Path) -> None:
    web = LoopbackChannel("web", platform="loopback")
    async with tk.open_runtime(state_dir, agent=_agent, channels=[web]) as runtime:
        await web.receive("hello", conversation="c1", user_id="u1", message_id="m1")
        await web.next_sent()
        await web.receive("hush", conversation="c1", user_id="u1", message_id="m2")
        web.fail_next("rejected")
        await web.receive("never arrives", conversation="c2", user_id="u2", message_id="m3")
        await web.receive(HOSTILE, conversation="c3", user_id="u3", message_id="m4")
        await web.next_sent()
        await web.receive(
            "in a thread", conversation="c1", thread="t1", user_id="u4", message_id="m5"
        )
        await web.next_sent()
        while {info.status for info in await runtime.deliveries()} != {"failed"}:
            await trio.lowlevel.checkpoint()


def fill(state_dir: Path) -> None:
    """Four sessions: s1 (a reply and a silence), s2 (a dead letter), s3 (hostile text), s4."""
    trio.run(_fill, state_dir)
