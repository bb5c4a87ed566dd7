"""Whether notes, and what leads to deliveries, agree with the logs that they stand in.

Every delivery that was heard in another session's conversation has one note there, and every note
of a delivery has that delivery. What the platform calls a message leads to the delivery that it
was, and where a human last wrote to an agent is a place where one has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Final, TypeAlias, TypeVar

from .actors.core.delivery_records import DeliveryRecord, NoteRecord
from .actors.core.ownership_records import BoundRecord
from .actors.core.records import MalformedRecord, Record, address_of
from .actors.core.turn_records import AssistantRecord, UserRecord
from .actors.journal import (
    LastRow,
    last_key,
    load_binding,
    load_record,
    load_records,
    read_last,
    read_note_row,
    read_sent,
    sent_key,
)
from .actors.ledger import read_note, starting_with, waiting_notes
from .actors.messages import Address, SessionId, split_record_id
from .storage.base import Reads, Table
from .storage.codec import decode
from .storage.errors import CorruptRecord, RecordFromFuture
from .storage.keys import HASH_BYTES, log_key, split_log_key
from .verify_erased import Absent
from .verify_rows import Problem, compare_table
from .words import show_place

__all__ = ["Notes"]

T = TypeVar("T")

_NoteRow: TypeAlias = tuple[SessionId, int, int]
"""Owner, its number, and the sequence number of the note."""
_HEARD: Final = frozenset({"delivered", "unknown"})


class Notes:
    """What has been said in other sessions' conversations, found log by log.

    In memory are the deliveries that were noted, their notes, and those that lack one.
    """

    def __init__(self, reads: Reads, absent: Absent) -> None:
        self._reads = reads
        self._absent = absent
        self._wrote: dict[bytes, tuple[str, str, int]] = {}
        """Key in `Table.LAST` -> agent, instance and last time where a human has written."""
        self._streams: dict[str, int] = {}
        """Session id -> number."""
        self._told: dict[str, tuple[str, str, int]] = {}
        """Delivery id -> where it is written that it was noted, in which session, as what."""
        self._kept: dict[str, tuple[str, str, int]] = {}
        """Delivery id -> where its note stands: the place, the session and the number."""
        self._unnoted: list[tuple[str, str, int, Address]] = []
        """What was heard where its session never was the owner: place, delivery id, when, where."""
        self._own: set[Address] = set()
        """The conversations that the session has ever owned which is being read."""

    # -- while the logs are read -----------------------------------------------------------------

    def opened(self, session_id: str, stream: int) -> None:
        """The log of another session begins."""
        self._streams[session_id] = stream
        self._own.clear()

    def bound(self, record: BoundRecord) -> None:
        """The session owns a conversation."""
        where = address_of(record)
        if where is not None:
            self._own.add(where)

    def wrote(self, record: UserRecord, agent: str) -> None:
        """A human has written to an agent."""
        key = last_key(agent, record.instance)
        before_us = self._wrote[key][2] if key in self._wrote else 0
        self._wrote[key] = agent, record.instance, max(record.at_us, before_us)

    def settled(
        self, place: str, session_id: str, stream: int, record: DeliveryRecord
    ) -> Iterator[Problem]:
        """A delivery has an outcome; look for what leads to it."""
        if not _was_heard(record):
            return
        said = _readable(lambda: load_record(self._reads, stream, record.delivery_seq))
        if not isinstance(said, AssistantRecord):
            return  # told where that record is read
        delivery_id = f"{session_id}/{record.delivery_seq}"
        yield from self._check_sent(place, record, said)
        where = address_of(said)
        if record.noted_in is not None:
            self._told[delivery_id] = place, record.noted_in, record.noted_seq
        elif where is not None and where not in self._own:
            self._unnoted.append((place, delivery_id, record.at_us, where))

    def _check_sent(
        self, place: str, record: DeliveryRecord, said: AssistantRecord
    ) -> Iterator[Problem]:
        where = address_of(said)
        if where is None or (said.reply_to is not None and record.noted_in is None):
            return
        for platform_id in record.parts or filter(None, [record.platform_message_id]):
            if self._reads.get(Table.SENT, sent_key(where, platform_id)) is None:
                yield Problem(place=place, text=f"{platform_id!r} does not lead to this delivery")

    def kept(self, place: str, session_id: str, seq: int, note: NoteRecord) -> Iterator[Problem]:
        """A session has a note."""
        if note.delivery_id is None:
            return
        if note.delivery_id in self._kept:
            yield Problem(place=place, text=f"is a second note of {note.delivery_id}")
        self._kept[note.delivery_id] = place, session_id, seq

    # -- afterwards ------------------------------------------------------------------------------

    def compare(self, broken: Mapping[int, str]) -> Iterator[Problem]:
        """What is wrong between the logs, and with the tables.

        Args:
            broken: numbers of the logs that cannot be read whole, and the ids of their sessions.
        """
        if not broken:
            yield from self._compare_logs()
            yield from self._compare_notes()
        yield from self._compare_sent(broken)
        yield from self._compare_waiting()
        yield from self._compare_last(broken)

    def _compare_logs(self) -> Iterator[Problem]:
        for delivery_id, (place, owner, seq) in self._told.items():
            kept = self._kept.get(delivery_id, ("", "", 0))[1:]
            if kept != (owner, seq) and not self._is_absent(owner):
                text = f"its note should be {owner}/{seq}, which is another record"
                yield Problem(place=place, text=text)
        for place, delivery_id, at_us, where in self._unnoted:
            binding = _readable(partial(load_binding, self._reads, where))
            if self._absent.is_foreign(_session_of(delivery_id)) or delivery_id in self._kept:
                continue
            if binding is not None and binding.at_us < at_us:
                text = f"was heard in {show_place(where)}, which was that of {binding.session_id}"
                yield Problem(place=place, text=f"{text}: no note")
        waited = {delivery_id for _, delivery_id, _, _ in self._unnoted}
        for delivery_id, (place, owner, _) in self._kept.items():
            if self._is_absent(_session_of(delivery_id)):
                continue
            if self._absent.is_foreign(owner):
                continue
            if delivery_id in self._told or delivery_id in waited:
                continue
            if not self._waited_where_owned(delivery_id):
                yield Problem(place=place, text=f"is of {delivery_id}, which was not heard")

    def _waited_where_owned(self, delivery_id: str) -> bool:
        """Whether a delivery was heard in a conversation that its session had owned.

        Nobody owned it at that time: whoever it had been moved to was deleted.
        """
        spoken = split_record_id(delivery_id)
        if spoken is None or spoken[0] not in self._streams:
            return False
        later = load_records(self._reads, self._streams[spoken[0]], spoken[1] + 1)
        return any(
            isinstance(record, DeliveryRecord)
            and record.delivery_seq == spoken[1]
            and _was_heard(record)
            and record.noted_in is None
            for _, record in later
        )

    def _is_absent(self, session_id: str) -> bool:
        """Whether one of a note's two sessions is not here, so that only the other tells of it."""
        if self._absent.is_erased(session_id):
            return True
        return session_id not in self._streams and bool(self._absent.imported)

    def _compare_notes(self) -> Iterator[Problem]:
        expected: dict[bytes, _NoteRow] = {}
        for delivery_id, (_, owner, seq) in self._kept.items():
            parts = split_record_id(delivery_id)
            if parts is not None and parts[0] in self._streams:
                key = log_key(self._streams[parts[0]], parts[1])
                expected[key] = SessionId(owner), self._streams[owner], seq
        yield from compare_table(
            self._reads, Table.NOTES, expected, read_note_row, lambda row: f"note {row[0]}/{row[2]}"
        )

    def _compare_sent(self, broken: Collection[int]) -> Iterator[Problem]:
        for key, data in starting_with(self._reads, Table.SENT, b""):
            place = f"sent {key.hex()}"
            try:
                sent = read_sent(decode(data))
                said = load_record(self._reads, sent.stream, sent.seq)
            except (CorruptRecord, RecordFromFuture) as error:
                yield Problem(place=place, text=str(error))
                continue
            if self._absent.is_erased(sent.session_id):
                continue  # what a damaged record of it had left
            if not isinstance(said, AssistantRecord) and sent.stream not in broken:
                text = f"leads to {sent.session_id}/{sent.seq}, which is no delivery"
                yield Problem(place=place, text=text)

    def _compare_waiting(self) -> Iterator[Problem]:
        for key, data in starting_with(self._reads, Table.WAITING_NOTES, b""):
            stream, seq = split_log_key(key[HASH_BYTES:])
            place = f"waiting note of {stream}/{seq}"
            try:
                note = read_note(data)
            except (CorruptRecord, RecordFromFuture, MalformedRecord) as error:
                yield Problem(place=place, text=str(error))
                continue
            where = address_of(note)
            if where is None or (key, note) not in waiting_notes(self._reads, where):
                yield Problem(place=place, text="waits for another place than it is about")
            elif load_binding(self._reads, where) is not None:
                yield Problem(place=place, text=f"waits, and {show_place(where)} has an owner")

    def _compare_last(self, broken: Collection[int]) -> Iterator[Problem]:
        missing = dict(self._wrote)
        for key, data in starting_with(self._reads, Table.LAST, b""):
            missing.pop(key, None)
            place = f"last conversation {key.hex()}"
            try:
                row = read_last(decode(data))
                yield from self._check_last(key, row, broken)
            except (CorruptRecord, RecordFromFuture) as error:
                yield Problem(place=place, text=str(error))
        for agent, instance, at_us in missing.values() if not broken else ():
            if at_us <= self._absent.newest_us:
                continue  # the one in which a human wrote last was deleted
            text = f"missing: humans have written to {agent!r} there"
            yield Problem(place=f"last conversation at {instance}", text=text)

    def _check_last(self, key: bytes, row: LastRow, broken: Collection[int]) -> Iterator[Problem]:
        place = f"last conversation at {row.instance}"
        stream = self._streams.get(row.session_id)
        if stream in broken or (stream is None and broken):
            return
        opened = load_record(self._reads, stream, 1) if stream is not None else None
        agent = getattr(opened, "agent", None)
        if stream is None or last_key(str(agent), row.instance) != key:
            yield Problem(place=place, text=f"names {row.session_id}, which is another agent's")
        elif not any(
            _is_that(record, row) for _, record in load_records(self._reads, stream, reverse=True)
        ):
            text = f"is {show_place(row.address)} in {row.session_id}, where nobody wrote then"
            yield Problem(place=place, text=text)


def _was_heard(record: DeliveryRecord) -> bool:
    """Whether some of a message has arrived, or may have."""
    return record.status in _HEARD or (record.status == "failed" and bool(record.parts))


def _session_of(delivery_id: str) -> str:
    parts = split_record_id(delivery_id)
    return parts[0] if parts is not None else ""


def _is_that(record: Record, row: LastRow) -> bool:
    return (
        isinstance(record, UserRecord)
        and record.at_us == row.at_us
        and address_of(record) == row.address
    )


def _readable(read: Callable[[], T]) -> T | None:
    """What `read` gives; None where it cannot be read, which is told where that record stands."""
    try:
        return read()
    except (CorruptRecord, RecordFromFuture, MalformedRecord):
        return None
