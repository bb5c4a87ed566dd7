"""What strangers try at a webhook changes nothing, and tells them nothing."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import httpcore
import httpx
import pytest
import trio

from turnkeeper import AccessDenied, FileTooLarge, InboundTurn, Overloaded
from turnkeeper.channels.fetching import Fetcher
from turnkeeper.channels.webhook import WebhookChannel
from turnkeeper.config_tables import ChannelConfig, ConfigError
from turnkeeper.kinds import make_channel

from .hooked import PATH, Runtime, hooked, post_raw
from .webhook_program import IN, OLD, OUT, digest, signed

TOLD = {"conversation": "c", "user": "ann", "text": "hi", "message_id": "m1"}
BODY = json.dumps(TOLD).encode()


def make(**keys: Any) -> WebhookChannel:
    return WebhookChannel("wh", secret=IN, **keys)


async def post(
    client: httpx.AsyncClient, told: object, *, message_id: str = "msg_1", **headers: str
) -> httpx.Response:
    body = told if isinstance(told, bytes) else json.dumps(told).encode()
    given = {**signed(body, message_id=message_id), **headers}
    return await client.post(PATH, content=body, headers=given)


async def test_a_signed_message_is_heard_once() -> None:
    async with hooked(make()) as (runtime, client):
        first, again = await post(client, TOLD), await post(client, TOLD)
    assert (first.status_code, first.json()) == (
        202,
        {"session": "s1", "turn": "s1/1", "duplicate": False},
    )
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert runtime.texts() == ["hi"]


async def test_a_call_without_ids_that_is_made_again_is_known_by_its_webhook_id() -> None:
    told = {"conversation": "c", "user": "ann", "text": "hi"}
    async with hooked(make()) as (runtime, client):
        for _ in range(3):
            await post(client, told)
        await post(client, told, message_id="msg_2")
    assert runtime.texts() == ["hi", "hi"]


def forged() -> dict[str, dict[str, str]]:
    good = signed(BODY)
    signature = good["webhook-signature"]
    stamp = good["webhook-timestamp"]
    content = f"msg_1.{stamp}.".encode() + BODY
    key = base64.b64decode(IN.removeprefix("whsec_"))
    sha1 = base64.b64encode(hmac.new(key, content, hashlib.sha1).digest()).decode()
    undecoded = base64.b64encode(hmac.new(IN.encode(), content, hashlib.sha256).digest()).decode()
    raw = base64.b64decode(signature[3:])
    now = int(time.time())
    return {
        "no signature": {"webhook-signature": ""},
        "no headers": {name: "" for name in good if name.startswith("webhook")},
        "no id": {"webhook-id": ""},
        "another id": {"webhook-id": "msg_2"},
        "an id with a full stop": {"webhook-id": "msg_1.1"},
        "short": {"webhook-signature": signature[:-4]},
        "half": {"webhook-signature": f"v1,{base64.b64encode(raw[:16]).decode()}"},
        "sha1": {"webhook-signature": f"v1,{sha1}"},
        "another version": {"webhook-signature": signature.replace("v1,", "v1a,")},
        "no version": {"webhook-signature": signature[3:]},
        "another key": {"webhook-signature": f"v1,{digest(OUT, 'msg_1', stamp, BODY)}"},
        "the key as text": {"webhook-signature": f"v1,{undecoded}"},
        "in hexadecimal": {"webhook-signature": f"v1,{raw.hex()}"},
        "without padding": {"webhook-signature": signature.rstrip("=")},
        "with more padding": {"webhook-signature": f"{signature}="},
        "for URLs": {
            "webhook-signature": f"v1,{base64.urlsafe_b64encode(bytes([251]) * 32).decode()}"
        },
        "too many": {"webhook-signature": " ".join(["v1,x"] * 8 + [signature])},
        "old": signed(BODY, timestamp=str(now - 310)),
        "of the future": signed(BODY, timestamp=str(now + 310)),
        "another time": {"webhook-timestamp": str(now - 60)},
        "no time": {"webhook-timestamp": "yesterday"},
        "a time in other digits": {"webhook-timestamp": "１７０００００００"},
        "a time with a sign": {"webhook-timestamp": f"+{now}"},
    }


@pytest.mark.parametrize("name", sorted(forged()))
async def test_what_is_not_signed_is_refused(name: str) -> None:
    headers = [
        (key.encode(), value.encode()) for key, value in {**signed(BODY), **forged()[name]}.items()
    ]
    async with hooked(make()) as (runtime, client):
        answer = await client.post(PATH, content=BODY, headers=headers)
    assert answer.status_code == 401
    assert runtime.turns == []


async def test_one_byte_of_the_body_that_is_changed_is_refused() -> None:
    async with hooked(make()) as (runtime, client):
        for changed in (BODY + b" ", BODY.replace(b": ", b":"), BODY.replace(b"hi", b"ho")):
            answer = await client.post(PATH, content=changed, headers=signed(BODY))
            assert answer.status_code == 401
    assert runtime.turns == []


async def test_other_methods_and_types_are_refused() -> None:
    async with hooked(make()) as (runtime, client):
        assert (await client.get(PATH, headers=signed(b""))).status_code == 405
        assert (await client.put(PATH, content=BODY, headers=signed(BODY))).status_code == 405
        text = {**signed(BODY), "content-type": "text/plain"}
        assert (await client.post(PATH, content=BODY, headers=text)).status_code == 415
    assert runtime.turns == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_of_ten_megabytes_is_not_read(chunked: bool) -> None:
    big = b"[" + b" " * 10_000_000 + b"]"
    unsigned = {**signed(big), "webhook-signature": "v1,none"}
    async with hooked(make()) as (runtime, client):
        for headers, status in ((signed(big), 413), (unsigned, 401)):
            first_line, sent = await post_raw(str(client.base_url), PATH, headers, big, chunked)
            assert first_line.split()[1] == str(status)
            assert sent < 5_000_000
    assert runtime.turns == []


async def test_packed_bodies_are_never_unpacked() -> None:
    bomb = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    async with hooked(make()) as (runtime, client):
        answer = await post(client, bomb, **{"content-encoding": "gzip"})
        assert answer.status_code in (400, 415)
    assert runtime.turns == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "deeper"),
        (b'{"text":"a","text":"b"}', "twice"),
        (b'{"text":"\\ud800","conversation":"c","user":"u"}', "surrogate"),
        (b'{"a":1e999}', "range"),
        (b'{"a":NaN}', "NaN"),
        (b"\xff", "UTF-8"),
        (b"", "JSON"),
        (b'{"a":' + b"9" * 100_000 + b"}", "range"),
        (b"[]", "no object"),
    ],
)
async def test_json_that_two_readers_could_read_differently_is_refused(
    body: bytes, why: str
) -> None:
    async with hooked(make()) as (runtime, client):
        answer = await post(client, body)
    assert answer.status_code == 400
    assert answer.json()["error"] == "bad_request"
    assert why in answer.json()["reason"]
    assert runtime.turns == []


async def test_one_bad_item_spoils_no_other() -> None:
    items = [
        {**TOLD, "text": "one"},
        {"conversation": "c"},
        7,
        {**TOLD, "text": "two", "message_id": "m2"},
        {"type": "deleted", "conversation": "c", "message_id": "m1"},
    ]
    channel = make()
    async with hooked(channel) as (runtime, client):
        answers = [await post(client, {"items": items}) for _ in range(2)]
    assert runtime.texts() == ["one", "two"]
    assert [answer.status_code for answer in answers] == [200, 200]
    told = answers[0].json()["items"]
    assert [one["status"] for one in told] == [202, 400, 400, 202, 200]
    assert [one["reason"] for one in told[1:3]] == ["text is missing", "the item is no object"]
    assert [one["status"] for one in answers[1].json()["items"]] == [200, 400, 400, 200, 200]
    assert "left out" in channel.line.warning


async def test_what_must_wait_is_answered_503_and_holds_its_conversation_back() -> None:
    runtime = Runtime()
    runtime.refuses = lambda turn: Overloaded("full") if turn.text == "two" else None
    items = [
        {**TOLD, "conversation": place, "text": text, "message_id": text}
        for place, text in (("c", "one"), ("c", "two"), ("c", "three"), ("d", "four"))
    ]
    async with hooked(make(), runtime) as (_, client):
        answer = await post(client, {"items": items})
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
        assert [one["status"] for one in answer.json()["items"]] == [202, 503, 503, 202]
        assert sorted(runtime.texts()) == ["four", "one"]
        runtime.refuses = lambda _turn: None
        again = await post(client, {"items": items})
        assert [one["status"] for one in again.json()["items"]] == [200, 202, 202, 200]
    assert sorted(runtime.texts()) == ["four", "one", "three", "two"]


async def test_a_refusal_is_told_with_its_reason() -> None:
    runtime = Runtime()
    runtime.refuses = lambda _turn: AccessDenied("ann may not")
    async with hooked(make(), runtime) as (_, client):
        answer = await post(client, TOLD)
    assert answer.status_code == 403
    assert answer.json() == {"error": "access_denied", "reason": "ann may not"}


async def test_while_it_does_not_run_calls_are_put_off() -> None:
    channel = make()
    async with hooked(channel) as (runtime, client):
        ear, channel.hook.ear = channel.hook.ear, None
        assert (await post(client, TOLD)).status_code == 503
        assert runtime.turns == []
        channel.hook.ear = ear
        assert (await post(client, TOLD)).status_code == 202


# -- files -----------------------------------------------------------------------------------------


class Web:
    """An internet of names, which says what it was asked."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = {name.replace("_", "."): value for name, value in addresses.items()}
        self.answers: dict[str, bytes] = {}
        self.connected: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        if host in self.addresses:
            return self.addresses[host].split(",")
        return [host.strip("[]")]

    def network(self, addresses: Sequence[str]) -> httpcore.AsyncNetworkBackend:
        self.connected += addresses
        name = next((n for n, a in self.addresses.items() if a == ",".join(addresses)), "")
        return httpcore.AsyncMockBackend([self.answers.get(name, b"HTTP/1.1 404 No\r\n\r\n")])

    def fetcher(self) -> Fetcher:
        return Fetcher(max_bytes=1_000, resolver=self.resolve, network=self.network)


