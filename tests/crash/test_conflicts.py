"""State directories that are held, foreign, newer, damaged or out of reach: one line, no harm."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from .harness import Gateway, Message

_Spoil = Callable[[Path], None]
_LOCKS = {"lock", "lock.mdb"}


async def _refused(gateway: Gateway) -> str:
    """Start a gateway that must not start; return the one line that it says."""
    async with gateway.life() as life:
        assert await life.exit_code() == 1
    (line,) = gateway.errors.splitlines()
    assert line.startswith("cannot start: ")
    return line


async def _lived(gateway: Gateway) -> None:
    """Leave a store with a conversation behind."""
    async with gateway.life([Message("m1", "c1", "say 1")]) as life:
        await life.until("quiet")
        assert await life.stop() == 0


def _snapshot(directory: Path) -> dict[str, bytes]:
    """Every file but those that say who has it open."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if path.name not in _LOCKS}


async def test_a_second_runtime_on_a_held_directory_says_who_holds_it_and_harms_nothing(
    tmp_path: Path,
) -> None:
    first, second = Gateway(tmp_path), Gateway(tmp_path)
    second.errors_path = tmp_path / "errors of the second"
    async with first.life([Message("m1", "c1", "say 1")]) as life:
        _, pid = await life.until("starting")
        await life.until("quiet")
        line = await _refused(second)
        assert f"held by process {pid}" in line
        assert await life.stop() == 0
    with first.stored() as stored:
        assert stored.message_ids() == ["m1"]


@pytest.mark.slow
async def test_a_killed_runtimes_directory_is_free_at_once(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    messages = [Message(f"m{number}", "c1", f"say {number}") for number in range(200)]
    for _ in range(5):
        async with gateway.life(gateway.unacknowledged(messages)) as life:
            await life.until("up")
            await life.lines(40)
            await life.kill()
    async with gateway.life(gateway.unacknowledged(messages)) as life:
        await life.until("quiet")
    assert gateway.errors == ""
    with gateway.stored() as stored:
        assert len(stored.message_ids()) == len(messages)


def _of_a_newer_version(state_dir: Path) -> None:
    marker = state_dir / "store" / "format.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"version": 99}))


def _cut_short(state_dir: Path) -> None:
    data = state_dir / "store" / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)


def _emptied(state_dir: Path) -> None:
    os.truncate(state_dir / "store" / "data.mdb", 0)


def _without_data(state_dir: Path) -> None:
    (state_dir / "store" / "data.mdb").unlink()


def _without_a_marker(state_dir: Path) -> None:
    (state_dir / "store" / "format.json").unlink()


def _linked(state_dir: Path) -> None:
    state_dir.rename(state_dir.with_name("elsewhere"))
    state_dir.symlink_to("elsewhere")


_UNUSABLE, _DAMAGED = 3, 1
"""Exit codes of `verify`: damage is what it looks for. Every other command says unusable."""
_SPOILT: list[tuple[_Spoil, str, int]] = [
    (_of_a_newer_version, "upgrade turnkeeper", _UNUSABLE),
    (_cut_short, "cut short", _DAMAGED),
    (_emptied, "empty or cut short", _DAMAGED),
    (_without_data, "missing", _DAMAGED),
    (_without_a_marker, "no turnkeeper store", _UNUSABLE),
    (_linked, "symbolic link", _UNUSABLE),
]


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "reason", "verified"), _SPOILT)
async def test_a_spoilt_directory_is_refused_in_one_line_and_left_as_it_is(
    tmp_path: Path, spoil: _Spoil, reason: str, verified: int
) -> None:
    gateway = Gateway(tmp_path)
    await _lived(gateway)
    spoil(gateway.state_dir)
    before = _snapshot(gateway.state_dir)
    assert reason in await _refused(gateway)
    for command in ("run", "status", "verify"):
        program = [sys.executable, "-m", "turnkeeper", command, "--state", str(gateway.state_dir)]
        done = await trio.run_process(
            program, stdin=b"hello\n", capture_stdout=True, capture_stderr=True, check=False
        )
        assert done.returncode == (verified if command == "verify" else _UNUSABLE)
        (line,) = done.stderr.decode().splitlines()
        assert reason in line
    assert _snapshot(gateway.state_dir) == before


@pytest.mark.slow
async def test_a_directory_of_somebody_elses_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.state_dir.mkdir()
    (gateway.state_dir / "letter.txt").write_text("dear diary")
    assert "holds other files" in await _refused(gateway)
    assert os.listdir(gateway.state_dir) == ["letter.txt"]


@pytest.mark.slow
async def test_a_read_only_directory_is_refused(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    await _lived(gateway)
    mounted = Gateway(tmp_path, state_dir=tmp_path / "mounted")
    mounted.state_dir.mkdir()
    bind = ["mount", "--bind", "-o", "ro", str(gateway.state_dir), str(mounted.state_dir)]
    done = await trio.run_process(bind, capture_stderr=True, check=False)
    if done.returncode:
        pytest.skip("no right to mount a directory read-only")
    try:
        assert "read-only" in await _refused(mounted)
    finally:
        await trio.run_process(["umount", str(mounted.state_dir)])
