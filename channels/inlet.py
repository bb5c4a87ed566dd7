"""What a channel's `run` hands its turns to: the registry, a bounded number of them at a time."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from ..actors.errors import InvalidTurn, Overloaded, ShuttingDown
from ..actors.kernel import ActorDeadError, ActorRef, TrioFuture
from ..actors.messages import Accept, Accepted, InboundTurn, Instance

__all__ = ["MAX_TURNS_IN_FLIGHT", "Inlet"]

MAX_TURNS_IN_FLIGHT: Final = 256
"""Turns of one instance that wait to become durable: enough to fill a commit. `deliver` of the next
one waits its turn."""


class Inlet:
    """What a channel's `run` is given as `deliver`.

    Turns reach the registry in the order of the calls, those that had to wait for room included.
    """

    def __init__(self, instance: Instance, registry: ActorRef[Any]) -> None:
        self._instance = instance
        self._registry = registry
        self._in_flight = 0
        self._waiting: OrderedDict[TrioFuture[Accepted], InboundTurn] = OrderedDict()
        self._open = True

    def __repr__(self) -> str:
        return f"<Inlet in_flight={self._in_flight} waiting={len(self._waiting)}>"

    def close(self) -> None:
        """Refuse everything from now on."""
        self._open = False
        for answer in self._waiting:
            answer.fail(_shutting_down())

    async def __call__(self, turn: InboundTurn) -> Accepted:
        """Hand `turn` over; return once it is durable."""
        if not self._open:
            raise _shutting_down()
        if turn.address.instance != self._instance:
            raise InvalidTurn(
                f"channel {self._instance!r} delivered a turn of {turn.address.instance!r}"
            )
        answer: TrioFuture[Accepted] = TrioFuture()
        if self._in_flight < MAX_TURNS_IN_FLIGHT:
            self._in_flight += 1
            self._registry.forward(Accept(turn=turn), answer)
        else:
            self._waiting[answer] = turn
        try:
            return await answer
        except ActorDeadError as error:
            raise Overloaded(f"the session stopped before it took the turn: {error}") from error
        finally:
            if self._waiting.pop(answer, None) is None:  # else it was never handed over
                self._make_room()

    def _make_room(self) -> None:
        if self._waiting and self._open:
            answer, turn = self._waiting.popitem(last=False)
            self._registry.forward(Accept(turn=turn), answer)
        else:
            self._in_flight -= 1


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("the runtime is stopping and takes no more turns")