def with_file(url: str, **more: Any) -> dict[str, Any]:
    return {**TOLD, "attachments": [{"url": url, **more}]}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://127.0.0.1/x", "not_public"),
        ("https://10.1.2.3/x", "not_public"),
        ("https://192.168.0.1/x", "not_public"),
        ("https://169.254.169.254/latest/meta-data", "not_public"),
        ("https://100.64.0.1/x", "not_public"),
        ("https://0.0.0.0/x", "not_public"),
        ("https://[::1]/x", "not_public"),
        ("https://[fe80::1]/x", "not_public"),
        ("https://[fd00::1]/x", "not_public"),
        ("https://[::ffff:127.0.0.1]/x", "not_public"),
        ("https://[64:ff9b::7f00:1]/x", "not_public"),
        ("https://[2002:7f00:1::]/x", "not_public"),
        ("https://inside.example/x", "not_public"),
        ("https://both.example/x", "not_public"),
        ("https://moved.example/x", "not_public"),
        ("https://unsafe.example/x", "not_encrypted"),
        ("http://good.example/x", "not_encrypted"),
        ("https://good.example:22/x", "bad_port"),
        ("https://user:pass@good.example/x", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("gopher://good.example/x", "bad_url"),
        ("https://", "bad_url"),
        ("//good.example/x", "bad_url"),
    ],
)
async def test_a_url_that_leads_inside_is_not_fetched_nor_handed_on(url: str, why: str) -> None:
    web = Web(
        good_example="1.1.1.1",
        inside_example="10.0.0.5",
        both_example="1.1.1.1,127.0.0.1",
        moved_example="8.8.8.8",
        unsafe_example="9.9.9.9",
    )
    web.answers["moved.example"] = b"HTTP/1.1 302 F\r\nLocation: https://169.254.169.254/\r\n\r\n"
    web.answers["unsafe.example"] = b"HTTP/1.1 302 F\r\nLocation: http://good.example/\r\n\r\n"
    channel = make(fetcher=web.fetcher())
    async with hooked(channel) as (runtime, client):
        assert (await post(client, with_file(url))).status_code == 202
    ((attachment,),) = (turn.attachments for turn in runtime.turns)
    assert attachment.reference == f"refused:{why}"
    assert runtime.kept == []
    assert set(web.connected) <= {"8.8.8.8", "9.9.9.9"}
    assert "pass" not in channel.line.warning


