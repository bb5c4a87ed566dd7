"""The webhook channel: for a program that calls, and is called, with signed JSON.

Both ways as Standard Webhooks say. What the other side must do is in docs/webhook.md; above all, to
take the same `webhook-id` as the same message: what may have arrived is sent again with it.

There are no files in what is sent, no drafts and no typing: a line of text stands for a file.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from hashlib import sha256
from typing import Any, Final, cast

import trio

from .base import (
    Channel,
    ChannelPowers,
    Check,
    Deliver,
    Outbound,
    Receipt,
    Rejected,
)
from .fetching import Fetcher
from .http_client import HttpAnswer, raise_for
from .http_json import BadJson
from .limiter import Limiter, Rate, limited, pausing
from .webhook_hearing import Ear
from .webhook_hook import WebhookHook
from .webhook_signing import SigningKey, sign
from .webhook_target import Target
from .webhook_wire import PLATFORM, body_of, message_id_of

__all__ = ["WebhookChannel"]

_MAX_FILE_BYTES: Final = 100 * 1024 * 1024
_MAX_ID_CHARS: Final = 1_024
_RATE: Final = Rate(per_s=50.0, burst=50)
"""Enough for anybody, and no flood when many deliveries were waiting."""


class WebhookChannel(Channel):
    """One program."""

    platform = PLATFORM
    powers = ChannelPowers(after_unknown="same_id")

    def __init__(
        self,
        name: str,
        *,
        secret: str,
        outbound_url: str | None = None,
        outbound_secret: str | None = None,
        outbound_old_secret: str | None = None,
        fetcher: Fetcher | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            name: instance name.
            secret: with which the program signs its calls: `whsec_…`.
            outbound_url: where the program is called; without it the agent only listens.
            outbound_secret: with which those calls are signed; not the same.
            outbound_old_secret: with which they are signed as well, while the program exchanges one
                for the other.
            fetcher: fetches the files of messages, if not only from the public internet.

        Raises:
            ValueError: a secret is missing or none, or the URL is none.
        """
        super().__init__(name)
        self._key = SigningKey(secret, "secret")
        self._keys: tuple[SigningKey, ...] = ()
        self._target: Target | None = None
        if outbound_url is not None:
            self._target = Target(outbound_url)
            self._keys = tuple(
                SigningKey(value or "", key)
                for key, value in (
                    ("outbound_secret", outbound_secret),
                    ("outbound_old_secret", outbound_old_secret),
                )
                if value is not None or key == "outbound_secret"
            )
        elif outbound_secret is not None or outbound_old_secret is not None:
            raise ValueError("outbound_url is missing, and there is a secret for it")
        if any(key.raw == self._key.raw for key in self._keys):
            # Or whoever sees a call of ours could send it back to us as one of theirs.
            raise ValueError("outbound_secret must be another than secret")
        self._hook = WebhookHook(self.name, self._key)
        self._fetcher = fetcher or Fetcher(max_bytes=_MAX_FILE_BYTES)
        self._limiter = Limiter([_RATE])

    def __repr__(self) -> str:
        return f"<WebhookChannel {self.name}: {self.line.state}>"

    @property
    def account(self) -> str:
        """A digest of the secret: what is signed for one instance is not for another."""
        return sha256(self._key.raw).hexdigest()[:32]

    @property
    def hook(self) -> WebhookHook:
        """Where the program calls."""
        return self._hook

    @property
    def exposed(self) -> bool:
        """False: only who has the secret is heard, and vouches for the users that it names."""
        return False

    async def run(self, deliver: Deliver) -> None:
        """Hear until cancelled."""
        async with AsyncExitStack() as connections:
            if self._target is not None:
                await connections.enter_async_context(self._target.connected())
            self._hook.ear = Ear(self, deliver, self._fetcher)
            try:
                self.line.up()
                await trio.sleep_forever()
            finally:
                self._hook.ear = None

    async def send(self, outbound: Outbound) -> Receipt:
        """Call the program.

        Raises:
            Unreachable: it was not reached, or says later: 429, 503.
            Rejected: it refuses: `gone` for 410; or there is no URL: `no_url`.
            LostAnswer: nobody knows; it is sent again with the same id.
        """
        target = self._target
        if target is None:
            raise Rejected("there is no outbound_url", reason="no_url")
        message_id = message_id_of(outbound)
        body = body_of(self.name, outbound)
        await limited(self._limiter, "")
        headers = sign(self._keys, message_id, int(time.time()), body)
        answer = await target.post(headers, body)
        if answer.status == 410:
            raise Rejected(f"{answer.asked}: 410, it wants no more of it", reason="gone")
        with pausing(self._limiter, None):
            raise_for(answer, sends=True)
        return Receipt(platform_message_id=_id_in(answer) or message_id)

    async def probe(self) -> tuple[Check, ...]:
        """Say what is configured: any call would be a message."""
        if self._target is None:
            return (Check(what="outbound_url", ok=True, detail="none: the agent only listens"),)
        return (
            Check(
                what="outbound_url",
                ok=True,
                detail=f"{self._target.host}, signed with {len(self._keys)} secret(s)",
            ),
        )


def _id_in(answer: HttpAnswer) -> str | None:
    """The id that the program gives the message, if it does."""
    try:
        told = answer.json()
    except BadJson:
        return None
    if not isinstance(told, dict):
        return None
    given = cast("Mapping[str, Any]", told).get("id")
    return given if isinstance(given, str) and 0 < len(given) <= _MAX_ID_CHARS else None
