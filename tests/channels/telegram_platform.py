"""The wire of the Telegram channel: a Telegram of our own, over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from turnkeeper import Channel
from turnkeeper.channels.limiter import Rate
from turnkeeper.channels.telegram import TelegramChannel
from turnkeeper.channels.telegram_api import SendRates
from turnkeeper.testing import Failure, Seen, SeenFile, Wire

from ..peers.faults import Hold
from ..peers.telegram_fake import TOKEN, Telegram, open_telegram

__all__ = [
    "ANN",
    "BEN",
    "BOT",
    "FORUM",
    "GROUP",
    "HASTY",
    "OTHER_BOT",
    "TelegramWire",
    "make_telegram",
    "open_telegram_wire",
]

ANN: Final = 1001
BEN: Final = 1002
GROUP: Final = -100300
FORUM: Final = -100400
BOT: Final = "keeper_bot"
OTHER_BOT: Final = 77
HASTY: Final = SendRates(
    overall=Rate(per_s=10_000.0, burst=1_000),
    private=Rate(per_s=1_000.0, burst=1_000, scope="place"),
    group=Rate(per_s=1_000.0, burst=1_000, scope="place"),
)
"""No rates to speak of: a Telegram of our own has none unless it is told to."""


class TelegramWire(Wire):
    """People in two private chats, a group and a forum."""

    conversations = (str(ANN), str(BEN))
    group = str(GROUP)
    secrets = (TOKEN, TOKEN.partition(":")[2])
    quotes = True
    holds = True

    def __init__(self, telegram: Telegram) -> None:
        self.telegram = telegram
        self._held: Hold | None = None
        telegram.opens_private(ANN)
        telegram.opens_private(BEN)
        telegram.opens_chat(GROUP)
        telegram.opens_chat(FORUM, forum=True)
        telegram.adds_user(OTHER_BOT, "Other", username="other_bot", is_bot=True)
        topics = [telegram.opens_topic(FORUM, name, user=ANN) for name in ("one", "two")]
        self.threads = tuple((str(FORUM), str(topic)) for topic in topics)

    async def user_says(
        self,
        text: str,
        *,
        conversation: str,
        thread: str | None = None,
        reply_to: str | None = None,
        mention: bool = False,
    ) -> str:
        chat = int(conversation)
        return str(
            self.telegram.user_says(
                chat,
                chat if chat > 0 else ANN,
                f"@{BOT} {text}" if mention else text,
                thread=int(thread) if thread else None,
                reply_to=int(reply_to) if reply_to else None,
            )
        )

    async def seen(self, conversation: str) -> Sequence[Seen]:
        return [
            Seen(
                text=one.text,
                message_id=str(one.message_id),
                reply_to=str(one.reply_to) if one.reply_to else None,
                thread=str(one.thread_id) if one.thread_id else None,
                file=SeenFile(content=one.file.content, name=one.file.name, mime=one.file.mime)
                if one.file
                else None,
            )
            for one in self.telegram.heard(int(conversation))
        ]

    def tells(self, **content: Any) -> None:
        """Tell the bot an update, whatever is in it."""
        updates = self.telegram.world.updates
        updates.append({"update_id": self.telegram.world.next_update, **content})
        self.telegram.world.next_update += 1
        self.telegram.pulse.beat()

    async def redeliver(self, message_id: str, /) -> None:
        for (_, number), message in self.telegram.world.messages.items():
            if number == int(message_id):
                self.tells(message=message)
                return
        raise KeyError(message_id)

    async def disconnect(self) -> None:
        await self.telegram.down()

    async def reconnect(self) -> None:
        await self.telegram.up()

    async def garbage(self) -> None:
        self.tells(message={"message_id": "one", "chat": [], "text": 5})
        self.tells(message=[])
        self.tells(edited_message=7)

    async def unknown_update(self) -> None:
        self.tells(phase_of_the_moon={"illuminated": 0.4})

    async def own_echo(self, text: str, /, *, conversation: str) -> None:
        world = self.telegram.world
        self.tells(message=world.post(world.chat(int(conversation)), world.bot, {"text": text}))

    async def other_bot_says(self, text: str, /, *, conversation: str) -> None:
        world = self.telegram.world
        chat, bot = world.chat(int(conversation)), world.user(OTHER_BOT)
        self.tells(message=world.post(chat, bot, {"text": text}))

    async def edit(self, message_id: str, text: str, /, *, conversation: str) -> None:
        self.telegram.edits(int(conversation), int(message_id), text)

    async def user_sends_file(
        self, name: str, content: bytes, mime: str, /, *, conversation: str
    ) -> str:
        chat = int(conversation)
        return str(self.telegram.user_sends(chat, chat, content, name=name, mime=mime))

    async def fail_next(self, failure: Failure, /) -> None:
        telegram = self.telegram
        match failure.kind:
            case "rate_limited":
                telegram.fails(
                    "sendMessage", status=429, retry_after=int(failure.retry_after_s or 1)
                )
            case "unreachable":
                telegram.fails("sendMessage", status=503)
            case "server_error":
                telegram.fails("sendMessage", status=500)
            case "unauthorized":
                telegram.fails("sendMessage", status=401, description="Unauthorized")
            case "forbidden":
                telegram.fails(
                    "sendMessage",
                    status=403,
                    description="Forbidden: bot was blocked by the user",
                )
            case "gone":
                telegram.fails("sendMessage", status=400, description="Bad Request: chat not found")
            case "lost_answer":
                telegram.loses_answers("sendMessage")

    async def hold(self) -> None:
        self._held = self.telegram.holds("sendMessage")

    async def release(self) -> None:
        assert self._held is not None
        self._held.released.set()
        self.telegram.faults.clear()

    async def typing(self, conversation: str, /) -> int:
        acted = self.telegram.called("sendChatAction")
        return sum(str(call.parameters["chat_id"]) == conversation for call in acted)


@asynccontextmanager
async def open_telegram_wire() -> AsyncGenerator[TelegramWire]:
    """A Telegram with some people, until the block ends."""
    async with open_telegram() as telegram:
        yield TelegramWire(telegram)


def make_telegram(wire: TelegramWire, name: str, token: str = TOKEN, **keys: Any) -> Channel:
    """A channel for that Telegram, which writes as fast as it can."""
    keys.setdefault("rates", HASTY)
    return TelegramChannel(name, token=token, api_url=wire.telegram.url, **keys)
