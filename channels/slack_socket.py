"""Socket Mode: Slack sends events over a WebSocket, each until it is acknowledged.

An event is acknowledged once it is settled, over the connection that it came by. Slack replaces
connections every few hours, and says so before: the next one stands before the old one ends.

Source: https://docs.slack.dev/apis/events-api/using-socket-mode,
https://api.slack.com/apis/connections/socket-implement,
https://docs.slack.dev/reference/methods/apps.connections.open
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Final

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from ..actors.errors import TurnRefused
from .base import ChannelError, Rejected, Unreachable
from .http_json import BadJson, parse_json
from .json_fields import Fields, Malformed, fields, text
from .line import Line
from .secret import Secret
from .slack_api import SlackApi
from .slack_hearing import Ear
from .ws_client import is_websocket_url, open_websocket

__all__ = ["Socket"]

_logger = logging.getLogger(__name__)

_MAX_IN_FLIGHT: Final = 48
"""Events that are being heard, or wait for those before them in their conversation. Nothing more is
read from Slack before one of them is settled."""
_MAX_FRAME_BYTES: Final = 8 * 1024 * 1024
"""Longest frame. A message of 40,000 characters with its blocks has a few hundred KiB."""
_HELLO_S: Final = 15.0
"""Seconds from the connection to Slack's greeting."""
_GOODBYE_S: Final = 1.0
_PING_EVERY_S: Final = 20.0
_PONG_S: Final = 20.0
"""Seconds for the answer to a ping; so a connection that has died is noticed within 40."""
_DRAIN_S: Final = 20.0
"""Seconds that a connection which was replaced is read on: Slack gives ten."""
_SHARED: Final = (
    "another program is connected with this app token, unless it has ended a moment ago, and takes "
    "part of the messages: only one may run at a time"
)


