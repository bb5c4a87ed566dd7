"""Hearing: the part of a session's shell for what humans say to it, their commands included.

A message is accepted once, however often its platform delivers it; what it has come to is found
again by the platform's id of it, in one batch with its record.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ..storage.base import Batch, Table
from ..storage.codec import encode_known
from ..storage.errors import StorageError
from .blob_rows import refer
from .core.conversation import Conversation
from .core.effects import Effect, Step
from .core.intake import body_digest, seen_window
from .core.session_commands import SessionVerb, plain, read_session_command
from .errors import MessageIdReused, Overloaded
from .journal import LastRow, SeenRow, batch_for, last_key, load_seen, seen_hash, seen_key
from .kernel import TrioFuture
from .messages import Accept, InboundTurn, SessionId
from .remembering import Remembering
from .services import Services

__all__ = ["Hearing"]


class Hearing(Remembering):
    """Writes down what humans say."""

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__(services, stream, conversation)
        self._in_flight: dict[bytes, SeenRow] | None = None
        """What is on its way to the store, as it will be recognised."""

    def _accept(self, message: Accept) -> None:
        turn, core = message.turn, self._core
        now_us = self._services.now_us()
        seen, command = seen_hash(turn), read_session_command(turn)
        row = self._in_flight.get(seen) if self._in_flight else None
        if row is None:
            row = load_seen(self._services.store, seen, now_us)
        if row is not None:
            self._recognise(turn, command, row)
        elif command is not None and self._services.commands:
            self._obey(turn, command, seen, now_us)
        elif core.open_turns >= self._services.max_open_turns:
            raise Overloaded(
                f"session {core.session_id} has {core.open_turns} turns waiting for its agent"
            )
        else:
            self._hear(turn, seen, now_us)

    def _recognise(self, turn: InboundTurn, command: SessionVerb | None, row: SeenRow) -> None:
        """Answer as before.

        Raises:
            MessageIdReused: the message was another one before.
        """
        session_id, seq, earlier = row
        if earlier != body_digest(turn) and (
            command is None or earlier != body_digest(plain(command, turn))
        ):
            raise MessageIdReused(
                f"message {turn.message_id!r} of {turn.address.conversation!r} on "
                f"{turn.address.instance!r} was accepted as {session_id}/{seq}, with another body"
            )
        self._commit(self._core.accept_again(SessionId(session_id), seq), self.take_reply())

    def _obey(self, turn: InboundTurn, command: SessionVerb, seen: bytes, now_us: int) -> None:
        """Carry out a command; it does not wait behind the turns of the agent."""
        core = self._core
        step = core.command(command, turn, now_us)
        row = (core.session_id, step.first_seq, body_digest(plain(command, turn)))
        self._take_in(batch_for(self._stream, core, step), step, seen, row, now_us)

    def _hear(self, turn: InboundTurn, seen: bytes, now_us: int) -> None:
        """Let the agent have what was said."""
        core, place = self._core, turn.address
        step = core.accept(turn, now_us, self._services.reset)
        row = (core.session_id, core.next_seq - 1, body_digest(turn))
        batch = batch_for(self._stream, core, step)
        if turn.attachments:
            refer(batch, self._stream, row[1], turn.attachments)
        last = LastRow(place.instance, place.conversation, place.thread, core.session_id, now_us)
        batch.put(Table.LAST, last_key(core.agent, place.instance), encode_known(list(last)))
        self._take_in(batch, step, seen, row, now_us)

    def _take_in(self, batch: Batch, step: Step, seen: bytes, row: SeenRow, now_us: int) -> None:
        batch.create(Table.SEEN, seen_key(seen_window(now_us), seen), encode_known(list(row)))
        if self._in_flight is None:
            self._in_flight = {}
        self._in_flight[seen] = row
        self._submit(batch, partial(self._taken_in, step.effects, self.take_reply(), seen))

    def _taken_in(
        self,
        effects: list[Effect],
        answer: TrioFuture[Any] | None,
        seen: bytes,
        error: StorageError | None,
    ) -> None:
        if self._in_flight is not None:
            self._in_flight.pop(seen, None)
            if not self._in_flight:
                self._in_flight = None
        self._durable(effects, answer, error)
