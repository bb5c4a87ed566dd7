"""What becomes of one event: a turn with its files, a change, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import trio

from ..actors.errors import TurnRefused
from ..actors.messages import Instance, MessageChange
from .handover import Handover, insist
from .incoming_files import attachments_of
from .json_fields import Malformed
from .queues import Place, Queues
from .slack_files import Files
from .slack_wire import Heard, Reader, Throttled, event_of

__all__ = ["Ear", "Hearing"]

_logger = logging.getLogger(__name__)


class Hearing:
    """One event that has come, and has its place among those of its conversation."""

    def __init__(self, ear: Ear, payload: object, event_id: str, place: Place) -> None:
        self._ear = ear
        self._payload = payload
        self._event_id = event_id
        self._place = place
        self._refused: TurnRefused | None = None
        self._over = trio.Event()
        self._settled = False

    async def settle(self) -> bool:
        """Return True once the event is settled: durable, or nothing that could be.

        Raises:
            TurnRefused: it is to be heard again later.
        """
        try:
            async with self._place:
                await self._ear.hear(self._payload)
            self._settled = True
            return True
        except TurnRefused as refused:
            self._refused = refused
            raise
        finally:
            self._over.set()
            self._ear.forget(self._event_id, self)

    async def follow(self) -> bool:
        """Wait for what becomes of it; False if it was given up without an answer.

        Raises:
            TurnRefused: as `settle` did.
        """
        await self._over.wait()
        if self._refused is not None:
            raise self._refused
        return self._settled


class Ear:
    """Hears events for one run of a channel."""

    def __init__(
        self,
        name: Instance,
        reader: Reader,
        files: Files,
        handover: Handover,
        *,
        fetch_s: float,
        patient: bool,
    ) -> None:
        """Hear nothing yet.

        Args:
            name: of the instance.
            reader: reads events.
            files: has the files of turns.
            handover: takes turns and changes.
            fetch_s: seconds that the files of a message may take.
            patient: whether what is refused for now is tried again here, in its place, for as long
                as it takes; or else left to Slack to deliver again.
        """
        self._name = name
        self._reader = reader
        self._files = files
        self._handover = handover
        self._fetch_s = fetch_s
        self._patient = patient
        self._queues = Queues()
        self._hearings: dict[str, Hearing] = {}

    def __repr__(self) -> str:
        return f"<Ear of {self._name}>"

    def take(self, payload: object) -> Hearing:
        """Give an event its place, at once. Whoever calls this must `settle` it."""
        event_id, conversation = event_of(payload)
        hearing = Hearing(self, payload, event_id, self._queues.stand(conversation))
        if event_id:
            self._hearings[event_id] = hearing
        return hearing

    def earlier(self, payload: object) -> Hearing | None:
        """The hearing of the same event that is going on: Slack delivers what takes long again."""
        return self._hearings.get(event_of(payload)[0])

    def forget(self, event_id: str, hearing: Hearing) -> None:
        """A hearing is over."""
        if self._hearings.get(event_id) is hearing:
            del self._hearings[event_id]

    async def hear(self, payload: object) -> None:
        """Return once an event is settled; it is its turn.

        Raises:
            TurnRefused: it is to be heard again later.
        """
        try:
            news = self._reader.read(payload)
            match news:
                case Heard():
                    await self._hear_turn(news)
                case MessageChange():
                    await self._settle(lambda: self._handover.change(news))
                case Throttled():
                    self.warn("Slack leaves out events: more came in an hour than it delivers")
                case None:
                    _logger.debug("%s: an event that is nothing to us", self._name)
        except Malformed as error:
            self.warn(f"an event that could not be read was left out: {error}")

    def warn(self, what: str) -> None:
        """Tell the operator."""
        self._handover.warn(what)

    async def _hear_turn(self, heard: Heard) -> None:
        turn = heard.turn
        if heard.files:
            kept = await attachments_of(
                heard.files,
                self._files.keep,
                name=self._name,
                until_s=trio.current_time() + self._fetch_s,
            )
            turn = replace(turn, attachments=kept)
        await self._settle(lambda: self._handover.turn(turn))

    async def _settle(self, hand_over: Callable[[], Awaitable[object]]) -> None:
        if self._patient:
            await insist(self._name, hand_over)
        else:
            await hand_over()
