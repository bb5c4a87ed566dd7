"""A small Discord: simcord's backend, and the hands of the humans in it.

Runs in the peers' environment only. Time is real, ids are simcord's; everything can be saved to a
file and read back, so that a world outlives the process that holds it.
"""

# mypy: disable-error-code="import-not-found"
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import asyncio
import base64
import os
import pickle
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from simcord.backend import Backend, cdn, serializers
from simcord.backend.models import Overwrite
from simcord.enums import OverwriteType

__all__ = ["TOKEN", "World", "file_name"]

TOKEN: Final = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GfakeX.turnkeeper-peer-token-0123456789abc"
"""What the bot of a new world logs in with."""

_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]")

Emitted = Callable[[str, Mapping[str, Any]], None]


def file_name(name: str) -> str:
    """How Discord calls an upload, which it calls nothing that needs care in an address."""
    return _UNSAFE.sub("_", name)


class _SignedCdn(cdn.CdnStore):  # type: ignore[misc]  # it is not installed where types are checked
    """Addresses of files carry a proof and an end, without which nobody is given the file."""

    def store_attachment(self, *arguments: Any) -> dict[str, Any]:
        payload: dict[str, Any] = super().store_attachment(*arguments)
        proof = f"?ex=7fffffff&is=65000000&hm={payload['id']}"
        self._blobs[payload["url"] + proof] = self._blobs.pop(payload["url"])
        return payload | {"url": payload["url"] + proof, "proxy_url": payload["url"] + proof}


