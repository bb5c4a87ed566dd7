import argparse
import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from turnkeeper import __version__
from turnkeeper.cli import COMMANDS, main, state_dir_of
from turnkeeper.commands.base import Command

from .command import turnkeeper


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of these tests may reach the user's own state directory, or wait for input."""
    monkeypatch.setenv("TURNKEEPER_STATE", str(tmp_path / "state"))
    with open(os.devnull, encoding="utf-8") as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


# --- what is typed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["rum"], "there is no command 'rum'; did you mean 'run'?"),
        (["sesions", "list"], "there is no command 'sesions'; did you mean 'sessions'?"),
        (["sessions", "lisst"], "there is no command 'lisst'; did you mean 'list'?"),
        (["xyzzy"], "there is no command 'xyzzy'; there is: run, chat"),
        (["run", "--agnet", "x"], "unknown option --agnet; did you mean --agent?"),
        (["status", "--jsn"], "unknown option --jsn; did you mean --json?"),
        (["status", "--jso=1"], "unknown option --jso; did you mean --json?"),
        (["--stat", "x", "status"], "unknown option --stat; did you mean --state?"),
        (["status", "now"], "unexpected 'now'; see `turnkeeper status --help`"),
        (["sessions", "info"], "the following arguments are required: ID"),
        (
            ["sessions", "list", "--limit", "many"],
            "--limit: must be a number, 0 or more, not 'many'",
        ),
        (["sessions", "list", "--limit", "-1"], "--limit"),
        (["run", "--agent"], "argument --agent: expected one argument"),
    ],
)
def test_a_slip_is_one_line_with_the_nearest_right_thing(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.count("\n") == 1
    assert err.startswith("turnkeeper: ")


def test_what_is_typed_is_escaped_in_the_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["\x1b[2J\udce9"]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\udce9" not in err


@pytest.mark.parametrize("arguments", [[], ["sessions"], ["deliveries"]])
def test_without_a_command_the_help_is_shown(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "usage: turnkeeper" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.words))
def test_every_command_explains_itself_with_an_example(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command.words
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: turnkeeper {' '.join(words)}" in shown
    assert "examples:\n" in shown
    assert f"turnkeeper {' '.join(words)}" in shown.partition("examples:\n")[2]


def test_every_example_can_be_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    from turnkeeper import cli

    parser = cli._build_parser()  # pyright: ignore[reportPrivateUsage]
    for command in COMMANDS:
        for example in command.examples:
            typed = re.split(r" [|>] ", example.rpartition("turnkeeper ")[2])[0]
            words = shlex.split(typed)
            parsed, unknown = parser.parse_known_args(words)
            assert isinstance(parsed, argparse.Namespace)
            assert parsed.command is command, example
            assert not unknown, example


def test_options_that_every_command_knows_stand_before_or_behind_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--state", "elsewhere", "status"], ["status", "--state", "elsewhere"]):
        assert main(arguments) == 3
        assert "elsewhere does not exist" in capsys.readouterr().err


# --- which state directory ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "environ", "expected"),
    [
        ("/given", {"TURNKEEPER_STATE": "/env", "XDG_STATE_HOME": "/xdg"}, "/given"),
        (None, {"TURNKEEPER_STATE": "/env", "XDG_STATE_HOME": "/xdg"}, "/env"),
        (None, {"XDG_STATE_HOME": "/xdg"}, "/xdg/turnkeeper"),
        (None, {"XDG_STATE_HOME": "relative"}, "~/.local/state/turnkeeper"),
        (None, {"XDG_STATE_HOME": "", "TURNKEEPER_STATE": ""}, "~/.local/state/turnkeeper"),
        (None, {}, "~/.local/state/turnkeeper"),
        ("relative", {}, "./relative"),
    ],
)
def test_the_state_directory_is_the_nearest_that_was_named(
    given: str | None, environ: dict[str, str], expected: str
) -> None:
    absolute = Path(os.path.expanduser(expected)).absolute()
    assert state_dir_of(given, environ) == absolute


@pytest.mark.parametrize("command", ["status", "verify", "run", "chat"])
def test_a_directory_of_somebody_elses_files_is_refused_and_left_alone(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    (state / "thesis.tex").write_text("years of work", encoding="utf-8")
    assert main([command]) == 3
    err = capsys.readouterr().err
    assert "holds other files ('thesis.tex')" in err
    assert err.count("\n") == 1
    assert [path.name for path in state.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("command", ["status", "verify", "run", "chat"])
def test_a_symbolic_link_is_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "real")
    assert main([command]) == 3
    assert "is a symbolic link: name the directory itself" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "verify", "sessions list", "deliveries retry s1/1"])
def test_looking_makes_no_state_directory(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.split()) == 3
    assert "does not exist" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_truncated_store_is_said_before_it_is_opened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    turnkeeper("run", "--state", tmp_path / "state", stdin="hello\n" * 50)
    data = tmp_path / "state" / "store" / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)
    assert main(["status"]) == 3
    assert "is cut short" in capsys.readouterr().err
    assert main(["verify"]) == 1
    assert "is cut short" in capsys.readouterr().err
    assert main(["run"]) == 3


# --- configuration ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[sesion]\n", "did you mean 'session'?"),
        ("[session]\nturn_timeout = 1\n", "did you mean 'turn_timeout_s'?"),
        ('[channels.x]\nkind = "telegraph"\n', "there is no kind 'telegraph'"),
        ('[channels.x]\nkind = "console"\ncolour = 1\n', "unknown key 'colour'"),
        ('[channels.x]\nkind = "console"\nagent = "ops"\n', "runs one agent, 'main'"),
        ("agent = 1\n", "agent must be a string"),
        ("= nonsense", "is not TOML"),
    ],
)
def test_a_wrong_configuration_is_one_line_that_names_file_and_key(
    text: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "tk.toml"
    config.write_text(text, encoding="utf-8")
    assert main(["run", "--config", str(config)]) == 2
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1
    assert not (tmp_path / "state").exists()


def test_a_configuration_that_is_not_there_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "--config", "/nowhere/tk.toml"]) == 2
    assert "/nowhere/tk.toml: cannot be read" in capsys.readouterr().err


def test_without_input_output_and_channels_there_is_nobody_to_talk_to(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["run"]) == 2
    assert "configure a channel with --config" in capsys.readouterr().err


# --- the program itself -------------------------------------------------------------------------


def test_the_version_is_the_packages() -> None:
    answer = turnkeeper("--version")
    assert answer.stdout.split() == ["turnkeeper", __version__]
    assert answer.returncode == 0
