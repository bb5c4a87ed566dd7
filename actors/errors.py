"""What a channel may be told instead of `Accepted`.

TurnRefused
├── InvalidTurn       the turn is malformed: never deliver it again
├── MessageIdReused   the id was accepted before with another body: never deliver it again
├── AccessDenied      this human may not talk to the agent here: never deliver it again
├── NotAddressed      a message in a group that is meant for others: never deliver it again
├── SessionDamaged    its session cannot be read, and is not written over: repair it first
├── Unidentified      nobody could say who the human is: deliver it again later
├── FileTooLarge      a file that came with it is too long: deliver it without that file
├── FileNotKept       a file that came with it cannot be kept now: without it, or again later
├── Overloaded        a stated bound is reached: deliver it again later
└── ShuttingDown      the runtime is stopping: the platform will deliver it again
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccessDenied",
    "FileNotKept",
    "FileTooLarge",
    "InvalidTurn",
    "MessageIdReused",
    "NotAddressed",
    "Overloaded",
    "SessionDamaged",
    "ShuttingDown",
    "TurnRefused",
    "Unidentified",
]


class TurnRefused(Exception):
    """The turn was not accepted and nothing was stored."""

    retryable: ClassVar[bool] = False
    """Whether the same turn may be accepted later."""


class InvalidTurn(TurnRefused):
    """A field of the turn is missing, of the wrong type or too large."""


class MessageIdReused(TurnRefused):
    """The platform message id was accepted before, with another body."""


class AccessDenied(TurnRefused):
    """The human may not talk to the agent here; the text may be told to them."""


class NotAddressed(TurnRefused):
    """The message is meant for others in the group: nobody answers it."""


class SessionDamaged(TurnRefused):
    """What is stored of the session cannot be read; nothing was overwritten."""


class Unidentified(TurnRefused):
    """The identity resolver failed or took too long; no session was chosen."""

    retryable = True


class FileTooLarge(TurnRefused):
    """A file is longer than `limit_bytes`, the configured `attachment_max_bytes`."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(
            f"the file is longer than {limit_bytes:,} bytes, which attachment_max_bytes allows"
        )
        self.limit_bytes = limit_bytes


class FileNotKept(TurnRefused):
    """A file could not be kept: there is no room for it, or no state directory."""

    retryable = True


class Overloaded(TurnRefused):
    """A bound is reached; nothing is lost if the platform keeps the message."""

    retryable = True


class ShuttingDown(TurnRefused):
    """The runtime accepts nothing any more."""

    retryable = True
