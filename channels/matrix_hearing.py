"""What becomes of one event: a turn with its file, a change, or nothing."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import trio

from ..actors.messages import InboundTurn, Instance, MessageChange
from .base import Rejected
from .handover import Handover
from .heard import Heard
from .incoming_files import FETCH_S
from .json_fields import Malformed
from .matrix_batches import Invite
from .matrix_files import MediaSource
from .matrix_rooms import Rooms
from .matrix_wire import Encrypted, Moved, Reader, RoomChanged

__all__ = ["Ear"]

_logger = logging.getLogger(__name__)


class Ear:
    """Hears events for one run of a channel."""

    def __init__(
        self,
        name: Instance,
        reader: Reader,
        rooms: Rooms,
        source: MediaSource,
        handover: Handover,
    ) -> None:
        """Hear nothing yet.

        Args:
            name: of the instance.
            reader: reads events.
            rooms: knows the rooms.
            source: has the files of turns.
            handover: takes turns and changes.
        """
        self.name = name
        self._reader = reader
        self.rooms = rooms
        self._source = source
        self._handover = handover

    def __repr__(self) -> str:
        return f"<Ear of {self.name}>"

    @property
    def me(self) -> str:
        """Who hears."""
        return self._reader.me.user_id

    async def hear(self, room: str, event: object, names: Mapping[str, str]) -> None:
        """Return once an event is settled: durable, or nothing that could be.

        Raises:
            TurnRefused, Unreachable: it is to be heard again later.
            Rejected: the homeserver refuses to tell what must be known of it.
        """
        try:
            match self._reader.read(room, event, names):
                case Heard() as heard:
                    await self._hear_turn(heard)
                case MessageChange() as change:
                    await self._handover.change(change)
                case Encrypted():
                    self.warn(f"room {room} is encrypted, and cannot be read")
                case Moved() as moved:
                    await self._follow(moved)
                case RoomChanged():
                    self.rooms.forget(room)
                case None:
                    _logger.debug("%s: an event that is nothing to us", self.name)
        except Malformed as error:
            self.warn(f"an event that could not be read was left out: {error}")

    def warn(self, what: str) -> None:
        """Tell the operator."""
        self._handover.warn(what)

    async def _hear_turn(self, heard: Heard) -> None:
        """Nothing is known yet of the room."""
        turn = heard.turn
        room = await self.rooms.look(turn.address.conversation)
        mentioned = turn.mentioned or room.direct or await self._answers_us(turn)
        turn = await heard.whole(self._source.keep, until_s=trio.current_time() + FETCH_S)
        await self._handover.turn(
            replace(turn, chat_name=room.name, direct=room.direct, mentioned=mentioned)
        )

    async def _answers_us(self, turn: InboundTurn) -> bool:
        return turn.reply_to is not None and await self.rooms.is_own(
            turn.address.conversation, turn.reply_to
        )

    async def _follow(self, moved: Moved) -> None:
        """A room that was upgraded goes on under another id, which is another conversation."""
        what = f"room {moved.room} was replaced by {moved.to}, which is another conversation"
        try:
            joined = await self.rooms.accept(Invite(room=moved.to, by=moved.by, direct=False))
        except Rejected as refused:
            _logger.debug("%s: %s", self.name, refused)
            joined = False
        self.warn(what if joined else f"{what}; the agent is not in it")
