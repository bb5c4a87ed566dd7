import json
import signal
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .command import TIMEOUT_S, Terminal, command, environment, running, terminal, turnkeeper


@contextmanager
def without_console(folder: Path, *options: str) -> Generator[Terminal]:
    """A gateway on `folder/state` that is reached through a websocket and the control socket."""
    config = folder / "tk.toml"
    config.write_text('[channels.web]\nkind = "websocket"\n', encoding="utf-8")
    env = environment(PYTHONPATH=str(folder))
    given = ("--state", folder / "state", "--config", config, *options)
    with terminal("run", *given, env=env) as gateway:
        gateway.wait_for("Ctrl-C stops")
        yield gateway


def test_two_terminals_on_one_session_see_each_other_and_both_get_the_replies(
    tmp_path: Path,
) -> None:
    state = ("--state", tmp_path / "state")
    with ExitStack() as stack:
        gateway = stack.enter_context(running(*state))
        first = stack.enter_context(terminal("chat", *state))
        second = stack.enter_context(terminal("chat", *state))
        first.wait_for("> ")
        second.wait_for("> ")
        first.type("I am the first\n")
        for other in (gateway, second):
            other.wait_for("> I am the first")
        for each in (gateway, first, second):
            each.wait_for("turn 1 of session s1")
        second.type("I am the second\n")
        for other in (gateway, first):
            other.wait_for("> I am the second")
        for each in (gateway, first, second):
            each.wait_for("turn 2 of session s1")
            each.wait_for("“I am the first”")
        second.type("\x04")
        assert second.wait() == 0
        first.type("is anybody there?\n")
        for each in (gateway, first):
            each.wait_for("turn 3 of session s1")


def test_a_piped_line_joins_the_runtime_and_ends_when_answered(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state) as gateway:
        answer = turnkeeper("chat", *state, stdin="one\ntwo\n")
        assert answer.returncode == 0, answer.stderr
        assert answer.stderr == ""
        assert "turn 1 of session s1" in answer.stdout
        assert "turn 2 of session s1" in answer.stdout
        gateway.wait_for("> one")
        gateway.wait_for("> two")


def test_a_turn_that_ends_in_silence_lets_a_piped_chat_end(tmp_path: Path) -> None:
    (tmp_path / "quiet.py").write_text("async def answer(turn):\n    return None\n", "utf-8")
    state = ("--state", tmp_path / "state")
    env = environment(PYTHONPATH=str(tmp_path))
    with running(*state, "--agent", "quiet:answer", env=env):
        answer = turnkeeper("chat", *state, stdin="hello\n")
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


