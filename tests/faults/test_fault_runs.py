"""Seeded schedules of humans, agents, programs, faults and crashes, judged at every commit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import pytest

from turnkeeper.actors.core.outgoing import Outgoing
from turnkeeper.actors.gate import OutputGate
from turnkeeper.actors.noting import NoteDesk
from turnkeeper.channels.actor import ChannelActor

from .events import CutPower, FailDisk, Stop
from .schedule import make_schedule
from .seeds import broken, explain
from .world import run_schedule, run_seed

ROOT: Final = Path(__file__).parents[2]
FAST: Final = 200
"""Seeds of every run of the tests; the slow suite goes on from there."""
SLOW: Final = 3_000
CHUNK: Final = 25
SEED: Final = os.environ.get("FAULT_SEED")


@pytest.mark.parametrize("first", range(0, FAST, CHUNK))
def test_whatever_fails_every_promise_is_kept(first: int) -> None:
    found = broken(first, first + CHUNK)
    assert not found, "\n".join(found)


@pytest.mark.slow
def test_whatever_fails_every_promise_is_kept_in_thousands_of_runs() -> None:
    workers = os.cpu_count() or 1
    share = -(-(SLOW - FAST) // workers)
    command = [sys.executable, "-W", "error", "-m", "tests.faults.seeds"]
    processes = [
        subprocess.Popen(
            [*command, str(first), str(min(first + share, SLOW))],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for first in range(FAST, SLOW, share)
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), "".join(outputs)


@pytest.mark.skipif(SEED is None, reason="FAULT_SEED names no seed to replay")
def test_replay() -> None:
    seed = int(SEED or 0)
    print(f"\nseed {seed}:")
    for event in make_schedule(seed):
        print(f"    {event}")
    run = run_seed(seed)
    print("\n".join(run.trace))
    assert not run.problems, explain(seed, run.problems)


# -- crashes at every commit -----------------------------------------------------------------------


def crash_at_every_commit(seed: int) -> list[str]:
    """Explain what breaks when the power goes at one commit of a schedule, for each of them."""
    schedule = [e for e in make_schedule(seed) if not isinstance(e, CutPower | FailDisk | Stop)]
    whole = run_schedule(seed, schedule)
    found = list(whole.problems)
    for commit in range(whole.counts["commits"]):
        for stored in (False, True):
            run = run_schedule(seed, schedule, CutPower(0.0, commit, stored))
            where = f"seed {seed}, cut at commit {commit}, {'' if stored else 'not '}stored"
            found.extend(f"{where}: {problem}" for problem in run.problems)
            assert run.counts["cuts"] == 1
    return found


@pytest.mark.parametrize("seed", [13, 22])
def test_a_crash_at_any_commit_breaks_no_promise(seed: int) -> None:
    assert crash_at_every_commit(seed) == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 30))
def test_a_crash_at_any_commit_of_a_longer_schedule_breaks_no_promise(seed: int) -> None:
    assert crash_at_every_commit(seed) == []


# -- what the runs are worth -----------------------------------------------------------------------


@pytest.mark.parametrize("seed", [3, 4])
def test_a_seed_is_one_run_and_no_other(seed: int) -> None:
    run = run_seed(seed)
    assert run_seed(seed).digest == run.digest
    assert run_seed(seed + 1).digest != run.digest


def test_a_seed_is_the_same_run_in_every_process() -> None:
    program = "from tests.faults.world import run_seed; print(run_seed(3).digest)"
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        )
        assert told.stdout.strip() == run_seed(3).digest


def test_the_runs_see_what_they_are_meant_to_see() -> None:
    counts: Counter[str] = Counter()
    for seed in range(20):
        counts += run_seed(seed).counts
    for what in ("cuts", "Stop", "notes", "arrivals", "Retry", "HoldDisk", "Move", "RunMission"):
        assert counts[what] > 1, f"{what}: {counts[what]} in 20 runs"


def first_broken(seeds: range) -> str:
    """The first problem of the first seed that has one."""
    for seed in seeds:
        run = run_seed(seed)
        if run.problems:
            return run.problems[0].partition(": ")[2]
    return ""


REAL_SETTLE: Final = cast("Callable[..., object]", vars(ChannelActor)["_settle"])
REAL_SAY: Final = cast("Callable[..., int]", vars(Outgoing)["_say"])


def owned_by_nobody(_self: Any, _place: Any) -> None:
    return None


def told_as_delivered(self: Any, parcel: Any, attempt: int, _reason: str) -> None:
    parcel.arrived = ("out-0",)
    self._report(parcel, attempt, "delivered")


def sent_again_blindly(self: Any, lane: Any, deliver: Any) -> object:
    return REAL_SETTLE(self, lane, replace(deliver, ambiguous=False))


def answered_elsewhere(self: Any, step: Any, text: str, _to: Any, *rest: Any, **more: Any) -> int:
    return REAL_SAY(self, step, text, self.target, *rest, **more)


def done_before_it_is_stored(self: Any, batch: Any, then: Callable[[None], None]) -> None:
    self._services.store.submit(batch)
    then(None)


@pytest.mark.parametrize(
    ("owner", "name", "broken_on_purpose", "promises"),
    [
        (NoteDesk, "_owner_of", owned_by_nobody, ("7: ", "verify")),
        (ChannelActor, "_give_up", told_as_delivered, "6: "),
        (ChannelActor, "_settle", sent_again_blindly, "6: "),
        (Outgoing, "_say", answered_elsewhere, "12: "),
        (OutputGate, "_submit", done_before_it_is_stored, ("1: ", "5: ")),
    ],
)
def test_a_runtime_that_breaks_a_promise_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
    owner: type,
    name: str,
    broken_on_purpose: object,
    promises: str | tuple[str, ...],
) -> None:
    monkeypatch.setattr(owner, name, broken_on_purpose)
    found = first_broken(range(60))
    assert found.startswith(promises), found
