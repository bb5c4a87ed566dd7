import os
import resource
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from .command import TIMEOUT_S, command, environment, running, terminal, turnkeeper


def test_a_piped_line_gives_the_reply_and_nothing_else(tmp_path: Path) -> None:
    answer = turnkeeper("run", "--state", tmp_path / "state", stdin="hello\n")
    assert answer.returncode == 0
    assert answer.stderr == ""
    assert answer.stdout.startswith("Hello!")
    assert "turn 1 of session s1" in answer.stdout


def test_the_next_run_remembers_the_last(tmp_path: Path) -> None:
    for line in ("my name is Ada\n", "what is it?\n"):
        answer = turnkeeper("run", "--state", tmp_path / "state", stdin=line)
    assert "turn 2 of session s1" in answer.stdout
    assert "“my name is Ada”" in answer.stdout


def test_lines_are_answered_in_order_and_all_before_the_end(tmp_path: Path) -> None:
    lines = "".join(f"line {n}\n" for n in range(1, 51))
    answer = turnkeeper("run", "--state", tmp_path / "state", stdin=lines)
    said = [line for line in answer.stdout.splitlines() if line.startswith("That is turn")]
    assert said == [f"That is turn {n} of session s1, on console." for n in range(2, 51)]
    assert answer.returncode == 0


