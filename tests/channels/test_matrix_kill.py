"""A homeserver is killed again and again while people talk to the agent through it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, Final

import httpx
import pytest
import trio

import turnkeeper as tk
from turnkeeper import Turn
from turnkeeper.channels.matrix import MatrixChannel
from turnkeeper.storage.memory import MemoryDisk, open_memory

from ..peers.matrix_peer import MatrixPeer, open_matrix
from ..peers.matrix_server import run_synapse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

EACH: Final = 20
KILLS: Final = 3
SEED: Final = 20_260


async def say(matrix: MatrixPeer, room: str, user: str, text: str) -> None:
    """Say something once, however often the homeserver has to be told."""
    while True:
        try:
            await matrix.user_says(room, user, text)
            return
        except (httpx.TransportError, ValueError):
            if any(one.text == text for one in await matrix.seen(room)):
                return


async def test_killing_the_homeserver_loses_no_turn_and_repeats_no_answer(tmp_path: Path) -> None:
    rng = Random(SEED)
    print(f"seed {SEED}")
    heard: list[str] = []
    outcomes: dict[str, str] = {}

    async def agent(turn: Turn) -> str:
        heard.append(turn.text)
        return f"Heard {turn.text}"

    async def watch(feed: Any) -> None:
        async for event in feed:
            if event.kind == "delivery":
                outcomes[event.id] = event.detail["status"]

    with run_synapse(tmp_path) as synapse:
        async with open_matrix(synapse) as matrix:
            users = [await matrix.add_user(name) for name in ("Ada", "Ben")]
            rooms = {await matrix.dm(user): user for user in users}
            channel = MatrixChannel(
                "mx",
                homeserver=matrix.url,
                access_token=matrix.bot_token,
                sends_per_s=1000.0,
            )
            async with (
                open_memory(MemoryDisk()) as store,
                tk.open_runtime(
                    None,
                    agent=agent,
                    channels=[channel],
                    store=store,
                    config={"channels": {"mx": {"access": "open"}}},
                ) as runtime,
                runtime.feed(max_behind=100_000) as feed,
            ):
                runtime.start_soon(watch, feed)
                with trio.fail_after(30):
                    while channel.line.state != "connected":  # noqa: ASYNC110
                        await trio.sleep(0.05)
                said = [(room, f"{number}") for number in range(EACH) for room in rooms]
                kills = rng.sample(range(5, len(said)), KILLS)
                for number, (room, text) in enumerate(said):
                    if number in kills:
                        await trio.sleep(rng.uniform(0, 0.2))
                        await trio.to_thread.run_sync(synapse.kill)
                        await trio.to_thread.run_sync(synapse.start)
                    await say(matrix, room, rooms[room], text)

                def settled() -> bool:
                    done = [status for status in outcomes.values() if status != "retrying"]
                    return len(done) == len(said)

                with trio.move_on_after(120):
                    while not settled():  # noqa: ASYNC110  (the feed tells another task)
                        await trio.sleep(0.1)
            seen = {room: await matrix.seen(room) for room in rooms}
    assert Counter(outcomes.values()) == {"delivered": len(said)}
    assert sorted(heard) == sorted(text for _, text in said)
    for room in rooms:
        answers = [one.text for one in seen[room] if one.user == matrix.bot]
        assert answers == [f"Heard {number}" for number in range(EACH)]
