"""Real faults: killed processes, a disk that returns EIO, a disk that is full."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from turnkeeper.storage.lmdb_store import open_reader

APPENDER = Path(__file__).with_name("appender.py")


def start(state_dir: Path, *args: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    command = [*prefix, sys.executable, str(APPENDER), str(state_dir), *args]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0
    )


def cannot(reason: str) -> NoReturn:
    """Skip here; fail in CI, where this is the only look at a real fault."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def acknowledged(lines: list[str]) -> int:
    numbers = [int(line) for line in lines if line.isdigit()]
    assert numbers == sorted(numbers)
    return max(numbers, default=0)


def stored(state_dir: Path) -> int:
    """The last record of a log that is whole."""
    with open_reader(state_dir) as reader:
        last = reader.last_seq(1)
        records = reader.read_log(1, limit=last + 1)
    assert [seq for seq, _ in records] == list(range(1, last + 1))
    assert all(record.startswith(b"%d " % seq) for seq, record in records)
    return last


def kill_after(state_dir: Path, lines: int) -> int:
    """Kill an appender once it has acknowledged something; what it acknowledged."""
    with start(state_dir) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        os.killpg(child.pid, signal.SIGKILL)
        said += child.stdout.readlines()
    return acknowledged([line.strip() for line in said if line.endswith("\n")])


@pytest.mark.parametrize(
    "rounds", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
)
def test_what_was_acknowledged_before_a_kill_is_there(tmp_path: Path, rounds: int) -> None:
    for number in range(rounds):
        promised = kill_after(tmp_path / "state", lines=2 + 37 * number % 400)
        assert stored(tmp_path / "state") >= promised > 0


def test_the_first_eio_stops_every_acknowledgement_although_later_syncs_would_work(
    tmp_path: Path,
) -> None:
    state_dir = tmp_path / "state"
    with start(state_dir, "200", "10") as child:
        child.communicate()
    strace = shutil.which("strace")
    if strace is None:
        cannot("strace is not installed: apt install strace")
    trace = tmp_path / "trace"
    prefix = (
        strace, "-f", "-qq", "-e", "trace=fdatasync",
        "-e", "inject=fdatasync:error=EIO:when=5", "-o", str(trace),
    )  # fmt: skip
    with start(state_dir, prefix=prefix) as child:
        out, err = child.communicate(timeout=60)
    if "ptrace" in err and "open" not in out:
        cannot(f"tracing is not allowed here: {err.strip()}")
    lines = out.splitlines()
    assert lines[0] == "open", err
    assert lines[-1].startswith("failed: a commit failed: ")
    assert "Input/output error" in lines[-1]
    syncs = trace.read_text().splitlines()
    assert ["INJECTED" in line for line in syncs] == [False] * (len(syncs) - 1) + [True]
    promised = acknowledged(lines)
    assert promised > 10
    assert promised <= stored(state_dir)


def test_a_full_disk_stops_every_acknowledgement(tmp_path: Path) -> None:
    state_dir = tmp_path / "small" / "state"
    state_dir.parent.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(state_dir.parent)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        cannot("no right to mount a small file system")
    try:
        with start(state_dir) as child:
            out, err = child.communicate(timeout=60)
        lines = out.splitlines()
        # A write that fits in part is an input/output error to LMDB, hence the store's own look.
        assert "(the disk is full)" in lines[-1], (lines[-1:], err)
        assert 100 < acknowledged(lines) <= stored(state_dir)
    finally:
        subprocess.run(["umount", str(state_dir.parent)], check=True)


def test_a_file_size_limit_stops_every_acknowledgement(tmp_path: Path) -> None:
    state_dir = tmp_path / "state"
    limit = ("bash", "-c", 'trap "" XFSZ; ulimit -f 1024; exec "$@"', "limit")
    with start(state_dir, prefix=limit) as child:
        out, err = child.communicate(timeout=60)
    lines = out.splitlines()
    assert re.search("File too large|Input/output error", lines[-1]), (lines[-1:], err)
    assert 100 < acknowledged(lines) <= stored(state_dir)
