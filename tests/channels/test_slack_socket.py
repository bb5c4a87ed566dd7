"""Connections of Socket Mode that are not as they should be."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeAlias

import pytest
import trio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from turnkeeper import Accepted, InboundTurn
from turnkeeper.channels import slack_socket
from turnkeeper.channels.base import Rejected, Unreachable
from turnkeeper.channels.slack import SlackChannel

from ..peers.web import open_web

HELLO: Final = {"type": "hello", "num_connections": 1}
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Script: TypeAlias = Callable[[trio.SocketStream], Awaitable[None]]


async def shake(stream: trio.SocketStream) -> None:
    """Agree to speak WebSocket, by hand: nothing here answers pings by itself."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive_some(4_096)
    (key,) = [
        line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"sec-websocket-key:")
    ]
    accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    await stream.send_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


async def tell(stream: trio.SocketStream, frame: Any) -> None:
    raw = json.dumps(frame).encode()
    await stream.send_all(bytes((0x81, len(raw))) + raw)


@asynccontextmanager
async def a_slack(script: Script, url: str = "") -> AsyncGenerator[SlackChannel]:
    """A channel at a Slack whose WebSocket does as it is told; `url` instead of its address."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port: int = listeners[0].socket.getsockname()[1]

    async def who(_request: Request) -> JSONResponse:
        return JSONResponse({"ok": True, "user_id": "U0BOT", "bot_id": "B0BOT", "team_id": "T0"})

    async def link(_request: Request) -> JSONResponse:
        return JSONResponse({"ok": True, "url": url or f"ws://127.0.0.1:{port}/link/?ticket=t"})

    routes = [
        Route("/api/auth.test", who, methods=["POST"]),
        Route("/api/apps.connections.open", link, methods=["POST"]),
    ]

    async def follow(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # the channel has given up before
            await script(stream)

    async with open_web(Starlette(routes=routes)) as web, trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, follow, listeners)
        yield SlackChannel(
            "slack", token="xoxb-token", app_token="xapp-token", api_url=f"{web.url}/api"
        )
        nursery.cancel_scope.cancel()


async def deliver(_turn: InboundTurn) -> Accepted:
    raise AssertionError("nothing was said")


async def ended(channel: SlackChannel) -> Exception:
    """What the channel's run ends with."""
    with trio.fail_after(10):
        try:
            await channel.run(deliver)
        except (Unreachable, Rejected) as error:
            return error
    raise AssertionError("it returned")


async def test_a_connection_that_has_died_without_a_word_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slack_socket, "_PING_EVERY_S", 0.05)
    monkeypatch.setattr(slack_socket, "_PONG_S", 0.05)

    async def dead(stream: trio.SocketStream) -> None:
        await shake(stream)
        await tell(stream, HELLO)
        await trio.sleep_forever()

    async with a_slack(dead) as channel:
        assert "no sign of life" in str(await ended(channel))


async def test_a_connection_without_a_greeting_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slack_socket, "_HELLO_S", 0.1)

    async def silent(stream: trio.SocketStream) -> None:
        await shake(stream)
        await trio.sleep_forever()

    async with a_slack(silent) as channel:
        assert "greet" in str(await ended(channel))
        assert channel.line.state == "starting"


async def test_what_is_no_greeting_is_none() -> None:
    async def wrong(stream: trio.SocketStream) -> None:
        await shake(stream)
        await tell(stream, {"type": "events_api", "envelope_id": "e", "payload": {}})
        await trio.sleep_forever()

    async with a_slack(wrong) as channel:
        assert "greet" in str(await ended(channel))


async def test_whoever_speaks_no_websocket_cannot_be_heard() -> None:
    async with a_slack(trio.aclose_forcefully) as channel:
        assert "no WebSocket" in str(await ended(channel))


@pytest.mark.parametrize("url", ["https://127.0.0.1/", "ws://", "wss://[", "nowhere", "ws://?"])
async def test_an_address_that_is_none_of_a_websocket_is_not_connected_to(url: str) -> None:
    async def unused(_stream: trio.SocketStream) -> None:
        raise AssertionError("it was connected to")

    async with a_slack(unused, url) as channel:
        assert "no address" in str(await ended(channel))


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("link_disabled", Rejected),
        ("too_many_websockets", Unreachable),
        ("a_new_reason", Unreachable),
        (5, Unreachable),
    ],
)
async def test_slack_says_why_it_ends_a_connection(reason: object, kind: type[Exception]) -> None:
    async def ends(stream: trio.SocketStream) -> None:
        await shake(stream)
        await tell(stream, HELLO)
        await tell(stream, {"type": "disconnect", "reason": reason})
        await trio.sleep_forever()

    async with a_slack(ends) as channel:
        assert isinstance(await ended(channel), kind)
        assert channel.line.state == "connected"  # the runtime notes the end
