"""The ids of humans and places in a configuration: taken exactly as they are, or refused.

An id that only looks right would let somebody in, or fail to keep somebody out, and nobody would
see why: a number, a padded or an empty string, one with characters that cannot be seen.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final, cast

from .actors.core.intake import MAX_ID_CHARS
from .actors.core.routing import check_session_name
from .canonical import canonical_user_id
from .config_tables import ConfigError, PairConfig

__all__ = ["read_ids", "read_pairing"]

_PLATFORM: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_UNSEEN: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What is printable, as Python sees it, and shows nothing: fillers and variation selectors."""


def read_ids(where: str, value: Any) -> tuple[str, ...]:
    """The list of ids which a table holds at `where`.

    Raises:
        ConfigError: it is no list of ids, or one of them is there twice.
    """
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be a list of strings, not {value!r}")
    found: dict[str, None] = {}
    for item in cast("list[Any]", value):  # type: ignore[redundant-cast]
        if isinstance(item, int) and not isinstance(item, bool):
            raise ConfigError(
                f'{where}: {item} must be quoted, "{item}": an id is text, and a number loses zeros'
            )
        if not isinstance(item, str):
            raise ConfigError(f"{where} must be a list of strings, and {item!r} is none")
        _check_id(where, item)
        if item in found:
            raise ConfigError(f"{where}: {item!r} is there twice")
        found[item] = None
    return tuple(found)


def read_pairing(table: Mapping[str, Any], place: str) -> tuple[PairConfig, ...]:
    """The pairs of a table `"USER_ID@PLATFORM" = "session"`, with canonical ids.

    An id may hold `@` itself: the platform is what follows the last one.

    Raises:
        ConfigError: a key is no identity, is the same one as another, or a value names no session.
    """
    pairs: dict[tuple[str, str], PairConfig] = {}
    written: dict[tuple[str, str], str] = {}
    for key, session in table.items():
        where = f"{place} {key!a}"
        user_id, _, platform = key.rpartition("@")
        if not user_id or not _PLATFORM.fullmatch(platform):
            raise ConfigError(f'{where} must be an identity, "USER_ID@PLATFORM"')
        _check_id(where, user_id)
        if not isinstance(session, str):
            raise ConfigError(f"{where} must name a session, not {session!r}")
        try:
            check_session_name(session)
            user_id = canonical_user_id(platform, user_id)
        except ValueError as error:
            raise ConfigError(f"{where}: {error}") from error
        identity = (platform, user_id)
        if identity in pairs:
            raise ConfigError(f"{where} is the same identity as {written[identity]!a}")
        written[identity] = key
        pairs[identity] = PairConfig(platform=platform, user_id=user_id, session=session)
    return tuple(pairs.values())


def _check_id(where: str, value: str) -> None:
    if not value:
        raise ConfigError(f"{where}: '' is no id")
    if len(value) > MAX_ID_CHARS:
        raise ConfigError(f"{where}: {value!a:.80} is longer than {MAX_ID_CHARS} characters")
    if value.strip() != value:
        raise ConfigError(f"{where}: {value!a} has white space around it")
    for char in value:
        if not char.isprintable() or _UNSEEN.match(char):
            name = unicodedata.name(char, "which has no name")
            raise ConfigError(
                f"{where}: {value!a} holds what cannot be seen: U+{ord(char):04X}, {name}"
            )
