"""How webhooks reach the business: verified once, signed, in batches, and again until a 200."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import httpx
import trio

from .clients import open_client
from .web import Pulse
from .whatsapp_fake_world import Json, Post, Webhook, World

__all__ = ["Hook", "packed", "raw_body", "signature"]

_PUSH_TIMEOUT_S: Final = 10.0


def raw_body(body: Json) -> bytes:
    """The bytes that are posted and signed: escaped as Meta does it, so that other JSON differs."""
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode("ascii")


def signature(secret: str, raw: bytes) -> str:
    """The header that proves who posts."""
    return "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


def packed(account_id: str, changes: Sequence[Json]) -> Json:
    """One body with all of `changes`, in every shape there is: entries, changes, and messages or
    statuses side by side."""
    entries: list[Json] = []
    last: Json = {}
    for index, change in enumerate(changes):
        value: Json = change["value"]
        shared = {"messages", "statuses"} & value.keys() & last.keys()
        if shared and index % 3 == 2:
            for key in (*shared, "contacts"):
                last[key] = [*last.get(key, []), *value.get(key, [])]
        elif entries and index % 3 == 1:
            entries[-1]["changes"].append(json.loads(json.dumps(change)))
        else:
            entries.append({"id": account_id, "changes": [json.loads(json.dumps(change))]})
        last = entries[-1]["changes"][-1]["value"]
    return {"object": "whatsapp_business_account", "entry": entries}


class Hook:
    """Posts what the world has to tell."""

    def __init__(
        self, world: World, pulse: Pulse, changed: Callable[[], None], retry_s: float
    ) -> None:
        self._world = world
        self._pulse = pulse
        self._changed = changed
        self._retry_s = retry_s
        self._client = open_client(timeout=_PUSH_TIMEOUT_S)
        self.paused = False
        """Whether changes are kept back."""
        self.again = 0
        """How often each post is repeated after a 200."""
        self.secret: str | None = None
        """What to sign with instead of the app's secret; an empty one does not sign at all."""
        self.statuses: list[int] = []
        """How the webhook has answered, 0 for not at all."""

    async def verify(self, url: str, token: str) -> int:
        """Challenge a URL and take it as the webhook if that succeeds; gives the status."""
        challenge = str(secrets.randbelow(2**31))
        asked = {"hub.mode": "subscribe", "hub.challenge": challenge, "hub.verify_token": token}
        try:
            answer = await self._client.get(url, params=asked)
        except httpx.TransportError:
            return 0
        if answer.status_code == 200 and answer.text == challenge:
            self._world.webhook = Webhook(url, token)
            self._changed()
        elif answer.status_code == 200:
            return 0
        return answer.status_code

    def release(
        self, *, per_post: int = 1, order: str = "as told", seed: int = 0, copies: int = 1
    ) -> None:
        """Put what was kept back into posts of `per_post` changes, `as told`, `reversed` or
        `shuffled`, each of them `copies` times, and go on."""
        changes = list(self._world.changes)
        self._world.changes.clear()
        if order == "reversed":
            changes.reverse()
        elif order == "shuffled":
            random.Random(seed).shuffle(changes)
        for start in range(0, len(changes), per_post):
            body = packed(self._world.account_id, changes[start : start + per_post])
            self._world.posts.extend(Post(body) for _ in range(copies))
        self.paused = False
        self._changed()

    async def run(self) -> None:
        """Post until cancelled; one that is refused comes again behind the others."""
        async with self._client:
            while True:
                if not self.paused:
                    for change in self._world.changes:
                        body = packed(self._world.account_id, [change])
                        self._world.posts.append(Post(body, again=self.again))
                    self._world.changes.clear()
                now = self._world.now()
                due = [post for post in self._world.posts if post.not_before <= now]
                if due and self._world.webhook.url:
                    await self._post(due[0])
                    continue
                waits = [post.not_before - now for post in self._world.posts]
                with trio.move_on_after(min(waits) if waits and min(waits) > 0 else float("inf")):
                    await self._pulse.wait()

    async def _post(self, post: Post) -> None:
        raw = raw_body(post.body)
        headers = {
            "content-type": "application/json",
            "user-agent": "facebookexternalua",
        }
        secret = self._world.app_secret if self.secret is None else self.secret
        if secret:
            headers["x-hub-signature-256"] = signature(secret, raw)
        try:
            url = self._world.webhook.url
            answer = await self._client.post(url, content=raw, headers=headers)
            status = answer.status_code
        except httpx.TransportError:
            status = 0
        self.statuses.append(status)
        post.attempts += 1
        self._world.posts.remove(post)
        if status != 200:
            post.not_before = self._world.now() + self._retry_s
            self._world.posts.append(post)
        elif post.again:
            post.again -= 1
            self._world.posts.append(post)
        self._changed()
