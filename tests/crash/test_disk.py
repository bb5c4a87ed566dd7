"""A disk that refuses: the first failed commit ends the runtime, and nothing is claimed since."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import trio

from .harness import Gateway, Message, strace

_TEXT = "say " + "x" * 4000
"""Large enough that the disk is full in the middle of the load."""
_FULL_BYTES = 2 * 1024 * 1024


def _messages(count: int) -> list[Message]:
    return [Message(f"m{n}", f"c{n % 7}", _TEXT) for n in range(count)]


def _eio(nth: int) -> tuple[str, ...]:
    """A prefix under which a process's writer gets EIO from that fdatasync, and from no other."""
    return strace("fdatasync", f"error=EIO:when={nth}")


def _check_stopped(gateway: Gateway, exit_code: int, *reasons: str) -> None:
    assert exit_code == 1
    *_, last = gateway.errors.splitlines()
    assert last.startswith("stopped: the store failed: a commit failed")
    assert any(reason in last for reason in reasons)
    assert "Traceback" not in gateway.errors
    # Nothing is refused for good: the platform is to deliver it again.
    assert {error for _, _, error in gateway.said("refused")} <= {"ShuttingDown", "Overloaded"}
    with gateway.stored() as stored:
        assert gateway.acknowledged() <= set(stored.message_ids())


async def _check_all_answered(gateway: Gateway, messages: list[Message]) -> None:
    async with gateway.life(gateway.unacknowledged(messages)) as life:
        await life.until("quiet")
        assert await life.stop() == 0
    with gateway.stored() as stored:
        assert sorted(stored.message_ids()) == sorted(message.id for message in messages)
        assert len(stored.statuses()) == len(messages)


async def _make_store(gateway: Gateway) -> None:
    """Leave the commits of the store's making behind."""
    async with gateway.life() as life:
        await life.until("up")
        assert await life.stop() == 0


@pytest.mark.parametrize("nth", [5, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 9))])
async def test_an_input_output_error_stops_the_runtime_and_loses_nothing(
    tmp_path: Path, nth: int
) -> None:
    gateway = Gateway(tmp_path)
    await _make_store(gateway)
    messages = _messages(300)
    async with gateway.life(messages, prefix=_eio(nth)) as life:
        _check_stopped(gateway, await life.exit_code(), "Input/output error")
    await _check_all_answered(gateway, messages)


@pytest.mark.slow
async def test_a_full_disk_stops_the_runtime_and_a_restart_goes_on_when_there_is_room(
    tmp_path: Path, small_disk: Path
) -> None:
    gateway = Gateway(tmp_path, state_dir=small_disk / "state")
    messages = _messages(400)
    for _ in range(2):  # still full at the second start
        async with gateway.life(gateway.unacknowledged(messages)) as life:
            _check_stopped(
                gateway, await life.exit_code(), "No space left on device", "the disk is full"
            )
    more = ["mount", "-o", "remount,size=64m", str(small_disk)]
    await trio.run_process(more)
    await _check_all_answered(gateway, messages)


@pytest.mark.slow
async def test_a_file_size_limit_stops_the_runtime_and_a_restart_goes_on_without_it(
    tmp_path: Path,
) -> None:
    gateway = Gateway(tmp_path)
    messages = _messages(400)
    # LMDB reports a write that the limit cuts short as an input/output error.
    async with gateway.life(messages, prefix=("prlimit", f"--fsize={_FULL_BYTES}")) as life:
        _check_stopped(gateway, await life.exit_code(), "Input/output error", "File too large")
    await _check_all_answered(gateway, messages)


@pytest.mark.slow
@pytest.mark.parametrize("last_turn", ["hang", "linger"])
async def test_a_disk_that_fails_while_the_runtime_stops_is_reported_as_such(
    tmp_path: Path, last_turn: str
) -> None:
    gateway = Gateway(tmp_path, config={"runtime": {"stop_deadline_s": 0.2}})
    await _make_store(gateway)
    # Two are of the first commit, which takes the turn in; the third is of the stop.
    async with gateway.life([Message("m1", "c1", last_turn)], prefix=_eio(3)) as life:
        await life.until("begun")
        await life.until("acked")
        life.signal(signal.SIGTERM)
        _check_stopped(gateway, await life.exit_code(), "Input/output error")
    async with gateway.life(healed=True) as life:
        await life.until("quiet")
    with gateway.stored() as stored:
        assert [reply.text for _, reply in stored.replies("s1")] == [last_turn]
