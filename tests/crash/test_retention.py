"""A process that is killed while it deletes, or brings in, leaves a session whole or gone."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.effects import Step
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import SilentRecord, UserRecord
from turnkeeper.actors.erased import load_erased
from turnkeeper.actors.erasing import is_unfinished
from turnkeeper.actors.journal import batch_for, load_session_number, name_key
from turnkeeper.export import export_lines
from turnkeeper.storage.base import Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.lmdb_store import open_lmdb, open_reader
from turnkeeper.sweeping import finish_erasing
from turnkeeper.verify import Verification

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("programs") / "retention.py"
TURNS = 5_000
KILLS = 12
OLD_US = 1_000_000_000_000_000


async def fill(state_dir: Path) -> None:
    """s1: a long log, of which no redelivery is recognised any more."""
    async with open_lmdb(state_dir) as store:
        conversation = Conversation()
        step = Step(1)

        def add(record: Record) -> int:
            step.records.append(record)
            return conversation.apply(record)

        add(OpenedRecord(at_us=OLD_US, session_id="s1", agent="main", by="a test"))
        for number in range(TURNS):
            seq = add(
                UserRecord(
                    at_us=OLD_US + number,
                    text=f"forget me {number}",
                    instance="tg",
                    conversation="c1",
                    thread=None,
                    platform="telegram",
                    message_id=f"m{number}",
                    user_id="ann",
                )
            )
            add(SilentRecord(at_us=OLD_US + number, turn_seq=seq))
        batch = batch_for(1, conversation, step)
        batch.create(Table.NAMES, name_key("s1"), encode(1))
        await store.commit(batch)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state_dir = tmp_path_factory.mktemp("filled") / "state"
    trio.run(fill, state_dir)
    return state_dir


def killed_after(pause_s: float, *arguments: object) -> bool:
    """Run the program and kill it so long after it was ready; whether it was done before."""
    process = subprocess.Popen(
        [sys.executable, os.fspath(PROGRAM), *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        process.wait(pause_s)
    except subprocess.TimeoutExpired:
        process.kill()
    done = "done" in process.stdout.read()
    process.wait()
    process.stdout.close()
    return done


def problems(state_dir: Path) -> list[str]:
    with open_reader(state_dir) as reader, reader.snapshot() as reads:
        return [
            str(problem)
            for problem in Verification(reads, time.time_ns() // 1000).problems()
            if "last conversation at tg" not in str(problem)  # the log was not written by a runtime
        ]


async def finish(state_dir: Path) -> None:
    async with open_lmdb(state_dir) as store:
        await finish_erasing(store)


def test_a_session_that_was_being_deleted_is_whole_or_gone(filled: Path, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    seen: set[str] = set()
    for kill in range(KILLS):
        state_dir = tmp_path / f"state{kill}"
        shutil.copytree(filled, state_dir)
        done = killed_after(
            rng.choice([0.0, 0.01, 0.03, 0.1, 1.0, 3.0]) * rng.uniform(0.5, 1.5),
            "delete",
            state_dir,
            "s1",
        )
        with open_reader(state_dir) as reader:
            number = load_session_number(reader, "s1")
            erased = load_erased(reader, "s1")
            assert (number is None) == (erased is not None)
            assert not done or (erased is not None and not is_unfinished(reader, 1))
            if number is not None:
                seen.add("whole")
                assert reader.last_seq(1) == 1 + 2 * TURNS
            else:
                seen.add("unfinished" if is_unfinished(reader, 1) else "gone")
        trio.run(finish, state_dir)
        with open_reader(state_dir) as reader:
            assert number is not None or not is_unfinished(reader, 1)
        assert problems(state_dir) == []
    print(sorted(seen))


def test_a_session_that_was_being_brought_in_is_there_or_not(filled: Path, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    exported = tmp_path / "s1.jsonl"
    with open_reader(filled) as reader:
        lines = list(export_lines(reader, "s1", 1))
    exported.write_text("".join(f"{line}\n" for line in lines))
    for kill in range(KILLS // 2):
        state_dir = tmp_path / f"state{kill}"
        trio.run(finish, state_dir)  # makes an empty store
        done = killed_after(rng.uniform(0, 2), "import", state_dir, exported)
        with open_reader(state_dir) as reader:
            number = load_session_number(reader, "s1")
            assert number is not None or not done
            assert reader.last_seq(1) == (0 if number is None else 1 + 2 * TURNS)
        assert problems(state_dir) == []
