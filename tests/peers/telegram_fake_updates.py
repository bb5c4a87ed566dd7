"""How updates reach the bot: by one long poll at a time, or pushed to its webhook."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

import httpx
import trio

from .clients import open_client
from .telegram_fake_requests import ApiError, Parameters
from .telegram_fake_world import Json, Webhook, World
from .web import Pulse

__all__ = ["Answered", "Pusher", "Updates"]

_TIMEOUT_S: Final = 50
"""Longest that a poll waits, whatever it asks for."""
_PUSH_TIMEOUT_S: Final = 10.0
_SECRET: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class Answered(Exception):
    """A result with a description beside it, as the methods about webhooks give it."""

    def __init__(self, result: object, description: str) -> None:
        super().__init__(description)
        self.result = result
        self.description = description


@dataclass(slots=True)
class _Poll:
    """One request that waits."""

    scope: trio.CancelScope
    ended: str = ""
    """Why it was ended before its time."""


class Updates:
    """Polls and the setting of a webhook; of two polls the older one ends."""

    def __init__(self, world: World, pulse: Pulse) -> None:
        self._world = world
        self._pulse = pulse
        self._poll: _Poll | None = None

    @property
    def polling(self) -> bool:
        """Whether a poll waits."""
        return self._poll is not None

    async def get(self, parameters: Parameters) -> list[Json]:
        """Answer getUpdates; raises ApiError when another poll or a webhook takes over."""
        if self._world.webhook.url:
            raise _conflict(
                "can't use getUpdates method while webhook is active; "
                "use deleteWebhook to delete the webhook first"
            )
        self._end_poll(
            "terminated by other getUpdates request; "
            "make sure that only one bot instance is running"
        )
        self._allow(parameters)
        self._confirm(parameters.number("offset") or 0)
        limit = min(max(parameters.number("limit") or 100, 1), 100)
        wait_s = min(parameters.number("timeout") or 0, _TIMEOUT_S)
        poll = _Poll(trio.CancelScope(deadline=trio.current_time() + wait_s))
        self._poll = poll
        self._pulse.beat()
        try:
            with poll.scope:
                while not self._world.updates:
                    await self._pulse.wait()
        finally:
            if self._poll is poll:
                self._poll = None
        if poll.ended:
            raise _conflict(poll.ended)
        return self._world.updates[:limit]

    def _end_poll(self, why: str) -> None:
        if self._poll is not None:
            self._poll.ended = why
            self._poll.scope.cancel()
            self._poll = None

    def _confirm(self, offset: int) -> None:
        """Forget what the bot has got; a negative offset keeps that many of the newest."""
        updates = self._world.updates
        if offset < 0:
            del updates[: max(0, len(updates) + offset)]
        else:
            updates[:] = [update for update in updates if update["update_id"] >= offset]

    def _allow(self, parameters: Parameters) -> None:
        allowed = parameters.parsed_list("allowed_updates")
        if allowed is not None:
            self._world.allowed = [str(kind) for kind in allowed]

    def set_webhook(self, parameters: Parameters) -> None:
        """Answer setWebhook, by raising Answered or ApiError."""
        url, secret = parameters.text("url"), parameters.text("secret_token")
        if not url:
            self.delete_webhook(parameters)
        if urlsplit(url).scheme != "https" and urlsplit(url).hostname != "127.0.0.1":
            raise ApiError.bad("bad webhook: An HTTPS URL must be provided for webhook")
        if len(secret) > 256:
            raise ApiError.bad("secret token is too long")
        if not _SECRET.issuperset(secret):
            raise ApiError.bad("secret token contains unallowed characters")
        self._end_poll("terminated by setWebhook request")
        self._allow(parameters)
        self._drop(parameters)
        known = (self._world.webhook.url, self._world.webhook.secret) == (url, secret)
        self._world.webhook = Webhook(url, secret, parameters.number("max_connections") or 40)
        raise Answered(True, "Webhook is already set" if known else "Webhook was set")

    def delete_webhook(self, parameters: Parameters) -> None:
        """Answer deleteWebhook, by raising Answered."""
        known = bool(self._world.webhook.url)
        self._drop(parameters)
        self._world.webhook = Webhook()
        raise Answered(True, "Webhook was deleted" if known else "Webhook is already deleted")

    def _drop(self, parameters: Parameters) -> None:
        if parameters.truth("drop_pending_updates"):
            self._world.updates.clear()

    def webhook_info(self, _: Parameters) -> Json:
        """Answer getWebhookInfo."""
        webhook = self._world.webhook
        info: Json = {
            "url": webhook.url,
            "has_custom_certificate": False,
            "pending_update_count": len(self._world.updates),
        }
        if webhook.url:
            info["max_connections"] = webhook.max_connections
        if webhook.last_error is not None:
            info["last_error_date"] = webhook.last_error_at
            info["last_error_message"] = webhook.last_error
        if self._world.allowed:
            info["allowed_updates"] = self._world.allowed
        return info


class Pusher:
    """Pushes updates to the webhook: in order within a chat, again and again until a 2xx."""

    def __init__(self, world: World, pulse: Pulse, retry_s: float) -> None:
        self._world = world
        self._pulse = pulse
        self._retry_s = retry_s
        self._busy: set[int] = set()
        """The chats of which an update is on its way, or waits to be tried again."""

    async def run(self) -> None:
        """Push until cancelled."""
        async with (
            open_client(timeout=_PUSH_TIMEOUT_S) as client,
            trio.open_nursery() as nursery,
        ):
            while True:
                if self._world.webhook.url:
                    self._start_pushes(client, nursery)
                await self._pulse.wait()

    def _start_pushes(self, client: httpx.AsyncClient, nursery: trio.Nursery) -> None:
        for update in list(self._world.updates):
            chat_id = _chat_of(update)
            if len(self._busy) >= self._world.webhook.max_connections:
                return
            if chat_id not in self._busy:
                self._busy.add(chat_id)
                nursery.start_soon(self._push, client, update, chat_id)

    async def _push(self, client: httpx.AsyncClient, update: Json, chat_id: int) -> None:
        webhook = self._world.webhook
        body = json.dumps(update).encode()
        headers = {"Content-Type": "application/json"}
        if webhook.secret:
            headers["X-Telegram-Bot-Api-Secret-Token"] = webhook.secret
        wait_s = self._retry_s
        try:
            answer = await client.post(webhook.url, content=body, headers=headers)
        except httpx.TransportError as error:
            failed = f"Connection failed: {type(error).__name__}"
        else:
            failed = f"Wrong response from the webhook: {answer.status_code} {answer.reason_phrase}"
            if answer.is_success:
                failed = ""
                if update in self._world.updates:
                    self._world.updates.remove(update)
            wait_s = min(float(answer.headers.get("retry-after", wait_s)), 60.0)
        if failed:
            webhook.last_error, webhook.last_error_at = failed, int(time.time())
            await trio.sleep(wait_s)
        self._busy.discard(chat_id)
        self._pulse.beat()


def _conflict(what: str) -> ApiError:
    return ApiError(409, f"Conflict: {what}")


def _chat_of(update: Json) -> int:
    """The chat in whose order an update is pushed; 0 without one."""
    (content,) = (value for key, value in update.items() if key != "update_id")
    if not isinstance(content, dict):
        return 0  # what a test has made up to be refused
    content = cast("Json", content)
    chat = content.get("chat") or content.get("message", {}).get("chat") or {"id": 0}
    chat_id: int = chat["id"]
    return chat_id
