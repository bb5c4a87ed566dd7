"""Messages that were edited or deleted, wherever somebody looks at them, and wherever they go."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

import turnkeeper as tk
from turnkeeper.actors.core.view_records import ChangedRecord
from turnkeeper.actors.journal import load_records
from turnkeeper.actors.windows import read_window
from turnkeeper.explain import explain
from turnkeeper.export import export_lines
from turnkeeper.histories import history
from turnkeeper.import_lines import BadImport
from turnkeeper.importing import plan_import
from turnkeeper.storage.base import Batch, Reads, Table
from turnkeeper.storage.codec import decode, encode
from turnkeeper.storage.memory import MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel

from .retained import NOW_US, agent, is_quiet, left_of, problems, until

TOLD = "agents are told of it from the next turn on"


def clock() -> datetime:
    return datetime.fromtimestamp(NOW_US / 1e6, UTC)


async def changed(store: MemoryStore) -> None:
    """s1: three messages; one is edited, one is edited and deleted, one stays."""
    tg = LoopbackChannel("tg", platform="telegram")
    async with tk.open_runtime(None, store=store, agent=agent, channels=[tg], clock=clock):
        for message_id in ("m1", "m2", "m3"):
            await tg.receive(f"text of {message_id}", message_id=message_id)
            await until(lambda: is_quiet(store, "s1"))
        assert await tg.edits("m1", "edited \udce9", change_id="e1")
        assert await tg.edits("m2", "edited too", change_id="e1")
        assert await tg.deletes("m2", user_id=None)


@asynccontextmanager
async def a_store() -> AsyncGenerator[MemoryStore]:
    async with open_memory() as store:
        await changed(store)
        yield store


def seqs(store: Reads) -> list[int]:
    return [seq for seq, record in load_records(store, 1) if isinstance(record, ChangedRecord)]


def rows(store: Reads) -> list[tuple[bytes, bytes]]:
    """The rows by which the changes are recognised."""
    found = store.scan(Table.SEEN, limit=99)
    return [(key, data) for key, data in found if decode(data)[1] in seqs(store)]


async def test_the_history_has_every_change_and_what_was_said_before() -> None:
    async with a_store() as store:
        found = history(store, "s1") or []
        told = [record for record in found if record.kind == "changed"]
        of = {record.text: record.seq for record in found if record.kind == "user"}
        assert [record.text for record in told] == [
            f"message {of['text of m1']} now says: edited \udce9",
            f"message {of['text of m2']} now says: edited too",
            f"message {of['text of m2']} was deleted",
        ]
        assert told[0].detail is not None
        assert told[0].detail["by"] == "u1"


async def test_an_explanation_tells_what_became_of_a_message() -> None:
    async with a_store() as store:
        edited, edited_too, deleted = seqs(store)
        for message_id in ("m2", "tg/c1/m2"):
            story = explain(store, message_id)
            assert story is not None
            assert [line.partition("  ")[2] for line in story.lines[-2:]] == [
                f"its author, 'u1', edited it (s1/{edited_too}); {TOLD}",
                f"it was deleted (s1/{deleted}); {TOLD}",
            ]
        story = explain(store, f"s1/{edited}")
        assert story is not None
        assert story.lines[0].endswith("its author, 'u1', edited it")
        assert story.lines[1] == "| edited \udce9"
        assert story.lines[-1].startswith("it is about message s1/")
        unchanged = explain(store, "m3")
        assert unchanged is not None
        assert not any("edited" in line for line in unchanged.lines)


async def test_an_imported_session_shows_recognises_and_hides_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s1"
    async with a_store() as origin, open_memory() as store:
        lines = list(export_lines(origin, "s1", 1))
        path.write_text("".join(f"{line}\n" for line in lines))
        _, batch = plan_import(store, path, NOW_US)
        await store.commit(batch)
        assert list(export_lines(store, "s1", 1)) == lines
        assert read_window(store, 1, None) == read_window(origin, 1, None)
        assert rows(store) == rows(origin)
        assert len(rows(store)) == 3
        assert problems(store) == []
        tg = LoopbackChannel("tg", platform="telegram")
        async with tk.open_runtime(None, store=store, agent=agent, channels=[tg], clock=clock):
            assert await tg.edits("m1", "edited \udce9", change_id="e1")
            assert not await tg.edits("m2", "no", change_id="e2")
            assert len(seqs(store)) == 3
            assert await tg.deletes("m3")
        assert problems(store) == []


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ('"message_seq": ', "1", "message_seq: record 1 is no human's message"),
        ('"message_seq": ', "99", "message_seq: speaks of a record that does not come before"),
        ('"shown": ', '"sometimes"', "shown: must be one of later, instead, nowhere"),
        ('"change_id": ', "7", "change_id: must be a text"),
        ('"was_summarised": ', "1", "was_summarised: must be true or false"),
    ],
)
async def test_a_change_that_cannot_be_is_not_imported(
    tmp_path: Path, field: str, value: str, why: str
) -> None:
    path = tmp_path / "s1"
    async with a_store() as origin, open_memory() as store:
        lines = list(export_lines(origin, "s1", 1))
        at = seqs(origin)[0] - 1
        before, _, rest = lines[at].partition(field)
        end = min(rest.find(letter) for letter in ",}" if letter in rest)
        lines[at] = f"{before}{field}{value}{rest[end:]}"
        path.write_text("".join(f"{line}\n" for line in lines))
        with pytest.raises(BadImport, match=why):
            plan_import(store, path, NOW_US)


async def test_of_a_session_that_was_deleted_no_change_is_left() -> None:
    async with a_store() as store:
        tg = LoopbackChannel("tg", platform="telegram")
        async with tk.open_runtime(
            None, store=store, agent=agent, channels=[tg], clock=clock
        ) as runtime:
            await runtime.delete("s1")
            await until(lambda: not left_of(store, b"edited"))
            assert store.scan(Table.SEEN, limit=9) == []
        assert problems(store) == []


async def test_verify_misses_the_row_of_a_change_and_tells_of_a_wrong_one() -> None:
    async with a_store() as store:
        (key, data), *_ = rows(store)
        seq = decode(data)[1]
        await store.commit(deleting(key))
        assert problems(store) == [f"seen 1/{seq}: missing: the same change would be taken as new"]
        batch = Batch()
        batch.put(Table.SEEN, key, encode(("s1", seq, b"12345678")))
        await store.commit(batch)
        (problem,) = problems(store)
        assert problem.startswith(f"seen 1/{seq}: ")


async def test_verify_tells_of_a_row_that_leads_to_another_change() -> None:
    async with a_store() as store:
        batch = Batch()
        key = rows(store)[0][0]
        batch.put(Table.SEEN, key[:-1] + bytes([key[-1] ^ 1]), encode(["s1", seqs(store)[1], b""]))
        await store.commit(batch)
        (problem,) = problems(store)
        assert f"leads to s1/{seqs(store)[1]}, which is another" in problem


def deleting(key: bytes) -> Batch:
    batch = Batch()
    batch.delete(Table.SEEN, key)
    return batch
