"""What a configuration says: its tables, each a frozen dataclass, with the limits of every key.

Reading and checking them is `config`'s. Ids of humans are canonical in `[pairing]`, and as written
in `[channels.NAME]`: only the channel itself knows its platform (see `rules`).
"""

# ruff: noqa: RUF009  (`_setting` makes a field; ruff knows only that `field` does)

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from .actors.core.access import Access
from .actors.core.mission_definition import MAX_JITTER_S, Overlap
from .actors.core.schedule import Missed

__all__ = [
    "ChannelConfig",
    "ChannelScope",
    "Config",
    "ConfigError",
    "DmScope",
    "HttpConfig",
    "IdentityConfig",
    "MissionConfig",
    "PairConfig",
    "RuntimeConfig",
    "SessionConfig",
    "ThreadScope",
]

DmScope: TypeAlias = Literal["per-user", "per-conversation", "main"]
"""Which direct conversations share a session: those of one user; none; all."""
ChannelScope: TypeAlias = Literal["per-channel", "collapsed"]
"""Which group conversations share a session: none; those of one guild."""
ThreadScope: TypeAlias = Literal["per-thread", "per-conversation"]
"""Which threads share a session: none; those of one conversation."""


class ConfigError(ValueError):
    """The configuration is wrong; the text names the file, the key and what would be right."""


