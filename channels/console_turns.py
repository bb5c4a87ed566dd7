"""Which turns still owe an answer: what a one-shot console waits for before it ends.

Pure bookkeeping. The facts about one turn may come in any order, since the turn can end before the
channel has even heard that it was accepted.
"""

from __future__ import annotations

from typing import Final

from ..actors.messages import DeliveryId, TurnId
from .latest import Latest

__all__ = ["OpenTurns"]

_MAX_EARLY: Final = 1024
"""Facts kept for turns not heard of yet; more can only be about turns of somebody else."""


class OpenTurns:
    """Turns accepted and not answered yet.

    A turn is closed once it was accepted, has ended, and the reply it names, if any, was shown.
    """

    def __init__(self) -> None:
        self._accepted: set[TurnId] = set()
        self._owed: set[DeliveryId] = set()
        self._early_ends: Latest[TurnId, DeliveryId | None] = Latest(_MAX_EARLY)
        self._early_shown: Latest[DeliveryId, None] = Latest(_MAX_EARLY)

    def __repr__(self) -> str:
        return f"<OpenTurns: {len(self._accepted)} running, {len(self._owed)} replies owed>"

    def __bool__(self) -> bool:
        return bool(self._accepted or self._owed)

    def accepted(self, turn_id: TurnId) -> None:
        """A turn has become durable."""
        self._accepted.add(turn_id)
        if turn_id in self._early_ends:
            self.ended(turn_id, self._early_ends.pop(turn_id))

    def ended(self, turn_id: TurnId, reply: DeliveryId | None) -> None:
        """A turn has ended; `reply` names its delivery."""
        if turn_id not in self._accepted:
            self._early_ends[turn_id] = reply
            return
        self._accepted.remove(turn_id)
        if reply is not None and reply not in self._early_shown:
            self._owed.add(reply)
        elif reply is not None:
            del self._early_shown[reply]

    def shown(self, delivery_id: DeliveryId) -> None:
        """A delivery has been shown."""
        if delivery_id in self._owed:
            self._owed.remove(delivery_id)
        else:
            self._early_shown[delivery_id] = None
