"""What can be found out about a token without changing anything. Pure.

Source: https://docs.slack.dev/reference/methods/auth.test, https://docs.slack.dev/reference/scopes;
every answer lists the scopes of the token in `x-oauth-scopes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .base import Check

__all__ = ["checks_of_scopes", "may_hear_channels"]

_HEARING: Final = (
    ("app_mentions:read", "mentions in channels"),
    ("im:history", "direct messages"),
    ("mpim:history", "group direct messages"),
    ("channels:history", "public channels"),
    ("groups:history", "private channels"),
)
_IN_CHANNELS: Final = ("channels:history", "groups:history", "mpim:history")


def checks_of_scopes(headers: Mapping[str, str]) -> tuple[Check, ...]:
    """What the scopes of a token allow; nothing if the answer does not list them."""
    scopes = _scopes_in(headers)
    if scopes is None:
        return ()
    heard = [words for scope, words in _HEARING if scope in scopes]
    missing = [scope for scope, _ in _HEARING if scope not in scopes]
    not_heard = f"; not heard without: {', '.join(missing)}" if missing else ""
    return (
        _check("may write", scopes, "chat:write"),
        Check(
            what="may hear",
            ok=bool(heard),
            detail=f"{', '.join(heard) or 'nothing'}{not_heard}",
        ),
        _check("may send files", scopes, "files:write"),
        _check("may read files", scopes, "files:read"),
    )


def may_hear_channels(headers: Mapping[str, str]) -> bool:
    """Whether more than mentions can be heard in channels; True if the answer does not say."""
    scopes = _scopes_in(headers)
    return scopes is None or not scopes.isdisjoint(_IN_CHANNELS)


def _scopes_in(headers: Mapping[str, str]) -> set[str] | None:
    """The scopes of a token, if an answer lists them."""
    if "x-oauth-scopes" not in headers:
        return None
    return {scope.strip() for scope in headers["x-oauth-scopes"].split(",")}


def _check(what: str, scopes: set[str], scope: str) -> Check:
    has = scope in scopes
    return Check(
        what=what,
        ok=has,
        detail=scope if has else f"add the scope {scope} to the bot, and install the app again",
    )