def _setting(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: object = None,
    doc: str = "",
) -> Any:
    """A key of a table; `choices` is the `Literal` of its values."""
    metadata = {"low": low, "high": high, "choices": get_args(choices), "doc": doc}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionConfig:
    """`[session]`: what holds for every session."""

    max_context_tokens: int = _setting(180_000, low=1_000, doc="size of the context window")
    compaction_threshold: float = _setting(
        0.85, doc="share of it from which the older part of a context is summarised"
    )
    keep_recent_tokens: int | None = _setting(
        None,
        low=0,
        doc="tokens of the newest part that stay as they are; a fifth of that share by default",
    )
    summary_tokens: int | None = _setting(
        None, low=100, doc="longest summary; three hundredths of the window by default"
    )
    summariser: str | None = _setting(
        None, doc="who writes summaries: `module:name`; the built-in one by default"
    )
    summariser_timeout_s: float = _setting(
        120.0, low=0.001, doc="seconds a summariser may take for one attempt"
    )
    summariser_attempts: int = _setting(
        3, low=1, high=20, doc="attempts before the built-in summary is taken instead"
    )
    compaction_wait_s: float = _setting(
        30.0, low=0.0, doc="seconds that a turn waits at most while its window is full"
    )
    compaction_notice: str = _setting(
        "", doc="what a human is told when older messages were summarised; empty for nothing"
    )
    system_prompt: str = _setting("", doc="what every window begins with; empty for nothing")
    token_counter: str = _setting(
        "o200k_base", doc="how tokens are counted: an encoding of tiktoken, or `estimate`"
    )
    turn_timeout_s: float = _setting(
        600.0, low=0.001, doc="seconds an agent may take for one attempt at a turn"
    )
    idle_after_s: float = _setting(
        300.0, low=0.001, doc="seconds without use after which a session leaves memory"
    )
    failure_notice: str = _setting(
        "", doc="what a human is told when a turn is given up; empty for nothing"
    )
    dm_scope: DmScope = _setting(
        "per-user", choices=DmScope, doc="which direct conversations share a session"
    )
    channel_scope: ChannelScope = _setting(
        "per-channel", choices=ChannelScope, doc="whether the channels of a guild share a session"
    )
    thread_scope: ThreadScope = _setting(
        "per-thread", choices=ThreadScope, doc="whether the threads of a place share a session"
    )
    commands: bool = _setting(
        True, doc="whether `/new` and `/compact` are the runtime's; else its agent gets them"
    )
    reset_after_idle_s: float = _setting(
        0.0, low=0.0, doc="seconds without a turn after which the context begins anew; 0: never"
    )
    reset_daily_at: str = _setting(
        "", doc="time of day, like `04:00`, at which the context begins anew; empty for never"
    )
    reset_zone: str = _setting("UTC", doc="the time zone of `reset_daily_at`")
    reset_notice: str = _setting(
        "It has been a while, so we begin anew: I do not see any more what was said before.",
        doc="what a human is told when the context has begun anew by itself",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeConfig:
    """`[runtime]`: the process."""

    max_running_turns: int = _setting(1_024, low=1, doc="agents that run at once")
    stop_deadline_s: float = _setting(
        5.0, low=0.0, doc="seconds that a stopping runtime waits for running agents and sends"
    )
    delivery_max_attempts: int = _setting(12, low=1, doc="attempts before a delivery is dead")
    delivery_max_age_s: float = _setting(
        86_400.0, low=1.0, doc="seconds after which a delivery is dead"
    )
    attachment_max_bytes: int = _setting(
        26_214_400, low=1, doc="size of the largest file that is kept of those that humans send"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpConfig:
    """`[http]`: where platforms call that send their messages over HTTP."""

    listen: str = _setting(
        "127.0.0.1:8080", doc="address and port to listen on, if a channel needs it"
    )
    public_url: str = _setting(
        "", doc="how that is reached from outside, like `https://bot.example.org`"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentityConfig:
    """`[identity]`: how it is known who is speaking."""

    self_link: bool = _setting(
        True, doc="whether humans may link their own identities, with `/link` and a code"
    )
    resolver_timeout_s: float = _setting(
        5.0, low=0.001, doc="seconds that an identity resolver may take for one answer"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelConfig:
    """`[channels.NAME]`: one instance. None where nothing was said."""

    name: str
    kind: str | None = _setting(None, doc="which channel it is; none if a program passes it")
    agent: str | None = _setting(None, doc="who answers there")
    dm_scope: DmScope | None = _setting(None, choices=DmScope, doc="instead of [session]'s")
    channel_scope: ChannelScope | None = _setting(
        None, choices=ChannelScope, doc="instead of [session]'s"
    )
    thread_scope: ThreadScope | None = _setting(
        None, choices=ThreadScope, doc="instead of [session]'s"
    )
    access: Access | None = _setting(
        None,
        choices=Access,
        doc="who may talk directly; 'allowlist' where allowed_users is given, else 'open'",
    )
    allowed_users: tuple[str, ...] | None = _setting(None, doc="ids of those who may talk directly")
    denied_users: tuple[str, ...] = _setting((), doc="ids of those who may talk nowhere")
    allowed_conversations: tuple[str, ...] | None = _setting(
        None, doc="ids of the groups that are open; otherwise all where access is 'open', else none"
    )
    require_mention: bool = _setting(
        False, doc="whether only messages that name the agent, or answer it, count in a group"
    )
    send_to: tuple[str, ...] = _setting(
        (), doc="ids of the conversations in which any agent may speak unasked"
    )
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    """The kind's own keys; a token may be among them, so they are not shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairConfig:
    """One line of `[pairing]`: whoever has this identity talks in this session."""

    platform: str
    user_id: str
    session: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MissionConfig:
    """`[missions.NAME]`: a prompt that an agent is given at set times."""

    name: str
    schedule: str = _setting("", doc="when: `0 9 * * mon-fri`, `every 15m`, `at 2026-12-01T09:00`")
    prompt: str = _setting("", doc="what the agent is to do")
    notify: str | None = _setting(None, doc="the instance where it speaks")
    agent: str | None = _setting(None, doc="who is asked")
    zone: str = _setting("UTC", doc="the time zone of the schedule, like `Europe/Berlin`")
    session: str | None = _setting(None, doc="where it runs; in one of its own by default")
    missed: Missed = _setting("skip", choices=Missed, doc="what becomes of ticks that were missed")
    overlap: Overlap = _setting(
        "skip", choices=Overlap, doc="what becomes of a tick while a run goes on"
    )
    jitter_s: float = _setting(
        0.0, low=0.0, high=MAX_JITTER_S, doc="seconds by which a run may be put off"
    )
    on_failure: str | None = _setting(
        None, doc="the instance where somebody is told of a run that failed"
    )
    enabled: bool = _setting(True, doc="whether it runs; otherwise it is paused")


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything that a configuration file may say."""

    session: SessionConfig = SessionConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    http: HttpConfig = HttpConfig()
    identity: IdentityConfig = IdentityConfig()
    pairing: tuple[PairConfig, ...] = ()
    channels: tuple[ChannelConfig, ...] = ()
    missions: tuple[MissionConfig, ...] = ()
    agent: str | None = None
    """Where the agent is: `package.module:name`; None for the built-in one."""
