"""The wire of the Discord channel: a Discord in another process, over real HTTP and WebSockets."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from turnkeeper import Channel
from turnkeeper.channels.discord import DiscordChannel
from turnkeeper.testing import Failure, Seen, SeenFile, Wire

from ..peers import seen as peers_seen
from ..peers.discord_peer import DiscordPeer, open_discord

__all__ = ["WRONG_TOKEN", "DiscordWire", "make_discord", "open_discord_wire"]

WRONG_TOKEN: Final = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GfakeX.a-wrong-token-0123456789abcdefghijk"
_SENDS: Final = "/channels/*/messages"


class DiscordWire(Wire):
    """Two humans who write to the bot directly, and a guild with two threads."""

    quotes = True
    holds = True

    def __init__(self, discord: DiscordPeer) -> None:
        self.discord = discord
        self._authors: dict[str, str] = {}
        self._channels: dict[str, str] = {}

    async def people_arrive(self) -> None:
        """Let the humans and their places be there."""
        discord = self.discord
        ann, ben = await discord.add_user("Ann"), await discord.add_user("Ben")
        self.robot = await discord.add_user("robot", bot=True)
        direct = [await discord.dm(user) for user in (ann, ben)]
        self.conversations = tuple(direct)
        self._authors = dict(zip(direct, (ann, ben), strict=True)) | {discord.general: ann}
        self.group = discord.general
        threads = [await discord.add_thread(discord.general, ann, name) for name in ("one", "two")]
        self.threads = tuple((discord.general, thread) for thread in threads)
        self.secrets = (discord.token, WRONG_TOKEN)

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        said = f"<@{self.discord.bot}> {text}" if mention else text
        channel, author = thread or conversation, self._authors[conversation]
        message_id = await self.discord.user_says(channel, author, said, reply_to=reply_to)
        self._channels[message_id] = channel
        return message_id

    async def seen(self, conversation: str) -> Sequence[Seen]:
        threads = [thread for channel, thread in self.threads if channel == conversation]
        found: list[Seen] = []
        for channel in (conversation, *threads):
            thread = channel if channel in threads else None
            told = await self.discord.seen(channel)
            own = [one for one in told if one.user == self.discord.bot]
            found += [await self._as_seen(one, thread) for one in own]
        return sorted(found, key=lambda one: int(one.message_id))

    async def _as_seen(self, one: peers_seen.Seen, thread: str | None) -> Seen:
        file = None
        for upload in one.files:
            content = await self.discord.download(upload)
            file = SeenFile(content=content, name=upload.name, mime=upload.mime)
        return Seen(
            text=one.text,
            message_id=one.message_id,
            reply_to=one.reply_to,
            thread=thread,
            file=file,
        )

    async def redeliver(self, message_id: str, /) -> None:
        told = await self.discord.message(self._channels[message_id], message_id)
        await self.discord.gateway("tell", {"t": "MESSAGE_CREATE", "d": told})

    async def disconnect(self) -> None:
        await self.discord.gateway("refuse", 1_000_000)
        await self.discord.gateway("cut")

    async def reconnect(self) -> None:
        await self.discord.gateway("refuse", 0)

    async def garbage(self) -> None:
        await self.discord.gateway("say", "{no JSON")
        await self.discord.gateway("say", "[1, 2]")
        await self.discord.gateway("say", '{"op": "zero"}')
        nonsense: list[Any] = [
            5,
            [],
            {"channel_id": "one", "id": 7},
            {"channel_id": self.conversations[0], "id": "5", "author": {"id": []}, "type": 0},
        ]
        for told in nonsense:
            await self.discord.gateway("tell", {"t": "MESSAGE_CREATE", "d": told})
        await self.discord.gateway("tell", {"t": "GUILD_CREATE", "d": {"channels": 3}})

    async def unknown_update(self) -> None:
        await self.discord.gateway("tell", {"t": "MOON_PHASE", "d": {"illuminated": 0.4}})

    async def own_echo(self, text: str, /, *, conversation: str) -> None:
        await self.discord.user_says(conversation, self.discord.bot, text)

    async def other_bot_says(self, text: str, /, *, conversation: str) -> None:
        await self.discord.user_says(conversation, self.robot, text)

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        await self.discord.edits(conversation, message_id, text)

    async def delete(self, message_id: str, /, *, conversation: str) -> None:
        await self.discord.deletes(conversation, message_id)

    async def user_sends_file(
        self, name: str, content: bytes, mime: str, /, *, conversation: str
    ) -> str:
        author = self._authors[conversation]
        return await self.discord.user_says(conversation, author, "", files=[(name, content)])

    async def fail_next(self, failure: Failure, /) -> None:
        statuses = {
            "unreachable": 503,
            "server_error": 500,
            "unauthorized": 401,
            "forbidden": 403,
            "gone": 404,
        }
        fail = self.discord.fail
        match failure.kind:
            case "rate_limited":
                await fail(
                    "rate limit",
                    method="POST",
                    path=_SENDS,
                    retry_after_s=failure.retry_after_s or 1.0,
                )
            case "lost_answer":
                await fail("cut", method="POST", path=_SENDS, acts=True)
            case kind:
                await fail(method="POST", path=_SENDS, status=statuses[kind])

    async def hold(self) -> None:
        await self.discord.fail("hang", method="POST", path=_SENDS, times=1_000_000)

    async def release(self) -> None:
        await self.discord.mend()

    async def typing(self, conversation: str, /) -> int:
        return await self.discord.typing(conversation)


@asynccontextmanager
async def open_discord_wire() -> AsyncGenerator[DiscordWire]:
    """A Discord with some people, until the block ends."""
    with TemporaryDirectory() as folder:
        async with open_discord(Path(folder)) as discord:
            wire = DiscordWire(discord)
            await wire.people_arrive()
            yield wire


def make_discord(wire: DiscordWire, name: str, token: str | None = None, **keys: Any) -> Channel:
    """A channel for that Discord."""
    return DiscordChannel(name, token=token or wire.discord.token, api_url=wire.discord.url, **keys)
