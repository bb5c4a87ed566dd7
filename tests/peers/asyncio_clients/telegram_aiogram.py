"""A bot as aiogram's users write one: it echoes, edits, and turns documents around.

Runs in the peers' environment: `telegram_aiogram.py polling|webhook URL TOKEN [SECRET]`.
"""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false
# The libraries are installed where this runs, and not where it is checked.

from __future__ import annotations

import asyncio
import signal
import sys

from aiogram import Bot, Dispatcher, F
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.enums import ChatAction
from aiogram.exceptions import TelegramForbiddenError, TelegramRetryAfter
from aiogram.types import BufferedInputFile, CallbackQuery, Message, ReplyParameters
from aiogram.webhook.aiohttp_server import SimpleRequestHandler, setup_application
from aiohttp import web
from lines import say

dispatcher = Dispatcher()


@dispatcher.message(F.document)
async def turn_around(message: Message, bot: Bot) -> None:
    """Send a document back, the last byte first."""
    content = await bot.download(message.document)
    back = BufferedInputFile(content.read()[::-1], filename=f"back-{message.document.file_name}")
    await message.reply_document(back, caption=message.caption)


@dispatcher.message(F.text)
async def echo(message: Message, bot: Bot) -> None:
    """Type, answer, and edit the answer."""
    thread = message.message_thread_id if message.is_topic_message else None
    await bot.send_chat_action(message.chat.id, ChatAction.TYPING, message_thread_id=thread)
    answering = ReplyParameters(message_id=message.message_id)
    text = f"echo: {message.text}"
    while True:
        try:
            sent = await message.answer(text, reply_parameters=answering)
            break
        except TelegramRetryAfter as error:
            say("waits", error.retry_after)
            await asyncio.sleep(error.retry_after)
        except TelegramForbiddenError as error:
            say("forbidden", error.message)
            return
    await sent.edit_text(f"<i>{text}!</i>", parse_mode="HTML")


@dispatcher.edited_message()
async def edited(message: Message) -> None:
    """Say that an edit was seen."""
    await message.answer(f"edited: {message.text}")


@dispatcher.callback_query()
async def pressed(query: CallbackQuery) -> None:
    """Answer a button."""
    await query.answer("here")


async def serve(bot: Bot, secret: str) -> None:
    """Have updates pushed, until a signal."""
    application = web.Application()
    SimpleRequestHandler(dispatcher, bot, handle_in_background=False, secret_token=secret).register(
        application, path="/hook"
    )
    setup_application(application, dispatcher, bot=bot)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    await bot.set_webhook(f"http://127.0.0.1:{port}/hook", secret_token=secret)
    say("running", (await bot.me()).username)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await ended.wait()
    await bot.delete_webhook()
    await runner.cleanup()


async def main() -> None:
    """Run in the mode that is asked for."""
    mode, url, token, *secret = sys.argv[1:]
    session = AiohttpSession(api=TelegramAPIServer.from_base(url))
    async with Bot(token, session=session) as bot:
        if mode == "webhook":
            await serve(bot, *secret)
        else:
            say("running", (await bot.me()).username)
            await dispatcher.start_polling(bot, polling_timeout=20)
    say("stopped")


if __name__ == "__main__":
    asyncio.run(main())
