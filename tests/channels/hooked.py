"""A channel whose hook is served over real HTTP, with what a runtime would give it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import trio

from turnkeeper import Accepted, Attachment, Channel, InboundTurn, MessageChange
from turnkeeper.actors.deliveries import LateReceipt
from turnkeeper.actors.messages import SessionId, TurnId
from turnkeeper.channels.hook_server import HookServer

from ..peers.background import open_background
from ..peers.clients import open_client

__all__ = ["PATH", "Runtime", "hooked", "post_raw"]

PATH: Final = "/hooks/mine"


class Runtime:
    """Takes each message once, and notes all that it is told."""

    def __init__(self) -> None:
        self.turns: list[InboundTurn] = []
        self.changes: list[MessageChange] = []
        self.receipts: list[LateReceipt] = []
        self.kept: list[tuple[bytes, str | None]] = []
        self.refuses: Callable[[InboundTurn], Exception | None] = lambda _turn: None
        self.knows_receipts: Callable[[LateReceipt], bool] = lambda _receipt: True
        self._known: dict[tuple[str, str], int] = {}

    async def deliver(self, turn: InboundTurn) -> Accepted:
        await trio.lowlevel.checkpoint()
        refusal = self.refuses(turn)
        if refusal is not None:
            raise refusal
        key = (turn.address.conversation, turn.message_id)
        duplicate = key in self._known
        if not duplicate:
            self.turns.append(turn)
            self._known[key] = len(self.turns)
        turn_id = TurnId(f"s1/{self._known[key]}")
        return Accepted(session_id=SessionId("s1"), turn_id=turn_id, duplicate=duplicate)

    async def change(self, change: MessageChange) -> bool:
        self.changes.append(change)
        return True

    async def receipt(self, receipt: LateReceipt) -> bool:
        self.receipts.append(receipt)
        return self.knows_receipts(receipt)

    async def keep(
        self,
        content: bytes | AsyncIterable[bytes],
        /,
        *,
        kind: str,
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        assert not isinstance(content, bytes)
        whole = b"".join([piece async for piece in content])
        self.kept.append((whole, name))
        reference = f"blob:{len(self.kept)}"
        return Attachment(kind=kind, reference=reference, mime=mime, name=name)

    def texts(self) -> list[str]:
        return [turn.text for turn in self.turns]


@asynccontextmanager
async def hooked(
    channel: Channel, runtime: Runtime | None = None
) -> AsyncGenerator[tuple[Runtime, httpx.AsyncClient]]:
    """Run a channel, and a client of its server of hooks."""
    runtime = runtime or Runtime()
    channel.on_change, channel.on_receipt = runtime.change, runtime.receipt
    channel.keep_file = runtime.keep
    assert channel.hook is not None
    server = HookServer()
    server.mount(PATH, channel.hook)
    async with open_background() as nursery:
        url = await nursery.start(server.serve)
        channel.hook_url = url + PATH

        async def run() -> Any:
            await channel.run(runtime.deliver)

        nursery.start_soon(run)
        async with open_client(base_url=url, timeout=20) as client:
            with trio.fail_after(5):
                while channel.line.state != "connected":  # noqa: ASYNC110 - it tells nobody
                    await trio.sleep(0.01)
            yield runtime, client


async def post_raw(
    url: str, path: str, headers: Mapping[str, str], body: bytes, chunked: bool
) -> tuple[str, int]:
    """Post, and stop at the first byte of an answer.

    Returns:
        The first line of the answer, and how many bytes of the body were taken until then.
    """
    place = urlsplit(url)
    length = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    lines = [f"POST {path} HTTP/1.1", "host: x", length]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    stream = await trio.open_tcp_stream(place.hostname or "", place.port or 80)
    sent = 0

    async def send() -> None:
        nonlocal sent
        try:
            for start in range(0, len(body), 65_536):
                piece = body[start : start + 65_536]
                frame = b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
                await stream.send_all(frame)
                sent += len(piece)
        except trio.BrokenResourceError:
            return  # it was cut off

    async with stream, open_background() as nursery:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        nursery.start_soon(send)
        with trio.fail_after(10):
            answer = bytes(await stream.receive_some())
    return answer.partition(b"\r\n")[0].decode(), sent
