"""Platforms as people have them: some humans on each, and a hand that ends and starts it.

What runs behind a surface is the peer that the platform's channel is tested against, in a process
of its own where it has one, so that it can be killed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import trio

from ..channels.webhook_program import IN, OUT
from ..peers.discord_peer import DiscordPeer, open_discord
from ..peers.matrix_peer import MatrixPeer, open_matrix
from ..peers.matrix_server import Synapse, run_synapse
from ..peers.remote import RemotePeer, open_remote
from ..peers.slack_fake import SlackFake, open_slack_fake
from ..peers.telegram_fake import TOKEN as TELEGRAM_TOKEN
from ..peers.whatsapp_fake_world import World as WhatsAppWorld

__all__ = ["Shown", "Surface", "open_surface"]

_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.05
"""How often to look at a platform in another process."""


@dataclass(frozen=True)
class Shown:
    """One message of the agent's, as the human has it."""

    message_id: str
    text: str


class Surface(ABC):
    """One platform, and a direct conversation with the agent for each of some humans on it."""

    kind: ClassVar[str]
    """Of the channel, the platform, and the instance alike."""
    quotes: ClassVar[bool] = True
    """Whether a human can answer one message of several."""
    tells_in_order: ClassVar[bool] = True
    """Whether the agent is told of messages in their order even after it could not be reached."""

    def __init__(self) -> None:
        self.users: list[str] = []
        self.conversations: list[str] = []
        """Of each user, in the same order."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Where its channel finds the platform, and with what it is admitted there."""

    def section(self) -> dict[str, Any]:
        """The section of its channel in a configuration: these humans may talk to the agent."""
        allowed = {"access": "allowlist", "allowed_users": self.users}
        return {"kind": self.kind, **self.options, **allowed}

    @abstractmethod
    async def joins(self) -> None:
        """One more human."""

    @abstractmethod
    async def says(self, who: int, text: str, *, reply_to: str | None = None) -> None:
        """A human writes to the agent."""

    @abstractmethod
    async def shown(self, who: int) -> Sequence[Shown]:
        """What the agent has said to a human, oldest first."""

    async def calls(self, hooks_url: str) -> None:  # noqa: B027
        """Let the platform call the agent under that URL, if it is one that calls."""

    @abstractmethod
    async def dies(self) -> None:
        """The platform is gone without a word."""

    @abstractmethod
    async def comes_back(self) -> None:
        """It is there again, with all that it knew, at the same address."""

    async def texts(self, who: int = 0) -> list[str]:
        """What the agent has said to a human, oldest first."""
        return [one.text for one in await self.shown(who)]

    async def until(self, holds: Callable[[list[str]], bool], who: int = 0) -> list[str]:
        """What the agent has said to a human, once it is as wanted; raises TooSlowError."""
        with trio.fail_after(_PATIENCE_S):
            while not holds(texts := await self.texts(who)):  # noqa: ASYNC110  # another process
                await trio.sleep(_LOOK_S)
        return texts

    async def until_said(self, text: str, who: int = 0) -> Shown:
        """The first message with this text, once it is there."""
        await self.until(lambda texts: text in texts, who)
        return next(one for one in await self.shown(who) if one.text == text)


class Platform(Protocol):
    """What a platform can be asked that has accounts, and rooms that they share."""

    @property
    def bot(self) -> str: ...

    @property
    def user_says(self) -> Callable[..., Awaitable[object]]: ...

    async def add_user(self, name: str, /) -> str: ...

    async def dm(self, user: str, /) -> str: ...

    async def seen(self, conversation: str, /) -> Sequence[Any]: ...


class PlatformSurface(Surface):
    """A platform in whose rooms humans are added and heard in the same way."""

    def __init__(self, platform: Platform) -> None:
        super().__init__()
        self._platform = platform

    async def joins(self) -> None:
        user = await self._platform.add_user(f"human-{len(self.users)}")
        self.users.append(user)
        self.conversations.append(await self._platform.dm(user))

    async def says(self, who: int, text: str, *, reply_to: str | None = None) -> None:
        quoted = {"reply_to": reply_to} if self.quotes else {}
        await self._platform.user_says(self.conversations[who], self.users[who], text, **quoted)

    async def shown(self, who: int) -> Sequence[Shown]:
        seen = await self._platform.seen(self.conversations[who])
        return [Shown(one.message_id, one.text) for one in seen if one.user == self._platform.bot]


class RemoteSurface(Surface):
    """A platform of our own in another process, which can be killed."""

    def __init__(self, peer: RemotePeer) -> None:
        super().__init__()
        self._peer = peer

    async def dies(self) -> None:
        await self._peer.kill()

    async def comes_back(self) -> None:
        await self._peer.start()


class TelegramSurface(RemoteSurface):
    """The Telegram of our own."""

    kind = "telegram"

    @property
    def options(self) -> dict[str, Any]:
        return {"token": TELEGRAM_TOKEN, "api_url": self._peer.url}

    async def joins(self) -> None:
        user = 1001 + len(self.users)
        await self._peer.call("opens_private", user=user)
        self.users.append(str(user))
        self.conversations.append(str(user))

    async def says(self, who: int, text: str, *, reply_to: str | None = None) -> None:
        user = int(self.users[who])
        quoted = int(reply_to) if reply_to else None
        await self._peer.call("user_says", chat=user, user=user, text=text, reply_to=quoted)

    async def shown(self, who: int) -> Sequence[Shown]:
        heard = await self._peer.call("heard", chat=int(self.conversations[who]))
        return [Shown(str(one["message_id"]), one["text"]) for one in heard]