class Socket:
    """The connections of one run of a channel."""

    def __init__(
        self,
        api: SlackApi,
        app_bearer: Secret,
        ear: Ear,
        line: Line,
        *,
        on_gap: Callable[[], None],
    ) -> None:
        """Connect nothing yet.

        Args:
            api: tells where to connect to.
            app_bearer: the header of the app.
            ear: hears events.
            line: is told when a connection stands.
            on_gap: called with each connection that comes where none is left, before it is read.
        """
        self._api = api
        self._app_bearer = app_bearer
        self._ear = ear
        self._line = line
        self._on_gap = on_gap
        self._open = 0
        self._room = trio.Semaphore(_MAX_IN_FLIGHT)
        self._failed: ChannelError | None = None

    def __repr__(self) -> str:
        return f"<Socket: {self._open} connections>"

    async def run(self) -> None:
        """Hear until cancelled.

        Raises:
            Unreachable: the connection has ended, or could not be made.
            Rejected: Slack lets nobody connect with this token.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve, nursery)
        assert self._failed is not None  # or it was cancelled
        raise self._failed

    async def _serve(self, nursery: trio.Nursery) -> None:
        """Serve one connection; another one is begun when Slack asks for that."""
        try:
            await self._connect(nursery)
        except ChannelError as error:
            self._failed = self._failed or error
            # What was being heard is not acknowledged, and comes again.
            nursery.cancel_scope.cancel()

    async def _connect(self, nursery: trio.Nursery) -> None:
        # A secret, because it lets in whoever has it; so logs do not show it.
        url = Secret(await self._url())
        try:
            async with open_websocket(url, max_bytes=_MAX_FRAME_BYTES) as (connection, wire):
                await self._converse(connection, wire, nursery)
        except ConnectionClosed as error:
            code = error.reason.code if error.reason else "without a goodbye"
            raise Unreachable(f"the connection has ended: {code}") from None

    async def _url(self) -> str:
        told, _ = await self._api.ask("apps.connections.open", bearer=self._app_bearer)
        try:
            url = text(told, "url") or ""
        except Malformed:
            url = ""
        if not is_websocket_url(url, plain=self._api.place.is_local):
            raise Unreachable(
                "apps.connections.open: no address to connect to", reason="bad_answer"
            )
        return url

    async def _converse(
        self, connection: WebSocketConnection, wire: trio.Nursery, nursery: trio.Nursery
    ) -> None:
        """Hear what comes, until the connection ends, or another one has taken over."""
        self._open += 1
        try:
            with trio.move_on_after(_HELLO_S) as patience:
                self._greeted(await self._frame(connection))
            if patience.cancelled_caught:
                raise Unreachable("Slack does not greet")
            self._line.up()
            if self._open == 1:
                self._on_gap()
            with trio.CancelScope() as talk:
                wire.start_soon(self._keep_alive, connection, talk)
                await self._read_on(connection, talk, nursery)
            if talk.cancelled_caught and talk.deadline == inf:
                raise Unreachable(f"no sign of life within {_PING_EVERY_S + _PONG_S:g} s")
            with trio.move_on_after(_GOODBYE_S):
                await connection.aclose()
        finally:
            self._open -= 1

    def _greeted(self, frame: Fields | None) -> None:
        """Look at the first frame, which says how many connections this app has."""
        if frame is None or frame.get("type") != "hello":
            raise Unreachable("Slack does not greet", reason="bad_answer")
        told: object = frame.get("num_connections")
        if type(told) is int and told > self._open:
            self._ear.warn(_SHARED)
        elif self._line.warning == _SHARED:
            self._line.warning = ""

    async def _read_on(
        self, connection: WebSocketConnection, talk: trio.CancelScope, nursery: trio.Nursery
    ) -> None:
        """Hear what comes. Once another connection takes over, `talk` gets a deadline.

        Raises:
            ConnectionClosed: it has ended, and no other one takes over.
        """
        try:
            while True:
                frame = await self._frame(connection)
                if frame is None:
                    continue
                if frame.get("type") != "disconnect":
                    await self._hear(frame, connection, nursery)
                elif self._is_to_be_replaced(frame) and talk.deadline == inf:
                    talk.deadline = trio.current_time() + _DRAIN_S
                    nursery.start_soon(self._serve, nursery)
        except ConnectionClosed:
            if talk.deadline == inf:
                raise

    def _is_to_be_replaced(self, frame: Fields) -> bool:
        """True if Slack asks for another connection before it ends this one.

        Raises:
            Rejected: somebody has switched Socket Mode off.
            Unreachable: it ends for another reason.
        """
        reason: object = frame.get("reason")
        if reason in ("warning", "refresh_requested"):
            return True
        if reason == "link_disabled":
            raise Rejected(
                "Socket Mode is switched off: switch it on in the settings of the app",
                reason="link_disabled",
            )
        if reason == "too_many_websockets":
            raise Unreachable("too many programs are connected with this app token")
        raise Unreachable("Slack ends the connection")

    async def _hear(
        self, frame: Fields, connection: WebSocketConnection, nursery: trio.Nursery
    ) -> None:
        """Begin to hear an event; whatever else is to be acknowledged is so at once."""
        try:
            envelope = text(frame, "envelope_id")
        except Malformed as error:
            return self._ear.warn(f"an envelope that could not be read was left out: {error}")
        if envelope is None:
            return _logger.debug("a frame that is nothing to us")
        if frame.get("type") != "events_api":
            return await _acknowledge(connection, envelope)
        await self._room.acquire()
        payload: object = frame.get("payload")
        earlier = self._ear.earlier(payload)
        outcome = self._ear.take(payload).settle if earlier is None else earlier.follow
        nursery.start_soon(self._settle, outcome, connection, envelope)
        return None

    async def _settle(
        self,
        outcome: Callable[[], Awaitable[bool]],
        connection: WebSocketConnection,
        envelope: str,
    ) -> None:
        try:
            if await outcome():
                with suppress(ConnectionClosed):  # then it comes again, and is known
                    await _acknowledge(connection, envelope)
        except TurnRefused as refused:
            _logger.debug("not acknowledged, so that it comes again: %s", refused)
        finally:
            self._room.release()

    async def _keep_alive(self, connection: WebSocketConnection, talk: trio.CancelScope) -> None:
        """End the talk if the connection has died without a word."""
        while True:
            await trio.sleep(_PING_EVERY_S)
            try:
                with trio.move_on_after(_PONG_S) as patience:
                    await connection.ping()
            except ConnectionClosed:
                return
            # Where no frame is taken, because enough is being heard, no answer to a ping is either.
            if patience.cancelled_caught and self._room.value > 0:
                talk.cancel()

    async def _frame(self, connection: WebSocketConnection) -> Fields | None:
        """The next frame; None if it cannot be read."""
        raw = await connection.get_message()
        try:
            frame = parse_json(raw.encode("utf-8") if isinstance(raw, str) else raw)
            return fields(frame, "frame")
        except (BadJson, Malformed) as error:
            self._ear.warn(f"a frame that could not be read was left out: {error}")
            return None


async def _acknowledge(connection: WebSocketConnection, envelope: str) -> None:
    await connection.send_message(json.dumps({"envelope_id": envelope}))
