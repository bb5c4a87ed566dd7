"""Supervision, performed: sleeps, draws, logs, starts again. Decides nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from random import Random
from typing import Final, TypeVar

import trio

from .errors import GaveUp
from .supervision import Decision, GiveUp, RestartPolicy, after_failure

__all__ = ["FailureHistory", "supervise"]

T = TypeVar("T")

_log: Final = logging.getLogger(__name__)


class FailureHistory:
    """The failures of one supervised thing, on the clock of the loop."""

    __slots__ = ("_failures", "_policy", "_rng")

    def __init__(self, policy: RestartPolicy, rng: Random) -> None:
        self._policy = policy
        self._rng = rng
        self._failures: tuple[float, ...] = ()

    def add(self) -> Decision:
        """Record a failure that happened now."""
        self._failures, decision = after_failure(
            self._policy, self._failures, trio.current_time(), self._rng.random()
        )
        return decision


async def supervise(
    run: Callable[[], Awaitable[T]],
    *,
    name: str,
    policy: RestartPolicy,
    rng: Random,
    on_restart: Callable[[Exception, float], object] | None = None,
) -> T:
    """Run `run` until it returns, starting it again when it fails.

    Args:
        run: an async callable, e.g. the `run` loop of a channel.
        name: what logs and errors call it.
        policy: how often, and after which delays.
        rng: where the jitter comes from.
        on_restart: called with the failure and the delay in seconds before each restart.

    Returns:
        What `run` returned.

    Raises:
        GaveUp: it failed more often than the policy allows; the last failure is the cause.
    """
    history = FailureHistory(policy, rng)
    while True:
        try:
            return await run()
        except Exception as error:
            decision = history.add()
            if isinstance(decision, GiveUp):
                raise GaveUp(
                    f"{name} failed {decision.failures} times in {policy.window_s:g} s"
                ) from error
            _log.warning(
                "%s failed; it runs again in %.3g s", name, decision.delay_s, exc_info=error
            )
            if on_restart is not None:
                on_restart(error, decision.delay_s)
        await trio.sleep(decision.delay_s)
