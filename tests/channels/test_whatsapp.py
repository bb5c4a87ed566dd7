"""The WhatsApp channel beyond what every channel must do, against a WhatsApp of our own."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
import pytest
import trio

from turnkeeper import (
    AccessDenied,
    Address,
    InboundTurn,
    Outbound,
    OutboundFile,
    Overloaded,
    Rejected,
    Unreachable,
)
from turnkeeper.actors.messages import DeliveryId, Instance
from turnkeeper.channels.base import LostAnswer
from turnkeeper.channels.limiter import Rate
from turnkeeper.channels.whatsapp import WhatsAppChannel
from turnkeeper.channels.whatsapp_api import SendRates
from turnkeeper.config_tables import ChannelConfig, ConfigError
from turnkeeper.kinds import make_channel

from ..peers.whatsapp_fake import WhatsApp
from ..peers.whatsapp_fake_hook import packed, raw_body, signature
from ..peers.whatsapp_fake_methods import Methods
from .hooked import PATH, Runtime, hooked, post_raw
from .whatsapp_platform import ANN, BEN, VERIFY, make_whatsapp, open_whatsapp_wire

WA: Final = Instance("wa")
JPEG: Final = b"\xff\xd8\xff\xe0 rest"
GOOD: Final[dict[str, Any]] = {
    "token": "EAAtoken",
    "phone_number_id": "1065",
    "app_secret": "0123456789abcdef",
    "verify_token": "a verify token",
}


@asynccontextmanager
async def hearing(
    runtime: Runtime | None = None, **keys: Any
) -> AsyncGenerator[tuple[WhatsApp, WhatsAppChannel, Runtime, httpx.AsyncClient]]:
    """A channel that hears; its platform keeps what is said until it is subscribed."""
    keys.setdefault("check_s", 300.0)
    async with open_whatsapp_wire() as wire:
        channel = make_whatsapp(wire, "wa", **keys)
        async with hooked(channel, runtime) as (runtime_, client):
            yield wire.whatsapp, channel, runtime_, client


@asynccontextmanager
async def subscribed(
    runtime: Runtime | None = None, **keys: Any
) -> AsyncGenerator[tuple[WhatsApp, WhatsAppChannel, Runtime]]:
    async with hearing(runtime, **keys) as (whatsapp, channel, runtime_, _):
        assert channel.hook_url is not None
        assert await whatsapp.subscribe(channel.hook_url, VERIFY)
        yield whatsapp, channel, runtime_


@asynccontextmanager
async def speaking(**keys: Any) -> AsyncGenerator[tuple[WhatsApp, WhatsAppChannel]]:
    async with open_whatsapp_wire() as wire:
        yield wire.whatsapp, make_whatsapp(wire, "wa", **keys)


def say(said: str = "hello", to: str = ANN, **more: Any) -> Outbound:
    return Outbound(delivery_id=DeliveryId("s1/7"), address=Address(WA, to), text=said, **more)


def told(*texts: str, whatsapp: WhatsApp) -> bytes:
    """A call with messages of Ann's."""
    world = whatsapp.world
    messages = [
        {
            "from": ANN,
            "id": f"wamid.{text}",
            "timestamp": "1749416383",
            "type": "text",
            "text": {"body": text},
        }
        for text in texts
    ]
    metadata = {"display_phone_number": world.phone, "phone_number_id": world.phone_id}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "messages": messages}
    return raw_body(packed(world.account_id, [{"field": "messages", "value": value}]))


async def all_told(whatsapp: WhatsApp) -> None:
    await whatsapp.pulse.until(lambda: not whatsapp.pending(), within_s=10)


# -- who calls -------------------------------------------------------------------------------------


async def test_the_challenge_is_answered_to_who_has_the_verify_token() -> None:
    async with hearing() as (_, channel, _, client):
        good = {"hub.mode": "subscribe", "hub.challenge": "1158201444", "hub.verify_token": VERIFY}
        answer = await client.get(PATH, params=good)
        assert (answer.status_code, answer.text) == (200, "1158201444")
        channel.hook.ear = None  # it may be entered before the channel runs
        assert (await client.get(PATH, params=good)).status_code == 200
        for change, status in (
            ({"hub.verify_token": VERIFY + "x"}, 403),
            ({"hub.verify_token": ""}, 403),
            ({"hub.mode": "unsubscribe"}, 400),
            ({"hub.challenge": "<script>"}, 400),
            ({"hub.challenge": ""}, 400),
        ):
            answer = await client.get(PATH, params={**good, **change})
            assert answer.status_code == status
            assert "script" not in answer.text
        assert (await client.get(PATH)).status_code == 400


