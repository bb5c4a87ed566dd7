"""Who writes a turn: asked of the links in the store, or of the program's own resolver."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final, Literal

from .actors.core.routing import default_user, root_of
from .actors.errands import Identified
from .actors.errors import Unidentified
from .actors.ledger import load_identity
from .actors.messages import InboundTurn
from .actors.services import Services
from .identity import IdentityResolver, IdentityUnavailable, call_resolver, resolve_user

__all__ = ["Identifier", "Resolving"]

logger = logging.getLogger("turnkeeper")

_MAX_KNOWN: Final = 16_384
"""Users that are remembered before all are asked for again: some 4 MB."""


class Resolving:
    """The program's own resolver, with the patience that is had with it."""

    def __init__(self, resolver: IdentityResolver, timeout_s: float) -> None:
        self._resolver = resolver
        self._timeout_s = timeout_s

    async def resolve(self, platform: str, user_id: str) -> str:
        """The user that an identity is.

        Raises:
            Unidentified: the resolver does not say.
        """
        try:
            return await resolve_user(self._resolver, platform, user_id, timeout_s=self._timeout_s)
        except IdentityUnavailable as error:
            raise Unidentified(str(error)) from error

    async def tell(
        self, act: Literal["link", "unlink"], platform: str, user_id: str, *user: str
    ) -> None:
        """Let the resolver know of a link, or of its end.

        Raises:
            IdentityUnavailable: it failed.
        """
        await call_resolver(
            self._resolver,
            partial(getattr(self._resolver, act), platform, user_id, *user),
            asked=f"{act} {user_id!r:.80} on {platform}",
            timeout_s=self._timeout_s,
        )

    async def report(self, platform: str, user_id: str, user: str | None) -> None:
        """Let the resolver know who an identity is, which others have decided."""
        try:
            if user is None:
                await self.tell("unlink", platform, user_id)
            else:
                await self.tell("link", platform, user_id, user)
        except IdentityUnavailable as error:
            logger.error("the resolver does not know of a change: %s", error)  # noqa: TRY400


class Identifier:
    """Says which user has written a turn."""

    def __init__(self, services: Services, resolver: Resolving | None) -> None:
        self._services = services
        self._resolver = resolver
        self._users: dict[tuple[str, str], str] = {}
        """What the store said since the last act."""
        self._acts_done = 0

    async def __call__(self, turn: InboundTurn) -> str:
        """The user who wrote `turn`, whose user id is canonical.

        Raises:
            Unidentified: the program's own resolver does not say.
        """
        platform, user_id = turn.platform, turn.user_id
        if self._resolver is None:
            return self._stored(platform, user_id)
        user = await self._resolver.resolve(platform, user_id)
        if turn.direct:
            self._services.registry.tell(
                Identified(address=turn.address, platform=platform, user_id=user_id, user=user)
            )
        return root_of(user, partial(load_identity, self._services.store))

    def _stored(self, platform: str, user_id: str) -> str:
        services = self._services
        if self._acts_done != services.acts_done or len(self._users) >= _MAX_KNOWN:
            self._users.clear()
            self._acts_done = services.acts_done
        user = self._users.get((platform, user_id))
        if user is None:
            row = load_identity(services.store, platform, user_id)
            user = row.unified if row is not None else default_user(platform, user_id)
            self._users[platform, user_id] = user
        return user
