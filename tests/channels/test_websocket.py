"""The websocket channel against real clients on the loopback interface."""

import json
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import cbor2
import pytest
import trio
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
)

from turnkeeper.actors.errors import InvalidTurn, MessageIdReused, Overloaded, ShuttingDown
from turnkeeper.actors.messages import (
    Accepted,
    Address,
    Attachment,
    DeliveryId,
    InboundTurn,
    Instance,
    SessionId,
    TurnId,
)
from turnkeeper.channels.base import LostAnswer, Outbound, Rejected, TurnEnded, Unreachable
from turnkeeper.channels.websocket import WebSocketChannel, WebSocketLimits

PATIENCE_S = 5.0
"""A test that waits longer than this has failed."""

TOKENS = {"alice-secret": "alice", "bob-secret": "bob"}


class Runtime:
    """The smallest thing that takes turns: durable in a dict, deduplicated by message id."""

    def __init__(self) -> None:
        self.turns: list[InboundTurn] = []
        self.refuse: Exception | None = None
        self.gate = trio.Event()
        self.gate.set()
        self.waiting = 0

    async def deliver(self, turn: InboundTurn) -> Accepted:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        if self.refuse is not None:
            raise self.refuse
        for number, known in enumerate(self.turns, start=1):
            if known.message_id == turn.message_id:
                if known.text != turn.text:
                    raise MessageIdReused(f"{turn.message_id} was another message")
                return self._accepted(number, duplicate=True)
        self.turns.append(turn)
        return self._accepted(len(self.turns), duplicate=False)

    @staticmethod
    def _accepted(number: int, *, duplicate: bool) -> Accepted:
        return Accepted(
            session_id=SessionId("s1"), turn_id=TurnId(f"s1/{number}"), duplicate=duplicate
        )


class Client:
    """A client app; speaks JSON or CBOR."""

    def __init__(self, ws: WebSocketConnection, *, kind: str = "json") -> None:
        self.ws = ws
        self.kind = kind

    async def say(self, **frame: Any) -> None:
        await self.ws.send_message(json.dumps(frame) if self.kind == "json" else cbor2.dumps(frame))

    async def hear(self) -> dict[str, Any]:
        with trio.fail_after(PATIENCE_S):
            data = await self.ws.get_message()
        assert isinstance(data, str if self.kind == "json" else bytes)
        frame: dict[str, Any] = json.loads(data) if isinstance(data, str) else cbor2.loads(data)
        return frame

    async def hello(self, **fields: Any) -> dict[str, Any]:
        await self.say(type="hello", **fields)
        welcome = await self.hear()
        assert welcome["type"] == "welcome", welcome
        return welcome

    async def got(self, reply: dict[str, Any]) -> None:
        await self.say(type="got", cursor=reply["cursor"])

    async def closing(self) -> tuple[dict[str, Any] | None, int]:
        """The last frame before the end, if any, and the close code."""
        last = None
        while True:
            try:
                last = await self.hear()
            except ConnectionClosed as closed:
                return last, closed.reason.code if closed.reason else 0


@asynccontextmanager
async def serving(
    runtime: Runtime | None = None, **options: Any
) -> AsyncGenerator[WebSocketChannel]:
    channel = WebSocketChannel("ws", **options)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(channel.run, (runtime or Runtime()).deliver)
        with trio.fail_after(PATIENCE_S):
            await channel.listening()
        yield channel
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(
    channel: WebSocketChannel, *, kind: str = "json", receive_buffer_bytes: int | None = None
) -> AsyncGenerator[Client]:
    """A client whose socket is closed at the end, whoever ended the conversation."""
    raw = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer_bytes is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    await raw.connect(channel.address)
    async with trio.SocketStream(raw) as stream, trio.open_nursery() as nursery:
        ws = await wrap_client_stream(
            nursery, stream, "server", "/", receive_buffer_size=2**16, max_message_size=2**23
        )
        yield Client(ws, kind=kind)
        with trio.move_on_after(PATIENCE_S):
            await ws.aclose()
        nursery.cancel_scope.cancel()


async def handshake(channel: WebSocketChannel, *, origin: str | None) -> trio.SocketStream:
    """Ask for a websocket, byte by byte as a browser does."""
    stream = await trio.open_tcp_stream(*channel.address)
    header = b"" if origin is None else f"Origin: {origin}\r\n".encode()
    await stream.send_all(
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n"
        + header
        + b"\r\n"
    )
    return stream


def outbound(number: int, text: str = "hello", *, to: str = "alice", **more: Any) -> Outbound:
    return Outbound(
        delivery_id=DeliveryId(f"s1/d{number}"),
        address=Address(instance=Instance("ws"), conversation=to),
        text=text,
        **more,
    )


async def until_nobody_is_connected(channel: WebSocketChannel) -> None:
    with trio.fail_after(PATIENCE_S):
        while not repr(channel).endswith(" 0 connected>"):
            await trio.lowlevel.checkpoint()


