"""A bot on discord.py: `python discord_bot.py REST_URL GATEWAY_URL TOKEN [SILENCE_S]`.

It answers each message with `heard: TEXT`, names and lengths of files included; to `file` with a
file, to `thread` in a new thread, to `draft` with a message that it edits, and it shows that it
types. Standard output says `ready`, `resumed`, `disconnected`, `edited ID TEXT`, `deleted ID`,
and how it ended. A gateway that is silent for SILENCE_S seconds is given up.
"""

# mypy: disable-error-code="import-not-found"
# pyright: basic, reportMissingImports=false

from __future__ import annotations

import io
import sys
from typing import Any

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route
from lines import say


class Bot(discord.Client):  # type: ignore[misc]  # it is not installed where types are checked
    """Answers everybody but bots."""

    async def on_ready(self) -> None:
        say("ready")

    async def on_resumed(self) -> None:
        say("resumed")

    async def on_disconnect(self) -> None:
        say("disconnected")

    async def on_raw_message_edit(self, payload: Any) -> None:
        say("edited", payload.message_id, payload.data.get("content"))

    async def on_raw_message_delete(self, payload: Any) -> None:
        say("deleted", payload.message_id)

    async def on_message(self, message: Any) -> None:
        if message.author.bot:
            return
        if message.content == "file":
            await message.channel.send(file=discord.File(io.BytesIO(b"sent"), "sent.txt"))
        elif message.content == "thread":
            thread = await message.create_thread(name="aside")
            await thread.send("in the thread")
        elif message.content == "draft":
            draft = await message.channel.send("dra")
            await draft.edit(content="draft")
        else:
            async with message.channel.typing():
                read = [f" {file.filename}={await file.read()!r}" for file in message.attachments]
            await message.reply(f"heard: {message.content}{''.join(read)}")


def main() -> None:
    """Run until the gateway ends it for good."""
    rest_url, gateway_url, token, *silence_s = sys.argv[1:]
    Route.BASE = rest_url
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    intents = discord.Intents.default()
    intents.message_content = True
    heartbeat_timeout = float(silence_s[0]) if silence_s else 60.0
    bot = Bot(intents=intents, heartbeat_timeout=heartbeat_timeout, guild_ready_timeout=0.1)
    try:
        bot.run(token, log_handler=None)
    except discord.LoginFailure:
        say("login failed")
    except discord.PrivilegedIntentsRequired:
        say("intents refused")


if __name__ == "__main__":
    main()
