"""Whether notes, and what leads to deliveries, agree with the logs that they stand in.

Every delivery that was heard in another session's conversation has one note there, and every note
of a delivery has that delivery. What the platform calls a message leads to the delivery that it
was, and where a human last wrote to an agent is a place where one has.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Final, TypeVar

from .actors.core.records import (
    AssistantRecord,
    DeliveryRecord,
    MalformedRecord,
    NoteRecord,
    Record,
    UserRecord,
    address_of,
)
from .actors.journal import (
    LastRow,
    last_key,
    load_binding,
    load_note_of,
    load_record,
    load_records,
    load_session_number,
    read_last,
    read_sent,
    sent_key,
)
from .actors.ledger import read_note, starting_with, waiting_notes
from .actors.messages import Address, split_record_id
from .routes import bindings_of
from .storage.base import Reads, Table
from .storage.codec import decode
from .storage.errors import CorruptRecord, RecordFromFuture
from .storage.keys import HASH_BYTES, split_log_key
from .verify_rows import Problem
from .words import show_place

__all__ = ["Notes"]

T = TypeVar("T")

_HEARD: Final = frozenset({"delivered", "unknown"})


class Notes:
    """What has been said in other sessions' conversations, found log by log."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        self._wrote: dict[bytes, tuple[str, str]] = {}
        """Key in `Table.LAST` -> agent and instance where a human has written."""

    # -- while the logs are read -----------------------------------------------------------------

    def wrote(self, record: UserRecord, agent: str) -> None:
        """A human has written to an agent."""
        self._wrote[last_key(agent, record.instance)] = agent, record.instance

    def settled(
        self, place: str, session_id: str, stream: int, record: DeliveryRecord
    ) -> Iterator[Problem]:
        """A delivery has an outcome; look for the note that it calls for, and for its index."""
        if record.status not in _HEARD and not record.parts:
            return
        said = _readable(lambda: load_record(self._reads, stream, record.delivery_seq))
        if not isinstance(said, AssistantRecord):
            return  # told where that record is read
        yield from self._check_sent(place, record, said)
        if record.noted_in is not None:
            yield from self._check_note(place, f"{session_id}/{record.delivery_seq}", record)
        elif (where := address_of(said)) is not None:
            owners = self._owners(where, record.at_us)
            waited = self._has_waited(stream, record.delivery_seq)
            if owners and session_id not in owners and not waited:
                text = f"was heard in {show_place(where)}, which was that of {min(owners)}: no note"
                yield Problem(place=place, text=text)

    def _has_waited(self, stream: int, seq: int) -> bool:
        """Whether a note has waited for an owner, and has got one."""
        return _readable(lambda: load_note_of(self._reads, stream, seq)) is not None

    def _owners(self, where: Address, at_us: int) -> set[str]:
        """Whoever may have owned a place at a time: at the moment of a change, both."""
        rows = _readable(lambda: bindings_of(self._reads, where)) or []
        ends = [*(row.at_us for row in rows[1:]), None][: len(rows)]
        return {
            row.session_id
            for row, end in zip(rows, ends, strict=True)
            if row.at_us <= at_us and (end is None or end >= at_us)
        }

    def _check_sent(
        self, place: str, record: DeliveryRecord, said: AssistantRecord
    ) -> Iterator[Problem]:
        where = address_of(said)
        if where is None or (said.reply_to is not None and record.noted_in is None):
            return
        for platform_id in record.parts or filter(None, [record.platform_message_id]):
            if self._reads.get(Table.SENT, sent_key(where, platform_id)) is None:
                yield Problem(place=place, text=f"{platform_id!r} does not lead to this delivery")

    def _check_note(
        self, place: str, delivery_id: str, record: DeliveryRecord
    ) -> Iterator[Problem]:
        owner = record.noted_in or ""
        stream = _readable(lambda: load_session_number(self._reads, owner))
        note = (
            _readable(lambda: load_record(self._reads, stream, record.noted_seq))
            if stream is not None
            else None
        )
        if not isinstance(note, NoteRecord) or note.delivery_id != delivery_id:
            text = f"its note should be {owner}/{record.noted_seq}, which is another record"
            yield Problem(place=place, text=text)

    def kept(self, place: str, stream: int, seq: int, note: NoteRecord) -> Iterator[Problem]:
        """A session has a note; look whether the delivery has it too."""
        parts = split_record_id(note.delivery_id) if note.delivery_id is not None else None
        if parts is None:
            return
        source = _readable(lambda: load_session_number(self._reads, parts[0]))
        if source is None:
            yield Problem(place=place, text=f"is of {note.delivery_id}, and there is no {parts[0]}")
            return
        found = _readable(lambda: load_note_of(self._reads, source, parts[1]))
        if found is None or found[1:] != (stream, seq):
            yield Problem(place=place, text=f"delivery {note.delivery_id} does not lead to it")

    # -- tables ----------------------------------------------------------------------------------

    def compare(self, broken: Collection[int]) -> Iterator[Problem]:
        """What is wrong with the tables.

        Args:
            broken: numbers of the logs that cannot be read whole.
        """
        yield from self._compare_notes(broken)
        yield from self._compare_sent(broken)
        yield from self._compare_waiting()
        yield from self._compare_last(broken)

    def _compare_notes(self, broken: Collection[int]) -> Iterator[Problem]:
        for key, _ in starting_with(self._reads, Table.NOTES, b""):
            stream, seq = split_log_key(key)
            place = f"note of {stream}/{seq}"
            try:
                found = load_note_of(self._reads, stream, seq)
                assert found is not None  # it has just been met
                record = load_record(self._reads, found[1], found[2])
            except (CorruptRecord, RecordFromFuture) as error:
                yield Problem(place=place, text=str(error))
                continue
            if not isinstance(record, NoteRecord) and found[1] not in broken:
                yield Problem(place=place, text=f"leads to {found[0]}/{found[2]}, which is no note")

    def _compare_sent(self, broken: Collection[int]) -> Iterator[Problem]:
        for key, data in starting_with(self._reads, Table.SENT, b""):
            place = f"sent {key.hex()}"
            try:
                sent = read_sent(decode(data))
                said = load_record(self._reads, sent.stream, sent.seq)
            except (CorruptRecord, RecordFromFuture) as error:
                yield Problem(place=place, text=str(error))
                continue
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
        for agent, instance in missing.values() if not broken else ():
            text = f"missing: humans have written to {agent!r} there"
            yield Problem(place=f"last conversation at {instance}", text=text)

    def _check_last(self, key: bytes, row: LastRow, broken: Collection[int]) -> Iterator[Problem]:
        place = f"last conversation at {row.instance}"
        stream = load_session_number(self._reads, row.session_id)
        if stream in broken:
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
