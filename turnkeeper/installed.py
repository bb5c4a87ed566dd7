"""Kinds of channel that other packages bring, as entry points in the group `turnkeeper.channels`.

The name of an entry point is the kind, its value is `module:Class`. Nothing is imported before its
kind is used, so that a broken package breaks only those who configure it.
"""

from __future__ import annotations

import inspect
import logging
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from .channels.base import Channel
from .config_tables import ConfigError

__all__ = ["GROUP", "installed_kinds", "load_installed", "origin"]

logger = logging.getLogger("turnkeeper")

GROUP: Final = "turnkeeper.channels"
"""The group of entry points."""


def installed_kinds() -> dict[str, tuple[EntryPoint, ...]]:
    """Kind -> who brings it: more than one if packages do not agree."""
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for entry in entry_points(group=GROUP):
        # A folder that is on the path twice shows its packages twice.
        found.setdefault(entry.name, {})[(origin(entry), entry.value)] = entry
    return {kind: tuple(entries.values()) for kind, entries in sorted(found.items())}


def origin(entry: EntryPoint) -> str:
    """The package of an entry point, with its version."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "a package"


def load_installed(kind: str, entries: tuple[EntryPoint, ...]) -> type[Channel]:
    """The class of a kind that packages bring.

    Raises:
        ConfigError: several packages bring it, or what one brings is no channel; the text names
            the package and the entry point.
    """
    entry, *others = entries
    if others:
        packages = " and ".join(sorted(map(origin, entries)))
        raise ConfigError(f"kind {kind!r} comes from {packages}; uninstall all but one")
    where = f"kind {kind!r} of {origin(entry)} (entry point {entry.name} = {entry.value})"
    try:
        found: object = entry.load()
    except Exception as error:  # whatever the package's own code raises
        logger.info("%s could not be imported", where, exc_info=error)
        raise ConfigError(
            f"{where} cannot be used: {type(error).__name__}: {error} (-v shows where)"
        ) from error
    if not (isinstance(found, type) and issubclass(found, Channel)):
        raise ConfigError(f"{where} cannot be used: it is no subclass of turnkeeper.Channel")
    if inspect.isabstract(found) or not found.platform:
        raise ConfigError(f"{where} cannot be used: it has no `run`, no `send` or no `platform`")
    return found
