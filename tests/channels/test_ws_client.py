"""A client's WebSocket, at servers that are none, or none any more."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from turnkeeper.channels import ws_client
from turnkeeper.channels.base import Rejected, Unreachable
from turnkeeper.channels.secret import Secret
from turnkeeper.channels.ws_client import is_websocket_url, open_websocket

from ..peers.background import open_background
from ..peers.ports import kept_port

Script: TypeAlias = Callable[[trio.SocketStream], Awaitable[None]]

TICKET = "ticket-that-lets-in"


@asynccontextmanager
async def a_server(script: Script) -> AsyncGenerator[int]:
    """The port of a server that does as it is told on each connection."""
    async with open_background() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, script, listeners)
        yield listeners[0].socket.getsockname()[1]


@asynccontextmanager
async def an_echo() -> AsyncGenerator[tuple[int, list[str], trio.Event]]:
    """The port of a WebSocket that says again what it hears; what was asked for there, and
    whether somebody has gone."""
    paths: list[str] = []
    gone = trio.Event()

    async def echo(request: WebSocketRequest) -> None:
        paths.append(request.path)
        connection = await request.accept()
        try:
            while True:
                await connection.send_message(await connection.get_message())
        except ConnectionClosed:
            gone.set()

    async with open_background() as nursery:
        server = await nursery.start(serve_websocket, echo, "127.0.0.1", 0, None)
        yield server.port, paths, gone


def opened(
    port: int, scheme: str = "ws", path: str = f"/?ticket={TICKET}"
) -> AbstractAsyncContextManager[tuple[WebSocketConnection, trio.Nursery]]:
    return open_websocket(Secret(f"{scheme}://127.0.0.1:{port}{path}"), max_bytes=1_000)


async def refusal(port: int, scheme: str = "ws") -> str:
    """Why there is no WebSocket; that takes no longer than a moment."""
    with trio.fail_after(10), pytest.raises(Unreachable) as caught:
        async with opened(port, scheme):
            raise AssertionError("it was opened")
    assert caught.value.reason == "channel_down"
    assert TICKET not in str(caught.value)
    return str(caught.value)


async def test_what_is_said_arrives_and_the_connection_ends_with_the_block() -> None:
    async with an_echo() as (port, paths, gone):
        async with opened(port, path="/link/?a=1&b=2") as (connection, _):
            await connection.send_message("hello")
            assert await connection.get_message() == "hello"
        with trio.fail_after(10):
            await gone.wait()
    assert paths == ["/link/?a=1&b=2"]


async def test_a_task_that_belongs_to_the_connection_ends_with_it() -> None:
    ended: list[str] = []

    async def on_and_on() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("task")

    async with an_echo() as (port, *_), opened(port) as (_, nursery):
        nursery.start_soon(on_and_on)
        await trio.testing.wait_all_tasks_blocked()
    assert ended == ["task"]


@pytest.mark.parametrize("error", [Rejected("no"), KeyError("k")], ids=["ours", "another"])
async def test_what_the_block_raises_comes_out_as_it_is(error: Exception) -> None:
    async with an_echo() as (port, *_):
        with pytest.raises(type(error)) as caught:
            async with opened(port):
                raise error
    assert caught.value is error


async def test_a_message_that_is_too_long_ends_it() -> None:
    async with an_echo() as (port, *_), opened(port) as (connection, _):
        await connection.send_message("x" * 1_001)
        with pytest.raises(ConnectionClosed) as caught:
            await connection.get_message()
    assert caught.value.reason is not None
    assert caught.value.reason.code == 1009


async def test_it_may_be_cancelled_at_every_step() -> None:
    async with an_echo() as (port, *_):
        for steps in range(40):
            with trio.CancelScope() as scope:
                async with open_background() as nursery:
                    nursery.start_soon(_cancel_after, steps, scope)
                    async with opened(port) as (connection, _):
                        await connection.send_message("hello")
                        await connection.get_message()


async def _cancel_after(steps: int, scope: trio.CancelScope) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


# -- there is none -------------------------------------------------------------------------------


async def test_nobody_listens() -> None:
    with kept_port() as port:
        assert await refusal(port) == "no WebSocket at 127.0.0.1: OSError"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        (
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n"
        ),
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
    ids=["refused", "key of another", "another protocol", "nothing"],
)
async def test_what_answers_is_no_websocket(answer: bytes) -> None:
    async def other(stream: trio.SocketStream) -> None:
        await stream.receive_some(4_096)
        await stream.send_all(answer)
        await stream.aclose()

    async with a_server(other) as port:
        assert "no WebSocket at 127.0.0.1" in await refusal(port)


async def test_it_breaks_before_the_handshake() -> None:
    async with a_server(trio.aclose_forcefully) as port:
        assert "no WebSocket at 127.0.0.1" in await refusal(port)


async def test_an_answer_that_never_comes_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ws_client, "_CONNECT_S", 0.2)

    async def silent(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with a_server(silent) as port:
        assert "no answer to the handshake" in await refusal(port)
        assert "no connection within 0.2 s" in await refusal(port, "wss")


async def test_what_speaks_no_tls_gets_nothing_of_the_address() -> None:
    got: list[bytes] = []

    async def plain(stream: trio.SocketStream) -> None:
        got.append(await stream.receive_some(4_096))
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await stream.aclose()

    async with a_server(plain) as port:
        assert await refusal(port, "wss") == "no WebSocket at 127.0.0.1: BrokenResourceError"
    assert TICKET.encode() not in b"".join(got)


# -- addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "plain", "is_one"),
    [
        ("wss://gateway.example", False, True),
        ("wss://gateway.example:8443/link?ticket=1", False, True),
        ("ws://127.0.0.1:80", True, True),
        ("ws://[::1]:80/link", True, True),
        ("ws://localhost", True, True),
        ("ws://127.0.0.1:80", False, False),
        ("ws://gateway.example", True, False),
        ("ws://127.0.0.1.example", True, False),
        ("https://gateway.example", True, False),
        ("wss://user:word@gateway.example", False, False),
        ("wss://user@gateway.example", False, False),
        ("wss://gateway.example:0", False, False),
        ("wss://gateway.example:99999", False, False),
        ("wss://gateway.example:port", False, False),
        ("wss://[", False, False),
        ("wss://", False, False),
        ("ws://?", True, False),
        ("nowhere", True, False),
        ("", True, False),
    ],
)
def test_an_address_must_be_encrypted_unless_it_is_here(
    url: str, plain: bool, is_one: bool
) -> None:
    assert is_websocket_url(url, plain=plain) is is_one
