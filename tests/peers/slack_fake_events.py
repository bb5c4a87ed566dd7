"""How a fake Slack delivers events: Socket Mode and the Events API, again until acknowledged.

First deliveries are made in the order of the events; what is not acknowledged in time is delivered
again, three times at most, with the waits of the Events API, unless a test says that they are over.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from secrets import token_hex
from typing import Final
from uuid import uuid4

import httpx
import trio
from starlette.websockets import WebSocket, WebSocketDisconnect

from .slack_fake_world import SIGNING_SECRET, Json, SlackWorld
from .web import Pulse, cut_connection

__all__ = ["Deliveries", "signed"]

_ATTEMPTS: Final = 4
_NEXT_S: Final = 0.2
"""Seconds that the Events API waits for an answer before it posts what happened next."""
_CUT: Final = "cut"
_NO_RETRY: Final = "refused for good"


def signed(body: bytes, secret: str = SIGNING_SECRET, at_s: int | None = None) -> dict[str, str]:
    """The headers that prove that a body is Slack's."""
    stamp = str(int(time.time()) if at_s is None else at_s)
    code = hmac.new(secret.encode(), b"v0:" + stamp.encode() + b":" + body, hashlib.sha256)
    return {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={code.hexdigest()}",
    }


class _Connection:
    """One Socket Mode connection that has been greeted."""

    def __init__(self, socket: WebSocket) -> None:
        self.socket = socket
        self.send, self.outbox = trio.open_memory_channel[Json | str](10_000)

    def tell(self, frame: Json | str) -> None:
        """Send a frame, after those before it; a word is something to do to the connection."""
        self.send.send_nowait(frame)