def test_chat_alone_runs_the_runtime_itself(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    alone = turnkeeper("chat", *state, stdin="hello\n")
    assert alone.returncode == 0, alone.stderr
    assert "turn 1 of session s1" in alone.stdout
    with terminal("chat", *state) as host, terminal("chat", *state) as guest:
        for each in (host, guest):
            each.wait_for("> ")
        guest.type("again\n")
        for each in (host, guest):
            each.wait_for("turn 2 of session s1")


def test_two_chats_that_start_at_once_find_each_other(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with terminal("chat", *state) as one, terminal("chat", *state) as other:
        one.wait_for("> ")
        other.wait_for("> ")
        one.type("hello\n")
        one.wait_for("turn 1 of session s1")
        other.wait_for("> hello")


def test_chat_joins_a_gateway_that_has_other_channels_only(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with without_console(tmp_path), terminal("chat", *state) as chat:
        chat.wait_for("> ")
        chat.type("hello\n")
        chat.wait_for("turn 1 of session s1")


def test_the_conversations_of_one_human_share_a_session(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state) as gateway:
        gateway.type("hello\n")
        gateway.wait_for("turn 1 of session s1")
        work = turnkeeper("chat", *state, "--conversation", "work", stdin="hello\n")
        assert "turn 2 of session s1" in work.stdout


def test_conversations_have_sessions_of_their_own_where_the_scope_says_so(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    config = tmp_path / "tk.toml"
    config.write_text('[session]\ndm_scope = "per-conversation"\n', encoding="utf-8")
    with running(*state, "--config", config) as gateway:
        gateway.type("hello\n")
        gateway.wait_for("turn 1 of session s1")
        work = turnkeeper("chat", *state, "--conversation", "work", stdin="hello\n")
        assert "turn 1 of session s2" in work.stdout
        gateway.type("back home\n")
        assert "session s2" not in gateway.wait_for("turn 2 of session s1")


def test_a_guest_is_told_when_the_runtime_stops(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state) as gateway, terminal("chat", *state) as guest:
        guest.wait_for("> ")
        gateway.type("\x04")
        assert gateway.wait() == 0
        guest.wait_for("the runtime has stopped")
        assert guest.wait() == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_guest_can_be_interrupted_and_the_others_stay(number: int, tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state) as gateway, terminal("chat", *state) as guest:
        guest.wait_for("> ")
        guest.process.send_signal(number)
        assert guest.wait() == 130
        assert "Traceback" not in guest.seen
        gateway.type("still here\n")
        gateway.wait_for("turn 1 of session s1")


def test_a_reply_that_nobody_saw_is_shown_to_who_comes_back(tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import pathlib, trio\n"
        "async def answer(turn):\n"
        "    print('begun', flush=True)\n"
        f"    gate = pathlib.Path({str(tmp_path / 'gate')!r})\n"
        "    while not gate.exists():\n"
        "        await trio.sleep(0.01)\n"
        "    return 'here it is'\n",
        "utf-8",
    )
    state = ("--state", tmp_path / "state")
    with without_console(tmp_path, "--agent", "slow:answer") as gateway:
        with terminal("chat", *state) as chat:
            chat.wait_for("> ")
            chat.type("are you there?\n")
            gateway.wait_for("begun")
        (tmp_path / "gate").touch()
        with terminal("chat", *state) as chat:
            chat.wait_for("here it is")


def test_a_console_whose_input_has_ended_goes_on_for_guests_beside_other_channels(
    tmp_path: Path,
) -> None:
    config = tmp_path / "tk.toml"
    config.write_text('[channels.tty]\nkind = "console"\n[channels.web]\nkind = "websocket"\n')
    state = ("--state", tmp_path / "state")
    gateway = subprocess.Popen(
        command("run", *state, "--config", config, "--conversation", "desk", "-v"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    with gateway:
        try:
            assert gateway.stderr is not None
            assert any("channels: tty, web" in line for line in gateway.stderr)
            for turn in (1, 2):
                answer = turnkeeper("chat", *state, stdin="hello\n")
                assert f"turn {turn} of session s1, on tty" in answer.stdout, answer.stderr
            shown = turnkeeper("bindings", "show", "tty", "desk", *state)
            assert shown.returncode == 0, shown.stderr
        finally:
            gateway.terminate()
            assert gateway.wait(TIMEOUT_S) == 0


def test_a_long_line_and_strange_bytes_come_through_the_socket_whole(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    line = b"\xff\x00" * 500_000
    with without_console(tmp_path):
        answer = turnkeeper("chat", *state, stdin=line + b"\n")
        assert answer.returncode == 0, answer.stderr
        history = json.loads(turnkeeper("sessions", "history", "s1", *state, "--json").stdout)
    said = next(record["text"] for record in history if record["kind"] == "user")
    assert said.encode("utf-8", "surrogateescape") == line


def test_chat_has_a_terminal_even_where_the_configured_console_has_none(tmp_path: Path) -> None:
    config = tmp_path / "tk.toml"
    config.write_text('[channels.tty]\nkind = "console"\nlocal = false\n', encoding="utf-8")
    state = ("--state", tmp_path / "state")
    answer = turnkeeper("chat", *state, "--config", config, stdin="hello\n")
    assert "turn 1 of session s1, on tty" in answer.stdout, answer.stderr


def test_a_holder_that_cannot_be_joined_is_named(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running("--state", state) as gateway:
        (state / "control.sock").unlink()
        answer = turnkeeper("chat", "--state", state, stdin="hello\n")
    assert answer.returncode == 3
    assert f"process {gateway.process.pid}" in answer.stderr
    assert answer.stderr.count("\n") == 1
