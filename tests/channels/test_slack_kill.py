"""Slack is killed and comes back, in the middle of everything: nothing is lost or said twice."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import turnkeeper as tk
from turnkeeper.channels.slack import SlackChannel
from turnkeeper.storage.memory import MemoryDisk, open_memory

from ..peers.remote import RemotePeer, open_remote
from ..peers.slack_fake_world import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET
from .slack_platform import HASTY

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PEOPLE: Final = ("Ada", "Ben", "Cleo")
EACH: Final = 25
KILLS: Final = 4


@pytest.mark.parametrize("hooked", [False, True], ids=["socket", "events"])
async def test_a_slack_that_is_killed_loses_and_repeats_nothing(
    hooked: bool, tmp_path: Path
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
                outcomes[event.id] = (event.detail["status"], event.detail["reason"])

    async with open_remote("tests.peers.slack_fake", tmp_path / "world") as slack:
        users = [await slack.call("add_user", name=name) for name in PEOPLE]
        places = {await slack.call("dm", user=user): user for user in users}
        channel = _channel(slack, hooked=hooked)
        config = {
            "http": {"listen": "127.0.0.1:0"},
            "channels": {"slack": {"access": "open"}},
        }
        async with (
            open_memory(MemoryDisk()) as store,
            tk.open_runtime(
                None, agent=agent, channels=[channel], store=store, config=config
            ) as runtime,
            runtime.feed(max_behind=100_000) as feed,
        ):
            runtime.start_soon(watch, feed)
            await _connected(slack, channel, hooked=hooked)
            said = [(place, f"{place} {number}") for number in range(EACH) for place in places]
            kills = sorted(rng.sample(range(5, len(said)), KILLS))
            for number, (place, text) in enumerate(said):
                if number in kills:
                    await trio.sleep(rng.uniform(0, 0.05))
                    await slack.kill()
                    await slack.start()
                    await slack.call("retries_at_connect")
                await slack.call("user_says", channel=place, user=places[place], text=text)

            def settled() -> bool:
                done = [status for status, _ in outcomes.values() if status != "retrying"]
                return len(done) == len(said)

            with trio.move_on_after(90):
                while not settled():
                    if hooked:  # else what waits is delivered at the next connection
                        await slack.call("retry_now")
                    await trio.sleep(0.5)
        seen = {
            place: [
                one["text"]
                for one in await slack.call("seen", channel=place)
                if one["text"].startswith("Heard")
            ]
            for place in places
        }
    unknown = sum(status == "unknown" for status, _ in outcomes.values())
    print(f"{unknown} of {len(outcomes)} unknown")
    assert {status for status, _ in outcomes.values()} <= {"delivered", "unknown"}
    assert sorted(answered.values()) == sorted(text for _, text in said)
    missing = 0
    for place in places:
        expected = [f"Heard {place} {number}" for number in range(EACH)]
        assert max(Counter(seen[place]).values()) == 1
        assert seen[place] == [text for text in expected if text in seen[place]]
        missing += len(expected) - len(seen[place])
    assert missing <= unknown


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
