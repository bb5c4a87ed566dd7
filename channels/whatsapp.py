"""The WhatsApp channel: one business number of the Cloud API, called by a webhook.

What WhatsApp makes impossible: after 24 hours without a word of the human's only templates may be
sent, and those no agent says. What was sent cannot be edited, so there are no drafts. A message
whose answer was lost cannot be found again or recognised when it is sent again, so it stays
unknown; the news of it that come later name an id that nobody here has. Edits and deletions by
humans are told only of numbers that are used with the WhatsApp Business app, too. Groups are not
heard.
"""

from __future__ import annotations

import logging
import re
from hashlib import sha256
from typing import Any, Final

import trio

from ..actors.messages import Address
from .base import (
    ChannelPowers,
    Check,
    Deliver,
    Outbound,
    OutboundFile,
    Receipt,
    Rejected,
    Unreachable,
)
from .handover import Handover
from .http_answer import id_told, readable
from .json_fields import fields, listed, needed, text
from .platform_url import platform_url
from .secret import Secret
from .strangers import Strangers
from .token_channel import TokenChannel
from .whatsapp_api import SendRates, WhatsAppApi
from .whatsapp_errors import bad_token
from .whatsapp_files import FILE_LIMIT_BYTES, FileSource, uploads_for
from .whatsapp_hearing import Ear, Memory
from .whatsapp_hook import WhatsAppHook
from .whatsapp_identity import canonical_user_id
from .whatsapp_markup import TEXT_LIMIT, TEXT_UNIT, to_text
from .whatsapp_wire import PLATFORM, Reader

__all__ = ["WhatsAppChannel"]

_logger = logging.getLogger(__name__)

_ID: Final = re.compile(r"[0-9]{1,32}")
_SEE: Final = "see WhatsApp > API Setup in the app's dashboard"
_ADVICE: Final = {
    "forbidden": "a token needs whatsapp_business_messaging to write, and "
    "whatsapp_business_management to look at its number"
}
_VERSION: Final = re.compile(r"v[0-9]{1,3}\.[0-9]{1,2}")


