"""The Telegram channel beyond what every channel must do, against a Telegram of our own."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio

from turnkeeper import (
    Address,
    Rejected,
    Unreachable,
)
from turnkeeper.actors.messages import TurnId
from turnkeeper.channels.base import Draft
from turnkeeper.channels.telegram import TelegramChannel
from turnkeeper.channels.telegram_api import SendRates
from turnkeeper.config_tables import ChannelConfig
from turnkeeper.kinds import make_channel

from ..peers.telegram_fake import TOKEN
from .given import Runtime
from .telegram_living import TG, file, make, people, saying
from .telegram_platform import ANN, BEN, FORUM, GROUP

PNG: Final = b"\x89PNG\r\n\x1a\n rest"


def drafting(text: str, conversation: int = ANN, shown: str | None = None) -> Draft:
    place = Address(TG, str(conversation))
    return Draft(turn_id=TurnId("s1/1"), address=place, text=text, shown=shown)


# -- what it is made of ----------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", " ", "abc", "12345", "12345:", "123:a b", "123:ä", "x:y"])
def test_what_is_no_token_is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(ValueError, match="token") as caught:
        TelegramChannel("tg", token=token)
    assert len(token) < 3 or token not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.telegram.org",
        "http://10.0.0.1:8081",
        "ftp://127.0.0.1",
        "https://user:pass@host",
        "https://host/?a=b",
        "https://host/#a",
        "https://",
        "host",
        "https://host:port",
    ],
)
def test_an_api_is_asked_over_tls_or_on_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match="api_url"):
        TelegramChannel("tg", token=TOKEN, api_url=url)


@pytest.mark.parametrize("seconds", [0.5, 0.0, -1.0, float("nan"), 1e9])
def test_the_webhook_is_looked_at_now_and_then(seconds: float) -> None:
    with pytest.raises(ValueError, match="webhook_check_s"):
        TelegramChannel("tg", token=TOKEN, webhook_check_s=seconds)


def test_it_shows_no_token_and_knows_its_account() -> None:
    one = TelegramChannel("tg", token=TOKEN)
    two = TelegramChannel("other", token=TOKEN, webhook=True)
    another = TelegramChannel("tg", token=TOKEN + "x")
    assert one.account == two.account != another.account
    assert TOKEN not in f"{one!r} {one.account} {two.hook!r} {one.line!r}"
    assert one.exposed
    assert (one.hook is None, two.hook is None) == (True, False)


def test_a_configuration_makes_one() -> None:
    options = {"token": TOKEN, "webhook": True, "webhook_check_s": 5, "channel_posts": True}
    channel = make_channel(ChannelConfig(name="tg", kind="telegram", options=options))
    assert isinstance(channel, TelegramChannel)
    assert channel.hook is not None


# -- speaking --------------------------------------------------------------------------------------


async def test_text_is_formatted_and_shows_no_previews() -> None:
    async with people() as telegram:
        await make(telegram).send(saying("**bold** <i> & `code`"))
        await make(telegram, link_previews=True).send(saying("https://example.org"))
        bold, link = telegram.heard(ANN)
        assert bold.text == "bold <i> & code"
        assert [entity["type"] for entity in bold.entities] == ["bold", "code"]
        assert bold.raw["link_preview_options"] == {"is_disabled": True}
        assert "link_preview_options" not in link.raw


async def test_markup_that_telegram_refuses_is_sent_as_plain_text() -> None:
    async with people() as telegram:
        telegram.fails(
            "sendMessage", status=400, description="Bad Request: can't parse entities: x"
        )
        await make(telegram).send(saying("**bold** \ud800"))
        assert [seen.text for seen in telegram.heard(ANN)] == ["**bold** \ufffd"]
        assert len(telegram.called("sendMessage")) == 2


async def test_plain_text_that_is_refused_as_well_is_refused() -> None:
    async with people() as telegram:
        telegram.fails(
            "sendMessage", status=400, description="Bad Request: can't parse entities: x", times=2
        )
        with pytest.raises(Rejected) as caught:
            await make(telegram).send(saying("**bold**"))
        assert caught.value.reason == "bad_markup"
        assert len(telegram.called("sendMessage")) == 2


async def test_an_answer_goes_to_its_topic_also_when_the_question_is_gone() -> None:
    async with people() as telegram:
        telegram.opens_chat(FORUM, forum=True)
        topic = telegram.opens_topic(FORUM, "one")
        channel = make(telegram)
        question = telegram.user_says(FORUM, ANN, "?", thread=topic)
        place: dict[str, Any] = {"conversation": FORUM, "thread": str(topic)}
        await channel.send(saying("!", reply_to=str(question), **place))
        await channel.send(saying("gone", reply_to="999", **place))
        await channel.send(saying("no number", reply_to="x/1", **place))
        seen = telegram.heard(FORUM)
        assert [(one.text, one.thread_id, one.reply_to) for one in seen] == [
            ("!", topic, question),
            ("gone", topic, None),
            ("no number", topic, None),
        ]
        telegram.closes_topic(FORUM, topic)
        with pytest.raises(Rejected) as caught:
            await channel.send(saying("closed", **place))
        assert caught.value.reason == "topic_closed"


async def test_who_cannot_be_written_to_is_said_in_a_word() -> None:
    async with people() as telegram:
        telegram.blocks(ANN)
        telegram.deactivates(BEN)
        telegram.opens_private(1003, started=False)
        telegram.kicks(GROUP)
        reasons: list[str] = []
        for chat in (ANN, BEN, 1003, GROUP, 1004):
            with pytest.raises(Rejected) as caught:
                await make(telegram).send(saying("hello", chat))
            reasons.append(caught.value.reason)
        assert reasons == ["blocked", "deactivated", "not_started", "kicked", "not_found"]


async def test_a_draft_that_is_gone_becomes_a_message_of_its_own() -> None:
    async with people() as telegram:
        channel = make(telegram)
        shown = (await channel.draft(drafting("so far …"))).platform_message_id
        await channel.withdraw(Address(TG, str(ANN)), shown)
        receipt = await channel.send(saying("all of it", draft=shown))
        assert [seen.text for seen in telegram.heard(ANN)] == ["all of it"]
        assert receipt.platform_message_id != shown
        with pytest.raises(Rejected):
            await channel.draft(drafting("more …", shown=shown))


async def test_a_draft_that_says_it_all_already_is_the_message() -> None:
    async with people() as telegram:
        channel = make(telegram)
        shown = (await channel.draft(drafting("all of it"))).platform_message_id
        receipt = await channel.send(saying("all of it", draft=shown))
        assert receipt.platform_message_id == shown
        assert [seen.text for seen in telegram.heard(ANN)] == ["all of it"]


async def test_an_edit_whose_answer_is_lost_may_be_made_again() -> None:
    async with people() as telegram:
        channel = make(telegram)
        shown = (await channel.draft(drafting("so far …"))).platform_message_id
        telegram.loses_answers("editMessageText")
        with pytest.raises(Unreachable):
            await channel.send(saying("all of it", draft=shown))
        assert (await channel.send(saying("all of it", draft=shown))).platform_message_id == shown
        assert [seen.text for seen in telegram.heard(ANN)] == ["all of it"]


async def test_a_draft_changes_less_often_in_a_group() -> None:
    async with people() as telegram:
        channel = make(telegram)
        for chat in (ANN, GROUP):
            shown = (await channel.draft(drafting("1 …", chat))).platform_message_id
            for text in ("2 …", "3 …"):
                await channel.draft(drafting(text, chat, shown))
            await channel.send(saying("4", chat, draft=shown))
        edited = [
            (c.parameters["chat_id"], c.parameters["text"])
            for c in telegram.called("editMessageText")
        ]
        assert edited == [
            *((str(ANN), text) for text in ("2 …", "3 …", "4")),
            *((str(GROUP), text) for text in ("2 …", "4")),
        ]


async def test_a_pause_is_kept_in_its_chat_alone() -> None:
    async with people() as telegram:
        channel = make(telegram)
        telegram.fails("sendMessage", status=429, retry_after=50)
        with pytest.raises(Unreachable) as caught:
            await channel.send(saying("too fast"))
        assert (caught.value.reason, caught.value.retry_after_s) == ("rate_limited", 50.0)
        await channel.send(saying("elsewhere", BEN))
        with trio.move_on_after(0.1) as patience:
            await channel.send(saying("later"))
        assert patience.cancelled_caught
        assert [len(telegram.heard(chat)) for chat in (ANN, BEN)] == [0, 1]


async def test_after_a_pause_it_goes_on() -> None:
    async with people() as telegram:
        channel = make(telegram)
        telegram.fails("sendMessage", status=429, retry_after=1)
        began = trio.current_time()
        with pytest.raises(Unreachable):
            await channel.send(saying("too fast"))
        await channel.send(saying("later"))
        assert trio.current_time() - began >= 1.0
        assert [seen.text for seen in telegram.heard(ANN)] == ["later"]


@pytest.mark.slow
async def test_the_rate_of_all_chats_is_kept_unasked() -> None:
    rate = SendRates().overall
    assert rate.burst + rate.per_s <= 30  # what Telegram allows in any second
    async with people() as telegram:
        channel = make(telegram, rates=SendRates())
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for chat in range(5000, 5080):
                telegram.opens_private(chat)
                nursery.start_soon(channel.send, saying("hello", chat))
        # When each arrives is up to the machine; that the last one is not early is up to us.
        assert trio.current_time() - began > (79 - rate.burst) / rate.per_s
        assert [call.status for call in telegram.called("sendMessage")] == [200] * 80


async def test_it_speaks_while_it_does_not_hear() -> None:
    async with people() as telegram:
        telegram.user_says(ANN, ANN, "hello")
        channel = make(telegram)
        await channel.send(saying("hello"))
        await channel.typing(Address(TG, str(ANN)))
        assert [seen.text for seen in telegram.heard(ANN)] == ["hello"]
        assert telegram.typing(ANN) == ["typing"]


async def test_a_send_that_is_under_way_outlives_the_end_of_hearing() -> None:
    async with people() as telegram:
        channel = make(telegram)
        hold = telegram.holds("sendMessage")
        async with trio.open_nursery() as sending:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.run, Runtime().deliver)
                await telegram.pulse.until(lambda: telegram.polling)
                sending.start_soon(channel.send, saying("hello"))
                await hold.reached.wait()
                nursery.cancel_scope.cancel()
            hold.released.set()
        assert [seen.text for seen in telegram.heard(ANN)] == ["hello"]


async def test_files_go_out_as_what_they_are() -> None:
    async with people() as telegram:
        channel = make(telegram)
        for content, kind, mime in (
            (PNG, "image", "image/png"),
            (b"ID3 song", "audio", "audio/mpeg"),
            (b"film", "video", "video/mp4"),
            (b"words", "file", "text/plain"),
            (b"no picture", "image", "image/png"),
        ):
            await channel.send(saying("", file=file(content, kind, mime, "a.x"), reply_to="1"))
        seen = telegram.heard(ANN)
        assert [one.kind for one in seen] == ["photo", "audio", "video", "document", "document"]
        assert [one.file.content for one in seen if one.file] == [
            *(PNG, b"ID3 song", b"film", b"words", b"no picture")
        ]


# -- the operator ----------------------------------------------------------------------------------


async def test_a_probe_tells_who_the_bot_is_and_what_it_hears() -> None:
    async with people(reads_all=False) as telegram:
        token, groups, updates = await make(telegram).probe()
        assert (token.ok, token.detail) == (True, "@keeper_bot")
        assert "setprivacy" in groups.detail
        assert updates.detail == "polled"
        assert telegram.methods_called() == ["getMe", "getWebhookInfo"]
        await telegram.down()
        with pytest.raises(Unreachable):
            await make(telegram).probe()


async def test_a_token_that_is_none_to_telegram_is_refused() -> None:
    async with people() as telegram:
        for token in (TOKEN[:-1] + "x", "12345:short"):
            with pytest.raises(Rejected) as caught:
                await make(telegram, token=token).run(Runtime().deliver)
            assert caught.value.reason == "unauthorized"
            assert token not in str(caught.value)
            (check,) = await make(telegram, token=token).probe()
            assert not check.ok
            assert "BotFather" in check.detail
