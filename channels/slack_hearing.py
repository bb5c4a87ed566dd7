"""What becomes of one event: a turn with its files, a change, or nothing.

What is settled is noted, so that the channel knows later what it has missed. A mention is left to
its message, if that is heard too.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from ..actors.errors import ShuttingDown, TurnRefused
from ..actors.messages import InboundTurn, Instance, MessageChange
from .handover import Handover, insist
from .heard import Heard
from .json_fields import Malformed
from .queues import Place, Queues
from .slack_files import Files
from .slack_mark import Mark
from .slack_mentions import Mentions
from .slack_wire import Reader, Said, Throttled, event_of, said_in

__all__ = ["Ear", "Hearing"]

_logger = logging.getLogger(__name__)


class Hearing:
    """One event that has come, and has its place among those of its conversation."""

    def __init__(self, ear: Ear, payload: object, event_id: str, place: Place) -> None:
        self._ear = ear
        self._payload = payload
        self._event_id = event_id
        self._place = place
        self._said = said_in(payload)
        if self._said is not None:
            ear.came(self._said)
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
                await self._ear.hear(self._payload, self._said)
            self._settled = True
            return True
        except TurnRefused as refused:
            self._refused = refused
            self._ear.refused(self._said, refused)
            raise
        except trio.Cancelled:
            self._ear.refused(self._said, None)
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
        mark: Mark,
        mentions: Mentions,
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
            mark: notes what is settled.
            mentions: knows which mentions need not be heard.
            fetch_s: seconds that the files of a message may take.
            patient: whether what is refused for now is tried again here, in its place, for as long
                as it takes; or else left to Slack to deliver again.
        """
        self._name = name
        self._reader = reader
        self._files = files
        self._handover = handover
        self._mark = mark
        self._mentions = mentions
        self._fetch_s = fetch_s
        self._patient = patient
        self._queues = Queues()
        self._hearings: dict[str, Hearing] = {}
        self.on_missed: Callable[[str], None] | None = None
        """Called with a channel of which a message was refused or given up: Slack may not tell it
        again."""

    def __repr__(self) -> str:
        return f"<Ear of {self._name}>"

    def take(self, payload: object) -> Hearing:
        """Give an event its place, at once. Whoever calls this must `settle` it."""
        event_id, conversation = event_of(payload)
        hearing = Hearing(self, payload, event_id, self.stand(conversation))
        if event_id:
            self._hearings[event_id] = hearing
        return hearing

    def stand(self, conversation: str) -> Place:
        """The last place of a conversation. Whoever takes it must enter it, or leave."""
        return self._queues.stand(conversation)

    def earlier(self, payload: object) -> Hearing | None:
        """The hearing of the same event that is going on: Slack delivers what takes long again."""
        return self._hearings.get(event_of(payload)[0])

    def forget(self, event_id: str, hearing: Hearing) -> None:
        """A hearing is over."""
        if self._hearings.get(event_id) is hearing:
            del self._hearings[event_id]

    def came(self, said: Said) -> None:
        """A message has come, and is not settled."""
        progress = self._mark.progress
        if said.partial:
            progress.met(said.channel, said.message_id)
        else:
            progress.came(said.channel, said.message_id)
            self._mentions.message_came(said.channel, said.message_id)
        self._mark.touch()  # a new channel is remembered before its first message is settled

    def refused(self, said: Said | None, refused: TurnRefused | None) -> None:
        """A message is to come again later.

        Args:
            said: which, if it was one.
            refused: why; None if it took longer than whoever called waits.
        """
        if said is not None and not isinstance(refused, ShuttingDown) and self.on_missed:
            self.on_missed(said.channel)
            self._mark.progress.refused(said.channel, said.message_id)

    async def hear(self, payload: object, said: Said | None) -> None:
        """Return once an event that Slack has told is settled; it is its turn.

        Args:
            payload: the event.
            said: the new message in it, if there is one.

        Raises:
            TurnRefused: it is to be heard again later.
        """
        if said is None:
            return await self._hear(payload)
        channel, message_id = said.channel, said.message_id
        if said.partial and await self._mentions.is_left_to_message(channel, message_id):
            return None  # the message itself is not settled by that
        await self._hear(payload)
        self._mark.progress.passed(channel, message_id, trio.current_time())
        return self._mark.touch()

    async def hear_missed(self, payload: object) -> None:
        """Return once an event that Slack was asked for is settled; its conversation waits for it.

        Raises:
            TurnRefused: it is to be heard again later.
        """
        said = said_in(payload)
        if said is not None:
            self._mentions.message_came(said.channel, said.message_id)
        await self._hear(payload)

    async def _hear(self, payload: object) -> None:
        """Return once an event is settled.

        Raises:
            TurnRefused: it is to be heard again later.
        """
        try:
            news = self._reader.read(payload)
            match news:
                case Heard():
                    until_s = trio.current_time() + self._fetch_s
                    turn = await news.whole(self._files.keep, until_s=until_s)
                    await self._settle(lambda: self._take(turn))
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

    async def _take(self, turn: InboundTurn) -> None:
        thread = turn.address.thread
        if await self._handover.turn(turn) and thread is not None:
            self._mark.progress.took_part(turn.address.conversation, thread)

    async def _settle(self, hand_over: Callable[[], Awaitable[object]]) -> None:
        if self._patient:
            await insist(self._name, hand_over)
        else:
            await hand_over()
