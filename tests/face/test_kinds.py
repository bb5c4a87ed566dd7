from dataclasses import fields
from typing import Any

import pytest

from turnkeeper.channels.websocket import WebSocketChannel
from turnkeeper.config import ChannelConfig, ConfigError, load_config
from turnkeeper.kinds import KINDS, canonical_user_id, make_channel, make_channels


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


@pytest.mark.parametrize(
    ("platform", "user_id", "canonical"),
    [
        ("whatsapp", "+1 (555) 123-4567", "15551234567"),
        ("telegram", "+1 (555) 123-4567", "+1 (555) 123-4567"),
        ("slack", "u1A", "u1A"),
        ("loopback", " 01 ", " 01 "),
        ("websocket", "ann", "ann"),
    ],
)
def test_a_user_id_has_the_form_that_its_platform_gives_it(
    platform: str, user_id: str, canonical: str
) -> None:
    assert canonical_user_id(platform, user_id) == canonical


@pytest.mark.parametrize(
    "platform", ["", "WhatsApp", "whatsapp ", "../whatsapp", "whatsapp.x", "a.b", "1", "é", "x\0"]
)
def test_a_platform_that_names_no_module_has_ids_as_they_are(platform: str) -> None:
    assert canonical_user_id(platform, "+15551234567") == "+15551234567"


def test_an_id_that_is_none_of_the_platform_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        canonical_user_id("whatsapp", "")
