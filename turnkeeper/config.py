"""Configuration: one TOML file, checked key by key.

Secrets are named, not written: `token = "${TELEGRAM_TOKEN}"` takes the environment variable. A key
that is not known, or has a value of the wrong kind, is an error that names it.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import Field, fields
from math import isnan
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from .config_context import check_counter, context_limits
from .config_ids import read_ids, read_pairing
from .config_reset import reset_policy
from .config_tables import (
    ChannelConfig,
    Config,
    ConfigError,
    HttpConfig,
    IdentityConfig,
    MissionConfig,
    PairConfig,
    RuntimeConfig,
    SessionConfig,
)

__all__ = [
    "ChannelConfig",
    "Config",
    "ConfigError",
    "HttpConfig",
    "IdentityConfig",
    "MissionConfig",
    "PairConfig",
    "RuntimeConfig",
    "SessionConfig",
    "load_config",
]

_SECTIONS: Final = (
    *("session", "runtime", "http", "identity", "pairing", "channels", "missions", "agent"),
)
_KINDS: Final[dict[str, tuple[type, ...]]] = {
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "bool": (bool,),
}
_IDS: Final = "tuple[str, ...]"
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
    session = _section(SessionConfig, resolved, "session", where)
    reset_policy(session, where)  # so that what is wrong is named now
    context_limits(session, where)
    check_counter(session, where)
    return Config(
        session=session,
        runtime=_section(RuntimeConfig, resolved, "runtime", where),
        http=_http(_section(HttpConfig, resolved, "http", where), where),
        identity=_section(IdentityConfig, resolved, "identity", where),
        pairing=read_pairing(_table(resolved, "pairing", where), f"{where}: [pairing]"),
        channels=_channels(resolved.get("channels", {}), where),
        missions=_missions(resolved.get("missions", {}), where),
        agent=agent,
    )


def _http(http: HttpConfig, where: str) -> HttpConfig:
    """`[http]`, if whoever is told `public_url` can use it."""
    if http.public_url and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", http.public_url):
        raise ConfigError(
            f"{where}: [http] public_url must be like 'https://bot.example.org', "
            f"not {http.public_url!r}"
        )
    return http


# -- secrets -------------------------------------------------------------------------------------


def _resolve(value: Any, where: str, environ: Mapping[str, str]) -> Any:
    """`value` with every `${NAME}` taken from the environment, in keys too: a token may be one."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: _variable(found[1], where, environ), value)
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value).items()
        resolved = {
            _resolve(key, where, environ): _resolve(item, f"{where}: {key}", environ)
            for key, item in items
        }
        if len(resolved) < len(items):
            raise ConfigError(f"{where}: two keys are the same once their variables are filled in")
        return resolved
    if isinstance(value, list):
        return [_resolve(item, where, environ) for item in cast("list[Any]", value)]  # type: ignore[redundant-cast]
    return value


def _variable(name: str, where: str, environ: Mapping[str, str]) -> str:
    found = environ.get(name)
    if not found:
        state = "is not set" if found is None else "is empty"
        raise ConfigError(f"{where}: the environment variable {name} {state}")
    return found


# -- keys and values -----------------------------------------------------------------------------


def _known(table: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for key in table:
        if key not in known:
            hint = _hint(key, known) or f"; known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}{hint}")


def _hint(given: object, known: Collection[str]) -> str:
    close = difflib.get_close_matches(str(given), known, 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _table(table: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    values = table.get(name, {})
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where}: {name} must be a table ([{name}]), not {values!r}")
    return cast("Mapping[str, Any]", values)


def _section(cls: type[S], table: Mapping[str, Any], name: str, where: str) -> S:
    section = _table(table, name, where)
    settings = {setting.name: setting for setting in fields(cls)}  # type: ignore[arg-type]
    place = f"{where}: [{name}]"
    _known(section, settings, place)
    return cls(**{key: _value(f"{place} {key}", section[key], settings[key]) for key in section})


def _value(where: str, value: Any, setting: Field[Any]) -> Any:
    """What a table holds for `setting`, as the dataclass has it."""
    choices: tuple[str, ...] = setting.metadata["choices"]
    if choices:
        if value not in choices:
            wanted = ", ".join(map(repr, choices))
            raise ConfigError(
                f"{where} must be one of {wanted}, not {value!r}{_hint(value, choices)}"
            )
        return value
    kind = str(setting.type).removesuffix(" | None")
    if kind == _IDS:
        return read_ids(where, value)
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "bool"):
        raise ConfigError(f"{where} must be of type {kind}, not {value!r}")
    if isinstance(value, float) and isnan(value):
        raise ConfigError(f"{where} must be a number, not {value}")
    low, high = setting.metadata["low"], setting.metadata["high"]
    if low is not None and value < low:
        raise ConfigError(f"{where} must be at least {low}, not {value}")
    if high is not None and value > high:
        raise ConfigError(f"{where} must be at most {high}, not {value}")
    return value


# -- channels ------------------------------------------------------------------------------------


_COMMON: Final = {
    setting.name: setting
    for setting in fields(ChannelConfig)
    if setting.name not in ("name", "options")
}
"""The keys that every instance may have, whatever its kind."""


def _channels(table: Any, where: str) -> tuple[ChannelConfig, ...]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: channels must be tables ([channels.NAME]), not {table!r}")
    return tuple(
        _channel(name, values, f"{where}: [channels.{name}]")
        for name, values in cast("Mapping[str, Any]", table).items()
    )


def _channel(name: str, values: Any, place: str) -> ChannelConfig:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{place}: the name must be 1 to 64 letters, digits, '_', '.' or '-'")
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place} must be a table, not {values!r}")
    options = dict(cast("Mapping[str, Any]", values))
    common = {
        key: _value(f"{place} {key}", options.pop(key), setting)
        for key, setting in _COMMON.items()
        if key in options
    }
    channel = ChannelConfig(name=name, **common, options=options)
    if options and channel.kind is None:
        unknown = ", ".join(map(repr, options))
        hint = (
            _hint(next(iter(options)), _COMMON) or '; its kind comes first, e.g. kind = "websocket"'
        )
        raise ConfigError(f"{place}: unknown without a kind: {unknown}{hint}")
    if channel.access == "open" and channel.allowed_users is not None:
        raise ConfigError(
            f'{place}: access = "open" lets everybody in, whatever allowed_users says; '
            "leave one of them out"
        )
    return channel


# -- missions ------------------------------------------------------------------------------------


_OF_MISSION: Final = {
    setting.name: setting for setting in fields(MissionConfig) if setting.name != "name"
}


def _missions(table: Any, where: str) -> tuple[MissionConfig, ...]:
    if not isinstance(table, Mapping):
        raise ConfigError(f"{where}: missions must be tables ([missions.NAME]), not {table!r}")
    return tuple(
        _mission(name, values, f"{where}: [missions.{name}]")
        for name, values in cast("Mapping[str, Any]", table).items()
    )


def _mission(name: str, values: Any, place: str) -> MissionConfig:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place} must be a table, not {values!r}")
    keys = cast("Mapping[str, Any]", values)
    _known(keys, _OF_MISSION, place)
    for key in ("schedule", "prompt"):
        if key not in keys:
            raise ConfigError(f"{place}: {key} is missing")
    given = {key: _value(f"{place} {key}", keys[key], _OF_MISSION[key]) for key in keys}
    return MissionConfig(name=name, **given)
