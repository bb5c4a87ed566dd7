import gzip
import logging
import re
import socket
import struct
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from turnkeeper.actors.errors import AccessDenied, Overloaded
from turnkeeper.channels.hook_server import HookLimits, HookServer
from turnkeeper.channels.hook_spell import Spell
from turnkeeper.channels.hooks import HookAnswer, HookDenied, HookHead

from ..disorder import disordered

QUICK = HookLimits(linger_s=0.05)


class Echo:
    """Lets in who knows the word, and answers with what it heard."""

    def __init__(self, *, max_body_bytes: int = 1_000, word: str | None = None) -> None:
        self.max_body_bytes = max_body_bytes
        self.word = word
        self.heads: list[HookHead] = []
        self.bodies: list[bytes] = []
        self.during: Callable[[], Any] | None = None

    def admit(self, head: HookHead, /) -> HookAnswer | None:
        self.heads.append(head)
        if head.method == "GET":
            return HookAnswer(body=head.query.get("challenge", "").encode())
        if self.word is not None and head.headers.get("x-word") != self.word:
            raise HookDenied(401)
        return None

    async def hear(self, _head: HookHead, body: bytes, /) -> HookAnswer:
        self.bodies.append(body)
        if self.during is not None:
            await self.during()
        return HookAnswer(body=body, content_type="application/octet-stream")


@asynccontextmanager
async def serving(limits: HookLimits = QUICK, **hooks: Echo) -> AsyncGenerator[HookServer]:
    server = HookServer(limits=limits)
    for name, hook in hooks.items():
        server.mount(f"/{name}", hook)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve)
        yield server
        nursery.cancel_scope.cancel()


async def connected(server: HookServer) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2]))


async def said(server: HookServer, raw: bytes) -> bytes:
    """All that the server answers to some bytes, until it closes."""
    stream = await connected(server)
    answer = b""
    with trio.fail_after(5):
        async with stream:
            try:
                await stream.send_all(raw)
                while piece := await stream.receive_some():
                    answer += piece
            except trio.BrokenResourceError:
                pass
    return answer


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", answer)]


HEAD = b"POST /echo HTTP/1.1\r\nHost: here\r\nConnection: close\r\n"


def warnings(logged: pytest.LogCaptureFixture) -> list[str]:
    """What was said to the operator."""
    return [one.getMessage() for one in logged.records if one.levelno >= logging.WARNING]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


async def test_a_hook_hears_the_body_as_it_came() -> None:
    hook = Echo()
    async with serving(echo=hook) as server, httpx.AsyncClient(base_url=server.url) as client:
        body = bytes(range(256))
        answer = await client.post("/echo?a=1&b=%C3%A4", content=body, headers={"X-Word": "hi"})
        again = await client.post("/echo", content=iter_pieces(body, b"more"))
    assert (answer.status_code, answer.content) == (200, body)
    assert again.content == body + b"more"
    head = hook.heads[0]
    assert (head.method, head.path, head.peer) == ("POST", "/echo", "127.0.0.1")
    assert head.query == {"a": "1", "b": "ä"}
    assert head.headers["x-word"] == "hi"
    assert "server" not in answer.headers


async def iter_pieces(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_it_can_be_cancelled_before_it_has_begun() -> None:
    server = HookServer()
    with trio.CancelScope() as scope:
        scope.cancel()
        await server.serve()
    assert scope.cancelled_caught
    with pytest.raises(RuntimeError):
        _ = server.url


async def test_a_challenge_is_answered_from_the_head() -> None:
    hook = Echo()
    async with serving(echo=hook) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.get("/echo", params={"challenge": "42"})
    assert answer.text == "42"
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert hook.bodies == []


async def test_the_server_says_that_it_is_there_and_knows_no_other_path() -> None:
    async with serving() as server, httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.get("/healthz")).text == "ok"
        assert (await client.post("/healthz")).status_code == 405
        assert (await client.get("/")).status_code == 404
        assert (await client.post("/echo/", content=b"x")).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        *("/%65cho", "%2fecho", "/echo%00", "/echo%3Fa=1", "//echo", "/echo/", "/echo.", "/ECHO"),
        *("/./echo", "/x/../echo", "/echo#x", "/echo;x=1", "http://here/echo"),
    ],
)
async def test_a_hook_is_found_under_one_spelling_of_its_path(path: str) -> None:
    hook = Echo()
    async with serving(echo=hook) as server:
        raw = f"POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        assert statuses(await said(server, raw.encode())) in ([404], [400])
    assert hook.heads == []


