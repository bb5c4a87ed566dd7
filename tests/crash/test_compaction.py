"""kill -9 at every step of a compaction: the old context is there, or the new one, whole."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import ToolRecord, UserRecord
from turnkeeper.actors.core.view_records import SummaryRecord
from turnkeeper.actors.windows import read_window
from turnkeeper.verify import Verification

from .harness import Gateway, Life, Message, Stored

pytestmark = pytest.mark.slow

STEPS = ("measure", "ask", "write", "hand over", "stored")
TURNS = 12


def message(number: int) -> Message:
    """250 tokens."""
    return Message(f"m{number}", "c1", f"say {number} ".ljust(1_000, "x"))


async def talk(gateway: Gateway, life: Life, first: int, last: int) -> bool:
    """One message after the other, each answered; False if the process has died."""
    for number in range(first, last):
        await life.hear(message(number))
        while not any(entry[3].startswith(f"say {number} ") for entry in gateway.said("sent")):
            if not await life.goes_on():
                return False
    return True


def summaries(stored: Stored) -> list[tuple[int, SummaryRecord]]:
    return [(seq, r) for seq, r in stored.logs["s1"] if isinstance(r, SummaryRecord)]


def check(stored: Stored) -> None:
    """Nothing is half there, nothing is twice there, and nothing is missing."""
    assert list(Verification(stored.store, time.time_ns() // 1000).problems()) == []
    log = dict(stored.logs["s1"])
    window = read_window(stored.store, 1, None)
    shown = {m.seq for m in window if m.kind != "summary"}
    found = summaries(stored)
    newest = found[-1][1] if found else None
    assert [m.seq for m in window if m.kind == "summary"] == [seq for seq, _ in found[-1:]]
    for seq, record in log.items():
        turn = turn_of(seq, record)
        if turn:
            covered = newest is not None and turn <= newest.through
            assert (seq in shown) != covered, f"{seq} is neither shown nor summarised, or both"
    for (earlier, _), (_, later) in pairwise(found):
        assert later.previous == earlier


def turn_of(seq: int, record: Record) -> int:
    if isinstance(record, UserRecord):
        return seq
    if isinstance(record, ToolRecord):
        return record.turn_seq
    return getattr(record, "turn_seq", 0) if record.kind == "assistant" else 0


@pytest.mark.parametrize("summary", [1, 2])
@pytest.mark.parametrize("step", STEPS)
async def test_a_process_that_dies_in_a_compaction_leaves_a_whole_context(
    tmp_path: Path, step: str, summary: int
) -> None:
    gateway = Gateway(tmp_path, program="compaction.py")
    async with gateway.life(None, die_at=step, summary=summary) as life:
        if await talk(gateway, life, 0, TURNS):
            await life.until("dying", step)
        assert await life.exit_code() == -9
    assert gateway.said("dying") == [["dying", step]]
    with gateway.stored() as stored:
        check(stored)
        before = [seq for seq, _ in summaries(stored)]
        if step != "measure":  # which is done more often than something is summarised
            assert len(before) == summary - (step != "stored")
        accepted = len(stored.message_ids())
        covered = summaries(stored)[-1][1].through if before else 0
    async with gateway.life(None) as life:
        await life.hear(*gateway.unacknowledged([message(n) for n in range(accepted)]))
        assert await talk(gateway, life, accepted, accepted + 6)
        await life.hear_no_more()
        await life.until("quiet")
        assert await life.stop() == 0
    with gateway.stored() as stored:
        check(stored)
        texts = [record.text for _, record in stored.users("s1")]
        assert texts == [message(number).text for number in range(accepted + 6)]
        assert [r.text for _, r in stored.replies("s1")] == [text[:40] for text in texts]
        assert [seq for seq, _ in summaries(stored)][: len(before)] == before
        assert len(summaries(stored)) > len(before), "the conversation goes on to be summarised"
        assert summaries(stored)[-1][1].through > covered
    for asked in gateway.said("asked"):
        assert len(set(asked[2:])) == len(asked[2:])
    last = gateway.said("window")[-1]
    assert last[2].startswith("summary:")
