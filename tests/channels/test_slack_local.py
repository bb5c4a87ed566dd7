"""The Slack channel at a Slack that others have written: npm's local-slack."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import turnkeeper as tk
from turnkeeper.channels.slack import SlackChannel
from turnkeeper.storage.memory import MemoryDisk, open_memory

from ..peers.slack_local import SlackLocal, open_slack
from .slack_platform import HASTY

pytestmark = pytest.mark.slow


@asynccontextmanager
async def living(
    slack: SlackLocal, agent: Any, state_dir: Path | None = None
) -> AsyncGenerator[SlackChannel]:
    channel = SlackChannel(
        "slack",
        token=slack.bot_token,
        app_token=slack.app_token,
        api_url=slack.url,
        rates=HASTY,
    )
    async with (
        open_memory(MemoryDisk()) as store,
        tk.open_runtime(
            state_dir,
            agent=agent,
            channels=[channel],
            store=store,
            config={"channels": {"slack": {"access": "open"}}},
        ),
    ):
        with trio.fail_after(20):
            while channel.line.state != "connected":  # noqa: ASYNC110  (nobody tells)
                await trio.sleep(0.02)
        yield channel


async def test_it_is_talked_to_in_private_in_threads_and_by_mentions(tmp_path: Path) -> None:
    async def agent(turn: tk.Turn) -> str:
        return f"Heard {turn.text}"

    async with open_slack(tmp_path) as slack, living(slack, agent):
        ada = await slack.add_user("Ada")
        alone = await slack.dm(ada)
        for number in range(3):
            await slack.user_says(alone, ada, f"number {number} &amp; more")
        seen = await slack.until_seen(alone, lambda seen: len(seen) == 6)
        told = [one.text for one in seen if one.user == slack.bot]
        assert told == [f"Heard number {number} &amp; more" for number in range(3)]
        question = await slack.user_says(slack.general, ada, f"<@{slack.bot}> hello")
        seen = await slack.until_seen(slack.general, lambda seen: len(seen) == 2)
        assert (seen[1].text, seen[1].thread) == ("Heard hello", question)
        await slack.user_says(slack.general, ada, f"<@{slack.bot}> more", thread_ts=question)
        seen = await slack.until_seen(slack.general, lambda seen: len(seen) == 4)
        assert (seen[3].text, seen[3].thread) == ("Heard more", question)


async def test_files_go_both_ways(tmp_path: Path) -> None:
    async def agent(turn: tk.Turn) -> tk.Reply:
        return tk.Reply(text="Here it is.", attachments=turn.attachments)

    content = bytes(range(256))
    async with open_slack(tmp_path) as slack, living(slack, agent, tmp_path / "state"):
        ada = await slack.add_user("Ada")
        alone = await slack.dm(ada)
        await slack.user_says(alone, ada, "take this", files=[("numbers.bin", content)])
        seen = await slack.until_seen(
            alone, lambda seen: any(one.files and one.user == slack.bot for one in seen)
        )
        (back,) = [one.files[0] for one in seen if one.files and one.user == slack.bot]
        assert back.name == "numbers.bin"
        assert await slack.download(back) == content


async def test_edits_and_deletions_are_changes(tmp_path: Path) -> None:
    asked: list[str] = []

    async def agent(turn: tk.Turn) -> str:
        asked.extend(one.text for one in turn.messages)
        return f"Heard {turn.text}"

    async with open_slack(tmp_path) as slack, living(slack, agent):
        ada = await slack.add_user("Ada")
        alone = await slack.dm(ada)
        said = await slack.user_says(alone, ada, "at noon")
        await slack.until_seen(alone, lambda seen: len(seen) == 2)
        await slack.edits(alone, said, "at one")
        await slack.user_says(alone, ada, "well?")
        await slack.until_seen(alone, lambda seen: len(seen) == 4)
        assert any("at one" in text for text in asked)
        await slack.deletes(alone, said)
        await slack.user_says(alone, ada, "and now?")
        await slack.until_seen(alone, lambda seen: seen[-1].text == "Heard and now?")


async def test_its_probe_finds_nothing_wrong(tmp_path: Path) -> None:
    async with open_slack(tmp_path) as slack:
        channel = SlackChannel(
            "slack", token=slack.bot_token, app_token=slack.app_token, api_url=slack.url
        )
        checks = await channel.probe()
        assert [check.what for check in checks if not check.ok] == []
        assert {"token", "app token"} <= {check.what for check in checks}
