"""What every channel must make of a platform that fails, refuses, or does not answer."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import trio

from .kit_check import check
from .kit_suite import Suite
from .kit_trial import HEARD, Trial, require
from .kit_wire import Failure, FailureKind, Wire

__all__ = ["FailingChecks"]

W = TypeVar("W", bound=Wire)

_PAUSE_S: Final = 2.0
"""The pause that a platform asks for: longer than the runtime's own first one."""
_ONCE: Final = (
    "A message that may have arrived must not be sent again by the channel itself: raise "
    "LostAnswer, and let `ChannelPowers.after_unknown` say what can be done about it."
)
_NOTHING_LEFT: Final = (
    "Raise Unreachable where nothing has arrived and it can be tried again, Rejected where the "
    "platform refuses for good, LostAnswer only where it may have arrived."
)


class FailingChecks(Suite[W]):
    """Tests of `send`, when something goes wrong."""

    @check("fail_next")
    async def test_a_pause_that_the_platform_asks_for_is_kept(self, trial: Trial[W]) -> None:
        """And the message arrives once, after it."""
        async with trial.living() as life:
            began = trio.current_time()
            await _fail(trial, "rate_limited", _PAUSE_S)
            await trial.asked("slowly", trial.here, _NOTHING_LEFT)
            took_s = trio.current_time() - began
            await trial.final_outcome(life)
        require(
            took_s >= _PAUSE_S - 0.05,  # clocks of two processes differ
            f"the platform asked for {_PAUSE_S:g} s and got the message again after {took_s:.1f} s:"
            " raise Unreachable(…, reason='rate_limited', retry_after_s=…)",
        )
        await _arrived(trial, "slowly", once=True)

    @check("fail_next")
    async def test_a_platform_that_was_not_reached_is_tried_again(self, trial: Trial[W]) -> None:
        """Nothing had left."""
        async with trial.living() as life:
            await _fail(trial, "unreachable")
            await trial.asked("later", trial.here, _NOTHING_LEFT)
            outcome = await trial.final_outcome(life)
        require(outcome == ("delivered", None), f"it became {outcome}. {_NOTHING_LEFT}")
        await _arrived(trial, "later", once=True)

    @check("fail_next")
    async def test_an_error_of_the_platform_loses_and_repeats_nothing(
        self, trial: Trial[W]
    ) -> None:
        """It may have acted before it broke, for all that a channel can know."""
        async with trial.living() as life:
            await _fail(trial, "server_error")
            await trial.wire.user_says("broken", conversation=trial.here)
            status, _ = await trial.final_outcome(life)
        require(
            status in ("delivered", "unknown"),
            f"it became {status}: an error of the platform is not for good. {_NOTHING_LEFT}",
        )
        await _arrived(trial, "broken", once=status == "delivered")

    @check("fail_next")
    async def test_what_the_platform_forbids_has_failed(self, trial: Trial[W]) -> None:
        """It is not tried again."""
        await _failed_for_good(trial, "forbidden")

    @check("fail_next")
    async def test_a_message_to_a_conversation_that_is_gone_has_failed(
        self, trial: Trial[W]
    ) -> None:
        """It is not tried again."""
        await _failed_for_good(trial, "gone")

    @check("fail_next")
    async def test_a_token_that_is_refused_is_no_lost_answer(self, trial: Trial[W]) -> None:
        """It has failed, or waits for somebody to mend the token."""
        async with trial.living() as life:
            await _fail(trial, "unauthorized")
            await trial.wire.user_says("unwanted", conversation=trial.here)
            status, _ = await trial.final_outcome(life)
        require(
            status in ("delivered", "failed"),
            f"it became {status}, and the platform had refused it: {_NOTHING_LEFT}",
        )
        await _arrived(trial, "unwanted", once=status == "delivered")

    @check("fail_next")
    async def test_a_message_whose_answer_is_lost_is_not_sent_twice(self, trial: Trial[W]) -> None:
        """Unless it is marked for its reader."""
        after = self.make_channel(trial.wire, "kit").powers.after_unknown
        async with trial.living() as life:
            await _fail(trial, "lost_answer")
            await trial.wire.user_says("lost", conversation=trial.here)
            status, _ = await trial.final_outcome(life)
            await trial.asked("next", trial.here, "What follows must not wait for ever.")
        seen = [one for one in await trial.wire.seen(trial.here) if one.text.endswith("lost")]
        if after == "labelled":
            require(
                len(seen) <= 2 and all(one.text != HEARD + "lost" for one in seen[1:]),
                f"seen: {seen}: mark what is sent with `outbound.resend` for its reader",
            )
            return
        require(len(seen) == 1, f"it arrived, and was seen {len(seen)} times. {_ONCE}")
        expected = "unknown" if after == "never" else "delivered"
        require(
            status == expected,
            f"after_unknown is {after!r} and the answer was lost: the delivery must become "
            f"{expected}, not {status}. {_ONCE}",
        )


async def _fail(trial: Trial[Any], kind: FailureKind, retry_after_s: float | None = None) -> None:
    await trial.wire.fail_next(Failure(kind=kind, retry_after_s=retry_after_s))


async def _failed_for_good(trial: Trial[Any], kind: FailureKind) -> None:
    async with trial.living() as life:
        await _fail(trial, kind)
        await trial.wire.user_says("unwanted", conversation=trial.here)
        status, reason = await trial.final_outcome(life)
        attempts = len(life.outcomes())
        require(
            status == "failed" and attempts == 1,
            f"after {attempts} attempts it became {status}: raise Rejected where the platform "
            "refuses for good",
        )
        require(bool(reason), "Rejected has an empty reason: give one word for the receipt")
        await trial.asked("next", trial.here, "What follows must go out all the same.")
    await _arrived(trial, "unwanted", once=False)


async def _arrived(trial: Trial[Any], text: str, *, once: bool) -> None:
    """Require that the answer to `text` was seen once, or (if not `once`) at most once."""
    count = (await trial.answers(trial.here)).count(text)
    require(count <= 1, f"it was seen {count} times. {_ONCE}")
    if once:
        require(count == 1, "a receipt was returned, and the message is not there")
