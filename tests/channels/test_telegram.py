"""The Telegram channel beyond what every channel must do, against a Telegram of our own."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import trio

from turnkeeper import (
    Accepted,
    AccessDenied,
    Address,
    Attachment,
    FileTooLarge,
    InboundTurn,
    MessageChange,
    Outbound,
    OutboundFile,
    Overloaded,
    Rejected,
    Unreachable,
)
from turnkeeper.actors.messages import DeliveryId, Instance, SessionId, TurnId
from turnkeeper.channels.base import ChannelError, Draft
from turnkeeper.channels.hooks import HookDenied, HookHead
from turnkeeper.channels.secret import Secret
from turnkeeper.channels.telegram import TelegramChannel
from turnkeeper.channels.telegram_api import SendRates, TelegramApi
from turnkeeper.channels.telegram_hook import hook_secret
from turnkeeper.channels.telegram_polling import Backlog
from turnkeeper.config_tables import ChannelConfig
from turnkeeper.kinds import make_channel

from ..peers.faults import Fault
from ..peers.telegram_fake import TOKEN, Telegram, open_telegram
from .telegram_platform import ANN, BEN, FORUM, GROUP, HASTY

TG: Final = Instance("tg")
PNG: Final = b"\x89PNG\r\n\x1a\n rest"
OLD_GROUP: Final = -301


class Runtime:
    """What a channel is given, and what it has made of it."""

    def __init__(self) -> None:
        self.turns: list[InboundTurn] = []
        self.changes: list[MessageChange] = []
        self.refuses: Callable[[InboundTurn], Exception | None] = lambda _turn: None
        self.waits_for: dict[str, trio.Event] = {}
        """Text of a turn -> until when it is not accepted."""
        self.kept: list[bytes] = []
        self._news = trio.Event()

    async def deliver(self, turn: InboundTurn) -> Accepted:
        if turn.text in self.waits_for:
            await self.waits_for[turn.text].wait()
        refusal = self.refuses(turn)
        if refusal is not None:
            raise refusal
        self.turns.append(turn)
        self._beat()
        return Accepted(session_id=SessionId("s1"), turn_id=TurnId("s1/1"), duplicate=False)

    async def change(self, change: MessageChange) -> bool:
        self.changes.append(change)
        self._beat()
        return True

    async def keep(
        self,
        content: bytes | AsyncIterable[bytes],
        /,
        *,
        kind: str,
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        assert not isinstance(content, bytes)
        whole = b"".join([piece async for piece in content])
        self.kept.append(whole)
        return Attachment(
            kind=kind, reference="blob:1", mime=mime, size_bytes=len(whole), name=name
        )

    def _beat(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not holds():
                await self._news.wait()

    def texts(self) -> list[str]:
        return [turn.text for turn in self.turns]


def make(telegram: Telegram, name: str = "tg", **keys: Any) -> TelegramChannel:
    keys = {"token": TOKEN, "api_url": telegram.url, "rates": HASTY, **keys}
    return TelegramChannel(name, **keys)


def api_of(telegram: Telegram) -> TelegramApi:
    """What somebody else can do with the same token."""
    return TelegramApi(telegram.url, Secret(TOKEN), HASTY)


@asynccontextmanager
async def people(**options: Any) -> AsyncGenerator[Telegram]:
    async with open_telegram(**options) as telegram:
        telegram.opens_private(ANN)
        telegram.opens_private(BEN)
        telegram.opens_chat(GROUP)
        yield telegram


@asynccontextmanager
async def hearing(
    telegram: Telegram, **keys: Any
) -> AsyncGenerator[tuple[TelegramChannel, Runtime]]:
    channel, runtime = make(telegram, **keys), Runtime()
    channel.on_change, channel.keep_file = runtime.change, runtime.keep
    async with trio.open_nursery() as nursery:
        await telegram.pulse.until(lambda: not telegram.polling)
        nursery.start_soon(channel.run, runtime.deliver)
        await telegram.pulse.until(lambda: telegram.polling)
        yield channel, runtime
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def ending(
    telegram: Telegram, *, hook_url: str = "http://127.0.0.1:9/hooks/tg", **keys: Any
) -> AsyncGenerator[tuple[TelegramChannel, Callable[[], Awaitable[ChannelError]]]]:
    """A channel that runs, and how to wait for what ends it."""
    channel = make(telegram, **keys)
    channel.hook_url = hook_url
    errors, ended = list[ChannelError](), trio.Event()

    async def run() -> None:
        try:
            await channel.run(Runtime().deliver)
        except ChannelError as error:
            errors.append(error)
        ended.set()

    async def ends() -> ChannelError:
        with trio.fail_after(10):
            await ended.wait()
        return errors[0]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield channel, ends
        nursery.cancel_scope.cancel()


def saying(text: str, conversation: int = ANN, **more: Any) -> Outbound:
    thread = more.pop("thread", None)
    return Outbound(
        delivery_id=DeliveryId("s1/2"),
        address=Address(TG, str(conversation), thread),
        text=text,
        **more,
    )


def drafting(text: str, conversation: int = ANN, shown: str | None = None) -> Draft:
    place = Address(TG, str(conversation))
    return Draft(turn_id=TurnId("s1/1"), address=place, text=text, shown=shown)


def file(content: bytes, kind: str, mime: str, name: str) -> OutboundFile:
    async def read() -> bytes:
        return content

    return OutboundFile(kind=kind, size_bytes=len(content), read=read, mime=mime, name=name)


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


# -- updates ---------------------------------------------------------------------------------------


def news(*numbers: int) -> list[object]:
    return [{"update_id": number} for number in numbers]


def test_the_offset_stands_at_the_oldest_update_that_is_not_settled() -> None:
    backlog = Backlog()
    assert backlog.ask_from() is None
    new, _ = backlog.take(news(5, 6, 7))
    assert list(new) == [5, 6, 7]
    backlog.settle(6)
    assert backlog.ask_from() == 5
    new, _ = backlog.take(news(5, 6, 7, 8))
    assert list(new) == [8]
    for number in (5, 7):
        backlog.settle(number)
    assert (backlog.ask_from(), len(backlog)) == (8, 1)
    backlog.settle(8)
    assert backlog.ask_from() == 9


def test_what_was_settled_while_it_came_again_is_not_heard_again() -> None:
    backlog = Backlog()
    backlog.take(news(5, 6))
    assert backlog.ask_from() == 5
    backlog.settle(5)
    backlog.settle(6)
    assert backlog.take(news(5, 6)) == ({}, 0)
    assert backlog.ask_from() == 7


def test_after_a_quiet_poll_ids_may_begin_anywhere() -> None:
    backlog = Backlog()
    backlog.take(news(500))
    backlog.settle(500)
    assert backlog.ask_from() == 501
    backlog.take([])
    assert backlog.ask_from() is None
    new, _ = backlog.take(news(3))
    assert list(new) == [3]
    assert backlog.ask_from() == 3


def test_updates_without_an_id_are_counted_and_left_out() -> None:
    new, nameless = Backlog().take([{"message": {}}, "x", None, {"update_id": 1}])
    assert (list(new), nameless) == ([1], 3)


async def test_nothing_is_confirmed_before_it_is_durable() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        gate = runtime.waits_for["one"] = trio.Event()
        telegram.user_says(ANN, ANN, "one")
        telegram.user_says(ANN, ANN, "two")
        await telegram.pulse.until(lambda: len(telegram.called("getUpdates")) >= 2)
        assert (telegram.pending(), runtime.turns) == (2, [])
        gate.set()
        await runtime.until(lambda: runtime.texts() == ["one", "two"])
        await telegram.pulse.until(lambda: telegram.pending() == 0)


async def test_a_conversation_that_waits_holds_no_other() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        gate = runtime.waits_for["slow"] = trio.Event()
        telegram.user_says(ANN, ANN, "slow")
        telegram.user_says(BEN, BEN, "quick")
        await runtime.until(lambda: runtime.texts() == ["quick"])
        telegram.user_says(BEN, BEN, "again")  # it is fetched although the first is not settled
        await runtime.until(lambda: runtime.texts() == ["quick", "again"])
        assert telegram.pending() == 3
        gate.set()
        await runtime.until(lambda: runtime.texts() == ["quick", "again", "slow"])
        await telegram.pulse.until(lambda: telegram.pending() == 0)


async def test_a_turn_that_is_refused_for_now_is_heard_again_in_its_order() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        refusals = [Overloaded("full")]
        runtime.refuses = lambda _turn: refusals.pop() if refusals else None
        telegram.user_says(ANN, ANN, "one")
        telegram.user_says(ANN, ANN, "two")
        await runtime.until(lambda: runtime.texts() == ["one", "two"])
        assert refusals == []


async def test_a_second_poller_is_noticed() -> None:
    async with people() as telegram, ending(telegram) as (channel, ends):
        await telegram.pulse.until(lambda: telegram.polling)
        await api_of(telegram).ask("getUpdates")
        error = await ends()
        assert isinstance(error, Unreachable)
        assert error.reason == "conflict"
        assert "another program" in channel.line.warning


async def test_a_webhook_is_taken_away_and_what_waited_for_it_is_kept() -> None:
    async with people() as telegram:
        api = api_of(telegram)
        await api.ask("setWebhook", {"url": "http://127.0.0.1:9/elsewhere"})
        telegram.user_says(ANN, ANN, "kept")
        async with hearing(telegram) as (channel, runtime):
            await runtime.until(lambda: runtime.texts() == ["kept"])
            assert channel.line.state == "connected"


async def test_only_what_is_heard_is_asked_for() -> None:
    async with people() as telegram:
        telegram.opens_chat(-100500, kind="channel", bot="administrator")
        async with hearing(telegram):
            asked = telegram.world.allowed
            assert asked == ["message", "edited_message"]
        async with hearing(telegram, channel_posts=True) as (_, runtime):
            telegram.posts(-100500, "news")
            await runtime.until(lambda: runtime.texts() == ["news"])


async def test_updates_that_cannot_be_read_together_are_fetched_one_by_one() -> None:
    async with people() as telegram:
        for text in ("one", "two", "three"):
            telegram.user_says(ANN, ANN, text)
        telegram.faults.add(Fault("getupdates", 1, 200, '{"ok": true, "result": [{'))
        async with hearing(telegram) as (_, runtime):
            await runtime.until(lambda: runtime.texts() == ["one", "two", "three"])
        limits = [call.parameters["limit"] for call in telegram.called("getUpdates")]
        assert limits[:3] == [100, 1, 100]


async def test_an_edit_of_a_human_reaches_the_runtime() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        number = telegram.user_says(ANN, ANN, "befor")
        telegram.edits(ANN, number, "before")
        await runtime.until(lambda: [c.text for c in runtime.changes] == ["before"])
        assert runtime.changes[0].message_id == runtime.turns[0].message_id == str(number)


async def test_a_change_that_cannot_be_stored_is_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with people() as telegram, hearing(telegram) as (channel, runtime):

        async def refuse(_change: MessageChange) -> bool:
            raise ValueError("no change")

        channel.on_change = refuse
        telegram.edits(ANN, telegram.user_says(ANN, ANN, "befor"), "secret words")
        telegram.user_says(ANN, ANN, "next")
        await runtime.until(lambda: runtime.texts()[-1:] == ["next"])
        assert "cannot be stored" in channel.line.warning
        assert "secret words" not in caplog.text


async def test_a_stranger_is_told_once_and_a_group_never() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        denied = AccessDenied("I do not know you")
        runtime.refuses = lambda turn: denied if "let me in" in turn.text else None
        telegram.user_says(GROUP, BEN, "let me in")
        for _ in range(3):
            telegram.user_says(ANN, ANN, "let me in")
        telegram.user_says(ANN, ANN, "next")
        await runtime.until(lambda: runtime.texts() == ["next"])
        await telegram.pulse.until(lambda: telegram.pending() == 0)
        assert [seen.text for seen in telegram.heard(ANN)] == ["I do not know you"]
        assert telegram.heard(GROUP) == []


async def test_a_stranger_who_cannot_be_told_is_settled() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        runtime.refuses = lambda _turn: AccessDenied("I do not know you")
        telegram.fails("sendMessage", status=403, description="Forbidden: bot was blocked")
        telegram.user_says(ANN, ANN, "let me in")
        await telegram.pulse.until(lambda: telegram.pending() == 0)


async def test_a_group_that_becomes_a_supergroup_is_told_to_the_operator() -> None:
    async with people() as telegram, hearing(telegram) as (channel, runtime):
        telegram.opens_chat(OLD_GROUP, kind="group")
        telegram.user_says(OLD_GROUP, ANN, "before")
        moved = telegram.upgrades(OLD_GROUP)
        telegram.user_says(moved, ANN, "after")
        await runtime.until(lambda: len(runtime.turns) == 2)
        places = {turn.text: turn.address.conversation for turn in runtime.turns}
        assert places == {"before": str(OLD_GROUP), "after": str(moved)}
        assert str(moved) in channel.line.warning
        with pytest.raises(Rejected, match=str(moved)) as caught:
            await channel.send(saying("hello", OLD_GROUP))
        assert caught.value.reason == "moved"


# -- files -----------------------------------------------------------------------------------------


async def test_each_picture_of_an_album_is_a_turn() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        for number in (1, 2):
            telegram.user_sends(
                ANN, ANN, PNG, kind="photo", caption="look" if number == 1 else "", group="g"
            )
        await runtime.until(lambda: len(runtime.turns) == 2)
        assert runtime.texts() == ["look", ""]
        assert [turn.attachments[0].kind for turn in runtime.turns] == ["image", "image"]
        assert runtime.kept == [PNG, PNG]


async def test_no_log_shows_the_token_when_files_come_and_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with people() as telegram, hearing(telegram) as (channel, runtime):
        telegram.fails("file", status=500)
        telegram.user_sends(ANN, ANN, b"content")
        await runtime.until(lambda: len(runtime.turns) == 1)
        await channel.send(saying("", file=file(b"words", "file", "text/plain", "a.txt")))
    assert "getFile" in caplog.text
    assert TOKEN not in caplog.text
    assert TOKEN.partition(":")[2] not in caplog.text


async def test_a_file_that_is_too_large_comes_by_its_id() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        telegram.user_sends(ANN, ANN, bytes(20_000_001), name="../large.bin")
        await runtime.until(lambda: len(runtime.turns) == 1)
        (attachment,) = runtime.turns[0].attachments
        assert attachment.reference in telegram.world.files
        assert (attachment.size_bytes, attachment.name) == (20_000_001, "large.bin")
        assert telegram.called("getFile") == []


async def test_a_file_that_the_runtime_does_not_keep_comes_by_its_id() -> None:
    async with people() as telegram, hearing(telegram) as (channel, runtime):

        async def keep(*_: object, **__: object) -> Attachment:
            raise FileTooLarge(10)

        channel.keep_file = keep
        telegram.user_sends(ANN, ANN, b"x" * 11)
        await runtime.until(lambda: len(runtime.turns) == 1)
        assert runtime.turns[0].attachments[0].reference in telegram.world.files


async def test_a_file_that_is_not_found_at_once_is_asked_for_again() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        telegram.fails("file", status=500)
        telegram.user_sends(ANN, ANN, b"content")
        await runtime.until(lambda: len(runtime.turns) == 1)
        assert runtime.kept == [b"content"]


async def test_a_file_that_telegram_does_not_hand_out_comes_by_its_id() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        telegram.fails("getFile", status=400, description="Bad Request: invalid file_id", times=9)
        telegram.user_sends(ANN, ANN, b"content")
        telegram.user_says(ANN, ANN, "next")
        await runtime.until(lambda: len(runtime.turns) == 2)
        assert runtime.turns[0].attachments[0].reference in telegram.world.files


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


# -- the webhook -----------------------------------------------------------------------------------


def head(secret: str | None, method: str = "POST") -> HookHead:
    headers = {} if secret is None else {"x-telegram-bot-api-secret-token": secret}
    return HookHead(method=method, path="/hooks/tg", query={}, headers=headers, peer="127.0.0.1")


@pytest.mark.parametrize("secret", [None, "", "wrong", TOKEN, "ä"])
def test_who_does_not_know_the_secret_is_not_read(secret: str | None) -> None:
    hook = TelegramChannel("tg", token=TOKEN, webhook=True).hook
    assert hook is not None
    with pytest.raises(HookDenied) as caught:
        hook.admit(head(secret))
    assert caught.value.status == 401


async def test_a_hook_whose_channel_does_not_run_says_later() -> None:
    channel = TelegramChannel("tg", token=TOKEN, webhook=True)
    assert channel.hook is not None
    secret = hook_secret(Secret(TOKEN), "tg").reveal()
    answer = channel.hook.admit(head(secret))
    assert answer is not None
    assert answer.status == 503
    assert (await channel.hook.hear(head(secret), b"{}")).status == 503
    with pytest.raises(HookDenied) as caught:
        channel.hook.admit(head(secret, "GET"))
    assert caught.value.status == 405


def test_the_secret_of_a_hook_is_its_own_and_of_allowed_characters() -> None:
    token = Secret(TOKEN)
    one, two = hook_secret(token, "tg").reveal(), hook_secret(token, "other").reveal()
    assert one != two
    assert len(one) == 64
    assert one.isalnum()


@asynccontextmanager
async def called(telegram: Telegram) -> AsyncGenerator[tuple[TelegramChannel, Runtime, str]]:
    """A channel whose hook is called by hand."""
    channel, runtime = make(telegram, webhook=True, webhook_check_s=1.0), Runtime()
    channel.hook_url = "http://127.0.0.1:9/hooks/tg"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run, runtime.deliver)
        await telegram.pulse.until(lambda: bool(telegram.called("setWebhook")))
        yield channel, runtime, hook_secret(Secret(TOKEN), "tg").reveal()
        nursery.cancel_scope.cancel()


async def test_what_cannot_be_read_is_settled_and_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with people() as telegram, called(telegram) as (channel, runtime, secret):
        assert channel.hook is not None
        assert channel.hook.admit(head(secret)) is None
        deep = b'{"update_id": 1, "message": ' + b"[" * 9999 + b"]" * 9999 + b"}"
        for body in (
            b"",
            b"{",
            b"\xff",
            deep,
            b'"\\ud800"',
            b"7",
            b'{"update_id": 1, "message": 7}',
        ):
            channel.line.warning = ""
            assert (await channel.hook.hear(head(secret), body)).status == 200
            assert "could not be read" in channel.line.warning
        assert runtime.turns == []


async def test_a_refusal_for_now_is_no_answer_of_200() -> None:
    async with people() as telegram, called(telegram) as (channel, runtime, secret):
        assert channel.hook is not None
        runtime.refuses = lambda _turn: Overloaded("full")
        body = (
            b'{"update_id": 1, "message": {"message_id": 5, "chat": {"id": 1001, "type": '
            b'"private"}, "from": {"id": 1001, "is_bot": false}, "text": "hello"}}'
        )
        with pytest.raises(Overloaded):
            await channel.hook.hear(head(secret), body)
        runtime.refuses = lambda _turn: None
        assert (await channel.hook.hear(head(secret), body)).status == 200
        assert runtime.texts() == ["hello"]


async def test_a_webhook_that_somebody_else_takes_is_noticed() -> None:
    async with (
        people() as telegram,
        ending(telegram, webhook=True, webhook_check_s=1.0) as (channel, ends),
    ):
        await telegram.pulse.until(lambda: bool(telegram.called("setWebhook")))
        await api_of(telegram).ask("deleteWebhook")
        error = await ends()
        assert isinstance(error, Unreachable)
        assert error.reason == "conflict"
        assert "taken the webhook" in channel.line.warning


async def test_an_address_that_telegram_cannot_call_leads_to_where_it_is_configured() -> None:
    public = "http://bot.example.org/hooks/tg"
    async with people() as telegram, ending(telegram, hook_url=public, webhook=True) as (_, ends):
        error = await ends()
        assert isinstance(error, Rejected)
        assert "An HTTPS URL must be provided for webhook; see public_url of [http]" in str(error)


async def test_a_webhook_that_fails_is_told() -> None:
    async with people() as telegram, called(telegram) as (channel, _, _):
        telegram.user_says(ANN, ANN, "hello")  # nobody listens where the hook is said to be
        with trio.fail_after(10):
            while not channel.line.warning:  # noqa: ASYNC110  (nobody tells when it is set)
                await trio.sleep(0.05)
        assert "last call failed" in channel.line.warning
        checks = await channel.probe()
        assert [check.ok for check in checks] == [True, True, False]
        assert "could not call 127.0.0.1" in checks[2].detail
        # Once everything has arrived, Telegram still tells of the last call that failed.
        telegram.world.updates.clear()
        updates = (await channel.probe())[2]
        assert updates.ok
        assert "Connection failed" in updates.detail


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
