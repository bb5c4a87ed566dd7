"""What becomes of one event: a turn with its file, a change, or nothing."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

import trio

from ..actors.errors import AccessDenied, FileNotKept, FileTooLarge, TurnRefused
from ..actors.messages import Address, Attachment, InboundTurn, MessageChange
from .base import Channel, ChannelError, Deliver, Rejected
from .fetching import FetchFailed, FetchRefused, safe_name
from .json_fields import Malformed
from .matrix_batches import Invite
from .matrix_files import IncomingFile, MediaSource
from .matrix_rooms import Rooms
from .matrix_wire import Encrypted, Heard, Moved, Reader, RoomChanged

__all__ = ["Ear", "Speaker"]

_logger = logging.getLogger(__name__)

_FETCH_S: Final = 120.0
"""Seconds for a file; other rooms do not wait for it."""
_TRIES: Final = 3
"""How often a file is asked for before its turn comes with its reference alone."""
_TRY_AGAIN_S: Final = 1.0
_TOLD_EVERY_S: Final = 60.0
"""Seconds between two times that a stranger is told that they are one."""
_MAX_TOLD: Final = 1_000


class Speaker(Protocol):
    """Tells a human something that no agent says."""

    async def __call__(self, address: Address, words: str, reply_to: str, /) -> object: ...


class Ear:
    """Hears events for one run of a channel."""

    def __init__(
        self,
        channel: Channel,
        reader: Reader,
        deliver: Deliver,
        rooms: Rooms,
        source: MediaSource,
        *,
        tell: Speaker,
    ) -> None:
        """Hear nothing yet.

        Args:
            channel: whose `on_change`, `keep_file` and `line` are used.
            reader: reads events.
            deliver: takes turns.
            rooms: knows the rooms.
            source: has the files.
            tell: tells a stranger that they are one.
        """
        self._channel = channel
        self._reader = reader
        self._deliver = deliver
        self.rooms = rooms
        self._source = source
        self._tell = tell
        self._told: OrderedDict[str, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Ear of {self._channel.name}>"

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
                    await self._hear_change(change)
                case Encrypted():
                    self.warn(f"room {room} is encrypted, and cannot be read")
                case Moved() as moved:
                    await self._follow(moved)
                case RoomChanged():
                    self.rooms.forget(room)
                case None:
                    _logger.debug("%s: an event that is nothing to us", self._channel.name)
        except Malformed as error:
            self.warn(f"an event that could not be read was left out: {error}")
        except TurnRefused as refused:
            if refused.retryable:
                raise
            _logger.debug("%s: refused for good: %s", self._channel.name, type(refused).__name__)

    def warn(self, what: str) -> None:
        """Tell the operator, once for as long as nothing else is to be told."""
        if self._channel.line.warning != what:
            _logger.warning("%s: %s", self._channel.name, what)
            self._channel.line.warning = what

    async def _hear_turn(self, heard: Heard) -> None:
        turn = heard.turn
        room = await self.rooms.look(turn.address.conversation)
        turn = replace(
            turn,
            chat_name=room.name,
            direct=room.direct,
            mentioned=turn.mentioned or room.direct or await self._answers_us(turn),
        )
        if heard.file is not None:
            turn = replace(turn, attachments=(await self._attachment(heard.file),))
        try:
            await self._deliver(turn)
        except AccessDenied as denied:
            if turn.direct and self._may_be_told(turn.user_id):
                await self._tell_stranger(turn.address, str(denied), turn.message_id)

    async def _answers_us(self, turn: InboundTurn) -> bool:
        return turn.reply_to is not None and await self.rooms.is_own(
            turn.address.conversation, turn.reply_to
        )

    async def _hear_change(self, change: MessageChange) -> None:
        if self._channel.on_change is not None:
            try:
                await self._channel.on_change(change)
            except ValueError as error:
                raise Malformed("the change cannot be stored") from error

    async def _follow(self, moved: Moved) -> None:
        """A room that was upgraded goes on under another id, which is another conversation."""
        what = f"room {moved.room} was replaced by {moved.to}, which is another conversation"
        try:
            joined = await self.rooms.accept(Invite(room=moved.to, by=moved.by, direct=False))
        except Rejected as refused:
            _logger.debug("%s: %s", self._channel.name, refused)
            joined = False
        self.warn(what if joined else f"{what}; the agent is not in it")

    async def _attachment(self, file: IncomingFile) -> Attachment:
        """A kept file; one by its `mxc://` reference if it cannot be kept."""
        with trio.move_on_after(_FETCH_S):
            for tried in range(_TRIES):
                try:
                    kept = await self._source.keep(file, self._channel)
                except (FileTooLarge, FileNotKept, FetchRefused) as error:
                    _logger.warning("%s: a file is not kept: %s", self._channel.name, error)
                    break
                except FetchFailed as error:
                    _logger.warning("%s: a file was not fetched: %s", self._channel.name, error)
                    await trio.sleep(_TRY_AGAIN_S * 2**tried)
                else:
                    if kept is not None:
                        return kept
                    break
        return Attachment(
            kind=file.kind,
            reference=file.reference,
            mime=file.mime,
            size_bytes=file.size_bytes,
            name=safe_name(file.name) if file.name else None,
        )

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

    async def _tell_stranger(self, address: Address, words: str, reply_to: str) -> None:
        try:
            await self._tell(address, words, reply_to)
        except ChannelError as error:
            _logger.debug("%s: a stranger was not told: %s", self._channel.name, error)