class DiscordSurface(PlatformSurface):
    """The Discord of others, behind our bridge."""

    kind = "discord"

    def __init__(self, peer: DiscordPeer) -> None:
        super().__init__(peer)
        self._peer = peer

    @property
    def options(self) -> dict[str, Any]:
        return {"token": self._peer.token, "api_url": self._peer.url}

    async def dies(self) -> None:
        await self._peer.down()

    async def comes_back(self) -> None:
        await self._peer.up()


class SlackSurface(PlatformSurface):
    """The Slack of our own, which breaks off its connections and refuses new ones instead of
    dying: what it has not been answered it tells again, as Slack does."""

    kind = "slack"
    quotes = False
    tells_in_order = False

    def __init__(self, peer: SlackFake) -> None:
        super().__init__(peer)
        self._peer = peer
        peer.deliveries.waits_s = (0.5, 3.0, 10.0)

    @property
    def options(self) -> dict[str, Any]:
        tokens = {"token": self._peer.bot_token, "app_token": self._peer.app_token}
        return {**tokens, "api_url": self._peer.url.rstrip("/")}

    async def dies(self) -> None:
        await self._peer.down()

    async def comes_back(self) -> None:
        await self._peer.up()


class WhatsAppSurface(RemoteSurface):
    """The WhatsApp of our own, which calls the agent."""

    kind = "whatsapp"
    tells_in_order = False

    def __init__(self, peer: RemotePeer, account: WhatsAppWorld) -> None:
        super().__init__(peer)
        self._account = account

    @property
    def options(self) -> dict[str, Any]:
        return {
            "token": self._account.token,
            "phone_number_id": self._account.phone_id,
            "app_secret": self._account.app_secret,
            "verify_token": "nobody asks for it",
            "api_url": self._peer.url,
        }

    async def joins(self) -> None:
        user = str(491_751_234_000 + len(self.users))
        await self._peer.call("opens_window", user=user)
        self.users.append(user)
        self.conversations.append(user)

    async def says(self, who: int, text: str, *, reply_to: str | None = None) -> None:
        await self._peer.call("user_says", user=self.users[who], text=text, reply_to=reply_to)

    async def shown(self, who: int) -> Sequence[Shown]:
        heard = await self._peer.call("heard", user=self.users[who])
        return [Shown(one["message_id"], one["text"]) for one in heard]

    async def calls(self, hooks_url: str) -> None:
        await self._peer.call("uses", url=f"{hooks_url}/{self.kind}")


class WebhookSurface(RemoteSurface):
    """A program of our own, which calls the agent and is called by it."""

    kind = "webhook"
    quotes = False

    @property
    def options(self) -> dict[str, Any]:
        outbound = {"outbound_url": f"{self._peer.url}/in", "outbound_secret": OUT}
        return {"secret": IN, **outbound}

    async def joins(self) -> None:
        user = f"human-{len(self.users)}"
        self.users.append(user)
        self.conversations.append(user)

    async def says(self, who: int, text: str, *, reply_to: str | None = None) -> None:
        assert reply_to is None
        await self._peer.call("says", user=self.users[who], text=text)

    async def shown(self, who: int) -> Sequence[Shown]:
        heard = await self._peer.call("heard", user=self.users[who])
        return [Shown(one["id"], one["text"]) for one in heard]

    async def calls(self, hooks_url: str) -> None:
        await self._peer.call("uses", url=f"{hooks_url}/{self.kind}")


class MatrixSurface(PlatformSurface):
    """A real homeserver."""

    kind = "matrix"

    def __init__(self, peer: MatrixPeer, synapse: Synapse) -> None:
        super().__init__(peer)
        self._peer = peer
        self._synapse = synapse

    @property
    def options(self) -> dict[str, Any]:
        return {"homeserver": self._synapse.url, "access_token": self._peer.bot_token}

    async def dies(self) -> None:
        await trio.to_thread.run_sync(self._synapse.kill)

    async def comes_back(self) -> None:
        await trio.to_thread.run_sync(self._synapse.start)


@asynccontextmanager
async def open_surface(kind: str, folder: Path, humans: int = 1) -> AsyncGenerator[Surface]:
    """A platform with some humans until the block ends; it keeps what it knows in `folder`."""
    surface: Surface
    match kind:
        case "telegram":
            async with open_remote("tests.peers.telegram_fake", folder / "telegram.world") as peer:
                surface = TelegramSurface(peer)
                yield await _peopled(surface, humans)
        case "discord":
            async with open_discord(folder) as discord:
                surface = DiscordSurface(discord)
                yield await _peopled(surface, humans)
        case "slack":
            async with open_slack_fake() as slack:
                surface = SlackSurface(slack)
                yield await _peopled(surface, humans)
        case "whatsapp":
            async with open_remote("tests.peers.whatsapp_fake", folder / "whatsapp.world") as peer:
                surface = WhatsAppSurface(peer, WhatsAppWorld())
                yield await _peopled(surface, humans)
        case "webhook":
            async with open_remote("tests.peers.webhook_fake", folder / "webhook.world") as peer:
                surface = WebhookSurface(peer)
                yield await _peopled(surface, humans)
        case "matrix":
            home = folder / "matrix"
            home.mkdir()
            with run_synapse(home) as synapse:
                async with open_matrix(synapse) as matrix:
                    surface = MatrixSurface(matrix, synapse)
                    yield await _peopled(surface, humans)
        case _:
            raise ValueError(kind)


async def _peopled(surface: Surface, humans: int) -> Surface:
    for _ in range(humans):
        await surface.joins()
    return surface
