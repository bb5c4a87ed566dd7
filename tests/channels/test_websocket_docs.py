"""docs/websocket.md says what the server does: its transcript is played, its table compared."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from turnkeeper.actors.errors import MessageIdReused
from turnkeeper.actors.messages import (
    Accepted,
    Address,
    DeliveryId,
    InboundTurn,
    Instance,
    SessionId,
    TurnId,
)
from turnkeeper.channels.base import LostAnswer, Outbound, TurnEnded
from turnkeeper.channels.websocket import WebSocketChannel, WebSocketLimits

DOCUMENT = Path(__file__).parents[2] / "docs" / "websocket.md"
JO = Address(instance=Instance("ws"), conversation="jo")


def transcript() -> list[tuple[str, str]]:
    block = re.search(r"```transcript\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert block is not None
    return [(who, what) for who, _, what in (line.partition(" ") for line in block[1].splitlines())]


class Runtime:
    """Knows the texts of the turns that it has accepted, by message id."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    async def deliver(self, turn: InboundTurn) -> Accepted:
        await trio.lowlevel.checkpoint()
        duplicate = turn.message_id in self.texts
        if self.texts.setdefault(turn.message_id, turn.text) != turn.text:
            raise MessageIdReused(f"{turn.message_id} was another message")
        number = list(self.texts).index(turn.message_id) + 1
        return Accepted(
            session_id=SessionId("s1"), turn_id=TurnId(f"s1/{number}"), duplicate=duplicate
        )


@asynccontextmanager
async def client(channel: WebSocketChannel) -> AsyncGenerator[WebSocketConnection]:
    async with (
        await trio.open_tcp_stream(*channel.address) as stream,
        trio.open_nursery() as nursery,
    ):
        yield await wrap_client_stream(nursery, stream, "server", "/")
        nursery.cancel_scope.cancel()


async def test_the_transcript_is_what_client_and_server_say() -> None:
    channel = WebSocketChannel("ws", tokens={"c8e1…": "jo"})
    lines = transcript()
    epoch = ""
    sent: set[str] = set()

    async def send(frame: dict[str, Any]) -> None:
        try:
            await channel.send(
                Outbound(
                    delivery_id=DeliveryId(frame["delivery_id"]),
                    address=JO,
                    text=frame["text"],
                    reply_to="jo/" + frame["reply_to"],
                )
            )
        except LostAnswer:
            assert ("lost", "") in lines

    async def provoke(frame: dict[str, Any]) -> None:
        """What the runtime does by itself, so that the server says this."""
        if frame["type"] == "reply" and frame["delivery_id"] not in sent:
            sent.add(frame["delivery_id"])
            server.start_soon(send, frame)
        if frame["type"] == "turn_ended":
            channel.turn_ended(
                TurnEnded(
                    turn_id=TurnId(frame["turn"]),
                    address=JO,
                    status=frame["status"],
                    delivery_id=DeliveryId(frame["delivery_id"]),
                )
            )

    async def play(ws: WebSocketConnection, who: str, what: str) -> None:
        nonlocal epoch
        if who == "client":
            await ws.send_message(what.replace("a52e01b7c9d4", epoch or "a52e01b7c9d4"))
        elif who == "server":
            wanted = json.loads(what)
            await provoke(wanted)
            heard = json.loads(await ws.get_message())
            epoch = epoch or heard["cursor"].partition("-")[0]
            assert heard == json.loads(what.replace("a52e01b7c9d4", epoch))
        else:
            assert who == "closed"
            with pytest.raises(ConnectionClosed) as closed:
                await ws.get_message()
            assert closed.value.reason is not None
            assert closed.value.reason.code == int(what)

    with trio.fail_after(10):
        async with trio.open_nursery() as server:
            server.start_soon(channel.run, Runtime().deliver)
            await channel.listening()
            cut = lines.index(("lost", ""))
            for part in (lines[:cut], lines[cut + 1 :]):
                async with client(channel) as ws:
                    for who, what in part:
                        await play(ws, who, what)
            server.cancel_scope.cancel()


def test_the_table_of_limits_names_every_limit_and_no_other() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("## Limits")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert named == [field.name for field in fields(WebSocketLimits)]


@pytest.mark.parametrize("heading", ["## Refusals", "## Errors"])
def test_every_code_that_the_server_can_say_is_explained(heading: str) -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0]
    explained = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    source = "".join(
        path.read_text(encoding="utf-8")
        for path in (DOCUMENT.parents[1] / "channels").glob("websocket*.py")
    )
    call = {
        "## Refusals": r'refused_frame\(\s*[\w.]+, "(\w+)"|TurnRefused\]?: "(\w+)"|\w+: "(\w+)",\n',
        "## Errors": r'(?:error_frame|Hangup)\(\s*"(\w+)"',
    }[heading]
    said = {code for match in re.finditer(call, source) for code in match.groups() if code}
    assert said <= explained
    assert said
