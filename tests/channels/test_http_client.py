import gc
import gzip
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import trio
import trio.testing

from turnkeeper.channels.base import ChannelError, LostAnswer, Rejected, Unreachable
from turnkeeper.channels.http_answer import expect_fields, id_told, readable
from turnkeeper.channels.http_client import (
    HttpAnswer,
    HttpClient,
    HttpTimeouts,
    expect_json,
    raise_for,
    retry_after_s,
)
from turnkeeper.channels.http_connections import HttpConnections
from turnkeeper.channels.json_fields import needed
from turnkeeper.channels.secret import Secret

from ..peers.ports import kept_port

TOKEN = Secret.of("110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw", "token")
Handler = Callable[[trio.SocketStream], Awaitable[None]]


@asynccontextmanager
async def platform(handler: Handler) -> AsyncGenerator[str]:
    """A server that does with each connection what it is told; yields its URL."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def request_from(stream: trio.SocketStream) -> bytes:
    """One request, with the body that its length announces."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = await stream.receive_some()
        if not piece:
            return raw
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += await stream.receive_some()
    return head + b"\r\n\r\n" + body


def answering(raw: bytes, heard: list[bytes] | None = None) -> Handler:
    async def handler(stream: trio.SocketStream) -> None:
        while request := await request_from(stream):
            if heard is not None:
                heard.append(request)
            await stream.send_all(raw)

    return handler


