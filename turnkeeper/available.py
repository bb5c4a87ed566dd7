"""Which kinds of channel there are to be configured, and what each can do."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Final

from . import __version__
from .channels.base import Channel, ChannelPowers
from .config_tables import ConfigError
from .installed import installed_kinds, load_installed, origin
from .kinds import KINDS, keys_of_kind, load_kind, needed_keys

__all__ = ["AvailableKind", "available_kinds", "powers_in_words"]

_UNITS: Final = {"characters": "characters", "utf16": "UTF-16 units", "bytes": "bytes"}
_AFTER_UNKNOWN: Final = {
    "same_id": "sends again what may have arrived, by the same id",
    "labelled": "sends again what may have arrived, marked",
    "reconcile": "asks what has arrived",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AvailableKind:
    """One kind, by which a configuration names it."""

    kind: str
    platform: str | None
    """None where it cannot be used."""
    source: str
    """`built in`, or the package with its version."""
    powers: tuple[str, ...]
    """What it can do, in words; some of it may depend on its configuration."""
    keys: dict[str, str]
    """The keys of its section, and what each holds."""
    needed: tuple[str, ...]
    """Those of them without which it does not start."""
    problem: str | None
    """Why it cannot be used."""


def available_kinds() -> list[AvailableKind]:
    """Every kind: the built-in ones first, and then those of other packages."""
    found = [
        _described(kind, load_kind(kind), f"built in (turnkeeper {__version__})")
        for kind in sorted(KINDS)
    ]
    for kind, entries in installed_kinds().items():
        source = " and ".join(map(origin, entries))
        try:
            if kind in KINDS:
                raise ConfigError("a built-in kind has this name, and is what is used")
            found.append(_described(kind, load_installed(kind, entries), source))
        except ConfigError as error:
            found.append(
                AvailableKind(
                    kind=kind,
                    platform=None,
                    source=source,
                    powers=(),
                    keys={},
                    needed=(),
                    problem=str(error),
                )
            )
    return found


def powers_in_words(powers: ChannelPowers) -> tuple[str, ...]:
    """What a channel can do beyond hearing and speaking."""
    words: list[str] = []
    if powers.text_limit is not None:
        words.append(f"texts of {powers.text_limit:,} {_UNITS[powers.text_unit]}")
    if powers.files:
        limit = powers.file_limit_bytes
        words.append("files" if limit is None else f"files of {_size(limit)}")
    if powers.typing_every_s is not None:
        words.append("shows typing")
    if powers.draft_every_s is not None:
        words.append("shows replies while they are made")
    if powers.late_receipts:
        words.append("tells later what was read")
    if powers.after_unknown in _AFTER_UNKNOWN:
        words.append(_AFTER_UNKNOWN[powers.after_unknown])
    return tuple(words)


def _size(limit_bytes: int) -> str:
    """A limit of files as its platform says it: in units of 1,000, or of 1,024."""
    if limit_bytes % 2**20 == 0:
        return f"{limit_bytes // 2**20:,} MiB"
    return f"{limit_bytes / 1e6:g} MB"


def _described(name: str, kind: type[Channel], source: str) -> AvailableKind:
    powers: object = inspect.getattr_static(kind, "powers")  # perhaps a property
    return AvailableKind(
        kind=name,
        platform=kind.platform,
        source=source,
        powers=powers_in_words(powers) if isinstance(powers, ChannelPowers) else (),
        keys=keys_of_kind(kind),
        needed=tuple(needed_keys(kind)),
        problem=None,
    )
