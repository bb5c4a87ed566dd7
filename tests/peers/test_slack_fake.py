"""How the Slack fake ends."""

from __future__ import annotations

import trio

from .ports import kept_port
from .slack_fake import open_slack_fake


async def test_it_ends_at_any_moment_of_a_delivery() -> None:
    with kept_port() as port:  # nobody listens there
        for steps in range(60):
            async with open_slack_fake() as slack:
                slack.deliveries.url = f"http://127.0.0.1:{port}/events"
                ada = await slack.add_user("Ada")
                await slack.user_says(slack.general, ada, "hello")
                for _ in range(steps % 6):
                    await trio.lowlevel.checkpoint()
