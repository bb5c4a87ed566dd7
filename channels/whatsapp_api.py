"""Calls of the Graph API in the name of one business number: the rates, one pool of connections.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput (80 a
second, in both directions; a number with less is told to wait) and its pair rate: one message every
six seconds to one human, of which 45 may be taken at once and are then owed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trio

from ..actors.frozen import message
from .http_client import UploadedFile
from .http_connections import CALL_S, UPLOAD_S, HttpConnections
from .json_fields import Fields
from .limiter import Limiter, Rate, limited
from .secret import Secret
from .whatsapp_errors import PAIR_LIMIT, RateLimited, result_of

__all__ = ["SendRates", "WhatsAppApi"]


@message
class SendRates:
    """How fast a number may write. The defaults are what WhatsApp allows, or a little less."""

    overall: Rate = Rate(per_s=60.0, burst=15)
    """What comes in counts too, so not all of the 80 a second are ours."""
    pair: Rate = Rate(per_s=1 / 6, burst=40, scope="place")
    """To one human."""


class WhatsAppApi(HttpConnections):
    """Asks the Graph API."""

    def __init__(
        self, api_url: str, version: str, phone_number_id: str, token: Secret, rates: SendRates
    ) -> None:
        """Nothing is opened before the first call.

        Raises:
            ValueError: `api_url` is no URL of HTTP.
        """
        super().__init__(api_url, headers={"authorization": Secret(f"Bearer {token.reveal()}")})
        self._version = version
        self._phone_number_id = phone_number_id
        self._overall = Limiter([rates.overall])
        self._pairs = Limiter([rates.pair])

    async def number(self, *names: str) -> Fields:
        """What is known of our number, by the names of its fields.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        return await self._call(
            "GET", "/{version}/{number}", sends=False, params={"fields": ",".join(names)}
        )

    async def media(self, media_id: str) -> Fields:
        """Where a file is, and what: its URL is good for five minutes.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        return await self._call(
            "GET",
            "/{version}/{media}",
            sends=False,
            values={"media": media_id},
            params={"phone_number_id": self._phone_number_id},
        )

    async def upload(self, file: UploadedFile) -> Fields:
        """Bring a file over; people see it when a message names its id.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        return await self._call(
            "POST",
            "/{version}/{number}/media",
            sends=False,
            data={"messaging_product": "whatsapp", "type": file[2]},
            files={"file": file},
            timeout_s=UPLOAD_S,
        )

    async def mark(self, message_id: str) -> None:
        """Mark a message as read, and show that the business is writing.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        body = {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": message_id,
            "typing_indicator": {"type": "text"},
        }
        await self._call("POST", "/{version}/{number}/messages", sends=False, json=body)

    async def write(self, conversation: str, content: Fields) -> Fields:
        """Send a message, at its turn.

        Args:
            conversation: the number of a human, or the id by which only this business knows them.
            content: its type, and what stands under the name of that.

        Raises:
            Unreachable, Rejected, LostAnswer: see `result_of`.
        """
        await limited(self._pairs, conversation)
        await limited(self._overall, "")
        # Source: "Sending messages" of the page on business-scoped user ids.
        to = "to" if conversation.isascii() and conversation.isdecimal() else "recipient"
        body = {
            "messaging_product": "whatsapp",
            "recipient_type": "individual",
            to: conversation,
            **content,
        }
        try:
            return await self._call("POST", "/{version}/{number}/messages", sends=True, json=body)
        except RateLimited as error:
            until_s = trio.current_time() + (error.retry_after_s or 0.0)
            if error.code == PAIR_LIMIT:
                self._pairs.pause(conversation, until_s)
            else:
                self._overall.pause(None, until_s)
            raise

    async def _call(
        self,
        method: str,
        path: str,
        *,
        sends: bool,
        values: Mapping[str, str] | None = None,
        timeout_s: float = CALL_S,
        **parts: Any,
    ) -> Fields:
        named = {"version": self._version, "number": self._phone_number_id, **(values or {})}
        answer = await self.call(
            method, path, sends=sends, values=named, timeout_s=timeout_s, **parts
        )
        return result_of(answer, sends=sends)