class WhatsAppChannel(TokenChannel):
    """One business number."""

    platform = PLATFORM
    powers = ChannelPowers(
        text_limit=TEXT_LIMIT,
        text_unit=TEXT_UNIT,
        after_unknown="never",
        late_receipts=True,
        files=True,
        file_limit_bytes=FILE_LIMIT_BYTES,
        typing_every_s=20.0,  # it is shown for 25 seconds
    )

    def __init__(  # noqa: PLR0913 - the keys of its section
        self,
        name: str,
        *,
        token: str,
        phone_number_id: str,
        app_secret: str,
        verify_token: str,
        api_url: str = "https://graph.facebook.com",
        api_version: str = "v25.0",
        check_s: float = 300.0,
        rates: SendRates | None = None,
    ) -> None:
        """Connect nothing yet.

        Args:
            name: instance name.
            token: of a system user, with `whatsapp_business_messaging`.
            phone_number_id: the id of the business number, which is not the number.
            app_secret: with which the app's webhooks are signed.
            verify_token: what is entered as such beside the webhook's address.
            api_url: another Graph API; plain HTTP on this machine only.
            api_version: of the Graph API.
            check_s: seconds between two looks at whether the token is still good; at least 1.
            rates: how fast to write, if not as fast as WhatsApp allows.

        Raises:
            ValueError: one of them is none.
        """
        super().__init__(name, Secret.of(token, "token"))
        if not _ID.fullmatch(phone_number_id):
            raise ValueError("phone_number_id must be the digits of an id, not a phone number")
        if not _VERSION.fullmatch(api_version):
            raise ValueError("api_version must be like v25.0")
        if not check_s >= 1:
            raise ValueError("check_s must be at least 1")
        self._phone_number_id = phone_number_id
        self._check_s = check_s
        place = platform_url(api_url, "api_url", "https://graph.facebook.com")
        self._api = WhatsAppApi(
            place.url, api_version, phone_number_id, self._token, rates or SendRates()
        )
        self._source = FileSource(self, self._api, place.address)
        self._strangers = Strangers(name, self._say)
        self._memory = Memory()
        self._hook = WhatsAppHook(
            Secret.of(app_secret, "app_secret"), Secret.of(verify_token, "verify_token")
        )

    canonical_user_id = staticmethod(canonical_user_id)

    @property
    def account(self) -> str:
        """A digest of the number's id: one token may be good for several numbers."""
        return sha256(self._phone_number_id.encode()).hexdigest()[:32]

    @property
    def hook(self) -> WhatsAppHook:
        """Where WhatsApp calls."""
        return self._hook

    # -- hearing ---------------------------------------------------------------------------------

    async def run(self, deliver: Deliver) -> None:
        """Hear until cancelled, or until the token is refused.

        Raises:
            Unreachable: the Graph API cannot be reached at the start. Later it is only noted.
            Rejected: the token is wrong, or not good for this number.
        """
        async with self._api.open():
            await self._ask_for_state()
            self._hook.ear = Ear(
                self,
                Reader(self.name, self._phone_number_id),
                self._source,
                Handover(self, deliver, self._strangers),
                self._memory,
            )
            try:
                self.line.up()
                while True:
                    await trio.sleep(self._check_s)
                    await self._look()
            finally:
                self._hook.ear = None

    async def _look(self) -> None:
        """What comes in does not depend on whether the API answers, so that is only noted."""
        try:
            await self._ask_for_state()
        except Unreachable as error:
            self.line.down(str(error), retry_in_s=self._check_s)
        else:
            self.line.up()

    async def _ask_for_state(self) -> None:
        """Return if token and number are right; who may write need not be allowed to look at them.

        Raises:
            Unreachable: the Graph API cannot be asked.
            Rejected: one of them is wrong.
        """
        try:
            await self._api.number("status")
        except Rejected as refused:
            if refused.reason in {"unauthorized", "not_found"}:
                raise
            self.line.warning = f"the number cannot be looked at: {refused}"

    # -- speaking --------------------------------------------------------------------------------

    async def send(self, outbound: Outbound) -> Receipt:
        """Send a text, or a file.

        Raises:
            Unreachable: nothing was sent: `rate_limited`, or the Graph API cannot be reached.
            Rejected: in one word: `window_closed`, `undeliverable`, `unauthorized` …
            LostAnswer: nobody knows, and nobody can find out.
        """
        address, reply_to = outbound.address, outbound.reply_to
        if outbound.file is not None:
            return await self._send_file(outbound.file, address, reply_to)
        return await self._say(address, outbound.text, reply_to)

    async def typing(self, address: Address, /) -> None:
        """Show it for 25 seconds, and the human's newest message as read; they go together."""
        newest = self._memory.newest(address.conversation)
        if newest is not None:
            await self._api.mark(newest)

    async def _say(self, address: Address, said: str, reply_to: str | None) -> Receipt:
        return await self._write(
            address, reply_to, "text", {"body": to_text(said), "preview_url": False}
        )

    async def _send_file(
        self, file: OutboundFile, address: Address, reply_to: str | None
    ) -> Receipt:
        content = await file.read()
        *better, last = uploads_for(file)
        for upload in (*better, last):
            try:
                with readable("the upload"):
                    kept = await self._api.upload((upload.name, content, upload.mime))
                    media: dict[str, str] = {"id": needed(kept, "id")}
            except Rejected as refused:
                if upload is last or bad_token(refused):
                    raise
                _logger.info("%s: sent as a document instead: %s", self.name, refused)
                continue
            if upload.kind == "document":
                media["filename"] = upload.name
            return await self._write(address, reply_to, upload.kind, media)
        raise AssertionError("the last way returns or raises")

    async def _write(
        self, address: Address, reply_to: str | None, kind: str, content: dict[str, Any]
    ) -> Receipt:
        body: dict[str, Any] = {"type": kind, kind: content}
        if reply_to is not None:
            body["context"] = {"message_id": reply_to}
        self._memory.spoke(address.conversation)
        told = await self._api.write(address.conversation, body)
        self._memory.spoke(address.conversation)
        with id_told():
            sent = next(iter(listed(told.get("messages"), "messages")), None)
            return Receipt(platform_message_id=needed(fields(sent, "message"), "id"))

    # -- the operator ----------------------------------------------------------------------------

    async def probe(self) -> tuple[Check, ...]:
        """Ask what is known of the number."""
        try:
            with readable("no answer of its kind"):
                number = await self._api.number("display_phone_number", "verified_name")
                state = await self._api.number("quality_rating", "status")
                shown = f"{text(number, 'display_phone_number')} {text(number, 'verified_name')}"
                return (Check(what="token", ok=True, detail=shown), _state_check(state))
        except Rejected as refused:
            what = "token" if bad_token(refused) else "phone_number_id"
            return (
                Check(
                    what=what,
                    ok=False,
                    detail=f"{refused}; {_ADVICE.get(refused.reason, _SEE)}",
                ),
            )


def _state_check(state: Any) -> Check:
    status, quality = text(state, "status"), text(state, "quality_rating")
    return Check(
        what="number",
        ok=status in {None, "CONNECTED"},
        detail=f"status {status}, quality {quality}"
        if status
        else "its state is not told; see WhatsApp Manager",
    )