# --- a conversation -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["json", "cbor"])
async def test_a_message_is_acknowledged_once_durable_and_its_reply_once_got(kind: str) -> None:
    runtime = Runtime()
    runtime.gate = trio.Event()
    async with serving(runtime) as channel, connected(channel, kind=kind) as client:
        welcome = await client.hello(user="alice", name="Alice 👩‍🔬")
        assert welcome["conversation"] == "alice"
        assert welcome["version"] == 1
        assert welcome["missed"] is False
        assert welcome["limits"]["max_text_bytes"] == 1024 * 1024

        await client.say(
            type="message",
            id="m1",
            text="hi\x00 שלום",
            reply_to="s1/9",
            attachments=[{"kind": "image", "reference": "blob:1", "size_bytes": 12}],
        )
        with trio.move_on_after(0.02):
            pytest.fail(f"answered before it was durable: {await client.hear()}")
        runtime.gate.set()
        assert await client.hear() == {
            "type": "ack",
            "id": "m1",
            "turn": "s1/1",
            "session": "s1",
            "duplicate": False,
        }
        assert runtime.turns == [
            InboundTurn(
                address=Address(instance=Instance("ws"), conversation="alice"),
                platform="websocket",
                message_id="alice/m1",
                user_id="alice",
                user_name="Alice 👩‍🔬",
                text="hi\x00 שלום",
                reply_to="s1/9",
                attachments=(Attachment(kind="image", reference="blob:1", size_bytes=12),),
            )
        ]

        receipts: list[str] = []

        async def send() -> None:
            receipt = await channel.send(outbound(1, "hello", reply_to="alice/m1"))
            receipts.append(receipt.platform_message_id)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            reply = await client.hear()
            assert reply == {
                "type": "reply",
                "cursor": reply["cursor"],
                "delivery_id": "s1/d1",
                "text": "hello",
                "reply_to": "m1",
            }
            assert receipts == []
            await client.got(reply)
        assert receipts == ["s1/d1"]

        channel.turn_ended(
            TurnEnded(
                turn_id=TurnId("s1/1"),
                address=outbound(1).address,
                status="answered",
                delivery_id=DeliveryId("s1/d1"),
            )
        )
        assert await client.hear() == {
            "type": "turn_ended",
            "turn": "s1/1",
            "status": "answered",
            "delivery_id": "s1/d1",
        }


async def test_messages_of_a_client_are_delivered_in_the_order_in_which_it_said_them() -> None:
    runtime = Runtime()
    async with serving(runtime) as channel, connected(channel) as client:
        await client.hello(user="alice")
        for number in range(20):
            await client.say(type="message", id=f"m{number}", text=str(number))
        assert [(await client.hear())["id"] for _ in range(20)] == [f"m{n}" for n in range(20)]
    assert [turn.text for turn in runtime.turns] == [str(number) for number in range(20)]


async def test_a_reply_reaches_every_device_and_one_got_is_the_receipt() -> None:
    async with (
        serving() as channel,
        connected(channel) as phone,
        connected(channel, kind="cbor") as laptop,
    ):
        await phone.hello(user="alice")
        await laptop.hello(user="alice")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.send, outbound(1))
            assert (await phone.hear())["text"] == "hello"
            await laptop.got(await laptop.hear())


async def test_a_lone_surrogate_survives_in_json_and_is_replaced_in_cbor() -> None:
    runtime = Runtime()
    async with (
        serving(runtime) as channel,
        connected(channel) as text_client,
        connected(channel, kind="cbor") as cbor_client,
    ):
        await text_client.hello(user="alice")
        await cbor_client.hello(user="alice")
        await text_client.say(type="message", id="m1", text="\ud800!")
        await text_client.hear()
        assert runtime.turns[0].text == "\ud800!"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.send, outbound(1, "\ud800 é"))
            assert (await cbor_client.hear())["text"] == "\ufffd é"
            reply = await text_client.hear()
            assert reply["text"] == "\ud800 é"
            await text_client.got(reply)


# --- reconnecting ---------------------------------------------------------------------------------


async def test_a_client_that_resumes_gets_what_it_missed_and_nothing_twice() -> None:
    async with serving() as channel, connected(channel) as laptop:
        await laptop.hello(user="alice")
        async with connected(channel) as phone:
            await phone.hello(user="alice")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.send, outbound(1, "one"))
                first = await phone.hear()
                await phone.got(first)
        assert (await laptop.hear())["text"] == "one"
        for number, text in ((2, "two"), (3, "three")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.send, outbound(number, text))
                await laptop.got(await laptop.hear())
        async with connected(channel) as phone:
            welcome = await phone.hello(user="alice", resume=first["cursor"])
            assert welcome["missed"] is False
            assert welcome["cursor"] == first["cursor"]
            second, third = await phone.hear(), await phone.hear()
            assert [second["text"], third["text"]] == ["two", "three"]
        async with connected(channel) as phone:
            welcome = await phone.hello(user="alice", resume=third["cursor"])
            assert welcome["cursor"] == third["cursor"]
            await phone.say(type="message", id="m1", text="nothing came before this ack")
            assert (await phone.hear())["type"] == "ack"


