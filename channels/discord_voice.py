"""What a bot says: messages, files and edits, and how one is recognised that comes again.

A message whose answer was lost may have arrived. Discord recognises it by its nonce, but for a few
minutes only; and the gateway tells a bot of its own messages, with their nonces.

Source: https://docs.discord.com/developers/resources/message, "Create Message", "Edit Message",
"Allowed Mentions Object"; .../developers/reference, "Uploading Files"
"""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import Any, Final

import trio

from ..actors.messages import Address, Instance
from .base import LostAnswer, Outbound, OutboundFile, Receipt, Rejected
from .discord_api import DiscordApi
from .discord_fields import is_snowflake, snowflake, time_of
from .discord_markup import to_markdown
from .http_answer import id_told
from .json_fields import Fields, fields
from .latest import Latest
from .outgoing_files import ANY_TYPE, declared_type, sent_name

__all__ = ["NONCE_S", "UPLOAD_LIMIT_BYTES", "Voice", "channel_of"]

UPLOAD_LIMIT_BYTES: Final = 10 * 1024 * 1024
"""What a bot may send where nobody pays for more."""
NONCE_S: Final = 120.0
"""For how long Discord surely recognises a nonce: it says "the past few minutes"."""
_NONCE_CHARS: Final = 25
_NO_PREVIEWS: Final = 1 << 2
"""The flag SUPPRESS_EMBEDS of a message."""
_REMEMBERED: Final = 1_000
"""Nonces of lost answers and of own messages that are remembered."""
_MESSAGES: Final = "/channels/{channel}/messages"
_MESSAGE: Final = "/channels/{channel}/messages/{message}"


class Voice:
    """Speaks for one bot."""

    def __init__(
        self, instance: Instance, api: DiscordApi, *, previews: bool, notifies: bool
    ) -> None:
        """Say nothing yet.

        Args:
            instance: whose messages they are.
            api: where they go.
            previews: whether Discord may open the links in them.
            notifies: whether who is answered is notified.
        """
        self._instance = instance
        self._api = api
        self._flags = 0 if previews else _NO_PREVIEWS
        self._notifies = notifies
        self._lost: Latest[str, float] = Latest(_REMEMBERED)
        """Nonce -> when a message was sent first whose answer was lost."""
        self._echoed: Latest[str, str] = Latest(_REMEMBERED)
        """Nonce -> id of a message of ours that the gateway has told of."""

    def __repr__(self) -> str:
        return f"<Voice of {self._instance}>"

    async def post(self, outbound: Outbound) -> Receipt:
        """Send a message.

        Raises:
            Unreachable, Rejected: nothing was sent.
            LostAnswer: it may have been; see `post_again`.
        """
        nonce, began = self._nonce(outbound), trio.current_time()
        try:
            return await self._post(outbound, nonce)
        except LostAnswer:
            self._lost[nonce] = self._lost.get(nonce, began)
            raise

    async def post_again(self, outbound: Outbound) -> Receipt:
        """The receipt of a message that may have arrived: if it has not, it does now.

        Raises:
            Rejected: nobody can tell any more: too much time has passed.
            Unreachable, LostAnswer: nobody can tell now.
        """
        nonce = self._nonce(outbound)
        echoed = self._echoed.get(nonce)
        if echoed is not None:
            return Receipt(platform_message_id=echoed)
        if not self._is_known_still(nonce, outbound.reply_to):
            raise Rejected("Discord no longer knows which messages it had", reason="lost_answer")
        return await self._post(outbound, nonce)

    def hear_echo(self, told: Fields) -> None:
        """Hear of a message of ours: it has arrived, whether or not its answer was lost."""
        nonce: object = told.get("nonce")
        if isinstance(nonce, str) and is_snowflake(told.get("id")):
            self._echoed[nonce] = str(told["id"])

    async def delete(self, channel: str, message_id: str) -> None:
        """Take a message of ours away."""
        await self._api.ask("DELETE", _MESSAGE, {"channel": channel, "message": message_id})

    async def say(self, address: Address, said: str, reply_to: str | None) -> Receipt:
        """Send something that need not be recognised when it comes again."""
        return await self._create(channel_of(address), self._body(said), reply_to)

    async def _post(self, outbound: Outbound, nonce: str) -> Receipt:
        """Send a message that Discord recognises when it comes again."""
        file = outbound.file
        body = self._body(outbound.text) if file is None else self._body(None)
        body |= {"nonce": nonce, "enforce_nonce": True}
        return await self._create(channel_of(outbound.address), body, outbound.reply_to, file)

    async def _create(
        self,
        channel: str,
        body: dict[str, Any],
        reply_to: str | None,
        file: OutboundFile | None = None,
    ) -> Receipt:
        """Create a message; without its quotation, where we may not read what it would quote."""
        upload = None
        if file is not None:
            name = sent_name(file)
            upload = name, await file.read(), declared_type(file) or ANY_TYPE
            body = {**body, "attachments": [{"id": 0, "filename": name}]}
        where = {"channel": channel}
        quoting = dict(body)
        if is_snowflake(reply_to):
            # One that is gone is no reason not to answer.
            quoting["message_reference"] = {"message_id": reply_to, "fail_if_not_exists": False}
        try:
            told = await self._api.write(_MESSAGES, where, quoting, file=upload)
        except Rejected as refused:
            if refused.reason != "no_history":
                raise
            told = await self._api.write(_MESSAGES, where, body, file=upload)
        with id_told():
            return Receipt(platform_message_id=snowflake(fields(told, "message"), "id"))

    async def edit(self, channel: str, message_id: str, said: str) -> bool:
        """Let a message of ours say something else; False if it is there no more."""
        where = {"channel": channel, "message": message_id}
        try:
            await self._api.ask("PATCH", _MESSAGE, where, body=self._body(said))
        except Rejected as refused:
            if refused.reason == "message_gone":
                return False
            raise
        return True

    def _body(self, said: str | None) -> dict[str, Any]:
        """A message that notifies nobody but who is answered."""
        body: dict[str, Any] = {
            "allowed_mentions": {"parse": [], "replied_user": self._notifies},
            "flags": self._flags,
        }
        return body if said is None else {**body, "content": to_markdown(said)}

    def _nonce(self, outbound: Outbound) -> str:
        """The same for the same message, and no other: not even of another store with these ids."""
        file = outbound.file
        told = (
            self._instance,
            outbound.address,
            outbound.reply_to,
            outbound.part_id,
            outbound.text,
            None if file is None else (file.name, file.size_bytes),
        )
        return sha256(json.dumps(told).encode()).hexdigest()[:_NONCE_CHARS]

    def _is_known_still(self, nonce: str, reply_to: str | None) -> bool:
        """Whether the first attempt was so short a time ago that Discord knows its nonce.

        What was sent by another process cannot have been sent before what it answers.
        """
        began = self._lost.get(nonce)
        if began is not None:
            return trio.current_time() < began + NONCE_S
        return (
            reply_to is not None
            and is_snowflake(reply_to)
            and abs(time.time() - time_of(reply_to)) < NONCE_S
        )


def channel_of(address: Address) -> str:
    """Where to write: a thread is a channel too."""
    return address.thread or address.conversation
