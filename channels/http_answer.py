"""What a platform answered, and what that means for what was asked of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn, TypeAlias

from ..actors.frozen import message
from .base import ChannelError, LostAnswer, Rejected, Unreachable
from .display import printable
from .http_json import BadJson, parse_json
from .json_fields import Fields, Malformed, fields
from .pauses import MAX_PAUSE_S
from .secret import redact

__all__ = [
    "HttpAnswer",
    "Words",
    "expect_fields",
    "expect_json",
    "id_told",
    "quoted",
    "raise_for",
    "raise_unread",
    "readable",
    "refusal",
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

    def fields(self) -> Fields:
        """The body as an object.

        Raises:
            ValueError: it is none.
        """
        return fields(self.json(), "the answer")


Words: TypeAlias = Callable[[HttpAnswer], str]
"""The platform's own words of why it refuses. What is no answer of its kind raises ValueError,
KeyError, TypeError or AttributeError, and is quoted as it came."""


def raise_for(answer: HttpAnswer, *, sends: bool, words: Words | None = None) -> None:
    """Return if it is a success; otherwise raise the `refusal`."""
    if not answer.is_success:
        raise refusal(answer, sends=sends, words=words)


def refusal(answer: HttpAnswer, *, sends: bool, words: Words | None = None) -> ChannelError:
    """What the status says of an answer that is no success.

    A platform that says more in its bodies decides by them first, and leaves the rest to this.

    Args:
        answer: what came.
        sends: whether the call would have written something that people see.
        words: the platform's own words.

    Returns:
        Unreachable, if nothing was done: 429, with the seconds that the platform asks for; 408, 425
        and 503; a redirect, which is not followed, as the address of an API does not move but the
        sign-in page of a network answers in its place; and any of the five hundreds, if the call
        does not send. Rejected, for the other four hundreds. LostAnswer, for the other five
        hundreds: it may have been done.
    """
    status = answer.status
    text = f"{answer.asked}: {status} {_said(answer, words)}".rstrip()
    if status == 429 or status in _NOT_DONE:
        return Unreachable(
            text,
            reason="rate_limited" if status == 429 else "channel_down",
            retry_after_s=retry_after_s(answer.headers),
        )
    if 400 <= status < 500:
        return Rejected(text, reason=_REFUSALS.get(status, "rejected"))
    if 300 <= status < 400:
        return Unreachable(text, reason="redirected")
    if sends:
        return LostAnswer(text)
    return Unreachable(text, retry_after_s=retry_after_s(answer.headers))


def expect_json(answer: HttpAnswer, *, sends: bool) -> Any:
    """The body of a success as JSON.

    Raises:
        LostAnswer: it cannot be read, and the call sends: what it wrote has no id for us.
        Unreachable: it cannot be read.
    """
    with readable(f"{answer.asked}: {answer.status}, and no answer of its kind", sends=sends):
        return answer.json()


def expect_fields(answer: HttpAnswer, *, sends: bool) -> Fields:
    """The body of a success as an object; raises what `expect_json` does."""
    with readable(answer.asked, sends=sends):
        return fields(expect_json(answer, sends=sends), "the answer")


@contextmanager
def readable(what: str, *, sends: bool = False) -> Generator[None]:
    """Raise what `raise_unread` does for an answer that is found malformed in the block.

    Args:
        what: was asked, for the error.
        sends: whether the call has written something that people see.
    """
    try:
        yield
    except (BadJson, Malformed) as error:
        raise_unread(f"{what}: {error}", sends)


def id_told() -> AbstractContextManager[None]:
    """Raise a LostAnswer for a message that was taken and whose id cannot be read in the block."""
    return readable("it was taken, and its id not told", sends=True)


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
