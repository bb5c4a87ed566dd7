"""The humans of a fault run, and the platforms that deliver what they write, at least once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import trio

from turnkeeper import LateReceipt
from turnkeeper.actors.errors import MessageIdReused

from .events import CutPower, Hear, Redeliver, TellLater
from .lives import Lives
from .platforms import Arrival

__all__ = ["Humans", "Message"]

_MOST_PATIENCE_S: Final = 1.0
"""How long an acknowledgement may take on a disk that works, in virtual time."""


@dataclass
class Message:
    """What a human has written."""

    event: Hear
    quotes: str | None
    """The platform's id of the message that it quotes."""
    acknowledged: str | None = None
    was_new: bool = False
    """Whether one acknowledgement has said that it is no duplicate."""


class Humans(Lives):
    """Writes, and delivers again until it is acknowledged."""

    def __init__(self, seed: int, cut: CutPower | None = None) -> None:
        super().__init__(seed, cut)
        self.messages: dict[str, Message] = {}

    def is_message(self, what: str) -> bool:
        """Whether a request is a human's message."""
        return what.split(maxsplit=1)[0] in self.messages

    def hear(self, event: Hear) -> None:
        """A human writes."""
        quotes: str | None = None
        if event.quotes is not None:
            here = [one for one in self.platforms.arrived if one.place == event.place]
            quotes = here[event.quotes % len(here)].message_id if here else None
        message = self.messages[event.message_id] = Message(event, quotes)
        self.request(event.message_id, self._write, message)

    def redeliver(self, event: Redeliver) -> None:
        """A platform delivers an earlier message again, or another one under its id."""
        if not self.messages:
            return
        message = list(self.messages.values())[event.pick % len(self.messages)]
        what = f"{message.event.message_id} redelivered"
        if event.other_body:
            self.request(f"{what}, another body", self._write_otherwise, message)
        else:
            self.request(what, self._write, message)

    def tell_later(self, event: TellLater) -> None:
        """A platform tells more of a message that it has."""
        arrived = self.platforms.arrived
        if arrived:
            arrival = arrived[event.pick % len(arrived)]
            what = f"receipt {event.number}"
            self.request(what, self._tell_later, arrival, event.status)

    async def _tell_later(
        self, arrival: Arrival, status: Literal["delivered", "read", "failed"]
    ) -> object:
        hear = self.life.wires[arrival.place.instance].on_receipt
        assert hear is not None  # the channel actor has set it
        place, message_id = arrival.place, arrival.message_id
        return await hear(
            LateReceipt(
                conversation=place.conversation, platform_message_id=message_id, status=status
            )
        )

    def write_again(self) -> None:
        """Let the platforms deliver again what was not acknowledged."""
        for message in self.messages.values():
            if message.acknowledged is None:
                self.request(f"{message.event.message_id} again", self._write, message)

    async def _write(self, message: Message, text: str | None = None) -> object:
        event, place = message.event, message.event.place
        self.auditor.owners.called.add(place)
        began = trio.current_time()
        accepted = await self.life.wires[place.instance].receive(
            event.text if text is None else text,
            conversation=place.conversation,
            thread=place.thread,
            user_id=event.who.user_id,
            message_id=event.message_id,
            direct=place.conversation.startswith("dm"),
            reply_to=message.quotes,
        )
        took_s = trio.current_time() - began
        if took_s > _MOST_PATIENCE_S and not self.counts["HoldDisk"]:
            self.fail(f"9: {event.message_id} was acknowledged after {took_s:g} s")
        if message.acknowledged not in (None, accepted.turn_id):
            self.fail(
                f"4: {event.message_id} was {message.acknowledged}, and is {accepted.turn_id}"
            )
        if message.was_new and not accepted.duplicate:
            self.fail(f"4: {event.message_id} is a duplicate, and is taken for a new one")
        message.was_new |= not accepted.duplicate
        message.acknowledged = accepted.turn_id
        self.auditor.acknowledged((place.instance, place.conversation, event.message_id), accepted)
        return accepted.turn_id + (" (duplicate)" if accepted.duplicate else "")

    async def _write_otherwise(self, message: Message) -> object:
        if message.acknowledged is None:
            return "not accepted yet"
        try:
            await self._write(message, "m0: another body")
        except MessageIdReused:
            return "refused, as it should be"
        self.fail(f"4: another body of {message.event.message_id} was accepted")
        return "accepted"
