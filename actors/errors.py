"""What a channel may be told instead of `Accepted`.

TurnRefused
├── InvalidTurn       the turn is malformed: never deliver it again
├── MessageIdReused   the id was accepted before with another body: never deliver it again
├── SessionDamaged    its session cannot be read, and is not written over: repair it first
├── Overloaded        a stated bound is reached: deliver it again later
└── ShuttingDown      the runtime is stopping: the platform will deliver it again
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "InvalidTurn",
    "MessageIdReused",
    "Overloaded",
    "SessionDamaged",
    "ShuttingDown",
    "TurnRefused",
]


class TurnRefused(Exception):
    """The turn was not accepted and nothing was stored."""

    retryable: ClassVar[bool] = False
    """Whether the same turn may be accepted later."""


class InvalidTurn(TurnRefused):
    """A field of the turn is missing, of the wrong type or too large."""


class MessageIdReused(TurnRefused):
    """The platform message id was accepted before, with another body."""


class SessionDamaged(TurnRefused):
    """What is stored of the session cannot be read; nothing was overwritten."""


class Overloaded(TurnRefused):
    """A bound is reached; nothing is lost if the platform keeps the message."""

    retryable = True


class ShuttingDown(TurnRefused):
    """The runtime accepts nothing any more."""

    retryable = True
