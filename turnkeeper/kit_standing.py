"""What every channel must be: cheap to stop, alone, honest about its line, silent about secrets."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from inspect import getattr_static
from typing import Any, Final, TypeVar

import trio

from .channels.base import Channel, ChannelError
from .channels.parcel import check_powers
from .kit_check import check
from .kit_suite import Suite
from .kit_trial import Trial, require
from .kit_wire import Failure, Wire, missing_abilities

__all__ = ["StandingChecks"]

W = TypeVar("W", bound=Wire)

_METHODS: Final = (
    ("typing_every_s", ("typing",)),
    ("draft_every_s", ("draft", "withdraw")),
    ("hears_turn_ends", ("turn_ended",)),
)
"""Powers, and what a channel that declares them must have."""
_LIVES: Final = 4
_QUICK_S: Final = 20.0
"""Seconds within which a runtime must have stopped that gives its sends three: a busy machine takes
a while, and what waits under a shield far longer."""


class StandingChecks(Suite[W]):
    """Tests of a channel's whole life."""

    @check()
    async def test_what_it_declares_is_there(self, trial: Trial[W]) -> None:
        """Its platform, its name, its powers."""
        channel = self.make_channel(trial.wire, "kit")
        require(channel.name == "kit", "hand `name` to `super().__init__(name)`")
        require(
            bool(channel.platform) and channel.platform == channel.platform.strip().lower(),
            f"`platform` is {channel.platform!r}; it must be a name in small letters",
        )
        require(
            channel.account == self.make_channel(trial.wire, "other").account,
            "`account` must be the same for every channel with this token: a digest of it",
        )
        require(
            isinstance(getattr_static(type(channel), "canonical_user_id"), staticmethod),
            "`canonical_user_id` must be a @staticmethod: it is asked where there is no channel",
        )
        check_powers(channel)
        for power, methods in _METHODS:
            for method in methods if getattr(channel.powers, power) else ():
                require(
                    getattr(type(channel), method) is not getattr(Channel, method),
                    f"it declares {power} and has no {method}()",
                )

    @check()
    async def test_a_user_has_one_id(self, trial: Trial[W]) -> None:
        """What `canonical_user_id` has made of an id stays as it is."""
        async with trial.living() as life:
            await trial.asked("hello", trial.here)
        heard = trial.turns[0].context.user_id
        again = type(life.channel).canonical_user_id(heard)
        require(
            again == heard,
            f"`canonical_user_id` made {heard!r} of the id of who wrote, and of that {again!r}",
        )

    @check()
    async def test_it_stops_at_once_and_leaves_no_task(self, trial: Trial[W]) -> None:
        """After it has heard and spoken, life after life."""
        left: list[int] = []
        for life in range(_LIVES):
            async with trial.living():
                await trial.asked(f"hello {life}", trial.here)
                began = trio.current_time()
            _stopped_quickly(began)
            left.append(trio.lowlevel.current_statistics().tasks_living)
        # The platform may keep tasks of its own, and end some of them a little later.
        await trial.until_true(
            lambda: trio.lowlevel.current_statistics().tasks_living <= left[0],
            "every task of the channel had ended",
            f"After each of {_LIVES} lives there were so many tasks: {left}. Start tasks in a "
            "nursery inside `run`, never as system tasks.",
        )

    @check("hold", "release")
    async def test_it_stops_while_a_send_hangs(self, trial: Trial[W]) -> None:
        """What hung is not said twice in the next life, and holds nothing up."""
        after_unknown = self.make_channel(trial.wire, "kit").powers.after_unknown
        await trial.wire.hold()
        async with trial.living():
            await trial.wire.user_says("hello", conversation=trial.here)
            await trial.until_true(lambda: bool(trial.turns), "the message was heard")
            began = trio.current_time()
        _stopped_quickly(began)
        await trial.wire.release()
        async with trial.living():
            await trial.asked("next", trial.here, "What hung before must not hold up what follows.")
        count = (await trial.answers(trial.here)).count("hello")
        require(
            count <= 1 or after_unknown == "labelled",
            f"the send that hung was seen {count} times: {after_unknown!r} cannot be so",
        )

    @check("disconnect", "reconnect")
    async def test_it_stops_while_it_connects(self, trial: Trial[W]) -> None:
        """And connects in its next life."""
        await trial.wire.disconnect()
        async with trial.living(ready=False) as life:
            await trial.until_true(
                lambda: life.channel.line.breaks > 0,
                "the channel said that it cannot connect",
                "Raise Unreachable from `run`, or call `self.line.down(why)` and try again.",
            )
            began = trio.current_time()
        _stopped_quickly(began)
        await trial.wire.reconnect()
        async with trial.living():
            await trial.asked("hello", trial.here)

    @check("disconnect", "reconnect")
    async def test_its_line_tells_whether_it_stands(self, trial: Trial[W]) -> None:
        """Up, down with a reason, and up again."""
        async with trial.living() as life:
            line = life.channel.line
            await trial.wire.disconnect()
            await trial.until_true(
                lambda: line.state != "connected",
                "the channel said that its line is down",
                "Notice the end of a connection; ping where the platform does not say it.",
            )
            require(bool(line.error), "`self.line.down(why)` needs a `why` for the operator")
            await trial.wire.reconnect()
            await trial.connected(life.channel)
            await trial.asked("hello", trial.here)

    @check()
    async def test_two_instances_do_not_know_of_each_other(self, trial: Trial[W]) -> None:
        """Each at a platform of its own."""
        async with self.open_wire() as other:
            beside = Trial(self, other)
            channel = self.make_channel(other, "other")
            # In two runtimes, because one refuses two channels of the same account.
            async with trial.living(), beside.living(channel=channel):
                await trial.asked("to the first", trial.here)
                require(
                    list(await other.seen(beside.here)) == [],
                    "the second platform shows what was asked on the first",
                )
                await beside.asked("to the second", beside.here)
                await trial.asked("to the first again", trial.here)
            answers = await trial.answers(trial.here), await beside.answers(beside.here)
        require(
            answers == (["to the first", "to the first again"], ["to the second"]),
            f"the platforms show {answers}: keep nothing in the class or the module",
        )
        instance = beside.turns[0].context.instance
        require(
            instance == "other",
            f"the second channel is called 'other', and its turn came from {instance!r}: "
            "`Address.instance` must be `self.name`",
        )

    # -- the operator ----------------------------------------------------------------------------

    @check()
    async def test_a_probe_finds_nothing_wrong_where_nothing_is(self, trial: Trial[W]) -> None:
        """Without `run`, and while it runs."""
        for found in (
            await self.make_channel(trial.wire, "kit").probe(),
            await _probed_beside(trial),
        ):
            wrong = [one for one in found if not one.ok]
            require(not wrong, f"nothing is wrong, and `probe` found: {wrong}")
        require(await trial.answers(trial.here) == [], "`probe` must change nothing")

    @check(wrong_token=True)
    async def test_a_probe_finds_a_wrong_token(self, trial: Trial[W]) -> None:
        """It is a `Check` that is not ok, with what to do about it."""
        try:
            found = await self.make_wrong_channel(trial.wire, "kit").probe()
        except ChannelError as error:
            raise AssertionError(
                f"`probe` raised {error!r}; a token that the platform refuses is a Check with "
                "ok=False, and only a platform that cannot be asked is Unreachable"
            ) from error
        wrong = [one for one in found if not one.ok]
        require(bool(wrong), f"the token is wrong, and `probe` found: {found}")
        require(all(one.what and one.detail for one in wrong), "a Check says what, and what to do")
        _hides(trial, "".join(map(repr, found)), "what `probe` found")

    @check(wrong_token=True)
    async def test_a_wrong_token_is_told_to_the_operator(self, trial: Trial[W]) -> None:
        """The line says that the platform refuses, and the log and the feed hide the token."""
        channel = self.make_wrong_channel(trial.wire, "kit")
        with _logged() as lines:
            async with trial.living(channel=channel, ready=False) as life:
                await trial.until_true(
                    lambda: channel.line.state == "refused",
                    "the line said that the platform refuses",
                    "Raise Rejected from `run` when the token is wrong.",
                )
                shown = "\n".join([*lines, *map(repr, life.events), repr(channel.line.error)])
        _hides(trial, shown, "the log or the feed, when the token is wrong,")

    @check("secrets")
    async def test_secrets_are_never_shown(self, trial: Trial[W]) -> None:
        """Not by `repr`, the log at its most talkative, the feed, the line, or any error."""
        wire = trial.wire
        with _logged() as lines:
            async with trial.living() as life:
                channel = life.channel
                await trial.asked("hello", trial.here)
                if not missing_abilities(wire, ["garbage"]):
                    await wire.garbage()
                    await trial.connected(channel)
                if not missing_abilities(wire, ["fail_next"]):
                    for kind in ("server_error", "unauthorized"):
                        await wire.fail_next(Failure(kind=kind))
                        await wire.user_says(kind, conversation=trial.here)
                    await trial.final_outcome(life, 2)
                if not missing_abilities(wire, ["disconnect", "reconnect"]):
                    await wire.disconnect()
                    await trial.until_true(
                        lambda: channel.line.state != "connected", "the line was down"
                    )
                    await wire.reconnect()
                    await trial.connected(channel)
                shown = {
                    "repr(channel)": f"{channel!r} {channel}",
                    "channel.line": f"{channel.line.error} {channel.line.warning}",
                    "channel.account": str(channel.account),
                    "the feed": "\n".join(map(repr, life.events)),
                    "what `probe` found": repr(await channel.probe()),
                }
        shown["the log at DEBUG"] = "\n".join(lines)
        for where, text in shown.items():
            _hides(trial, text, where)


async def _probed_beside(trial: Trial[Any]) -> tuple[Any, ...]:
    """What a channel that is not run finds while another one of the same account runs."""
    async with trial.living() as life:
        beside = trial.suite.make_channel(trial.wire, "beside")
        await beside.probe()
        return await life.channel.probe()


def _hides(trial: Trial[Any], text: str, where: str) -> None:
    """Require that no secret stands in `text`; the failure does not show it either."""
    for number, secret in enumerate(trial.wire.secrets, start=1):
        require(
            secret not in text,
            f"{where} shows secret number {number} of the wire: keep it in a "
            "`turnkeeper.channels.secret.Secret`, and out of URLs in errors and logs",
        )


@contextmanager
def _logged() -> Generator[list[str]]:
    """Everything that is logged, by whomever, as it would be written."""
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    root, handler = logging.getLogger(), Keeping()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(handler)


def _stopped_quickly(began: float) -> None:
    took_s = trio.current_time() - began
    require(
        took_s <= _QUICK_S,
        f"the runtime took {took_s:.1f} s to stop: let trio.Cancelled through, and do not wait "
        "under a shield without a deadline",
    )
