import re
from typing import Any

import pytest

from turnkeeper.actors.core.access import AccessRules
from turnkeeper.actors.core.routing import InstanceRules, ScopeRules
from turnkeeper.actors.messages import Instance
from turnkeeper.channels.base import Channel
from turnkeeper.channels.websocket import WebSocketChannel
from turnkeeper.config import ConfigError, load_config
from turnkeeper.rules import check_exposure, instance_rules
from turnkeeper.testing import LoopbackChannel


class PublicChannel(LoopbackChannel):
    """A platform on which anybody may write."""

    @property
    def exposed(self) -> bool:
        return True


def rules_of(channel: Channel, section: dict[str, Any], **others: Any) -> InstanceRules:
    """The rules of one instance whose section is `section`."""
    settings = load_config({"channels": {str(channel.name): section}, **others})
    found = instance_rules(settings, {channel.name: channel}, {channel.name: "main"})
    assert list(found) == [channel.name]
    return found[channel.name]


def test_an_instance_of_which_nothing_is_said_has_the_defaults() -> None:
    channel = LoopbackChannel("tg")
    nothing = instance_rules(load_config(None), {channel.name: channel}, {channel.name: "ops"})
    assert nothing == {"tg": InstanceRules(agent="ops", scope=ScopeRules(), access=AccessRules())}
    assert rules_of(channel, {}) == InstanceRules(
        agent="main", scope=ScopeRules(), access=AccessRules()
    )


def test_every_instance_has_its_own_rules_and_agent() -> None:
    settings = load_config(
        {"channels": {"a": {"allowed_users": ["1"]}, "b": {"allowed_users": ["2"]}, "c": {}}}
    )
    instances = {Instance(name): LoopbackChannel(name) for name in "abcd"}
    found = instance_rules(settings, instances, {name: f"agent-{name}" for name in instances})
    assert {name: rules.agent for name, rules in found.items()} == {
        name: f"agent-{name}" for name in "abcd"
    }
    assert {name: set(rules.access.allowed_users) for name, rules in found.items()} == {
        "a": {"1"},
        "b": {"2"},
        "c": set[str](),
        "d": set[str](),
    }


def test_a_scope_holds_for_all_instances_but_those_that_say_otherwise() -> None:
    session = {
        "dm_scope": "main",
        "channel_scope": "collapsed",
        "thread_scope": "per-conversation",
    }
    channel = LoopbackChannel("tg")
    assert rules_of(channel, {}, session=session).scope == ScopeRules(
        "main", "collapsed", "per-conversation"
    )
    assert rules_of(channel, {"dm_scope": "per-conversation"}, session=session).scope == (
        ScopeRules("per-conversation", "collapsed", "per-conversation")
    )
    own = {"dm_scope": "per-user", "channel_scope": "per-channel", "thread_scope": "per-thread"}
    assert rules_of(channel, own, session=session).scope == ScopeRules()


@pytest.mark.parametrize(
    ("section", "access", "stated"),
    [
        ({}, "open", False),
        ({"denied_users": ["1"]}, "open", False),
        ({"allowed_conversations": ["g"]}, "open", False),
        ({"require_mention": True}, "open", False),
        ({"allowed_users": ["1"]}, "allowlist", True),
        ({"allowed_users": []}, "allowlist", True),
        ({"access": "allowlist"}, "allowlist", True),
        ({"access": "code"}, "code", True),
        ({"access": "code", "allowed_users": ["1"]}, "code", True),
        ({"access": "open"}, "open", True),
    ],
)
def test_whoever_names_somebody_shuts_the_others_out(
    section: dict[str, Any], access: str, stated: bool
) -> None:
    rules = rules_of(LoopbackChannel("tg"), section).access
    assert (rules.access, rules.stated) == (access, stated)


def test_the_rules_of_access_are_taken_over_as_they_are() -> None:
    rules = rules_of(
        LoopbackChannel("tg"),
        {
            "allowed_users": ["1", "01"],
            "denied_users": ["1"],
            "allowed_conversations": ["g", "G"],
            "require_mention": True,
        },
    )
    assert rules.access == AccessRules(
        access="allowlist",
        allowed_users=frozenset({"1", "01"}),
        denied_users=frozenset({"1"}),
        allowed_conversations=frozenset({"g", "G"}),
        require_mention=True,
        stated=True,
    )


def test_no_group_allowed_is_something_else_than_nothing_said_about_groups() -> None:
    channel = LoopbackChannel("tg")
    assert rules_of(channel, {"allowed_conversations": []}).access.allowed_conversations == (
        frozenset()
    )
    assert rules_of(channel, {}).access.allowed_conversations is None


@pytest.mark.parametrize("key", ["allowed_users", "denied_users"])
def test_ids_are_canonical_for_the_platform_of_the_channel(key: str) -> None:
    section = {key: ["+1 (555) 123-4567", "US.1349"]}
    phones = rules_of(LoopbackChannel("wa", platform="whatsapp"), section).access
    others = rules_of(LoopbackChannel("tg", platform="telegram"), section).access
    assert getattr(phones, key) == {"15551234567", "US.1349"}
    assert getattr(others, key) == {"+1 (555) 123-4567", "US.1349"}


@pytest.mark.parametrize("key", ["allowed_users", "denied_users"])
def test_one_user_in_two_spellings_is_refused(key: str) -> None:
    channel = LoopbackChannel("wa", platform="whatsapp")
    complaint = rf"\[channels.wa\] {key}: '\+15551234567' and '15551234567' are one user"
    with pytest.raises(ConfigError, match=complaint):
        rules_of(channel, {key: ["+15551234567", "15551234567"]})


def test_one_user_may_be_allowed_and_denied_because_deny_wins() -> None:
    rules = rules_of(LoopbackChannel("tg"), {"allowed_users": ["1"], "denied_users": ["1"]})
    assert rules.access.allowed_users == rules.access.denied_users == {"1"}


# -- exposure ------------------------------------------------------------------------------------


def expose(channel: Channel, section: dict[str, Any]) -> None:
    check_exposure({channel.name: channel}, {channel.name: rules_of(channel, section)})


@pytest.mark.parametrize(
    "section",
    [{}, {"denied_users": ["1"]}, {"allowed_conversations": ["g"]}, {"require_mention": True}],
)
def test_a_channel_that_strangers_can_reach_does_not_start_without_a_rule_of_access(
    section: dict[str, Any],
) -> None:
    with pytest.raises(ConfigError) as refused:
        expose(PublicChannel("tg"), section)
    text = str(refused.value)
    assert text.startswith("channel 'tg' can be reached")
    assert "[channels.tg]" in text
    assert "allowed_users" in text
    assert re.findall(r'access = "(\w+)"', text) == ["allowlist", "code", "open"]


@pytest.mark.parametrize(
    "section",
    [
        {"allowed_users": ["1"]},
        {"allowed_users": []},
        {"access": "allowlist"},
        {"access": "code"},
        {"access": "open"},
    ],
)
def test_any_rule_of_access_lets_it_start(section: dict[str, Any]) -> None:
    expose(PublicChannel("tg"), section)


@pytest.mark.parametrize(
    "channel",
    [
        LoopbackChannel("x"),
        WebSocketChannel("x"),
        WebSocketChannel("x", host="::1"),
        WebSocketChannel("x", host="0.0.0.0", tokens={"secret": "ann"}),
        WebSocketChannel("x", host="127.0.0.1", tokens={"secret": "ann"}),
    ],
    ids=repr,
)
def test_a_channel_that_only_those_who_are_known_can_reach_needs_no_rule(channel: Channel) -> None:
    assert not channel.exposed
    expose(channel, {})
