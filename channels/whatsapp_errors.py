"""What the Graph API answers, and what its refusals mean: by their codes.

Source: https://developers.facebook.com/documentation/business-messaging/whatsapp/support/error-codes,
which says to decide by the code and not by status or title; the pair rate:
https://developers.facebook.com/documentation/business-messaging/whatsapp/throughput
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from .base import Rejected, Unreachable
from .http_answer import HttpAnswer, expect_fields, quoted, refusal, retry_after_s
from .json_fields import Fields, Malformed, fields, needed

__all__ = ["PAIR_LIMIT", "RateLimited", "bad_token", "reason_of", "result_of"]

PAIR_LIMIT: Final = 131056
"""Too many messages to one human."""

_LATER: Final[Mapping[int, float]] = {
    4: 60.0,
    80007: 60.0,
    130429: 5.0,
    131048: 600.0,
    PAIR_LIMIT: 6.0,
    131057: 600.0,
    133016: 600.0,
}
"""Code -> seconds to wait, where no header says more. 131057: the account is being maintained."""

_REASONS: Final[Mapping[int, str]] = {
    0: "unauthorized",
    190: "unauthorized",
    3: "forbidden",
    10: "forbidden",
    131005: "forbidden",
    130497: "forbidden",
    33: "not_found",
    368: "restricted",
    131031: "restricted",
    131042: "payment",
    131021: "own_number",
    131026: "undeliverable",
    131049: "undeliverable",
    130472: "undeliverable",
    131030: "not_allowed",
    131045: "not_registered",
    133010: "not_registered",
    131047: "window_closed",
    131051: "unsupported",
    131052: "bad_file",
    131053: "bad_file",
    100: "bad_request",
    131008: "bad_request",
    131009: "bad_request",
}
"""Code -> one word. 131047: more than 24 hours since the human last wrote; only a template may be
sent then. 131030: a test number, to somebody who is not on its list."""
_MISSING: Final = 33
"""Subcode of 100: there is no such number or file, or it is not ours."""


class RateLimited(Unreachable):
    """The platform wants to be left alone."""

    def __init__(self, words: str, code: int, wait_s: float) -> None:
        super().__init__(words, reason="rate_limited", retry_after_s=wait_s)
        self.code = code


def reason_of(code: object) -> str:
    """One word for a code, also where it is told later."""
    if type(code) is not int:
        return "rejected"
    if 200 <= code < 300:
        return "forbidden"  # a permission that was not granted or was taken away
    if code in _LATER:
        return "rate_limited"
    return _REASONS.get(code, "rejected")


def bad_token(refused: Rejected) -> bool:
    """Whether it is the token that is wrong, or may not do this."""
    return refused.reason in {"unauthorized", "forbidden"}


def result_of(answer: HttpAnswer, *, sends: bool) -> Fields:
    """What an answer holds.

    Args:
        answer: what came.
        sends: whether the call would have written something that people see.

    Raises:
        Unreachable: nothing was done, and it may be asked again; RateLimited: later.
        Rejected: it refuses for good.
        LostAnswer: it sends, and the platform broke, or its answer cannot be read.
    """
    if answer.is_success:
        return expect_fields(answer, sends=sends)
    _refuse(answer)
    raise refusal(answer, sends=sends, words=_words)


def _refuse(answer: HttpAnswer) -> None:
    """Raise what the code says; return if the status says it all."""
    try:
        error = _error(answer)
        said = _words(answer)
    except ValueError:
        return  # no answer of the Graph API's, but of something in front of it
    code: object = error.get("code")
    words = f"{answer.asked}: {answer.status} {quoted(said)}"
    if type(code) is int and code in _LATER:
        raise RateLimited(words, code, retry_after_s(answer.headers) or _LATER[code])
    # Some refusals that are final come with 500: of a missing permission, of a certificate.
    final = type(code) is int and reason_of(code) != "rejected"
    if type(code) is int and (final or 400 <= answer.status < 500) and answer.status != 429:
        if code == 100 and error.get("error_subcode") == _MISSING:
            raise Rejected(words, reason="not_found")
        reason = reason_of(code)
        if reason == "rejected" and answer.status in {401, 403}:
            reason = "unauthorized" if answer.status == 401 else "forbidden"
        raise Rejected(words, reason=reason)


def _error(answer: HttpAnswer) -> Fields:
    return fields(answer.fields().get("error"), "error")


def _words(answer: HttpAnswer) -> str:
    """The message, and the details, which say more where there are any."""
    error = _error(answer)
    said = needed(error, "message")
    with suppress(Malformed):
        return f"{said}: {needed(fields(error.get('error_data'), 'error_data'), 'details')}"
    return said
