"""Telegram is killed and comes back, in the middle of everything: nothing is lost or said twice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from turnkeeper.channels.telegram import TelegramChannel

from ..peers.remote import open_remote
from ..peers.telegram_fake import TOKEN
from .killing import Load
from .telegram_platform import HASTY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CHATS: Final = (2001, 2002, 2003)


@pytest.mark.parametrize("webhook", [False, True], ids=["polling", "webhook"])
async def test_a_telegram_that_is_killed_loses_and_repeats_nothing(
    webhook: bool, tmp_path: Path
) -> None:
    load = Load(CHATS)
    async with open_remote("tests.peers.telegram_fake", tmp_path / "world") as telegram:
        channel = TelegramChannel(
            "tg",
            token=TOKEN,
            api_url=telegram.url,
            webhook=webhook,
            webhook_check_s=1.0,
            rates=HASTY,
        )

        async def say(chat: int, text: str) -> None:
            await telegram.call("user_says", chat=chat, user=chat, text=text)

        async with load.living(channel):
            await load.speak(telegram, say)
            await load.settle()
        seen = {
            chat: [one["text"] for one in await telegram.call("heard", chat=chat)] for chat in CHATS
        }
    assert len(load.outcomes) == len(load.said)
    load.check(seen)
