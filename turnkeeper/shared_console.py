"""A console in which terminals of other processes take part.

It tells those seats what a console view is not told: when a turn has ended, and which delivery has
been shown, so that each of them knows when everything it asked is answered.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Protocol

import trio

from .actors.messages import DeliveryId, TurnEnded
from .channels.base import Deliver, Outbound, Receipt
from .channels.console import AttachedView, ConsoleChannel, ConsoleView

__all__ = ["Seat", "SharedConsole"]


class Seat(ConsoleView, Protocol):
    """A view that also hears what has become of turns and deliveries; neither call may block."""

    def turn_ended(self, ended: TurnEnded) -> None: ...
    def was_shown(self, delivery_id: DeliveryId) -> None: ...


class SharedConsole(ConsoleChannel):
    """A console with seats."""

    def __init__(self, name: str = "console", *, stays: bool = False, **options: Any) -> None:
        """Args as of `ConsoleChannel`; `stays`: go on for the seats once the local input ended."""
        super().__init__(name, **options)
        self._stays = stays
        self._seats: list[tuple[AttachedView, Seat]] = []

    async def run(self, deliver: Deliver) -> None:
        """Hear the local input, and the seats as long as that, or for good."""
        await super().run(deliver)
        if self._stays:
            self._deliver = deliver
            try:
                await trio.sleep_forever()
            finally:
                self._deliver = None

    @contextmanager
    def seat(self, seat: Seat, conversation: str | None = None) -> Generator[AttachedView]:
        """Let `seat` see a conversation, and speak in it, while the block runs."""
        with self.attach(seat, conversation=conversation) as attached:
            entry = (attached, seat)
            self._seats.append(entry)
            try:
                yield attached
            finally:
                self._seats.remove(entry)

    async def send(self, outbound: Outbound) -> Receipt:
        """Show a reply in every view, and tell the seats that it was."""
        receipt = await super().send(outbound)
        for attached, seat in self._seats:
            if attached.conversation == outbound.address.conversation:
                seat.was_shown(outbound.delivery_id)
        return receipt

    def turn_ended(self, ended: TurnEnded) -> None:
        """Hear that a turn has ended, and tell the seats."""
        super().turn_ended(ended)
        for attached, seat in self._seats:
            if attached.conversation == ended.address.conversation:
                seat.turn_ended(ended)

    def delivery_dropped(self, delivery_id: DeliveryId, /) -> None:
        """Hear that a reply will never come, and tell the seats, which wait for it no longer."""
        super().delivery_dropped(delivery_id)
        for _, seat in self._seats:
            seat.was_shown(delivery_id)
