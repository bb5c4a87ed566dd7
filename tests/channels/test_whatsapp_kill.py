"""WhatsApp is killed and comes back, in the middle of everything: nothing is lost or said twice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import turnkeeper as tk
from turnkeeper.channels.whatsapp import WhatsAppChannel
from turnkeeper.storage.memory import MemoryDisk, open_memory

from ..peers.remote import open_remote
from ..peers.whatsapp_fake_world import World
from .whatsapp_platform import HASTY, VERIFY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PEOPLE: Final = ("4915110000001", "4915110000002", "4915110000003")
EACH: Final = 25
KILLS: Final = 4


async def test_a_whatsapp_that_is_killed_loses_and_repeats_nothing(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    world = World()
    outcomes: dict[str, tuple[str, str | None]] = {}
    answered: dict[str, str] = {}

    async def agent(turn: tk.Turn) -> str:
        answered[turn.id] = turn.text
        return f"Heard {turn.text}"

    async def watch(feed: Any) -> None:
        async for event in feed:
            if event.kind == "delivery":
                detail = event.detail
                outcomes[event.id] = (detail["status"], detail["reason"])

    async with open_remote("tests.peers.whatsapp_fake", tmp_path / "world") as whatsapp:
        channel = WhatsAppChannel(
            "wa",
            token=world.token,
            phone_number_id=world.phone_id,
            app_secret=world.app_secret,
            verify_token=VERIFY,
            api_url=whatsapp.url,
            check_s=1.0,
            rates=HASTY,
        )
        config = {
            "http": {"listen": "127.0.0.1:0"},
            "channels": {"wa": {"access": "open"}},
        }
        async with (
            open_memory(MemoryDisk()) as store,
            tk.open_runtime(
                None, agent=agent, channels=[channel], store=store, config=config
            ) as runtime,
            runtime.feed(max_behind=100_000) as feed,
        ):
            runtime.start_soon(watch, feed)
            assert await whatsapp.call("subscribe", url=channel.hook_url, verify_token=VERIFY)
            said = [(person, f"{person} {number}") for number in range(EACH) for person in PEOPLE]
            kills = sorted(rng.sample(range(5, len(said)), KILLS))
            for number, (person, text) in enumerate(said):
                if number in kills:
                    await trio.sleep(rng.uniform(0, 0.05))
                    await whatsapp.kill()
                    await whatsapp.start()
                await whatsapp.call("user_says", user=person, text=text)

            def settled() -> bool:
                done = [status for status, _ in outcomes.values() if status != "retrying"]
                return len(done) == len(said)

            with trio.move_on_after(90):
                while not settled():  # noqa: ASYNC110  (the feed tells it to another task)
                    await trio.sleep(0.1)
        seen = {
            person: [one["text"] for one in await whatsapp.call("heard", user=person)]
            for person in PEOPLE
        }
    unknown = sum(status == "unknown" for status, _ in outcomes.values())
    print(f"{unknown} of {len(outcomes)} unknown")
    assert {status for status, _ in outcomes.values()} <= {"delivered", "unknown"}
    assert len(outcomes) == len(said)
    assert sorted(answered.values()) == sorted(text for _, text in said)
    missing = 0
    for person in PEOPLE:
        expected = [f"Heard {person} {number}" for number in range(EACH)]
        assert max(Counter(seen[person]).values()) == 1
        # In the order in which they were heard; a call that was cut off is made again, and later.
        heard = [f"Heard {text}" for text in answered.values() if text.startswith(person)]
        assert seen[person] == [text for text in heard if text in seen[person]]
        missing += len(expected) - len(seen[person])
    assert missing <= unknown
