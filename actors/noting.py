"""Noting: the half of the registry that lets two sessions write one batch.

When a session has spoken in a conversation that belongs to another, the outcome and the note of it
become durable together. Both sessions are engaged from then until the batch is submitted, and no
session is engaged twice at once: what concerns it waits here, in order. Everything else that is
meant for them goes on. Acts and notes wait for each other, because both hold sessions up.

An owner that leaves memory meanwhile comes back only once the half that it lent is durable, or will
not be: whoever was loaded before that would go on from an older state than the log's.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter, deque
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..storage.errors import StorageError
from .acting import Held
from .binding import Binder
from .core.records import MalformedRecord
from .deliveries import DeliveryReported
from .journal import load_binding, load_session_number
from .kernel import TrioFuture
from .messages import Accept, Address, DeliveryId, Passivated, SessionId
from .provenance import KeepNote, NoteLent, NoteReturned, NoteWaits
from .services import Services
from .unknown import UnknownSession

__all__ = ["NoteDesk"]

logger = logging.getLogger("turnkeeper.registry")


@dataclass(slots=True)
class _Engagement:
    """Two sessions that write one batch."""

    report: DeliveryReported
    owner: SessionId
    lent: bool = False
    """Whether the owner's half is on its way to whoever spoke, or there."""

    @property
    def speaker(self) -> SessionId:
        return self.report.session_id


class NoteDesk(Binder):
    """Brings together whoever spoke and whoever must know of it."""

    def __init__(self, services: Services, next_stream: int) -> None:
        super().__init__(services, next_stream)
        self._engaged: dict[SessionId, _Engagement] = {}
        """Each of two sessions that write one batch -> what they are about."""
        self._halves: Counter[SessionId] = Counter()
        """How many halves of an owner are lent, or on their way to the store."""
        self._gone_meanwhile: dict[SessionId, Passivated] = {}
        """Owners of such halves that have left memory."""
        self._after: dict[SessionId, deque[DeliveryReported]] = {}
        """What waits until a session is not engaged any more."""
        self._ownerless: dict[DeliveryId, DeliveryReported] = {}
        """What was heard in places without an owner, and is on its way to the store."""
        self._first_turns: list[Held] = []
        """Turns that would give them an owner."""

    @abstractmethod
    def _is_gone(self, gone: Passivated, _error: StorageError | None) -> None:
        """All that a session which has left memory has submitted is durable."""

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
            self._note_for_nobody(report)
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
        engagement = _Engagement(report, owner)
        self._engaged[speaker] = self._engaged[owner] = engagement
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
            self._disengage(engagement)
            self._to_session(speaker, NoteLent(session_id=speaker, report=report, owner=None), None)

    def _note_lent(self, message: NoteLent) -> None:
        engagement = self._engagement_of(message.session_id, message.report.delivery_id)
        if engagement is not None and message.owner is None:
            self._disengage(engagement)  # nobody keeps a note, and nobody will return one
        elif engagement is not None:
            engagement.lent = True
            self._halves[engagement.owner] += 1
        self._to_session(message.session_id, message, None)

    def _note_returned(self, message: NoteReturned) -> None:
        self._to_session(message.session_id, message, None)
        engagement = self._engagement_of(message.speaker, message.delivery_id)
        if engagement is not None:
            self._disengage(engagement)

    def _engagement_of(self, speaker: SessionId, delivery_id: DeliveryId) -> _Engagement | None:
        engagement = self._engaged.get(speaker)
        if engagement is None or engagement.speaker != speaker:
            return None
        return engagement if engagement.report.delivery_id == delivery_id else None

    def _disengage(self, engagement: _Engagement) -> None:
        both = engagement.speaker, engagement.owner
        for session_id in both:
            self._engaged.pop(session_id, None)
        if engagement.lent:  # whoever spoke has submitted it by now, or never will
            self._when_durable(partial(self._half_settled, engagement.owner))
        for session_id in both:
            self._go_on_after(session_id)
        self._at_quiet()

    def _goes_while_lent(self, gone: Passivated) -> bool:
        """Keep the news that a session has left memory, if what it has lent is on its way."""
        if gone.session_id not in self._halves:
            return False
        self._gone_meanwhile[gone.session_id] = gone
        return True

    def _half_settled(self, owner: SessionId, _error: StorageError | None) -> None:
        """What an owner has lent is durable, or will not be."""
        self._halves[owner] -= 1
        if not self._halves[owner]:
            del self._halves[owner]
            if (gone := self._gone_meanwhile.pop(owner, None)) is not None:
                self._is_gone(gone, None)

    def _notes_lost(self, session_id: SessionId, held: list[Held]) -> None:
        """A session has left memory: ask again for what was lost in its mailbox.

        What is in `held` was not: its next life gets it. What the session has submitted is durable
        by now, so that nothing is noted twice.
        """
        asked = any(isinstance(message, KeepNote) for message, _ in held)
        lent = any(isinstance(message, NoteLent) for message, _ in held)
        engagement = self._engaged.get(session_id)
        if engagement is not None:
            waits_here = session_id == (engagement.speaker if engagement.lent else engagement.owner)
            if waits_here and not asked and not lent:
                if engagement.lent:
                    self._take_back(engagement)
                self._disengage(engagement)
                self._hear_outcome(engagement.report)
        if not lent:
            for report in [r for r in self._ownerless.values() if r.session_id == session_id]:
                self._note_waits(NoteWaits(delivery_id=report.delivery_id))
                self._hear_outcome(report)

    def _take_back(self, engagement: _Engagement) -> None:
        """Let the owner know that what it lent will not be written."""
        returned = NoteReturned(
            session_id=engagement.owner,
            speaker=engagement.speaker,
            delivery_id=engagement.report.delivery_id,
            kept=False,
        )
        self._to_session(engagement.owner, returned, None)

    def _go_on_after(self, session_id: SessionId) -> None:
        """Let go on what waited for a session, until it is engaged again."""
        waiting = self._after.get(session_id)
        while waiting and session_id not in self._engaged:
            self._hear_outcome(waiting.popleft())
        if waiting is not None and not waiting:
            self._after.pop(session_id, None)

    # -- a note for nobody yet -------------------------------------------------------------------

    def _note_for_nobody(self, report: DeliveryReported) -> None:
        """Let the note wait in the store for whoever will own the place."""
        self._ownerless[report.delivery_id] = report
        lent = NoteLent(session_id=report.session_id, report=report, owner=None, awaits_owner=True)
        try:
            self._to_session(report.session_id, lent, None)
        except BaseException:
            self._note_waits(NoteWaits(delivery_id=report.delivery_id))
            raise

    def _is_ownerless(self, message: Accept, answer: TrioFuture[Any] | None) -> bool:
        """Let a first turn wait, if a note for the owner of its place is just being stored."""
        place = message.turn.address
        if all(report.address != place for report in self._ownerless.values()):
            return False
        self._first_turns.append((message, answer))
        return True

    def _note_waits(self, message: NoteWaits) -> None:
        self._ownerless.pop(message.delivery_id, None)
        waiting, self._first_turns = self._first_turns, []
        for turn, answer in waiting:
            self._let_in(turn, answer)
        self._at_quiet()
