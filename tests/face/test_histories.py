"""Pages of a session's raw log, damaged records included."""

from __future__ import annotations

import pytest

from turnkeeper import UnknownSession, views
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.view_records import (
    CommandRecord,
    ErasedRecord,
    ForgottenRecord,
    MemoryRecord,
    SummaryRecord,
)
from turnkeeper.histories import HistoryRecord
from turnkeeper.storage.keys import log_key
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.words import text_of

from ..actors.stage import echo, on_stage

ROT = b"\x01rotten"


async def lived(turns: int = 4) -> MemoryDisk:
    """Session s1: records 1 to 3 open it, then there are three for each turn."""
    disk, tg = MemoryDisk(), LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=disk):
        for number in range(turns):
            await tg.receive(f"message {number}")
            await tg.next_sent()
    return disk


def seqs(records: list[HistoryRecord] | None) -> list[int]:
    assert records is not None
    return [record.seq for record in records]


async def test_pages_in_both_directions_are_the_whole_log() -> None:
    async with open_memory(await lived()) as store:
        whole = views.history(store, "s1")
        assert whole is not None
        assert seqs(whole) == list(range(1, len(whole) + 1))
        for limit in (1, 3, 100):
            forth: list[HistoryRecord] = []
            while page := views.history(store, "s1", after=len(forth), limit=limit):
                forth += page
            assert forth == whole
            back: list[HistoryRecord] = []
            before = len(whole) + 1
            while page := views.history(store, "s1", before=before, limit=limit):
                back = page + back
                before = page[0].seq
            assert back == whole


async def test_the_newest_are_shown_without_a_place_to_begin() -> None:
    async with open_memory(await lived()) as store:
        last = store.last_seq(1)
        assert seqs(views.history(store, "s1", limit=2)) == [last - 1, last]
        assert seqs(views.history(store, "s1", limit=0)) == []
        assert seqs(views.history(store, "s1", after=3, before=5)) == [4]
        assert views.history(store, "s9") is None


async def test_a_negative_number_is_refused_by_name() -> None:
    async with open_memory(await lived(1)) as store:
        for name in ("before", "after", "limit"):
            with pytest.raises(ValueError, match=f"{name} must be 0 or more, not -1"):
                views.history(store, "s1", **{name: -1})


async def test_a_damaged_record_is_shown_as_such_beside_the_others() -> None:
    disk = await lived()
    for seq in (4, 5, 9):
        disk.log.put(log_key(1, seq), ROT)
    async with open_memory(disk) as store:
        records = views.history(store, "s1")
        assert records is not None
        assert seqs(records) == list(range(1, len(records) + 1))
        damaged = [record for record in records if record.kind == "damaged"]
        assert seqs(damaged) == [4, 5, 9]
        assert damaged[0].text.startswith("record 1/4: ")
        assert (damaged[0].at, damaged[0].conversation, damaged[0].detail) == (None, None, None)
        for limit in (1, 2, 3):
            assert seqs(views.history(store, "s1", after=2, limit=limit)) == [3, 4, 5][:limit]
            newest = views.history(store, "s1", before=6, limit=limit)
            assert seqs(newest) == [3, 4, 5][-limit:]
        assert views.history(store, "s1", after=2, limit=3) == records[2:5]


async def test_a_runtime_gives_pages_and_keeps_the_plain_call() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        whole = await stage.runtime.history("s1")
        assert await stage.runtime.history("s1", before=4, limit=2) == whole[1:3]
        assert await stage.runtime.history("s1", after=2, limit=1) == whole[2:3]
        with pytest.raises(UnknownSession):
            await stage.runtime.history("s9", limit=1)


def summary(text: str) -> SummaryRecord:
    return SummaryRecord(
        at_us=1,
        text=text,
        through=3,
        asides=0,
        by="extract",
        tokens=1,
        covered_tokens=2,
        covered_bound=3,
        covered_messages=4,
    )


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (summary("They met."), "They met."),
        (
            CommandRecord(
                at_us=1,
                command="new",
                instance="tg",
                conversation="c1",
                thread=None,
                platform="telegram",
                message_id="m1",
                user_id="u1",
            ),
            "/new by telegram:u1",
        ),
        (MemoryRecord(at_us=1, key="color", value="blue"), "color = blue"),
        (MemoryRecord(at_us=1, key="color", value=None), "color is kept no more"),
        (ForgottenRecord(at_us=1, by="operator"), "by operator"),
        (
            ErasedRecord(at_us=1, session_id="s1", by="operator", records=7),
            "s1 was deleted, 7 records, by operator",
        ),
    ],
)
def test_what_moves_the_view_of_a_session_is_told_in_words(record: Record, text: str) -> None:
    assert text_of(record) == text