async def test_what_is_not_signed_is_refused() -> None:
    async with hearing() as (whatsapp, _, runtime, client):
        body = told("hi", whatsapp=whatsapp)
        key = whatsapp.world.app_secret
        good = signature(key, body)
        sha1 = hmac.new(key.encode(), body, hashlib.sha1).hexdigest()
        for forged in (
            "",
            good[:-1],
            good[:-2],
            good + "00",
            good.upper(),
            good.replace("sha256=", ""),
            good.replace("sha256=", "sha1="),
            f"sha1={sha1}",
            f"sha256={sha1}",
            signature(key + "x", body),
            signature(key, body + b" "),
            f"{good},{good}",
        ):
            answer = await client.post(PATH, content=body, headers={"x-hub-signature-256": forged})
            assert answer.status_code == 401, forged
        changed = body.replace(b"hi", b"ho")
        written_anew = json.dumps(json.loads(body)).encode()
        for other in (changed, written_anew, body + b"\n"):
            answer = await client.post(PATH, content=other, headers={"x-hub-signature-256": good})
            assert answer.status_code == 401
        old = {"x-hub-signature": f"sha1={sha1}"}
        assert (await client.post(PATH, content=body, headers=old)).status_code == 401
        assert (await client.put(PATH, content=body)).status_code == 405
        assert runtime.turns == []