async def test_a_reply_sent_but_not_got_is_replayed_and_its_resend_is_not_shown_twice() -> None:
    async with serving() as channel:
        async with trio.open_nursery() as nursery, connected(channel) as client:
            await client.hello(user="alice")

            async def send_and_lose() -> None:
                with pytest.raises(LostAnswer):
                    await channel.send(outbound(1))

            nursery.start_soon(send_and_lose)
            before = await client.hear()
        async with connected(channel) as client:
            await client.hello(user="alice")
            again = await client.hear()
            assert again == before
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.send, outbound(1, resend=True))
                await client.got(again)
            await client.say(type="message", id="m1", text="nothing came before this ack")
            assert (await client.hear())["type"] == "ack"
            receipt = await channel.send(outbound(1, resend=True))
            assert receipt.platform_message_id == "s1/d1"


async def test_a_resume_proves_that_everything_up_to_its_cursor_has_arrived() -> None:
    async with serving() as channel:
        async with trio.open_nursery() as nursery, connected(channel) as client:
            await client.hello(user="alice")

            async def send_and_lose() -> None:
                with pytest.raises(LostAnswer):
                    await channel.send(outbound(1))

            nursery.start_soon(send_and_lose)
            reply = await client.hear()
        async with connected(channel) as client:
            await client.hello(user="alice", resume=reply["cursor"])
            with trio.fail_after(PATIENCE_S):
                await channel.send(outbound(1, resend=True))


async def test_after_a_restart_the_client_is_not_shown_what_it_says_it_has_seen() -> None:
    async with serving() as before, connected(before) as client:
        cursor = (await client.hello(user="alice"))["cursor"]
    async with serving() as after, connected(after) as client:
        welcome = await client.hello(user="alice", resume=cursor, seen=["s1/d1"])
        assert welcome["missed"] is True
        with trio.fail_after(PATIENCE_S):
            await after.send(outbound(1, "seen", resend=True))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(after.send, outbound(2, "not seen"))
            reply = await client.hear()
            assert reply["text"] == "not seen"
            await client.got(reply)


async def test_unacknowledged_messages_sent_again_are_acknowledged_as_duplicates() -> None:
    runtime = Runtime()
    async with serving(runtime) as channel:
        async with connected(channel) as client:
            await client.hello(user="alice")
            await client.say(type="message", id="m1", text="hi")
            await client.hear()
        async with connected(channel) as client:
            await client.hello(user="alice")
            await client.say(type="message", id="m1", text="hi")
            ack = await client.hear()
    assert (ack["type"], ack["duplicate"]) == ("ack", True)
    assert len(runtime.turns) == 1


async def test_a_client_that_was_away_too_long_is_told_that_it_may_have_missed_something() -> None:
    limits = WebSocketLimits(replay_replies=2)
    async with serving(limits=limits) as channel, connected(channel) as laptop:
        cursor = (await laptop.hello(user="alice"))["cursor"]
        for number in range(4):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.send, outbound(number, str(number)))
                await laptop.got(await laptop.hear())
        async with connected(channel) as phone:
            assert (await phone.hello(user="alice", resume=cursor))["missed"] is True
            assert [(await phone.hear())["text"] for _ in range(2)] == ["2", "3"]


async def test_a_conversation_forgotten_for_want_of_room_makes_its_cursors_unknown() -> None:
    async with serving(limits=WebSocketLimits(max_rooms=1)) as channel:
        cursors: dict[str, str] = {}
        for user in ("alice", "bob"):
            async with connected(channel) as client:
                cursors[user] = (await client.hello(user=user))["cursor"]
            await until_nobody_is_connected(channel)
        async with connected(channel) as client:
            assert (await client.hello(user="bob", resume=cursors["bob"]))["missed"] is False
        async with connected(channel) as client:
            assert (await client.hello(user="alice", resume=cursors["alice"]))["missed"] is True


async def test_the_conversation_that_was_unused_longest_is_forgotten_first() -> None:
    async with serving(limits=WebSocketLimits(max_rooms=2)) as channel:
        cursors: dict[str, str] = {}
        for user in ("alice", "bob", "alice", "carol"):
            async with connected(channel) as client:
                welcome = await client.hello(user=user, resume=cursors.get(user))
                cursors[user] = welcome["cursor"]
            await until_nobody_is_connected(channel)
        for user, forgotten in (("alice", False), ("carol", False), ("bob", True)):
            async with connected(channel) as client:
                welcome = await client.hello(user=user, resume=cursors[user])
                assert (user, welcome["missed"]) == (user, forgotten)


async def test_whoever_waits_for_a_conversation_is_told_when_somebody_enters_it() -> None:
    reached: list[str] = []
    async with serving() as channel:
        channel.on_reachable = reached.append
        with pytest.raises(Unreachable) as unreachable:
            await channel.send(outbound(1))
        assert unreachable.value.reason == "not_connected"
        async with connected(channel) as client:
            await client.hello(user="alice")
            assert reached == ["alice"]