def plain(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


async def test_a_call_is_made_and_its_answer_read() -> None:
    heard: list[bytes] = []
    async with (
        platform(answering(plain(b'{"ok": true}'), heard)) as url,
        HttpClient(f"{url}/v1", headers={"Authorization": TOKEN}) as client,
    ):
        answer = await client.call(
            "POST", "/send", sends=True, json={"a": "ä"}, params={"q": 1}, headers={"X-A": "b"}
        )
        raise_for(answer, sends=True)
    assert expect_json(answer, sends=True) == {"ok": True}
    assert heard[0].startswith(b"POST /v1/send?q=1 HTTP/1.1\r\n")
    head = heard[0].lower()
    assert b"accept-encoding: identity" in head
    assert b"x-a: b" in head
    assert TOKEN.reveal().lower().encode() in head


async def test_a_value_stays_one_segment_of_the_path() -> None:
    heard: list[bytes] = []
    async with platform(answering(plain(b""), heard)) as url, HttpClient(url) as client:
        await client.call(
            "GET",
            "/bot{token}/chats/{chat}",
            sends=False,
            values={"token": TOKEN, "chat": "../a?b#c/%2e ä@d"},
        )
        for chat in ("", ".", ".."):
            with pytest.raises(Rejected, match="chat is no part of a path"):
                await client.call("GET", "/{chat}", sends=True, values={"chat": chat})
        with pytest.raises(Rejected, match="chat is missing"):
            await client.call("GET", "/{chat}", sends=True)
        with pytest.raises(Rejected, match="must begin with /"):
            await client.call("GET", "http://elsewhere/", sends=True)
    target = f"/bot{TOKEN.reveal()}/chats/..%2Fa%3Fb%23c%2F%252e%20%C3%A4@d".encode()
    assert [raw.split()[1] for raw in heard] == [target]


@pytest.mark.parametrize("sends", [True, False])
async def test_what_cannot_be_connected_to_is_unreachable(sends: bool) -> None:
    with kept_port() as port:
        for base in (f"http://127.0.0.1:{port}", "http://no-such-host.invalid"):
            async with HttpClient(base) as client:
                with pytest.raises(Unreachable, match="POST /send"):
                    await client.call("POST", "/send", sends=sends)


async def test_a_greeting_that_fails_is_unreachable() -> None:
    async def no_tls(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with platform(no_tls) as url, HttpClient(url.replace("http:", "https:")) as client:
        with pytest.raises(Unreachable):
            await client.call("POST", "/send", sends=True)


async def hang_up(stream: trio.SocketStream) -> None:
    await request_from(stream)


async def hang_up_midway(stream: trio.SocketStream) -> None:
    await request_from(stream)
    await stream.send_all(plain(b"half of it")[:-5])


async def babble(stream: trio.SocketStream) -> None:
    await request_from(stream)
    await stream.send_all(b"\x16\x03\x01 is no HTTP\r\n\r\n")


async def say_nothing(stream: trio.SocketStream) -> None:
    await request_from(stream)
    await trio.sleep_forever()


async def stall_midway(stream: trio.SocketStream) -> None:
    await hang_up_midway(stream)
    await trio.sleep_forever()


@pytest.mark.parametrize("handler", [hang_up, hang_up_midway, babble, say_nothing, stall_midway])
@pytest.mark.parametrize(("sends", "error"), [(True, LostAnswer), (False, Unreachable)])
async def test_what_has_left_and_is_not_answered_is_lost_if_it_sends(
    handler: Handler, sends: bool, error: type[ChannelError]
) -> None:
    async with (
        platform(handler) as url,
        HttpClient(url, timeouts=HttpTimeouts(total_s=1.0)) as client,
    ):
        with pytest.raises(error, match="POST /send"):
            await client.call("POST", "/send", sends=sends)


async def test_waiting_for_a_connection_is_no_sending() -> None:
    entered = trio.Event()

    async def hold(stream: trio.SocketStream) -> None:
        entered.set()
        await trio.sleep_forever()

    async with (
        platform(hold) as url,
        HttpClient(url, timeouts=HttpTimeouts(pool_s=1.0)) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(32):
            nursery.start_soon(lambda: client.call("GET", "/", sends=False))
        await entered.wait()
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Unreachable):
            await client.call("POST", "/send", sends=True)
        nursery.cancel_scope.cancel()


async def test_a_connection_that_was_closed_while_idle_loses_nothing() -> None:
    connections = 0
    closed = trio.Event()

    async def once(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await request_from(stream)
        await stream.send_all(plain(b"ok"))
        await stream.aclose()
        closed.set()

    async with platform(once) as url, HttpClient(url) as client:
        for _ in range(5):
            await client.call("POST", "/send", sends=True)
            await closed.wait()
            await trio.testing.wait_all_tasks_blocked()
    assert connections == 5


async def test_a_connection_is_used_again() -> None:
    connections = 0

    async def count(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await answering(plain(b"ok"))(stream)

    async with platform(count) as url, HttpClient(url) as client:
        for _ in range(3):
            await client.call("POST", "/send", sends=True)
    assert connections == 1


async def test_connections_stand_while_somebody_needs_them() -> None:
    met: list[trio.SocketStream] = []

    async def handler(stream: trio.SocketStream) -> None:
        met.append(stream)
        await answering(plain(b"{}"))(stream)

    async def ask(connections: HttpConnections) -> None:
        await connections.call("GET", "/a", sends=False)

    async with platform(handler) as url:
        connections = HttpConnections(url, headers={"authorization": TOKEN})
        async with connections.open():
            await ask(connections)
            await ask(connections)
            assert len(met) == 1
            assert repr(connections) == f"<HttpConnections at {url}, 1 users>"
        await ask(connections)
        assert len(met) == 2
    with pytest.raises(ValueError, match="base URL"):
        HttpConnections("ftp://example.org")


async def test_a_kept_connection_that_ends_with_the_request_loses_the_answer() -> None:
    async def one_and_a_half(stream: trio.SocketStream) -> None:
        await request_from(stream)
        await stream.send_all(plain(b"ok"))
        await request_from(stream)

    async with platform(one_and_a_half) as url, HttpClient(url) as client:
        await client.call("POST", "/send", sends=True)
        with pytest.raises(LostAnswer):
            await client.call("POST", "/send", sends=True)


@pytest.mark.parametrize(("sends", "error"), [(True, LostAnswer), (False, Unreachable)])
async def test_an_answer_without_an_end_is_not_read_on(
    sends: bool, error: type[ChannelError]
) -> None:
    async def endless(stream: trio.SocketStream) -> None:
        await request_from(stream)
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all((b"10000\r\n" + bytes(0x10000) + b"\r\n") * 1_000)

    async with platform(endless) as url, HttpClient(url, max_answer_bytes=100_000) as client:
        with pytest.raises(error, match="over 100,000 bytes"):
            await client.call("GET", "/", sends=sends)


async def test_a_packed_answer_is_not_unpacked() -> None:
    bomb = plain(gzip.compress(bytes(1_000_000)), more="Content-Encoding: gzip\r\n")
    async with platform(answering(bomb)) as url, HttpClient(url) as client:
        with pytest.raises(Unreachable, match="is packed"):
            await client.call("GET", "/", sends=False)


async def test_a_redirect_is_not_followed() -> None:
    async with platform(hang_up) as elsewhere:
        there = plain(b"", "307 Elsewhere", f"Location: {elsewhere}/\r\n")
        async with platform(answering(there)) as url, HttpClient(url) as client:
            answer = await client.call("POST", "/send", sends=True, headers={"X": TOKEN})
            assert answer.status == 307
            with pytest.raises(Unreachable) as caught:
                raise_for(answer, sends=True)
            assert caught.value.reason == "redirected"


async def test_no_error_and_no_log_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    url = "/bot{token}/send"
    told = plain(f"no bot {TOKEN.reveal()} here".encode(), "404 Not Found")
    errors: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for handler in (answering(told), hang_up, babble):
            async with platform(handler) as base, HttpClient(base) as client:
                with pytest.raises(ChannelError) as caught:
                    raise_for(
                        await client.call(
                            "POST",
                            url,
                            sends=True,
                            values={"token": TOKEN},
                            params={"access_token": TOKEN.reveal()},
                        ),
                        sends=True,
                    )
                errors.append(str(caught.value))
    assert errors[0] == "POST /bot{token}/send: 404 no bot *** here"
    assert all(error.startswith("POST /bot{token}/send: ") for error in errors)
    assert "HTTP Request: POST" in caplog.text
    for text in [*errors, caplog.text]:
        assert "AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw" not in text


async def test_a_secret_is_hidden_however_a_url_spells_it(caplog: pytest.LogCaptureFixture) -> None:
    secret = Secret("a/b+c=d&e 'f'")
    with caplog.at_level(logging.DEBUG):
        async with platform(answering(plain(b"{}"))) as base, HttpClient(base) as client:
            await client.call(
                "GET",
                "/{token}",
                sends=False,
                values={"token": secret},
                params={"token": secret.reveal()},
            )
    assert "HTTP Request: GET" in caplog.text
    for rest in ("c=d", "c%3Dd", "c%3dd"):
        assert rest not in caplog.text


def answered(status: int, body: bytes = b"", **headers: str) -> HttpAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpAnswer(asked="POST /send", status=status, headers=named, body=body)


@pytest.mark.parametrize(
    ("status", "sends", "error", "reason"),
    [
        (429, True, Unreachable, "rate_limited"),
        (400, True, Rejected, "bad_request"),
        (401, True, Rejected, "unauthorized"),
        (403, True, Rejected, "forbidden"),
        (404, True, Rejected, "not_found"),
        (410, True, Rejected, "not_found"),
        (413, True, Rejected, "too_large"),
        (418, True, Rejected, "rejected"),
        (408, True, Unreachable, "channel_down"),
        (425, True, Unreachable, "channel_down"),
        (503, True, Unreachable, "channel_down"),
        (301, True, Unreachable, "redirected"),
        (500, True, LostAnswer, None),
        (502, True, LostAnswer, None),
        (599, True, LostAnswer, None),
        (101, True, LostAnswer, None),
        (500, False, Unreachable, "channel_down"),
        (504, False, Unreachable, "channel_down"),
    ],
)
def test_a_status_says_what_became_of_it(
    status: int, sends: bool, error: type[ChannelError], reason: str | None
) -> None:
    with pytest.raises(error) as caught:
        raise_for(answered(status), sends=sends)
    assert getattr(caught.value, "reason", None) == reason


def test_a_success_raises_nothing() -> None:
    for status in (200, 201, 204):
        raise_for(answered(status), sends=True)


def test_a_platform_that_asks_for_a_pause_gets_it() -> None:
    with pytest.raises(Unreachable) as caught:
        raise_for(answered(429, retry_after="3"), sends=True)
    assert caught.value.retry_after_s == 3.0


NOW_S = datetime(2026, 11, 21, 18, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("told", "wait_s"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("0.25", 0.25),
        ("Sat, 21 Nov 2026 18:01:30 GMT", 90.0),
        ("Sat, 21 Nov 2026 17:00:00 GMT", 0.0),
        ("999999999", 7 * 24 * 3600.0),
        ("Sat, 21 Nov 2099 17:00:00 GMT", 7 * 24 * 3600.0),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("1e9", None),
        ("nan", None),
    ],
)
def test_a_pause_is_read_in_seconds_or_as_a_date(told: str, wait_s: float | None) -> None:
    assert retry_after_s({"retry-after": told}, now_s=NOW_S) == wait_s
    assert retry_after_s({}) is None


def test_the_words_of_the_platform_are_short_and_on_one_line() -> None:
    def words(answer: HttpAnswer) -> str:
        return str(answer.json()["why"])

    with pytest.raises(Rejected) as caught:
        raise_for(answered(400, b'{"why": "no\\nsuch chat"}'), sends=True, words=words)
    assert str(caught.value) == "POST /send: 400 no\\x0asuch chat"
    for body in (b'{"what": 1}', b"<html>", b"[]", b"null"):
        with pytest.raises(Rejected) as caught:
            raise_for(answered(400, body), sends=True, words=words)
        assert str(caught.value) == f"POST /send: 400 {body.decode()}"
    with pytest.raises(Rejected) as caught:
        raise_for(answered(400, b"x" * 10_000), sends=True)
    assert len(str(caught.value)) < 250


def test_a_success_that_cannot_be_read_is_a_lost_answer_if_it_sends() -> None:
    assert expect_fields(answered(200, b'{"a": 1}'), sends=True) == {"a": 1}
    for expect, body in ((expect_json, b"<html>"), (expect_fields, b"{"), (expect_fields, b"[]")):
        with pytest.raises(LostAnswer):
            expect(answered(200, body), sends=True)
        with pytest.raises(Unreachable) as caught:
            expect(answered(200, body), sends=False)
        assert caught.value.reason == "bad_answer"


def test_what_is_malformed_in_an_answer_says_what_was_asked() -> None:
    with pytest.raises(Unreachable, match="who: id is missing"), readable("who"):
        needed({}, "id")
    with pytest.raises(LostAnswer, match="it was taken, and its id not told: id"), id_told():
        needed({}, "id")


@pytest.mark.parametrize(
    "base", ["", "example.org", "ftp://example.org", "https://", "http:///path"]
)
def test_what_is_no_base_url_is_refused(base: str) -> None:
    with pytest.raises(ValueError, match="base URL"):
        HttpClient(base)


async def test_a_client_that_is_not_open_says_so() -> None:
    client = HttpClient("http://127.0.0.1:9")
    with pytest.raises(RuntimeError, match="is not open"):
        await client.call("GET", "/", sends=False)
    async with client:
        pass
    with pytest.raises(RuntimeError, match="is not open"):
        await client.call("GET", "/", sends=False)


async def test_a_header_that_cannot_be_sent_is_refused_for_good() -> None:
    async with platform(answering(plain(b""))) as url, HttpClient(url) as client:
        for value in ("a\r\nb: c", "ä"):
            with pytest.raises(Rejected, match="no such request"):
                await client.call("POST", "/", sends=True, headers={"X-A": value})


async def test_files_are_uploaded_in_a_form() -> None:
    heard: list[bytes] = []
    async with platform(answering(plain(b""), heard)) as url, HttpClient(url) as client:
        await client.call(
            "POST",
            "/upload",
            sends=True,
            data={"chat": "7"},
            files={"photo": ("cat.png", b"\x89PNG", "image/png")},
        )
    assert b'name="chat"\r\n\r\n7\r\n' in heard[0]
    assert b'name="photo"; filename="cat.png"' in heard[0]
    assert b"\x89PNG" in heard[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("as_form", [False, True], ids=["content", "form"])
async def test_a_body_that_does_not_leave_is_left_without_a_trace(as_form: bool) -> None:
    gone = trio.Event()

    async def handler(_stream: trio.SocketStream) -> None:
        await gone.wait()  # and nothing is read

    async with platform(handler) as url, HttpClient(url) as client:
        body = bytes(32 * 1024 * 1024)
        files = {"file": ("name", body, "text/plain")} if as_form else None
        content = None if as_form else body
        with pytest.raises(LostAnswer):  # that it begins to leave within the second is needed
            await client.call("POST", "/", sends=True, timeout_s=1.0, files=files, content=content)
        gone.set()
    gc.collect()  # nothing that is found now was left in the middle
    await trio.lowlevel.checkpoint()
