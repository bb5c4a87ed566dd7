"""Calls of Telegram's Bot API: the token in the path, the rates, one connection pool for all.

Source: https://core.telegram.org/bots/api, "Making requests"; the rates:
https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from ..actors.frozen import message
from .http_client import UploadedFile
from .http_connections import CALL_S, UPLOAD_S, HttpConnections
from .limiter import Limiter, Rate, limited, pausing
from .secret import Secret
from .telegram_errors import result_of

__all__ = ["Parameters", "SendRates", "TelegramApi", "is_private"]

Parameters: TypeAlias = Mapping[str, Any]


@message
class SendRates:
    """How fast a bot may write. The defaults are what Telegram allows, or a little less."""

    overall: Rate = Rate(per_s=25.0, burst=5)
    """About 30 messages a second in all."""
    private: Rate = Rate(per_s=1.0, burst=3, scope="place")
    """One a second to one human; short bursts may go over that."""
    group: Rate = Rate(per_s=0.25, burst=5, scope="place")
    """20 a minute in a group or channel."""


class TelegramApi(HttpConnections):
    """Asks Telegram, in the name of one bot."""

    def __init__(self, api_url: str, token: Secret, rates: SendRates) -> None:
        """Nothing is opened before the first call.

        Raises:
            ValueError: `api_url` is no URL of HTTP.
        """
        super().__init__(api_url)
        self.token = token
        self._overall = Limiter([rates.overall])
        self._private = Limiter([rates.private])
        self._groups = Limiter([rates.group])

    async def ask(
        self, method: str, parameters: Parameters | None = None, *, timeout_s: float = CALL_S
    ) -> Any:
        """The result of a method that writes nothing which people see.

        Raises:
            Unreachable, Rejected: see `result_of`.
        """
        return await self._call(method, parameters or {}, sends=False, timeout_s=timeout_s)

    async def write(
        self,
        method: str,
        chat: str,
        parameters: Parameters,
        *,
        file: Mapping[str, UploadedFile] | None = None,
        repeatable: bool = False,
    ) -> Any:
        """The result of a method that shows people something, at its turn.

        Args:
            method: which.
            chat: where.
            parameters: what else; those that are None are left out.
            file: to send with it, by the name of its parameter.
            repeatable: whether a second call changes nothing.

        Raises:
            Unreachable, Rejected, LostAnswer: see `result_of`.
        """
        limiter = self._private if is_private(chat) else self._groups
        await limited(limiter, chat)
        await limited(self._overall, "")
        with pausing(limiter, chat):
            return await self._call(
                method,
                {"chat_id": chat, **parameters},
                sends=not repeatable,
                timeout_s=CALL_S if file is None else UPLOAD_S,
                file=file,
            )

    async def _call(
        self,
        method: str,
        parameters: Parameters,
        *,
        sends: bool,
        timeout_s: float,
        file: Mapping[str, UploadedFile] | None = None,
    ) -> Any:
        given = {name: value for name, value in parameters.items() if value is not None}
        answer = await self.call(
            "POST",
            f"/bot{{token}}/{method}",
            values={"token": self.token},
            sends=sends,
            json=given if file is None else None,
            data=None if file is None else {name: _field(given[name]) for name in given},
            files=file,
            timeout_s=timeout_s,
        )
        return result_of(answer, sends=sends)


def is_private(chat: str) -> bool:
    """Whether it is one human's: it has the id of the human, and those of others are negative."""
    return not chat.startswith(("-", "@"))


def _field(value: object) -> str:
    """A parameter as a field of a form: what is no text is written as JSON."""
    return value if isinstance(value, str) else json.dumps(value)
