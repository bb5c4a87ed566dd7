"""What a program is called with, and what its answers mean."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from turnkeeper import Address, Outbound, Rejected, Unreachable
from turnkeeper.actors.messages import DeliveryId, Instance
from turnkeeper.channels.base import ChannelError, LostAnswer
from turnkeeper.channels.webhook import WebhookChannel
from turnkeeper.testing import Failure

from .webhook_program import IN, OLD, OUT, Program, digest, make_webhook, open_program

WH = Instance("wh")


def say(said: str = "hello", **more: Any) -> Outbound:
    given: dict[str, Any] = {
        "delivery_id": DeliveryId("s1/7"),
        "address": Address(WH, "c", "t"),
        **more,
    }
    return Outbound(text=said, **given)


@asynccontextmanager
async def speaking(**keys: Any) -> AsyncGenerator[tuple[Program, WebhookChannel]]:
    async with open_program() as program:
        yield program, make_webhook(program, "wh", **keys)


async def test_a_message_is_told_signed_with_the_id_of_its_part() -> None:
    async with speaking(outbound_old_secret=OLD) as (program, channel):
        receipt = await channel.send(say(reply_to="m1", part=2, parts=2))
        ((headers, body),) = program.calls
    assert receipt.platform_message_id == "p-s1/7:2"
    assert json.loads(body) == {
        "type": "message",
        "instance": "wh",
        "delivery_id": "s1/7",
        "conversation": "c",
        "thread": "t",
        "text": "hello",
        "reply_to": "m1",
        "part": 2,
        "parts": 2,
        "resend": False,
    }
    stamp = headers["webhook-timestamp"]
    assert headers["webhook-id"] == "s1/7:2"
    assert headers["webhook-signature"].split(" ") == [
        f"v1,{digest(secret, 's1/7:2', stamp, body)}" for secret in (OUT, OLD)
    ]
    assert headers["content-type"] == "application/json"


async def test_path_and_query_of_the_url_are_kept() -> None:
    async with open_program() as program:
        for path in ("/in/a%20place?key=1&b=%26", "/in/x/", "/in/{braces}%2F//y"):
            channel = make_webhook(program, "wh", outbound_url=program.server.url + path)
            await channel.send(say())
    assert program.paths == ["/in/a%20place?key=1&b=%26", "/in/x/?", "/in/%7Bbraces%7D%2F//y?"]


async def test_an_answer_without_an_id_is_a_receipt_too() -> None:
    async with speaking() as (program, channel):
        program.says_ids = False
        assert (await channel.send(say())).platform_message_id == "s1/7"


@pytest.mark.parametrize(
    ("kind", "error", "reason"),
    [
        ("gone", Rejected, "gone"),
        ("unauthorized", Rejected, "unauthorized"),
        ("forbidden", Rejected, "forbidden"),
        ("rate_limited", Unreachable, "rate_limited"),
        ("unreachable", Unreachable, "channel_down"),
        ("server_error", LostAnswer, None),
        ("lost_answer", LostAnswer, None),
    ],
)
async def test_what_the_program_answers_is_what_becomes_of_it(
    kind: Any, error: type[ChannelError], reason: str | None
) -> None:
    async with speaking() as (program, channel):
        await program.fail_next(Failure(kind=kind, retry_after_s=0.5))
        began = trio.current_time()
        with pytest.raises(error) as raised:
            await channel.send(say())
        assert getattr(raised.value, "reason", None) == reason
        assert "place" not in str(raised.value)
        await channel.send(say())
        assert kind != "rate_limited" or trio.current_time() - began >= 0.5
    assert len(program.held) == 1


async def test_a_program_that_is_not_there_was_not_reached() -> None:
    async with speaking() as (program, channel):
        await program.server.down()
        with pytest.raises(Unreachable):
            await channel.send(say())


async def test_redirects_are_not_followed() -> None:
    async with speaking() as (program, channel):
        program.redirects_to = f"{program.server.url}/in/elsewhere"
        with pytest.raises(Unreachable) as raised:
            await channel.send(say())
        assert raised.value.reason == "redirected"
    assert len(program.calls) == 1


async def test_without_a_url_nothing_is_said() -> None:
    channel = WebhookChannel("wh", secret=IN)
    with pytest.raises(Rejected) as raised:
        await channel.send(say())
    assert raised.value.reason == "no_url"
    (check,) = await channel.probe()
    assert check.ok


def test_instances_with_the_same_secret_are_the_same_account() -> None:
    one, other = WebhookChannel("a", secret=IN), WebhookChannel("b", secret=OLD)
    assert one.account == WebhookChannel("c", secret=IN).account != other.account
    assert not one.exposed
