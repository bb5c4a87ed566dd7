"""Every test of the channel kit fails for a channel that is broken in its way: none cannot fail."""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

import pytest
import trio
from trio.testing import MockClock

import turnkeeper as tk
from turnkeeper.testing import ChannelTests, SeenFile

from . import broken_hearing, broken_speaking, broken_standing
from .broken import Broken
from .broken_hearing import FILE_IN, SLOW
from .broken_speaking import LOST, TYPING
from .broken_standing import LEAVES
from .whole_channel import WholeChannel
from .whole_platform import TOKEN, WRONG, Whole, open_whole

logger = logging.getLogger("whole")


class Suite(ChannelTests[Whole]):
    """The kit, for a broken channel."""

    patience_s = 20.0
    kind: type[WholeChannel]
    platform: type[Whole] = Whole

    def open_wire(self) -> AbstractAsyncContextManager[Whole]:
        return open_whole(self.platform)

    def make_channel(self, wire: Whole, name: str) -> tk.Channel:
        return self.kind(name, wire, TOKEN)

    def make_wrong_channel(self, wire: Whole, name: str) -> tk.Channel:
        return self.kind(name, wire, WRONG)

    def make_clock(self) -> trio.abc.Clock:
        return MockClock(autojump_threshold=0.0)


def outcome_of(test: str, kind: type[WholeChannel], **changes: Any) -> None:
    """Run one test of the kit on a channel."""
    suite = type("SuiteOf" + kind.__name__, (Suite,), {"kind": kind, **changes})()
    run: Callable[[], None] = getattr(suite, f"test_{test}")
    run()


def broken_channels() -> list[type[Broken]]:
    found = [*vars(broken_hearing).values(), *vars(broken_speaking).values()]
    found += vars(broken_standing).values()
    return [one for one in found if inspect.isclass(one) and issubclass(one, Broken) and one.caught]


@pytest.mark.parametrize("kind", broken_channels(), ids=lambda kind: kind.__name__)
def test_a_broken_channel_fails_the_test_that_is_meant_for_it(kind: type[Broken]) -> None:
    # A clock that jumps does so while a file is written, in a thread.
    patience_s = 1_000.0 if kind.caught == FILE_IN else Suite.patience_s
    with pytest.raises(AssertionError) as caught:
        outcome_of(kind.caught, kind, patience_s=patience_s)
    assert kind.saying in str(caught.value)


def test_every_test_of_the_kit_has_a_channel_that_fails_it() -> None:
    tests = {name.removeprefix("test_") for name in dir(ChannelTests) if name.startswith("test_")}
    assert tests == {kind.caught for kind in broken_channels()}


@pytest.mark.parametrize("after_unknown", ["same_id", "labelled", "reconcile"])
def test_a_lost_answer_is_made_good_as_the_powers_say(after_unknown: Any) -> None:
    class Careful(WholeChannel):
        powers = tk.ChannelPowers(after_unknown=after_unknown)
        sent: ClassVar[dict[str, str]] = {}

        async def post(self, outbound: tk.Outbound, file: SeenFile | None) -> str:
            if after_unknown == "same_id" and outbound.part_id in self.sent:
                return self.sent[outbound.part_id]
            text = f"(again) {outbound.text}" if outbound.resend else outbound.text
            room = outbound.address.conversation
            try:
                return await self.whole.post(self.token, room, text)
            finally:
                for seen in await self.whole.seen(room):
                    self.sent[outbound.part_id] = seen.message_id

        async def reconcile(self, outbound: tk.Outbound, /) -> tk.Receipt | None:
            return tk.Receipt(platform_message_id=self.sent[outbound.part_id])

    outcome_of(LOST, Careful)


def test_a_channel_that_cannot_be_cancelled_fails_instead_of_hanging() -> None:
    enough = threading.Event()

    class Stubborn(WholeChannel):
        async def run(self, deliver: tk.Deliver) -> None:
            while not enough.is_set():
                try:
                    await super().run(deliver)
                except BaseException as error:
                    logger.debug("and on it goes: %r", error)
                    if enough.is_set():
                        raise

    try:
        with pytest.raises(
            AssertionError, match=r"stuck when the runtime was being closed.*let tri"
        ):
            outcome_of(LEAVES, Stubborn, stuck_s=1.5)
    finally:
        enough.set()
        for thread in threading.enumerate():
            if thread.name == "channel test":
                thread.join(10)


def test_a_platform_that_is_slow_but_goes_on_is_not_given_up() -> None:
    step, looks = threading.Barrier(2, timeout=60), itertools.count(1)

    class Slow(Whole):
        async def user_says(self, text: str, **where: Any) -> str:
            if text in ("slow 0", "slow 1", "slow 2", "slow 3"):
                step.wait()
            return await super().user_says(text, **where)

    def until_it_went_on(_suite: object) -> float:
        if next(looks) > 2:
            return Suite.stuck_s
        step.wait()
        step.wait()
        return 0.0

    outcome_of(SLOW, WholeChannel, platform=Slow, stuck_s=property(until_it_went_on))


def test_a_broken_wire_fails_its_test() -> None:
    class Deaf(Whole):
        async def user_says(self, text: str, **_where: Any) -> str:
            raise RuntimeError("the wire broke")

    with pytest.raises(RuntimeError, match="the wire broke"):
        outcome_of(LEAVES, WholeChannel, platform=Deaf)


def test_what_a_wire_cannot_do_is_skipped_with_the_reason() -> None:
    class Plain(Whole):
        holds = False
        threads = ()

    for test, reason in (
        ("threads_are_kept_apart", "Plain names no threads"),
        ("what_is_said_while_the_line_is_down_is_answered_once", "Plain does not say that the pl"),
    ):
        with pytest.raises(pytest.skip.Exception, match=reason):
            outcome_of(test, WholeChannel, platform=Plain)


def test_what_a_channel_does_not_declare_is_skipped_with_the_reason() -> None:
    class Modest(WholeChannel):
        powers = tk.ChannelPowers()

    with pytest.raises(pytest.skip.Exception, match="does not declare typing_every_s"):
        outcome_of(TYPING, Modest)


def test_a_suite_without_a_wire_fails_instead_of_being_left_out() -> None:
    class Empty(ChannelTests[Whole]):
        pass

    class Half(Empty):
        def open_wire(self) -> AbstractAsyncContextManager[Whole]:
            return open_whole()

    with pytest.raises(NotImplementedError, match="Empty needs an open_wire"):
        Empty().test_what_it_declares_is_there()
    with pytest.raises(NotImplementedError, match="Half needs a make_channel"):
        Half().test_what_it_declares_is_there()
