import json
import os
import pty
import select
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from turnkeeper.actors.core.records import pack
from turnkeeper.actors.core.runtime_records import FeedRecord
from turnkeeper.actors.journal import FEED_STREAM
from turnkeeper.cli import main
from turnkeeper.storage.base import Batch
from turnkeeper.storage.codec import encode
from turnkeeper.storage.lmdb_store import open_lmdb
from turnkeeper.testing import LoopbackChannel

from .command import TIMEOUT_S, command, environment, running, terminal
from .gateway import Gateway

KINDS = ["accepted", "turn_started", "turn_ended", "delivery"]
"""What one turn tells."""


def show(state_dir: Path, *texts: str) -> None:
    """Let `texts` stand in the console feed."""

    async def write() -> None:
        async with open_lmdb(state_dir) as store:
            batch = Batch()
            records = [
                FeedRecord(at_us=number, session_id="m", delivery_id=f"m/{number}", text=text)
                for number, text in enumerate(texts, 1)
            ]
            batch.append(FEED_STREAM, 1, [encode(pack(record)) for record in records])
            await store.commit(batch)

    trio.run(write)


@contextmanager
def following(*arguments: object) -> Generator[subprocess.Popen[str]]:
    """`turnkeeper feed --follow` into a pipe."""
    process = subprocess.Popen(
        command("feed", "--follow", *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# -- what is stored --------------------------------------------------------------------------------


def test_the_newest_entries_of_the_console_feed_are_listed_in_their_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path / "state", "one", "two\nlines", "three \x1b[31m")
    state = ("--state", str(tmp_path / "state"))
    assert main(["feed", *state]) == 0
    out, _ = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["AT", *["1970-01-01"] * 3]
    assert out.splitlines()[2].endswith("m/2       two ↵ lines")
    assert "\x1b" not in out
    assert main(["feed", "--limit", "2", "--json", *state]) == 0
    out, _ = capsys.readouterr()
    assert [entry["text"] for entry in json.loads(out)] == ["two\nlines", "three \x1b[31m"]


def test_a_feed_in_which_nothing_stands_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path / "state")
    assert main(["feed", "--state", str(tmp_path / "state")]) == 0
    out, _ = capsys.readouterr()
    assert out == "nothing was said that had no channel\n"


# -- what happens ----------------------------------------------------------------------------------


def test_what_happens_is_printed_as_it_happens_until_ctrl_c(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state) as gateway, terminal("feed", "--follow", *state) as watcher:
        watcher.wait_for("Ctrl-C ends")
        gateway.type("hello there\n")
        for kind in KINDS:
            watcher.wait_for(kind)
        watcher.process.send_signal(signal.SIGINT)
        assert watcher.wait() == 130
        lines = [line for line in watcher.seen.splitlines() if "s1/" in line]
        assert [line.split()[1] for line in lines] == KINDS
        assert len({line.index("s1/") for line in lines}) == 1
        assert len({line.index("console/local") for line in lines}) == 1
        assert lines[0].endswith("hello there")
        gateway.type("still here?\n")
        gateway.wait_for("turn 2 of session s1")


def test_with_json_each_event_is_an_object_on_a_line_of_its_own(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state) as gateway, following("--json", *state) as watcher:
        assert watcher.stdout is not None
        number = 0
        while not select.select([watcher.stdout], [], [], 0.1)[0]:  # until it watches
            number += 1
            gateway.type(f"more {number}\n")
            gateway.wait_for(f"turn {number}")
        events: list[dict[str, Any]] = []
        while not events or events[-1]["kind"] != "delivery":
            events.append(json.loads(watcher.stdout.readline()))
        assert [event["number"] for event in events] == list(range(1, 1 + len(events)))
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(TIMEOUT_S) == 130


