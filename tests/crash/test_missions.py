"""kill -9 while missions run: each run is given to the agent at most once."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from turnkeeper.actors.core.conversation import INTERRUPTED
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
)
from turnkeeper.verify import Verification

from .harness import Gateway, Stored, seeds

_KILLS = 8


def _runs(stored: Stored) -> Iterator[tuple[str, MissionRecord, list[Record]]]:
    """Every run, by the id of its turn, with what has ended it."""
    for name, log in stored.logs.items():
        ends: dict[int, list[Record]] = defaultdict(list)
        for _, record in log:
            if isinstance(record, AssistantRecord | SilentRecord | QuarantinedRecord):
                ends[record.turn_seq].append(record)
        for seq, record in log:
            if isinstance(record, MissionRecord):
                yield f"{name}/{seq}", record, ends[seq]


def _check(gateway: Gateway) -> set[str]:
    """Compare what is stored with what is known outside; return the runs that were cut short."""
    with gateway.stored() as stored:
        assert list(Verification(stored.store, time.time_ns() // 1000).problems()) == []
        runs = {turn_id: (record, ends) for turn_id, record, ends in _runs(stored)}
    numbers: dict[str, list[int]] = defaultdict(list)
    for record, ends in runs.values():
        numbers[record.mission].append(record.run)
        assert len(ends) <= 1
    assert all(sorted(of_one) == list(range(1, len(of_one) + 1)) for of_one in numbers.values())
    begun = Counter(turn_id for _, turn_id, *_ in gateway.said("begun"))
    assert set(begun.values()) <= {1}, "a run was given to the agent twice"
    assert begun.keys() <= runs.keys(), "a run began that is not on record"
    for _, turn_id, mission, attempt in gateway.said("begun"):
        assert (runs[turn_id][0].mission, attempt) == (mission, 1)
    for _, turn_id, mission, run, status in gateway.said("ran"):
        record, (end,) = runs[turn_id]
        assert (record.mission, record.run) == (mission, run)
        assert end.kind == {"answered": "assistant", "silent": "silent"}.get(status, "quarantined")
    arrived = Counter(delivery_id for _, delivery_id in gateway.said("arrived"))
    assert set(arrived.values()) == {1}
    return {turn_id for turn_id in begun if not runs[turn_id][1]}


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(1))
async def test_a_run_is_given_to_the_agent_once_at_most_and_is_interrupted_if_cut_short(
    tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    rng, gateway = Random(seed), Gateway(tmp_path, program="missions.py")
    cut: set[str] = set()
    for life in range(_KILLS):
        async with gateway.life(None, work="run", seed=f"{seed}-{life}") as running:
            await running.until("up")
            await running.lines(rng.randint(1, 150))
            await running.kill()
        cut |= _check(gateway)
    async with gateway.life(None, work="end", seed=f"{seed}-end") as ending:
        await ending.until("quiet")
        assert await ending.exit_code() == 0
    assert not _check(gateway)
    with gateway.stored() as stored:
        ended = {turn_id: ends for turn_id, _, ends in _runs(stored)}
        by = Counter(record.by for _, record, _ in _runs(stored))
    for turn_id in cut:
        (end,) = ended[turn_id]
        assert isinstance(end, QuarantinedRecord)
        assert end.error == INTERRUPTED
    assert all(ended.values())
    assert cut
    assert by["schedule"] > 0
    print(len(cut), by)
