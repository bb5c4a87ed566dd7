"""A bot as python-telegram-bot's users write one: it echoes, edits, and turns documents around.

Runs in the peers' environment: `telegram_ptb.py URL TOKEN`.
"""

# mypy: ignore-errors
# pyright: basic, reportMissingImports=false, reportOptionalMemberAccess=false
# pyright: reportAttributeAccessIssue=false
# The libraries are installed where this runs, and not where it is checked.

from __future__ import annotations

import asyncio
import sys

from lines import say
from telegram import InlineKeyboardButton, InlineKeyboardMarkup, ReplyParameters, Update
from telegram.constants import ChatAction, ParseMode
from telegram.error import BadRequest, RetryAfter
from telegram.ext import (
    Application,
    CallbackQueryHandler,
    CommandHandler,
    ContextTypes,
    MessageHandler,
    filters,
)

BUTTONS = InlineKeyboardMarkup([[InlineKeyboardButton("More", callback_data="more")]])


async def start(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """Answer a command with markup that is wrong, and then with markup that is right."""
    try:
        await update.message.reply_text("<b>welcome", parse_mode=ParseMode.HTML)
    except BadRequest as error:
        say("refused", error.message)
    await update.message.reply_html("<b>welcome</b>", reply_markup=BUTTONS)


async def echo(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """Type, answer, and edit the answer."""
    message = update.message
    await message.chat.send_action(ChatAction.TYPING)
    answering = ReplyParameters(message_id=message.message_id)
    while True:
        try:
            sent = await message.chat.send_message(
                f"echo: {message.text}",
                reply_parameters=answering,
                message_thread_id=message.message_thread_id if message.is_topic_message else None,
            )
            break
        except RetryAfter as error:
            wait_s = error.retry_after
            seconds = wait_s.total_seconds() if hasattr(wait_s, "total_seconds") else wait_s
            say("waits", int(seconds))
            await asyncio.sleep(seconds)
    await sent.edit_text(f"echo: {message.text}!")
    try:
        await sent.edit_text(f"echo: {message.text}!")
    except BadRequest as error:
        say("unchanged", error.message)


async def edited(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """Say that an edit was seen."""
    await update.edited_message.reply_text(f"edited: {update.edited_message.text}")


async def turn_around(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """Send a document back, the last byte first."""
    document = update.message.document
    file = await document.get_file()
    content = bytes(await file.download_as_bytearray())
    await update.message.reply_document(
        content[::-1], filename=f"back-{document.file_name}", caption=update.message.caption
    )


async def more(update: Update, context: ContextTypes.DEFAULT_TYPE) -> None:
    """Answer a button."""
    await update.callback_query.answer("here")
    await update.callback_query.edit_message_text(f"pressed {update.callback_query.data}")


async def begun(application: Application) -> None:
    """Say who it is."""
    await application.bot.set_my_commands([("start", "Begin")])
    say("running", application.bot.username)


async def ended(application: Application) -> None:
    """Say that it has stopped well."""
    say("stopped")


def main() -> None:
    """Poll until a signal."""
    url, token = sys.argv[1:]
    builder = Application.builder().token(token)
    builder = builder.base_url(f"{url}/bot").base_file_url(f"{url}/file/bot")
    application = builder.post_init(begun).post_shutdown(ended).build()
    application.add_handler(CommandHandler("start", start))
    new = filters.UpdateType.MESSAGE
    application.add_handler(MessageHandler(filters.TEXT & new, echo))
    application.add_handler(MessageHandler(filters.Document.ALL & new, turn_around))
    application.add_handler(MessageHandler(filters.UpdateType.EDITED_MESSAGE, edited))
    application.add_handler(CallbackQueryHandler(more))
    application.run_polling(timeout=20, allowed_updates=Update.ALL_TYPES)


if __name__ == "__main__":
    main()