async def test_a_public_file_is_fetched_without_credentials_and_kept_under_a_safe_name() -> None:
    web = Web(good_example="1.1.1.1")
    web.answers["good.example"] = (
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Type: text/plain\r\n"
        b'Content-Disposition: attachment; filename="../../etc/cron.d/x"\r\n\r\nabc'
    )
    async with hooked(make(fetcher=web.fetcher())) as (runtime, client):
        await post(client, with_file("https://good.example/a/b"))
        named = with_file("https://good.example/a", name="..\\..\\evil\u202etxt.exe")
        await post(client, {**named, "message_id": "m2"})
    assert runtime.kept == [(b"abc", "x"), (b"abc", "eviltxt.exe")]
    assert runtime.turns[0].attachments[0].mime == "text/plain"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 404 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 10_000),
        pytest.param(b"HTTP/1.1 500 No\r\n\r\n", marks=pytest.mark.slow),  # it is asked again
        pytest.param(b"garbage", marks=pytest.mark.slow),
    ],
)
async def test_a_file_that_cannot_be_had_does_not_hold_its_message_back(answer: bytes) -> None:
    web = Web(good_example="1.1.1.1")
    web.answers["good.example"] = answer
    async with hooked(make(fetcher=web.fetcher())) as (runtime, client):
        assert (await post(client, with_file("https://good.example/a"))).status_code == 202
    assert runtime.turns[0].attachments[0].reference == "https://good.example/a"


