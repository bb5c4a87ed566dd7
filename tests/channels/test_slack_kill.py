"""Slack or the gateway is killed in the middle of everything: nothing is lost or said twice."""

from __future__ import annotations

import json
import random
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import trio

from turnkeeper.channels.slack import SlackChannel
from turnkeeper.storage.lmdb_store import open_reader
from turnkeeper.stories import deliveries
from turnkeeper.views import sessions

from ..crash.harness import Stored
from ..peers.programs import open_program
from ..peers.remote import RemotePeer, open_remote
from ..peers.slack_fake_world import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET
from .killing import Load
from .slack_platform import HASTY, SlackWire, open_slack_wire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PEOPLE: Final = ("Ada", "Ben", "Cleo")
MISSED: Final = 20
KILLS: Final = 5


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


async def test_a_gateway_that_is_killed_again_and_again_while_it_catches_up_hears_all_once(
    tmp_path: Path,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    state_dir = tmp_path / "state"
    said = ["before", *(f"number {number}" for number in range(MISSED))]
    async with open_slack_wire() as wire:
        here = wire.conversations[0]
        wire.slack.longest_page = 3
        wire.slack.deliveries.waits_s = (0.0, 0.0, 0.0)  # nobody who is away is told again
        command = _gateway(wire, tmp_path, state_dir)
        async with open_program(command) as gateway:
            await wire.slack.until_connected()
            await wire.user_says(said[0], conversation=here)
            await _until_told(wire, here, 1)
            await gateway.kill()
        await wire.slack.until_connected(0)
        for text in said[1:]:
            await wire.user_says(text, conversation=here)
        await wire.slack.until_acknowledged()
        for _ in range(KILLS):
            async with open_program(command) as gateway:
                await wire.slack.until_connected()
                await trio.sleep(rng.uniform(0, 0.15))
                await gateway.kill()
            await wire.slack.until_connected(0)
        async with open_program(command) as gateway:
            await _until_settled(state_dir, len(said))
            assert await gateway.end() == 0
        told = Counter(one.text for one in await wire.seen(here))
    with open_reader(state_dir) as store:
        stored = Stored(store)
        heard = [user.text for name in stored.logs for _, user in stored.users(name)]
        unknown = {one.text for one in deliveries(store) if one.status == "unknown"}
    assert heard == said
    assert max(told.values()) == 1
    assert {f"re: {text}" for text in said} - set(told) <= unknown


def _gateway(wire: SlackWire, folder: Path, state_dir: Path) -> tuple[str | Path, ...]:
    """The command that runs the gateway with Slack."""
    section = {
        "kind": "slack",
        "token": BOT_TOKEN,
        "app_token": APP_TOKEN,
        "api_url": wire.slack.url.rstrip("/"),
        "access": "open",
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in section.items()]
    config = folder / "turnkeeper.toml"
    config.write_text("\n".join(["[channels.slack]", *lines, ""]), encoding="utf-8")
    agent = ("--agent", "tests.scenarios.echoing:answer")
    places = ("--state", state_dir, "--config", config)
    return (sys.executable, "-m", "turnkeeper", "run", *agent, *places)


async def _until_told(wire: SlackWire, place: str, count: int) -> None:
    """Return once the agent has said so much."""
    with trio.fail_after(60):
        while len(await wire.seen(place)) < count:  # noqa: ASYNC110  (nobody tells)
            await trio.sleep(0.01)


async def _until_settled(state_dir: Path, count: int) -> None:
    """Return once so many messages are heard, and nothing is open any more."""
    with trio.fail_after(120):
        while True:
            with suppress(OSError), open_reader(state_dir) as store, store.snapshot() as reads:
                busy = any(one.open_turns or one.open_deliveries for one in sessions(reads))
                if len(Stored(reads).message_ids()) >= count and not busy:
                    return
            await trio.sleep(0.25)
