"""What a platform answered, and what that means for what was asked of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn, TypeAlias

from ..actors.frozen import message
from .base import LostAnswer, Rejected, Unreachable
from .display import printable
from .http_json import BadJson, parse_json
from .pauses import MAX_PAUSE_S
from .secret import redact

__all__ = [
    "HttpAnswer",
    "Words",
    "expect_json",
    "quoted",
    "raise_for",
    "raise_unread",
    "retry_after_s",
]

_WORDS_CHARS: Final = 200
"""Longest piece of a platform's own words in an error."""
_SECONDS: Final = re.compile(r"\d{1,9}(?:\.\d{1,9})?")

_REFUSALS: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    410: "not_found",
    413: "too_large",
}
"""One word for each status that refuses for good; the others of their hundred are `rejected`."""
_NOT_DONE: Final = frozenset({408, 425, 503})
"""Statuses that say that nothing was done, and that it may be asked again."""


@message
class HttpAnswer:
    """An answer, read to its end."""

    asked: str
    """Method and path as they were given, with the names of secrets and not the secrets."""
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is of the two hundreds."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            BadJson: it is none that everybody reads alike.
        """
        return parse_json(self.body)


Words: TypeAlias = Callable[[HttpAnswer], str]
"""The platform's own words of why it refuses. What is no answer of its kind raises ValueError,
KeyError, TypeError or AttributeError, and is quoted as it came."""


def raise_for(answer: HttpAnswer, *, sends: bool, words: Words | None = None) -> None:
    """Return if it is a success; otherwise raise what the status says.

    A platform that says more in its bodies decides by them first, and leaves the rest to this.

    Args:
        answer: what came.
        sends: whether the call would have written something that people see.
        words: the platform's own words.

    Raises:
        Unreachable: nothing was done: 429, with the seconds that the platform asks for; 408, 425
            and 503; a redirect, which is not followed, as the address of an API does not move but
            the sign-in page of a network answers in its place; and any of the five hundreds, if
            the call does not send.
        Rejected: the other four hundreds.
        LostAnswer: the other five hundreds: it may have been done.
    """
    if answer.is_success:
        return
    status = answer.status
    text = f"{answer.asked}: {status} {_said(answer, words)}".rstrip()
    if status == 429 or status in _NOT_DONE:
        raise Unreachable(
            text,
            reason="rate_limited" if status == 429 else "channel_down",
            retry_after_s=retry_after_s(answer.headers),
        )
    if 400 <= status < 500:
        raise Rejected(text, reason=_REFUSALS.get(status, "rejected"))
    if 300 <= status < 400:
        raise Unreachable(text, reason="redirected")
    if sends:
        raise LostAnswer(text)
    raise Unreachable(text, retry_after_s=retry_after_s(answer.headers))


def expect_json(answer: HttpAnswer, *, sends: bool) -> Any:
    """The body of a success as JSON.

    Raises:
        LostAnswer: it cannot be read, and the call sends: what it wrote has no id for us.
        Unreachable: it cannot be read.
    """
    try:
        return answer.json()
    except BadJson as error:
        raise_unread(f"{answer.asked}: {answer.status}, and no answer of its kind: {error}", sends)


def raise_unread(text: str, sends: bool) -> NoReturn:
    """Raise for an answer that came and cannot be read.

    Raises:
        LostAnswer: if the call sends.
        Unreachable: if it does not.
    """
    if sends:
        raise LostAnswer(text)
    raise Unreachable(text, reason="bad_answer")


def retry_after_s(headers: Mapping[str, str], *, now_s: float | None = None) -> float | None:
    """For how many seconds the platform wants to be left alone, at most a week.

    Args:
        headers: with `retry-after` in seconds, or as a date.
        now_s: seconds since 1970; None for the clock.
    """
    told = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(told):
        return min(float(told), MAX_PAUSE_S)
    try:
        until_s = parsedate_to_datetime(told).timestamp()
    except (ValueError, OverflowError):
        return None
    wait_s = until_s - (time.time() if now_s is None else now_s)
    return min(max(wait_s, 0.0), MAX_PAUSE_S)


def _said(answer: HttpAnswer, words: Words | None) -> str:
    text = answer.body[: 4 * _WORDS_CHARS].decode("utf-8", "replace")
    if words is not None:
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            text = words(answer)
    return quoted(text)


def quoted(words: str) -> str:
    """A platform's own words, as they may stand in an error: short, in one line, no secret."""
    return printable(redact(words)[:_WORDS_CHARS])