async def test_a_file_that_cannot_be_kept_does_not_hold_its_message_back() -> None:
    web = Web(good_example="1.1.1.1")
    web.answers["good.example"] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"

    async def too_large(*_: Any, **__: Any) -> Any:
        raise FileTooLarge(2)

    channel = make(fetcher=web.fetcher())
    async with hooked(channel) as (runtime, client):
        channel.keep_file = too_large
        assert (await post(client, with_file("https://good.example/a"))).status_code == 202
    assert runtime.turns[0].attachments[0].reference == "https://good.example/a"


# -- secrets ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"secret": ""},
        {"secret": "none"},
        {"secret": IN, "outbound_url": "https://example.org/hook"},
        {"secret": IN, "outbound_url": "https://example.org/hook", "outbound_secret": ""},
        {"secret": IN, "outbound_url": "https://example.org/hook", "outbound_secret": IN},
        {
            "secret": IN,
            "outbound_url": "https://example.org/hook",
            "outbound_secret": OUT,
            "outbound_old_secret": "",
        },
        {"secret": IN, "outbound_secret": OUT},
        {"secret": IN, "outbound_url": "http://example.org/hook", "outbound_secret": OUT},
        {"secret": IN, "outbound_url": "https://u:p@example.org/", "outbound_secret": OUT},
        {"secret": IN, "outbound_url": "https://example.org/../x", "outbound_secret": OUT},
        {"secret": IN, "outbound_url": "ftp://example.org/", "outbound_secret": OUT},
        {"secret": IN, "outbound_url": "https://[::1", "outbound_secret": OUT},
    ],
)
def test_without_good_secrets_and_urls_it_does_not_start(options: dict[str, Any]) -> None:
    config = ChannelConfig(name="wh", kind="webhook", options=options)
    with pytest.raises(ConfigError) as refused:
        make_channel(config)
    assert IN not in str(refused.value)


def test_what_is_no_url_is_said_to_be_none() -> None:
    options = {"secret": IN, "outbound_url": "x", "outbound_secret": OUT}
    with pytest.raises(ConfigError, match=r"outbound_url must be like https://example\.org/hook"):
        make_channel(ChannelConfig(name="wh", kind="webhook", options=options))


async def test_secrets_are_in_no_log_repr_or_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    url = "https://example.org/hooks/kq81-of-nobody-else"
    channel = make(outbound_url=url, outbound_secret=OUT, outbound_old_secret=OLD)
    texts = [repr(channel), repr(channel.hook), repr(await channel.probe()), str(channel.account)]
    async with hooked(channel) as (_, client):
        answers = [await post(client, TOLD), await post(client, b"{")]
        answers.append(await client.post(PATH, content=BODY, headers=signed(BODY, secret=OUT)))
    texts += [answer.text for answer in answers] + [caplog.text, repr(channel.line)]
    for text in texts:
        for secret in (IN, OUT, OLD):
            assert secret.removeprefix("whsec_") not in text
        assert "kq81" not in text


async def test_many_calls_at_once_are_each_answered() -> None:
    statuses: list[int] = []

    async def call(client: httpx.AsyncClient, number: int) -> None:
        told = {**TOLD, "conversation": f"c{number % 3}", "message_id": f"m{number}"}
        while True:
            answer = await post(client, told, message_id=f"msg_{number}")
            if answer.status_code != 503:  # there are bounds
                statuses.append(answer.status_code)
                return
            await trio.sleep(0.05)

    async with hooked(make()) as (runtime, client), trio.open_nursery() as nursery:
        for number in range(60):
            nursery.start_soon(call, client, number)
    assert statuses == [202] * 60
    assert len(runtime.turns) == 60


async def test_a_slow_conversation_holds_no_other_up() -> None:
    runtime = Runtime()
    free = trio.Event()
    deliver: Callable[[InboundTurn], Awaitable[Any]] = runtime.deliver

    async def slow(turn: InboundTurn) -> Any:
        if turn.address.conversation == "slow":
            await free.wait()
        return await deliver(turn)

    runtime.deliver = slow  # type: ignore[method-assign]
    async with hooked(make(), runtime) as (_, client), trio.open_nursery() as nursery:

        async def call(place: str, text: str) -> None:
            told = {**TOLD, "conversation": place, "text": text, "message_id": text}
            assert (await post(client, told, message_id=text)).status_code == 202

        nursery.start_soon(call, "slow", "first")
        await trio.sleep(0.2)
        nursery.start_soon(call, "slow", "second")
        await call("c", "third")
        assert runtime.texts() == ["third"]
        free.set()
    assert runtime.texts() == ["third", "first", "second"]
