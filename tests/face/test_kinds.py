from dataclasses import fields
from typing import Any

import pytest

from turnkeeper import kinds, open_runtime
from turnkeeper.channels.websocket import WebSocketChannel
from turnkeeper.config import ChannelConfig, ConfigError, load_config
from turnkeeper.kinds import KINDS, make_channel, make_channels
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo


def test_a_configured_channel_is_made_with_its_keys_and_without_the_common_ones() -> None:
    settings = load_config(
        {"channels": {"web": {"kind": "websocket", "port": 0, "access": "code", "agent": "main"}}}
    )
    (channel,) = make_channels(settings)
    assert isinstance(channel, WebSocketChannel)
    assert channel.name == "web"


def test_a_section_without_a_kind_is_for_a_channel_that_there_is_already() -> None:
    settings = load_config({"channels": {"tg": {"allowed_users": ["1"]}}})
    assert make_channels(settings, ["tg"]) == []
    with pytest.raises(ConfigError, match=r'\[channels.tg\]: kind is missing; e.g. kind = "'):
        make_channels(settings)
    with pytest.raises(ConfigError, match=r"\[channels.tg\]: kind is missing"):
        make_channels(settings, ["tgg"])


def test_a_section_with_a_kind_is_made_although_there_is_one_of_that_name() -> None:
    settings = load_config({"channels": {"web": {"kind": "websocket"}}})
    assert [channel.name for channel in make_channels(settings, ["web"])] == ["web"]


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"kind": "websockt"}, "there is no kind 'websockt'; did you mean 'websocket'"),
        ({"kind": ""}, "there is no kind ''"),
        ({"kind": "websocket", "prt": 1}, "unknown key 'prt'; did you mean 'port'"),
        ({"kind": "websocket", "port": "1"}, "port must be a whole number, not '1'"),
        ({"kind": "websocket", "allowed_origin": []}, "did you mean 'allowed_origins'"),
        ({"kind": "websocket", "host": "0.0.0.0"}, "so tokens are needed"),
        ({"kind": "telegram"}, "token is missing$"),
        ({"kind": "matrix"}, "homeserver and access_token are missing$"),
    ],
)
def test_what_is_wrong_with_a_channel_is_named(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[channels.web\].*{complaint}"):
        make_channels(load_config({"channels": {"web": section}}))


@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_has_a_key_that_all_channels_have(kind: str) -> None:
    for setting in fields(ChannelConfig):
        with pytest.raises(ConfigError, match=f"unknown key '{setting.name}'"):
            make_channel(ChannelConfig(name="x", kind=kind, options={setting.name: None}))


@pytest.mark.parametrize("key", ["token", "tokens", "app_token", "signing_secret", "password"])
def test_a_value_of_the_wrong_type_is_not_shown_where_it_is_a_secret(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "_keys", lambda _kind: {key: [bool]})  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    section = {"kind": "websocket", key: "s3cr3t"}
    with pytest.raises(ConfigError, match=f"{key} must be true or false, not a string"):
        make_channels(load_config({"channels": {"web": section}}))


def test_no_configuration_shows_the_keys_of_its_channels() -> None:
    settings = load_config({"channels": {"web": {"kind": "websocket", "tokens": {"hunter2": "u"}}}})
    assert settings.channels[0].options == {"tokens": {"hunter2": "u"}}
    assert "hunter2" not in f"{settings!r} {settings.channels[0]}"


def test_a_value_that_is_no_secret_is_shown() -> None:
    with pytest.raises(ConfigError, match="host must be a string, not 7"):
        make_channels(load_config({"channels": {"web": {"kind": "websocket", "host": 7}}}))


class Guarded(LoopbackChannel):
    """A channel that says in its error what it was given."""

    def __init__(self, name: str, *, token: str) -> None:
        raise ValueError(f"the number cannot be {token}, not even as {token}x")


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        ("hunter2", "the number cannot be ***, not even as ***x"),
        ("b", "the number cannot be ***, not even as bx"),
    ],
)
def test_no_error_shows_a_secret_nor_by_gaps_which_letters_a_short_one_has(
    token: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kinds, "load_kind", lambda _kind: Guarded)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    with pytest.raises(ConfigError) as raised:
        make_channel(ChannelConfig(name="x", kind="guarded", options={"token": token}))
    assert str(raised.value) == f"[channels.x]: {shown}"


class Accounted(LoopbackChannel):
    """A channel with a token."""

    def __init__(self, name: str, account: str | None) -> None:
        super().__init__(name)
        self._account = account

    @property
    def account(self) -> str | None:
        return self._account


async def test_two_channels_of_one_account_are_refused_by_their_names() -> None:
    channels = [Accounted("a", "x"), Accounted("b", None), Accounted("c", "x")]
    async with open_memory(MemoryDisk()) as store:
        with pytest.raises(ConfigError, match="'a' and 'c' have the same account on loopback"):
            async with open_runtime(None, agent=echo, channels=channels, store=store):
                pass


async def test_channels_of_different_accounts_or_of_none_are_let_be() -> None:
    channels = [
        Accounted("a", "x"),
        Accounted("b", None),
        Accounted("c", "y"),
        LoopbackChannel("d"),
    ]
    async with (
        open_memory(MemoryDisk()) as store,
        open_runtime(None, agent=echo, channels=channels, store=store),
    ):
        pass
