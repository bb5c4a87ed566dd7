"""The fake Telegram refuses, conflicts, forgets and breaks as the Bot API does."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .remote import open_remote
from .telegram_fake import Telegram, open_telegram
from .web import open_web

ANN = 1001
GROUP = -300
FORUM = -100400
PNG = b"\x89PNG\r\n\x1a\n rest"


class Bot:
    """A client which says nothing of its own."""

    def __init__(self, telegram: Telegram, client: httpx.AsyncClient) -> None:
        self.telegram = telegram
        self.client = client

    async def call(self, method: str, **parameters: Any) -> Any:
        """The result of a method that is expected to work."""
        answer = (await self.ask(method, **parameters)).json()
        assert answer["ok"], answer
        return answer["result"]

    async def ask(self, method: str, **parameters: Any) -> httpx.Response:
        address = f"{self.telegram.url}/bot{self.telegram.token}/{method}"
        return await self.client.post(address, json=parameters)

    async def refused(self, method: str, **parameters: Any) -> tuple[int, str]:
        """Status and words of a refusal."""
        answer = await self.ask(method, **parameters)
        body = answer.json()
        assert body["ok"] is False
        assert body["error_code"] == answer.status_code
        return answer.status_code, body["description"]

    async def upload(self, method: str, name: str, content: bytes, **fields: Any) -> httpx.Response:
        address = f"{self.telegram.url}/bot{self.telegram.token}/{method}"
        files = {name: ("Ä name.txt", content, "text/plain")}
        return await self.client.post(address, data=fields, files=files)


@asynccontextmanager
async def running(**options: Any) -> AsyncGenerator[tuple[Telegram, Bot]]:
    async with (
        open_telegram(**options) as telegram,
        httpx.AsyncClient(trust_env=False, timeout=20) as client,
    ):
        telegram.opens_private(ANN)
        yield telegram, Bot(telegram, client)


async def test_a_wrong_token_is_unauthorized_and_a_malformed_one_is_not_found() -> None:
    async with running() as (telegram, bot):
        wrong = await bot.client.get(f"{telegram.url}/bot{telegram.token[:-1]}x/getMe")
        malformed = await bot.client.get(f"{telegram.url}/bot12345/getMe")
        unknown = await bot.refused("getEverything")
        assert (wrong.status_code, wrong.json()["description"]) == (401, "Unauthorized")
        assert (malformed.status_code, unknown) == (404, (404, "Not Found"))


async def test_parameters_may_come_in_a_query_a_form_or_json() -> None:
    async with running() as (telegram, bot):
        address = f"{telegram.url}/bot{telegram.token}/SENDMESSAGE"
        fields = {"chat_id": str(ANN), "text": "one"}
        assert (await bot.client.get(address, params=fields)).json()["ok"]
        reply = '{"message_id": 1}'
        form = await bot.client.post(address, data={**fields, "reply_parameters": reply})
        assert form.json()["result"]["reply_to_message"]["message_id"] == 1


async def test_updates_come_again_until_they_are_confirmed() -> None:
    async with running() as (telegram, bot):
        for text in ("one", "two", "three"):
            telegram.user_says(ANN, ANN, text)
        first = await bot.call("getUpdates", limit=2)
        assert [update["message"]["text"] for update in first] == ["one", "two"]
        assert await bot.call("getUpdates", limit=2) == first
        rest = await bot.call("getUpdates", offset=first[-1]["update_id"] + 1)
        assert [update["message"]["text"] for update in rest] == ["three"]
        assert telegram.updates_pending == 1
        assert (await bot.call("getUpdates", offset=-1))[0]["update_id"] == rest[0]["update_id"]


async def test_a_poll_waits_for_what_is_said() -> None:
    async with running() as (telegram, bot), trio.open_nursery() as nursery:

        async def speak() -> None:
            await telegram.pulse.until(lambda: telegram.polling)
            telegram.user_says(ANN, ANN, "now")

        nursery.start_soon(speak)
        (update,) = await bot.call("getUpdates", timeout=10)
        assert update["message"]["text"] == "now"


async def test_of_two_polls_the_older_one_ends_with_a_conflict() -> None:
    async with running() as (telegram, bot):
        refusals: list[tuple[int, str]] = []

        async def poll() -> None:
            refusals.append(await bot.refused("getUpdates", timeout=20))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                await telegram.pulse.until(lambda: telegram.polling)
                assert await bot.call("getUpdates") == []
        ((status, words),) = refusals
        assert status == 409
        assert words.startswith("Conflict: terminated by other getUpdates request")


async def test_a_webhook_ends_polls_and_refuses_further_ones() -> None:
    async with running() as (telegram, bot):
        refusals: list[tuple[int, str]] = []

        async def poll() -> None:
            refusals.append(await bot.refused("getUpdates", timeout=20))

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(poll)
                await telegram.pulse.until(lambda: telegram.polling)
                await bot.call("setWebhook", url="http://127.0.0.1:9/hook")
        assert refusals == [(409, "Conflict: terminated by setWebhook request")]
        status, words = await bot.refused("getUpdates")
        assert status == 409
        assert "while webhook is active" in words
        await bot.call("deleteWebhook")
        assert await bot.call("getUpdates") == []


async def test_a_client_that_leaves_takes_its_poll_along() -> None:
    async with running() as (telegram, bot):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: bot.ask("getUpdates", timeout=30))
            await telegram.pulse.until(lambda: telegram.polling)
            nursery.cancel_scope.cancel()
        await telegram.pulse.until(lambda: not telegram.polling)


async def test_only_the_kinds_that_are_asked_for_become_updates() -> None:
    async with running() as (telegram, bot):
        await bot.call("getUpdates", allowed_updates=["edited_message"])
        message = telegram.user_says(ANN, ANN, "new")
        telegram.edits(ANN, message, "edited")
        (update,) = await bot.call("getUpdates")
        assert update["edited_message"]["text"] == "edited"
        assert "edit_date" in update["edited_message"]


async def test_bots_are_not_told_of_bots_and_of_deletions() -> None:
    async with running() as (telegram, bot):
        telegram.opens_chat(FORUM)
        telegram.adds_user(77, "Other", username="other_bot", is_bot=True)
        telegram.user_says(FORUM, 77, "beep")
        telegram.deletes(FORUM, telegram.user_says(FORUM, ANN, "@keeper_bot hello"))
        (update,) = await bot.call("getUpdates")
        assert update["message"]["entities"][0]["type"] == "mention"


async def test_in_privacy_mode_groups_are_heard_only_when_the_bot_is_meant() -> None:
    async with running(reads_all=False) as (telegram, bot):
        telegram.opens_chat(GROUP, kind="group")
        own = (await bot.call("sendMessage", chat_id=GROUP, text="hello"))["message_id"]
        for text, answered in (("no", None), ("/yes", None), ("@keeper_bot yes", None), ("y", own)):
            telegram.user_says(GROUP, ANN, text, reply_to=answered)
        heard = [update["message"]["text"] for update in await bot.call("getUpdates")]
        assert heard == ["/yes", "@keeper_bot yes", "y"]
        assert (await bot.call("getMe"))["can_read_all_group_messages"] is False


async def test_messages_carry_topics_quotes_mentions_albums_and_captions() -> None:
    async with running() as (telegram, bot):
        topic = telegram.opens_topic(FORUM, "Travel")
        first = telegram.user_says(FORUM, ANN, "to Rome or Ulm", thread=topic)
        telegram.user_says(
            FORUM, 9, "Ann, Rome", thread=topic, reply_to=first, quote="Rome", mentions={"Ann": ANN}
        )
        for kind in ("photo", "video"):
            telegram.user_sends(FORUM, ANN, PNG, kind=kind, caption=kind, group="a", thread=topic)
        created, said, quoted, photo, video = [
            update["message"] for update in await bot.call("getUpdates")
        ]
        assert created["forum_topic_created"]["name"] == "Travel"
        assert (said["message_thread_id"], said["is_topic_message"]) == (topic, True)
        assert quoted["reply_to_message"]["text"] == "to Rome or Ulm"
        assert quoted["quote"]["text"] == "Rome"
        assert quoted["entities"][0]["user"]["id"] == ANN
        assert photo["photo"][-1]["file_size"] == len(PNG)
        assert [part["media_group_id"] for part in (photo, video)] == ["a", "a"]
        assert (video["caption"], said["chat"]["is_forum"]) == ("video", True)


async def test_answers_and_topics_are_told_as_surprisingly_as_telegram_does() -> None:
    async with running() as (telegram, bot):
        topic = telegram.opens_topic(FORUM, "Travel")
        telegram.user_says(FORUM, ANN, "in a topic", thread=topic)
        telegram.opens_chat(-100700)
        first = telegram.user_says(-100700, ANN, "plain")
        telegram.user_says(-100700, ANN, "answer", reply_to=first)
        _, inside, _, answer = [update["message"] for update in await bot.call("getUpdates")]
        assert inside["reply_to_message"]["message_id"] == topic
        assert answer["message_thread_id"] == first
        assert "is_topic_message" not in answer
        assert [seen.reply_to for seen in telegram.seen(FORUM)] == [None, None]
        assert [seen.thread_id for seen in telegram.seen(-100700)] == [None, None]


async def test_posts_presses_and_membership_become_updates() -> None:
    async with running() as (telegram, bot):
        telegram.opens_chat(-100500, kind="channel")
        telegram.posts(-100500, "news")
        sent = await bot.call("sendMessage", chat_id=ANN, text="press")
        query = telegram.presses(ANN, ANN, sent["message_id"], "yes")
        telegram.blocks(ANN)
        post, press, member = await bot.call("getUpdates")
        assert post["channel_post"]["sender_chat"]["type"] == "channel"
        assert press["callback_query"]["data"] == "yes"
        assert member["my_chat_member"]["new_chat_member"]["status"] == "kicked"
        assert await bot.call("answerCallbackQuery", callback_query_id=query) is True
        assert (await bot.refused("answerCallbackQuery", callback_query_id=query))[0] == 400


@pytest.mark.parametrize(
    ("parameters", "refusal"),
    [
        ({"chat_id": 404404, "text": "x"}, "chat not found"),
        ({"text": "x"}, "chat_id is empty"),
        ({"chat_id": ANN, "text": ""}, "message text is empty"),
        ({"chat_id": ANN, "text": " \n"}, "text must be non-empty"),
        ({"chat_id": ANN, "text": "🙂" * 2049}, "message is too long"),
        ({"chat_id": ANN, "text": "x", "parse_mode": "rst"}, "unsupported parse_mode"),
        (
            {"chat_id": ANN, "text": "x", "reply_parameters": {"message_id": 99}},
            "message to be replied not found",
        ),
        ({"chat_id": FORUM, "text": "x", "message_thread_id": 99}, "message thread not found"),
    ],
)
async def test_a_message_that_cannot_be_sent_is_refused(
    parameters: dict[str, Any], refusal: str
) -> None:
    async with running() as (telegram, bot):
        telegram.opens_chat(FORUM, forum=True)
        assert await bot.refused("sendMessage", **parameters) == (400, f"Bad Request: {refusal}")


async def test_limits_hold_after_entities_are_parsed() -> None:
    async with running() as (_, bot):
        text = f"<b>{'&lt;' * 4096}</b>"
        sent = await bot.call("sendMessage", chat_id=ANN, text=text, parse_mode="HTML")
        assert sent["text"] == "<" * 4096


async def test_a_reply_to_nothing_may_be_sent_without_it() -> None:
    async with running() as (_, bot):
        reply = {"message_id": 99, "allow_sending_without_reply": True}
        sent = await bot.call("sendMessage", chat_id=ANN, text="x", reply_parameters=reply)
        assert "reply_to_message" not in sent


async def test_who_may_not_be_written_to_is_forbidden() -> None:
    async with running() as (telegram, bot):
        telegram.opens_private(55, started=False)
        telegram.blocks(ANN)
        telegram.opens_chat(GROUP, kind="group")
        telegram.kicks(GROUP)
        telegram.user_says(66, 66, "bye")
        telegram.deactivates(66)
        words = [
            await bot.refused("sendMessage", chat_id=chat, text="x")
            for chat in (55, ANN, GROUP, 66)
        ]
        assert words == [
            (403, "Forbidden: bot can't initiate conversation with a user"),
            (403, "Forbidden: bot was blocked by the user"),
            (403, "Forbidden: bot was kicked from the group chat"),
            (403, "Forbidden: user is deactivated"),
        ]


async def test_a_group_that_was_upgraded_says_where_it_is_now() -> None:
    async with running() as (telegram, bot):
        telegram.opens_chat(GROUP, kind="group")
        new = telegram.upgrades(GROUP)
        answer = (await bot.ask("sendMessage", chat_id=GROUP, text="x")).json()
        assert answer["parameters"] == {"migrate_to_chat_id": new}
        old, fresh = [update["message"] for update in await bot.call("getUpdates")]
        assert (old["migrate_to_chat_id"], fresh["migrate_from_chat_id"]) == (new, GROUP)
        assert await bot.call("sendMessage", chat_id=new, text="x")


async def test_only_own_messages_are_edited_and_only_to_something_else() -> None:
    async with running() as (telegram, bot):
        theirs = telegram.user_says(ANN, ANN, "mine")
        own = (await bot.call("sendMessage", chat_id=ANN, text="yours"))["message_id"]
        edit = {"chat_id": ANN, "text": "yours"}
        refusals = [
            await bot.refused("editMessageText", **edit, message_id=each)
            for each in (theirs, own, 99)
        ]
        assert [words.partition(":")[2][:25].strip() for _, words in refusals] == [
            "message can't be edited",
            "message is not modified:",
            "message to edit not foun",
        ]
        assert await bot.call("deleteMessage", chat_id=ANN, message_id=own) is True
        assert (await bot.refused("deleteMessage", chat_id=ANN, message_id=own))[0] == 400
        assert [seen.text for seen in telegram.seen(ANN)] == ["mine"]


async def test_files_go_out_and_come_in() -> None:
    async with running() as (telegram, bot):
        sent = await bot.upload("sendDocument", "document", b"\x00abc", chat_id=ANN, caption="c")
        document = sent.json()["result"]["document"]
        (seen,) = telegram.heard(ANN)
        assert seen.file is not None
        assert (seen.file.content, seen.file.name, seen.text) == (b"\x00abc", "Ä name.txt", "c")
        again = await bot.call("sendDocument", chat_id=ANN, document=document["file_id"])
        assert again["document"] == document

        path = (await bot.call("getFile", file_id=document["file_id"]))["file_path"]
        file = await bot.client.get(f"{telegram.url}/file/bot{telegram.token}/{path}")
        assert file.content == b"\x00abc"
        stranger = await bot.client.get(f"{telegram.url}/file/bot{telegram.token}x/{path}")
        assert stranger.status_code == 401


async def test_files_that_telegram_does_not_take_or_give_are_refused() -> None:
    async with running() as (telegram, bot):
        telegram.user_sends(ANN, ANN, bytes(20 * 1024 * 1024 + 1))
        (update,) = await bot.call("getUpdates")
        file_id = update["message"]["document"]["file_id"]
        assert (await bot.refused("getFile", file_id=file_id))[1] == "Bad Request: file is too big"
        uploads: list[tuple[str, bytes, dict[str, Any]]] = [
            ("document", b"", {"chat_id": ANN}),
            ("photo", b"no picture", {"chat_id": ANN}),
            ("document", b"x", {"chat_id": ANN, "caption": "x" * 1025}),
        ]
        refusals = [
            (await bot.upload(f"send{kind}", kind, content, **fields)).json()["description"]
            for kind, content, fields in uploads
        ]
        assert refusals == [
            "Bad Request: file must be non-empty",
            "Bad Request: IMAGE_PROCESS_FAILED",
            "Bad Request: message caption is too long",
        ]


async def test_more_than_the_rate_is_told_when_to_come_again() -> None:
    async with running() as (telegram, bot):
        telegram.opens_private(55)
        telegram.limits(per_chat=1, overall=30)
        assert await bot.call("sendMessage", chat_id=ANN, text="one")
        assert await bot.call("sendMessage", chat_id=55, text="one")
        answer = await bot.ask("sendMessage", chat_id=ANN, text="two")
        assert (answer.status_code, answer.json()["parameters"]) == (429, {"retry_after": 1})
        assert [seen.text for seen in telegram.heard(ANN)] == ["one"]


async def test_a_group_takes_twenty_messages_a_minute() -> None:
    async with running() as (telegram, bot):
        telegram.opens_chat(GROUP, kind="group")
        telegram.limits(per_chat=None, overall=None)
        for number in range(20):
            await bot.call("sendMessage", chat_id=GROUP, text=str(number))
        answer = await bot.ask("sendMessage", chat_id=GROUP, text="20")
        assert answer.status_code == 429
        assert 50 < answer.json()["parameters"]["retry_after"] <= 60
        assert await bot.call("sendMessage", chat_id=ANN, text="not a group")


async def test_faults_come_as_often_as_they_are_ordered() -> None:
    async with running() as (telegram, bot):
        telegram.fails("sendMessage", status=429, retry_after=7)
        telegram.fails("sendMessage", status=502)
        telegram.loses_requests("sendMessage")
        telegram.loses_answers("sendMessage")
        limited = await bot.ask("sendMessage", chat_id=ANN, text="1")
        assert limited.json()["parameters"] == {"retry_after": 7}
        assert limited.headers["retry-after"] == "7"
        gateway = await bot.ask("sendMessage", chat_id=ANN, text="2")
        assert (gateway.status_code, gateway.headers["content-type"][:9]) == (502, "text/html")
        for text in ("3", "4"):
            with pytest.raises(httpx.ReadError):
                await bot.ask("sendMessage", chat_id=ANN, text=text)
        assert await bot.call("sendMessage", chat_id=ANN, text="5")
        assert [seen.text for seen in telegram.heard(ANN)] == ["4", "5"]
        assert [call.status for call in telegram.called("sendmessage")] == [429, 502, 0, 0, 200]


async def test_a_held_request_has_not_acted_yet() -> None:
    async with running() as (telegram, bot), trio.open_nursery() as nursery:
        hold = telegram.holds("sendMessage")

        async def send() -> None:
            await bot.call("sendMessage", chat_id=ANN, text="held")

        nursery.start_soon(send)
        await hold.reached.wait()
        assert telegram.heard(ANN) == []
        hold.released.set()
        await telegram.pulse.until(lambda: len(telegram.heard(ANN)) == 1)


async def test_telegram_may_be_away_and_come_back_with_what_was_said() -> None:
    async with running() as (telegram, bot):
        await telegram.down()
        with pytest.raises(httpx.ConnectError):
            await bot.call("getMe")
        telegram.user_says(ANN, ANN, "meanwhile")
        await telegram.up()
        assert len(await bot.call("getUpdates")) == 1


async def test_a_webhook_gets_each_chat_in_order_and_again_until_it_says_yes() -> None:
    heard: list[tuple[str | None, str]] = []
    refusing = {"1"}

    async def hook(request: Request) -> Response:
        update = await request.json()
        text = update["message"]["text"]
        heard.append((request.headers.get("x-telegram-bot-api-secret-token"), text))
        if text in refusing:
            refusing.discard(text)
            return Response(status_code=500)
        return Response()

    app = Starlette(routes=[Route("/hook", hook, methods=["POST"])])
    async with running() as (telegram, bot), open_web(app) as server:
        for chat, text in ((ANN, "1"), (ANN, "2"), (55, "other")):
            telegram.user_says(chat, chat, text)
        await bot.call("setWebhook", url=f"{server.url}/hook", secret_token="s-3_x")
        await telegram.pulse.until(lambda: telegram.updates_pending == 0)
        assert {secret for secret, _ in heard} == {"s-3_x"}
        assert [text for _, text in heard if text != "other"] == ["1", "1", "2"]
        info = await bot.call("getWebhookInfo")
        assert (info["pending_update_count"], "500" in info["last_error_message"]) == (0, True)


async def test_a_webhook_must_be_secure_and_its_secret_plain() -> None:
    async with running() as (_, bot):
        assert (await bot.refused("setWebhook", url="http://example.com/hook"))[0] == 400
        url = "https://example.com/hook"
        assert (await bot.refused("setWebhook", url=url, secret_token="a b"))[0] == 400
        assert (await bot.refused("setWebhook", url=url, secret_token="a" * 257))[0] == 400


@pytest.mark.slow
async def test_a_telegram_that_was_killed_comes_back_with_its_world(tmp_path: Path) -> None:
    async with open_remote("tests.peers.telegram_fake", tmp_path / "world") as telegram:
        await telegram.call("user_sends", chat=ANN, user=ANN, content=b"\x00x", caption="keep")
        await telegram.until(lambda pending: pending == 1, "pending")
        await telegram.kill()
        await telegram.start()
        assert await telegram.call("pending") == 1
        (seen,) = await telegram.call("seen", chat=ANN)
        assert seen["text"] == "keep"
        assert telegram.content(seen["file"]["content"]) == b"\x00x"
