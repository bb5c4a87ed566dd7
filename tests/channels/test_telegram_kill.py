"""Telegram is killed and comes back, in the middle of everything: nothing is lost or said twice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import turnkeeper as tk
from turnkeeper.channels.telegram import TelegramChannel
from turnkeeper.storage.memory import MemoryDisk, open_memory

from ..peers.remote import open_remote
from ..peers.telegram_fake import TOKEN
from .telegram_platform import HASTY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHATS: Final = (2001, 2002, 2003)
EACH: Final = 25
KILLS: Final = 4


@pytest.mark.parametrize("webhook", [False, True], ids=["polling", "webhook"])
async def test_a_telegram_that_is_killed_loses_and_repeats_nothing(
    webhook: bool, tmp_path: Path
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
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

    async with open_remote("tests.peers.telegram_fake", tmp_path / "world") as telegram:
        channel = TelegramChannel(
            "tg",
            token=TOKEN,
            api_url=telegram.url,
            webhook=webhook,
            webhook_check_s=1.0,
            rates=HASTY,
        )
        config = {
            "http": {"listen": "127.0.0.1:0"},
            "channels": {"tg": {"access": "open"}},
        }
        async with (
            open_memory(MemoryDisk()) as store,
            tk.open_runtime(
                None, agent=agent, channels=[channel], store=store, config=config
            ) as runtime,
            runtime.feed(max_behind=100_000) as feed,
        ):
            runtime.start_soon(watch, feed)
            said = [(chat, f"{chat} {number}") for number in range(EACH) for chat in CHATS]
            kills = sorted(rng.sample(range(5, len(said)), KILLS))
            for number, (chat, text) in enumerate(said):
                if number in kills:
                    await trio.sleep(rng.uniform(0, 0.05))
                    await telegram.kill()
                    await telegram.start()
                await telegram.call("user_says", chat=chat, user=chat, text=text)

            def settled() -> bool:
                done = [status for status, _ in outcomes.values() if status != "retrying"]
                return len(done) == len(said)

            with trio.move_on_after(90):
                while not settled():  # noqa: ASYNC110  (the feed tells it to another task)
                    await trio.sleep(0.1)
        seen = {
            chat: [one["text"] for one in await telegram.call("heard", chat=chat)] for chat in CHATS
        }
    unknown = sum(status == "unknown" for status, _ in outcomes.values())
    print(f"{unknown} of {len(outcomes)} unknown")
    assert {status for status, _ in outcomes.values()} <= {"delivered", "unknown"}
    assert len(outcomes) == len(said)
    assert sorted(answered.values()) == sorted(text for _, text in said)
    missing = 0
    for chat in CHATS:
        expected = [f"Heard {chat} {number}" for number in range(EACH)]
        assert max(Counter(seen[chat]).values()) == 1
        assert seen[chat] == [text for text in expected if text in seen[chat]]
        missing += len(expected) - len(seen[chat])
    assert missing <= unknown
