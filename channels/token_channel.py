"""A channel whose token is somebody at a platform where anybody can write to them."""

from __future__ import annotations

from .base import Channel
from .secret import Secret

__all__ = ["TokenChannel"]


class TokenChannel(Channel):
    """A bot, an account or a number: nobody else has its token, and whoever knows it can write."""

    def __init__(self, name: str, token: Secret) -> None:
        super().__init__(name)
        self._token = token

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}: {self.line.state}>"

    @property
    def account(self) -> str:
        """A digest of the token."""
        return self._token.account()

    @property
    def exposed(self) -> bool:
        """True: whom the operator does not know can write all the same."""
        return True
