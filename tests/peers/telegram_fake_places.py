"""Where a request may write: its chat, topic and the message it answers, or Telegram's refusal."""

from __future__ import annotations

from dataclasses import dataclass

from .telegram_fake_requests import ApiError, Parameters
from .telegram_fake_world import Chat, Json, World, words_of

__all__ = ["Place", "find_chat", "find_message", "find_place"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message is put."""

    chat: Chat
    thread_id: int | None
    reply_to: int | None
    quote: Json | None


def find_chat(world: World, parameters: Parameters) -> Chat:
    """The chat of a request; raises ApiError if the bot may not be there."""
    named = parameters.text("chat_id")
    if not named:
        raise ApiError.bad("chat_id is empty")
    chat = _named(world, named)
    if chat is None:
        raise ApiError.bad("chat not found")
    if chat.migrated_to is not None:
        raise ApiError(
            400,
            "Bad Request: group chat was upgraded to a supergroup chat",
            {"migrate_to_chat_id": chat.migrated_to},
        )
    if chat.user_id is not None:
        user = world.users[chat.user_id]
        if user.deactivated:
            raise ApiError.forbidden("user is deactivated")
        if user.blocked:
            raise ApiError.forbidden("bot was blocked by the user")
        if user.is_bot:
            raise ApiError.forbidden("bot can't send messages to bots")
        if not chat.started:
            raise ApiError.forbidden("bot can't initiate conversation with a user")
    elif chat.bot_status == "kicked":
        raise ApiError.forbidden(f"bot was kicked from the {_word(chat)}")
    elif chat.bot_status == "left":
        raise ApiError.forbidden(f"bot is not a member of the {_word(chat)}")
    return chat


def _named(world: World, named: str) -> Chat | None:
    if named.startswith("@"):
        titled = (chat for chat in world.chats.values() if chat.username == named[1:])
        return next(titled, None)
    try:
        return world.chats.get(int(named))
    except ValueError:
        return None


def _word(chat: Chat) -> str:
    return {"group": "group chat", "supergroup": "supergroup chat"}.get(chat.type, "channel chat")


def find_place(world: World, parameters: Parameters) -> Place:
    """Chat, topic and answered message of a request that sends; raises ApiError."""
    chat = find_chat(world, parameters)
    reply = parameters.parsed_object("reply_parameters")
    answered = parameters.number("reply_to_message_id")
    if answered is None and reply:
        answered = Parameters(reply).number("message_id")
    tolerant = bool(reply.get("allow_sending_without_reply")) or parameters.truth(
        "allow_sending_without_reply"
    )
    message = world.messages.get((chat.id, answered)) if answered is not None else None
    if answered is not None and message is None and not tolerant:
        raise ApiError.bad("message to be replied not found")
    thread_id = parameters.number("message_thread_id")
    if thread_id is not None and thread_id not in chat.topics:
        raise ApiError.bad("message thread not found")
    if thread_id is None and message is not None and chat.is_forum:
        thread_id = message.get("message_thread_id")
    if thread_id in chat.closed_topics and chat.bot_status != "administrator":
        raise ApiError.bad("TOPIC_CLOSED")
    quote = reply.get("quote")
    if quote and message is not None:
        if quote not in words_of(message):
            raise ApiError.bad("QUOTE_TEXT_INVALID")
        quote = {"text": quote, "position": 0, "is_manual": True}
    return Place(chat, thread_id, answered if message is not None else None, quote or None)


def find_message(world: World, parameters: Parameters, *, to: str) -> tuple[Chat, Json]:
    """The message that a request wants `to` edit or delete; raises ApiError."""
    chat = find_chat(world, parameters)
    message_id = parameters.number("message_id")
    if message_id is None:
        raise ApiError.bad("message identifier is not specified")
    message = world.messages.get((chat.id, message_id))
    if message is None:
        raise ApiError.bad(f"message to {to} not found")
    return chat, message
