"""Noting: the half of the registry that lets two sessions write one batch.

When a session has spoken in a conversation that belongs to another, the outcome and the note of it
become durable together. Both sessions are engaged from then until the batch is submitted, and no
session is engaged twice at once: what concerns it waits here, in order. Everything else that is
meant for them goes on. Acts and notes wait for each other, because both hold sessions up.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

from ..storage.errors import StorageError
from .acting import Held
from .binding import Binder
from .core.records import MalformedRecord
from .deliveries import DeliveryReported
from .journal import load_binding, load_session_number
from .kernel import TrioFuture
from .messages import Accept, Address, SessionId
from .provenance import KeepNote, NoteLent, NoteReturned, NoteWaits
from .services import Services
from .unknown import UnknownSession

__all__ = ["NoteDesk"]

logger = logging.getLogger("turnkeeper.registry")


class NoteDesk(Binder):
    """Brings together whoever spoke and whoever must know of it."""

    def __init__(self, services: Services, next_stream: int) -> None:
        super().__init__(services, next_stream)
        self._engaged: dict[SessionId, SessionId] = {}
        """Each of two sessions that write one batch -> the other."""
        self._after: dict[SessionId, deque[DeliveryReported]] = {}
        """What waits until a session is not engaged any more."""
        self._ownerless: dict[Address, int] = {}
        """Places without an owner, and how many notes of each are on their way to the store."""
        self._first_turns: list[Held] = []
        """Turns that would give them an owner."""

    def _writes_notes(self) -> bool:
        return bool(self._engaged or self._ownerless)

    def _hear_outcome(
        self, report: DeliveryReported, _answer: TrioFuture[Any] | None = None
    ) -> None:
        """A delivery is over, or pauses: pass that on, with the note that it calls for."""
        place = report.address
        if place is None or not report.was_heard:
            self._to_session(report.session_id, report, None)
            return
        owner = self._owner_of(place)
        if owner == report.session_id:
            self._to_session(report.session_id, report, None)
        elif self._is_unrouted(report, None):
            return  # an act may give the place another owner
        elif owner is None:
            self._note_for_nobody(report, place)
        elif not self._is_behind(report, owner):
            self._engage(report, owner)

    def _owner_of(self, place: Address) -> SessionId | None:
        owner = self._places.get(place)
        if owner is None:
            binding = load_binding(self._services.store, place)
            owner = SessionId(binding.session_id) if binding is not None else None
        return owner

    # -- a note for the owner --------------------------------------------------------------------

    def _is_behind(self, report: DeliveryReported, owner: SessionId) -> bool:
        """Let a report wait, if one of its two sessions is engaged."""
        for session_id in (report.session_id, owner):
            if session_id in self._engaged:
                self._after.setdefault(session_id, deque()).append(report)
                return True
        return False

    def _engage(self, report: DeliveryReported, owner: SessionId) -> None:
        speaker = report.session_id
        self._engaged[speaker], self._engaged[owner] = owner, speaker
        try:
            stream = load_session_number(self._services.store, speaker)
            if stream is None:
                raise UnknownSession(f"there is no session {speaker!r}")
            keep = KeepNote(session_id=owner, speaker=speaker, speaker_stream=stream, report=report)
            self._to_session(owner, keep, None)
        except (UnknownSession, StorageError, MalformedRecord) as error:
            logger.error(  # noqa: TRY400  (the text says it all)
                "no note of %s can be kept in %s: %s", report.delivery_id, owner, error
            )
            self._disengage(speaker, owner)
            self._to_session(speaker, NoteLent(session_id=speaker, report=report, owner=None), None)

    def _note_lent(self, message: NoteLent) -> None:
        if message.owner is None:  # nobody keeps a note, and nobody will return one
            self._disengage(message.session_id, self._engaged.get(message.session_id))
        self._to_session(message.session_id, message, None)

    def _note_returned(self, message: NoteReturned) -> None:
        self._to_session(message.session_id, message, None)
        self._disengage(message.speaker, message.session_id)

    def _disengage(self, speaker: SessionId, owner: SessionId | None) -> None:
        if owner is None or self._engaged.get(speaker) != owner:
            return
        for session_id in (speaker, owner):
            self._engaged.pop(session_id, None)
        for session_id in (speaker, owner):
            self._go_on_after(session_id)
        self._at_quiet()

    def _go_on_after(self, session_id: SessionId) -> None:
        """Let go on what waited for a session, until it is engaged again."""
        waiting = self._after.get(session_id)
        while waiting and session_id not in self._engaged:
            self._hear_outcome(waiting.popleft())
        if waiting is not None and not waiting:
            self._after.pop(session_id, None)

    # -- a note for nobody yet -------------------------------------------------------------------

    def _note_for_nobody(self, report: DeliveryReported, place: Address) -> None:
        """Let the note wait in the store for whoever will own the place."""
        self._ownerless[place] = self._ownerless.get(place, 0) + 1
        lent = NoteLent(session_id=report.session_id, report=report, owner=None, awaits_owner=True)
        try:
            self._to_session(report.session_id, lent, None)
        except BaseException:
            self._note_waits(NoteWaits(address=place))
            raise

    def _is_ownerless(self, message: Accept, answer: TrioFuture[Any] | None) -> bool:
        """Let a first turn wait, if a note for the owner of its place is just being stored."""
        if message.turn.address not in self._ownerless:
            return False
        self._first_turns.append((message, answer))
        return True

    def _note_waits(self, message: NoteWaits) -> None:
        count = self._ownerless.get(message.address, 0) - 1
        if count > 0:
            self._ownerless[message.address] = count
            return
        self._ownerless.pop(message.address, None)
        waiting, self._first_turns = self._first_turns, []
        for turn, answer in waiting:
            self._let_in(turn, answer)
        self._at_quiet()
