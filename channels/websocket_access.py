"""Who may connect to the websocket, as whom, from which page, to which conversation. No I/O."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from .websocket_wire import Hello

__all__ = ["Denied", "Door", "Guest", "is_loopback"]

_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
"""User and conversation names: no `/` and no `#`, which build the namespaces."""


class Denied(Exception):
    """This client does not get in; the text may be told to it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guest:
    """A client that was let in."""

    user: str
    conversation: str
    """`<user>`, `<user>/<name>` or `#<name>` for a shared one."""
    direct: bool
    """Whether only this user can be in the conversation."""
    name: str | None
    """Display name; untrusted."""


class Door:
    """Decides about every client by its hello, and about every browser page by its origin."""

    def __init__(
        self,
        *,
        tokens: Mapping[str, str] | None,
        allowed_origins: Collection[str],
        shared_conversations: Collection[str],
    ) -> None:
        """Keep digests of the tokens, never the tokens.

        Raises:
            ValueError: a token is empty, or a user or conversation has no plain name.
        """
        if tokens is not None and not all(tokens):
            raise ValueError("an empty token lets everybody in")
        named = [*(tokens or {}).values(), *shared_conversations]
        for name in named:
            if not _PLAIN_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a plain name of letters, digits and . _ @ + -")
        self._users = (
            None if tokens is None else [(_digest(token), user) for token, user in tokens.items()]
        )
        self._origins = frozenset(origin.rstrip("/").lower() for origin in allowed_origins)
        self._shared = frozenset(shared_conversations)

    def __repr__(self) -> str:
        users = "anybody" if self._users is None else f"{len(self._users)} tokens"
        return f"<Door: {users}>"

    @property
    def needs_token(self) -> bool:
        """Whether a hello must carry a token."""
        return self._users is not None

    def admit(self, hello: Hello) -> Guest:
        """Let a client in.

        Raises:
            Denied: with one text for every wrong credential.
        """
        user = self._user_of(hello)
        name = hello.conversation
        if name is not None and not _PLAIN_NAME.fullmatch(name):
            raise Denied("conversation is not a plain name of letters, digits and . _ @ + -")
        if name is not None and name in self._shared:
            return Guest(user=user, conversation=f"#{name}", direct=False, name=hello.name)
        own = user if name is None or name == user else f"{user}/{name}"
        return Guest(user=user, conversation=own, direct=True, name=hello.name)

    def admits_origin(self, origin: str | None, *, address: str, port: int) -> bool:
        """Whether a page of this origin may connect to the socket at this address.

        Programs that are no browser send no origin. Without a list, a page must have come from this
        very address and port. Its Host header proves nothing, as any name can be pointed here.
        """
        if origin is None:
            return True
        if origin.rstrip("/").lower() in self._origins:
            return True
        try:
            parts = urlsplit(origin)
            default_port = {"http": 80, "https": 443}.get(parts.scheme)
            origin_port = parts.port or default_port
        except ValueError:
            return False
        host = parts.hostname or ""
        is_local = host == "localhost" or is_loopback(host)
        same_host = host == address or (is_loopback(address) and is_local)
        return same_host and origin_port == port

    def _user_of(self, hello: Hello) -> str:
        if self._users is None:
            if hello.user is None or not _PLAIN_NAME.fullmatch(hello.user):
                raise Denied("user is not a plain name of letters, digits and . _ @ + -")
            return hello.user
        presented = _digest(hello.token or "")
        user: str | None = None
        for digest, owner in self._users:
            # No early end: the time tells nothing about which token came close.
            if hmac.compare_digest(digest, presented):
                user = owner
        if user is None or hello.user not in {None, user}:
            raise Denied("token and user do not fit")
        return user


def is_loopback(host: str) -> bool:
    """Whether the host is an address that only this machine can reach; a name never is."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
