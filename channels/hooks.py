"""What a channel that is called over HTTP implements, and what it answers.

A hook decides twice: from the head of a request alone, before a byte of its body is read, and then
from the whole body. The server around it bounds everything and knows no platform.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Protocol, TypeAlias

from ..actors.errors import TurnRefused
from ..actors.frozen import message

__all__ = [
    "Hook",
    "HookAnswer",
    "HookDenied",
    "HookHead",
    "answer_to_refusal",
    "unavailable",
]

_RETRY_AFTER_S: Final = 5
"""What a platform is told that should deliver again: an overload is over, or a restart done."""

_Headers: TypeAlias = tuple[tuple[str, str], ...]


@message
class HookHead:
    """A request, without its body. All of it is the word of a stranger."""

    method: str
    """In capitals."""
    path: str
    """Without the query. It was written as it is here, without percent signs."""
    query: Mapping[str, str]
    """A request that gives a name twice is refused before it comes here."""
    headers: Mapping[str, str]
    """Names in lower case, each once."""
    peer: str
    """The IP address that the connection comes from, which may be a proxy's."""


@message
class HookAnswer:
    """What the platform is answered."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: _Headers = ()


class HookDenied(Exception):
    """The request is refused: 401 or 403 for who asks, 400, 405, 413 or 415 for how."""

    def __init__(self, status: int, word: str = "", *, headers: _Headers = ()) -> None:
        """Refuse.

        Args:
            status: of HTTP, 400 or more.
            word: what the stranger is told; nothing that they do not know already.
            headers: to send with it.
        """
        self.status = status
        self.word = word or HTTPStatus(status).phrase
        self.headers = headers
        super().__init__(f"{status} {self.word}")

    @property
    def answer(self) -> HookAnswer:
        """The refusal as it is sent."""
        return HookAnswer(status=self.status, body=f"{self.word}\n".encode(), headers=self.headers)


class Hook(Protocol):
    """One path that a platform calls."""

    @property
    def max_body_bytes(self) -> int:
        """Longest body, in bytes; a longer one is refused with 413 before it is read."""
        ...

    def admit(self, head: HookHead, /) -> HookAnswer | None:
        """Decide from the head alone. Nothing of the body has been read.

        Returns:
            None to go on and hear the body; or the answer, which ends the request.

        Raises:
            HookDenied: it is refused.
        """
        ...

    async def hear(self, head: HookHead, body: bytes, /) -> HookAnswer:
        """Verify the signature over the body as it came, deliver what it says, and answer.

        An answer of 200 says that the turn is durable. It is cancelled after the server's
        `hear_timeout_s`, and when the server stops.

        Raises:
            HookDenied: it is refused.
            TurnRefused: answered as `answer_to_refusal` says.
        """
        ...


def answer_to_refusal(refused: TurnRefused, *, final_status: int = 200) -> HookAnswer:
    """The answer when the turn was not accepted.

    Args:
        refused: why.
        final_status: for what will never be accepted. 200 ends it; many platforms deliver
            anything else again, and switch a hook off that refuses too often.
    """
    if refused.retryable:
        return unavailable()
    return HookAnswer(status=final_status)


def unavailable() -> HookAnswer:
    """Later, please: 503."""
    return HookAnswer(status=503, headers=(("retry-after", str(_RETRY_AFTER_S)),))
