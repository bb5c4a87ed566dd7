from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from turnkeeper.actors.errors import AccessDenied
from turnkeeper.actors.messages import Address, InboundTurn, Instance
from turnkeeper.channels.base import Unreachable
from turnkeeper.channels.strangers import TELL_S, TOLD_EVERY_S, Strangers

HERE = Instance("here")
DENIED = AccessDenied("you may not")


def said(user: str, *, direct: bool = True) -> InboundTurn:
    return InboundTurn(
        address=Address(HERE, f"with {user}"),
        platform="loopback",
        message_id=f"from {user}",
        user_id=user,
        text="hello",
        direct=direct,
    )


class Told:
    def __init__(self) -> None:
        self.told: list[tuple[str, str, str]] = []
        self.fails = False

    async def tell(self, address: Address, words: str, reply_to: str) -> None:
        self.told.append((address.conversation, words, reply_to))
        if self.fails:
            raise Unreachable("not now")


async def test_a_stranger_is_told_at_most_once_a_minute(autojump_clock: MockClock) -> None:
    told = Told()
    strangers = Strangers(HERE, told.tell)
    for _ in range(3):
        await strangers.tell(said("ann"), DENIED)
    assert told.told == [("with ann", "you may not", "from ann")]
    await strangers.tell(said("bob"), DENIED)
    assert len(told.told) == 2
    await trio.sleep(TOLD_EVERY_S)
    await strangers.tell(said("ann"), DENIED)
    assert len(told.told) == 3


async def test_nothing_is_told_in_a_group() -> None:
    told = Told()
    await Strangers(HERE, told.tell).tell(said("ann", direct=False), DENIED)
    assert told.told == []


async def test_that_a_stranger_cannot_be_told_is_no_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told = Told()
    told.fails = True
    with caplog.at_level("DEBUG"):
        await Strangers(HERE, told.tell).tell(said("ann"), DENIED)
    assert caplog.messages == ["here: a stranger was not told: not now"]


async def test_telling_a_stranger_takes_no_longer_than_it_may(autojump_clock: MockClock) -> None:
    async def tell(_address: Address, _words: str, _reply_to: str) -> None:
        await trio.sleep_forever()

    began = trio.current_time()
    await Strangers(HERE, tell).tell(said("ann"), DENIED)
    assert trio.current_time() - began == pytest.approx(TELL_S)


async def test_of_many_strangers_the_latest_are_remembered() -> None:
    told = Told()
    strangers = Strangers(HERE, told.tell)
    for number in range(1_001):
        await strangers.tell(said(str(number)), DENIED)
    await strangers.tell(said("1000"), DENIED)
    assert len(told.told) == 1_001
    await strangers.tell(said("0"), DENIED)
    assert len(told.told) == 1_002
    assert repr(strangers) == "<Strangers of here: 1000 told>"
