"""What Telegram answers, and what its refusals mean.

Source: https://core.telegram.org/bots/api, "Making requests", "ResponseParameters"; the words of
the descriptions, which are documented nowhere, from https://github.com/TelegramBotAPI/errors and
https://github.com/vrumger/telegram-errors.
"""

from __future__ import annotations

from typing import Any, Final

from .base import Rejected, Unreachable
from .http_answer import HttpAnswer, expect_fields, quoted, raise_unread, refusal
from .json_fields import chosen, needed
from .pauses import least_pause_s

__all__ = ["CONFLICT", "result_of"]

CONFLICT: Final = "conflict"
"""The reason when somebody else fetches the updates of the same bot."""

_REASONS: Final = (
    ("can't parse entities", "bad_markup"),
    ("can't parse message text", "bad_markup"),
    ("entities_too_long", "bad_markup"),
    ("message is not modified", "not_modified"),
    ("message_not_modified", "not_modified"),
    ("message to edit not found", "message_gone"),
    ("message can't be edited", "message_gone"),
    ("no text in the message to edit", "message_gone"),
    ("message_id_invalid", "message_gone"),
    ("upgraded to a supergroup", "moved"),
    ("thread not found", "thread_not_found"),
    ("topic_deleted", "thread_not_found"),
    ("topic_closed", "topic_closed"),
    ("chat not found", "not_found"),
    ("chat was deleted", "not_found"),
    ("chat was deactivated", "not_found"),
    ("user not found", "not_found"),
    ("peer_id_invalid", "not_found"),
    ("channel_private", "not_found"),
    ("blocked by the user", "blocked"),
    ("user is deactivated", "deactivated"),
    ("was kicked", "kicked"),
    ("is not a member", "not_member"),
    ("can't initiate conversation", "not_started"),
    ("too big for a photo", "bad_file"),
    ("image_process_failed", "bad_file"),
    ("photo_", "bad_file"),
    ("wrong file", "bad_file"),
    ("wrong type", "bad_file"),
    ("is too long", "too_long"),
    ("message_too_long", "too_long"),
    ("too big", "too_large"),
    ("too large", "too_large"),
    ("text is empty", "empty"),
    ("must be non-empty", "empty"),
    ("rights", "forbidden"),
    ("_forbidden", "forbidden"),
    ("chat_restricted", "forbidden"),
    ("user_restricted", "forbidden"),
)
"""What stands in a description, in small letters -> one word. The first that fits counts."""
_BY_STATUS: Final = {401: "unauthorized", 403: "forbidden", 404: "unauthorized", 413: "too_large"}
"""404 is what a token is answered that is none at all."""


def result_of(answer: HttpAnswer, *, sends: bool) -> Any:
    """The result that an answer holds.

    Args:
        answer: what came.
        sends: whether the call would have written something that people see.

    Raises:
        Unreachable: nothing was done, and it may be asked again: `rate_limited`, with the seconds
            that Telegram asks for; `conflict`; or Telegram broke, and the call does not send.
        Rejected: Telegram refuses for good.
        LostAnswer: it sends, and Telegram broke, or its answer cannot be read.
    """
    if answer.is_success:
        told = expect_fields(answer, sends=sends)
        if "result" in told:
            return told["result"]
        raise_unread(f"{answer.asked}: no result in the answer", sends)
    _refuse(answer)
    raise refusal(answer, sends=sends, words=_description)


def _refuse(answer: HttpAnswer) -> None:
    """Raise what Telegram's own words say; return if the status says it all."""
    status = answer.status
    if not 400 <= status < 500:
        return
    try:
        said = _description(answer)
        parameters = chosen(answer.fields(), "parameters") or {}
    except ValueError:
        return  # no answer of Telegram's, but of something in front of it
    words = f"{answer.asked}: {status} {quoted(said)}"
    if status == 429:
        raise Unreachable(
            words,
            reason="rate_limited",
            retry_after_s=least_pause_s(parameters.get("retry_after")) or 1.0,
        )
    if status == 409:
        raise Unreachable(words, reason=CONFLICT)
    new_id = parameters.get("migrate_to_chat_id")
    if type(new_id) is int:
        raise Rejected(f"{words}; its id is {new_id} now", reason="moved")
    lowered = said.lower()
    by_words = (reason for words_of, reason in _REASONS if words_of in lowered)
    raise Rejected(words, reason=next(by_words, _BY_STATUS.get(status, "rejected")))


def _description(answer: HttpAnswer) -> str:
    return needed(answer.fields(), "description")
