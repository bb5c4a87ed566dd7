"""What a channel's `run` hands its turns to: the registry, a bounded number of them at a time.

Files that come with turns are kept before. A turn may name only those kept files that its own
channel has kept: whoever knows the digest of a file is not given the file for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterable, Callable
from typing import Any, Final, Protocol

import trio

from ..actors.errors import InvalidTurn, Overloaded, ShuttingDown
from ..actors.kernel import ActorDeadError, ActorRef, TrioFuture
from ..actors.messages import Accept, Accepted, Attachment, InboundTurn, Instance

__all__ = ["KEPT_FOR_S", "KEPT_SCHEME", "MAX_TURNS_IN_FLIGHT", "Inlet", "Keep"]

MAX_TURNS_IN_FLIGHT: Final = 256
"""Turns of one instance that wait to become durable: enough to fill a commit. `deliver` of the next
one waits its turn."""
KEPT_FOR_S: Final = 43_200.0
"""Seconds within which a turn must name a file that was kept for it. A file that no record names is
removed after twice as long, so none goes while its turn is being accepted."""
KEPT_SCHEME: Final = "blob:"
"""How references of kept files begin, and no others that a channel may deliver."""


class Keep(Protocol):
    """Keeps a file under the digest of what is in it."""

    async def __call__(self, content: bytes | AsyncIterable[bytes], /) -> tuple[str, int]:
        """The file's reference, and how many bytes it has; raises what `KeepFile` does."""
        ...


class Inlet:
    """What a channel's `run` is given as `deliver`.

    Turns reach the registry in the order of the calls, those that had to wait for room included.
    """

    def __init__(
        self,
        instance: Instance,
        registry: ActorRef[Any],
        keep: Keep,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        self._heard = heard
        """Called for every turn that was accepted."""
        self._instance = instance
        self._registry = registry
        self._keep = keep
        self._kept: OrderedDict[str, float] = OrderedDict()
        """Reference of each file that was kept -> when, the last one last."""
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
        if turn.attachments:
            self._check_references(turn.attachments)
        answer: TrioFuture[Accepted] = TrioFuture()
        if self._in_flight < MAX_TURNS_IN_FLIGHT:
            self._in_flight += 1
            self._registry.forward(Accept(turn=turn), answer)
        else:
            self._waiting[answer] = turn
        try:
            accepted = await answer
            self._heard()
            return accepted
        except ActorDeadError as error:
            raise Overloaded(f"the session stopped before it took the turn: {error}") from error
        finally:
            if self._waiting.pop(answer, None) is None:  # else it was never handed over
                self._make_room()

    async def keep(
        self,
        content: bytes | AsyncIterable[bytes],
        /,
        *,
        kind: str,
        mime: str | None = None,
        name: str | None = None,
    ) -> Attachment:
        """Keep a file; see :class:`.base.KeepFile`."""
        if not self._open:
            raise _shutting_down()
        reference, size_bytes = await self._keep(content)
        self._kept[reference] = now = trio.current_time()
        self._kept.move_to_end(reference)
        while next(iter(self._kept.values())) <= now - KEPT_FOR_S:
            self._kept.popitem(last=False)
        return Attachment(
            kind=kind, reference=reference, mime=mime, size_bytes=size_bytes, name=name
        )

    def _check_references(self, attachments: tuple[object, ...]) -> None:
        """Refuse files that were not kept here; what is no attachment is refused further in."""
        for item in attachments if isinstance(attachments, tuple) else ():  # pyright: ignore[reportUnnecessaryIsInstance]
            reference = item.reference if isinstance(item, Attachment) else None
            if not isinstance(reference, str) or not reference.startswith(KEPT_SCHEME):
                continue
            kept = self._kept.get(reference)
            if kept is None or kept <= trio.current_time() - KEPT_FOR_S:
                raise InvalidTurn(
                    f"channel {self._instance!r} has not kept the file {reference!r:.100}, "
                    "or too long ago"
                )

    def _make_room(self) -> None:
        if self._waiting and self._open:
            answer, turn = self._waiting.popitem(last=False)
            self._registry.forward(Accept(turn=turn), answer)
        else:
            self._in_flight -= 1


def _shutting_down() -> ShuttingDown:
    return ShuttingDown("the runtime is stopping and takes no more turns")