async def test_a_reply_that_nobody_acknowledges_in_time_is_a_lost_answer() -> None:
    limits = WebSocketLimits(receipt_timeout_s=0.02)
    async with serving(limits=limits) as channel, connected(channel) as client:
        await client.hello(user="alice")
        with pytest.raises(LostAnswer, match="s1/d1"):
            await channel.send(outbound(1))


async def test_a_reply_over_the_limit_is_rejected_for_good() -> None:
    limits = WebSocketLimits(max_reply_bytes=10)
    async with serving(limits=limits) as channel, connected(channel) as client:
        await client.hello(user="alice")
        with pytest.raises(Rejected) as rejected:
            await channel.send(outbound(1, "éééééé"))
        assert rejected.value.reason == "too_long"


# --- who gets in ----------------------------------------------------------------------------------


async def test_a_token_names_its_user() -> None:
    async with serving(tokens=TOKENS) as channel, connected(channel) as client:
        assert (await client.hello(token="bob-secret"))["user"] == "bob"


@pytest.mark.parametrize(
    "hello",
    [
        {},
        {"user": "alice"},
        {"token": "", "user": "alice"},
        {"token": "wrong", "user": "alice"},
        {"token": "bob-secret", "user": "alice"},
        {"token": "alice-secret\x00"},
    ],
)
async def test_a_wrong_token_or_user_is_denied_with_one_and_the_same_text(
    hello: dict[str, str],
) -> None:
    async with serving(tokens=TOKENS) as channel, connected(channel) as client:
        await client.say(type="hello", **hello)
        assert await client.closing() == (
            {"type": "error", "code": "denied", "text": "token and user do not fit"},
            1008,
        )


@pytest.mark.parametrize("user", [None, "", "a/b", "#a", "a b", "é", "a\u202e", "x" * 129])
async def test_without_tokens_the_user_is_a_plain_name(user: str | None) -> None:
    async with serving() as channel, connected(channel) as client:
        await client.say(type="hello", user=user)
        error, code = await client.closing()
        assert error is not None
        assert error["code"] in {"denied", "bad_frame"}
        assert code == 1008


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "localhost", "example.org"])
def test_without_tokens_it_listens_on_a_loopback_address_only(host: str) -> None:
    with pytest.raises(ValueError, match="tokens are needed"):
        WebSocketChannel("ws", host=host)
    WebSocketChannel("ws", host=host, tokens=TOKENS)
    WebSocketChannel("ws", host="127.0.0.2")
    WebSocketChannel("ws", host="::1")


@pytest.mark.parametrize("tokens", [{"": "alice"}, {"secret": "a/b"}, {"secret": ""}])
def test_tokens_that_could_confuse_users_are_refused(tokens: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"empty token|plain name"):
        WebSocketChannel("ws", tokens=tokens)


async def test_no_secret_is_shown_anywhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(tokens=TOKENS) as channel:
        async with connected(channel) as client:
            await client.hello(token="alice-secret")
            shown = repr(channel) + repr(vars(channel))
        async with connected(channel) as client:
            await client.say(type="hello", token="alice-secret", user="bob")
            shown += repr(await client.closing())
    assert "secret" not in shown + caplog.text


async def test_users_cannot_reach_each_others_conversations() -> None:
    async with (
        serving(tokens=TOKENS, shared_conversations=["team"]) as channel,
        connected(channel) as alice,
        connected(channel) as bob,
        connected(channel) as bob_team,
    ):
        assert (await alice.hello(token="alice-secret"))["conversation"] == "alice"
        mine = await bob.hello(token="bob-secret", conversation="alice")
        assert mine["conversation"] == "bob/alice"
        team = await bob_team.hello(token="bob-secret", conversation="team")
        assert team["conversation"] == "#team"


async def test_only_a_shared_conversation_is_not_direct() -> None:
    runtime = Runtime()
    async with serving(runtime, shared_conversations=["team"]) as channel:
        for number, conversation in enumerate(("team", "notes", None)):
            async with connected(channel) as client:
                await client.hello(user="alice", conversation=conversation)
                await client.say(type="message", id=str(number), text="hi")
                await client.hear()
    assert [(turn.address.conversation, turn.direct) for turn in runtime.turns] == [
        ("#team", False),
        ("alice/notes", True),
        ("alice", True),
    ]


async def test_two_users_of_a_shared_conversation_may_count_their_messages_alike() -> None:
    runtime = Runtime()
    async with serving(runtime, shared_conversations=["team"]) as channel:
        for user in ("alice", "bob"):
            async with connected(channel) as client:
                await client.hello(user=user, conversation="team")
                await client.say(type="message", id="1", text=user)
                assert (await client.hear())["type"] == "ack"
    assert len(runtime.turns) == 2