def test_empty_input_ends_at_once_and_well(tmp_path: Path) -> None:
    answer = turnkeeper("run", "--state", tmp_path / "state", stdin="")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_an_agent_of_the_working_directory_answers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "async def answer(turn):\n    return turn.text.upper()\n", encoding="utf-8"
    )
    # The installed script does not put the working directory on the path, and `-P` neither does.
    by_option = subprocess.run(
        [*command()[:1], "-P", *command()[1:], "run", "--agent", "mine:answer", "--state", "s"],
        input=b"hello\n",
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert by_option.stdout == b"HELLO\n", by_option.stderr
    (tmp_path / "tk.toml").write_text('agent = "mine:answer"\n', encoding="utf-8")
    by_config = turnkeeper(
        "run", "--config", "tk.toml", "--state", "s", stdin="again\n", cwd=tmp_path
    )
    assert by_config.stdout == "AGAIN\n", by_config.stderr


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ("mine", "write it as module:name"),
        ("nowhere:answer", "there is no module 'nowhere'"),
        ("nowhere.at.all:answer", "there is no module 'nowhere.at.all'"),
        ("mine:missing", "mine has no 'missing'"),
        ("mine:number", "is a int; it must be an async function"),
        ("broken:answer", "importing broken failed with ZeroDivisionError"),
    ],
)
def test_an_agent_that_is_not_there_is_named_in_one_line(
    reference: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text("number = 1\n", encoding="utf-8")
    (tmp_path / "broken.py").write_text("1 / 0\n", encoding="utf-8")
    answer = turnkeeper("run", "--agent", reference, "--state", "s", stdin="x\n", cwd=tmp_path)
    assert answer.returncode == 2
    assert complaint in answer.stderr
    assert answer.stderr.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_a_turn_that_is_given_up_is_told_and_fails_the_run(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("def answer(turn):\n    return 1\n", encoding="utf-8")
    answer = turnkeeper("run", "--agent", "bad:answer", "--state", "s", stdin="x\n", cwd=tmp_path)
    assert answer.returncode == 1
    assert answer.stdout == ""
    assert "was given up" in answer.stderr


def test_a_held_state_directory_names_the_holder_and_the_way_in(tmp_path: Path) -> None:
    with running("--state", tmp_path / "state") as gateway:
        answer = turnkeeper("run", "--state", tmp_path / "state", stdin="hello\n")
        assert answer.returncode == 3
        assert f"process {gateway.process.pid}" in answer.stderr
        assert "`turnkeeper chat` joins it" in answer.stderr
        assert answer.stderr.count("\n") == 1


def test_the_first_signal_lets_a_running_agent_finish(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "slow.py").write_text(
        "import pathlib, trio\n"
        "async def answer(turn):\n"
        f"    await trio.to_thread.run_sync(pathlib.Path({str(gate)!r}).read_text)\n"
        "    return 'finished'\n",
        encoding="utf-8",
    )
    env = environment(PYTHONPATH=str(tmp_path))
    options = ("--agent", "slow:answer", "--state", tmp_path / "s")
    with terminal("-v", "run", *options, env=env) as gateway:
        gateway.wait_for("> ")
        gateway.type("go\n")
        with open(gate, "w", encoding="utf-8"):  # the agent has opened its end: it runs
            gateway.process.send_signal(signal.SIGTERM)
            gateway.wait_for("stopping")
        gateway.wait_for("finished")
        assert gateway.wait() == 0


def test_a_second_signal_stops_at_once_and_loses_nothing(tmp_path: Path) -> None:
    (tmp_path / "stuck.py").write_text(
        "import trio\n"
        "async def answer(turn):\n"
        "    if turn.attempt == 1:\n"
        "        print('begun', flush=True)\n"
        "        await trio.sleep_forever()\n"
        "    return 'answered'\n"
        "async def later(turn):\n"
        "    return 'answered later'\n",
        encoding="utf-8",
    )
    (tmp_path / "tk.toml").write_text("[runtime]\nstop_deadline_s = 3600\n", encoding="utf-8")
    env = environment(PYTHONPATH=str(tmp_path))
    options = ("--state", tmp_path / "s", "--config", tmp_path / "tk.toml")
    with terminal("-v", "run", "--agent", "stuck:answer", *options, env=env) as gateway:
        gateway.wait_for("> ")
        gateway.type("remember me\n")
        gateway.wait_for("begun")
        gateway.process.send_signal(signal.SIGINT)
        gateway.wait_for("once more to stop at once")
        gateway.process.send_signal(signal.SIGINT)
        assert gateway.wait() == 0
    with terminal("run", "--agent", "stuck:later", *options, env=env) as gateway:
        gateway.wait_for("answered later")


def test_a_disk_that_refuses_is_exit_code_5_and_loses_nothing_that_was_accepted(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state"
    turnkeeper("run", "--state", state, stdin="hello\n")
    size = (state / "store" / "data.mdb").stat().st_size

    def no_larger() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    # What measures coverage in child processes could write no file of its own either.
    unmeasured = {k: v for k, v in environment().items() if not k.startswith("COVERAGE")}
    refused = subprocess.run(
        command("run", "--state", state),
        input=(b"x" * 10_000 + b"\n") * 20,
        capture_output=True,
        env=unmeasured,
        preexec_fn=no_larger,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert refused.returncode == 5, refused.stderr
    assert b"turnkeeper: the store failed" in refused.stderr
    assert b"Traceback" not in refused.stderr
    assert turnkeeper("verify", "--state", state).returncode == 0
    assert turnkeeper("run", "--state", state, stdin="").returncode == 0


def test_a_killed_gateway_leaves_a_socket_that_the_next_one_replaces(tmp_path: Path) -> None:
    socket = tmp_path / "state" / "control.sock"
    with running("--state", tmp_path / "state") as gateway:
        mode = socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        gateway.process.kill()
        gateway.wait()
    assert socket.exists()
    assert "running            no" in turnkeeper("status", "--state", tmp_path / "state").stdout
    with running("--state", tmp_path / "state") as gateway:
        status = turnkeeper("status", "--state", tmp_path / "state").stdout
        assert f"process {gateway.process.pid}, since" in status
        gateway.type("\x04")
        assert gateway.wait() == 0
    assert not socket.exists()


def test_a_reader_who_leaves_is_no_traceback(tmp_path: Path) -> None:
    turnkeeper("run", "--state", tmp_path / "state", stdin="one\n" * 200)
    history = " ".join([*command("sessions", "history", "s1", "--state", tmp_path / "state")])
    answer = subprocess.run(
        ["sh", "-c", f"{history} | head -1"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert answer.stdout.startswith("SEQ")
    assert answer.stderr == ""
