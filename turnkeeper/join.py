"""A terminal of another process in a console conversation: both ends of `join`.

The runtime's end is a seat in its console. The terminal's end is a console of its own, whose turns
go over the connection instead of into a runtime, so that prompts, pipes and the end of the input
behave as they do everywhere.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import trio

from .actors.errors import Overloaded, ShuttingDown, TurnRefused
from .actors.messages import (
    Accepted,
    Address,
    DeliveryId,
    InboundTurn,
    Instance,
    SessionId,
    TurnEnded,
    TurnId,
)
from .channels.console import ConsoleChannel, ShownKind
from .control import BadLine, JsonLines, RequestFailed, result_of
from .shared_console import SharedConsole

__all__ = ["JoinedConsole", "host_seat"]

_MAX_NEWS: Final = 10_000
"""Facts about turns that wait to be sent to a terminal; one that is further behind is cut off."""


# -- the runtime's end ---------------------------------------------------------------------------


class _RemoteSeat:
    """A seat at the other end of a connection."""

    def __init__(self, lines: JsonLines, scope: trio.CancelScope) -> None:
        self._lines = lines
        self._scope = scope
        self._news_in, self.news = trio.open_memory_channel[dict[str, object]](_MAX_NEWS)

    async def show(self, kind: ShownKind, text: str) -> None:
        await self._lines.send({"show": kind, "text": text})

    def turn_ended(self, ended: TurnEnded) -> None:
        self._tell(
            {"ended": ended.turn_id, "status": ended.status, "delivery_id": ended.delivery_id}
        )

    def was_shown(self, delivery_id: DeliveryId) -> None:
        self._tell({"shown": delivery_id})

    def _tell(self, news: dict[str, object]) -> None:
        try:
            self._news_in.send_nowait(news)
        except trio.WouldBlock:
            self._scope.cancel()


async def host_seat(console: SharedConsole, lines: JsonLines, conversation: str | None) -> None:
    """Seat the peer of `lines` in a conversation of `console` until it leaves."""
    async with trio.open_nursery() as nursery:
        seat = _RemoteSeat(lines, nursery.cancel_scope)
        with console.seat(seat, conversation) as attached:
            await lines.send(
                {"ok": {"instance": console.name, "conversation": attached.conversation}}
            )
            nursery.start_soon(_forward, seat, lines, nursery.cancel_scope)
            with suppress(BadLine, trio.BrokenResourceError, trio.ClosedResourceError):
                while (request := await lines.receive()) is not None:
                    await lines.send(await _say(attached.say, request))
        nursery.cancel_scope.cancel()


async def _forward(seat: _RemoteSeat, lines: JsonLines, scope: trio.CancelScope) -> None:
    try:
        async for news in seat.news:
            await lines.send(news)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        scope.cancel()


async def _say(
    say: Callable[[str], Awaitable[Accepted]], request: Mapping[str, Any]
) -> dict[str, object]:
    text = request.get("say")
    if not isinstance(text, str):
        return {"refused": "say something: a text", "why": "bad_request"}
    try:
        accepted = await say(text)
    except TurnRefused as refused:
        return {"refused": str(refused), "why": type(refused).__name__}
    return {"accepted": accepted}


# -- the terminal's end --------------------------------------------------------------------------


class JoinedConsole(ConsoleChannel):
    """The local terminal, joined to a runtime elsewhere."""

    def __init__(self, lines: JsonLines, **options: Any) -> None:
        """Args as of `ConsoleChannel`."""
        super().__init__(**options)
        self._lines = lines
        self._answers_in, self._answers = trio.open_memory_channel[Mapping[str, Any]](math.inf)
        self.lost = False
        """Whether the runtime went away before the input had ended and was answered."""
        self.interrupted = False
        """Whether a signal ended it."""

    async def join(self, conversation: str | None, signals: AsyncIterable[int]) -> None:
        """Take part until the input ends and is answered, the runtime goes away, or a signal comes.

        Raises:
            RequestFailed: the runtime refused.
        """
        await self._lines.send({"do": "join", "conversation": conversation})
        answer = await self._lines.receive()
        if answer is None:
            raise RequestFailed("gone", "the runtime stopped before it answered")
        result_of(answer)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, nursery.cancel_scope)
            nursery.start_soon(self._leave_on, signals, nursery.cancel_scope)
            await self.run(self._deliver_there)
            nursery.cancel_scope.cancel()

    async def _deliver_there(self, turn: InboundTurn) -> Accepted:
        try:
            await self._lines.send({"say": turn.text})
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ShuttingDown("the runtime has gone") from error
        answer = await self._answers.receive()
        if "accepted" in answer:
            accepted = answer["accepted"]
            return Accepted(
                session_id=SessionId(accepted["session_id"]),
                turn_id=TurnId(accepted["turn_id"]),
                duplicate=bool(accepted["duplicate"]),
            )
        refused = Overloaded if answer.get("why") == "Overloaded" else TurnRefused
        raise refused(str(answer["refused"]))

    async def _listen(self, scope: trio.CancelScope) -> None:
        with suppress(BadLine):
            while (event := await self._lines.receive()) is not None:
                await self._hear(event)
        self.lost = True
        scope.cancel()

    async def _leave_on(self, signals: AsyncIterable[int], scope: trio.CancelScope) -> None:
        async for _ in signals:
            self.interrupted = True
            scope.cancel()

    async def _hear(self, event: Mapping[str, Any]) -> None:
        if "show" in event:
            await self._show(self._conversation, event["show"], str(event["text"]))
        elif "shown" in event:
            self._turns.shown(DeliveryId(event["shown"]))
            self._turn_news.unpark_all()
        elif "ended" in event:
            self.turn_ended(self._ended(event))
        else:
            self._answers_in.send_nowait(event)

    def _ended(self, event: Mapping[str, Any]) -> TurnEnded:
        delivery_id = event["delivery_id"]
        return TurnEnded(
            turn_id=TurnId(event["ended"]),
            address=Address(instance=Instance(self.name), conversation=self._conversation),
            status=event["status"],
            delivery_id=DeliveryId(delivery_id) if delivery_id is not None else None,
        )
