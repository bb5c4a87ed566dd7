from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from turnkeeper.actors.errors import AccessDenied, MessageIdReused, Overloaded, TurnRefused
from turnkeeper.actors.messages import (
    Accepted,
    Address,
    InboundTurn,
    Instance,
    MessageChange,
    SessionId,
    TurnId,
)
from turnkeeper.channels.base import Rejected, Unreachable
from turnkeeper.channels.handover import Handover, insist
from turnkeeper.channels.json_fields import Malformed
from turnkeeper.channels.strangers import Strangers
from turnkeeper.testing import LoopbackChannel

HERE = Instance("here")
WHERE = Address(HERE, "room")
TURN = InboundTurn(
    address=WHERE, platform="loopback", message_id="m", user_id="ann", text="hello", direct=True
)
CHANGE = MessageChange(
    address=WHERE, platform="loopback", message_id="m", change_id="c", user_id="ann", text="hi"
)


class Runtime:
    """Takes turns and changes, or refuses them."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.told: list[str] = []
        self.channel = LoopbackChannel(HERE)
        self.channel.on_change = self.on_change
        self.handover = Handover(self.channel, self.deliver, Strangers(HERE, self.tell))

    async def deliver(self, _turn: InboundTurn) -> Accepted:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return Accepted(session_id=SessionId("s"), turn_id=TurnId("t"), duplicate=False)

    async def on_change(self, _change: MessageChange) -> bool:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return True

    async def tell(self, _address: Address, words: str, _reply_to: str) -> None:
        self.told.append(words)


async def test_a_turn_that_is_durable_was_taken() -> None:
    runtime = Runtime()
    assert await runtime.handover.turn(TURN)
    await runtime.handover.change(CHANGE)


async def test_a_stranger_is_told_why_their_turn_was_not_taken() -> None:
    runtime = Runtime(AccessDenied("you may not"))
    assert not await runtime.handover.turn(TURN)
    assert runtime.told == ["you may not"]


async def test_what_is_refused_for_good_does_not_come_again() -> None:
    runtime = Runtime(MessageIdReused("said before"))
    assert not await runtime.handover.turn(TURN)
    await runtime.handover.change(CHANGE)
    assert runtime.told == []


async def test_what_is_refused_for_now_comes_again() -> None:
    runtime = Runtime(Overloaded("too much"))
    with pytest.raises(Overloaded):
        await runtime.handover.turn(TURN)
    with pytest.raises(Overloaded):
        await runtime.handover.change(CHANGE)


async def test_a_change_that_could_not_be_stored_is_malformed() -> None:
    with pytest.raises(Malformed, match="the change cannot be stored"):
        await Runtime(ValueError("too long")).handover.change(CHANGE)


async def test_where_nobody_listens_a_change_is_nothing() -> None:
    runtime = Runtime(ValueError("too long"))
    runtime.channel.on_change = None
    await runtime.handover.change(CHANGE)


def test_the_same_warning_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    runtime = Runtime()
    for what in ("one", "one", "two", "one"):
        runtime.handover.warn(what)
    assert caplog.messages == ["here: one", "here: two", "here: one"]
    assert runtime.channel.line.warning == "one"


def failing(*errors: Exception) -> Callable[[], Awaitable[None]]:
    left = list(errors)

    async def act() -> None:
        await trio.lowlevel.checkpoint()
        if left:
            raise left.pop(0)

    return act


async def test_what_is_refused_for_now_is_insisted_on(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await insist(HERE, failing(*(Overloaded("too much") for _ in range(6))))
    assert trio.current_time() - began == pytest.approx(1 + 2 + 5 + 10 + 30 + 30)


async def test_a_platform_that_asks_for_a_pause_gets_it(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    await insist(HERE, failing(Unreachable("not now"), Unreachable("later", retry_after_s=50)))
    assert trio.current_time() - began == pytest.approx(1 + 50)


@pytest.mark.parametrize("error", [TurnRefused, Rejected, Malformed])
async def test_nobody_insists_on_what_is_refused_for_good(error: type[Exception]) -> None:
    with pytest.raises(error):
        await insist(HERE, failing(error("no")))
