"""The kinds of channel that a configuration can name, and how each is made.

They are built in, or other packages bring them; see :mod:`.installed`. A built-in one cannot be
replaced.

A channel's keyword arguments are its keys. What a configuration file can hold is checked against
their annotations; an argument of any other type (a file, a clock) is no key.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from importlib import import_module
from types import NoneType, UnionType
from typing import Any, Final, Union, cast, get_args, get_origin, get_type_hints

from .channels.base import Channel
from .config_tables import ChannelConfig, Config, ConfigError
from .installed import installed_kinds, load_installed

__all__ = [
    "KINDS",
    "keys_of_kind",
    "load_kind",
    "make_channel",
    "make_channels",
    "needed_keys",
    "platform_of_kind",
]

KINDS: Final = {
    "console": ".channels.console:ConsoleChannel",
    "discord": ".channels.discord:DiscordChannel",
    "matrix": ".channels.matrix:MatrixChannel",
    "slack": ".channels.slack:SlackChannel",
    "telegram": ".channels.telegram:TelegramChannel",
    "webhook": ".channels.webhook:WebhookChannel",
    "websocket": ".channels.websocket:WebSocketChannel",
    "whatsapp": ".channels.whatsapp:WhatsAppChannel",
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
_SECRET_KEY: Final = re.compile(
    r"(?:.*_)?(?:token|secret|password|passphrase|credential|key)s?", re.IGNORECASE
)
"""Names of keys whose values no error shows."""
_SHORT_SECRET: Final = 4
"""Characters from which a secret is hidden inside of longer words as well."""


def make_channel(config: ChannelConfig) -> Channel:
    """The channel that `config` describes.

    Raises:
        ConfigError: there is no such kind, it has no such key, or the value does not fit.
    """
    place = f"[channels.{config.name}]"
    if config.kind is None:
        raise ConfigError(f'{place}: kind is missing; e.g. kind = "websocket"')
    try:
        kind = load_kind(config.kind)
        keys = _keys(kind)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from error
    for key, value in config.options.items():
        if key not in keys:
            raise ConfigError(f"{place}: unknown key {key!r}{_hint(key, keys)}")
        if not any(_fits(value, shape) for shape in keys[key]):
            wanted = " or ".join(_SHAPES[shape][0] for shape in keys[key])
            shown = _kind_of_value(value) if _SECRET_KEY.fullmatch(key) else repr(value)
            raise ConfigError(f"{place} {key} must be {wanted}, not {shown}")
    if missing := [key for key in needed_keys(kind) if key not in config.options]:
        verb = "is" if len(missing) == 1 else "are"
        raise ConfigError(f"{place}: {' and '.join(missing)} {verb} missing")
    try:
        return kind(config.name, **config.options)
    except (TypeError, ValueError) as error:
        text = str(error)
        hidden = _without_secrets(text, config.options)
        # What it comes from is printed with it, where somebody prints a traceback.
        raise ConfigError(f"{place}: {hidden}") from (error if hidden == text else None)


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
    """The platform of a kind's channels; None if there is no such kind.

    Raises:
        ConfigError: a package brings it, and what it brings is no channel.
    """
    if kind not in KINDS and kind not in installed_kinds():
        return None
    return load_kind(kind).platform


def load_kind(kind: str) -> type[Channel]:
    """The class of a kind.

    Raises:
        ConfigError: there is no such kind, or what a package brings under its name is no channel.
    """
    if kind in KINDS:
        module, _, name = KINDS[kind].partition(":")
        return cast("type[Channel]", getattr(import_module(module, __package__), name))
    installed = installed_kinds()
    if kind not in installed:
        raise ConfigError(f"there is no kind {kind!r}{_hint(kind, {*KINDS, *installed})}")
    return load_installed(kind, installed[kind])


def keys_of_kind(kind: type[Channel]) -> dict[str, str]:
    """The keys that a channel's section may have, and what each holds, in words.

    Raises:
        ConfigError: the annotations of its `__init__` cannot be read.
    """
    return {
        key: " or ".join(_SHAPES[shape][0] for shape in shapes)
        for key, shapes in _keys(kind).items()
    }


def needed_keys(kind: type[Channel]) -> list[str]:
    """The keys of `kind` without which it cannot be made."""
    init = cast("Callable[..., None]", kind.__init__)
    return [
        name
        for name, parameter in inspect.signature(init).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    ]


def _keys(kind: type[Channel]) -> dict[str, list[object]]:
    """The keys of `kind`, with the shapes that each may have."""
    init = cast("Callable[..., None]", kind.__init__)
    try:
        hints = get_type_hints(init)
    except Exception as error:  # what stands there is evaluated
        raise ConfigError(
            f"the annotations of {kind.__module__}.{kind.__name__}.__init__ cannot be read: {error}"
        ) from error
    keys: dict[str, list[object]] = {}
    for name, parameter in inspect.signature(init).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY:
            hint: Any = hints.get(name)
            options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
            shapes = [get_origin(option) or option for option in options if option is not NoneType]
            if fitting := [shape for shape in shapes if shape in _SHAPES]:
                keys[name] = fitting
    return keys


def _kind_of_value(value: object) -> str:
    """What a value is, without what it says."""
    for words, types in _SHAPES.values():
        if type(value) in types:
            return words
    return f"a {type(value).__name__}"


def _without_secrets(text: str, options: Mapping[str, Any]) -> str:
    """An error's text, without the values of the keys that hold secrets.

    A value that is a part of longer words is left there: it is so short that hiding it would
    show which letters it has, and spoil the text.
    """
    for key, value in options.items():
        if _SECRET_KEY.fullmatch(key):
            for secret in sorted(_texts_in(value), key=len, reverse=True):
                if len(secret) < _SHORT_SECRET:
                    text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
                else:
                    text = text.replace(secret, "***")
    return text


def _texts_in(value: object) -> set[str]:
    """Every text in a value, however deep; secrets may be the names in a table, too."""
    if isinstance(value, str):
        return {value} - {""}
    inner: Collection[object] = ()
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        inner = [*table, *table.values()]
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    return {text for one in inner for text in _texts_in(one)}


def _fits(value: object, shape: object) -> bool:
    return isinstance(value, _SHAPES[shape][1]) and (shape is bool) == isinstance(value, bool)


def _hint(key: str, known: Collection[str]) -> str:
    close = difflib.get_close_matches(key, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there is: {', '.join(sorted(known))}"
