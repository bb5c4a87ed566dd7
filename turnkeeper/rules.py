"""What the configuration says about each running instance, as the core decides with it.

Here a section of the configuration meets its channel, and with it a platform: only now ids of
humans can be brought into their canonical form.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from .actors.core.access import AccessRules
from .actors.core.routing import InstanceRules, ScopeRules
from .actors.messages import Instance
from .canonical import canonical_among
from .channels.base import Channel
from .config_tables import ChannelConfig, Config, ConfigError, SessionConfig

__all__ = ["agents_of", "check_exposure", "instance_rules", "scope_rules", "usual_agent"]


def agents_of(
    instances: Mapping[Instance, Channel], settings: Config, known: Collection[str]
) -> dict[Instance, str]:
    """The agent that answers each instance: the one that its section names, else `main`.

    Raises:
        ConfigError: there is no such agent.
    """
    named = {channel.name: channel.agent for channel in settings.channels}
    agent_of = {name: named.get(name) or usual_agent(known) for name in instances}
    for name, agent in agent_of.items():
        if agent not in known:
            raise ConfigError(
                f"channel {name!r} names the agent {agent!r}; there is: {', '.join(sorted(known))}"
            )
    return agent_of


def usual_agent(known: Collection[str]) -> str:
    """Who answers where nobody is named: `main`, or the only one there is."""
    return "main" if "main" in known or len(known) > 1 else next(iter(known))


def instance_rules(
    settings: Config, instances: Mapping[Instance, Channel], agent_of: Mapping[Instance, str]
) -> dict[Instance, InstanceRules]:
    """The rules of every instance; one without a section has the defaults.

    Raises:
        ConfigError: an id is none of the platform, or two spellings are one user, or two channels
            of one platform do not agree on that.
    """
    canonical = canonical_among(instances.values())
    sections = {section.name: section for section in settings.channels}
    rules: dict[Instance, InstanceRules] = {}
    for name, channel in instances.items():
        section = sections.get(name) or ChannelConfig(name=name)
        rules[name] = InstanceRules(
            agent=agent_of[name],
            scope=scope_rules(settings.session, section),
            access=_access(section, partial(canonical, channel.platform)),
            send_to=frozenset(section.send_to),
        )
    return rules


def check_exposure(
    instances: Mapping[Instance, Channel], rules: Mapping[Instance, InstanceRules]
) -> None:
    """Refuse to let everybody in only because nobody has said who may come.

    Raises:
        ConfigError: strangers can reach an instance, and no rule of access is stated for it.
    """
    for name, channel in instances.items():
        if channel.exposed and not rules[name].access.stated:
            raise ConfigError(
                f"channel {name!r} can be reached by people whom you do not know, and nothing says "
                f"who may talk to the agent. Add one of these to [channels.{name}]: "
                'access = "allowlist" with allowed_users = ["…"], for those whom you name; '
                'access = "code", to approve each newcomer by a code; '
                'access = "open", to let everybody in'
            )


def scope_rules(session: SessionConfig, section: ChannelConfig) -> ScopeRules:
    """Which conversations of an instance share a session."""
    return ScopeRules(
        dm=section.dm_scope or session.dm_scope,
        channel=section.channel_scope or session.channel_scope,
        thread=section.thread_scope or session.thread_scope,
    )


def _access(section: ChannelConfig, canonical: Callable[[str], str]) -> AccessRules:
    place = f"[channels.{section.name}]"
    conversations = section.allowed_conversations
    return AccessRules(
        access=section.access or ("open" if section.allowed_users is None else "allowlist"),
        allowed_users=_users(f"{place} allowed_users", canonical, section.allowed_users or ()),
        denied_users=_users(f"{place} denied_users", canonical, section.denied_users),
        allowed_conversations=None if conversations is None else frozenset(conversations),
        require_mention=section.require_mention,
        stated=section.access is not None or section.allowed_users is not None,
    )


def _users(where: str, canonical: Callable[[str], str], ids: Collection[str]) -> frozenset[str]:
    written: dict[str, str] = {}
    for user_id in ids:
        try:
            one = canonical(user_id)
        except ValueError as error:
            raise ConfigError(f"{where}: {user_id!a}: {error}") from error
        if one in written:
            raise ConfigError(f"{where}: {written[one]!a} and {user_id!a} are one user")
        written[one] = user_id
    return frozenset(written)
