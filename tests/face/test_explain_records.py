"""Explanations of records that have no story of their own, and of what was deleted."""

from __future__ import annotations

import pytest

from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.records import Record, pack
from turnkeeper.actors.core.turn_records import FailureRecord, SilentRecord
from turnkeeper.actors.core.view_records import ClearRecord, ForgottenRecord, MemoryRecord
from turnkeeper.actors.journal import name_key
from turnkeeper.explain import explain
from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.memory import open_memory

AT_US = 1_000_000
CAME = "1970-01-01 00:00:01.000Z  "
ANEW = "it begins anew after this record"


async def told(record: Record) -> tuple[str, tuple[str, ...]]:
    """The kind and the lines of a record's story; it is the second of session s1."""
    opened = OpenedRecord(at_us=AT_US, session_id="s1", agent="main", by="test")
    async with open_memory() as store:
        batch = Batch()
        batch.append(1, 1, [encode(pack(each)) for each in (opened, record)])
        batch.put(Table.NAMES, name_key("s1"), encode(1))
        await store.commit(batch)
        story = explain(store, "s1/2")
    assert story is not None
    assert story.id == "s1/2"
    return story.kind, story.lines


@pytest.mark.parametrize(
    ("record", "lines"),
    [
        (
            ClearRecord(at_us=AT_US, by="user", summary=9),
            (
                f"{CAME}the context was cleared by the human, with /new: {ANEW}",
                f"{CAME}until then it began with the summary s1/9",
            ),
        ),
        (
            ClearRecord(at_us=AT_US, by="policy daily", cleared=5),
            (
                f"{CAME}the context was cleared by policy daily: {ANEW}",
                f"{CAME}until then it began after s1/5",
            ),
        ),
        (
            MemoryRecord(at_us=AT_US, key="name", value="Ann", during=4),
            (f"{CAME}memory: name = Ann", "it is part of turn s1/4"),
        ),
        (
            ForgottenRecord(at_us=AT_US, by="operator"),
            (f"{CAME}the memory of the agent was emptied, by operator",),
        ),
        (
            SilentRecord(at_us=AT_US, turn_seq=4),
            (f"{CAME}silent", "it is part of turn s1/4"),
        ),
        (
            FailureRecord(at_us=AT_US, turn_seq=4, attempt=1, error="no\nreally"),
            (f"{CAME}failure: no", "| really", "it is part of turn s1/4"),
        ),
        (
            DeliveryRecord(at_us=AT_US, delivery_seq=5, status="failed", reason="gone", attempt=3),
            (f"{CAME}attempt 3: failed (gone)", "it is part of delivery s1/5"),
        ),
    ],
)
async def test_a_record_says_what_it_is_and_to_what_it_belongs(
    record: Record, lines: tuple[str, ...]
) -> None:
    assert await told(record) == ("record", lines)