async def test_a_page_from_elsewhere_may_not_connect() -> None:
    async with serving(allowed_origins=["https://chat.example"]) as channel:
        port = channel.address[1]
        for origin, status in {
            "https://evil.example": 403,
            f"http://evil.example:{port}": 403,
            f"http://127.0.0.1:{port + 1}": 403,
            "http://localhost": 403,
            "null": 403,
            "": 403,
            "https://chat.example.evil.example": 403,
            f"http://[broken:{port}": 403,
            None: 101,
            "https://chat.example": 101,
            f"http://127.0.0.1:{port}": 101,
            f"http://localhost:{port}": 101,
        }.items():
            async with await handshake(channel, origin=origin) as stream:
                with trio.fail_after(PATIENCE_S):
                    answer = await stream.receive_some()
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), (origin, answer)


# --- limits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "code", "close_code"),
    [
        ('{"type":"message","id":"1","text":"hi"}', "hello_expected", 1008),
        ('{"type":"hello","user":"alice","password":"x"}', "bad_frame", 1008),
        ('{"type":"hello","user":1}', "bad_frame", 1008),
        ('{"type":"hello","user":"alice","version":2}', "bad_frame", 1008),
        ('{"type":"hello","user":"alice","seen":[1]}', "bad_frame", 1008),
        ("no json", "unreadable", 1007),
        (b"\xff\xff", "unreadable", 1007),
        ('{"type":"hello","user":"' + "x" * 8192 + '"}', "too_big", 1009),
    ],
)
async def test_a_first_frame_that_is_no_hello_closes(
    first: str | bytes, code: str, close_code: int
) -> None:
    async with serving() as channel:
        async with connected(channel, kind="json" if isinstance(first, str) else "cbor") as client:
            await client.ws.send_message(first)
            error, closed = await client.closing()
        assert error is not None
        assert (error["code"], closed) == (code, close_code)
        await until_nobody_is_connected(channel)


async def test_a_stranger_may_not_send_more_than_a_hello_needs() -> None:
    async with serving() as channel, connected(channel) as client:
        with suppress(ConnectionClosed):  # cut before everything was sent
            await client.ws.send_message("x" * 900_000)
        assert await client.closing() == (None, 1009)


async def test_a_stranger_that_says_no_hello_is_told_so_and_closed() -> None:
    limits = WebSocketLimits(hello_timeout_s=1.0)  # within which they must have shaken hands
    async with serving(limits=limits) as channel, connected(channel) as client:
        error, code = await client.closing()
        assert error is not None
        assert (error["code"], code) == ("hello_timeout", 1008)


async def test_a_stranger_that_stays_silent_is_closed() -> None:
    limits = WebSocketLimits(hello_timeout_s=0.05)
    async with (
        serving(limits=limits) as channel,
        await trio.open_tcp_stream(*channel.address) as stream,
    ):
        with trio.fail_after(PATIENCE_S):
            assert await stream.receive_some() == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"no http at all\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 30_000,
    ],
)
async def test_whoever_asks_for_no_websocket_is_let_go_at_once(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    limits = WebSocketLimits(hello_timeout_s=PATIENCE_S * 10)
    async with serving(limits=limits) as channel:
        async with await trio.open_tcp_stream(*channel.address) as stream:
            await stream.send_all(request_bytes)
            with suppress(trio.BrokenResourceError), trio.fail_after(PATIENCE_S):
                while await stream.receive_some():
                    pass
        async with await trio.open_tcp_stream(*channel.address):
            pass
        await until_nobody_is_connected(channel)
    assert "failed" not in caplog.text


@pytest.mark.parametrize(
    "limits", [WebSocketLimits(max_unauthenticated=1), WebSocketLimits(max_connections=1)]
)
async def test_connections_over_the_limit_are_refused_until_one_ends(
    limits: WebSocketLimits,
) -> None:
    async with serving(limits=limits) as channel:
        async with connected(channel), await trio.open_tcp_stream(*channel.address) as stream:
            with trio.fail_after(PATIENCE_S):
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 503 ")
        await until_nobody_is_connected(channel)
        async with connected(channel) as client:
            await client.hello(user="alice")


@pytest.mark.parametrize(
    ("frame", "code", "text"),
    [
        ({"type": "message", "id": "m1"}, "bad_frame", "frame needs text"),
        ({"type": "message", "id": "m1", "text": 1}, "bad_frame", "text is text, not int"),
        ({"type": "message", "id": "m1", "text": []}, "bad_frame", "text is text, not a list"),
        (
            {"type": "message", "id": "m1", "text": "", "colour": 1},
            "bad_frame",
            "frame has no field 'colour'",
        ),
        (
            {"type": "message", "id": "m1", "text": "", "attachments": {}},
            "bad_frame",
            "attachments is a list, not a map",
        ),
        (
            {"type": "message", "id": "m1", "text": "", "attachments": [{"kind": "virus"}]},
            "bad_frame",
            "attachment needs reference",
        ),
        ({"type": "message", "id": "m1", "text": "x" * 101}, "too_long", "text is longer"),
    ],
)
async def test_a_message_that_makes_no_sense_is_refused_by_name_and_the_next_is_taken(
    frame: dict[str, Any], code: str, text: str
) -> None:
    limits = WebSocketLimits(max_text_bytes=100)
    async with serving(limits=limits) as channel, connected(channel) as client:
        await client.hello(user="alice")
        await client.say(**frame)
        refused = await client.hear()
        assert (refused["type"], refused["id"], refused["code"]) == ("refused", "m1", code)
        assert refused["retryable"] is False
        assert refused["error"].startswith(text)
        await client.say(type="message", id="m1", text="hi")
        assert (await client.hear())["type"] == "ack"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({"type": "message", "text": "hi"}, "bad_frame"),
        ({"type": "message", "id": "", "text": "hi"}, "bad_frame"),
        ({"type": "message", "id": "x" * 129, "text": "hi"}, "bad_frame"),
        ({"type": "dance"}, "bad_frame"),
        ({}, "bad_frame"),
        ({"type": "hello", "user": "alice"}, "bad_frame"),
        ({"type": "got"}, "bad_frame"),
        ({"type": "got", "cursor": "elsewhere-1"}, "bad_cursor"),
        ({"type": "got", "cursor": ""}, "bad_cursor"),
    ],
)
async def test_other_frames_that_make_no_sense_are_named_and_the_connection_goes_on(
    frame: dict[str, Any], code: str
) -> None:
    async with serving() as channel, connected(channel) as client:
        await client.hello(user="alice")
        await client.say(**frame)
        answer = await client.hear()
        assert answer["code"] == code
        await client.say(type="message", id="m1", text="hi")
        assert (await client.hear())["type"] == "ack"


