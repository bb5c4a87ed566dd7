"""A changed configuration while a runtime runs: what holds at once, and what waits for a restart.

Who may talk, which conversations share a session, when one begins anew, who is paired and which
missions there are: that is followed at once. Channels that come, go or are set up otherwise, and
what the runtime itself is set to, need a new start.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from .actors.frozen import message
from .config import (
    ChannelConfig,
    Config,
    HttpConfig,
    IdentityConfig,
    MissionConfig,
    PairConfig,
    RuntimeConfig,
    SessionConfig,
)

__all__ = ["Reloaded", "follow"]

_SCOPES: Final = frozenset({"dm_scope", "channel_scope", "thread_scope"})
_OF_SESSIONS: Final = _SCOPES | {
    "commands",
    "reset_after_idle_s",
    "reset_daily_at",
    "reset_zone",
    "reset_notice",
}
"""The keys of `[session]` that are followed at once."""
_RULES: Final = _SCOPES | {
    "agent",
    "access",
    "allowed_users",
    "denied_users",
    "allowed_conversations",
    "require_mention",
}
"""The keys of a channel that are followed at once; another agent, by the sessions that it opens."""

S = TypeVar("S", SessionConfig, RuntimeConfig, HttpConfig, IdentityConfig, ChannelConfig)


@message
class Reloaded:
    """What a changed configuration has come to. Each entry names a key: `[session] dm_scope`."""

    applied: tuple[str, ...]
    """What holds from now on."""
    waiting: tuple[str, ...]
    """Where the configuration differs from what runs, until the next start."""


def follow(now: Config, wanted: Config, running: Collection[str]) -> tuple[Config, Reloaded]:
    """What holds once a runtime follows `wanted` as far as it can while it runs.

    Args:
        now: what holds.
        wanted: what the configuration says.
        running: the instances that run. One whose section has gone keeps its rules until it stops:
            without them it would let everybody in.
    """
    difference = _Difference()
    settings = replace(
        now,
        session=difference.followed("[session]", now.session, wanted.session, _OF_SESSIONS),
        runtime=difference.followed("[runtime]", now.runtime, wanted.runtime),
        http=difference.followed("[http]", now.http, wanted.http),
        identity=difference.followed("[identity]", now.identity, wanted.identity),
        channels=difference.channels(now.channels, wanted.channels, running),
        pairing=difference.pairs(now.pairing, wanted.pairing),
        missions=difference.missions(now.missions, wanted.missions),
    )
    if wanted.agent != now.agent:
        difference.waiting.append("agent")
    return settings, Reloaded(applied=tuple(difference.applied), waiting=tuple(difference.waiting))


class _Difference:
    """Where two configurations differ."""

    def __init__(self) -> None:
        self.applied: list[str] = []
        self.waiting: list[str] = []

    def followed(self, place: str, now: S, wanted: S, live: Collection[str] = ()) -> S:
        """A section with the keys of `live` as they are wanted."""
        taken: dict[str, Any] = {}
        for field in fields(now):
            value = getattr(wanted, field.name)
            if field.name == "options" or value == getattr(now, field.name):
                continue
            if field.name in live:
                taken[field.name] = value
                self.applied.append(f"{place} {field.name}")
            else:
                self.waiting.append(f"{place} {field.name}")
        return replace(now, **taken)

    def channels(
        self,
        now: Collection[ChannelConfig],
        wanted: Collection[ChannelConfig],
        running: Collection[str],
    ) -> tuple[ChannelConfig, ...]:
        """The sections of the channels that run."""
        sections = {section.name: section for section in now}
        for section in wanted:
            name, place = section.name, f"[channels.{section.name}]"
            if name not in sections and name not in running:
                self.waiting.append(f"{place}: a new channel")
                continue
            before = sections.get(name) or ChannelConfig(name=name)
            sections[name] = self.followed(place, before, section, _RULES)
            changed = _changed(before.options, section.options)
            self.waiting.extend(f"{place} {key}" for key in changed)
        for name in sorted(sections.keys() - {section.name for section in wanted}):
            self.waiting.append(f"[channels.{name}]: has gone, and runs on with its rules")
        return tuple(sections.values())

    def pairs(
        self, now: Collection[PairConfig], wanted: tuple[PairConfig, ...]
    ) -> tuple[PairConfig, ...]:
        """The pairs that are wanted."""
        before, after = _sessions(now), _sessions(wanted)
        for who in _changed(before, after):
            what = f"= {after[who]}" if who in after else "is unpaired"
            self.applied.append(f"[pairing] {who} {what}")
        return wanted

    def missions(
        self, now: Collection[MissionConfig], wanted: tuple[MissionConfig, ...]
    ) -> tuple[MissionConfig, ...]:
        """The missions that are wanted."""
        before = {section.name: section for section in now}
        after = {section.name: section for section in wanted}
        for name in _changed(before, after):
            how = "has gone" if name not in after else "is new" if name not in before else "changed"
            self.applied.append(f"[missions.{name}] {how}")
        return wanted


def _sessions(pairs: Collection[PairConfig]) -> dict[str, str]:
    return {f"{pair.user_id}@{pair.platform}": pair.session for pair in pairs}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The keys that have come, gone or another value."""
    return [
        key
        for key in {**before, **after}
        if key not in before or key not in after or before[key] != after[key]
    ]
