"""Every channel must hear all of it, and none of it twice, whatever happens meanwhile."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final, TypeVar

import trio

from .actors.core.routing import default_user
from .identity import IdentityUnavailable
from .kit_check import check
from .kit_suite import Suite
from .kit_trial import Trial, require
from .kit_wire import Wire
from .links import IdentityLink
from .runtime import RuntimeFailed

__all__ = ["Gatekeeper", "KeepingChecks"]

W = TypeVar("W", bound=Wire)

_ACKNOWLEDGED_EARLY: Final = (
    "It was not durable, and yet it was not heard again: the message was acknowledged before "
    "`deliver` returned, or although it raised. Move the offset, the watermark or the ack after "
    "`await deliver(...)`."
)
_KEY: Final = (
    "`InboundTurn.message_id` must be the platform's own id of the message, the same when it is "
    "told again and after a restart: no counter, no time, no id of the update or the connection."
)
_SURVIVE: Final = (
    "After malformed input the channel must go on: skip it, log it, or raise Unreachable, so that "
    "`run` is begun again, and do not hear the same bytes for ever."
)
_MANY: Final = 200
"""Messages that are said while nothing is accepted."""
_MORE_TASKS: Final = 64
"""Tasks by which a channel may grow meanwhile, beside those in which the platform waits for it."""
_AT_ONCE: Final = 20
"""How many of the answers to them a test's patience is for."""


class Gatekeeper:
    """An identity resolver that refuses everybody, or lets everybody wait, until it is opened."""

    in_memory = True

    def __init__(self, *, waits: bool = False) -> None:
        self._waits = waits
        self._opened = trio.Event()
        self.asked = 0
        """How many turns it was asked about."""

    def open(self) -> None:
        """Let everybody in from now on."""
        self._opened.set()

    async def resolve(self, platform: str, user_id: str) -> str:
        """The user, once it is open."""
        self.asked += 1
        if self._waits:
            await self._opened.wait()
        elif not self._opened.is_set():
            raise IdentityUnavailable("nobody is let in yet")
        return default_user(platform, user_id)

    async def link(self, platform: str, user_id: str, user: str) -> None:
        """Nobody is linked."""

    async def unlink(self, platform: str, user_id: str) -> None:
        """Nobody is linked."""

    async def links(self, user: str | None = None) -> tuple[IdentityLink, ...]:
        """Nobody is linked."""
        return ()