async def test_a_cursor_that_was_not_sent_yet_cannot_be_got() -> None:
    async with serving() as channel, connected(channel) as client:
        welcome = await client.hello(user="alice")
        ahead = welcome["cursor"].removesuffix("0") + "1"
        await client.say(type="got", cursor=ahead)
        assert (await client.hear())["code"] == "bad_cursor"


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        ("json", "{"),
        ("json", '{"type":"got","cursor":"x"} trailing'),
        ("json", '{"type":"got","type":"got","cursor":"x"}'),
        ("json", "[" * 100_000),
        ("json", '{"a":' * 10 + "1" + "}" * 10),
        ("json", '{"a":NaN}'),
        ("json", "9" * 5000),
        ("json", "[]"),
        ("cbor", cbor2.dumps({"type": "got", "cursor": "x"}) + b"\x00"),
        ("cbor", b"\xa2aa\x01aa\x02"),
        ("cbor", b"\x81" * 100_000),
        ("cbor", cbor2.dumps({"a": cbor2.CBORTag(2, b"\x01")})),
        ("cbor", cbor2.dumps({"a": cbor2.CBORTag(35, "(a+)+$")})),
        ("cbor", b"\xd9\xd9\xf7\xa0"),
        ("cbor", b"\xbfaa\x01\xff"),
        ("cbor", b"\xa1\x01\x02"),
        ("cbor", b"\xa1aaa\xff"),
        ("cbor", b"\x9a\xff\xff\xff\xff"),
        ("cbor", b""),
    ],
)
async def test_a_frame_that_cannot_be_read_closes(kind: str, data: str | bytes) -> None:
    async with serving() as channel, connected(channel, kind=kind) as client:
        await client.hello(user="alice")
        await client.ws.send_message(data)
        error, code = await client.closing()
        assert error is not None
        assert (error["type"], error["code"], code) == ("error", "unreadable", 1007)


async def test_a_frame_of_the_other_kind_closes() -> None:
    async with serving() as channel, connected(channel) as client:
        await client.hello(user="alice")
        await client.ws.send_message(cbor2.dumps({"type": "got", "cursor": "x"}))
        error, code = await client.closing()
        assert error is not None
        assert (error["code"], code) == ("wrong_kind", 1003)


@pytest.mark.parametrize("text", ["x" * 2_000_000, "x" * 5000, "é" * 900])
async def test_a_frame_over_the_limit_closes(text: str) -> None:
    limits = WebSocketLimits(max_text_bytes=500, max_frame_bytes=1000)
    async with serving(limits=limits) as channel, connected(channel) as client:
        await client.hello(user="alice")
        with suppress(ConnectionClosed):  # closed before everything was sent
            await client.ws.send_message(text)
        assert (await client.closing())[1] == 1009


async def test_haste_is_refused_by_name_and_then_closes() -> None:
    runtime = Runtime()
    limits = WebSocketLimits(messages_per_s=0.001, burst_messages=2, max_slow_downs=3)
    async with serving(runtime, limits=limits) as channel, connected(channel) as client:
        await client.hello(user="alice")
        for number in range(6):
            await client.say(type="message", id=f"m{number}", text="now!")
        answers = [await client.hear() for _ in range(5)]
        assert sorted(answer["type"] for answer in answers) == ["ack"] * 2 + ["refused"] * 3
        refused = [answer for answer in answers if answer["type"] == "refused"]
        assert {answer["code"] for answer in refused} == {"slow_down"}
        assert all(answer["retryable"] and answer["retry_after_s"] > 0 for answer in refused)
        error, code = await client.closing()
        assert error is not None
        assert (error["code"], code) == ("slow_down", 1008)
    assert len(runtime.turns) == 2


