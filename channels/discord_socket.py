"""The gateway's WebSocket: carries what `discord_gateway` decides."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urljoin

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from .base import Unreachable
from .discord_gateway import IDENTIFY, LEAVE_CODE, RESUME, Event, Gateway, GoneOn, Leave, Say
from .http_json import BadJson, parse_json
from .json_fields import Malformed
from .secret import Secret
from .ws_client import is_websocket_url, open_websocket

__all__ = ["Ended", "GatewaySocket", "checked_gateway_url"]

_logger = logging.getLogger(__name__)

_CLOSE_S: Final = 1.0
_SEND_S: Final = 20.0
_MAX_FRAME_BYTES: Final = 32 * 1024 * 1024
"""Longest payload; one that tells of a large guild has some MiB."""
_QUERY: Final = "/?v=10&encoding=json"


class Ended(Exception):
    """A connection is over. `code`: what Discord closed it with; None if we left, or it broke."""

    def __init__(self, why: str, *, code: int | None = None, pause_s: float = 0.0) -> None:
        super().__init__(why)
        self.code = code
        self.pause_s = pause_s


class GatewaySocket:
    """One connection to the gateway."""

    def __init__(
        self,
        gateway: Gateway,
        token: Secret,
        *,
        hear: Callable[[Event], Awaitable[None]],
        gone_on: Callable[[bool], None],
        warn: Callable[[str], None],
    ) -> None:
        """Connect nothing yet.

        Args:
            gateway: decides what is said.
            token: goes with what identifies or resumes.
            hear: takes events, one after the other.
            gone_on: is told that the session stands; whether it was resumed.
            warn: is told of what could not be read.
        """
        self._gateway = gateway
        self._token = token
        self._hear = hear
        self._gone_on = gone_on
        self._warn = warn
        self._hearing = False
        self._sleep = trio.CancelScope()
        """In which the next heartbeat is waited for."""

    def __repr__(self) -> str:
        return f"<GatewaySocket: {self._gateway!r}>"

    async def run(self, url: str) -> None:
        """Connect to `url` and go on until the connection is over.

        Raises:
            Unreachable: it cannot be connected.
            Ended: always, once it was.
        """
        place = Secret(urljoin(url, _QUERY))
        async with open_websocket(place, max_bytes=_MAX_FRAME_BYTES) as (socket, _):
            raise await self._until_ended(socket)

    async def _until_ended(self, socket: WebSocketConnection) -> Ended:
        ends: list[Ended] = []

        async def do(act: Callable[[WebSocketConnection], Awaitable[None]]) -> None:
            try:
                await act(socket)
            except Ended as ended:
                ends.append(ended)
            except ConnectionClosed as closed:
                code = closed.reason.code if closed.reason is not None else None
                shown = "without a word" if code is None else f"with {code}"
                ends.append(Ended(f"Discord has closed the connection {shown}", code=code))
            nursery.cancel_scope.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(do, self._beat)
                nursery.start_soon(do, self._listen)
        finally:
            # Never with 1000, as it would be closed by itself: the session is to go on.
            with trio.move_on_after(_CLOSE_S, shield=True), suppress(ConnectionClosed):
                await socket.aclose(LEAVE_CODE)
        return ends[0]

    async def _listen(self, socket: WebSocketConnection) -> None:
        while True:
            frame = await socket.get_message()
            try:
                raw = frame.encode("utf-8", "surrogatepass") if isinstance(frame, str) else frame
                acts = self._gateway.hear(parse_json(raw), trio.current_time())
                self._sleep.deadline = min(self._sleep.deadline, self._gateway.due_at)
            except (BadJson, Malformed) as error:
                self._warn(f"a payload that could not be read was left out: {error}")
                continue
            for act in acts:
                match act:
                    case Event():
                        self._hearing = True
                        await self._hear(act)
                        self._hearing = False
                    case GoneOn():
                        self._gone_on(act.resumed)
                    case Say():
                        await self._say(socket, act)
                    case Leave():
                        raise Ended(act.why, pause_s=act.pause_s)

    async def _beat(self, socket: WebSocketConnection) -> None:
        while True:
            with trio.move_on_at(self._gateway.due_at) as self._sleep:
                await trio.sleep_forever()
            for act in self._gateway.tick(trio.current_time(), listens=not self._hearing):
                match act:
                    case Say():
                        await self._say(socket, act)
                    case Leave():
                        raise Ended(act.why, pause_s=act.pause_s)
                    case _:
                        pass

    async def _say(self, socket: WebSocketConnection, say: Say) -> None:
        data: Any = say.data
        if say.op in (IDENTIFY, RESUME):
            data = {**data, "token": self._token.reveal()}
        with trio.move_on_after(_SEND_S):
            await socket.send_message(json.dumps({"op": say.op, "d": data}))
            return
        raise Ended("Discord takes nothing any more")


def checked_gateway_url(url: str, *, plain: bool) -> str:
    """An address that the token may be sent to.

    Args:
        url: as Discord has told it.
        plain: whether a gateway on this machine may do without encryption.

    Raises:
        Unreachable: it is none.
    """
    if not is_websocket_url(url, plain=plain):
        raise Unreachable("Discord has told no address of a gateway", reason="bad_answer")
    return url
