"""What a bot writes: texts, edits, files, and that it is typing.

Source: https://core.telegram.org/bots/api, "sendMessage", "editMessageText", "sendDocument",
"sendChatAction", "deleteMessage", "ReplyParameters", "LinkPreviewOptions".
"""

from __future__ import annotations

import re
from typing import Any, Final

from ..actors.messages import Address
from .base import OutboundFile, Receipt, Rejected
from .http_answer import id_told
from .json_fields import fields, number
from .markdown import clean
from .telegram_api import Parameters, TelegramApi
from .telegram_files import Upload, uploads_for
from .telegram_markup import to_html

__all__ = ["Pen"]

_ID: Final = re.compile(r"[0-9]{1,18}")


class Pen:
    """Writes for one bot; every method raises what the calls of `TelegramApi` do."""

    def __init__(self, api: TelegramApi, *, link_previews: bool) -> None:
        self._api = api
        self._previews = None if link_previews else {"is_disabled": True}

    def __repr__(self) -> str:
        return f"<Pen of {self._api!r}>"

    async def say(self, address: Address, said: str, reply_to: str | None) -> Receipt:
        """Send a text."""
        return _receipt(await self._text("sendMessage", address, said, _where(address, reply_to)))

    async def edit(self, address: Address, message_id: str, said: str) -> bool:
        """Let a message of the bot's say something else; False if it is there no more.

        Done twice, it is as done once.
        """
        which = {"message_id": _number(message_id)}
        try:
            await self._text("editMessageText", address, said, which, repeatable=True)
        except Rejected as refused:
            if refused.reason == "message_gone":
                return False
            if refused.reason != "not_modified":
                raise
        return True

    async def delete(self, address: Address, message_id: str) -> None:
        """Take a message of the bot's away."""
        await self._api.write(
            "deleteMessage",
            address.conversation,
            {"message_id": _number(message_id)},
            repeatable=True,
        )

    async def typing(self, address: Address) -> None:
        """Show for five seconds that the bot is typing."""
        await self._api.ask(
            "sendChatAction",
            {
                "chat_id": address.conversation,
                "message_thread_id": _number(address.thread),
                "action": "typing",
            },
        )

    async def send_file(
        self, address: Address, file: OutboundFile, reply_to: str | None
    ) -> Receipt:
        """Send a file, as what it is if Telegram takes it as such, else as a document."""
        content = await file.read()
        *better, last = uploads_for(file)
        for upload in better:
            try:
                return await self._upload(upload, content, address, reply_to)
            except Rejected as refused:
                if refused.reason != "bad_file":
                    raise
        return await self._upload(last, content, address, reply_to)

    async def _upload(
        self, upload: Upload, content: bytes, address: Address, reply_to: str | None
    ) -> Receipt:
        return _receipt(
            await self._api.write(
                upload.method,
                address.conversation,
                _where(address, reply_to),
                file={upload.field: (upload.name, content, upload.mime)},
            )
        )

    async def _text(
        self,
        method: str,
        address: Address,
        said: str,
        where: Parameters,
        *,
        repeatable: bool = False,
    ) -> Any:
        """Write a text with its formatting, or without it if Telegram does not take that."""
        plain = {**where, "link_preview_options": self._previews}
        chat = address.conversation
        try:
            formatted = {**plain, "text": to_html(said), "parse_mode": "HTML"}
            return await self._api.write(method, chat, formatted, repeatable=repeatable)
        except Rejected as refused:
            if refused.reason != "bad_markup":
                raise
        return await self._api.write(
            method, chat, {**plain, "text": clean(said)}, repeatable=repeatable
        )


def _where(address: Address, reply_to: str | None) -> dict[str, Any]:
    """Topic and answered message; one that is gone is no reason not to answer."""
    answered = _number(reply_to)
    return {
        "message_thread_id": _number(address.thread),
        "reply_parameters": None
        if answered is None
        else {"message_id": answered, "allow_sending_without_reply": True},
    }


def _number(told: str | None) -> int | None:
    """An id as Telegram has it; None for what is none of its ids."""
    return int(told) if told and _ID.fullmatch(told) else None


def _receipt(told: object) -> Receipt:
    with id_told():
        return Receipt(platform_message_id=str(number(fields(told, "message"), "message_id")))
