"""kill -9 while files go out: every human gets every file whole, and under one id each."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest

from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.turn_records import AssistantRecord, QuarantinedRecord, UserRecord
from turnkeeper.storage.blobs import Blobs
from turnkeeper.verify import Verification

from .harness import Gateway, seeds

_KILLS = 8
_MESSAGES = 60


def _arrived(gateway: Gateway) -> dict[str, set[str]]:
    """What humans have seen under each id."""
    arrived: dict[str, set[str]] = defaultdict(set)
    for _, part_id, what in gateway.said("arrived"):
        arrived[part_id].add(what)
    return arrived


def _check(gateway: Gateway) -> Counter[str]:
    """Compare what is stored with what is known outside; count turns and what ended them."""
    arrived = _arrived(gateway)
    assert all(len(whats) == 1 for whats in arrived.values()), "one id, two contents"
    blobs = Blobs(gateway.state_dir, lambda: 0)
    with gateway.stored() as stored:
        now_us = time.time_ns() // 1000
        assert list(Verification(stored.store, now_us, blobs=blobs).problems()) == []
        for name, log in stored.logs.items():
            for seq, record in log:
                if isinstance(record, AssistantRecord):
                    for part_id, what in _parts(f"{name}/{seq}", record):
                        assert arrived.pop(part_id, {what}) == {what}
                if isinstance(record, DeliveryRecord) and record.status == "delivered":
                    assert len(record.parts) == 3
        assert not arrived, "something has left that is not on record"
        return Counter(
            record.kind
            for log in stored.logs.values()
            for _, record in log
            if isinstance(record, UserRecord | QuarantinedRecord | AssistantRecord)
        )


def _parts(delivery_id: str, record: AssistantRecord) -> Iterator[tuple[str, str]]:
    """The ids under which a delivery leaves, and what a human sees of each."""
    own = sha256(record.text.encode() * 10_000).hexdigest()
    shared = sha256(b"for everybody").hexdigest()
    for number, what in enumerate((record.text, own, shared), 1):
        yield f"{delivery_id}.{number}", what


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(1))
async def test_files_arrive_whole_and_nothing_leaves_that_is_not_on_record(
    tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    rng, gateway = Random(seed), Gateway(tmp_path, program="files.py")
    for life in range(_KILLS):
        accepted = {number for _, number in gateway.said("accepted")}
        rest = [number for number in range(_MESSAGES) if number not in accepted]
        async with gateway.life(None, work="run", numbers=rest, seed=f"{seed}-{life}") as running:
            await running.until("up")
            await running.lines(rng.randint(1, 60))
            await running.kill()
        _check(gateway)
    accepted = {number for _, number in gateway.said("accepted")}
    rest = [number for number in range(_MESSAGES) if number not in accepted]
    async with gateway.life(None, work="end", numbers=rest, seed=f"{seed}-end") as ending:
        await ending.until("quiet")
        assert await ending.exit_code() == 0
    counts = _check(gateway)
    assert counts["user"] == _MESSAGES == counts["assistant"] + counts["quarantined"]
    assert len(_arrived(gateway)) == 3 * counts["assistant"]
    assert counts["assistant"] > counts["quarantined"]
