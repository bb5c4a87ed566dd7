"""Bots written with third parties' libraries work against the fake unchanged."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from .places import peers_python
from .programs import Program
from .remote import open_remote, run_client
from .telegram_fake import TOKEN, Telegram, open_telegram
from .telegram_fake_world import Seen

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def clients() -> None:
    """Skip here, before the loop runs: from inside it the reason would be lost."""
    peers_python()


ANN = 1001
GROUP = -100200300
SECRET = "a_secret-that_Telegram_sends_along"


async def answers(telegram: Telegram, chat: int, count: int) -> list[Seen]:
    """What the bot has written once it is that much, and nobody is waited for any more."""
    await telegram.pulse.until(lambda: len(telegram.heard(chat)) >= count)
    return telegram.heard(chat)


async def talks(telegram: Telegram, *, chat: int) -> None:
    """One conversation: an answer that is edited, an edit that is heard, a file both ways."""
    asked = telegram.user_says(chat, ANN, "grüß dich 🙂")
    await telegram.pulse.until(lambda: any(seen.edited for seen in telegram.heard(chat)))
    (answer,) = telegram.heard(chat)
    assert (answer.text, answer.reply_to) == ("echo: grüß dich 🙂!", asked)
    assert telegram.called("sendChatAction")[-1].parameters["action"] == "typing"

    telegram.edits(chat, asked, "guten Tag")
    assert (await answers(telegram, chat, 2))[1].text == "edited: guten Tag"

    telegram.user_sends(
        chat, ANN, b"\x00\xffabc", name="Straße 1.txt", mime="text/plain", caption="what?"
    )
    back = (await answers(telegram, chat, 3))[2]
    assert back.file is not None
    assert (back.file.content, back.file.name) == (b"cba\xff\x00", "back-Straße 1.txt")
    assert back.text == "what?"


async def obeys_a_429(telegram: Telegram, bot: Program) -> None:
    """The bot waits as long as it is told and then says everything."""
    before = len(telegram.heard(ANN))
    telegram.fails("sendMessage", status=429, retry_after=1)
    telegram.user_says(ANN, ANN, "again")
    await bot.until("waits 1")
    assert (await answers(telegram, ANN, before + 1))[-1].text.startswith("echo: again")


async def stops_well(telegram: Telegram, bot: Program) -> None:
    """The bot ends by itself, with nothing unconfirmed."""
    bot.stop()
    await bot.until("stopped")
    assert await bot.ends() == 0
    assert telegram.updates_pending == 0


async def test_python_telegram_bot_holds_a_conversation_by_polling() -> None:
    async with open_telegram() as telegram:
        telegram.user_says(ANN, ANN, "/start")
        async with run_client("telegram_ptb", telegram.url, telegram.token) as bot:
            await bot.until("running keeper_bot")
            refused = await bot.until("refused")
            assert "can't find end tag corresponding to start tag" in refused
            (welcome,) = await answers(telegram, ANN, 1)
            assert [entity["type"] for entity in welcome.entities] == ["bold"]
            telegram.presses(ANN, ANN, welcome.message_id, "more")
            await telegram.pulse.until(lambda: telegram.heard(ANN)[0].text == "pressed more")
            assert list(telegram.world.callbacks.values()) == [True]
            telegram.deletes(ANN, welcome.message_id)

            await talks(telegram, chat=ANN)
            await bot.until("unchanged Message is not modified")
            await obeys_a_429(telegram, bot)
            await stops_well(telegram, bot)


async def test_python_telegram_bot_answers_in_the_topic_of_a_forum() -> None:
    async with open_telegram() as telegram:
        telegram.opens_chat(GROUP, forum=True)
        topic = telegram.opens_topic(GROUP, "Travel")
        async with run_client("telegram_ptb", telegram.url, telegram.token) as bot:
            telegram.user_says(GROUP, ANN, "where to?", thread=topic)
            (answer,) = await answers(telegram, GROUP, 1)
            assert answer.thread_id == topic
            await stops_well(telegram, bot)


async def test_python_telegram_bot_goes_on_after_telegram_was_away() -> None:
    async with (
        open_telegram() as telegram,
        run_client("telegram_ptb", telegram.url, telegram.token) as bot,
    ):
        await telegram.pulse.until(lambda: telegram.polling)
        await telegram.down()
        telegram.fails("getUpdates", status=502)
        telegram.user_says(ANN, ANN, "are you there?")
        await telegram.up()
        (answer,) = await answers(telegram, ANN, 1)
        assert answer.text.startswith("echo: are you there?")
        await bot.until("unchanged")
        await stops_well(telegram, bot)


async def test_python_telegram_bot_goes_on_after_telegram_was_killed(tmp_path: Path) -> None:
    async with (
        open_remote("tests.peers.telegram_fake", tmp_path / "world") as telegram,
        run_client("telegram_ptb", telegram.url, TOKEN) as bot,
    ):
        await telegram.call("user_says", chat=ANN, user=ANN, text="before")
        await telegram.until(lambda heard: bool(heard) and heard[0]["edited"], "heard", chat=ANN)
        await telegram.kill()
        await telegram.start()
        await telegram.call("user_says", chat=ANN, user=ANN, text="after")
        heard = await telegram.until(lambda heard: len(heard) == 2, "heard", chat=ANN)
        assert heard[1]["text"].startswith("echo: after")
        bot.stop()
        assert await bot.ends() == 0


async def test_aiogram_holds_a_conversation_by_polling() -> None:
    async with (
        open_telegram() as telegram,
        run_client("telegram_aiogram", "polling", telegram.url, telegram.token) as bot,
    ):
        await bot.until("running keeper_bot")
        await talks(telegram, chat=ANN)
        await obeys_a_429(telegram, bot)
        telegram.fails("sendMessage", status=403, description="Forbidden: bot was blocked")
        telegram.user_says(ANN, ANN, "and now?")
        await bot.until("forbidden")
        await stops_well(telegram, bot)


async def test_aiogram_holds_a_conversation_by_webhook() -> None:
    async with open_telegram() as telegram:
        arguments = ("webhook", telegram.url, telegram.token, SECRET)
        async with run_client("telegram_aiogram", *arguments) as bot:
            await bot.until("running keeper_bot")
            hook = telegram.world.webhook.url
            async with httpx.AsyncClient(trust_env=False) as stranger:
                answer = await stranger.post(hook, json={"update_id": 1})
                assert answer.status_code == 401
            await talks(telegram, chat=ANN)
            await obeys_a_429(telegram, bot)
            await telegram.pulse.until(lambda: telegram.updates_pending == 0)
            await stops_well(telegram, bot)
            assert not telegram.world.webhook.url
