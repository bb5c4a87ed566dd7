"""kill -9 amid links, pairs and their undoing: each is there whole, or not at all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest

from turnkeeper.actors.ledger import changes_since
from turnkeeper.storage.lmdb_store import open_reader
from turnkeeper.verify import Verification

from .harness import Entry, Stored, seeds

_PROGRAM = Path(__file__).parent / "programs" / "acts.py"


def _live(state_dir: Path, seed: str, *, lines: int | None) -> list[Entry]:
    """Let the gateway say that many lines, and kill it; None for all until it ends by itself."""
    busy = "no" if lines is None else "yes"
    command = [sys.executable, str(_PROGRAM), str(state_dir), seed, busy]
    said: list[Entry] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                said.append(json.loads(line))
                if len(said) == lines:
                    break
        finally:
            if lines is not None:
                process.kill()
        said += [json.loads(line) for line in process.stdout if line.endswith(b"\n")]
    assert lines is not None or process.returncode == 0
    return said


def _check(state_dir: Path, said: list[Entry], *, all_answered: bool) -> None:
    with open_reader(state_dir) as store:
        assert list(Verification(store, time.time_ns() // 1000).problems()) == []
        stored = Stored(store)
        texts = [r.text for name in stored.logs for _, r in stored.users(name)]
        assert len(texts) == len(set(texts))
        assert {text for _, text in _of(said, "acked")} <= set(texts)
        changes = {number: change.text for number, change in changes_since(store)}
        assert {number: text for _, number, text in _of(said, "done")}.items() <= changes.items()
        for name in stored.logs if all_answered else ():
            replies = [(reply.turn_seq, reply.text) for _, reply in stored.replies(name)]
            assert replies == [(seq, record.text) for seq, record in stored.users(name)]


def _of(said: list[Entry], what: str) -> list[Entry]:
    return [entry for entry in said if entry[0] == what]


def _run(state_dir: Path, seed: int, kills: int) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    said: list[Entry] = []
    for life in range(kills):
        said += _live(state_dir, f"{seed}-{life}", lines=rng.randint(1, 400))
        _check(state_dir, said, all_answered=False)
    said += _live(state_dir, f"{seed}-end", lines=None)
    assert _of(said, "quiet")
    _check(state_dir, said, all_answered=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds(10))
def test_acts_of_a_killed_gateway_are_whole_or_not_there(tmp_path: Path, seed: int) -> None:
    _run(tmp_path / "state", seed, kills=2)
