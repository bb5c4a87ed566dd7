"""The kinds of channel that a configuration can name, and how each is made.

A channel's keyword arguments are its keys. What a configuration file can hold is checked against
their annotations; an argument of any other type (a file, a clock) is no key.

What a platform takes for one user id under several spellings is its own knowledge too: the module
`channels.<platform>_identity`, where there is one, has a `canonical_user_id(text)`.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from types import NoneType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints

from .channels.base import Channel
from .config_tables import ChannelConfig, Config, ConfigError

__all__ = ["KINDS", "canonical_user_id", "make_channel", "make_channels", "platform_of_kind"]

KINDS: Final = {
    "console": ".channels.console:ConsoleChannel",
    "websocket": ".channels.websocket:WebSocketChannel",
}
"""Kind -> where its class is; imported when it is first named, so that nobody pays for the rest."""

_SHAPES: Final[dict[object, tuple[str, tuple[type, ...]]]] = {
    str: ("a string", (str,)),
    bool: ("true or false", (bool,)),
    int: ("a whole number", (int,)),
    float: ("a number", (int, float)),
    Mapping: ("a table", (dict,)),
    Collection: ("a list", (list,)),
}
"""Annotation -> what a file holds for it, in words and as Python has it."""
_MODULE_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


def make_channel(config: ChannelConfig) -> Channel:
    """The channel that `config` describes.

    Raises:
        ConfigError: there is no such kind, it has no such key, or the value does not fit.
    """
    place = f"[channels.{config.name}]"
    if config.kind is None:
        raise ConfigError(f'{place}: kind is missing; e.g. kind = "websocket"')
    if config.kind not in KINDS:
        raise ConfigError(f"{place}: there is no kind {config.kind!r}{_hint(config.kind, KINDS)}")
    kind = _load(config.kind)
    keys = _keys(kind)
    for key, value in config.options.items():
        if key not in keys:
            raise ConfigError(f"{place}: unknown key {key!r}{_hint(key, keys)}")
        if not any(_fits(value, shape) for shape in keys[key]):
            wanted = " or ".join(_SHAPES[shape][0] for shape in keys[key])
            raise ConfigError(f"{place} {key} must be {wanted}, not {value!r}")
    try:
        return kind(config.name, **config.options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from error


def make_channels(config: Config, known: Collection[str] = ()) -> list[Channel]:
    """Every channel that the configuration describes.

    Args:
        config: the configuration.
        known: names of the channels that there are without it: their sections need no kind.

    Raises:
        ConfigError: one of them cannot be made; see `make_channel`.
    """
    return [
        make_channel(channel)
        for channel in config.channels
        if channel.kind is not None or channel.name not in known
    ]


def platform_of_kind(kind: str) -> str | None:
    """The platform of a kind's channels; None if there is no such kind."""
    return _load(kind).platform if kind in KINDS else None


def canonical_user_id(platform: str, user_id: str) -> str:
    """The one spelling of a user id, on platforms that have several; elsewhere `user_id` itself.

    Raises:
        ValueError: it is no user id of the platform.
    """
    canonical = _canonical_of(platform)
    return user_id if canonical is None else canonical(user_id)


@lru_cache(maxsize=64)
def _canonical_of(platform: str) -> Callable[[str], str] | None:
    if not _MODULE_NAME.fullmatch(platform):
        return None
    name = f"{__package__}.channels.{platform}_identity"
    if find_spec(name) is None:
        return None
    return cast("Callable[[str], str]", import_module(name).canonical_user_id)


def _load(kind: str) -> type[Channel]:
    module, _, name = KINDS[kind].partition(":")
    return cast("type[Channel]", getattr(import_module(module, __package__), name))


def _keys(kind: type[Channel]) -> dict[str, list[object]]:
    """The keys of `kind`, with the shapes that each may have."""
    init = cast("Callable[..., None]", kind.__init__)
    hints = get_type_hints(init)
    keys: dict[str, list[object]] = {}
    for name, parameter in inspect.signature(init).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            hint: Any = hints[name]
            options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
            shapes = [get_origin(option) or option for option in options if option is not NoneType]
            if fitting := [shape for shape in shapes if shape in _SHAPES]:
                keys[name] = fitting
    return keys


def _fits(value: object, shape: object) -> bool:
    return isinstance(value, _SHAPES[shape][1]) and (shape is bool) == isinstance(value, bool)


def _hint(key: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there is: {', '.join(sorted(known))}"