def test_when_the_runtime_stops_the_follower_ends_and_says_so(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with terminal("run", *state) as gateway:
        gateway.wait_for("> ")
        with terminal("feed", "--follow", *state) as watcher:
            watcher.wait_for("Ctrl-C ends")
            gateway.process.send_signal(signal.SIGTERM)
            watcher.wait_for("turnkeeper: the runtime has stopped")
            assert watcher.wait() == 1


async def test_a_follower_that_does_not_keep_up_is_told_and_the_runtime_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = Gateway(tmp_path / "state", capsys)

    async def talk(tg: LoopbackChannel, who: str) -> None:
        for number in range(60):
            await tg.receive(f"{number} " + "x" * 400, conversation=who, user_id=who)

    async with gateway.up() as runtime:
        bus = runtime._engine.bus  # pyright: ignore[reportPrivateUsage]
        with following("--json", "--state", gateway.state_dir) as watcher:
            with trio.fail_after(TIMEOUT_S):
                while not bus.subscribers:  # noqa: ASYNC110  (nobody tells)
                    await trio.sleep(0.01)  # and leaves the other process the machine
                async with trio.open_nursery() as nursery:
                    for number in range(20):
                        nursery.start_soon(talk, gateway.channels["tg"], f"u{number}")
                while bus.subscribers:  # noqa: ASYNC110
                    await trio.sleep(0.01)
            out, err = await trio.to_thread.run_sync(watcher.communicate)
        assert watcher.returncode == 1
        assert err.startswith("turnkeeper: too slow: 1000 events were waiting")
        numbers = [json.loads(line)["number"] for line in out.splitlines()]
        assert numbers == list(range(1, len(numbers) + 1))
        assert f"number {len(numbers)};" in err
        await gateway.say("tg", "ann")


def test_without_a_runtime_there_is_nothing_to_follow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    show(tmp_path / "state", "one")
    assert main(["feed", "--follow", "--state", str(tmp_path / "state")]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("turnkeeper: no runtime runs on ")
    assert err.count("\n") == 1


def test_a_limit_of_what_happens_makes_no_sense(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["feed", "--follow", "--limit", "3", "--state", str(tmp_path)]) == 2
    _, err = capsys.readouterr()
    assert "--limit" in err


def test_whoever_stops_reading_ends_the_command_without_a_complaint(tmp_path: Path) -> None:
    show(tmp_path / "state", *("x" * 1_000 for _ in range(200)))
    done = subprocess.run(
        f"{' '.join(command('feed', '--state', tmp_path / 'state'))} | head -n 1",
        shell=True,
        capture_output=True,
        timeout=TIMEOUT_S,
        env=environment(),
        check=False,
    )
    assert done.stdout.startswith(b"AT")
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["a terminal", "without colours", "a dumb one"],
)
def test_the_kind_is_coloured_where_a_terminal_wants_it(
    variables: dict[str, str], coloured: bool, tmp_path: Path
) -> None:
    state = ("--state", tmp_path / "state")
    human, program = pty.openpty()
    with running(*state) as gateway:
        process = subprocess.Popen(
            command("feed", "--follow", *state),
            stdin=subprocess.DEVNULL,
            stdout=program,
            stderr=program,
            env=environment(**variables),
        )
        os.close(program)
        shown = b""
        while b"Ctrl-C" not in shown:
            shown += os.read(human, 65536)
        gateway.type("hello\n")
        while b"delivery" not in shown or not shown.endswith(b"\n"):
            shown += os.read(human, 65536)
        process.kill()
        process.wait()
        os.close(human)
    assert (b"\x1b[36mdelivery\x1b[0m" in shown) == coloured
    assert (b"\x1b" in shown) == coloured


def test_no_colour_and_no_hint_go_into_a_pipe(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state) as gateway, following(*state) as watcher:
        assert watcher.stdout is not None
        assert watcher.stderr is not None
        number = 0
        while not select.select([watcher.stdout], [], [], 0.1)[0]:  # until it watches
            number += 1
            gateway.type(f"more {number}\n")
            gateway.wait_for(f"turn {number}")
        lines = [watcher.stdout.readline()]
        while lines[-1].split()[1] != "delivery":
            lines.append(watcher.stdout.readline())
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(TIMEOUT_S) == 130
        assert "\x1b" not in "".join(lines)
        assert {line.split()[1] for line in lines} <= set(KINDS)
        assert watcher.stderr.read() == ""
