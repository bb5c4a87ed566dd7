"""Messages which the kernel itself understands."""

from __future__ import annotations

from typing import Any, Final

from pykka import messages as pykka_messages

__all__ = [
    "SPECIAL",
    "START",
    "STOPS",
    "Control",
    "Envelope",
    "Quarantined",
    "Retry",
    "Start",
    "Stop",
    "is_urgent",
]


class Control:
    """Base of messages that overtake the backlog and ignore the bound, e.g. an interrupt.

    They are handled in their own order, before every ordinary message, once the handler that is
    running has ended: there are never two handlers inside one actor.
    """

    __slots__ = ()


class Envelope:
    """A message whose answer somebody waits for."""

    __slots__ = ("message", "reply_to")

    def __init__(self, message: Any, reply_to: Any) -> None:
        self.message = message
        self.reply_to = reply_to
        """A :class:`~.future.TrioFuture`, or another future of pykka's; None for nobody."""


class Stop:
    """Asks an actor to stop once it has handled what came before; its answer is a bool."""

    __slots__ = ()


class Start:
    """Makes a new or restarted actor run its `on_start`."""

    __slots__ = ()


class Retry:
    """A message whose handler failed, on its way to the restarted actor."""

    __slots__ = ("attempts", "message")

    def __init__(self, message: object, attempts: int) -> None:
        self.message = message
        self.attempts = attempts
        """How often it has been handled, and failed."""


class Quarantined:
    """A message that has failed too often, on its way to the actor's `on_quarantine`."""

    __slots__ = ("error", "message")

    def __init__(self, message: object, error: Exception) -> None:
        self.message = message
        self.error = error


START: Final = Start()

STOPS: Final = frozenset({Stop, pykka_messages._ActorStop})  # pyright: ignore[reportPrivateUsage]
"""Types of the messages that end an actor's life."""

SPECIAL: Final = frozenset(
    {
        Envelope,
        Quarantined,
        Retry,
        Start,
        *STOPS,
        pykka_messages.ProxyCall,
        pykka_messages.ProxyGetAttr,
        pykka_messages.ProxySetAttr,
    }
)
"""Types of what does not go straight to `on_receive`."""


def is_urgent(item: Any) -> bool:
    """Whether `item`, perhaps in an envelope, overtakes the backlog."""
    return isinstance(item.message if type(item) is Envelope else item, Control)
