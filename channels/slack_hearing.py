"""What becomes of one event: a turn with its files, a change, or nothing."""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import replace
from itertools import count
from typing import Final, Protocol

import trio

from ..actors.errors import AccessDenied, TurnRefused
from ..actors.messages import Address, MessageChange
from .base import Channel, ChannelError, Deliver
from .json_fields import Malformed
from .slack_files import Files
from .slack_queues import Place, Queues
from .slack_wire import Heard, Reader, Throttled, event_of

__all__ = ["Ear", "Hearing", "Teller"]

_logger = logging.getLogger(__name__)

_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before a refused event is tried again: the first, the second … time."""
_TOLD_EVERY_S: Final = 60.0
"""Seconds between two times that a stranger is told that they are one."""
_MAX_TOLD: Final = 1_000


class Teller(Protocol):
    """Tells a human something that no agent says."""

    async def __call__(self, address: Address, words: str, /) -> object: ...


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
        channel: Channel,
        reader: Reader,
        deliver: Deliver,
        files: Files,
        *,
        tell: Teller,
        fetch_s: float,
        patient: bool,
    ) -> None:
        """Hear nothing yet.

        Args:
            channel: whose `on_change`, `keep_file` and `line` are used.
            reader: reads events.
            deliver: takes turns.
            files: has their files.
            tell: tells a stranger that they are one.
            fetch_s: seconds that the files of a message may take.
            patient: whether what is refused for now is tried again here, in its place, for as long
                as it takes; or else left to Slack to deliver again.
        """
        self._channel = channel
        self._reader = reader
        self._deliver = deliver
        self._files = files
        self._tell = tell
        self._fetch_s = fetch_s
        self._patient = patient
        self._queues = Queues()
        self._hearings: dict[str, Hearing] = {}
        self._told: OrderedDict[str, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Ear of {self._channel.name}>"

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
                    await self._hear_change(news)
                case Throttled():
                    self.warn("Slack leaves out events: more came in an hour than it delivers")
                case None:
                    _logger.debug("%s: an event that is nothing to us", self._channel.name)
        except Malformed as error:
            self.warn(f"an event that could not be read was left out: {error}")

    def warn(self, what: str) -> None:
        """Tell the operator."""
        _logger.warning("%s: %s", self._channel.name, what)
        self._channel.line.warning = what

    async def _hear_turn(self, heard: Heard) -> None:
        turn = heard.turn
        if heard.files:
            kept = await self._files.attachments(heard.files, self._channel, within_s=self._fetch_s)
            turn = replace(turn, attachments=kept)
        for tried in count():
            try:
                await self._deliver(turn)
            except AccessDenied as denied:
                if turn.direct and self._may_be_told(turn.user_id):
                    await self._tell_stranger(turn.address, str(denied))
            except TurnRefused as refused:
                if await self._is_to_be_tried_again(refused, tried):
                    continue
            return

    async def _hear_change(self, change: MessageChange) -> None:
        if self._channel.on_change is None:
            return
        for tried in count():
            try:
                await self._channel.on_change(change)
            except ValueError as error:
                raise Malformed("the change cannot be stored") from error
            except TurnRefused as refused:
                if await self._is_to_be_tried_again(refused, tried):
                    continue
            return

    async def _is_to_be_tried_again(self, refused: TurnRefused, tried: int) -> bool:
        """Whether to try again now, after a pause; False if it is refused for good.

        Raises:
            TurnRefused: it is to be delivered again.
        """
        if not refused.retryable:
            _logger.debug("%s: refused for good: %s", self._channel.name, type(refused).__name__)
            return False
        if not self._patient:
            raise refused
        pause_s = _PAUSES_S[min(tried, len(_PAUSES_S) - 1)]
        _logger.warning(
            "%s: an event is tried again in %s s: %s", self._channel.name, pause_s, refused
        )
        await trio.sleep(pause_s)
        return True

    def _may_be_told(self, user_id: str) -> bool:
        """Whether a stranger was not told lately: they may write as often as they like."""
        now = trio.current_time()
        if self._told.get(user_id, float("-inf")) > now - _TOLD_EVERY_S:
            return False
        self._told[user_id] = now
        self._told.move_to_end(user_id)
        while len(self._told) > _MAX_TOLD:
            self._told.popitem(last=False)
        return True

    async def _tell_stranger(self, address: Address, words: str) -> None:
        try:
            await self._tell(address, words)
        except ChannelError as error:
            _logger.debug("%s: a stranger was not told: %s", self._channel.name, error)