async def test_a_hook_that_is_taken_down_is_not_found_any_more() -> None:
    async with serving(echo=Echo()) as server, httpx.AsyncClient(base_url=server.url) as client:
        server.unmount("/echo")
        assert (await client.post("/echo")).status_code == 404
        server.mount("/echo", Echo())
        assert (await client.post("/echo")).status_code == 200


@pytest.mark.parametrize("path", ["", "hooks", "/", "/a/", "/a//b", "/a?b", "/ä", "/healthz"])
def test_only_plain_paths_that_are_free_can_be_mounted(path: str) -> None:
    with pytest.raises(ValueError, match="path"):
        HookServer().mount(path, Echo())


def test_a_path_is_mounted_once() -> None:
    server = HookServer()
    server.mount("/hooks/one", Echo())
    with pytest.raises(ValueError, match="the path /hooks/one is taken"):
        server.mount("/hooks/one", Echo())


@pytest.mark.parametrize(
    ("listen", "exposed"),
    [("127.0.0.1:0", False), ("[::1]:0", False), ("localhost:0", False), ("0.0.0.0:80", True)],
)
def test_a_server_knows_whether_others_can_reach_it(listen: str, exposed: bool) -> None:
    assert HookServer(listen=listen).exposed is exposed


@pytest.mark.parametrize("listen", ["", "8080", "127.0.0.1", "::1:80", "h:1", "127.0.0.1:70000"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    with pytest.raises(ValueError, match="is no address and port"):
        HookServer(listen=listen)


async def test_a_port_that_is_taken_is_named() -> None:
    async with serving() as server:
        other = HookServer(listen=server.url.removeprefix("http://"))
        with pytest.raises(OSError, match=r"port \d+ is taken"):
            await other.serve()
        with pytest.raises(RuntimeError, match="listens already"):
            await server.serve()
    with pytest.raises(RuntimeError, match="does not listen"):
        _ = server.url


async def test_who_is_not_admitted_sends_ten_megabytes_in_vain() -> None:
    hook = Echo(max_body_bytes=100_000_000, word="sesame")
    sent = 0
    async with serving(echo=hook) as server, await connected(server) as stream:
        await stream.send_all(
            b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 10000000\r\n\r\n"
        )
        with trio.fail_after(5):
            answer = await stream.receive_some()
            try:
                while sent < 10_000_000:
                    await stream.send_all(b"x" * 10_000)
                    sent += 10_000
            except trio.BrokenResourceError:
                pass
    assert statuses(answer) == [401]
    assert b"connection: close" in answer.lower()
    assert hook.bodies == []
    assert sent < 10_000_000


async def test_a_body_that_is_announced_too_long_is_refused_before_it_is_read() -> None:
    hook = Echo(max_body_bytes=10)
    async with serving(echo=hook) as server:
        answer = await said(server, HEAD + b"Content-Length: 11\r\n\r\n")
    assert statuses(answer) == [413]
    assert hook.bodies == []


async def test_a_body_that_gets_too_long_is_refused_where_it_does() -> None:
    hook = Echo(max_body_bytes=10)
    async with serving(echo=hook) as server:
        endless = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"8\r\n12345678\r\n" * 2
        answer = await said(server, endless)
    assert statuses(answer) == [413]
    assert hook.bodies == []


async def test_the_server_caps_what_a_hook_would_take() -> None:
    async with serving(
        HookLimits(max_body_bytes=10, linger_s=0.05), echo=Echo(max_body_bytes=99)
    ) as server:
        assert statuses(await said(server, HEAD + b"Content-Length: 11\r\n\r\n")) == [413]


async def test_a_packed_body_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    hook = Echo(max_body_bytes=1_000_000)
    async with serving(echo=hook) as server, httpx.AsyncClient(base_url=server.url) as client:
        answer = await client.post("/echo", content=bomb, headers={"Content-Encoding": "gzip"})
        plain = await client.post("/echo", headers={"Content-Encoding": "identity"})
    assert (answer.status_code, plain.status_code) == (415, 200)
    assert hook.bodies == [b""]


async def test_a_body_that_trickles_in_is_not_waited_for() -> None:
    hook = Echo()
    limits = HookLimits(body_timeout_s=0.05, linger_s=0.05)
    async with serving(limits, echo=hook) as server:
        assert statuses(await said(server, HEAD + b"Content-Length: 10\r\n\r\nfirst")) == [408]
    assert hook.bodies == []


async def test_a_head_that_trickles_in_is_not_waited_for() -> None:
    async with serving(HookLimits(idle_timeout_s=0.05), echo=Echo()) as server:
        assert await said(server, b"POST /echo HTTP/1.1\r\nHost:") == b""


@pytest.mark.parametrize(
    "head",
    [
        b"X-Long: " + b"x" * 20_000 + b"\r\n",
        b"X-Long: " + b"x" * 200_000 + b"\r\n",
        b"".join(b"X-%d: 1\r\n" % number for number in range(200)),
    ],
)
async def test_a_long_head_is_refused(head: bytes) -> None:
    hook = Echo()
    async with serving(echo=hook) as server:
        assert statuses(await said(server, HEAD + head + b"\r\n")) == [431]
    assert hook.heads == []


@pytest.mark.parametrize(
    "headers",
    [
        b"X-Word: a\r\nX-Word: b\r\n\r\n",
        b"X-Word: a\r\nx-word: a\r\n\r\n",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd",
        b"Content-Length: +4\r\n\r\nabcd",
        b"Content-Length: 4_0\r\n\r\nabcd",
        b"Content-Length : 4\r\n\r\nabcd",
        b"X-Folded: a\r\n\tb\r\nX-Folded: c\r\n\r\n",
        b"X-Nul: a\x00b\r\n\r\n",
    ],
)
async def test_a_head_that_two_readers_could_understand_differently_is_refused(
    headers: bytes,
) -> None:
    hook = Echo()
    async with serving(echo=hook) as server:
        smuggled = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
        answer = await said(server, b"POST /echo HTTP/1.1\r\nHost: here\r\n" + headers + smuggled)
    assert statuses(answer) == [400]
    assert hook.heads == []


async def test_what_comes_behind_a_refused_request_does_not_keep_its_answer_back() -> None:
    async with serving(HookLimits(linger_s=0.01), echo=Echo()) as server:
        request = HEAD + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
        for seed in range(100):
            with disordered(seed):
                answer = await said(server, request + b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            assert statuses(answer) == [400], seed


async def test_a_coding_that_nobody_knows_is_refused() -> None:
    async with serving(echo=Echo()) as server:
        answer = await said(server, HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
    assert statuses(answer) == [501]


@pytest.mark.parametrize("query", ["a=1&a=2", "a=%ff", "&".join(f"f{n}=1" for n in range(40))])
async def test_a_query_that_is_not_plain_is_refused(query: str) -> None:
    hook = Echo()
    async with serving(echo=hook) as server:
        raw = f"GET /echo?{query} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
        assert statuses(await said(server, raw.encode())) == [400]
    assert hook.heads == []


async def test_what_proxies_add_is_joined() -> None:
    hook = Echo()
    async with serving(echo=hook) as server:
        forwarded = b"X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\n\r\n"
        assert statuses(await said(server, HEAD + forwarded)) == [200]
    assert hook.heads[0].headers["x-forwarded-for"] == "192.0.2.1, 192.0.2.2"


@pytest.mark.parametrize(
    "raw",
    [
        (
            b"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        ),
        (
            b"GET /echo HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        ),
        (
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
            b"\x00\x00\x05\x01\x05\x00\x00\x00\x01\x82\x84\x86\x41\x00"
        ),
    ],
)
async def test_other_protocols_are_cut_off(raw: bytes) -> None:
    hook = Echo()
    async with serving(HookLimits(idle_timeout_s=0.5), echo=hook) as server:
        assert 200 not in statuses(await said(server, raw))
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/healthz")).status_code == 200
    assert hook.heads == []


@pytest.mark.parametrize(
    "more", [b"", b"SM\r\n\r\n", b"SM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"]
)
async def test_who_begins_http_2_and_asks_nothing_holds_no_connection(more: bytes) -> None:
    async with serving(HookLimits(max_connections=1, linger_s=0.05), echo=Echo()) as server:
        await said(server, b"PRI * HTTP/2.0\r\n\r\n" + more)
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/healthz")).status_code == 200


async def test_a_hook_that_fails_is_answered_for_and_tells_nothing(
    logged: pytest.LogCaptureFixture,
) -> None:
    broken, sound = Echo(), Echo()

    async def fail() -> None:
        raise ValueError(broken.bodies[0])

    broken.during = fail
    async with (
        serving(broken=broken, sound=sound) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answer = await client.post("/broken", content=b"hunter2")
        other = await client.post("/sound", content=b"still here")
    assert (answer.status_code, answer.content) == (500, b"")
    assert other.content == b"still here"
    assert "/broken: the hook failed: ValueError" in logged.text
    assert "hunter2" not in logged.text


async def test_a_hook_that_fails_at_the_head_is_answered_for() -> None:
    class Broken(Echo):
        def admit(self, head: HookHead, /) -> HookAnswer | None:
            raise KeyError(head.path)

    async with serving(echo=Broken()) as server, httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.post("/echo", content=b"x")).status_code == 500


async def test_a_turn_that_may_be_accepted_later_is_asked_for_again() -> None:
    async def overload() -> None:
        raise Overloaded("too much")

    async def deny() -> None:
        raise AccessDenied("not you")

    later, never = Echo(), Echo()
    later.during, never.during = overload, deny
    async with (
        serving(later=later, never=never) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        answer = await client.post("/later")
        final = await client.post("/never")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert (final.status_code, final.content) == (200, b"")


async def test_a_hook_that_takes_too_long_is_asked_again() -> None:
    hook = Echo()
    hook.during = trio.sleep_forever
    async with (
        serving(HookLimits(hear_timeout_s=0.05), echo=hook) as server,
        httpx.AsyncClient(base_url=server.url) as client,
    ):
        assert (await client.post("/echo")).status_code == 503


async def test_one_busy_path_leaves_room_for_the_others(
    logged: pytest.LogCaptureFixture,
) -> None:
    entered, leave = trio.Semaphore(0), trio.Event()
    busy, other = Echo(), Echo()

    async def wait() -> None:
        entered.release()
        await leave.wait()

    busy.during = wait
    limits = HookLimits(max_requests=3, max_requests_per_path=2)
    async with (
        serving(limits, busy=busy, other=other) as server,
        httpx.AsyncClient(base_url=server.url) as client,
        trio.open_nursery() as nursery,
    ):
        for _ in range(2):
            nursery.start_soon(client.post, "/busy")
            await entered.acquire()
        refused = await client.post("/busy")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert (await client.post("/other")).status_code == 200
        other.during = wait
        nursery.start_soon(client.post, "/other")
        await entered.acquire()
        assert (await client.post("/other")).status_code == 503
        assert (await client.post("/other")).status_code == 503
        assert (await client.post("/busy")).status_code == 503
        assert (await client.get("/healthz")).status_code == 200
        leave.set()
    why = "and further ones get 503: see why hearing takes so long, or let fewer come at once"
    assert warnings(logged) == [
        f"/busy: 2 calls are being heard, {why}",
        f"3 calls are being heard, {why}",
    ]


async def test_connections_are_bounded(logged: pytest.LogCaptureFixture) -> None:
    async with serving(HookLimits(max_connections=2)) as server:
        async with await connected(server) as first, await connected(server) as second:
            for stream in (first, second):
                await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
                assert statuses(await stream.receive_some()) == [200]
            assert statuses(await said(server, b"")) == [503]
            assert statuses(await said(server, b"")) == [503]
        async with httpx.AsyncClient(base_url=server.url) as client:
            while (await client.get("/healthz")).status_code != 200:
                pass
    (warning,) = warnings(logged)
    assert warning.startswith("2 connections are open, and further ones get 503: ")


async def test_what_refuses_for_long_warns_once_and_again_after_a_quiet_minute(
    logged: pytest.LogCaptureFixture, mock_clock: trio.testing.MockClock
) -> None:
    spell = Spell("it is full")
    for _ in range(100):
        spell.refuses()
        mock_clock.jump(59)
    assert warnings(logged) == ["it is full"]
    mock_clock.jump(2)
    spell.refuses()
    spell.refuses()
    assert warnings(logged) == ["it is full"] * 2


async def test_an_answer_leaves_in_one_piece() -> None:
    post = b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n"
    async with serving(echo=Echo()) as server, await connected(server) as stream:
        for last in (b"", b"", b"Connection: close\r\n"):
            await stream.send_all(post + last + b"\r\nhi")
            answer = bytes(await stream.receive_some())
            assert statuses(answer) == [200]
            assert answer.endswith(b"\r\n\r\nhi")
        assert await stream.receive_some() == b""


async def test_an_idle_connection_is_closed() -> None:
    async with (
        serving(HookLimits(idle_timeout_s=1.0)) as server,  # the request must come before
        await connected(server) as stream,
    ):
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        with trio.fail_after(5):
            answer = b""
            while piece := await stream.receive_some():
                answer += piece
    assert answer.endswith(b"ok")


async def test_a_connection_serves_one_request_after_the_other() -> None:
    async with serving(echo=Echo()) as server:
        one = b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nhi"
        get = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
        answer = await said(server, one + get + one + HEAD + b"\r\n")
    assert statuses(answer) == [200, 200, 200, 200]


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    limits = HookLimits(write_timeout_s=0.1, max_requests_per_connection=1_000_000)
    hook = Echo(max_body_bytes=100_000)
    async with serving(limits, echo=hook) as server, await connected(server) as stream:
        request = b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 50000\r\n\r\n"
        requests = (request + bytes(50_000)) * 2_000
        with trio.fail_after(10), pytest.raises(trio.BrokenResourceError):
            await stream.send_all(requests)


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("said_before", [HEAD[:12], HEAD + b"Content-Length: 9\r\n\r\nab"])
async def test_a_client_that_leaves_midway_is_no_trouble(
    resets: bool, said_before: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    hook = Echo()
    async with serving(echo=hook) as server:
        async with await connected(server) as stream:
            await stream.send_all(said_before)
            if resets:
                at_once = struct.pack("ii", 1, 0)
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.post("/echo", content=b"next")).content == b"next"
    assert hook.bodies == [b"next"]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("closes", [b"", b"Connection: close\r\n"])
async def test_a_client_that_leaves_before_its_answer_is_no_trouble(
    closes: bytes, logged: pytest.LogCaptureFixture
) -> None:
    entered, leave = trio.Event(), trio.Event()
    hook = Echo()

    async def wait() -> None:
        entered.set()
        await leave.wait()

    hook.during = wait
    async with serving(echo=hook) as server:
        async with await connected(server) as stream:
            head = b"POST /echo HTTP/1.1\r\nHost: here\r\n" + closes
            await stream.send_all(head + b"Content-Length: 2\r\n\r\nhi")
            await entered.wait()
            at_once = struct.pack("ii", 1, 0)
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        leave.set()
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.post("/echo", content=b"next")).content == b"next"
    assert hook.bodies == [b"hi", b"next"]
    assert warnings(logged) == []


async def test_what_a_client_sent_before_it_left_is_heard_to_its_end() -> None:
    entered, leave, ended = trio.Event(), trio.Event(), trio.Event()
    hook = Echo()

    async def wait() -> None:
        entered.set()
        await leave.wait()
        ended.set()

    hook.during = wait
    async with serving(echo=hook) as server:
        async with await connected(server) as stream:
            await stream.send_all(HEAD + b"Content-Length: 2\r\n\r\nhi")
            await entered.wait()
        await trio.testing.wait_all_tasks_blocked()
        leave.set()
        with trio.fail_after(5):
            await ended.wait()
    assert hook.bodies == [b"hi"]


async def test_a_connection_is_closed_after_so_many_requests() -> None:
    async with serving(HookLimits(max_requests_per_connection=2)) as server:
        get = b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n"
        answer = await said(server, get * 5)
    assert 2 <= len(statuses(answer)) <= 3
    assert b"connection: close" in answer.lower()


async def test_what_is_being_heard_when_the_server_stops_is_heard_to_its_end() -> None:
    entered, leave = trio.Event(), trio.Event()
    hook = Echo()

    async def wait() -> None:
        entered.set()
        await leave.wait()

    hook.during = wait
    answers: list[httpx.Response] = []
    server = HookServer()
    server.mount("/echo", hook)
    async with httpx.AsyncClient() as client, trio.open_nursery() as clients:

        async def post(url: str) -> None:
            answers.append(await client.post(url, content=b"mine"))

        async with trio.open_nursery() as nursery:
            url = await nursery.start(server.serve)
            clients.start_soon(post, f"{url}/echo")
            await entered.wait()
            nursery.cancel_scope.cancel()
            clients.start_soon(_after_blocking, leave)
    assert [answer.content for answer in answers] == [b"mine"]


async def _after_blocking(event: trio.Event) -> None:
    await trio.testing.wait_all_tasks_blocked()
    event.set()


async def test_what_is_not_heard_within_the_grace_is_cut_off() -> None:
    entered = trio.Event()
    hook = Echo()

    async def wait() -> None:
        entered.set()
        await trio.sleep_forever()

    hook.during = wait
    server = HookServer(limits=HookLimits(grace_s=0.05))
    server.mount("/echo", hook)
    async with httpx.AsyncClient() as client, trio.open_nursery() as clients:

        async def post(url: str) -> None:
            with pytest.raises(httpx.TransportError):
                await client.post(url)

        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                url = await nursery.start(server.serve)
                clients.start_soon(post, f"{url}/echo")
                await entered.wait()
                nursery.cancel_scope.cancel()


async def test_an_idle_client_does_not_hold_up_the_stop() -> None:
    server = HookServer(limits=HookLimits(grace_s=60))
    async with httpx.AsyncClient() as client:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                url = await nursery.start(server.serve)
                assert (await client.get(f"{url}/healthz")).status_code == 200
                nursery.cancel_scope.cancel()
