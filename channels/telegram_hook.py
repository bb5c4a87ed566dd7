"""The webhook: Telegram calls with one update at a time, until it is answered 200.

Updates of one chat come one after the other, those of different chats at once.

Source: https://core.telegram.org/bots/api#setwebhook
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from .hooks import HookAnswer, HookDenied, HookHead, unavailable
from .http_json import BadJson, parse_json
from .secret import Secret
from .telegram_hearing import Ear

__all__ = ["MAX_CONNECTIONS", "TelegramHook", "hook_secret"]

MAX_CONNECTIONS: Final = 12
"""At once, of those that the server of hooks allows to one path."""
_MAX_BODY_BYTES: Final = 1024 * 1024
"""A message of 4,096 characters that quotes another one has about 100 KiB."""
_HEADER: Final = "x-telegram-bot-api-secret-token"
_PURPOSE: Final = b"the secret of the webhook of "


def hook_secret(token: Secret, name: str) -> Secret:
    """What Telegram is to say in every call: 64 of the characters that it allows.

    It follows from the token, so that calls which were on their way during a restart still fit.
    """
    key = token.reveal().encode()
    return Secret(hmac.new(key, _PURPOSE + name.encode(), hashlib.sha256).hexdigest())


class TelegramHook:
    """Answers Telegram's calls; while nobody listens, with 503."""

    def __init__(self, secret: Secret) -> None:
        self.max_body_bytes = _MAX_BODY_BYTES
        self._secret = secret
        self.ear: Ear | None = None
        """Hears updates; None while the channel does not run."""

    def __repr__(self) -> str:
        return f"<TelegramHook, {'listening' if self.ear else 'closed'}>"

    def admit(self, head: HookHead, /) -> HookAnswer | None:
        """Let in who knows the secret; the rest of the request is not read before that."""
        if head.method != "POST":
            raise HookDenied(405, headers=(("allow", "POST"),))
        if not self._secret.matches(head.headers.get(_HEADER, "")):
            raise HookDenied(401)
        return None if self.ear is not None else unavailable()

    async def hear(self, _head: HookHead, body: bytes, /) -> HookAnswer:
        """Hear the update, and answer once it is settled."""
        ear = self.ear
        if ear is None:
            return unavailable()
        try:
            update = parse_json(body)
        except BadJson as error:
            # Refused, it would come again and again, and hold back what its chat says next.
            ear.warn(f"an update that could not be read was left out: {error}")
            return HookAnswer()
        await ear.hear(update)
        return HookAnswer()
