import gzip
import shutil
import ssl
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trio

from turnkeeper.channels.fetching import Fetched, Fetcher, FetchError, FetchFailed, FetchRefused
from turnkeeper.channels.fetching_address import PinnedBackend
from turnkeeper.channels.secret import Secret

CREDENTIALS = {"Authorization": "Bearer hunter2"}
Handler = Callable[[trio.abc.Stream], Awaitable[None]]


@asynccontextmanager
async def host(handler: Handler) -> AsyncGenerator[str]:
    """A server; yields its `host:port`."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handler, listeners)
        yield f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


def answering(raw: bytes, heard: list[bytes] | None = None) -> Handler:
    async def handler(stream: trio.abc.Stream) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += await stream.receive_some(65536)
        if heard is not None:
            heard.append(head)
        with suppress(trio.BrokenResourceError):
            await stream.send_all(raw)

    return handler


def file(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def redirect(url: str) -> bytes:
    return file(b"", f"Location: {url}", status="302 Found")


def fetcher(*trusted: str, **more: Any) -> Fetcher:
    return Fetcher(max_bytes=1_000_000, trusted=frozenset(trusted), **more)


async def fetched(one: Fetcher, url: str, **more: Any) -> bytes:
    async with one.open(url, **more) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_a_file_comes_in_pieces_with_what_is_claimed_of_it() -> None:
    body = bytes(range(256)) * 2_000
    raw = file(body, "Content-Type: Image/PNG; x=y", 'Content-Disposition: a; filename="../c.png"')
    async with host(answering(raw)) as place, fetcher(place).open(f"http://{place}/f") as pieces:
        assert (pieces.mime, pieces.name, pieces.size_bytes) == ("image/png", "c.png", len(body))
        received = [piece async for piece in pieces]
    assert len(received) > 1
    assert b"".join(received) == body


async def test_nothing_need_be_claimed() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Type: what\r\n\r\nuntil the end"
    async with host(answering(raw)) as place, fetcher(place).open(f"http://{place}/") as pieces:
        assert (pieces.mime, pieces.name, pieces.size_bytes) == (None, None, None)
        assert b"".join([piece async for piece in pieces]) == b"until the end"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "bad_url"),
        ("no url", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("gopher://example.org/", "bad_url"),
        ("https:///path", "bad_url"),
        ("https://user:pass@example.org/", "bad_url"),
        ("https://user@example.org/", "bad_url"),
        ("http://example.org/", "not_encrypted"),
        ("https://example.org:22/", "bad_port"),
        ("https://example.org:8443/", "bad_port"),
    ],
)
async def test_only_the_web_is_fetched_from(url: str, reason: str) -> None:
    async def never(_host: str, _port: int) -> Sequence[str]:
        raise AssertionError("nothing is resolved")

    with pytest.raises(FetchRefused) as caught:
        await fetched(fetcher(resolver=never), url)
    assert caught.value.reason == reason
    assert "pass" not in str(caught.value)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["93.184.216.34", "10.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["2606:4700:4700::1111", "fe80::1%eth0"],
    ],
)
async def test_a_name_that_leads_inside_is_refused_whatever_else_it_leads_to(
    addresses: list[str],
) -> None:
    async def inside(_host: str, _port: int) -> Sequence[str]:
        return addresses

    with pytest.raises(FetchRefused) as caught:
        await fetched(fetcher(resolver=inside), "https://example.org/")
    assert caught.value.reason == "not_public"


@pytest.mark.parametrize("written", ["127.0.0.1", "[::1]", "127.1", "2130706433", "localhost"])
async def test_an_address_in_the_url_is_looked_at_like_any_other(written: str) -> None:
    with pytest.raises(FetchRefused) as caught:
        await fetched(fetcher(), f"https://{written}/")
    assert caught.value.reason == "not_public"


async def test_a_name_is_resolved_once_and_the_connection_goes_there() -> None:
    asked: list[tuple[str, int]] = []

    async def changing(name: str, port: int) -> Sequence[str]:
        asked.append((name, port))
        return ["127.0.0.1"] if len(asked) == 1 else ["192.0.2.1"]

    heard: list[bytes] = []
    async with host(answering(file(b"here"), heard)) as place:
        port = place.rpartition(":")[2]
        named = f"files.example.org:{port}"
        body = await fetched(fetcher(named, resolver=changing), f"http://{named}/a?b=c#d")
    assert body == b"here"
    assert asked == [("files.example.org", int(port))]
    assert heard[0].startswith(b"GET /a?b=c HTTP/1.1\r\n")
    assert f"host: {named}".encode() in heard[0].lower()
    assert b"accept-encoding: identity" in heard[0].lower()
    assert b"user-agent: turnkeeper" in heard[0].lower()


async def test_a_name_without_an_address_may_be_tried_later() -> None:
    async def nowhere(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(FetchFailed):
        await fetched(fetcher(resolver=nowhere), "https://example.org/")


async def test_redirects_are_followed_and_credentials_stay() -> None:
    there_heard: list[bytes] = []
    here_heard: list[bytes] = []
    async with (
        host(answering(file(b"there"), there_heard)) as there,
        host(answering(redirect(f"http://{there}/x"), here_heard)) as here,
    ):
        one = fetcher(here, there, credential_hosts=frozenset({here}))
        headers = {**CREDENTIALS, "X-Key": Secret("sesame")}
        assert await fetched(one, f"http://{here}/", headers=headers) == b"there"
    assert b"Bearer hunter2" in here_heard[0]
    assert b"sesame" in here_heard[0]
    assert b"authorization" not in there_heard[0].lower()
    assert b"hunter2" not in there_heard[0]
    assert b"sesame" not in there_heard[0]


async def test_credentials_go_to_nobody_who_is_not_named() -> None:
    heard: list[bytes] = []
    async with host(answering(file(b""), heard)) as place:
        # A host without a port is named for the port of https alone.
        one = fetcher(place, credential_hosts=frozenset({"127.0.0.1"}))
        await fetched(one, f"http://{place}/", headers=CREDENTIALS)
    assert b"hunter2" not in heard[0]


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("https://169.254.169.254/latest/meta-data/", "not_public"),
        ("http://example.org/", "not_encrypted"),
        ("https://example.org:22/", "bad_port"),
        ("https://user:pass@example.org/", "bad_url"),
        ("file:///etc/passwd", "bad_url"),
        ("//localhost:443/", "not_encrypted"),
    ],
)
async def test_a_redirect_is_looked_at_like_any_other_url(location: str, reason: str) -> None:
    async with host(answering(redirect(location))) as place:
        with pytest.raises(FetchRefused) as caught:
            await fetched(fetcher(place), f"http://{place}/")
    assert caught.value.reason == reason


async def test_redirects_come_to_an_end() -> None:
    heard: list[bytes] = []
    async with host(answering(redirect("/again"), heard)) as place:
        with pytest.raises(FetchRefused, match="too many redirects"):
            await fetched(fetcher(place), f"http://{place}/")
    assert len(heard) == 4


async def test_a_claimed_length_is_refused_before_a_byte_is_read() -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 1000001\r\n\r\n"
    async with host(answering(raw)) as place:
        with pytest.raises(FetchRefused) as caught:
            await fetched(fetcher(place), f"http://{place}/")
        assert caught.value.reason == "too_large"
        with pytest.raises(FetchRefused):
            await fetched(fetcher(place), f"http://{place}/", max_bytes=10)


async def test_a_file_without_an_end_is_refused_where_it_gets_too_long() -> None:
    async def endless(stream: trio.abc.Stream) -> None:
        await answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")(stream)
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all((b"10000\r\n" + bytes(0x10000) + b"\r\n") * 1_000)

    received = bytearray()

    async def receive(pieces: Fetched) -> None:
        async for piece in pieces:
            received.extend(piece)

    async with host(endless) as place, fetcher(place).open(f"http://{place}/") as pieces:
        with pytest.raises(FetchRefused) as caught:
            await receive(pieces)
    assert caught.value.reason == "too_large"
    assert len(received) <= 1_000_000


async def test_a_file_may_be_left_before_its_end() -> None:
    async with host(answering(file(bytes(900_000)))) as place:
        for _ in range(3):
            async with fetcher(place).open(f"http://{place}/") as pieces:
                assert await anext(pieces)
            async with fetcher(place).open(f"http://{place}/"):
                pass


@pytest.mark.parametrize(
    ("status", "error", "reason"),
    [
        ("404 Not Found", FetchRefused, "not_found"),
        ("410 Gone", FetchRefused, "not_found"),
        ("401 Unauthorized", FetchRefused, "denied"),
        ("403 Forbidden", FetchRefused, "denied"),
        ("416 No", FetchRefused, "no_file"),
        ("204 No Content", FetchRefused, "no_file"),
        ("206 Part", FetchRefused, "no_file"),
        ("304 Not Modified", FetchRefused, "no_file"),
        ("429 Slow", FetchFailed, None),
        ("500 Oops", FetchFailed, None),
        ("503 Busy", FetchFailed, None),
    ],
)
async def test_a_status_says_whether_to_try_later(
    status: str, error: type[FetchError], reason: str | None
) -> None:
    async with host(answering(file(b"", "Retry-After: 7", status=status))) as place:
        with pytest.raises(error) as caught:
            await fetched(fetcher(place), f"http://{place}/a/secret/path?token=hunter2")
    assert getattr(caught.value, "reason", None) == reason
    assert getattr(caught.value, "retry_after_s", 7.0) == 7.0
    assert "secret" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


async def test_a_packed_file_is_not_unpacked() -> None:
    raw = file(gzip.compress(bytes(100_000)), "Content-Encoding: gzip")
    async with host(answering(raw)) as place:
        with pytest.raises(FetchRefused) as caught:
            await fetched(fetcher(place), f"http://{place}/")
    assert caught.value.reason == "packed"


async def silence(stream: trio.abc.Stream) -> None:
    await trio.sleep_forever()


async def silence_midway(stream: trio.abc.Stream) -> None:
    await answering(file(bytes(100))[:-50])(stream)
    await trio.sleep_forever()


async def trickle(stream: trio.abc.Stream) -> None:
    await answering(file(bytes(1_000_000))[:-1_000_000])(stream)
    with suppress(trio.BrokenResourceError):
        while True:
            await stream.send_all(b"x")


@pytest.mark.parametrize("handler", [silence, silence_midway, trickle])
async def test_a_host_that_is_too_slow_is_left(handler: Handler) -> None:
    async with host(handler) as place:
        one = fetcher(place, stall_s=0.1, total_s=0.2)
        with trio.fail_after(5), pytest.raises(FetchFailed):
            await fetched(one, f"http://{place}/")


async def hang_up(stream: trio.abc.Stream) -> None:
    await answering(b"")(stream)


async def hang_up_midway(stream: trio.abc.Stream) -> None:
    await answering(file(bytes(100))[:-50])(stream)


async def babble(stream: trio.abc.Stream) -> None:
    await answering(b"no HTTP\r\n\r\n")(stream)


@pytest.mark.parametrize("handler", [hang_up, hang_up_midway, babble])
async def test_a_connection_that_ends_may_be_tried_later(handler: Handler) -> None:
    async with host(handler) as place:
        with pytest.raises(FetchFailed):
            await fetched(fetcher(place), f"http://{place}/")


async def test_a_host_that_cannot_be_reached_may_be_tried_later() -> None:
    async with host(silence) as place:
        pass
    with pytest.raises(FetchFailed):
        await fetched(fetcher(place), f"http://{place}/")


class Lan(httpcore.AsyncNetworkBackend):
    """A network in which one public address is a server of ours."""

    def __init__(self, address: str, place: str, addresses: Sequence[str]) -> None:
        assert list(addresses) == [address]
        self._port = int(place.rpartition(":")[2])

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        return await PinnedBackend(["127.0.0.1"]).connect_tcp(host, self._port, timeout)


async def public(_host: str, _port: int) -> Sequence[str]:
    return ["93.184.216.34"]


async def test_a_stranger_is_fetched_from_by_name_and_over_tls(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path, "stranger.example.org")
    heard: list[bytes] = []
    async with host(encrypted(answering(file(b"hello"), heard), certificate, key)) as place:
        one = fetcher(
            resolver=public,
            network=partial(Lan, "93.184.216.34", place),
            ssl_context=ssl.create_default_context(cafile=str(certificate)),
            credential_hosts=frozenset({"stranger.example.org"}),
        )
        url = "https://Stranger.example.org/cat.png"
        assert await fetched(one, url, headers=CREDENTIALS) == b"hello"
    assert b"host: stranger.example.org\r\n" in heard[0].lower()
    assert b"Bearer hunter2" in heard[0]


async def test_what_is_trusted_is_not_reached_by_way_of_a_stranger(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path, "stranger.example.org")
    heard: list[bytes] = []
    async with host(answering(file(b"inside"), heard)) as inside:
        stranger = answering(redirect(f"http://{inside}/"))
        async with host(encrypted(stranger, certificate, key)) as place:
            one = fetcher(
                inside,
                resolver=public,
                network=partial(Lan, "93.184.216.34", place),
                ssl_context=ssl.create_default_context(cafile=str(certificate)),
            )
            with pytest.raises(FetchRefused) as caught:
                await fetched(one, "https://stranger.example.org/")
    assert caught.value.reason == "not_encrypted"
    assert heard == []


def certified(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of our own for a host."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


def encrypted(handler: Handler, certificate: Path, key: Path) -> Handler:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def wrapped(stream: trio.abc.Stream) -> None:
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await handler(tls)

    return wrapped


async def test_the_certificate_is_of_the_name_and_not_of_the_address(tmp_path: Path) -> None:
    certificate, key = certified(tmp_path, "files.example.org")
    context = ssl.create_default_context(cafile=str(certificate))

    async def to_here(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    async with host(encrypted(answering(file(b"safe")), certificate, key)) as place:
        port = place.rpartition(":")[2]
        right, wrong = f"files.example.org:{port}", f"other.example.org:{port}"
        one = fetcher(right, wrong, resolver=to_here, ssl_context=context)
        assert await fetched(one, f"https://{right}/") == b"safe"
        with pytest.raises(FetchFailed):
            await fetched(one, f"https://{wrong}/")
