"""What a Telegram channel hears by polling: updates in their order, and files."""

from __future__ import annotations

import logging
from typing import Final

import pytest
import trio

from turnkeeper import (
    AccessDenied,
    Attachment,
    FileTooLarge,
    MessageChange,
    Overloaded,
    Rejected,
    Unreachable,
)
from turnkeeper.channels.telegram_polling import Backlog

from ..peers.faults import Fault
from ..peers.telegram_fake import TOKEN
from .telegram_living import api_of, ending, file, hearing, people, saying
from .telegram_platform import ANN, BEN, GROUP

PNG: Final = b"\x89PNG\r\n\x1a\n rest"
OLD_GROUP: Final = -301


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
        assert runtime.contents() == [PNG, PNG]


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
        assert runtime.contents() == [b"content"]


async def test_a_file_that_telegram_does_not_hand_out_comes_by_its_id() -> None:
    async with people() as telegram, hearing(telegram) as (_, runtime):
        telegram.fails("getFile", status=400, description="Bad Request: invalid file_id", times=9)
        telegram.user_sends(ANN, ANN, b"content")
        telegram.user_says(ANN, ANN, "next")
        await runtime.until(lambda: len(runtime.turns) == 2)
        assert runtime.turns[0].attachments[0].reference in telegram.world.files
