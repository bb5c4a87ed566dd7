"""Slack is killed and comes back, in the middle of everything: nothing is lost or said twice."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import trio

from turnkeeper.channels.slack import SlackChannel

from ..peers.remote import RemotePeer, open_remote
from ..peers.slack_fake_world import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET
from .killing import Load
from .slack_platform import HASTY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PEOPLE: Final = ("Ada", "Ben", "Cleo")


@pytest.mark.parametrize("hooked", [False, True], ids=["socket", "events"])
async def test_a_slack_that_is_killed_loses_and_repeats_nothing(
    hooked: bool, tmp_path: Path
) -> None:
    async with open_remote("tests.peers.slack_fake", tmp_path / "world") as slack:
        users = [await slack.call("add_user", name=name) for name in PEOPLE]
        places = {await slack.call("dm", user=user): user for user in users}
        load = Load(list(places))
        channel = _channel(slack, hooked=hooked)

        async def say(place: str, text: str) -> None:
            await slack.call("user_says", channel=place, user=places[place], text=text)

        async def restarted() -> None:
            await slack.call("retries_at_connect")

        async def nudge() -> None:
            if hooked:  # else what waits is delivered at the next connection
                await slack.call("retry_now")

        async with load.living(channel):
            await _connected(slack, channel, hooked=hooked)
            await load.speak(slack, say, restarted)
            await load.settle(nudge, every_s=0.5)
        seen = {
            place: [
                one["text"]
                for one in await slack.call("seen", channel=place)
                if one["text"].startswith("Heard")
            ]
            for place in places
        }
    load.check(seen)


def _channel(slack: RemotePeer, *, hooked: bool) -> SlackChannel:
    api_url = f"{slack.url}/api"
    if hooked:
        return SlackChannel(
            "slack", token=BOT_TOKEN, signing_secret=SIGNING_SECRET, api_url=api_url, rates=HASTY
        )
    return SlackChannel("slack", token=BOT_TOKEN, app_token=APP_TOKEN, api_url=api_url, rates=HASTY)


async def _connected(slack: RemotePeer, channel: SlackChannel, *, hooked: bool) -> None:
    with trio.fail_after(30):
        while channel.line.state != "connected":  # noqa: ASYNC110  (nobody tells)
            await trio.sleep(0.02)
    if hooked:
        assert await slack.call("events_to", url=channel.hook_url)
