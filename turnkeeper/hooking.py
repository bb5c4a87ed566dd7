"""One HTTP server for every channel that its platform calls: each has the path of its name."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

import trio

from .channels.base import Channel
from .config_tables import ConfigError, HttpConfig

__all__ = ["HOOKS", "serve_hooks"]

logger = logging.getLogger("turnkeeper")

HOOKS: Final = "/hooks/"
"""Before the name of an instance."""
_GRACE_S: Final = 1.0
"""Seconds for requests that are under way when the server stops. Turns are refused since before the
agents were waited for; so this is for answers to leave, and for whoever sends half a request."""


async def serve_hooks(
    channels: Iterable[Channel], settings: HttpConfig, nursery: trio.Nursery
) -> None:
    """Listen for the platforms that call, and tell each channel where; nothing if none does.

    Raises:
        ConfigError: the address cannot be listened on.
    """
    hooks = {channel: hook for channel in channels if (hook := channel.hook) is not None}
    if not hooks:
        return
    from .channels.hook_server import (
        HookLimits,
        HookServer,
    )  # Starlette and Hypercorn: only for those who ask

    try:
        server = HookServer(listen=settings.listen, limits=HookLimits(grace_s=_GRACE_S))
        for channel, hook in hooks.items():
            server.mount(HOOKS + channel.name, hook)
        url = await nursery.start(server.serve)
    except (OSError, ValueError) as error:
        raise ConfigError(f"[http] listen = {settings.listen!r}: {error}") from error
    for channel in hooks:
        channel.hook_url = (settings.public_url.rstrip("/") or url) + HOOKS + channel.name
        logger.info("channel %s is called at %s", channel.name, channel.hook_url)
