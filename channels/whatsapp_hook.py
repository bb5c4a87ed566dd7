"""The webhook: WhatsApp calls with a batch of what has happened, again and again until a 200.

Several calls are under way at once, and none is sure to come in order.

Source: https://developers.facebook.com/docs/graph-api/webhooks/getting-started, "Verification
Requests" and "Validating Payloads".
"""

from __future__ import annotations

import re
from typing import Final

from .hook_signing import signature_fits
from .hooks import HookAnswer, HookDenied, HookHead, unavailable
from .http_json import BadJson, parse_json
from .secret import Secret
from .whatsapp_hearing import Ear

__all__ = ["WhatsAppHook"]

_MAX_BODY_BYTES: Final = 3 * 1024 * 1024
"""The longest call that is documented."""
_HEADER: Final = "x-hub-signature-256"
_PREFIX: Final = "sha256="
_SIGNATURE: Final = re.compile(_PREFIX + "[0-9a-f]{64}")
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_.-]{1,256}")


class WhatsAppHook:
    """Answers WhatsApp's calls; while nobody listens, with 503."""

    def __init__(self, app_secret: Secret, verify_token: Secret) -> None:
        self.max_body_bytes = _MAX_BODY_BYTES
        self._app_secret = app_secret
        self._verify_token = verify_token
        self.ear: Ear | None = None
        """Hears what is told; None while the channel does not run."""

    def __repr__(self) -> str:
        return f"<WhatsAppHook, {'listening' if self.ear else 'closed'}>"

    def admit(self, head: HookHead, /) -> HookAnswer | None:
        """Answer the challenge; of a call, let in what can be signed at all."""
        if head.method == "GET":
            return self._verify(head)
        if head.method != "POST":
            raise HookDenied(405, headers=(("allow", "GET, POST"),))
        if not _SIGNATURE.fullmatch(head.headers.get(_HEADER, "")):
            raise HookDenied(401)
        return None if self.ear is not None else unavailable()

    def _verify(self, head: HookHead) -> HookAnswer:
        """Prove that we are who the operator has entered as the webhook."""
        challenge = head.query.get("hub.challenge", "")
        if head.query.get("hub.mode") != "subscribe" or not _CHALLENGE.fullmatch(challenge):
            raise HookDenied(400)
        if not self._verify_token.matches(head.query.get("hub.verify_token", "")):
            raise HookDenied(403)
        return HookAnswer(body=challenge.encode())

    async def hear(self, head: HookHead, body: bytes, /) -> HookAnswer:
        """Hear what the call tells, and answer 200 once all of it is settled."""
        presented = head.headers.get(_HEADER, "")
        if not signature_fits(self._app_secret, body, presented, prefix=_PREFIX):
            raise HookDenied(401)
        ear = self.ear
        if ear is None:
            return unavailable()
        try:
            told = parse_json(body)
        except BadJson as error:
            # Refused, it would come again for a week, and be no better.
            ear.warn(f"a call that could not be read was left out: {error}")
            return HookAnswer()
        return HookAnswer() if await ear.hear(told) else unavailable()