class Deliveries:
    """Events on their way to the app."""

    def __init__(self, nursery: trio.Nursery, client: httpx.AsyncClient, world: SlackWorld) -> None:
        """The client outlives the nursery: its tasks may be about to post when they are ended."""
        self._nursery = nursery
        self._client = client
        self._world = world
        self._send, self._queue = trio.open_memory_channel[Json](10_000)
        self._tickets: set[str] = set()
        self._acks: dict[str, trio.Event] = {}
        self._offer_seen, self._offered = trio.open_memory_channel[
            tuple[Json, trio.Event | None, float]
        ](10_000)
        self._pausing: dict[str, trio.Event] = {}
        """Events whose next delivery is waited for, by what sorts them."""
        self._again_in_order = trio.StrictFIFOLock()
        self._told = 0
        self._turn = 0
        self.changed = Pulse()
        self.connections: list[_Connection] = []
        self.url: str | None = None
        """Where the Events API posts to; None while the app uses Socket Mode."""
        self.ack_within_s = 3.0
        self.waits_s = (0.0, 60.0, 300.0)
        """How long Slack waits before each further delivery."""
        self.hears_acks = True
        """False: acknowledgements get lost on their way to Slack."""
        self.log: list[tuple[str, int, str]] = []
        """Deliveries: the event's id, how often it was tried before, how that ended."""
        self.open: dict[str, Json] = {}
        """Events that are not acknowledged, and not given up, by their ids."""
        self.retries_at_connect = False
        """Whether what waits is delivered as soon as somebody connects, instead of in its time."""

    @property
    def waiting(self) -> int:
        """How many events are not acknowledged, and not given up."""
        return len(self.open)

    def resume(self, payloads: dict[str, Json], url: str | None) -> None:
        """Go on as an earlier process would have done."""
        self.url = url
        self._told = len(payloads)
        for number, payload in enumerate(payloads.values()):
            self._begin(payload | {"event_context": f"4-{number:08d}-{token_hex(8)}"})

    # The events

    def deliver(self, event: Json) -> None:
        """Begin to deliver an event; keeps the order for first attempts."""
        world = self._world
        self._told += 1
        payload: Json = {
            "token": "verification-token",
            "team_id": world.team,
            "api_app_id": world.app,
            "event": event,
            "type": "event_callback",
            "event_id": f"Ev{token_hex(6).upper()}",
            "event_time": int(time.time()),
            "authorizations": [
                {
                    "enterprise_id": None,
                    "team_id": world.team,
                    "user_id": world.bot,
                    "is_bot": True,
                    "is_enterprise_install": False,
                }
            ],
            "is_ext_shared_channel": False,
            "event_context": f"4-{self._told:08d}-{token_hex(8)}",
        }
        self._begin(payload)

    def _begin(self, payload: Json) -> None:
        self.open[payload["event_id"]] = payload
        self._send.send_nowait(payload)

    async def run(self) -> None:
        """Deliver, for as long as there is a workspace."""
        self._nursery.start_soon(self._follow)
        async for payload in self._queue:
            if self.url is not None:
                answered = trio.Event()
                self._nursery.start_soon(self._post_first, payload, answered)
                with trio.move_on_after(_NEXT_S):
                    await answered.wait()
            else:
                ack = self._offer(payload, 0, "")
                await self._offer_seen.send((payload, ack, trio.current_time()))

    def retry_now(self) -> None:
        """The waits before the next deliveries are over; they are made in the order of events."""
        self._nursery.start_soon(self._wake, sorted(self._pausing))

    async def _wake(self, contexts: list[str]) -> None:
        for context in contexts:
            if context in self._pausing:
                self._pausing[context].set()
            await trio.lowlevel.checkpoint()

    async def _post_first(self, payload: Json, answered: trio.Event) -> None:
        outcome = await self._post(payload, 0, "")
        answered.set()
        if outcome is None or outcome == _NO_RETRY:
            self._done(payload)
        else:
            await self._again(payload, outcome)

    async def _follow(self) -> None:
        """Wait for the answers to first deliveries, in one task for all of them."""
        async for payload, ack, offered_at in self._offered:
            outcome = await self._await(payload, 0, ack, offered_at)
            if outcome is None:
                self._done(payload)
            else:
                self._nursery.start_soon(self._again, payload, outcome)

    async def _again(self, payload: Json, outcome: str) -> None:
        """Deliver what was not acknowledged, after each wait."""
        for attempt in range(1, _ATTEMPTS):
            context = payload["event_context"]
            pause = self._pausing[context] = trio.Event()
            with trio.move_on_after(self.waits_s[attempt - 1]):
                await pause.wait()
            self._pausing.pop(context, None)
            if self.url is not None:
                async with self._again_in_order:
                    ended = await self._post(payload, attempt, outcome)
            else:
                ack = self._offer(payload, attempt, outcome)
                ended = await self._await(payload, attempt, ack, trio.current_time())
            if ended is None or ended == _NO_RETRY:
                break
            outcome = ended
        self._done(payload)

    def _done(self, payload: Json) -> None:
        del self.open[payload["event_id"]]
        self.changed.beat()

    def _note(self, payload: Json, attempt: int, outcome: str | None) -> str | None:
        self.log.append((payload["event_id"], attempt, outcome or "acknowledged"))
        self.changed.beat()
        return outcome

    # Socket Mode

    def new_ticket(self) -> str:
        """What admits one connection."""
        ticket = token_hex(16)
        self._tickets.add(ticket)
        return ticket

    def disconnect(self, reason: str, *, close: bool = True) -> None:
        """Tell all connections that they should go, and end them."""
        frame = {"type": "disconnect", "reason": reason, "debug_info": {"host": "fake"}}
        for connection in list(self.connections):
            connection.tell(frame)
            if close:
                connection.tell("close")
                self.connections.remove(connection)

    def cut(self) -> None:
        """All connections break without a word."""
        for connection in list(self.connections):
            connection.tell(_CUT)
            self.connections.remove(connection)

    async def connect(self, socket: WebSocket) -> None:
        """Serve one Socket Mode connection."""
        ticket = socket.query_params.get("ticket", "")
        if ticket not in self._tickets:
            await socket.close(1008)
            return
        self._tickets.discard(ticket)
        await socket.accept()
        connection = _Connection(socket)
        self.connections.append(connection)
        if self.retries_at_connect:
            self.retry_now()
        connection.tell(
            {
                "type": "hello",
                "connection_info": {"app_id": self._world.app},
                "num_connections": len(self.connections),
                "debug_info": {
                    "host": "fake",
                    "build_number": 1,
                    "approximate_connection_time": 18060,
                },
            }
        )
        self.changed.beat()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write, connection, nursery.cancel_scope)
            try:
                while True:
                    self._hear(await socket.receive_text())
            except (WebSocketDisconnect, KeyError, RuntimeError):
                pass
            finally:
                nursery.cancel_scope.cancel()
                if connection in self.connections:
                    self.connections.remove(connection)
                self.changed.beat()

    async def _write(self, connection: _Connection, scope: trio.CancelScope) -> None:
        async for frame in connection.outbox:
            if isinstance(frame, dict):
                await connection.socket.send_text(json.dumps(frame))
            elif frame == _CUT:
                cut_connection()
                scope.cancel()
            else:
                await connection.socket.close(1000)
                scope.cancel()

    def _hear(self, text: str) -> None:
        envelope = json.loads(text).get("envelope_id")
        ack = self._acks.get(envelope)
        if ack is not None and self.hears_acks:
            ack.set()

    def _offer(self, payload: Json, attempt: int, reason: str) -> trio.Event | None:
        """Send an envelope over one of the connections; None if there is none."""
        if not self.connections:
            return None
        self._turn += 1
        connection = self.connections[self._turn % len(self.connections)]
        envelope = str(uuid4())
        ack = self._acks[envelope] = trio.Event()
        connection.tell(
            {
                "envelope_id": envelope,
                "payload": payload,
                "type": "events_api",
                "accepts_response_payload": False,
                "retry_attempt": attempt,
                "retry_reason": reason,
            }
        )
        return ack

    async def _await(
        self, payload: Json, attempt: int, ack: trio.Event | None, offered_at: float
    ) -> str | None:
        """None once it is acknowledged; or why it is not."""
        if ack is None:
            return self._note(payload, attempt, "no_connections")
        with trio.move_on_at(offered_at + self.ack_within_s):
            await ack.wait()
        return self._note(payload, attempt, None if ack.is_set() else "timeout")

    # The Events API

    async def verify(self, url: str) -> bool:
        """Whether somebody at a URL answers Slack's challenge, as when it is entered."""
        challenge = token_hex(20)
        asked = {"token": "t", "challenge": challenge, "type": "url_verification"}
        body = json.dumps(asked).encode()
        headers = {"Content-Type": "application/json", **signed(body)}
        answer = await self._client.post(
            url, content=body, headers=headers, timeout=self.ack_within_s
        )
        if answer.headers.get("Content-Type", "").startswith("application/json"):
            return answer.status_code == 200 and answer.json().get("challenge") == challenge
        return answer.status_code == 200 and challenge in answer.text

    async def _post(self, payload: Json, attempt: int, reason: str) -> str | None:
        """None once the app has answered with 2xx; or how that failed."""
        assert self.url is not None
        body = json.dumps(payload).encode()
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Slackbot 1.0",
            **signed(body),
        }
        if attempt:
            headers |= {"X-Slack-Retry-Num": str(attempt), "X-Slack-Retry-Reason": reason}
        try:
            answer = await self._client.post(
                self.url, content=body, headers=headers, timeout=self.ack_within_s
            )
        except httpx.TimeoutException:
            return self._note(payload, attempt, "http_timeout")
        except httpx.TransportError:
            return self._note(payload, attempt, "connection_failed")
        if not self.hears_acks:
            return self._note(payload, attempt, "http_timeout")
        if answer.is_success:
            return self._note(payload, attempt, None)
        if answer.headers.get("X-Slack-No-Retry") == "1":
            return self._note(payload, attempt, _NO_RETRY)
        return self._note(payload, attempt, "http_error")
