"""The two Slacks are held to what slack_sdk, which nobody here wrote, makes of them."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .places import CHECKOUT, peers_python
from .programs import Program, open_program
from .slack_fake import SlackFake, open_slack_fake
from .slack_local import SlackLocal, open_slack
from .web import Pulse, open_web

BOT = CHECKOUT / "tests" / "peers" / "asyncio_clients" / "slack_bot.py"

Slack: TypeAlias = SlackFake | SlackLocal


@asynccontextmanager
async def a_slack(kind: str, folder: Path) -> AsyncGenerator[Slack]:
    """The fake of our own, or the local one of others."""
    if kind == "fake":
        async with open_slack_fake() as fake:
            yield fake
    else:
        async with open_slack(folder) as local:
            yield local


@asynccontextmanager
async def a_bot(slack: Slack) -> AsyncGenerator[Program]:
    """slack_sdk in Socket Mode."""
    where = (slack.url, slack.bot_token, slack.app_token)
    async with open_program([peers_python(), BOT, *where]) as bot:
        await bot.until_line(lambda line: line == "connected")
        await slack.until_connected()
        yield bot


both = pytest.mark.parametrize("kind", ["fake", "local"])


@pytest.mark.slow
@both
async def test_slack_sdk_hears_and_answers_in_the_thread(tmp_path: Path, kind: str) -> None:
    async with a_slack(kind, tmp_path) as slack, a_bot(slack):
        ada = await slack.add_user("Ada")
        question = await slack.user_says(slack.general, ada, "hello")
        seen = await slack.until_seen(slack.general, lambda seen: len(seen) == 2)
        assert (seen[1].text, seen[1].user, seen[1].thread) == (
            "heard: hello",
            slack.bot,
            question,
        )
        again = await slack.user_says(slack.general, ada, "more", thread_ts=question)
        seen = await slack.until_seen(slack.general, lambda seen: len(seen) == 4)
        assert (seen[2].message_id, seen[3].thread) == (again, question)


@pytest.mark.slow
@both
async def test_slack_sdk_talks_in_private(tmp_path: Path, kind: str) -> None:
    async with a_slack(kind, tmp_path) as slack, a_bot(slack):
        ada = await slack.add_user("Ada")
        alone = await slack.dm(ada)
        await slack.user_says(alone, ada, "psst")
        seen = await slack.until_seen(alone, lambda seen: len(seen) == 2)
        assert seen[1].text == "heard: psst"


@pytest.mark.slow
@both
async def test_slack_sdk_sends_and_reads_files(tmp_path: Path, kind: str) -> None:
    async with a_slack(kind, tmp_path) as slack, a_bot(slack):
        ada = await slack.add_user("Ada")
        await slack.user_says(slack.general, ada, "see", files=[("note.txt", b"read me")])
        seen = await slack.until_seen(slack.general, lambda seen: len(seen) == 2)
        assert seen[1].text == "heard: see note.txt=b'read me'"
        await slack.user_says(slack.general, ada, "file")
        seen = await slack.until_seen(slack.general, lambda seen: len(seen) == 4)
        (file,) = seen[3].files
        assert (file.name, await slack.download(file)) == ("sent.txt", b"sent")


@pytest.mark.slow
@both
async def test_slack_sdk_edits_and_hears_of_edits_and_deletions(tmp_path: Path, kind: str) -> None:
    async with a_slack(kind, tmp_path) as slack, a_bot(slack) as bot:
        ada = await slack.add_user("Ada")
        await slack.user_says(slack.general, ada, "draft")
        seen = await slack.until_seen(
            slack.general, lambda seen: len(seen) == 2 and seen[1].text == "draft"
        )
        assert seen[1].edited
        message = await slack.user_says(slack.general, ada, "wink")
        await slack.edits(slack.general, message, "winked")
        await bot.until_line(lambda line: "message message_changed" in line)
        await slack.deletes(slack.general, message)
        await bot.until_line(lambda line: "message message_deleted" in line)


@pytest.mark.slow
@both
async def test_slack_sdk_reads_what_was_said_in_a_channel_and_in_a_thread(
    tmp_path: Path, kind: str
) -> None:
    async with a_slack(kind, tmp_path) as slack, a_bot(slack) as bot:
        ada = await slack.add_user("Ada")
        said = [await slack.user_says(slack.general, ada, text) for text in ("r", "a", "b", "c")]
        await slack.user_says(slack.general, ada, "x", thread_ts=said[0])
        for text in ("y", "z"):
            await slack.user_says(slack.general, ada, text, thread_ts=said[0])
        await slack.user_says(slack.general, ada, "of-a", thread_ts=said[1])
        await slack.user_says(slack.general, ada, f"recall {said[0]}")
        channel = await bot.until_line(lambda line: line.startswith("recalled channel"))
        thread = await bot.until_line(lambda line: line.startswith("recalled thread"))
        told = {word.partition("+")[0]: word.partition("+")[2] for word in channel.split()[2:]}
        assert list(told)[-3:] == ["c", "b", "a"]
        assert "x" not in told
        assert int(told["a"]) >= 1
        assert [word.partition("+")[0] for word in thread.split()[2:]] == ["x", "y", "z"]


@pytest.mark.slow
async def test_slack_sdk_is_told_again_what_it_did_not_acknowledge() -> None:
    async with open_slack_fake() as slack, a_bot(slack) as bot:
        slack.deliveries.ack_within_s = 0.2
        ada = await slack.add_user("Ada")
        await slack.user_says(slack.general, ada, "silent")
        await slack.until_seen(slack.general, lambda seen: seen[-1].text == "heard: silent")
        await slack.until_acknowledged()
        told = [line.split() for line in bot.lines if line.startswith("event")]
        same = [words for words in told if words[1] == told[0][1]]
        assert [words[4] for words in same] == ["0", "1"]
        assert slack.deliveries.log[0][1:] == (0, "timeout")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["warning", "refresh_requested", "cut"])
async def test_slack_sdk_comes_back_and_hears_what_it_missed(how: str) -> None:
    async with open_slack_fake() as slack, a_bot(slack):
        ada = await slack.add_user("Ada")
        held = slack.holds("apps.connections.open")
        if how == "cut":
            slack.deliveries.cut()
        else:
            slack.deliveries.disconnect(how)
        await held.reached.wait()
        await slack.user_says(slack.general, ada, "missed")
        held.released.set()
        await slack.until_connected()
        slack.deliveries.retry_now()
        await slack.until_seen(slack.general, lambda seen: seen[-1].text == "heard: missed")


@pytest.mark.slow
async def test_slack_sdk_waits_as_a_rate_limit_says() -> None:
    async with open_slack_fake() as slack, a_bot(slack):
        ada = await slack.add_user("Ada")
        slack.limits("chat.postMessage", retry_after_s=1)
        await slack.user_says(slack.general, ada, "slowly")
        await slack.until_seen(slack.general, lambda seen: seen[-1].text == "heard: slowly")
        sent = [outcome for method, _, outcome in slack.calls if method == "chat.postMessage"]
        assert sent == ["ratelimited", "ok"]


@pytest.mark.slow
async def test_slack_sdk_puts_an_emoji_to_a_message() -> None:
    async with open_slack_fake() as slack, a_bot(slack):
        ada = await slack.add_user("Ada")
        message = await slack.user_says(slack.general, ada, "wink")
        with trio.fail_after(10):
            while not await slack.reactions(slack.general, message):
                await slack.deliveries.changed.wait()
        assert await slack.reactions(slack.general, message) == {"wink": [slack.bot]}


@pytest.mark.slow
@pytest.mark.parametrize("which", ["bot_token", "app_token"])
async def test_slack_sdk_is_refused_with_a_revoked_token(which: str) -> None:
    async with open_slack_fake() as slack:
        await slack.revoke(getattr(slack, which))
        where = (slack.url, slack.bot_token, slack.app_token)
        async with open_program([peers_python(), BOT, *where]) as bot:
            await bot.until_line(lambda line: line == "refused token_revoked")


# What slack_sdk does not try, by hand.


@asynccontextmanager
async def web_api(slack: SlackFake, token: str | None = None) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token or slack.bot_token}"}
    async with httpx.AsyncClient(base_url=slack.url, headers=headers, trust_env=False) as client:
        yield client


async def answer(client: httpx.AsyncClient, method: str, **arguments: Any) -> str:
    """`ok`, or the error."""
    body = (await client.post(method, json=arguments)).json()
    return "ok" if body["ok"] else body["error"]


async def test_errors_are_those_of_slack() -> None:
    async with open_slack_fake() as slack, web_api(slack) as client:
        general = slack.general
        elsewhere = await slack.add_channel("elsewhere", joined=False)
        assert await answer(client, "chat.postMessage", channel="C404", text="x") == (
            "channel_not_found"
        )
        assert await answer(client, "chat.postMessage", channel=elsewhere, text="x") == (
            "not_in_channel"
        )
        assert await answer(client, "chat.postMessage", channel=general) == "no_text"
        sent = (
            await client.post("chat.postMessage", json={"channel": general, "text": "x"})
        ).json()
        update = {"channel": general, "ts": sent["ts"], "text": "x" * 4001}
        assert await answer(client, "chat.update", **update) == "msg_too_long"
        ada = await slack.add_user("Ada")
        hers = await slack.user_says(general, ada, "mine")
        assert await answer(client, "chat.update", channel=general, ts=hers, text="x") == (
            "cant_update_message"
        )
        await slack.archives(general)
        assert await answer(client, "chat.postMessage", channel=general, text="x") == "is_archived"
        slack.scopes.discard("chat:write")
        assert await answer(client, "chat.postMessage", channel=general, text="x") == (
            "missing_scope"
        )
        assert await answer(client, "apps.connections.open") == "not_allowed_token_type"
    async with open_slack_fake() as slack, web_api(slack, "xoxb-unknown") as client:
        assert await answer(client, "auth.test") == "invalid_auth"


async def test_a_text_that_is_too_long_is_cut_with_a_warning() -> None:
    async with open_slack_fake() as slack, web_api(slack) as client:
        long = {"channel": slack.general, "text": "x" * 40_001}
        body = (await client.post("chat.postMessage", json=long)).json()
        assert (body["ok"], body["warning"]) == (True, "message_truncated")
        (seen,) = await slack.seen(slack.general)
        assert len(seen.text) == 40_000


async def test_an_answer_is_lost_after_the_message_was_posted() -> None:
    async with open_slack_fake() as slack, web_api(slack) as client:
        slack.loses_answers("chat.postMessage")
        with pytest.raises(httpx.TransportError):
            await client.post("chat.postMessage", json={"channel": slack.general, "text": "lost"})
        assert [one.text for one in await slack.seen(slack.general)] == ["lost"]


async def test_a_private_file_sends_strangers_to_log_in() -> None:
    async with open_slack_fake() as slack:
        ada = await slack.add_user("Ada")
        await slack.user_says(slack.general, ada, "", files=[("a.txt", b"secret")])
        ((file,),) = [one.files for one in await slack.seen(slack.general)]
        async with httpx.AsyncClient(trust_env=False, follow_redirects=True) as client:
            page = await client.get(file.url)
            assert (page.status_code, b"secret" in page.content) == (200, False)
            mine = {"Authorization": f"Bearer {slack.bot_token}"}
            assert (await client.get(file.url, headers=mine)).content == b"secret"


class Hook:
    """The app's end of the Events API."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self.changed = Pulse()
        self.heard: list[tuple[dict[str, Any], dict[str, str]]] = []
        self.statuses: list[int] = []
        """What to answer, first one first; 200 when there is none."""

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/events", self._hear, methods=["POST"])])

    async def _hear(self, request: Request) -> Response:
        body = await request.body()
        stamp = request.headers["X-Slack-Request-Timestamp"]
        text = b"v0:" + stamp.encode() + b":" + body
        mine = hmac.new(self._secret.encode(), text, hashlib.sha256).hexdigest()
        assert request.headers["X-Slack-Signature"] == f"v0={mine}"
        payload = json.loads(body)
        if payload["type"] == "url_verification":
            return JSONResponse({"challenge": payload["challenge"]})
        self.heard.append((payload, dict(request.headers)))
        self.changed.beat()
        return Response(status_code=self.statuses.pop(0) if self.statuses else 200)


