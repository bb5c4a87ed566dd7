"""Makes a test that any pytest can run of an async function.

Tests run in a thread of their own, each on a loop of its own: they need no plugin of pytest's, and
a channel which cannot be stopped fails its test instead of hanging all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import trio

from .kit_suite import Suite
from .kit_trial import Trial
from .kit_wire import ABILITIES, Wire, missing_abilities

__all__ = ["check"]

S = TypeVar("S", bound=Suite[Any])


def check(
    *needs: str, power: str | None = None, wrong_token: bool = False
) -> Callable[[Callable[[S, Trial[Any]], Awaitable[None]]], Callable[[S], None]]:
    """Make a test, which any pytest can run, of an async function.

    Args:
        needs: abilities of the wire without which it is skipped.
        power: a field of `ChannelPowers` that the channel has to declare, else it is skipped.
        wrong_token: whether the suite must know how to make a channel with a wrong token.
    """
    assert all(name in ABILITIES for name in needs)

    def make(test: Callable[[S, Trial[Any]], Awaitable[None]]) -> Callable[[S], None]:
        async def run(suite: S) -> _Result:
            async with suite.open_wire() as wire:
                suite.doing = "the channel was being made"
                lacking = _lacking(suite, wire, needs, power, wrong_token)
                if lacking:
                    return _Result(skipped=lacking)
                try:
                    await test(suite, Trial(suite, wire))
                except Exception as error:  # noqa: BLE001  (raised outside, without the wire's groups)
                    return _Result(error=error)
            return _Result()

        def test_it(self: S) -> None:
            _run_apart(self, run)

        # Not `functools.wraps`: pytest would follow `__wrapped__`, and see a fixture in `trial`.
        test_it.__name__, test_it.__qualname__ = test.__name__, test.__qualname__
        test_it.__doc__, test_it.__module__ = test.__doc__, test.__module__
        return test_it

    return make


@dataclass(frozen=True, slots=True)
class _Result:
    error: BaseException | None = None
    skipped: str = ""


def _lacking(
    suite: Suite[Any], wire: Wire, needs: tuple[str, ...], power: str | None, wrong_token: bool
) -> str:
    """Why a test does not apply; empty if it does."""
    reasons = [f"{type(wire).__name__} {words}" for words in missing_abilities(wire, needs)]
    if power is not None and not getattr(suite.make_channel(wire, "kit").powers, power):
        reasons.append(f"the channel does not declare {power}")
    if wrong_token and _is_inherited(suite, "make_wrong_channel"):
        reasons.append("make_wrong_channel is not there")
    return "; ".join(reasons)


def _is_inherited(suite: Suite[Any], method: str) -> bool:
    own: object = getattr(type(suite), method)
    return own is getattr(Suite, method)


def _run_apart(suite: S, test: Callable[[S], Awaitable[_Result]]) -> None:
    """Run a test in a thread of its own; fail, or skip, as it says."""
    results: list[_Result] = []

    def work() -> None:
        try:
            results.append(trio.run(test, suite, clock=suite.make_clock()))
        except BaseException as error:  # noqa: BLE001  (raised in the thread that waits)
            results.append(_Result(error=error))

    thread = threading.Thread(target=work, name="channel test", daemon=True)
    thread.start()
    doing = ""
    while not results and suite.doing != doing:
        doing = suite.doing
        thread.join(suite.stuck_s)
    if not results:
        raise AssertionError(
            f"the test was stuck when {suite.doing}. Something cannot be cancelled: let "
            "trio.Cancelled through (no bare `except:` or `except BaseException:` around an await, "
            "no await without end under a shield), and put calls that block into "
            "trio.to_thread.run_sync"
        )
    if results[0].error is not None:
        raise _innermost(results[0].error)
    if results[0].skipped:
        from pytest import skip  # only those who run the tests have it  # noqa: PT013

        skip(results[0].skipped)


def _innermost(error: BaseException) -> BaseException:
    """What failed, without the groups that nurseries have put around it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    group = cast("BaseExceptionGroup[BaseException]", error)
    return _innermost(group.exceptions[0]) if len(group.exceptions) == 1 else group
