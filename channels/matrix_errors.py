"""What a homeserver answers, and what its refusals mean.

Source: https://spec.matrix.org/v1.11/client-server-api/#standard-error-response, "Common error
codes", "Rate limiting" (`Retry-After`, and `retry_after_ms` of older servers), "Soft logout".
"""

from __future__ import annotations

from typing import Final

from .base import Rejected, Unreachable
from .http_answer import HttpAnswer, quoted, raise_unread, refusal, retry_after_s
from .json_fields import Fields, Malformed, fields, text
from .matrix_json import read_answer
from .pauses import least_pause_s

__all__ = ["ACCOUNT_REFUSED", "result_of"]

ACCOUNT_REFUSED: Final = frozenset({"unauthorized", "deactivated", "locked", "suspended"})
"""Reasons that are about the account, whatever it has asked for."""

_LIMITED: Final = "M_LIMIT_EXCEEDED"
_REASONS: Final = {
    "M_UNKNOWN_TOKEN": "unauthorized",
    "M_MISSING_TOKEN": "unauthorized",
    "M_USER_DEACTIVATED": "deactivated",
    "M_USER_LOCKED": "locked",
    "M_USER_SUSPENDED": "suspended",
    "M_FORBIDDEN": "forbidden",
    "M_GUEST_ACCESS_FORBIDDEN": "forbidden",
    "M_CONSENT_NOT_GIVEN": "consent_missing",
    "M_NOT_FOUND": "not_found",
    "M_UNRECOGNIZED": "unsupported",
    "M_TOO_LARGE": "too_large",
    "M_RESOURCE_LIMIT_EXCEEDED": "server_full",
    "M_INCOMPATIBLE_ROOM_VERSION": "unsupported",
}
"""Code -> one word."""
_BY_STATUS: Final = {401: "unauthorized", 403: "forbidden", 404: "not_found", 413: "too_large"}


def result_of(answer: HttpAnswer, *, sends: bool) -> Fields:
    """What an answer says, if it is a success: always an object.

    Args:
        answer: what came.
        sends: whether the call would have written something that people see.

    Raises:
        Unreachable: nothing was done, and it may be asked again: `rate_limited`, with the seconds
            that the homeserver asks for; or it broke, and the call does not send.
        Rejected: the homeserver refuses for good.
        LostAnswer: it sends, and the homeserver broke, or its answer cannot be read.
    """
    if answer.is_success:
        try:
            return fields(read_answer(answer.body), "the answer")
        except ValueError as error:
            raise_unread(f"{answer.asked}: {error}", sends)
    _refuse(answer)
    raise refusal(answer, sends=sends, words=_words)


def _refuse(answer: HttpAnswer) -> None:
    """Raise what the code says; return if there is none, or the status says it all."""
    if not 400 <= answer.status < 500:
        return
    try:
        told = fields(read_answer(answer.body), "the answer")
        code = text(told, "errcode") or ""
        said = f"{answer.asked}: {answer.status} {_words(answer)}"
    except ValueError:
        return  # no answer of a homeserver's, but of something in front of it
    if answer.status == 429 or code == _LIMITED:
        raise Unreachable(said, reason="rate_limited", retry_after_s=_pause_s(answer, told))
    if code == "M_UNKNOWN_TOKEN" and told.get("soft_logout") is True:
        raise Rejected(f"{said} (the session has expired: log in again)", reason="unauthorized")
    raise Rejected(said, reason=_REASONS.get(code, _BY_STATUS.get(answer.status, "rejected")))


def _pause_s(answer: HttpAnswer, told: Fields) -> float:
    by_header = retry_after_s(answer.headers)
    told_ms: object = told.get("retry_after_ms")
    by_body = None
    if isinstance(told_ms, int | float) and not isinstance(told_ms, bool):
        by_body = least_pause_s(told_ms / 1000)
    if by_body is not None and by_header is not None:
        return max(by_header, by_body)
    return by_header or by_body or 1.0


def _words(answer: HttpAnswer) -> str:
    """Raises ValueError for what is no answer of a homeserver's."""
    told = fields(read_answer(answer.body), "the answer")
    code, said = text(told, "errcode"), text(told, "error")
    if not code:
        raise Malformed("there is no errcode")
    return quoted(f"{code} {said or ''}".strip())