async def test_the_events_api_posts_signed_events_again_until_they_are_taken() -> None:
    async with open_slack_fake() as slack:
        hook = Hook(slack.signing_secret)
        async with open_web(hook.app()) as server:
            assert await slack.events_to(f"{server.url}/events")
            slack.deliveries.waits_s = (0.0, 0.0, 0.0)
            hook.statuses = [500, 503]
            ada = await slack.add_user("Ada")
            await slack.user_says(slack.general, ada, f"<@{slack.bot}> hello")
            await slack.until_acknowledged()
        first, *_ = [payload["event_id"] for payload, _ in hook.heard]
        retries = [
            (headers.get("x-slack-retry-num"), headers.get("x-slack-retry-reason"))
            for payload, headers in hook.heard
            if payload["event_id"] == first
        ]
        kinds = {payload["event"]["type"] for payload, _ in hook.heard}
        assert kinds == {"message", "app_mention"}
        assert retries[:2] == [(None, None), ("1", "http_error")]


@pytest.mark.slow
async def test_the_local_slack_of_others_posts_signed_events_too(tmp_path: Path) -> None:
    hook = Hook(SlackLocal.signing_secret)
    async with (
        open_web(hook.app()) as server,
        open_slack(tmp_path, events_to=f"{server.url}/events") as slack,
    ):
        ada = await slack.add_user("Ada")
        message = await slack.user_says(slack.general, ada, "hello")
        with trio.fail_after(10):
            while not hook.heard:
                await hook.changed.wait()
        (payload, _headers), *_ = hook.heard
        assert (payload["event"]["ts"], payload["event"]["text"]) == (message, "hello")


