"""Configuration: one TOML file, checked key by key.

Secrets are named, not written: `token = "${TELEGRAM_TOKEN}"` takes the environment variable. A key
that is not known, or has a value of the wrong kind, is an error that names it.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final, TypeVar, cast

__all__ = [
    "ChannelConfig",
    "Config",
    "ConfigError",
    "RuntimeConfig",
    "SessionConfig",
    "load_config",
]


class ConfigError(ValueError):
    """The configuration is wrong; the text names the file, the key and what would be right."""


def _setting(
    default: Any, *, low: float | None = None, high: float | None = None, doc: str = ""
) -> Any:
    return field(default=default, metadata={"low": low, "high": high, "doc": doc})


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionConfig:
    """`[session]`: what holds for every session."""

    max_context_tokens: int = _setting(180_000, low=1_000, doc="size of the context window")
    turn_timeout_s: float = _setting(
        600.0, low=0.001, doc="seconds an agent may take for one attempt at a turn"
    )
    idle_after_s: float = _setting(
        300.0, low=0.001, doc="seconds without use after which a session leaves memory"
    )
    failure_notice: str = _setting(
        "", doc="what a human is told when a turn is given up; empty for nothing"
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


@dataclass(frozen=True, kw_only=True, slots=True)
class ChannelConfig:
    """`[channels.NAME]`: one instance. `options` are the kind's own keys."""

    name: str
    kind: str
    agent: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """Everything that a configuration file may say."""

    session: SessionConfig = SessionConfig()
    runtime: RuntimeConfig = RuntimeConfig()
    channels: tuple[ChannelConfig, ...] = ()
    agent: str | None = None
    """Where the agent is: `package.module:name`; None for the built-in one."""


_SECTIONS: Final = ("session", "runtime", "channels", "agent")
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
}
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

S = TypeVar("S")


def load_config(
    source: Config | Mapping[str, Any] | str | os.PathLike[str] | None,
    environ: Mapping[str, str] | None = None,
) -> Config:
    """The configuration in `source`: a TOML file's path, a dict of its shape, or a `Config`.

    Args:
        source: what to load; None for the defaults.
        environ: where `${NAME}` is looked up; the process's environment by default.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong.
    """
    if source is None:
        return Config()
    if isinstance(source, Config):
        return source
    if isinstance(source, Mapping):
        return _parse(source, "config", os.environ if environ is None else environ)
    path = Path(source)
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error
    return _parse(table, str(path), os.environ if environ is None else environ)


def _parse(table: Mapping[str, Any], where: str, environ: Mapping[str, str]) -> Config:
    _known(table, _SECTIONS, where)
    resolved = cast("Mapping[str, Any]", _resolve(table, where, environ))
    agent = resolved.get("agent")
    if agent is not None and not isinstance(agent, str):
        raise ConfigError(f"{where}: agent must be a string like 'module:name', not {agent!r}")
    return Config(
        session=_section(SessionConfig, resolved, "session", where),
        runtime=_section(RuntimeConfig, resolved, "runtime", where),
        channels=_channels(resolved.get("channels", {}), where),
        agent=agent,
    )


def _known(table: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in table:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}{hint}")


def _resolve(value: Any, where: str, environ: Mapping[str, str]) -> Any:
    """`value` with every `${NAME}` taken from the environment, in keys too: a token may be one."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _variable(found[1], where, environ), value)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        return {
            _resolve(key, where, environ): _resolve(item, f"{where}: {key}", environ)
            for key, item in items
        }
    if isinstance(value, list):
        return [_resolve(item, where, environ) for item in cast("list[Any]", value)]  # type: ignore[redundant-cast]
    return value


def _variable(name: str, where: str, environ: Mapping[str, str]) -> str:
    found = environ.get(name)
    if not found:
        raise ConfigError(f"{where}: the environment variable {name} is not set")
    return found


def _section(cls: type[S], table: Mapping[str, Any], name: str, where: str) -> S:
    values = table.get(name, {})
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {name} must be a table ([{name}]), not {values!r}")
    section = cast("Mapping[str, Any]", values)
    settings = {setting.name: setting for setting in fields(cls)}  # type: ignore[arg-type]
    _known(section, tuple(settings), f"{where}: [{name}]")
    for key, value in section.items():
        _check(f"{where}: [{name}] {key}", value, settings[key])
    return cls(**section)


def _check(where: str, value: Any, setting: Any) -> None:
    kind = str(setting.type)
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ConfigError(f"{where} must be of type {kind}, not {value!r}")
    low, high = setting.metadata["low"], setting.metadata["high"]
    if low is not None and value < low:
        raise ConfigError(f"{where} must be at least {low}, not {value}")
    if high is not None and value > high:
        raise ConfigError(f"{where} must be at most {high}, not {value}")


def _channels(table: Any, where: str) -> tuple[ChannelConfig, ...]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: channels must be tables ([channels.NAME]), not {table!r}")
    found: list[ChannelConfig] = []
    for name, values in cast("Mapping[str, Any]", table).items():
        place = f"{where}: [channels.{name}]"
        if not _NAME.fullmatch(name):
            raise ConfigError(f"{place}: the name must be 1 to 64 letters, digits, '_', '.' or '-'")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{place} must be a table, not {values!r}")
        options = dict(cast("Mapping[str, Any]", values))
        kind, agent = options.pop("kind", None), options.pop("agent", None)
        if not isinstance(kind, str) or not kind:
            raise ConfigError(f'{place}: kind is missing; e.g. kind = "websocket"')
        if agent is not None and not isinstance(agent, str):
            raise ConfigError(f"{place}: agent must be a string, not {agent!r}")
        found.append(ChannelConfig(name=name, kind=kind, agent=agent, options=options))
    return tuple(found)
