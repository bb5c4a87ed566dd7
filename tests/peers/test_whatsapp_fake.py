"""The fake WhatsApp refuses, signs, batches, repeats and breaks as the Cloud API does."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .remote import open_remote
from .web import open_web
from .whatsapp_fake import WhatsApp, open_whatsapp

ANN = "16505551234"
BOB = "491751234567"
VERIFY = "a verify token"


class Business:
    """A client which says nothing of its own, and a webhook which takes down what it is posted."""

    def __init__(self, whatsapp: WhatsApp, client: httpx.AsyncClient) -> None:
        self.whatsapp = whatsapp
        self.client = client
        self.posted: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        self.unsigned: list[bytes] = []
        self.refusals: list[int] = []
        """The statuses that the next posts are answered by."""

    @property
    def address(self) -> str:
        return f"{self.whatsapp.url}/v23.0/{self.whatsapp.world.phone_id}"

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.whatsapp.world.token}"}

    async def ask(self, **body: Any) -> httpx.Response:
        asked = {"messaging_product": "whatsapp", "to": ANN, **body}
        return await self.client.post(
            f"{self.address}/messages", json=asked, headers=self.headers()
        )

    async def says(self, text: str, **body: Any) -> str:
        """The id of a message that is expected to be taken."""
        answer = await self.ask(type="text", text={"body": text}, **body)
        assert answer.status_code == 200, answer.text
        message_id: str = answer.json()["messages"][0]["id"]
        return message_id

    async def refused(self, **body: Any) -> tuple[int, int, str]:
        """Status, code and message of a refusal."""
        answer = await self.ask(**body)
        error = answer.json()["error"]
        assert error["fbtrace_id"]
        return answer.status_code, error["code"], error["message"]

    async def upload(self, content: bytes, mime: str) -> httpx.Response:
        return await self.client.post(
            f"{self.address}/media",
            data={"messaging_product": "whatsapp", "type": mime},
            files={"file": ("Ä name.txt", content, mime)},
            headers=self.headers(),
        )

    async def hook(self, request: Request) -> Response:
        if request.method == "GET":
            asked = request.query_params
            if asked["hub.verify_token"] != VERIFY or asked["hub.mode"] != "subscribe":
                return Response(status_code=403)
            return Response(asked["hub.challenge"])
        raw = await request.body()
        self.raw.append(raw)
        secret = self.whatsapp.world.app_secret.encode()
        wanted = f"sha256={hmac.new(secret, raw, hashlib.sha256).hexdigest()}"
        if request.headers.get("x-hub-signature-256") != wanted:
            self.unsigned.append(raw)
            return Response(status_code=401)
        if self.refusals:
            return Response(status_code=self.refusals.pop(0))
        self.posted.append(json.loads(raw))
        return Response()

    def values(self) -> list[dict[str, Any]]:
        """What was posted, change by change."""
        return [
            change["value"]
            for body in self.posted
            for entry in body["entry"]
            for change in entry["changes"]
        ]

    def texts(self) -> list[str]:
        """The texts that people wrote, as they were told."""
        return [message["text"]["body"] for value in self.values() for message in value["messages"]]

    def statuses(self) -> list[str]:
        """What has become of messages, as it was told."""
        return [each["status"] for value in self.values() for each in value.get("statuses", ())]

    async def told(self) -> None:
        """Wait until nothing is left to tell."""
        await self.whatsapp.pulse.until(lambda: self.whatsapp.posts_pending == 0)


@asynccontextmanager
async def running(*, open_to: str = ANN) -> AsyncGenerator[tuple[WhatsApp, Business]]:
    async with (
        open_whatsapp() as whatsapp,
        httpx.AsyncClient(trust_env=False, timeout=20) as client,
    ):
        business = Business(whatsapp, client)
        routes = [Route("/hook", business.hook, methods=["GET", "POST"])]
        async with open_web(Starlette(routes=routes)) as server:
            assert await whatsapp.subscribe(f"{server.url}/hook", VERIFY)
            if open_to:
                whatsapp.opens_window(open_to)
            yield whatsapp, business


async def test_a_webhook_that_fails_the_challenge_is_not_taken() -> None:
    async with running() as (whatsapp, _):
        url = whatsapp.world.webhook.url
        assert not await whatsapp.subscribe(url, "another token")
        assert not await whatsapp.subscribe(f"{url}/elsewhere", VERIFY)
        assert whatsapp.world.webhook.url == url


async def test_a_text_is_told_with_who_wrote_it_and_what_it_answers() -> None:
    async with running() as (whatsapp, business):
        user_id = whatsapp.adds_user(ANN, "Ann", username="ann.lee")
        mine = await business.says("hello")
        asked = whatsapp.user_says(ANN, "Ünïcode/🙂", reply_to=mine)
        await business.told()
        (value,) = [value for value in business.values() if "messages" in value]
        assert value["metadata"]["phone_number_id"] == whatsapp.world.phone_id
        assert value["contacts"] == [
            {"profile": {"name": "Ann", "username": "ann.lee"}, "user_id": user_id, "wa_id": ANN}
        ]
        (message,) = value["messages"]
        assert (message["id"], message["from"], message["type"]) == (asked, ANN, "text")
        assert message["text"] == {"body": "Ünïcode/🙂"}
        assert message["context"] == {"from": whatsapp.world.phone, "id": mine}


async def test_what_is_signed_are_the_bytes_and_not_what_they_mean() -> None:
    async with running() as (whatsapp, business):
        whatsapp.user_says(ANN, "ä/b")
        await business.told()
        assert b"\\u00e4\\/b" in business.raw[-1]


async def test_somebody_who_hides_the_number_is_known_by_another_id() -> None:
    async with running() as (whatsapp, business):
        user_id = whatsapp.adds_user(BOB, "Bob", username="bob", hides_number=True)
        whatsapp.user_says(BOB, "hi")
        await business.told()
        (value,) = business.values()
        assert "wa_id" not in value["contacts"][0]
        assert "from" not in value["messages"][0]
        assert value["messages"][0]["from_user_id"] == user_id
        await business.says("hi Bob", to=None, recipient=user_id)
        assert [seen.text for seen in whatsapp.heard(BOB)] == ["hi Bob"]


async def test_every_kind_of_message_is_told() -> None:
    async with running() as (whatsapp, business):
        first = whatsapp.user_says(ANN, "first")
        whatsapp.user_sends(ANN, b"img", kind="image", mime="image/jpeg", caption="look")
        whatsapp.user_sends(ANN, b"ogg", kind="audio", mime="audio/ogg; codecs=opus", voice=True)
        whatsapp.user_sends(ANN, b"doc", name="a.pdf", mime="application/pdf")
        whatsapp.user_shares(ANN, "location", {"latitude": 1.0, "longitude": 2.0})
        whatsapp.reacts(ANN, first, "👍")
        whatsapp.edits(ANN, first, "First")
        whatsapp.deletes(ANN, first)
        whatsapp.user_sends_what_nobody_knows(ANN)
        whatsapp.user_says(ANN, "in a group", group="group-1")
        whatsapp.number_changes(ANN, "16505550000")
        await business.told()
        messages = [message for value in business.values() for message in value["messages"]]
        assert [message["type"] for message in messages] == [
            "text",
            "image",
            "audio",
            "document",
            "location",
            "reaction",
            "edit",
            "revoke",
            "unsupported",
            "text",
            "system",
        ]
        assert messages[1]["image"]["caption"] == "look"
        assert messages[2]["audio"]["voice"] is True
        assert messages[3]["document"]["filename"] == "a.pdf"
        assert messages[6]["edit"]["original_message_id"] == first
        assert messages[8]["errors"][0]["code"] == 131051
        assert messages[9]["group_id"] == "group-1"
        assert messages[10]["system"]["wa_id"] == "16505550000"


async def test_what_is_sent_is_seen_and_its_fate_is_told() -> None:
    async with running() as (whatsapp, business):
        await business.says("hello", context={"message_id": whatsapp.user_says(ANN, "hi")})
        await business.told()
        whatsapp.reads(ANN)
        await business.told()
        assert business.statuses() == ["sent", "delivered", "read"]
        (seen,) = whatsapp.heard(ANN)
        assert (seen.text, seen.status) == ("hello", "read")
        assert seen.reply_to == whatsapp.seen(ANN)[0].message_id


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({"type": "text", "text": {"body": ""}}, 100),
        ({"type": "text", "text": {"body": "x" * 4097}}, 100),
        ({"type": "text"}, 131008),
        ({"type": "poem", "poem": {}}, 100),
        ({"type": "text", "text": {"body": "x"}, "messaging_product": "sms"}, 100),
        ({"type": "text", "text": {"body": "x"}, "to": "nobody"}, 131009),
        ({"type": "text", "text": {"body": "x"}, "to": "+1 555 078 3881"}, 131021),
        ({"type": "text", "text": {"body": "x"}, "context": {"message_id": "1"}}, 131009),
        ({"type": "image", "image": {"id": "1"}}, 100),
        ({"type": "image", "image": {}}, 131009),
        ({"type": "audio", "audio": {"link": "https://a.example", "caption": "x"}}, 100),
        ({"type": "image", "image": {"link": "https://a.example", "caption": "x" * 1025}}, 100),
        ({"type": "template", "template": {"name": "x", "language": {"code": "de"}}}, 132001),
        ({"type": "reaction", "reaction": {"message_id": "wamid.x", "emoji": "x"}}, 131009),
        ({"status": "read", "message_id": "wamid.x"}, 131009),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_its_code(
    body: dict[str, Any], refusal: int
) -> None:
    async with running() as (whatsapp, business):
        _, code, message = await business.refused(**body)
        assert (code, message.startswith(f"(#{refusal}) ")) == (refusal, True)
        assert whatsapp.seen(ANN) == []


async def test_who_asks_must_have_the_token_and_the_number() -> None:
    async with running() as (whatsapp, business):
        address = f"{business.address}/messages"
        stranger = await business.client.post(address, json={}, headers={"authorization": "x"})
        assert (stranger.status_code, stranger.json()["error"]["code"]) == (401, 190)
        other = await business.client.post(
            f"{whatsapp.url}/v23.0/1/messages", json={}, headers=business.headers()
        )
        error = other.json()["error"]
        assert (other.status_code, error["code"], error["error_subcode"]) == (400, 100, 33)
        number = await business.client.get(
            business.address, params={"fields": "verified_name"}, headers=business.headers()
        )
        assert number.json() == {"id": whatsapp.world.phone_id, "verified_name": "Keeper"}


async def test_after_a_day_of_silence_only_templates_arrive() -> None:
    async with running() as (whatsapp, business):
        whatsapp.user_says(ANN, "hi")
        whatsapp.time_passes(24 * 3600 + 1)
        await business.says("are you there?")
        template = {"name": "hello_world", "language": {"code": "en_US"}}
        assert (await business.ask(type="template", template=template)).status_code == 200
        await business.told()
        assert business.statuses() == ["failed", "sent", "delivered"]
        (failed,) = [value for value in business.values() if "statuses" in value][:1]
        assert failed["statuses"][0]["errors"][0]["code"] == 131047
        assert [seen.kind for seen in whatsapp.heard(ANN)] == ["template"]


async def test_who_has_no_whatsapp_or_has_blocked_the_business_gets_nothing() -> None:
    async with running() as (whatsapp, business):
        whatsapp.blocks(ANN)
        await business.says("hello")
        whatsapp.unregisters(ANN)
        await business.says("hello")
        await business.told()
        assert business.statuses() == ["sent", "failed"]
        assert business.values()[-1]["statuses"][0]["errors"][0]["code"] == 131026


async def test_reading_marks_all_earlier_messages_and_typing_ends_with_the_answer() -> None:
    async with running() as (whatsapp, business):
        first, second = whatsapp.user_says(ANN, "one"), whatsapp.user_says(ANN, "two")
        marked = await business.ask(
            status="read", message_id=second, typing_indicator={"type": "text"}
        )
        assert marked.json() == {"success": True}
        assert whatsapp.is_read(first)
        assert whatsapp.typing(ANN)
        await business.says("three")
        assert not whatsapp.typing(ANN)


async def test_media_go_out_and_come_in() -> None:
    async with running() as (whatsapp, business):
        uploaded = (await business.upload(b"abc", "text/plain")).json()["id"]
        await business.ask(type="document", document={"id": uploaded, "caption": "c"})
        (seen,) = whatsapp.heard(ANN)
        assert seen.file is not None
        assert (seen.file.content, seen.file.name, seen.text) == (b"abc", "Ä name.txt", "c")

        whatsapp.user_sends(ANN, b"\x00x", name="in.bin", mime="application/pdf")
        await business.told()
        told = business.values()[-1]["messages"][0]["document"]
        node = f"{whatsapp.url}/v23.0/{told['id']}"
        known = (await business.client.get(node, headers=business.headers())).json()
        assert (known["file_size"], known["mime_type"]) == (2, "application/pdf")
        assert (await business.client.get(known["url"])).status_code == 401
        file = await business.client.get(known["url"], headers=business.headers())
        assert file.content == b"\x00x"

        whatsapp.expired.add(told["id"])
        late = await business.client.get(known["url"], headers=business.headers())
        assert late.status_code == 404
        await business.client.get(node, headers=business.headers())
        again = await business.client.get(known["url"], headers=business.headers())
        assert again.content == b"\x00x"


async def test_media_that_whatsapp_does_not_take_are_refused() -> None:
    async with running() as (_, business):
        wrong = (await business.upload(b"x", "application/x-thing")).json()["error"]
        large = (await business.upload(bytes(5 * 1024 * 1024 + 1), "image/png")).json()["error"]
        assert (wrong["code"], large["code"]) == (100, 131053)


async def test_a_post_comes_again_until_it_is_answered_by_200() -> None:
    async with running() as (whatsapp, business):
        business.refusals = [500, 201, 302]
        whatsapp.user_says(ANN, "hi")
        await business.told()
        assert business.texts() == ["hi"]
        assert whatsapp.hook.statuses == [500, 201, 302, 200]


async def test_posts_may_hold_many_changes_in_any_order_more_than_once() -> None:
    async with running() as (whatsapp, business):
        whatsapp.pauses()
        for number in range(7):
            whatsapp.user_says(ANN, str(number))
        whatsapp.resumes(per_post=4, order="reversed", copies=2)
        await business.told()
        assert business.texts() == list("6543" * 2 + "210" * 2)
        (first, *_) = business.posted
        assert [len(entry["changes"]) for entry in first["entry"]] == [2, 1]
        assert len(first["entry"][0]["changes"][1]["value"]["messages"]) == 2


async def test_a_post_may_be_unsigned_or_signed_by_another() -> None:
    async with running() as (whatsapp, business):
        whatsapp.hook.secret = ""
        whatsapp.user_says(ANN, "hi")
        await whatsapp.pulse.until(lambda: len(whatsapp.hook.statuses) == 1)
        whatsapp.hook.secret = "another"
        await whatsapp.pulse.until(lambda: len(whatsapp.hook.statuses) == 2)
        whatsapp.hook.secret = None
        await business.told()
        assert len(business.unsigned) == 2
        assert business.texts() == ["hi"]


async def test_more_than_the_rate_is_refused_by_pair_and_overall() -> None:
    async with running() as (whatsapp, business):
        whatsapp.opens_window(BOB)
        whatsapp.limits(per_pair=1 / 6, overall=None)
        await business.says("one")
        await business.says("one", to=BOB)
        assert (await business.refused(type="text", text={"body": "two"}))[:2] == (400, 131056)
        whatsapp.limits(per_pair=None, overall=1)
        await business.says("two")
        assert (await business.refused(type="text", text={"body": "x"}))[:2] == (400, 130429)


async def test_faults_come_as_often_as_they_are_ordered() -> None:
    async with running() as (whatsapp, business):
        whatsapp.fails("messages", code=190, subcode=463)
        whatsapp.fails("messages", code=131016)
        whatsapp.fails("messages", status=502)
        whatsapp.loses_requests("messages")
        whatsapp.loses_answers("messages")
        text = {"body": "x"}
        assert (await business.refused(type="text", text=text))[:2] == (401, 190)
        assert (await business.refused(type="text", text=text))[:2] == (503, 131016)
        assert (await business.ask(type="text", text=text)).status_code == 502
        for body in ("lost", "kept"):
            with pytest.raises(httpx.ReadError):
                await business.says(body)
        await business.says("last")
        assert [seen.text for seen in whatsapp.heard(ANN)] == ["kept", "last"]
        assert [call.status for call in whatsapp.called("messages")] == [401, 503, 502, 0, 0, 200]


async def test_whatsapp_may_be_away_and_posts_go_on() -> None:
    async with running() as (whatsapp, business):
        await whatsapp.down()
        with pytest.raises(httpx.ConnectError):
            await business.says("hi")
        whatsapp.user_says(ANN, "meanwhile")
        await business.told()
        await whatsapp.up()
        await business.says("hi")


@pytest.mark.slow
async def test_a_whatsapp_that_was_killed_comes_back_with_its_world(tmp_path: Path) -> None:
    async with open_remote("tests.peers.whatsapp_fake", tmp_path / "world") as whatsapp:
        await whatsapp.call("user_sends", user=ANN, content=b"\x00x", caption="keep")
        await whatsapp.kill()
        await whatsapp.start()
        assert await whatsapp.call("pending") == 1
        (seen,) = await whatsapp.call("seen", user=ANN)
        assert seen["text"] == "keep"
        assert whatsapp.content(seen["file"]["content"]) == b"\x00x"