async def test_an_event_is_given_up_after_three_more_tries() -> None:
    async with open_slack_fake() as slack:
        hook = Hook(slack.signing_secret)
        async with open_web(hook.app()) as server:
            assert await slack.events_to(f"{server.url}/events")
            slack.deliveries.waits_s = (0.0, 0.0, 0.0)
            hook.statuses = [500] * 9
            ada = await slack.add_user("Ada")
            await slack.user_says(slack.general, ada, "hello")
            await slack.until_acknowledged()
        assert len(hook.heard) == 4


async def test_history_is_read_after_a_time_in_pages() -> None:
    async with open_slack_fake() as slack, web_api(slack) as client:
        ada = await slack.add_user("Ada")
        times = [await slack.user_says(slack.general, ada, str(n)) for n in range(4)]
        asked = {"channel": slack.general, "oldest": times[0], "limit": 2}
        page = (await client.post("conversations.history", json=asked)).json()
        assert [message["text"] for message in page["messages"]] == ["3", "2"]
        assert page["has_more"]
        cursor = page["response_metadata"]["next_cursor"]
        rest = (await client.post("conversations.history", json={**asked, "cursor": cursor})).json()
        assert [message["text"] for message in rest["messages"]] == ["1"]


async def test_each_kind_of_channel_is_read_with_a_scope_of_its_own() -> None:
    async with open_slack_fake() as slack, web_api(slack) as client:
        ada = await slack.add_user("Ada")
        places = {
            "channels:history": slack.general,
            "groups:history": await slack.add_channel("private", private=True),
            "im:history": await slack.dm(ada),
        }
        for scope, place in places.items():
            assert await answer(client, "conversations.history", channel=place) == "ok"
            slack.scopes.discard(scope)
            assert await answer(client, "conversations.history", channel=place) == "missing_scope"
        elsewhere = await slack.add_channel("elsewhere", joined=False)
        slack.scopes.add("channels:history")
        assert await answer(client, "conversations.history", channel=elsewhere) == "not_in_channel"
        replies = {"channel": slack.general, "ts": "1.000001"}
        assert await answer(client, "conversations.replies", **replies) == "thread_not_found"


async def test_a_thread_is_read_with_its_first_message_on_every_page() -> None:
    async with open_slack_fake() as slack, web_api(slack) as client:
        slack.longest_page = 2
        ada = await slack.add_user("Ada")
        root = await slack.user_says(slack.general, ada, "root")
        for number in range(3):
            await slack.user_says(slack.general, ada, str(number), thread_ts=root)
        asked = {"channel": slack.general, "ts": root, "oldest": root, "limit": 200}
        page = (await client.post("conversations.replies", json=asked)).json()
        assert [message["text"] for message in page["messages"]] == ["root", "0", "1"]
        assert (page["messages"][0]["reply_count"], page["has_more"]) == (3, True)
        cursor = page["response_metadata"]["next_cursor"]
        rest = (await client.post("conversations.replies", json={**asked, "cursor": cursor})).json()
        assert [message["text"] for message in rest["messages"]] == ["root", "2"]
        assert rest["messages"][1]["parent_user_id"] == ada
