"""`verify` reads every kept file, and names the record that came with one that is not right."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import trio

import turnkeeper as tk
from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.blobs import Blobs
from turnkeeper.storage.keys import log_key
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from .command import turnkeeper

CAT = b"a picture of a cat"
DIGEST = sha256(CAT).digest()
REFERENCE = f"blob:sha256:{DIGEST.hex()}"


async def _echo(turn: tk.Turn) -> str:
    return turn.text


async def _say(tg: LoopbackChannel) -> int:
    """A cat comes, and then a message without one. Where the record of the cat is."""
    cat = await tg.keep(CAT, kind="image")
    accepted = await tg.receive("a cat", attachments=(cat, cat))
    await tg.receive("and no cat")
    return int(accepted.turn_id.partition("/")[2])


class Life:
    """A store in memory that has heard of a cat, and a folder that has its picture."""

    def __init__(self, state_dir: Path) -> None:
        self.disk = MemoryDisk()
        self.blobs = Blobs(state_dir, lambda: 0)
        self.path = self.blobs.path(DIGEST)
        self.seq = trio.run(self._live, state_dir)
        self.key = DIGEST + log_key(1, self.seq)

    async def _live(self, state_dir: Path) -> int:
        tg = LoopbackChannel("tg")
        async with (
            open_memory(self.disk) as store,
            tk.open_runtime(state_dir, agent=_echo, channels=[tg], store=store),
        ):
            return await _say(tg)

    def change(self, change: Callable[[Batch], None]) -> None:
        async def commit() -> None:
            async with open_memory(self.disk) as store:
                batch = Batch()
                change(batch)
                await store.commit(batch)

        trio.run(commit)

    def problems(self) -> list[str]:
        examined = Verification(MemoryReads(self.disk), 0, blobs=self.blobs)
        return [str(problem) for problem in examined.problems()]


@pytest.fixture
def life(tmp_path: Path) -> Life:
    return Life(tmp_path)


def test_what_a_runtime_has_kept_holds(life: Life) -> None:
    assert life.problems() == []


def test_a_file_that_is_missing_names_the_record_that_it_came_with(life: Life) -> None:
    life.path.unlink()
    assert life.problems() == [
        f"log 1/{life.seq}: names a file: {life.path} is missing: restore it from a copy"
    ]
    examined = Verification(MemoryReads(life.disk), 0)
    assert list(examined.problems()) == []  # whoever has no folder looks at none


def test_a_file_that_is_damaged_names_every_record_that_it_came_with(life: Life) -> None:
    async def again() -> str:
        tg = LoopbackChannel("tg")
        async with (
            open_memory(life.disk) as store,
            tk.open_runtime(life.path.parents[2], agent=_echo, channels=[tg], store=store),
        ):
            accepted = await tg.receive("again", attachments=(await tg.keep(CAT),))
            return str(accepted.turn_id)

    turn_id = trio.run(again)
    life.path.write_bytes(b"a picture of a dog")
    damaged = f"names a file: {life.path} is damaged: restore it from a copy"
    later = turn_id.removeprefix("s1/")
    assert life.problems() == [f"log 1/{life.seq}: {damaged}", f"log 1/{later}: {damaged}"]


def test_a_row_that_is_missing_is_told_for_the_file_would_be_removed(life: Life) -> None:
    life.change(lambda batch: batch.delete(Table.BLOBS, life.key))
    (problem,) = life.problems()
    assert problem.startswith(f"kept file of 1/{life.seq}: missing: the file {REFERENCE} would")


def test_a_row_of_which_no_record_tells_is_told(life: Life) -> None:
    for place in (log_key(1, life.seq + 1), log_key(1, 1), log_key(7, 1)):
        life.change(lambda batch, key=DIGEST + place: batch.put(Table.BLOBS, key, b"\x01"))  # type: ignore[misc]
    names_none = f"leads to a record that names no {REFERENCE}"
    assert sorted(life.problems()) == [
        f"kept file of 1/1: {names_none}",
        f"kept file of 1/{life.seq + 1}: {names_none}",
        f"kept file of 7/1: {names_none}",
    ]


def test_rows_of_another_kind_are_told(life: Life) -> None:
    life.change(lambda batch: batch.put(Table.BLOBS, life.key, b"?"))
    life.change(lambda batch: batch.put(Table.BLOBS, b"short", b"\x01"))
    assert life.problems() == [
        "kept file 73686f7274: has a key of another kind",
        f"kept file of 1/{life.seq}: holds b'?', which is never written",
    ]


def test_a_record_that_cannot_be_read_is_told_and_its_rows_are_not(life: Life) -> None:
    life.disk.log.put(log_key(1, life.seq), b"rotten")
    problems = life.problems()
    assert problems
    assert not [problem for problem in problems if "kept file" in problem]


def test_the_command_reads_the_files_too(tmp_path: Path) -> None:
    async def live() -> int:
        tg = LoopbackChannel("tg")
        async with tk.open_runtime(tmp_path / "state", agent=_echo, channels=[tg]):
            return await _say(tg)

    seq = trio.run(live)
    assert turnkeeper("verify", "--state", tmp_path / "state").returncode == 0
    path = Blobs(tmp_path / "state", lambda: 0).path(DIGEST)
    path.write_bytes(CAT[:-1])
    found = turnkeeper("verify", "--json", "--state", tmp_path / "state")
    assert found.returncode == 1
    assert json.loads(found.stdout)["problems"] == [
        {
            "place": f"log 1/{seq}",
            "text": f"names a file: {path} is damaged: restore it from a copy",
        }
    ]
