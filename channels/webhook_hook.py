"""The webhook that programs call: signed as Standard Webhooks say, answered in JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from ..actors.messages import Instance
from .hooks import HookAnswer, HookDenied, HookHead, unavailable
from .http_json import BadJson, parse_json
from .json_fields import Malformed
from .webhook_hearing import Ear, answer_in_json
from .webhook_signing import SigningKey, Unsigned, presented_id
from .webhook_wire import read_call

__all__ = ["WebhookHook"]

_MAX_BODY_BYTES: Final = 1024 * 1024
"""A hundred messages of ten kilobytes; files come by their URLs."""


class WebhookHook:
    """Answers the calls of one program; while nobody listens, with 503."""

    def __init__(self, instance: Instance, key: SigningKey) -> None:
        self.max_body_bytes = _MAX_BODY_BYTES
        self._instance = instance
        self._key = key
        self.ear: Ear | None = None
        """Hears calls; None while the channel does not run."""

    def __repr__(self) -> str:
        return f"<WebhookHook, {'listening' if self.ear else 'closed'}>"

    def admit(self, head: HookHead, /) -> HookAnswer | None:
        """Let in what could be signed, now; nothing else of it is read before that."""
        if head.method != "POST":
            raise HookDenied(405, headers=(("allow", "POST"),))
        try:
            presented_id(head.headers)
        except Unsigned as error:
            raise HookDenied(401, str(error)) from error
        media_type = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != "application/json":
            raise HookDenied(415, "content-type must be application/json")
        return None if self.ear is not None else unavailable()

    async def hear(self, head: HookHead, body: bytes, /) -> HookAnswer:
        """Verify the signature, and answer what became of each item, once it is settled."""
        try:
            webhook_id = presented_id(head.headers)
            self._key.verify(head.headers, body)
        except Unsigned as error:
            raise HookDenied(401, str(error)) from error
        ear = self.ear
        if ear is None:
            return unavailable()
        try:
            call = read_call(self._instance, parse_json(body), webhook_id)
        except (BadJson, Malformed) as error:
            return answer_in_json(
                HTTPStatus.BAD_REQUEST, {"error": "bad_request", "reason": str(error)}
            )
        return await ear.hear(call)
