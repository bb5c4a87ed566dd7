"""Changing: the part of a session's shell for what humans do later to what they have said.

An edit or a deletion is no turn, and wakes nobody. It is written down once, in the log of the
session that heard the message, to whomever the conversation belongs by now.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ..storage.base import Batch, Table
from ..storage.codec import encode_known
from ..storage.errors import CorruptRecord, RecordFromFuture, StorageError
from .core.conversation import Conversation
from .core.effects import Effect
from .core.intake import change_digest, seen_window
from .core.records import MalformedRecord, address_of
from .core.turn_records import UserRecord
from .core.view_records import SummaryRecord
from .errors import SessionDamaged
from .hearing import Hearing
from .journal import (
    batch_for,
    change_hash,
    deletion_hash,
    heard_hash,
    load_record,
    load_seen,
    seen_key,
)
from .kernel import TrioFuture
from .messages import HearChange, MessageChange
from .services import Services

__all__ = ["Changing"]

_NONE: Final[frozenset[bytes]] = frozenset()
"""One for all: every empty set takes 216 bytes, and many sessions rest."""


class Changing(Hearing):
    """Writes down how messages were changed."""

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__(services, stream, conversation)
        self._changing = _NONE
        """Changes that are on their way to the store, as they will be recognised."""

    def _hear_change(self, message: HearChange) -> bool | None:
        try:
            return self._decide_change(message)
        except (CorruptRecord, RecordFromFuture, MalformedRecord) as error:
            raise SessionDamaged(f"the changed message cannot be read: {error}") from error

    def _decide_change(self, message: HearChange) -> bool | None:
        change, now_us = message.change, self._services.now_us()
        heard = heard_hash(change.address, change.message_id)
        if self._in_flight and heard in self._in_flight:
            self._submit(Batch(), partial(self._hear_change_again, message, self.take_reply()))
            return None
        found = load_seen(self._services.store, heard, now_us)
        seq = found[1] if found is not None and found[0] == self._core.session_id else 0
        record = load_record(self._services.store, self._stream, seq) if seq else None
        if not isinstance(record, UserRecord) or not self._may_change(record, change):
            return False
        news = change_hash(change)
        if self._is_known(news, now_us):
            self._submit(Batch(), partial(self._answered, self.take_reply(), True))
            return None
        if change.text is not None and self._is_known(deletion_hash(change), now_us):
            return False  # there is no such message any more
        self._write_change(seq, change, news, now_us)
        return None

    def _hear_change_again(
        self, message: HearChange, answer: TrioFuture[Any] | None, error: StorageError | None
    ) -> None:
        """The message itself is durable now, or never will be."""
        if error is not None:
            self._undurable(answer, error)
        else:
            self._services.registry.forward(message, answer)

    def _may_change(self, record: UserRecord, change: MessageChange) -> bool:
        """Whether a message is theirs who have changed it, and they may still say anything.

        To take something away is always allowed.
        """
        if change.platform != record.platform or change.user_id not in (None, record.user_id):
            return False
        place = address_of(record)
        assert place is not None  # its fields are all texts
        return change.text is None or self._services.door.closed_to(place, record.user_id) is None

    def _is_known(self, news: bytes, now_us: int) -> bool:
        return news in self._changing or load_seen(self._services.store, news, now_us) is not None

    def _write_change(self, seq: int, change: MessageChange, news: bytes, now_us: int) -> None:
        core = self._core
        summarised = change.text is None and self._is_summarised(seq)
        step = core.change(seq, change, now_us, summarised=summarised)
        batch = batch_for(self._stream, core, step)
        row = core.session_id, step.first_seq, change_digest(change.text)
        batch.create(Table.SEEN, seen_key(seen_window(now_us), news), encode_known(list(row)))
        self._changing |= {news}
        self._submit(batch, partial(self._changed, step.effects, self.take_reply(), news))

    def _is_summarised(self, seq: int) -> bool:
        """Whether the summary with which the context begins may tell of message `seq`."""
        summary = self._core.summary
        if not summary:
            return False
        try:
            record = load_record(self._services.store, self._stream, summary)
        except StorageError:
            return True
        return not isinstance(record, SummaryRecord) or seq <= record.through

    def _changed(
        self,
        effects: list[Effect],
        answer: TrioFuture[Any] | None,
        news: bytes,
        error: StorageError | None,
    ) -> None:
        self._changing = self._changing - {news} or _NONE
        self._durable(effects, answer, error)
