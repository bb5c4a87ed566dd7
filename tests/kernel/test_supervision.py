"""Supervision: the decision by table and by property; the shell on a virtual clock."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors import (
    ActorDeadError,
    ActorRef,
    GaveUp,
    Kernel,
    RestartPolicy,
    TrioActor,
    supervise,
)
from turnkeeper.actors.kernel.supervision import GiveUp, RestartAfter, after_failure

Scheduled = Callable[[type[Any]], type[Any]]

STEADY = RestartPolicy(
    first_delay_s=1, max_delay_s=8, factor=2, jitter=0, max_restarts=5, window_s=100, max_attempts=3
)


def decisions(policy: RestartPolicy, *times_s: float) -> list[RestartAfter | GiveUp]:
    """What follows failures at these times."""
    failures: tuple[float, ...] = ()
    made: list[RestartAfter | GiveUp] = []
    for now_s in times_s:
        failures, decision = after_failure(policy, failures, now_s, 0.5)
        made.append(decision)
    return made


def test_delays_double_up_to_the_cap_and_then_it_gives_up() -> None:
    assert decisions(STEADY, 0, 1, 2, 3, 4, 5) == [
        RestartAfter(1),
        RestartAfter(2),
        RestartAfter(4),
        RestartAfter(8),
        RestartAfter(8),
        GiveUp(6),
    ]


def test_failures_older_than_the_window_are_forgotten() -> None:
    assert decisions(STEADY, 0, 50, 100, 250) == [
        RestartAfter(1),
        RestartAfter(2),
        RestartAfter(2),
        RestartAfter(1),
    ]


def test_no_restarts_allowed_means_none() -> None:
    assert decisions(RestartPolicy(max_restarts=0), 0) == [GiveUp(1)]


@pytest.mark.parametrize(
    "fault",
    [
        {"first_delay_s": -1},
        {"first_delay_s": 2, "max_delay_s": 1},
        {"factor": 0.5},
        {"jitter": 1},
        {"max_restarts": -1},
        {"window_s": 0},
        {"max_attempts": 0},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(fault: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must hold"):
        RestartPolicy(**fault)


@given(
    gaps=st.lists(st.floats(0, 50), min_size=1, max_size=60),
    chance=st.floats(0, 1, exclude_max=True),
    jitter=st.floats(0, 0.9),
)
def test_delays_stay_within_the_cap_and_its_jitter_and_the_history_within_the_window(
    gaps: list[float], chance: float, jitter: float
) -> None:
    policy = RestartPolicy(first_delay_s=0.5, max_delay_s=10, jitter=jitter, window_s=100)
    failures: tuple[float, ...] = ()
    now_s = 0.0
    for gap in gaps:
        now_s += gap
        failures, decision = after_failure(policy, failures, now_s, chance)
        assert all(now_s - at < policy.window_s for at in failures)
        if isinstance(decision, GiveUp):
            assert decision.failures == len(failures) > policy.max_restarts
        else:
            assert 0.5 * (1 - jitter) <= decision.delay_s <= 10 * (1 + jitter)


async def test_what_fails_is_run_again_after_growing_delays(
    autojump_clock: trio.testing.MockClock,
) -> None:
    runs_s: list[float] = []

    async def run() -> str:
        runs_s.append(trio.current_time() - began_s)
        if len(runs_s) < 4:
            raise OSError("broken")
        return "done"

    began_s = trio.current_time()
    delays_s: list[float] = []
    result = await supervise(
        run,
        name="tg",
        policy=STEADY,
        rng=Random(1),
        on_restart=lambda _, delay_s: delays_s.append(delay_s),
    )
    assert result == "done"
    assert runs_s == pytest.approx([0, 1, 3, 7])
    assert delays_s == [1, 2, 4]


async def test_what_keeps_failing_is_given_up_with_its_last_error(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    runs = 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        raise OSError(f"broken {runs}")

    with pytest.raises(GaveUp, match="tg failed 6 times in 100 s") as caught:
        await supervise(run, name="tg", policy=STEADY, rng=Random(1))
    assert str(caught.value.__cause__) == "broken 6"
    assert caplog.text.count("it runs again in") == 5


async def test_cancelling_what_is_supervised_is_no_failure(
    autojump_clock: trio.testing.MockClock,
) -> None:
    with trio.move_on_after(5) as scope:
        await supervise(trio.sleep_forever, name="tg", policy=STEADY, rng=Random(1))
    assert scope.cancelled_caught


async def test_jitter_comes_from_the_injected_randomness(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy = RestartPolicy(first_delay_s=1, max_delay_s=1, jitter=0.5, max_restarts=3)

    async def delays(seed: int) -> list[float]:
        taken: list[float] = []

        async def run() -> None:
            raise OSError("broken")

        with pytest.raises(GaveUp):
            await supervise(
                run,
                name="tg",
                policy=policy,
                rng=Random(seed),
                on_restart=lambda _, delay_s: taken.append(delay_s),
            )
        return taken

    assert await delays(1) == await delays(1)
    assert await delays(1) != await delays(2)
    assert len(set(await delays(1))) == 3


class Fragile(TrioActor):
    """Fails as often as a message says, over all its lives."""

    supervision = STEADY

    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self._log = log
        self._handled = 0

    async def on_start(self) -> None:  # type: ignore[override]
        self._log.append("start")

    def on_failure(self, *args: Any) -> None:
        self._log.append(f"failure: {args[1]}")

    def on_quarantine(self, message: Any, error: Exception) -> None:
        self._log.append(f"quarantine of {message!r}: {error}")

    def on_receive(self, message: Any) -> Any:
        self._handled += 1
        failures = getattr(message, "failures", 0)
        if failures:
            message.failures -= 1
            raise ValueError(f"failing {message!r}")
        self._log.append(message)
        return self._handled


class Shaky:
    """A message whose handler fails `failures` times."""

    def __init__(self, failures: int) -> None:
        self.failures = failures

    def __repr__(self) -> str:
        return "shaky"


async def test_a_supervised_actor_restarts_with_its_ref_its_arguments_and_its_backlog(
    kernel: Kernel, scheduled: Scheduled, autojump_clock: trio.testing.MockClock
) -> None:
    log: list[Any] = []
    ref = scheduled(Fragile).start(log)
    shaky = Shaky(1)
    ref.tell("before")
    ref.tell(shaky)
    ref.tell("after")
    began_s = trio.current_time()
    assert await ref.ask("last", block=False) == 3, "the new instance counts anew"
    assert trio.current_time() - began_s == pytest.approx(1)
    assert log == ["start", "before", "failure: failing shaky", "start", shaky, "after", "last"]
    assert ref.is_alive()


async def test_a_poison_message_is_quarantined_after_its_attempts_and_the_actor_goes_on(
    kernel: Kernel, scheduled: Scheduled, autojump_clock: trio.testing.MockClock
) -> None:
    log: list[Any] = []
    ref = scheduled(Fragile).start(log)
    ref.tell(Shaky(1000))
    ref.tell("after")
    await ref.stop(block=False)
    assert log == [
        "start",
        *(["failure: failing shaky", "start"] * 3),
        "quarantine of shaky: failing shaky",
        "after",
    ]


async def test_an_actor_that_fails_too_often_is_given_up_and_reported() -> None:
    given_up: list[tuple[ActorRef[Any], str]] = []
    log: list[Any] = []
    with trio.CancelScope() as scope:
        async with Kernel.open(
            rng=Random(1),
            stall_after_s=None,
            on_give_up=lambda ref, error: given_up.append((ref, str(error))),
        ) as kernel:

            class Hopeless(Fragile):
                supervision = RestartPolicy(first_delay_s=0, max_restarts=2, max_attempts=99)

            ref = kernel.start(Hopeless, log)
            other = kernel.start(Fragile, [])
            ref.tell(Shaky(1000))
            with pytest.raises(ActorDeadError):
                await ref.ask("waiting", block=False)
            assert given_up == [(ref, "failing shaky")]
            assert await other.ask("untouched", block=False) == 1
    assert not scope.cancelled_caught
    assert log.count("failure: failing shaky") == 3


async def test_a_restart_that_fails_counts_as_a_failure_too(
    kernel: Kernel, scheduled: Scheduled, autojump_clock: trio.testing.MockClock
) -> None:
    lives = 0

    class Unlucky(TrioActor):
        supervision = STEADY

        def __init__(self) -> None:
            nonlocal lives
            super().__init__()
            lives += 1
            if lives in (2, 3):
                raise OSError("cannot start again yet")

        def on_receive(self, message: Any) -> Any:
            if lives == 1:
                raise ValueError("first life")
            return lives

    ref = scheduled(Unlucky).start()
    ref.tell("x")
    began_s = trio.current_time()
    assert await ref.ask("y", block=False) == 4
    assert trio.current_time() - began_s == pytest.approx(1 + 2 + 4)


async def test_an_error_in_an_ask_restarts_nothing(kernel: Kernel, scheduled: Scheduled) -> None:
    log: list[Any] = []
    ref = scheduled(Fragile).start(log)
    with pytest.raises(ValueError, match="shaky"):
        await ref.ask(Shaky(1), block=False)
    assert log == ["start"]


async def test_a_kill_ends_an_actor_that_waits_for_its_restart(
    kernel: Kernel, scheduled: Scheduled
) -> None:
    log: list[Any] = []
    ref = scheduled(Fragile).start(log)
    ref.tell(Shaky(1))
    asked = ref.ask("waiting", block=False)
    await trio.testing.wait_all_tasks_blocked()
    ref.kill()
    with pytest.raises(ActorDeadError):
        await asked
    assert log == ["start", "failure: failing shaky"]
