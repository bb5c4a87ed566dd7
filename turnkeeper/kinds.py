"""The kinds of channel that a configuration can name, and how each is made."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Final, cast

from .channels.base import Channel
from .config import ChannelConfig, Config, ConfigError

__all__ = ["KINDS", "make_channel", "make_channels"]

KINDS: Final = {
    "console": ".channels.console:ConsoleChannel",
    "websocket": ".channels.websocket:WebSocketChannel",
}
"""Kind -> where its class is; imported when it is first named, so that nobody pays for the rest."""


def make_channel(config: ChannelConfig) -> Channel:
    """The channel that `config` describes.

    Raises:
        ConfigError: there is no such kind, or it has no such option.
    """
    place = f"[channels.{config.name}]"
    if config.kind not in KINDS:
        raise ConfigError(
            f"{place}: there is no kind {config.kind!r}; there is: {', '.join(sorted(KINDS))}"
        )
    kind = _load(config.kind)
    known = {
        name: parameter
        for name, parameter in inspect.signature(kind).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for option in config.options:
        if option not in known:
            raise ConfigError(
                f"{place}: unknown key {option!r}; {config.kind} knows: {', '.join(sorted(known))}"
            )
    try:
        return kind(config.name, **config.options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{place}: {error}") from error


def _load(kind: str) -> Callable[..., Channel]:
    module, _, name = KINDS[kind].partition(":")
    return cast("Callable[..., Channel]", getattr(import_module(module, __package__), name))


def make_channels(config: Config) -> list[Channel]:
    """Every channel that the configuration describes."""
    return [make_channel(channel) for channel in config.channels]