async def test_a_client_that_waits_as_long_as_it_is_told_is_never_closed() -> None:
    limits = WebSocketLimits(messages_per_s=100, burst_messages=1, max_slow_downs=3)
    async with serving(limits=limits) as channel, connected(channel) as client:
        await client.hello(user="alice")
        refusals = 0
        for number in range(100):
            await client.say(type="message", id=f"m{number}", text="hi")
            answer = await client.hear()
            if answer["type"] == "refused":
                refusals += 1
                await trio.sleep(answer["retry_after_s"] + 0.001)
            if refusals > 2 * limits.max_slow_downs:
                break
        else:
            pytest.fail("the rate was never reached")


async def test_acknowledging_replies_does_not_count_towards_the_rate() -> None:
    limits = WebSocketLimits(messages_per_s=0.001, burst_messages=1)
    async with serving(limits=limits) as channel, connected(channel) as client:
        reply = await client.hello(user="alice")
        for number in range(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.send, outbound(number))
                reply = await client.hear()
                await client.got(reply)
        await client.say(type="message", id="m1", text="hi")
        assert (await client.hear())["type"] == "ack"
        await client.got(reply)
        assert (await client.hear())["code"] == "slow_down"


async def test_messages_that_wait_to_become_durable_are_bounded() -> None:
    runtime = Runtime()
    runtime.gate = trio.Event()
    limits = WebSocketLimits(max_in_flight=2)
    async with serving(runtime, limits=limits) as channel, connected(channel) as client:
        await client.hello(user="alice")
        for number in range(3):
            await client.say(type="message", id=f"m{number}", text="hi")
        refused = await client.hear()
        assert (refused["id"], refused["code"]) == ("m2", "too_many_in_flight")
        assert refused["retryable"] is True
        runtime.gate.set()
        assert [(await client.hear())["id"] for _ in range(2)] == ["m0", "m1"]
        for number in range(3, 6):
            await client.say(type="message", id=f"m{number}", text="hi")
            assert (await client.hear())["type"] == "ack"


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (InvalidTurn("no"), "invalid", False),
        (MessageIdReused("no"), "id_reused", False),
        (Overloaded("no"), "overloaded", True),
        (ShuttingDown("no"), "shutting_down", True),
    ],
)
async def test_a_turn_that_is_refused_is_told_with_its_reason(
    error: Exception, code: str, *, retryable: bool
) -> None:
    runtime = Runtime()
    runtime.refuse = error
    async with serving(runtime) as channel, connected(channel) as client:
        await client.hello(user="alice")
        await client.say(type="message", id="m1", text="hi")
        assert await client.hear() == {
            "type": "refused",
            "id": "m1",
            "code": code,
            "error": "no",
            "retryable": retryable,
        }


async def test_a_message_id_with_another_body_is_refused() -> None:
    async with serving() as channel, connected(channel) as client:
        await client.hello(user="alice")
        await client.say(type="message", id="m1", text="hi")
        await client.hear()
        await client.say(type="message", id="m1", text="something else")
        assert (await client.hear())["code"] == "id_reused"


async def test_a_runtime_that_breaks_costs_one_connection_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtime = Runtime()
    runtime.refuse = RuntimeError("a defect")
    async with (
        serving(runtime) as channel,
        connected(channel) as client,
        connected(channel) as other,
    ):
        await client.hello(user="alice")
        await other.hello(user="bob")
        await client.say(type="message", id="m1", text="hi")
        error, code = await client.closing()
        assert error is not None
        assert (error["code"], code) == ("internal", 1011)
        assert "a defect" not in error["text"]
        runtime.refuse = None
        await other.say(type="message", id="m1", text="hi")
        assert (await other.hear())["type"] == "ack"
    assert "a defect" in caplog.text


# --- clients that do not cooperate ----------------------------------------------------------------


@pytest.mark.parametrize(
    "limits",
    [
        WebSocketLimits(write_timeout_s=0.5, max_queue_bytes=1024**3),
        WebSocketLimits(
            write_timeout_s=PATIENCE_S * 10,
            max_reply_bytes=1024 * 1024,
            replay_bytes=1,
            max_queue_frames=257,
            max_queue_bytes=1024 * 1024 * 2,
        ),
    ],
    ids=["write timeout", "full queue"],
)
async def test_a_client_that_does_not_read_is_dropped_alone(
    limits: WebSocketLimits, caplog: pytest.LogCaptureFixture
) -> None:
    text = "z" * 900_000
    async with (
        serving(limits=limits) as channel,
        connected(channel, receive_buffer_bytes=4096) as deaf,
        connected(channel) as good,
    ):
        await deaf.hello(user="alice")  # and never reads again
        await good.hello(user="alice")
        number = 0
        with trio.fail_after(PATIENCE_S):
            while "2 connected" in repr(channel):
                number += 1
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(channel.send, outbound(number, text))
                    await good.got(await good.hear())
    assert "is dropped" in caplog.text


