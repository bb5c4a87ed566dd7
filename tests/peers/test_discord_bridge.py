"""The Discord bridge is held to what discord.py, which nobody here wrote, makes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from .discord_peer import DiscordPeer, open_discord
from .places import CHECKOUT, peers_python
from .programs import Program, open_program

pytestmark = pytest.mark.slow

BOT = CHECKOUT / "tests" / "peers" / "asyncio_clients" / "discord_bot.py"


@asynccontextmanager
async def a_bot(
    discord: DiscordPeer, *options: str, token: str | None = None
) -> AsyncGenerator[Program]:
    """discord.py against the bridge."""
    where = (discord.url, discord.gateway_url, token or discord.token)
    async with open_program([peers_python(), BOT, *where, *options]) as bot:
        yield bot


async def ready(bot: Program) -> None:
    await bot.until_line(lambda line: line == "ready")


async def test_discord_py_logs_in_hears_and_answers(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        ada = await discord.add_user("Ada")
        question = await discord.user_says(discord.general, ada, "hello")
        seen = await discord.until_seen(discord.general, lambda seen: len(seen) == 2)
        assert (seen[1].text, seen[1].user, seen[1].reply_to) == (
            "heard: hello",
            discord.bot,
            question,
        )
        assert await discord.typing(discord.general) >= 1


async def test_discord_py_talks_in_private_and_in_threads(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        ada = await discord.add_user("Ada")
        alone = await discord.dm(ada)
        await discord.user_says(alone, ada, "psst")
        await discord.until_seen(alone, lambda seen: seen[-1].text == "heard: psst")
        origin = await discord.user_says(discord.general, ada, "thread")
        await discord.until_seen(
            origin, lambda seen: [one.text for one in seen] == ["in the thread"]
        )
        opened = await discord.add_thread(discord.general, ada, "hers")
        await discord.user_says(opened, ada, "here")
        await discord.until_seen(opened, lambda seen: seen[-1].text == "heard: here")


async def test_discord_py_sends_and_reads_files(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        ada = await discord.add_user("Ada")
        await discord.user_says(discord.general, ada, "", files=[("my note.txt", b"\x00read me")])
        seen = await discord.until_seen(discord.general, lambda seen: len(seen) == 2)
        assert seen[1].text == "heard:  my_note.txt=b'\\x00read me'"
        await discord.user_says(discord.general, ada, "file")
        seen = await discord.until_seen(discord.general, lambda seen: len(seen) == 4)
        (file,) = seen[3].files
        assert (file.name, await discord.download(file)) == ("sent.txt", b"sent")
        with pytest.raises(httpx.HTTPStatusError):
            await discord.download(replace(file, url=file.url.partition("?")[0]))


async def test_discord_py_edits_and_hears_of_edits_and_deletions(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        ada = await discord.add_user("Ada")
        await discord.user_says(discord.general, ada, "draft")
        seen = await discord.until_seen(
            discord.general, lambda seen: len(seen) == 2 and seen[1].edited
        )
        assert seen[1].text == "draft"
        message = await discord.user_says(discord.general, ada, "helo")
        await discord.edits(discord.general, message, "hello")
        await bot.until_line(lambda line: line == f"edited {message} hello")
        await discord.deletes(discord.general, message)
        await bot.until_line(lambda line: line == f"deleted {message}")


@pytest.mark.parametrize(
    ("what", "value"),
    [("reconnect", None), ("invalidate", True), ("close", 4000), ("close", 1001), ("cut", None)],
)
async def test_discord_py_resumes_and_hears_what_it_missed(
    tmp_path: Path, what: str, value: Any
) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        ada = await discord.add_user("Ada")
        await discord.gateway("hold", True)
        await discord.gateway(what, value)
        await discord.until_gateway(lambda log: "gone" in log)
        await discord.user_says(discord.general, ada, "missed")
        await discord.gateway("hold", False)
        await bot.until_line(lambda line: line == "resumed")
        seen = await discord.until_seen(discord.general, lambda seen: len(seen) == 2)
        assert seen[1].text == "heard: missed"
        assert (await discord.gateway_log()).count("identify") == 1


@pytest.mark.parametrize("how", ["forgotten", "invalid"])
async def test_discord_py_identifies_anew_when_its_session_is_lost(
    tmp_path: Path, how: str
) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        ada = await discord.add_user("Ada")
        if how == "forgotten":
            await discord.gateway("forget sessions")
            await discord.gateway("cut")
        else:
            await discord.gateway("invalidate", False)
        await discord.until_gateway(lambda log: log.count("identify") == 2)
        assert ("resume refused" in await discord.gateway_log()) == (how == "forgotten")
        await discord.user_says(discord.general, ada, "again")
        await discord.until_seen(discord.general, lambda seen: seen[-1].text == "heard: again")


async def test_discord_py_gives_a_silent_gateway_up(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord:
        await discord.gateway("heartbeat interval", 0.5)
        async with a_bot(discord, "1.0") as bot:
            await ready(bot)
            await discord.gateway("answer heartbeats", False)
            await bot.until_line(lambda line: line == "resumed")
            await discord.gateway("answer heartbeats", True)
            assert "gone" in await discord.gateway_log()


async def test_discord_py_gives_a_heartbeat_that_is_asked_for(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        await discord.gateway("ask for a heartbeat")
        await discord.until_gateway(lambda log: "beat" in log)


async def test_discord_py_waits_as_a_rate_limit_says(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        ada = await discord.add_user("Ada")
        await discord.fail(
            "rate limit", method="POST", path="/channels/*/messages", retry_after_s=0.2
        )
        await discord.user_says(discord.general, ada, "slowly")
        await discord.until_seen(discord.general, lambda seen: seen[-1].text == "heard: slowly")
        sent = [
            call["status"] for call in await discord.calls() if call["path"].endswith("/messages")
        ]
        assert sent == [429, 200]


async def test_discord_py_is_refused_with_a_wrong_token(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord, token="wrong.token.here") as bot:
        await bot.until_line(lambda line: line == "login failed")


async def test_discord_py_is_refused_intents_that_are_not_switched_on(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord:
        await discord.gateway("allow intents", ["members"])
        async with a_bot(discord) as bot:
            await bot.until_line(lambda line: line == "intents refused")


async def test_discord_py_outlives_a_killed_gateway(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, a_bot(discord) as bot:
        await ready(bot)
        ada = await discord.add_user("Ada")
        await discord.user_says(discord.general, ada, "before")
        await discord.until_seen(discord.general, lambda seen: len(seen) == 2)
        await discord.down()
        await discord.up()
        await discord.until_gateway(lambda log: "identify" in log)
        await discord.user_says(discord.general, ada, "after")
        seen = await discord.until_seen(discord.general, lambda seen: len(seen) == 4)
        assert [one.text for one in seen] == ["before", "heard: before", "after", "heard: after"]


# What discord.py does not try, by hand.


@asynccontextmanager
async def rest(discord: DiscordPeer) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bot {discord.token}"}
    async with httpx.AsyncClient(base_url=discord.url, headers=headers, trust_env=False) as client:
        yield client


async def test_a_nonce_is_sent_once_until_it_is_forgotten(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, rest(discord) as client:
        path = f"/channels/{discord.general}/messages"
        body = {"content": "once", "nonce": "d-1", "enforce_nonce": True}
        first = (await client.post(path, json=body)).json()
        assert (await client.post(path, json=body)).json()["id"] == first["id"]
        assert len(await discord.seen(discord.general)) == 1
        await discord.forget_nonces()
        assert (await client.post(path, json=body)).json()["id"] != first["id"]
        refused = await client.post(path, json={**body, "nonce": "x" * 26})
        assert (refused.status_code, refused.json()["code"]) == (400, 50035)


async def test_an_answer_is_lost_after_the_message_was_sent(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, rest(discord) as client:
        path = f"/channels/{discord.general}/messages"
        await discord.fail("cut", method="POST", path="/channels/*/messages", acts=True)
        with pytest.raises(httpx.TransportError):
            await client.post(path, json={"content": "lost"})
        assert [one.text for one in await discord.seen(discord.general)] == ["lost"]


async def test_errors_carry_discords_codes(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, rest(discord) as client:
        path = f"/channels/{discord.general}/messages"

        async def code(path: str, body: dict[str, Any]) -> tuple[int, int]:
            answer = await client.post(path, json=body)
            return answer.status_code, answer.json()["code"]

        assert await code(path, {"content": ""}) == (400, 50006)
        assert await code(path, {"content": "x" * 2001}) == (400, 50035)
        assert await code("/channels/123456789012345678/messages", {"content": "x"}) == (404, 10003)
        await discord.forbids(discord.general)
        assert await code(path, {"content": "x"}) == (403, 50013)
        client.headers["Authorization"] = "Bot wrong"
        assert await code(path, {"content": "x"}) == (401, 0)


async def test_rate_limits_are_enforced_when_asked_for(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, rest(discord) as client:
        await discord.limit(True)
        path = f"/channels/{discord.general}/messages"
        answers = [await client.post(path, json={"content": str(n)}) for n in range(6)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429]
        assert answers[4].headers["X-RateLimit-Remaining"] == "0"
        assert 0 < answers[5].json()["retry_after"] <= 5
        assert 1 <= int(answers[5].headers["Retry-After"]) <= 5
        assert answers[5].headers["X-RateLimit-Scope"] == "user"


async def test_history_after_a_message_begins_next_to_it(tmp_path: Path) -> None:
    async with open_discord(tmp_path) as discord, rest(discord) as client:
        ada = await discord.add_user("Ada")
        ids = [await discord.user_says(discord.general, ada, str(n)) for n in range(5)]
        path = f"/channels/{discord.general}/messages"
        answer = await client.get(path, params={"after": ids[0], "limit": 2})
        assert [message["id"] for message in answer.json()] == [ids[2], ids[1]]
