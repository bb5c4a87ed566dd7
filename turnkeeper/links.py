"""Links of identities to users, in memory."""

from __future__ import annotations

import re
import threading
from typing import ClassVar, Final, TypeAlias

from .actors.core.intake import MAX_ID_CHARS
from .actors.core.routing import default_user
from .actors.frozen import message

__all__ = [
    "IdentityLink",
    "InMemoryIdentityResolver",
    "Links",
    "change_links",
    "check_ids",
    "check_link",
    "find_user",
    "list_links",
]

Links: TypeAlias = dict[tuple[str, str], str]
"""User by platform and user id. Not changed any more once others can see it."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


@message
class IdentityLink:
    """An identity and the user that it is."""

    platform: str
    user_id: str
    user: str


def check_ids(**fields: str) -> None:
    """Refuse what is no id.

    Raises:
        ValueError: a field is empty or too long; the text names it.
    """
    for name, value in fields.items():
        if not isinstance(value, str) or not 0 < len(value) <= MAX_ID_CHARS:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValueError(f"{name} must be a str of 1 to {MAX_ID_CHARS} characters")


def check_link(**fields: str) -> None:
    """Refuse what cannot be linked.

    Raises:
        ValueError: a field is empty, too long or holds surrogates; the text names it.
    """
    check_ids(**fields)
    for name, value in fields.items():
        if _SURROGATE.search(value):
            raise ValueError(f"{name} holds half a character, which no file keeps: {value!r:.80}")


def find_user(links: Links, platform: str, user_id: str) -> str:
    """The user of an identity.

    Raises:
        ValueError: an argument is empty or too long; the text names it.
    """
    check_ids(platform=platform, user_id=user_id)
    return links.get((platform, user_id)) or default_user(platform, user_id)


def list_links(links: Links, user: str | None) -> tuple[IdentityLink, ...]:
    """Every link, or those of one user."""
    return tuple(
        IdentityLink(platform=platform, user_id=user_id, user=linked)
        for (platform, user_id), linked in links.items()
        if user is None or linked == user
    )


def change_links(links: Links, identity: tuple[str, str], user: str | None) -> Links:
    """The links with `identity` linked to `user`, or to nobody."""
    changed = dict(links)
    if user is None:
        changed.pop(identity, None)
    else:
        changed[identity] = user
    return changed


class InMemoryIdentityResolver:
    """Links that last as long as the process: for tests, and for programs that know better.

    May be used from any thread.
    """

    in_memory: ClassVar[bool] = True
    """`resolve` never waits for anything."""

    def __init__(self) -> None:
        self._links: Links = {}
        self._changing = threading.Lock()

    def __repr__(self) -> str:
        return f"<InMemoryIdentityResolver links={len(self._links)}>"

    def resolve(self, platform: str, user_id: str) -> str:
        """The user of an identity.

        Raises:
            ValueError: an argument is empty or too long; the text names it.
        """
        return find_user(self._links, platform, user_id)

    def link(self, platform: str, user_id: str, user: str) -> None:
        """Make the identity this user.

        Raises:
            ValueError: an argument is empty, too long or holds surrogates; the text names it.
        """
        check_link(platform=platform, user_id=user_id, user=user)
        with self._changing:
            self._links[platform, user_id] = user

    def unlink(self, platform: str, user_id: str) -> None:
        """Make the identity nobody but itself.

        Raises:
            ValueError: an argument is empty or too long; the text names it.
        """
        check_ids(platform=platform, user_id=user_id)
        with self._changing:
            self._links.pop((platform, user_id), None)

    def links(self, user: str | None = None) -> tuple[IdentityLink, ...]:
        """Every link, or those of one user."""
        with self._changing:
            return list_links(self._links, user)