async def test_a_client_for_which_too_much_waits_is_told_so_where_it_can_be() -> None:
    limits = WebSocketLimits(max_queue_frames=257)
    async with serving(limits=limits) as channel, connected(channel) as client:
        await client.hello(user="alice")
        for number in range(300):  # all at once: the writer has had no chance
            channel.turn_ended(
                TurnEnded(
                    turn_id=TurnId(f"s1/{number}"), address=outbound(1).address, status="silent"
                )
            )
        error, code = await client.closing()
        assert error is not None
        assert (error["code"], code) == ("too_slow", 1008)


async def test_a_reply_that_never_left_is_taken_back_when_its_client_is_dropped() -> None:
    limits = WebSocketLimits(write_timeout_s=0.5, max_queue_bytes=1024**3)
    outcomes: list[str] = []

    async def send(channel: WebSocketChannel, number: int) -> None:
        with pytest.raises((LostAnswer, Unreachable)) as failed:
            await channel.send(outbound(number, "z" * 4_000_000))
        outcomes.append(type(failed.value).__name__)

    async with serving(limits=limits) as channel:
        async with connected(channel, receive_buffer_bytes=4096) as deaf:
            await deaf.hello(user="alice")
            with trio.fail_after(PATIENCE_S):
                async with trio.open_nursery() as nursery:
                    for number in range(8):
                        nursery.start_soon(send, channel, number)
        assert set(outcomes) == {"LostAnswer", "Unreachable"}
        async with connected(channel) as client:
            await client.hello(user="alice")
            for _ in range(outcomes.count("LostAnswer")):
                assert (await client.hear())["type"] == "reply"
            await client.say(type="message", id="m1", text="nothing came before this ack")
            assert (await client.hear())["type"] == "ack"


async def test_a_client_that_answers_no_ping_is_dropped() -> None:
    # The other client answers, and has a second for it: a busy machine holds both ends up.
    limits = WebSocketLimits(ping_interval_s=0.02, pong_timeout_s=1.0, close_timeout_s=0.02)
    async with serving(limits=limits) as channel, connected(channel) as answering:
        await answering.hello(user="bob")
        async with await handshake(channel, origin=None) as stream:
            assert b" 101 " in await stream.receive_some()
            hello = b'{"type":"hello","user":"alice"}'
            await stream.send_all(bytes([0x81, 0x80 | len(hello), 0, 0, 0, 0]) + hello)
            seen = b""
            with trio.fail_after(PATIENCE_S):
                while data := await stream.receive_some():
                    seen += data
        assert b"welcome" in seen
        assert b"too_slow" in seen
        await answering.say(type="message", id="m1", text="still here")
        assert (await answering.hear())["type"] == "ack"


async def test_a_client_that_vanishes_while_a_reply_waits_makes_it_a_lost_answer() -> None:
    async with serving() as channel, trio.open_nursery() as nursery:
        client_gone = trio.Event()

        async def vanish() -> None:
            async with connected(channel) as client:
                await client.hello(user="alice")
                client_gone.set()
                await client.hear()
                await trio.aclose_forcefully(client.ws._stream)  # pyright: ignore[reportPrivateUsage]

        nursery.start_soon(vanish)
        await client_gone.wait()
        with trio.fail_after(PATIENCE_S), pytest.raises(LostAnswer):
            await channel.send(outbound(1))


# --- starting and stopping ------------------------------------------------------------------------


async def test_a_cancel_says_goodbye_and_leaves_no_socket_open() -> None:
    patient = WebSocketLimits(close_timeout_s=PATIENCE_S * 10)
    channel = WebSocketChannel("ws", limits=patient)
    async with trio.open_nursery() as clients, trio.open_nursery() as server:
        clients.cancel_scope.deadline = trio.current_time() + PATIENCE_S
        server.start_soon(channel.run, Runtime().deliver)
        address = await channel.listening()
        welcomed = trio.Event()
        farewells: list[tuple[dict[str, Any] | None, int]] = []

        async def watch() -> None:
            async with connected(channel) as client:
                await client.hello(user="alice")
                welcomed.set()
                farewells.append(await client.closing())

        clients.start_soon(watch)
        await welcomed.wait()
        server.cancel_scope.cancel()
    assert farewells == [(None, 1001)]
    with pytest.raises(OSError):  # noqa: PT011 (refused, by whatever errno)
        await trio.open_tcp_stream(*address)


async def test_the_address_is_known_only_while_it_listens() -> None:
    async with serving() as channel:
        assert channel.address[0] == "127.0.0.1"
        assert channel.address[1] > 0
    with pytest.raises(RuntimeError, match="does not listen"):
        _ = channel.address


async def test_it_can_run_again_after_it_was_stopped() -> None:
    runtime = Runtime()
    channel = WebSocketChannel("ws")
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.run, runtime.deliver)
            await channel.listening()
            async with connected(channel) as client:
                await client.hello(user="alice")
            nursery.cancel_scope.cancel()
