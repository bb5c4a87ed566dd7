"""One spelling for each user: what a platform takes for one id, however people write it.

That is the knowledge of the platform's channel, whose class states it as `canonical_user_id`. Of a
built-in one it is in a module of its own, `channels.<platform>_identity`, so that nobody has to
import the channel for it. Of one that a package brings it is found where the kind has the name of
its platform; and a runtime asks the channels that it runs before all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from typing import Final, TypeAlias, cast

from .actors.core.intake import MAX_ID_CHARS
from .channels.base import Channel
from .config_tables import ConfigError
from .installed import installed_kinds, load_installed
from .kinds import KINDS

__all__ = ["Canonical", "canonical_among", "canonical_user_id"]

Canonical: TypeAlias = Callable[[str, str], str]
"""The canonical form of a user id, given the platform. Raises ValueError for what is none."""
_Stated: TypeAlias = Callable[[str], str]

_DEFAULT: Final[_Stated] = Channel.canonical_user_id


def canonical_user_id(platform: str, user_id: str) -> str:
    """The one spelling of a user id, on platforms that have several; elsewhere `user_id` itself.

    Raises:
        ValueError: it is no user id of the platform, or the package that would know is broken.
    """
    try:
        stated = _stated_for(platform)
    except ConfigError as error:  # as it is, it might let in somebody else
        raise ValueError(f"nobody can tell which user it is: {error}") from error
    return user_id if stated is None else _asked(stated, platform, user_id)


def canonical_among(channels: Iterable[Channel]) -> Canonical:
    """What these channels say of their platforms, and `canonical_user_id` of all others.

    Raises:
        ConfigError: two of them are of one platform, and do not say the same.
    """
    stated: dict[str, _Stated] = {}
    for channel in channels:
        own = type(channel).canonical_user_id
        if own is not _DEFAULT and stated.setdefault(channel.platform, own) is not own:
            raise ConfigError(
                f"channel {channel.name!r} and another one of {channel.platform} do not take the "
                "same ids for one user: their canonical_user_id must be the same"
            )

    def canonical(platform: str, user_id: str) -> str:
        own = stated.get(platform)
        if own is None:
            return canonical_user_id(platform, user_id)
        return _asked(own, platform, user_id)

    return canonical


@lru_cache(maxsize=64)
def _stated_for(platform: str) -> _Stated | None:
    """What the class of a platform's channel says; None if there is none, or it says nothing."""
    if platform in KINDS:
        name = f"{__package__}.channels.{platform}_identity"
        if find_spec(name) is None:
            return None
        return cast("_Stated", import_module(name).canonical_user_id)
    entries = installed_kinds().get(platform)
    if entries is None:
        return None
    kind = load_installed(platform, entries)
    if kind.platform != platform or kind.canonical_user_id is _DEFAULT:
        return None
    return kind.canonical_user_id


def _asked(stated: _Stated, platform: str, user_id: str) -> str:
    """What a channel's class makes of an id.

    Raises:
        ValueError: it says that it is none, or breaks, or what it makes of it is no id.
    """
    try:
        canonical: object = stated(user_id)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"canonical_user_id of {platform} broke: {type(error).__name__}: {error}"
        ) from error
    if type(canonical) is not str or not 0 < len(canonical) <= MAX_ID_CHARS:
        raise ValueError(f"canonical_user_id of {platform} made no id of it")
    return canonical