class _RealClock:
    """simcord's own clock stands still until a test moves it; bots outside of it live on."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass
class _Kept:
    """What is written to the file."""

    backend: Any
    guild: int
    token: str = TOKEN
    nonces: dict[str, int] = field(default_factory=dict)
    """Nonces of messages that were sent with `enforce_nonce`, and their ids."""
    typed: dict[int, int] = field(default_factory=dict)
    """How many times the bot was seen typing in a channel."""


def _new_world() -> _Kept:
    backend = Backend(clock=_RealClock())
    backend.cdn = _SignedCdn()
    backend.bot_user.name = "keeper"
    guild = backend.create_guild("Harbour")
    backend.create_channel(guild.id, "general")
    return _Kept(backend, guild.id)


class World:
    """The state of one Discord with one guild and one bot, and what happens in it."""

    def __init__(self, base_url: str, path: Path | None = None) -> None:
        cdn.CDN_BASE = base_url
        self._path = path
        self._changed = asyncio.Event()
        self._kept = self._read() or _new_world()
        self.version = 0
        """How often something has changed; see `change`."""
        self.sending: str | int | None = None
        """The nonce of the message that is being sent just now."""
        self.listeners: list[Emitted] = []
        self.backend.subscribers.append(self.emit)

    @property
    def backend(self) -> Any:
        """simcord's `Backend`."""
        return self._kept.backend

    @property
    def token(self) -> str:
        """What the bot must log in with."""
        return self._kept.token

    @property
    def bot(self) -> str:
        """The bot's id."""
        return str(self.backend.bot_user.id)

    @property
    def nonces(self) -> dict[str, int]:
        """Which message a nonce was used for."""
        return self._kept.nonces

    def replace_token(self, token: str) -> None:
        """The bot's owner has made a new token; the old one is worth nothing any more."""
        self._kept.token = token
        self._keep()

    def emit(self, event: str, payload: Mapping[str, Any]) -> None:
        """Tell everybody of something; called by the backend for each change of its own."""
        if event == "MESSAGE_CREATE" and str(payload["author"]["id"]) == self.bot:
            payload = {**payload, "nonce": self.sending}
        if event == "TYPING_START" and str(payload["user_id"]) == self.bot:
            channel = int(payload["channel_id"])
            self._kept.typed[channel] = self._kept.typed.get(channel, 0) + 1
        for listener in self.listeners:
            listener(event, payload)
        self.touch()

    def touch(self) -> None:
        """Something has changed: keep it, and wake whoever waits."""
        self.backend.transcript.clear()
        self.backend.http_requests.clear()
        self._keep()
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def change(self, since: int) -> int:
        """The version of the world, once it is beyond `since`."""
        while self.version <= since:
            await self._changed.wait()
        return self.version

    # What humans do. Ids are text, as on the wire.

    def add_user(self, name: str, *, bot: bool = False, member: bool = True) -> str:
        """A new account; a `member` of the guild reads and writes in its channels."""
        user = self.backend.make_user(name, bot=bot)
        if member:
            self.backend.add_member(self._kept.guild, user.id, announce=True)
        self.touch()
        return str(user.id)

    def add_channel(self, name: str) -> str:
        """A text channel that everybody in the guild may read and write."""
        return str(self.backend.create_channel(self._kept.guild, name).id)

    def dm(self, user: str) -> str:
        """The channel between the bot and a user."""
        channel = self.backend.get_dm_channel(int(user))
        self.touch()
        return str(channel.id)

    def add_thread(self, channel: str, user: str, name: str, message: str | None = None) -> str:
        """A public thread that a user has opened, on a message or by itself; its channel's id."""
        origin = int(message) if message is not None else None
        thread = self.backend.create_thread(int(channel), name, int(user), message_id=origin)
        return str(thread.id)

    def user_says(
        self,
        channel: str,
        user: str,
        text: str,
        *,
        reply_to: str | None = None,
        files: Iterable[tuple[str, str]] = (),
    ) -> str:
        """A message of a human's (or of another bot's); `files` are names and base64. Its id."""
        uploads = [(file_name(name), base64.b64decode(content)) for name, content in files]
        reference = {"channel_id": channel, "message_id": reply_to} if reply_to else None
        backend = self.backend
        message = backend.create_message(
            int(channel),
            int(user),
            text,
            reference=reference,
            attachments=backend.store_attachments(int(channel), uploads),
        )
        return str(message.id)

    def edits(self, channel: str, message: str, text: str) -> None:
        """The author of a message changes its text."""
        self.backend.edit_message(int(channel), int(message), {"content": text})

    def deletes(self, channel: str, message: str) -> None:
        """Somebody who may do so deletes a message."""
        self.backend.delete_message(int(channel), int(message))

    def types(self, channel: str, user: str) -> None:
        """A human begins to type."""
        guild = self.backend.get_channel(int(channel)).guild_id
        place = {"guild_id": str(guild)} if guild is not None else {}
        now = int(datetime.now(UTC).timestamp())
        self.emit(
            "TYPING_START", {"channel_id": channel, "user_id": user, "timestamp": now, **place}
        )

    def removes_channel(self, channel: str) -> None:
        """An administrator deletes a channel."""
        self.backend.delete_channel(int(channel))

    def forgets_nonces(self) -> None:
        """The few minutes pass in which Discord knows a nonce again."""
        self.nonces.clear()
        self.touch()

    def leaves(self) -> None:
        """An administrator removes the bot from the guild."""
        self.backend.remove_guild(self._kept.guild)

    def forbids(self, channel: str) -> None:
        """An administrator takes the right to write in a channel away from the bot."""
        send = 1 << 11 | 1 << 38  # SEND_MESSAGES, SEND_MESSAGES_IN_THREADS
        overwrite = Overwrite(self.backend.bot_user.id, OverwriteType.MEMBER, deny=send)
        self.backend.set_overwrite(int(channel), overwrite)

    # What humans see.

    def seen(self, channel: str) -> list[dict[str, Any]]:
        """The messages of a channel, oldest first."""
        messages = self.backend.messages.get(int(channel), {}).values()
        return [
            dict(serializers.message_payload(self.backend, message))
            for message in sorted(messages, key=lambda message: message.id)
            if not message.is_ephemeral
        ]

    def typing(self, channel: str) -> int:
        """How many times the bot was seen to start typing in a channel."""
        return self._kept.typed.get(int(channel), 0)

    def guilds(self) -> list[dict[str, Any]]:
        """Each guild as GUILD_CREATE tells it."""
        backend = self.backend
        return [
            dict(serializers.guild_create_payload(backend, guild))
            for guild in backend.guilds.values()
        ]

    def describe(self) -> dict[str, str]:
        """The ids that a test begins with."""
        general = self.backend.guilds[self._kept.guild].channel_ids[0]
        return {
            "token": self.token,
            "bot": self.bot,
            "guild": str(self._kept.guild),
            "general": str(general),
        }

    # The file.

    def _read(self) -> _Kept | None:
        if self._path is None or not self._path.exists():
            return None
        kept: _Kept = pickle.loads(self._path.read_bytes())
        return kept

    def _keep(self) -> None:
        if self._path is None:
            return
        with self._detached():
            content = pickle.dumps(self._kept)
        with tempfile.NamedTemporaryFile(dir=self._path.parent, delete=False) as file:
            file.write(content)
        os.replace(file.name, self._path)

    @contextmanager
    def _detached(self) -> Any:
        """The backend without its listeners, which are not state."""
        subscribers = self.backend.subscribers
        self.backend.subscribers = []
        try:
            yield
        finally:
            self.backend.subscribers = subscribers
