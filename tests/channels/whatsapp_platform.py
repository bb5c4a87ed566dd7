"""The wire of the WhatsApp channel: a WhatsApp of our own, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from turnkeeper import Channel
from turnkeeper.channels.limiter import Rate
from turnkeeper.channels.whatsapp import WhatsAppChannel
from turnkeeper.channels.whatsapp_api import SendRates
from turnkeeper.testing import Failure, Seen, SeenFile, Wire

from ..peers.faults import Hold
from ..peers.whatsapp_fake import WhatsApp, open_whatsapp

__all__ = ["ANN", "BEN", "VERIFY", "WRONG", "WhatsAppWire", "make_whatsapp", "open_whatsapp_wire"]

ANN: Final = "16505551234"
BEN: Final = "491751234567"
VERIFY: Final = "a verify token of ours"
HASTY: Final = SendRates(
    overall=Rate(per_s=10_000.0, burst=1_000),
    pair=Rate(per_s=1_000.0, burst=1_000, scope="place"),
)
"""No rates to speak of: a WhatsApp of our own has none unless it is told to."""
WRONG: Final = "EAAwrongtokenthatopensnothing"


class WhatsAppWire(Wire):
    """Two people. While no channel listens, what they say waits, and then comes as one batch."""

    conversations = (ANN, BEN)
    quotes = True
    holds = True

    def __init__(self, whatsapp: WhatsApp) -> None:
        self.whatsapp = whatsapp
        self._held: Hold | None = None
        self._channel: Channel | None = None
        world = whatsapp.world
        self.secrets = (world.token, world.app_secret, VERIFY, WRONG)
        for person in self.conversations:
            whatsapp.opens_window(person)

    async def attached(self, channel: Channel) -> None:
        self._channel = channel
        assert channel.hook_url is not None
        assert await self.whatsapp.subscribe(channel.hook_url, VERIFY)
        self.whatsapp.resumes(per_post=10)

    def hold_back(self) -> None:
        """Keep what is said from now on in its order, until a channel is there."""
        self.whatsapp.pauses()

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        if self._channel is not None and _is_closed(self._channel):
            self.hold_back()
        return self.whatsapp.user_says(conversation, text, reply_to=reply_to)

    async def seen(self, conversation: str) -> Sequence[Seen]:
        return [
            Seen(
                text=one.text,
                message_id=one.message_id,
                reply_to=one.reply_to,
                file=SeenFile(content=one.file.content, name=one.file.name, mime=one.file.mime)
                if one.file
                else None,
            )
            for one in self.whatsapp.heard(conversation)
        ]

    def tells(self, message: Any) -> None:
        """Tell the business something, whatever it is."""
        contact = self.whatsapp.world.person(ANN).contact()
        self.whatsapp.world.tell({"contacts": [contact], "messages": [message]})
        self.whatsapp.pulse.beat()

    async def redeliver(self, message_id: str, /) -> None:
        message = self.whatsapp.world.messages[message_id]
        self.tells(
            {
                "from": message.person,
                "id": message.id,
                "timestamp": str(message.at),
                "type": message.kind,
                message.kind: message.content,
            }
        )

    async def disconnect(self) -> None:
        await self.whatsapp.down()

    async def reconnect(self) -> None:
        await self.whatsapp.up()

    async def garbage(self) -> None:
        self.tells({"from": 5, "id": [], "timestamp": "now", "type": "text"})
        self.tells([])
        self.whatsapp.world.tell({"messages": 7, "statuses": [None]})
        self.whatsapp.world.changes.append({"field": "messages", "value": {"metadata": "none"}})
        self.whatsapp.pulse.beat()

    async def unknown_update(self) -> None:
        self.tells(
            {
                "from": ANN,
                "id": self.whatsapp.world.new_id(),
                "timestamp": "1749416383",
                "type": "hologram",
                "hologram": {"body": "new"},
            }
        )
        self.whatsapp.world.changes.append({"field": "phase_of_the_moon", "value": {"full": True}})
        self.whatsapp.pulse.beat()

    async def own_echo(self, text: str, /, *, conversation: str) -> None:
        world = self.whatsapp.world
        self.tells(
            {
                "from": world.phone,
                "to": conversation,
                "id": world.new_id(),
                "timestamp": str(int(world.now())),
                "type": "text",
                "text": {"body": text},
            }
        )

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        self.whatsapp.edits(conversation, message_id, text)

    async def delete(self, message_id: str, /, *, conversation: str) -> None:
        self.whatsapp.deletes(conversation, message_id)

    async def user_sends_file(
        self, name: str, content: bytes, mime: str, /, *, conversation: str
    ) -> str:
        return self.whatsapp.user_sends(conversation, content, name=name, mime=mime)

    async def fail_next(self, failure: Failure, /) -> None:
        match failure.kind:
            case "rate_limited":
                self.whatsapp.fails("messages", code=131056)
            case "unreachable":
                self.whatsapp.fails("messages", code=131016, status=503)
            case "server_error":
                self.whatsapp.fails("messages", code=131000)
            case "unauthorized":
                self.whatsapp.fails("messages", code=190)
            case "forbidden":
                self.whatsapp.fails("messages", code=10)
            case "gone":
                self.whatsapp.fails("messages", code=131026)
            case "lost_answer":
                self.whatsapp.loses_answers("messages")

    async def hold(self) -> None:
        self._held = self.whatsapp.holds("messages")

    async def release(self) -> None:
        assert self._held is not None
        self._held.released.set()
        self.whatsapp.faults.clear()

    async def typing(self, conversation: str, /) -> int:
        messages = self.whatsapp.world.messages
        marked = [
            messages[call.parameters["message_id"]]
            for call in self.whatsapp.called("messages")
            if "typing_indicator" in call.parameters
        ]
        return sum(message.person == conversation for message in marked)

    async def read(self, message_id: str, /, *, conversation: str) -> None:
        self.whatsapp.reads(conversation)


def _is_closed(channel: Channel) -> bool:
    hook: Any = channel.hook
    return hook.ear is None


@asynccontextmanager
async def open_whatsapp_wire() -> AsyncGenerator[WhatsAppWire]:
    """A WhatsApp with some people, until the block ends."""
    async with open_whatsapp() as whatsapp:
        yield WhatsAppWire(whatsapp)


def make_whatsapp(wire: WhatsAppWire, name: str, **keys: Any) -> WhatsAppChannel:
    """A channel for that WhatsApp."""
    world = wire.whatsapp.world
    given: dict[str, Any] = {
        "token": world.token,
        "phone_number_id": world.phone_id,
        "app_secret": world.app_secret,
        "verify_token": VERIFY,
        "api_url": wire.whatsapp.url,
        "check_s": 1.0,
        "rates": HASTY,
        **keys,
    }
    return WhatsAppChannel(name, **given)