class KeepingChecks(Suite[W]):
    """Tests of `run`, when something goes wrong."""

    @check("redeliver")
    async def test_a_message_that_is_told_again_is_answered_once(self, trial: Trial[W]) -> None:
        """While it runs."""
        async with trial.living():
            message_id = await trial.wire.user_says("again", conversation=trial.here)
            await trial.answered("again", trial.here)
            for _ in range(3):
                await trial.wire.redeliver(message_id)
            await trial.asked("next", trial.here)
        answers = await trial.answers(trial.here)
        require(answers == ["again", "next"], f"answered was: {answers}. {_KEY}")

    @check("redeliver")
    async def test_a_message_that_is_told_again_after_a_restart_is_answered_once(
        self, trial: Trial[W]
    ) -> None:
        """Two lives."""
        async with trial.living():
            message_id = await trial.wire.user_says("again", conversation=trial.here)
            await trial.answered("again", trial.here)
        async with trial.living():
            await trial.wire.redeliver(message_id)
            await trial.asked("next", trial.here)
        answers = await trial.answers(trial.here)
        require(answers == ["again", "next"], f"answered was: {answers}. {_KEY}")

    @check("holds")
    async def test_a_message_that_was_refused_for_now_is_heard_again(self, trial: Trial[W]) -> None:
        """`deliver` raises what can be tried again later; then the runtime starts anew."""
        gate = Gatekeeper()
        async with trial.living(resolver=gate):
            await _say_in_vain(trial, "refused", gate)
        require(await trial.answers(trial.here) == [], "it was answered, and yet refused")
        async with trial.living():
            await trial.answered("refused", trial.here, _ACKNOWLEDGED_EARLY)
        answers = await trial.answers(trial.here)
        require(answers == ["refused"], f"answered was: {answers}. {_KEY}")

    @check("holds")
    async def test_a_message_that_was_being_accepted_at_the_stop_is_heard_again(
        self, trial: Trial[W]
    ) -> None:
        """`deliver` is cancelled, or told that the runtime stops, and nothing is durable."""
        gate = Gatekeeper(waits=True)
        async with trial.living(resolver=gate):
            await _say_in_vain(trial, "waiting", gate)
        require(await trial.answers(trial.here) == [], "it was answered, and yet not accepted")
        async with trial.living():
            await trial.answered("waiting", trial.here, _ACKNOWLEDGED_EARLY)
        answers = await trial.answers(trial.here)
        require(answers == ["waiting"], f"answered was: {answers}. {_KEY}")

    @check("holds")
    async def test_a_message_that_was_not_stored_is_heard_again(self, trial: Trial[W]) -> None:
        """The disk refuses, and the runtime ends."""
        with suppress(RuntimeFailed):
            async with trial.living() as life:
                life.store.fail_next()
                await trial.wire.user_says("unstored", conversation=trial.here)
                with trio.move_on_after(self.patience_s):
                    await trio.sleep_forever()
                raise trial.failed("the message was never delivered to the runtime")
        async with trial.living():
            await trial.answered("unstored", trial.here, _ACKNOWLEDGED_EARLY)
        answers = await trial.answers(trial.here)
        require(answers == ["unstored"], f"answered was: {answers}. {_KEY}")

    @check("holds")
    async def test_what_is_said_while_the_runtime_is_down_is_answered_once(
        self, trial: Trial[W]
    ) -> None:
        """The platform kept it."""
        async with trial.living():
            await trial.asked("before", trial.here)
        for number in range(3):
            await trial.wire.user_says(f"missed {number}", conversation=trial.here)
        async with trial.living():
            await trial.asked("after", trial.here)
        answers = await trial.answers(trial.here)
        expected = ["before", "missed 0", "missed 1", "missed 2", "after"]
        require(
            answers == expected,
            f"answered was: {answers}; expected: {expected}. Begin where `self.watermark.value` "
            "stands, or let the platform tell what it kept, in its order",
        )

    @check("holds", "disconnect", "reconnect")
    async def test_what_is_said_while_the_line_is_down_is_answered_once(
        self, trial: Trial[W]
    ) -> None:
        """The connection ends; the runtime goes on."""
        async with trial.living() as life:
            await trial.asked("before", trial.here)
            await trial.wire.disconnect()
            await trial.until_true(
                lambda: life.channel.line.state != "connected",
                "the channel said that its line is down",
                "Raise Unreachable from `run`, or call `self.line.down(why)` and try again",
            )
            for number in range(3):
                await trial.wire.user_says(f"missed {number}", conversation=trial.here)
            await trial.wire.reconnect()
            await trial.connected(life.channel)
            await trial.asked("after", trial.here)
        answers = await trial.answers(trial.here)
        expected = ["before", "missed 0", "missed 1", "missed 2", "after"]
        require(
            answers == expected,
            f"answered was: {answers}; expected: {expected}. After a new connection, go on behind "
            "the last message for which `deliver` returned",
        )

    @check("garbage")
    async def test_malformed_input_stops_nothing(self, trial: Trial[W]) -> None:
        """Before and between messages."""
        async with trial.living() as life:
            await trial.wire.garbage()
            await trial.connected(life.channel)
            await trial.asked("one", trial.here, _SURVIVE)
            await trial.wire.garbage()
            await trial.connected(life.channel)
            await trial.asked("two", trial.here, _SURVIVE)
        answers = await trial.answers(trial.here)
        require(answers == ["one", "two"], f"answered was: {answers}")

    @check()
    async def test_a_runtime_that_is_slow_bounds_what_the_channel_holds(
        self, trial: Trial[W]
    ) -> None:
        """While `deliver` waits, the channel does too; nothing is lost or overtaken by that."""
        said = [f"slow {number}" for number in range(_MANY)]
        gate = Gatekeeper(waits=True)
        async with trial.living(resolver=gate):
            before = trio.lowlevel.current_statistics().tasks_living
            for text in said:
                self.doing = f"{text!r} was said"
                await trial.wire.user_says(text, conversation=trial.here)
            await trial.until_true(lambda: gate.asked > 0, "the first message was delivered")
            await trio.sleep(0.5)  # for a channel that does not wait: there is nothing to see
            more = trio.lowlevel.current_statistics().tasks_living - before
            gate.open()
            for text in said[_AT_ONCE - 1 :: _AT_ONCE]:
                await trial.answered(text, trial.here)
            require(
                more <= _MORE_TASKS,
                f"{more} tasks more for messages which wait to be accepted: await `deliver` in the "
                "loop that reads, instead of starting a task for each message",
            )
        answers = await trial.answers(trial.here)
        require(answers == said, f"the order was lost, or a message: {answers}")


async def _say_in_vain(trial: Trial[Any], text: str, gate: Gatekeeper) -> None:
    await trial.wire.user_says(text, conversation=trial.here)
    await trial.until_true(lambda: gate.asked > 0, f"{text!r} was delivered to the runtime")
