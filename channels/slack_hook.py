"""The webhook: Slack posts events to a URL, each again until it is answered 200.

Source: https://docs.slack.dev/apis/events-api/ (retries: at once, after one and after five
minutes), https://docs.slack.dev/authentication/verifying-requests-from-slack,
https://docs.slack.dev/reference/events/url_verification
"""

from __future__ import annotations

import logging
from typing import Final

from .hook_signing import is_fresh, signature_fits
from .hooks import HookAnswer, HookDenied, HookHead, unavailable
from .http_json import BadJson, parse_json
from .json_fields import Malformed, fields, text
from .secret import Secret
from .slack_hearing import Ear

__all__ = ["SlackHook"]

_logger = logging.getLogger(__name__)

_SIGNATURE: Final = "x-slack-signature"
_TIME: Final = "x-slack-request-timestamp"
_RETRY: Final = "x-slack-retry-num"
_MAX_CHALLENGE_CHARS: Final = 1_024


class SlackHook:
    """Answers Slack's calls; while nobody listens, with 503."""

    def __init__(self, signing_secret: Secret) -> None:
        self._secret = signing_secret
        self.ear: Ear | None = None
        """Hears events; None while the channel does not run."""

    def __repr__(self) -> str:
        return f"<SlackHook, {'listening' if self.ear else 'closed'}>"

    @property
    def max_body_bytes(self) -> int:
        """A message of 40,000 characters with its blocks has a few hundred KiB."""
        return 1024 * 1024

    def admit(self, head: HookHead, /) -> HookAnswer | None:
        """Let on what is signed, and just now; whether it fits is known with the body."""
        if head.method != "POST":
            raise HookDenied(405, headers=(("allow", "POST"),))
        if _SIGNATURE not in head.headers or not is_fresh(head.headers.get(_TIME, "")):
            raise HookDenied(401)
        return None if self.ear is not None else unavailable()

    async def hear(self, head: HookHead, body: bytes, /) -> HookAnswer:
        """Hear the event, and answer once it is settled."""
        signed = b"v0:" + head.headers[_TIME].encode() + b":" + body
        if not signature_fits(self._secret, signed, head.headers[_SIGNATURE], prefix="v0="):
            raise HookDenied(401)
        ear = self.ear
        if ear is None:
            return unavailable()
        try:
            payload = fields(parse_json(body), "payload")
            if payload.get("type") == "url_verification":
                challenge = text(payload, "challenge") or ""
                return HookAnswer(body=challenge[:_MAX_CHALLENGE_CHARS].encode())
        except (BadJson, Malformed) as error:
            # Refused, it would come again; and Slack switches off who refuses too often.
            ear.warn(f"an event that could not be read was left out: {error}")
            return HookAnswer()
        if _RETRY in head.headers:
            _logger.debug("an event is delivered again")
        earlier = ear.earlier(payload)
        settled = await (ear.take(payload).settle() if earlier is None else earlier.follow())
        return HookAnswer() if settled else unavailable()
