"""A damaged record is reported with its place, and does not take its session down."""

from __future__ import annotations

import pytest

import turnkeeper as tk
from turnkeeper import views
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.journal import load_records
from turnkeeper.export import export_lines
from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.errors import CorruptRecord
from turnkeeper.storage.keys import log_key, number_key
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from .retained import agent, problems, say


async def grown() -> tuple[MemoryDisk, list[int], list[int]]:
    """A session of six turns; the sequence numbers of its questions and of its answers."""
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", platform="telegram")
    async with (
        open_memory(disk) as store,
        tk.open_runtime(None, store=store, agent=agent, channels=[tg]),
    ):
        for number in range(6):
            await say(tg, store, f"question {number}", "ann")
        records = list(load_records(store, 1))
    asked = [seq for seq, record in records if isinstance(record, UserRecord)]
    said = [seq for seq, record in records if isinstance(record, AssistantRecord)]
    return disk, asked, said


def flip(disk: MemoryDisk, seq: int) -> None:
    """Change one bit of a record."""
    data = disk.log.get(log_key(1, seq))
    assert data is not None
    disk.log.put(log_key(1, seq), data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])


@pytest.mark.parametrize("of", ["question", "answer"])
async def test_a_session_goes_on_over_a_damaged_record_which_is_named(of: str) -> None:
    disk, asked, said = await grown()
    seq = asked[2] if of == "question" else said[2]
    flip(disk, seq)
    seen: list[tuple[str, ...]] = []

    async def looking(turn: tk.Turn) -> str | None:
        seen.append(tuple(message.text for message in turn.messages))
        return await agent(turn)

    tg = LoopbackChannel("tg", platform="telegram")
    async with (
        open_memory(disk) as store,
        tk.open_runtime(None, store=store, agent=looking, channels=[tg]),
    ):
        assert any(line.startswith(f"log 1/{seq}: ") for line in problems(store))
        await say(tg, store, "and now?", "ann")
        assert tg.sent[-1].text == "you said and now?"
        (texts,) = seen
        for number in (0, 1, 3, 4, 5):
            assert f"question {number}" in texts
            assert f"you said question {number}" in texts
        history = views.history(store, "s1")
        assert history is not None
        assert [record.seq for record in history if record.kind == "damaged"] == [seq]
        assert len(history) == store.last_seq(1)
        with pytest.raises(CorruptRecord, match=f"record 1/{seq}"):
            list(export_lines(store, "s1", 1))
        assert any(line.startswith(f"log 1/{seq}: ") for line in problems(store))


# -- what is kept beside the logs ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "key", "value", "place"),
    [
        (Table.TOKENS, log_key(1, 999), b"\0" * 12, "tokens of 1/999: there is no such record"),
        (Table.TOKENS, log_key(7, 1), b"\0" * 12, "tokens of 7/1: there is no such record"),
        (Table.TOKENS, log_key(1, 1), b"bad", "tokens of 1/1: a count of tokens has 3 bytes"),
        (Table.TOKENS, b"bad", b"\0" * 12, "tokens 626164: has a key of another kind"),
        (Table.USAGE, number_key(7), b"bad", "usage of 7: no session has such a number"),
        (Table.USAGE, number_key(1), b"bad", "usage of 1: "),
        (Table.MEMORY, number_key(1) + b"k" * 16, b"bad", "memory of 1: 6b6b"),
        (Table.MEMORY, number_key(7) + b"k" * 16, b"bad", "memory of 7: no session"),
        (Table.ERASED, b"k" * 16, b"bad", "deleted session 6b6b"),
        (Table.NOTES, log_key(7, 1), b"bad", "note of 0000"),
        (Table.RUNS, b"k" * 24, b"bad", "run 6b6b"),
    ],
)
async def test_a_row_that_follows_from_nothing_is_found(
    table: Table, key: bytes, value: bytes, place: str
) -> None:
    disk, _, _ = await grown()
    async with open_memory(disk) as store:
        batch = Batch()
        batch.put(table, key, value)
        await store.commit(batch)
        assert any(line.startswith(place) for line in problems(store)), problems(store)


async def test_memory_that_is_not_what_the_log_says_is_found() -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", platform="telegram")
    async with (
        open_memory(disk) as store,
        tk.open_runtime(None, store=store, agent=agent, channels=[tg]),
    ):
        await say(tg, store, "keep this", "ann")
        assert problems(store) == []
        ((key, _),) = store.scan(Table.MEMORY, limit=9)
        batch = Batch()
        batch.delete(Table.MEMORY, key)
        await store.commit(batch)
        (problem,) = problems(store)
        assert problem.startswith("memory of 1, 'kept': missing")


@pytest.mark.parametrize("change", ["row gone", "row changed", "head back", "name back"])
async def test_what_does_not_agree_with_a_deletion_is_found(change: str) -> None:
    disk = MemoryDisk()
    tg = LoopbackChannel("tg", platform="telegram")
    async with (
        open_memory(disk) as store,
        tk.open_runtime(None, store=store, agent=agent, channels=[tg]) as runtime,
    ):
        await say(tg, store, "hello", "ann")
        head = store.get(Table.HEADS, number_key(1))
        ((name, number),) = store.scan(Table.NAMES, limit=9)
        assert head is not None
        await runtime.delete("s1")
        assert problems(store) == []
        ((key, row),) = store.scan(Table.ERASED, limit=9)
        batch = Batch()
        match change:
            case "row gone":
                batch.delete(Table.ERASED, key)
            case "row changed":
                batch.put(Table.ERASED, key, row[:-1] + b"?")
            case "head back":
                batch.put(Table.HEADS, number_key(1), head)
            case _:
                batch.put(Table.NAMES, name, number)
        await store.commit(batch)
        assert len(problems(store)) == 1
