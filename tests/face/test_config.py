from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from turnkeeper.config import (
    ChannelConfig,
    Config,
    ConfigError,
    RuntimeConfig,
    SessionConfig,
    load_config,
)


def test_nothing_given_means_the_defaults() -> None:
    assert load_config(None) == Config()
    assert load_config({}) == Config()


def test_a_config_is_taken_as_it_is() -> None:
    config = Config(agent="a:b")
    assert load_config(config) is config


def test_a_file_says_everything_that_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "tk.toml"
    path.write_text(
        """
        agent = "mine:answer"
        [session]
        max_context_tokens = 2000
        turn_timeout_s = 30
        failure_notice = "sorry"
        [runtime]
        stop_deadline_s = 0
        [channels.web]
        kind = "websocket"
        port = 8080
        [channels.tty]
        kind = "console"
        agent = "main"
        """,
        encoding="utf-8",
    )
    config = load_config(path)
    assert config == load_config(str(path))
    assert config.agent == "mine:answer"
    assert config.session == SessionConfig(
        max_context_tokens=2000, turn_timeout_s=30, failure_notice="sorry"
    )
    assert config.runtime == RuntimeConfig(stop_deadline_s=0)
    assert config.channels == (
        ChannelConfig(name="web", kind="websocket", options={"port": 8080}),
        ChannelConfig(name="tty", kind="console", agent="main"),
    )


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"sesion": {}}, "config: unknown key 'sesion'; did you mean 'session'?"),
        ({"zebra": {}}, "config: unknown key 'zebra'; known: session, runtime, channels, agent"),
        (
            {"session": {"turn_timeout": 1}},
            r"\[session\]: unknown key 'turn_timeout'; did you mean 'turn_timeout_s'\?",
        ),
        ({"runtime": {"max_turns": 1}}, r"\[runtime\]: unknown key 'max_turns'"),
        ({"session": 1}, r"session must be a table \(\[session\]\), not 1"),
        ({"channels": []}, r"channels must be tables \(\[channels.NAME\]\)"),
        ({"channels": {"x": 1}}, r"\[channels.x\] must be a table, not 1"),
        ({"channels": {"x": {}}}, r"\[channels.x\]: kind is missing"),
        ({"channels": {"x": {"kind": 1}}}, r"\[channels.x\]: kind is missing"),
        ({"channels": {"x": {"kind": "k", "agent": 1}}}, r"\[channels.x\]: agent must be a string"),
        ({"channels": {"a/b": {"kind": "k"}}}, "the name must be 1 to 64 letters"),
        ({"channels": {"": {"kind": "k"}}}, "the name must be 1 to 64 letters"),
        ({"channels": {"x" * 65: {"kind": "k"}}}, "the name must be 1 to 64 letters"),
        ({"agent": 1}, "agent must be a string like 'module:name', not 1"),
    ],
)
def test_a_wrong_key_or_shape_is_named(table: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_config(table)


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("max_context_tokens", "many", "must be of type int, not 'many'"),
        ("max_context_tokens", 1.5, "must be of type int, not 1.5"),
        ("max_context_tokens", True, "must be of type int, not True"),
        ("max_context_tokens", 999, "must be at least 1000, not 999"),
        ("turn_timeout_s", 0, "must be at least 0.001, not 0"),
        ("turn_timeout_s", "10", "must be of type float, not '10'"),
        ("turn_timeout_s", False, "must be of type float, not False"),
        ("failure_notice", 1, "must be of type str, not 1"),
    ],
)
def test_a_wrong_value_is_named_with_its_key_and_what_would_be_right(
    key: str, value: object, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=rf"\[session\] {key} {complaint}"):
        load_config({"session": {key: value}})


def test_a_secret_comes_from_the_environment() -> None:
    table = {
        "channels": {
            "web": {"kind": "k", "token": "${SECRET}", "nested": {"list": ["a ${SECRET} b", 1]}}
        }
    }
    (channel,) = load_config(table, {"SECRET": "s3"}).channels
    assert channel.options == {"token": "s3", "nested": {"list": ["a s3 b", 1]}}


def test_a_value_that_looks_like_a_variable_is_not_expanded_again() -> None:
    (channel,) = load_config(
        {"channels": {"web": {"kind": "k", "token": "${SECRET}"}}}, {"SECRET": "${HOME}"}
    ).channels
    assert channel.options == {"token": "${HOME}"}


@pytest.mark.parametrize("environ", [{}, {"SECRET": ""}])
def test_a_secret_that_is_not_set_is_named_and_no_value_is_shown(environ: dict[str, str]) -> None:
    table = {"channels": {"web": {"kind": "k", "token": "prefix-${SECRET}"}}}
    with pytest.raises(ConfigError, match="environment variable SECRET is not set") as error:
        load_config(table, environ)
    assert "token" in str(error.value)
    assert "prefix" not in str(error.value)


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TK_AGENT", "mine:answer")
    assert load_config({"agent": "${TK_AGENT}"}).agent == "mine:answer"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [(b"[session", "is not TOML"), (b"agent = '\xff'", "is not TOML"), (None, "cannot be read")],
)
def test_a_file_that_cannot_be_read_is_named(
    content: bytes | None, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / "tk.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=complaint) as error:
        load_config(path)
    assert str(path) in str(error.value)


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


@pytest.mark.parametrize("section", [SessionConfig, RuntimeConfig])
def test_every_setting_says_what_it_is_and_takes_its_own_default(section: type[Any]) -> None:
    for setting in fields(section):
        assert setting.metadata["doc"], setting.name
        name = "session" if section is SessionConfig else "runtime"
        loaded = load_config({name: {setting.name: setting.default}})
        assert getattr(getattr(loaded, name), setting.name) == setting.default


def test_a_loaded_configuration_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        load_config({}).session.turn_timeout_s = 1  # type: ignore[misc]