async def test_a_call_that_is_recorded_and_made_again_changes_nothing() -> None:
    async with hearing() as (whatsapp, _, runtime, client):
        body = told("one", "two", whatsapp=whatsapp)
        headers = {"x-hub-signature-256": signature(whatsapp.world.app_secret, body)}
        for _ in range(3):
            answer = await client.post(PATH, content=body, headers=headers)
            assert answer.status_code == 200
        assert runtime.texts() == ["one", "two"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_ten_megabytes_is_not_read(chunked: bool) -> None:
    big = b"[" + b" " * 10_000_000 + b"]"
    async with hearing() as (whatsapp, _, runtime, client):
        fitting = {"x-hub-signature-256": signature(whatsapp.world.app_secret, big)}
        for headers, status in ((fitting, 413), ({}, 401)):
            line, sent = await post_raw(str(client.base_url), PATH, headers, big, chunked)
            assert line.split()[1] == str(status)
            assert sent < 8_000_000
        assert runtime.turns == []


async def test_signed_nonsense_is_settled_and_packed_bodies_are_not_unpacked() -> None:
    async with hearing() as (whatsapp, channel, runtime, client):
        key = whatsapp.world.app_secret
        bomb = gzip.compress(b"[" + b" " * 30_000_000 + b"]")
        for body, more in (
            (b"[" * 50_000 + b"]" * 50_000, {}),
            (b'{"object":"whatsapp_business_account","object":"page"}', {}),
            (b'{"object":"whatsapp_business_account"}', {}),
            (b"\xff\xfe", {}),
            (bomb, {"content-encoding": "gzip"}),
        ):
            headers = {"x-hub-signature-256": signature(key, body), **more}
            answer = await client.post(PATH, content=body, headers=headers)
            assert answer.status_code == (415 if more else 200)
            assert more or "left out" in channel.line.warning
        body = told("hi", whatsapp=whatsapp)
        headers = {"x-hub-signature-256": signature(key, body)}
        assert (await client.post(PATH, content=body, headers=headers)).status_code == 200
        assert runtime.texts() == ["hi"]


async def test_while_it_does_not_run_calls_are_put_off() -> None:
    async with hearing() as (whatsapp, channel, runtime, client):
        channel.hook.ear = None
        body = told("hi", whatsapp=whatsapp)
        headers = {"x-hub-signature-256": signature(whatsapp.world.app_secret, body)}
        assert (await client.post(PATH, content=body, headers=headers)).status_code == 503
        assert runtime.turns == []


@pytest.mark.parametrize(
    "change",
    [
        {"app_secret": ""},
        {"app_secret": None},
        {"verify_token": "  "},
        {"token": ""},
        {"token": "two\nlines"},
        {"phone_number_id": "+1 555 0100"},
        {"phone_number_id": ""},
        {"api_version": "25"},
        {"api_url": "http://graph.example"},
        {"api_url": "https://u:p@graph.example"},
        {"api_url": "https://[::1"},
        {"check_s": 0},
    ],
)
def test_without_good_keys_it_does_not_start(change: dict[str, Any]) -> None:
    options = {key: value for key, value in {**GOOD, **change}.items() if value is not None}
    with pytest.raises(ConfigError) as refused:
        make_channel(ChannelConfig(name="wa", kind="whatsapp", options=options))
    for secret in ("EAAtoken", "0123456789abcdef", "a verify token"):
        assert secret not in str(refused.value)


def test_one_token_may_serve_several_numbers_and_one_number_one_instance() -> None:
    one, other = WhatsAppChannel("a", **GOOD), WhatsAppChannel("b", **GOOD)
    assert one.account == other.account
    another: dict[str, Any] = {**GOOD, "phone_number_id": "1066"}
    third = WhatsAppChannel("c", **another)
    assert third.account != one.account
    assert one.exposed


async def test_secrets_are_in_no_log_or_repr(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with subscribed() as (whatsapp, channel, runtime):
        whatsapp.user_sends(ANN, JPEG, kind="image", mime="image/jpeg")
        await all_told(whatsapp)
        await channel.send(say())
        whatsapp.fails("messages", code=190)
        with pytest.raises(Rejected) as refused:
            await channel.send(say())
        world = whatsapp.world
        texts = [caplog.text, str(refused.value), repr(channel), repr(channel.hook)]
        texts += [repr(await channel.probe()), repr(channel.line), str(channel.account)]
    assert runtime.kept
    for text in texts:
        assert world.token not in text
        assert world.app_secret not in text
        assert VERIFY not in text


# -- what is told ----------------------------------------------------------------------------------


async def test_what_was_kept_back_comes_as_a_shuffled_batch_and_is_heard_in_order() -> None:
    async with subscribed() as (whatsapp, _, runtime):
        whatsapp.pauses()
        for number in range(12):
            whatsapp.user_says(ANN, f"a{number}")
            whatsapp.user_says(BEN, f"b{number}")
            whatsapp.time_passes(1)
        whatsapp.resumes(per_post=24, order="shuffled", seed=7, copies=3)
        await all_told(whatsapp)
        for person, letter in ((ANN, "a"), (BEN, "b")):
            texts = [turn.text for turn in runtime.turns if turn.user_id == person]
            assert texts == [f"{letter}{number}" for number in range(12)]


async def test_one_bad_message_in_a_batch_spoils_no_other() -> None:
    async with open_whatsapp_wire() as wire:
        channel, whatsapp = make_whatsapp(wire, "wa"), wire.whatsapp
        async with hooked(channel) as (runtime, _):
            assert await whatsapp.subscribe(channel.hook_url or "", VERIFY)
            whatsapp.pauses()
            whatsapp.user_says(ANN, "one")
            wire.tells({"from": ANN, "id": "wamid.bad", "timestamp": "1", "type": "text"})
            whatsapp.user_says(ANN, "two")
            whatsapp.resumes(per_post=3)
            await all_told(whatsapp)
            assert runtime.texts() == ["one", "two"]
            assert "text is no object" in channel.line.warning
            assert whatsapp.hook.statuses[-1] == 200


async def test_what_must_wait_is_told_again_and_the_rest_is_known() -> None:
    runtime = Runtime()
    refused = 0

    def refuse_twice(turn: InboundTurn) -> Exception | None:
        nonlocal refused
        if turn.text == "two" and refused < 2:
            refused += 1
            return Overloaded("full")
        return None

    runtime.refuses = refuse_twice
    async with subscribed(runtime) as (whatsapp, _, _):
        whatsapp.pauses()
        for text in ("one", "two", "three"):
            whatsapp.user_says(ANN, text)
        whatsapp.resumes(per_post=3)
        await all_told(whatsapp)
        assert whatsapp.hook.statuses == [503, 503, 200]
    assert runtime.texts() == ["one", "two", "three"]


async def test_a_stranger_is_told_so_once_a_minute() -> None:
    runtime = Runtime()
    runtime.refuses = lambda _turn: AccessDenied("You may not talk to me.")
    async with subscribed(runtime) as (whatsapp, _, _):
        for _ in range(3):
            whatsapp.user_says(ANN, "hello?")
        await all_told(whatsapp)
        assert [seen.text for seen in whatsapp.heard(ANN)] == ["You may not talk to me."]
        assert set(whatsapp.hook.statuses) == {200}


async def test_files_are_kept_and_captions_are_text() -> None:
    async with subscribed() as (whatsapp, _, runtime):
        whatsapp.user_sends(ANN, JPEG, kind="image", mime="image/jpeg", caption="look")
        whatsapp.user_sends(ANN, b"%PDF", name="../a.pdf", mime="application/pdf")
        whatsapp.user_sends(ANN, b"Ogg", kind="audio", mime="audio/ogg; codecs=opus", voice=True)
        await all_told(whatsapp)
    assert runtime.kept == [(JPEG, None), (b"%PDF", "a.pdf"), (b"Ogg", None)]
    assert [turn.text for turn in runtime.turns] == ["look", "", ""]
    kinds = [turn.attachments[0].kind for turn in runtime.turns]
    assert kinds == ["image", "file", "audio"]


@pytest.mark.parametrize("method", ["lookup", "download"])
async def test_a_file_that_is_not_handed_out_comes_by_its_id(method: str) -> None:
    async with subscribed() as (whatsapp, _, runtime):
        whatsapp.fails(method, code=100, times=2)
        whatsapp.user_sends(ANN, JPEG, kind="image", mime="image/jpeg", caption="look")
        await all_told(whatsapp)
        (media,) = whatsapp.world.media.values()
    (turn,) = runtime.turns
    assert runtime.kept == []
    assert (turn.text, turn.attachments[0].reference) == ("look", media.id)


@pytest.mark.parametrize("elsewhere", ["https://files.example/x", "http://127.0.0.1:1/x", "", "7"])
async def test_no_file_is_fetched_from_elsewhere_than_the_platform(
    elsewhere: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def media_url(_media: object, _base: str) -> str:
        return elsewhere

    monkeypatch.setattr("tests.peers.whatsapp_fake_methods.media_url", media_url)
    async with subscribed() as (whatsapp, _, runtime):
        whatsapp.user_sends(ANN, JPEG, kind="image", mime="image/jpeg")
        await all_told(whatsapp)
        assert whatsapp.called("download") == []
    assert runtime.kept == []
    assert len(runtime.turns) == 1


async def test_a_file_that_takes_for_ever_does_not_hold_its_message_back_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("turnkeeper.channels.whatsapp_hearing.HOOKED_FETCH_S", 0.3)
    async with subscribed() as (whatsapp, _, runtime):
        hold = whatsapp.holds("download")
        whatsapp.user_sends(ANN, JPEG, kind="image", mime="image/jpeg")
        whatsapp.user_says(ANN, "after it")
        await all_told(whatsapp)
        hold.released.set()
    assert runtime.texts() == ["", "after it"]


async def test_what_is_no_message_is_no_turn() -> None:
    async with subscribed() as (whatsapp, channel, runtime):
        message_id = whatsapp.user_says(ANN, "hi")
        whatsapp.reacts(ANN, message_id, "x")
        whatsapp.user_sends_what_nobody_knows(ANN)
        whatsapp.user_says(ANN, "among us", group="group-1")
        whatsapp.number_changes(ANN, "16505550000")
        await all_told(whatsapp)
        assert "changed their number" in channel.line.warning
    assert runtime.texts() == ["hi"]


async def test_who_hides_their_number_is_answered_by_the_other_id() -> None:
    async with subscribed() as (whatsapp, channel, runtime):
        user_id = whatsapp.adds_user("491700", "Cy", username="cy", hides_number=True)
        whatsapp.user_says("491700", "hi")
        await all_told(whatsapp)
        (turn,) = runtime.turns
        assert (turn.user_id, turn.user_name) == (user_id, "Cy")
        await channel.send(say("hello Cy", to=turn.address.conversation))
        assert [seen.text for seen in whatsapp.heard("491700")] == ["hello Cy"]
        await all_told(whatsapp)
    assert {receipt.conversation for receipt in runtime.receipts} == {user_id}


async def test_news_that_overtake_the_note_of_a_message_are_handed_over_again() -> None:
    runtime = Runtime()
    asked = 0

    def known_later(_receipt: object) -> bool:
        nonlocal asked
        asked += 1
        return asked > 2

    runtime.knows_receipts = known_later
    async with subscribed(runtime) as (whatsapp, channel, _):
        whatsapp.passes_through("sent", "delivered")
        await channel.send(say())
        await all_told(whatsapp)
    assert asked == 3


async def test_news_of_messages_that_others_have_sent_wait_for_nothing() -> None:
    runtime = Runtime()
    runtime.knows_receipts = lambda _receipt: False
    async with subscribed(runtime) as (whatsapp, _, _):
        message_id = whatsapp.user_says(BEN, "hi")
        whatsapp.world.tell_status(whatsapp.world.messages[message_id], "read")
        began = trio.current_time()
        whatsapp.pulse.beat()
        await all_told(whatsapp)
        assert trio.current_time() - began < 2  # what news of our own are waited for
    assert len(runtime.receipts) == 2  # by the number, and by the other id


async def test_what_fails_later_is_told_in_one_word() -> None:
    async with subscribed() as (whatsapp, channel, runtime):
        whatsapp.time_passes(25 * 3600)
        await channel.send(say())
        await all_told(whatsapp)
    assert [(one.status, one.reason) for one in runtime.receipts][:1] == [
        ("failed", "window_closed")
    ]


# -- what is said ----------------------------------------------------------------------------------


async def test_a_text_is_sent_with_its_markup_and_without_a_preview() -> None:
    async with subscribed() as (whatsapp, channel, _):
        asked = whatsapp.user_says(ANN, "hi")
        await channel.send(say("**bold** https://example.org", reply_to=asked))
        (call,) = whatsapp.called("messages")
        assert call.parameters == {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            "to": ANN,
            "context": {"message_id": asked},
            "type": "text",
            "text": {"body": "*bold* https://example.org", "preview_url": False},
        }


@pytest.mark.parametrize(
    ("kind", "mime", "size", "sent_as", "declared"),
    [
        ("image", "image/jpeg", 9, "image", "image/jpeg"),
        ("image", "image/webp", 9, "document", "text/plain"),
        ("image", "image/png", 6 * 1024 * 1024, "document", "text/plain"),
        ("audio", "audio/mpeg", 9, "audio", "audio/mpeg"),
        ("video", "video/mp4", 9, "video", "video/mp4"),
        ("video", "video/quicktime", 9, "document", "text/plain"),
        ("file", "application/pdf", 9, "document", "application/pdf"),
        ("file", "text/csv; charset=utf-8", 9, "document", "text/plain"),
        ("file", None, 9, "document", "text/plain"),
    ],
)
async def test_a_file_is_sent_as_what_people_see_best(
    kind: str, mime: str | None, size: int, sent_as: str, declared: str
) -> None:
    async def read() -> bytes:
        return b"x" * size

    async with speaking() as (whatsapp, channel):
        file = OutboundFile(kind=kind, size_bytes=size, read=read, mime=mime, name="a.b")
        receipt = await channel.send(say("", file=file))
        (seen,) = whatsapp.heard(ANN)
        assert (seen.message_id, seen.kind) == (receipt.platform_message_id, sent_as)
        assert seen.file is not None
        assert (seen.file.name, seen.file.mime, len(seen.file.content)) == ("a.b", declared, size)
        assert seen.raw.get("filename") == ("a.b" if sent_as == "document" else None)


async def test_a_picture_that_is_refused_is_sent_as_a_document() -> None:
    async def read() -> bytes:
        return JPEG

    async with speaking() as (whatsapp, channel):
        whatsapp.fails("media", code=131053)
        file = OutboundFile(kind="image", size_bytes=9, read=read, mime="image/jpeg", name="a.jpg")
        await channel.send(say("", file=file))
        assert [seen.kind for seen in whatsapp.heard(ANN)] == ["document"]
        whatsapp.fails("media", code=190)
        with pytest.raises(Rejected):
            await channel.send(say("", file=file))
        whatsapp.loses_answers("media")
        with pytest.raises(Unreachable):  # nobody has seen it
            await channel.send(say("", file=file))


async def test_who_is_too_fast_for_one_human_waits_and_others_do_not() -> None:
    async with speaking() as (whatsapp, channel):
        whatsapp.fails("messages", code=131056)
        with pytest.raises(Unreachable) as refused:
            await channel.send(say())
        assert (refused.value.reason, refused.value.retry_after_s) == ("rate_limited", 6.0)
        await channel.send(say(to=BEN))
        with trio.move_on_after(0.1) as patience:
            await channel.send(say())
        assert patience.cancelled_caught
        assert [len(whatsapp.heard(person)) for person in (ANN, BEN)] == [0, 1]


async def test_the_rates_are_kept() -> None:
    rates = SendRates(overall=Rate(per_s=20.0), pair=Rate(per_s=10.0, scope="place"))
    async with speaking(rates=rates) as (_, channel):
        began = trio.current_time()
        for number in range(5):
            await channel.send(say(str(number)))
        assert trio.current_time() - began >= 0.4


NO_IDS: Final[list[dict[str, Any]]] = [
    {},
    {"messages": []},
    {"messages": [{}]},
    {"messages": 5},
]


@pytest.mark.parametrize("answer", NO_IDS)
async def test_an_answer_without_an_id_is_a_lost_one(
    answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def messages(_self: Methods, _body: object) -> dict[str, Any]:
        return answer

    monkeypatch.setattr(Methods, "messages", messages)
    async with speaking() as (_, channel):
        with pytest.raises(LostAnswer):
            await channel.send(say())


async def test_typing_is_shown_for_the_newest_message_and_only_behind_one() -> None:
    async with subscribed() as (whatsapp, channel, _):
        await channel.typing(Address(WA, ANN))
        assert whatsapp.called("messages") == []
        whatsapp.user_says(ANN, "one")
        newest = whatsapp.user_says(ANN, "two")
        await all_told(whatsapp)
        await channel.typing(Address(WA, ANN))
        assert whatsapp.typing(ANN)
        assert whatsapp.is_read(newest)
        assert not whatsapp.typing(BEN)


# -- the operator ----------------------------------------------------------------------------------


async def test_the_probe_tells_number_and_state() -> None:
    async with speaking() as (_, channel):
        token, number = await channel.probe()
    assert (token.ok, token.detail) == (True, "+15550783881 Keeper")
    assert (number.ok, number.detail) == (True, "status CONNECTED, quality GREEN")


async def test_the_probe_finds_a_number_that_is_not_ours() -> None:
    async with speaking(phone_number_id="404") as (_, channel):
        (check,) = await channel.probe()
    assert not check.ok
    assert check.what == "phone_number_id"


async def test_a_number_that_is_not_ours_is_refused_at_the_start() -> None:
    async with open_whatsapp_wire() as wire:
        channel = make_whatsapp(wire, "wa", phone_number_id="404")
        with pytest.raises(Rejected) as refused:
            await channel.run(Runtime().deliver)
    assert refused.value.reason == "not_found"


async def test_who_may_not_look_at_the_number_hears_all_the_same() -> None:
    async with open_whatsapp_wire() as wire:
        wire.whatsapp.fails("lookup", times=2, code=200)
        channel = make_whatsapp(wire, "wa")
        (check,) = await channel.probe()
        assert not check.ok
        assert "whatsapp_business_management" in check.detail
        async with hooked(channel, Runtime()) as (runtime, client):
            assert "cannot be looked at" in channel.line.warning
            body = told("hello", whatsapp=wire.whatsapp)
            headers = {"x-hub-signature-256": signature(wire.whatsapp.world.app_secret, body)}
            assert (await client.post(PATH, content=body, headers=headers)).status_code == 200
            assert [turn.text for turn in runtime.turns] == ["hello"]


async def test_the_operator_is_told_what_is_wrong_with_the_account() -> None:
    async with hearing() as (whatsapp, channel, _, client):
        world = whatsapp.world
        metadata = {"display_phone_number": world.phone, "phone_number_id": world.phone_id}
        errors = [{"code": 131031, "title": "Account has been locked"}]
        value = {"messaging_product": "whatsapp", "metadata": metadata, "errors": errors}
        body = raw_body(packed(world.account_id, [{"field": "messages", "value": value}]))
        headers = {"x-hub-signature-256": signature(world.app_secret, body)}
        assert (await client.post(PATH, content=body, headers=headers)).status_code == 200
        assert "131031 Account has been locked" in channel.line.warning


async def test_a_token_that_is_revoked_ends_the_run() -> None:
    async with open_whatsapp_wire() as wire:
        channel = make_whatsapp(wire, "wa")
        ended = trio.Event()

        async def run() -> None:
            with pytest.raises(Rejected):
                await channel.run(Runtime().deliver)
            ended.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run)
            await wire.whatsapp.pulse.until(lambda: bool(wire.whatsapp.called("lookup")))
            wire.whatsapp.world.token = "EAAanother"
            with trio.fail_after(5):
                await ended.wait()
        assert channel.hook.ear is None
