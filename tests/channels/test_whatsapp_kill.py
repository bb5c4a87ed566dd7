"""WhatsApp is killed and comes back, in the middle of everything: nothing is lost or said twice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from turnkeeper.channels.whatsapp import WhatsAppChannel

from ..peers.remote import open_remote
from ..peers.whatsapp_fake_world import World
from .killing import Load
from .whatsapp_platform import HASTY, VERIFY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PEOPLE: Final = ("4915110000001", "4915110000002", "4915110000003")


async def test_a_whatsapp_that_is_killed_loses_and_repeats_nothing(tmp_path: Path) -> None:
    load, world = Load(PEOPLE), World()
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

        async def say(person: str, text: str) -> None:
            await whatsapp.call("user_says", user=person, text=text)

        async with load.living(channel):
            assert await whatsapp.call("subscribe", url=channel.hook_url, verify_token=VERIFY)
            await load.speak(whatsapp, say)
            await load.settle()
        seen = {
            person: [one["text"] for one in await whatsapp.call("heard", user=person)]
            for person in PEOPLE
        }
    assert len(load.outcomes) == len(load.said)
    load.check(seen, as_heard=True)  # a call that was cut off is made again, and later
