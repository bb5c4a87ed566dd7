"""What agents saw, shown again behind summaries, clears, failures, notes and queued messages."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import trio

import turnkeeper as tk
from turnkeeper.commands.reading import frozen
from turnkeeper.outlook import resting_outlook
from turnkeeper.replaying import context_at
from turnkeeper.testing import LoopbackChannel

TURNS = 80
Windows = dict[int, tuple[tk.Message, ...]]


async def talk(state: Path, seed: int, counter: Callable[[str], int]) -> tuple[Windows, int]:
    """A long conversation in a small window; the last window of each turn, and the summaries."""
    rng, seen = random.Random(seed), Windows()

    async def agent(turn: tk.Turn) -> str | None:
        seen[int(turn.id.partition("/")[2])] = turn.messages
        if rng.random() < 0.04:
            raise RuntimeError("broken on purpose")
        return None if rng.random() < 0.1 else "yes " * rng.randrange(60)

    tg = LoopbackChannel("tg")
    session = {"max_context_tokens": 2_000, "system_prompt": "Be brief."}
    async with tk.open_runtime(
        state, agent=agent, channels=[tg], config={"session": session}, token_counter=counter
    ) as runtime:

        async def open_turns() -> int:
            await trio.lowlevel.checkpoint()
            return (await runtime.session("s1")).open_turns

        for number in range(TURNS):
            await tg.receive(f"{number} " + "word " * rng.randrange(80))
            if rng.random() < 0.05:
                await runtime.mirror_to_session("s1", f"news {number}", source="cron")
            if rng.random() < 0.02:
                await runtime.clear("s1")
            while rng.random() < 0.95 and await open_turns():
                pass
        while await open_turns():
            pass
        summaries = sum(record.kind == "summary" for record in await runtime.history("s1"))
    return seen, summaries


def as_large_as_it_can_be(text: str) -> int:
    return len(text.encode())


def words(text: str) -> int:
    return len(text.split()) + 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("counter", [as_large_as_it_can_be, words])
def test_every_turn_is_shown_as_its_agent_saw_it(
    counter: Callable[[str], int], seed: int, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    seen, summaries = trio.run(talk, state, seed, counter)
    assert summaries > 0
    assert len(seen) == TURNS
    with frozen(state) as reads:
        outlook = resting_outlook(reads)
        larger = replace(outlook, rules=outlook.rules._replace(max_tokens=100_000))
        for seq, window in seen.items():
            assert context_at(reads, "s1", seq, outlook) == window, f"{seed=} {seq=}"
            assert context_at(reads, "s1", seq, larger) == window, f"{seed=} {seq=}"
