"""The channel instances of a runtime: those that can run side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .actors.messages import Instance
from .channels.base import Channel
from .channels.parcel import check_powers
from .config_tables import Config, ConfigError
from .kinds import make_channels

__all__ = ["instances_of"]


def instances_of(settings: Config, in_code: Sequence[Channel]) -> dict[Instance, Channel]:
    """The channels that a program has made, and those that the configuration describes.

    Raises:
        ConfigError: one cannot be made, or two cannot run side by side.
    """
    made = make_channels(settings, [channel.name for channel in in_code])
    instances: dict[Instance, Channel] = {}
    for channel in (*in_code, *made):
        if channel.name in instances:
            raise ConfigError(f"two channels are called {channel.name!r}")
        try:
            check_powers(channel)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        _check_account(channel, instances.values())
        instances[channel.name] = channel
    return instances


def _check_account(channel: Channel, others: Iterable[Channel]) -> None:
    """Refuse a second channel of one account: the platform would tell each only half of all."""
    if channel.account is None:
        return
    for other in others:
        if (other.platform, other.account) == (channel.platform, channel.account):
            raise ConfigError(
                f"channels {other.name!r} and {channel.name!r} have the same account on "
                f"{channel.platform}: give each a token of its own, or remove one"
            )
