"""What Discord answers, and what its refusals mean.

Source: https://docs.discord.com/developers/topics/opcodes-and-status-codes, "JSON Error Codes";
.../developers/topics/rate-limits, "Exceeding A Rate Limit".
"""

from __future__ import annotations

from typing import Any, Final

from .base import Rejected, Unreachable
from .http_answer import HttpAnswer, expect_json, quoted, refusal, retry_after_s
from .json_fields import Fields, needed
from .pauses import least_pause_s

__all__ = ["is_global", "result_of"]

_NO_CONTENT: Final = 204

_REASONS: Final = {
    10003: "not_found",  # unknown channel
    10004: "not_found",  # unknown guild
    10008: "message_gone",
    10013: "not_found",  # unknown user
    20009: "forbidden",  # explicit content cannot be sent to that human
    40001: "unauthorized",
    40002: "forbidden",  # the account must be verified
    40005: "too_large",
    40058: "locked",  # a forum post whose author has to write first
    50001: "no_access",
    50005: "message_gone",  # it is somebody else's
    50006: "empty",
    50007: "blocked",  # the human takes no direct messages, or shares no guild
    50008: "not_found",  # no messages there
    50009: "forbidden",
    50013: "forbidden",
    50014: "unauthorized",
    50024: "not_found",  # not on a channel of that kind
    50083: "archived",
    160002: "no_history",  # no answers without the right to read the history
    160005: "locked",
    200000: "blocked_by_rules",  # by the guild's automatic moderation
    200001: "blocked_by_rules",
    240000: "blocked_by_rules",  # a harmful link
}
"""Code -> one word."""
_TOO_LONG: Final = "BASE_TYPE_MAX_LENGTH"
_INVALID_FORM: Final = 50035


def result_of(answer: HttpAnswer, *, sends: bool) -> Any:
    """The JSON that an answer holds; None if it has no content.

    Args:
        answer: what came.
        sends: whether the call would have written something that people see.

    Raises:
        Unreachable: nothing was done, and it may be asked again: `rate_limited`, with the seconds
            that Discord asks for; or it broke, and the call does not send.
        Rejected: Discord refuses for good.
        LostAnswer: it sends, and Discord broke, or its answer cannot be read.
    """
    if answer.status == _NO_CONTENT:
        return None
    if answer.is_success:
        return expect_json(answer, sends=sends)
    told = _told(answer)
    if told is not None:
        _refuse(answer, told)
    raise refusal(answer, sends=sends, words=lambda answer: needed(answer.fields(), "message"))


def is_global(answer: HttpAnswer) -> bool:
    """Whether a 429 is of all requests: Discord's own global limit, or a ban of the address.

    What stands in front of Discord bans addresses; such an answer is no JSON.
    """
    told = _told(answer)
    return told is None or told.get("global") is True or "x-ratelimit-global" in answer.headers


def _refuse(answer: HttpAnswer, told: Fields) -> None:
    """Raise what Discord's own words say; return if the status says it all."""
    status, code = answer.status, told.get("code")
    if not 400 <= status < 500:
        return
    said = told.get("message")
    shown = quoted(said) if isinstance(said, str) else ""
    words = f"{answer.asked}: {status} {shown}".rstrip()
    if status == 429:
        raise Unreachable(
            words, reason="rate_limited", retry_after_s=_pause_s(answer, told.get("retry_after"))
        )
    if type(code) is not int:
        return
    if code == _INVALID_FORM and _TOO_LONG.encode() in answer.body:
        raise Rejected(words, reason="too_long")
    if code in _REASONS:
        raise Rejected(f"{words} ({code})", reason=_REASONS[code])


def _told(answer: HttpAnswer) -> Fields | None:
    try:
        return answer.fields()
    except ValueError:
        return None


def _pause_s(answer: HttpAnswer, told: object) -> float:
    by_body = None if isinstance(told, bool) else least_pause_s(told)
    return by_body or retry_after_s(answer.headers) or 1.0
