from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import pytest

from turnkeeper.actors.core.routing import ScopeRules
from turnkeeper.config import (
    ChannelConfig,
    Config,
    ConfigError,
    IdentityConfig,
    PairConfig,
    RuntimeConfig,
    SessionConfig,
    load_config,
)
from turnkeeper.config_tables import ChannelScope, DmScope, ThreadScope

SECTIONS: Final = {
    "session": SessionConfig,
    "runtime": RuntimeConfig,
    "identity": IdentityConfig,
}


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
        dm_scope = "main"
        channel_scope = "collapsed"
        thread_scope = "per-conversation"
        [runtime]
        stop_deadline_s = 0
        [identity]
        self_link = false
        resolver_timeout_s = 1
        [pairing]
        "123456789@telegram" = "user-jason"
        "@ann:example.org@matrix" = "ann"
        [channels.web]
        kind = "websocket"
        port = 8080
        [channels.tty]
        kind = "console"
        agent = "main"
        dm_scope = "per-user"
        channel_scope = "per-channel"
        thread_scope = "per-thread"
        access = "code"
        allowed_users = ["1", "01"]
        denied_users = ["Bob", "bob"]
        allowed_conversations = ["-100"]
        require_mention = true
        """,
        encoding="utf-8",
    )
    config = load_config(path)
    assert config == load_config(str(path))
    assert config.agent == "mine:answer"
    assert config.session == SessionConfig(
        max_context_tokens=2000,
        turn_timeout_s=30,
        failure_notice="sorry",
        dm_scope="main",
        channel_scope="collapsed",
        thread_scope="per-conversation",
    )
    assert config.runtime == RuntimeConfig(stop_deadline_s=0)
    assert config.identity == IdentityConfig(self_link=False, resolver_timeout_s=1)
    assert config.pairing == (
        PairConfig(platform="telegram", user_id="123456789", session="user-jason"),
        PairConfig(platform="matrix", user_id="@ann:example.org", session="ann"),
    )
    assert config.channels == (
        ChannelConfig(name="web", kind="websocket", options={"port": 8080}),
        ChannelConfig(
            name="tty",
            kind="console",
            agent="main",
            dm_scope="per-user",
            channel_scope="per-channel",
            thread_scope="per-thread",
            access="code",
            allowed_users=("1", "01"),
            denied_users=("Bob", "bob"),
            allowed_conversations=("-100",),
            require_mention=True,
        ),
    )


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ({"sesion": {}}, "config: unknown key 'sesion'; did you mean 'session'?"),
        (
            {"zebra": {}},
            "config: unknown key 'zebra'; known: session, runtime, http, identity, pair",
        ),
        (
            {"session": {"turn_timeout": 1}},
            r"\[session\]: unknown key 'turn_timeout'; did you mean 'turn_timeout_s'\?",
        ),
        ({"runtime": {"max_turns": 1}}, r"\[runtime\]: unknown key 'max_turns'"),
        ({"session": 1}, r"session must be a table \(\[session\]\), not 1"),
        ({"channels": []}, r"channels must be tables \(\[channels.NAME\]\)"),
        ({"channels": {"x": 1}}, r"\[channels.x\] must be a table, not 1"),
        ({"channels": {"x": {"kind": 1}}}, r"\[channels.x\] kind must be of type str, not 1"),
        (
            {"channels": {"x": {"kind": "k", "agent": 1}}},
            r"\[channels.x\] agent must be of type str",
        ),
        (
            {"channels": {"x": {"alowed_users": [], "port": 1}}},
            r"\[channels.x\]: unknown without a kind: 'alowed_users', 'port'; .* 'allowed_users'\?",
        ),
        (
            {"channels": {"telegram": {"token": "t"}}},
            r"\[channels.telegram\]: unknown without a kind: 'token'; its kind comes first",
        ),
        ({"identity": {"self": 1}}, r"\[identity\]: unknown key 'self'"),
        ({"pairing": []}, r"pairing must be a table \(\[pairing\]\), not \[\]"),
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
        (
            "dm_scope",
            "per_user",
            r"must be one of 'per-user', 'per-conversation', 'main', not .* mean 'per-user'\?",
        ),
        ("channel_scope", True, "must be one of 'per-channel', 'collapsed', not True"),
        ("thread_scope", ["per-thread"], r"must be one of .* not \['per-thread'\]"),
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


@pytest.mark.parametrize(("environ", "how"), [({}, "not set"), ({"SECRET": ""}, "empty")])
def test_a_secret_that_is_not_set_is_named_and_no_value_is_shown(
    environ: dict[str, str], how: str
) -> None:
    table = {"channels": {"web": {"kind": "k", "token": "prefix-${SECRET}"}}}
    with pytest.raises(ConfigError, match=f"environment variable SECRET is {how}") as error:
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


def test_two_keys_that_a_variable_makes_the_same_are_refused_and_not_shown() -> None:
    table = {"channels": {"web": {"kind": "k", "tokens": {"${ONE}": "ann", "${TWO}": "bob"}}}}
    with pytest.raises(ConfigError, match="two keys are the same") as error:
        load_config(table, {"ONE": "s3", "TWO": "s3"})
    assert "tokens" in str(error.value)
    assert "s3" not in str(error.value)


@pytest.mark.parametrize("name", SECTIONS)
def test_every_setting_says_what_it_is_and_takes_its_own_default(name: str) -> None:
    for setting in fields(SECTIONS[name]):
        assert setting.metadata["doc"], setting.name
        given = {setting.name: setting.default} if setting.default is not None else {}
        loaded = load_config({name: given})  # what is not said, no file can say
        assert getattr(getattr(loaded, name), setting.name) == setting.default


def test_every_key_that_all_channels_have_says_what_it_is() -> None:
    common = [key for key in fields(ChannelConfig) if key.name not in ("name", "options")]
    assert [key.name for key in common if not key.metadata["doc"]] == []


def test_the_scopes_that_can_be_configured_are_those_which_the_core_knows() -> None:
    scopes = {"dm": DmScope, "channel": ChannelScope, "thread": ThreadScope}
    known = {name: get_args(hint) for name, hint in get_type_hints(ScopeRules).items()}
    assert {name: get_args(scope) for name, scope in scopes.items()} == known


# -- channels ------------------------------------------------------------------------------------


def test_a_section_without_a_kind_holds_what_is_common_to_all_kinds() -> None:
    (channel,) = load_config({"channels": {"tg": {"allowed_users": ["1"]}}}).channels
    assert channel == ChannelConfig(name="tg", allowed_users=("1",))
    assert channel.kind is None


def test_nobody_allowed_is_something_else_than_nothing_said() -> None:
    table: dict[str, Any] = {
        "channels": {"a": {"allowed_users": [], "allowed_conversations": []}, "b": {}}
    }
    nobody, nothing = load_config(table).channels
    assert (nobody.allowed_users, nobody.allowed_conversations) == ((), ())
    assert (nothing.allowed_users, nothing.allowed_conversations) == (None, None)


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        (
            {"access": "allow-list"},
            "access must be one of 'open', 'allowlist', 'code', not 'allow-",
        ),
        ({"access": None}, "access must be one of 'open', 'allowlist', 'code', not None"),
        ({"dm_scope": "peruser"}, r"dm_scope must be one of .*; did you mean 'per-user'\?"),
        ({"require_mention": "yes"}, "require_mention must be of type bool, not 'yes'"),
        ({"access": "open", "allowed_users": ["1"]}, 'access = "open" lets everybody in, whatever'),
    ],
)
def test_a_wrong_rule_of_a_channel_is_named(section: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=rf"config: \[channels.x\]:? {complaint}"):
        load_config({"channels": {"x": section}})


@pytest.mark.parametrize("key", ["allowed_users", "denied_users", "allowed_conversations"])
@pytest.mark.parametrize(
    ("ids", "complaint"),
    [
        ("123", " must be a list of strings, not '123'"),
        ({"123": 1}, " must be a list of strings, not {"),
        ([123], ': 123 must be quoted, "123"'),
        ([True], " must be a list of strings, and True is none"),
        ([1.5], " must be a list of strings, and 1.5 is none"),
        ([["1"]], r" must be a list of strings, and \['1'\] is none"),
        ([""], ": '' is no id"),
        ([" 1"], ": ' 1' has white space around it"),
        (["1\n"], r": '1\\n' has white space around it"),
        (["\u00a01"], r": '\\xa01' has white space around it"),
        ([" "], ": ' ' has white space around it"),
        (["1", "2", "1"], ": '1' is there twice"),
        (["1" * 1025], r": '111.* is longer than 1024 characters"),
        (["1\u200b2"], r": '1\\u200b2' holds what cannot be seen: U\+200B, ZERO WIDTH SPACE"),
        (["\ufeff1"], r": .* U\+FEFF, ZERO WIDTH NO-BREAK SPACE"),
        (["1\u2060"], r": .* U\+2060, WORD JOINER"),
        (["1\u202e2"], r": .* U\+202E, RIGHT-TO-LEFT OVERRIDE"),
        (["1\x002"], r": .* U\+0000, which has no name"),
        (["1\n2"], r": .* U\+000A, which has no name"),
        (["1\u00a02"], r": .* U\+00A0, NO-BREAK SPACE"),
        (["1\ud8002"], r": .* U\+D800, which has no name"),
        (["1\u034f2"], r": .* U\+034F, COMBINING GRAPHEME JOINER"),
        (["\u3164"], r": .* U\+3164, HANGUL FILLER"),
        (["1\ufe0f"], r": .* U\+FE0F, VARIATION SELECTOR-16"),
    ],
)
def test_an_id_that_only_looks_right_is_refused(key: str, ids: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=rf"\[channels.x\] {key}{complaint}"):
        load_config({"channels": {"x": {key: ids}}})


@pytest.mark.parametrize(
    "ids",
    [
        ("1", "01"),
        ("U1A", "u1a"),
        ("a", "\u0430"),  # a Cyrillic look-alike
        ("1", "\u0661"),  # an Arabic digit one
        ("José", "Jose\u0301"),
        ("@ann:example.org", "-1001234", "US.134912086553", "ann smith"),
    ],
)
def test_ids_that_differ_at_all_are_different_and_kept_as_they_are(ids: tuple[str, ...]) -> None:
    (channel,) = load_config({"channels": {"x": {"allowed_users": list(ids)}}}).channels
    assert channel.allowed_users == ids


# -- pairs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "pair"),
    [
        ("123@telegram", ("telegram", "123")),
        ("@ann:example.org@matrix", ("matrix", "@ann:example.org")),
        ("a@b@c", ("c", "a@b")),
        ("+1 (555) 123-4567@whatsapp", ("whatsapp", "15551234567")),
        ("15551234567@whatsapp", ("whatsapp", "15551234567")),
        ("+15551234567@telegram", ("telegram", "+15551234567")),
        ("U1A@my.own-platform_2", ("my.own-platform_2", "U1A")),
    ],
)
def test_an_identity_is_split_at_the_last_at_sign_and_made_canonical(
    key: str, pair: tuple[str, str]
) -> None:
    (found,) = load_config({"pairing": {key: "user-jason"}}).pairing
    assert (found.platform, found.user_id) == pair
    assert found.session == "user-jason"


@pytest.mark.parametrize(
    ("key", "session", "complaint"),
    [
        ("telegram", "s", "'telegram' must be an identity, \"USER_ID@PLATFORM\""),
        ("@telegram", "s", "must be an identity"),
        ("1@", "s", "must be an identity"),
        ("1@tele gram", "s", "must be an identity"),
        ("1@ telegram", "s", "must be an identity"),
        ("1@telegram\u200b", "s", r"'1@telegram\\u200b' must be an identity"),
        ("", "s", "must be an identity"),
        (" 1@telegram", "s", "' 1' has white space around it"),
        ("1 @telegram", "s", "'1 ' has white space around it"),
        ("1\u200b@telegram", "s", r"U\+200B, ZERO WIDTH SPACE"),
        ("1@telegram", 7, "'1@telegram' must name a session, not 7"),
        ("1@telegram", "", "'' cannot name a session"),
        ("1@telegram", "a/b", "'a/b' cannot name a session"),
        ("1@telegram", "-a", "'-a' cannot name a session"),
        ("1@telegram", "x" * 65, "cannot name a session"),
        ("1@telegram", "user-jason\n", "cannot name a session"),
    ],
)
def test_a_pair_that_makes_no_sense_is_named(key: str, session: object, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as error:
        load_config({"pairing": {key: session}})
    assert str(error.value).startswith("config: [pairing] ")


def test_one_identity_written_in_two_ways_has_one_pair() -> None:
    table = {"pairing": {"+1 555 123-4567@whatsapp": "a", "15551234567@whatsapp": "a"}}
    with pytest.raises(
        ConfigError, match=r"'15551234567@whatsapp' is the same identity as '\+1 555"
    ):
        load_config(table)


def test_one_id_on_two_platforms_is_two_identities() -> None:
    pairs = load_config({"pairing": {"1@telegram": "a", "1@slack": "b"}}).pairing
    assert [(pair.platform, pair.session) for pair in pairs] == [("telegram", "a"), ("slack", "b")]


def test_a_loaded_configuration_does_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        load_config({}).session.turn_timeout_s = 1  # type: ignore[misc]
