"""Whether what is stored holds together: every log read and replayed, every table compared.

The logs are the truth: those of the sessions, the ledger of who is who, and the schedule. Heads,
names, bindings and their past, session keys, identities, access, notes, missions, and every index
follow from them. Only one-time
codes follow from nothing, and are looked at alone. Each difference, gap or unreadable record is one
problem with its place. Reads only: one pass over the logs, then one over each table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from .actors.core.conversation import Conversation
from .actors.core.delivery_records import DeliveryRecord, NoteRecord, ReceiptRecord, ReopenedRecord
from .actors.core.head import is_outdated, read_head
from .actors.core.intake import body_digest, seen_window
from .actors.core.ownership_records import (
    BoundRecord,
    HiddenRecord,
    KeyedRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from .actors.core.records import MalformedRecord, Record, unpack
from .actors.core.runtime_records import AccessRecord, ChangeRecord, FeedRecord, ScheduleRecord
from .actors.core.session_commands import message_behind
from .actors.core.turn_records import MissionRecord, QuarantinedRecord, UserRecord
from .actors.core.view_records import (
    ChangedRecord,
    CommandRecord,
    ErasedRecord,
    ForgottenRecord,
    MemoryRecord,
    SummaryRecord,
)
from .actors.journal import (
    FEED_STREAM,
    SCHEDULE_STREAM,
    load_record,
    log_pages,
    name_key,
    seen_hash,
    seen_key,
)
from .actors.ledger import LEDGER_STREAM, starting_with
from .storage.base import Reads, Table
from .storage.blobs import Blobs
from .storage.errors import CorruptRecord, RecordFromFuture
from .storage.keys import number_key, split_log_key
from .verify_blobs import KeptFiles
from .verify_changes import check_changed
from .verify_erased import Absent
from .verify_missions import Missions
from .verify_notes import Notes
from .verify_people import People, compare_codes
from .verify_places import Keys, Places, row_of
from .verify_rows import Problem, Unreadable, compare_row, decoded, difference, readable
from .verify_summaries import check_summary, is_summary
from .verify_tables import compare_names, seen_without_owner, trouble_without_log
from .verify_views import Memories, compare_counts, compare_usage

__all__ = ["Problem", "Verification"]

_PAGE: Final = 1_000

_Trouble = dict[int, tuple[str, int, str | None]]
"""Sequence number of a turn or delivery -> what became of it, when, and why."""


_ELSEWHERE: Final = frozenset(
    {
        FeedRecord.kind,
        ChangeRecord.kind,
        AccessRecord.kind,
        ScheduleRecord.kind,
        ErasedRecord.kind,
    }
)
"""Kinds of record that no living session's log holds."""


class Verification:
    """One examination of a store, over one frozen moment of it.

    In memory are, besides the session that is being replayed, the numbers of all sessions, the
    newest binding of each place, the holder of each key, each identity that was ever decided about,
    and the moves in the ledger whose sessions have not been read yet. The rest is compared as soon
    as it has been read.
    """

    def __init__(
        self,
        reads: Reads,
        now_us: int,
        progress: Callable[[int], None] | None = None,
        blobs: Blobs | None = None,
    ) -> None:
        """Nothing is read before :meth:`problems`.

        Args:
            reads: the frozen moment.
            now_us: the time, which tells how far back messages must be recognised.
            progress: called now and then with the number of records read so far.
            blobs: the files that came with messages, all of which are read; None for none.
        """
        self._reads = reads
        self._oldest_window = seen_window(now_us) - 1
        self._progress = progress
        self._absent = Absent(reads)
        self._names: dict[bytes, int] = {}
        self._seen = 0
        """Rows of `Table.SEEN` that a user record has been found to own."""
        self._broken: dict[int, str] = {}
        """Logs that could not be read whole, and the ids of their sessions: what is missing in them
        cannot be held against anything else."""
        self._places = Places(reads, self._absent)
        self._keys = Keys(reads, self._absent)
        self._people = People(reads)
        self._notes = Notes(reads, self._absent)
        self._missions = Missions(reads, self._absent)
        self._memories = Memories(reads)
        self._files = KeptFiles(reads, blobs)
        self.records = 0
        """Records read so far, the feed's and the ledger's included."""
        self.sessions = 0
        """Logs of sessions read so far."""

    def problems(self) -> Iterator[Problem]:
        """Find every problem: those of the logs in their order, then those of the tables."""
        yield from self._feed()
        yield from self._ledger()
        yield from self._schedule()
        for stream in self._streams():
            yield from self._session(stream)
        yield from self._heads_of_no_session()
        yield from self._tables()

    def _tables(self) -> Iterator[Problem]:
        reads, broken = self._reads, self._broken
        yield from compare_names(reads, self._names, broken)
        yield from self._places.compare(broken)
        yield from self._keys.compare(broken)
        yield from self._people.compare()
        yield from self._notes.compare(broken)
        yield from self._missions.compare(broken)
        yield from self._files.compare(broken, self._absent.foreign)
        yield from self._absent.compare(broken)
        yield from self._memories.compare(broken)
        yield from compare_counts(reads, broken)
        yield from compare_usage(reads, broken)
        yield from compare_codes(reads)
        yield from seen_without_owner(reads, self._seen, broken, self._absent.is_erased)
        yield from trouble_without_log(reads)

    # -- logs ------------------------------------------------------------------------------------

    def _streams(self) -> Iterator[int]:
        """Number of every session that has a log or a head, or was deleted."""
        stream = 1
        while stream < LEDGER_STREAM:
            if not self._reads.last_seq(stream):
                following = self._following(stream)
                if not following:
                    return
                stream = min(following)
            yield stream
            stream += 1

    def _following(self, stream: int) -> list[int]:
        """The next number of a session that has a head, and of one that was deleted."""
        last = number_key(LEDGER_STREAM)
        heads = self._reads.scan(Table.HEADS, number_key(stream), last, limit=1)
        found = [int.from_bytes(key, "big") for key, _ in heads]
        erased = self._absent.next_number(stream)
        return [*found, erased] if erased is not None else found

    def _heads_of_no_session(self) -> Iterator[Problem]:
        for key, _ in self._reads.scan(Table.HEADS, number_key(LEDGER_STREAM), limit=_PAGE):
            yield Problem(
                place=f"head {int.from_bytes(key, 'big')}", text="no session has such a number"
            )

    def _log(self, stream: int) -> Iterator[tuple[int, Record | Problem]]:
        """Every record of a log, or what is wrong with it."""
        expected = 1
        for page in log_pages(self._reads, stream, 0):
            for seq, data in page:
                if seq != expected:
                    self._broken.setdefault(stream, "")
                    yield seq, _problem(stream, expected, f"missing: the next record is {seq}")
                expected = seq + 1
                try:
                    yield seq, unpack(decoded(data))
                except (Unreadable, MalformedRecord) as error:
                    self._broken.setdefault(stream, "")
                    yield seq, _problem(stream, seq, str(error))
            self.records += len(page)
            if self._progress is not None:
                self._progress(self.records)

    def _feed(self) -> Iterator[Problem]:
        for seq, record in self._log(FEED_STREAM):
            if isinstance(record, Problem):
                yield record
            elif not isinstance(record, FeedRecord):
                yield _problem(FEED_STREAM, seq, f"a {record.kind!r} record in the feed")

    def _schedule(self) -> Iterator[Problem]:
        for seq, record in self._log(SCHEDULE_STREAM):
            if isinstance(record, Problem):
                yield record
            elif isinstance(record, ScheduleRecord):
                self._missions.decided(record)
            else:
                yield _problem(SCHEDULE_STREAM, seq, f"a {record.kind!r} record in the schedule")

    def _ledger(self) -> Iterator[Problem]:
        for seq, record in self._log(LEDGER_STREAM):
            if isinstance(record, Problem):
                self._people.lost()
                yield record
                continue
            try:
                yield from self._entry(seq, record)
            except (CorruptRecord, TypeError, ValueError) as error:
                self._broken.setdefault(LEDGER_STREAM, "")
                self._people.lost()
                yield _problem(LEDGER_STREAM, seq, f"malformed: {error}")

    def _entry(self, seq: int, record: Record) -> Iterator[Problem]:
        match record:
            case ChangeRecord():
                self._people.decided(record)
                if record.imported is not None:
                    self._absent.imported.add(record.imported)
                for instance, conversation, thread, *sessions, version, _ in record.moves:
                    yield from self._places.moved(
                        _place(LEDGER_STREAM, seq),
                        "ledger",
                        (instance, conversation, thread),
                        tuple(sessions),
                        version,
                    )
                if record.undoes is not None and not 0 < record.undoes < seq:
                    yield _problem(
                        LEDGER_STREAM, seq, f"takes back {record.undoes}, which is no earlier one"
                    )
            case AccessRecord():
                self._people.judged(record)
            case _:
                yield _problem(LEDGER_STREAM, seq, f"a {record.kind!r} record in the ledger")

    def _session(self, stream: int) -> Iterator[Problem]:
        tombstone = self._absent.tombstone(stream)
        if tombstone is None:
            yield from self._living(stream)
            return
        seq, erased = tombstone
        self.records += 1
        if self._absent.is_unfinished(stream, seq):
            self._broken[stream] = erased.session_id
        yield from self._absent.log(stream, seq, erased)

    def _living(self, stream: int) -> Iterator[Problem]:
        conversation, trouble = Conversation(), _Trouble()
        keyed: dict[tuple[str, ...], tuple[int, KeyedRecord]] = {}
        is_empty = True
        self._memories.begin()
        for seq, record in self._log(stream):
            is_empty = False
            if isinstance(record, Problem):
                yield record
                continue
            if (seq == 1) != isinstance(record, OpenedRecord) or record.kind in _ELSEWHERE:
                yield _problem(stream, seq, f"a {record.kind!r} record does not belong here")
            if isinstance(record, SummaryRecord) and not is_summary(record):
                self._broken.setdefault(stream, "")
                yield _problem(stream, seq, f"malformed: {record!r:.120}")
                continue
            if isinstance(record, SummaryRecord) and stream not in self._broken:
                head = conversation.head()
                yield from check_summary(self._reads, stream, seq, record, head)
            conversation.next_seq = seq
            conversation.apply(record)
            _note_trouble(trouble, record)
            if isinstance(record, KeyedRecord):
                keyed[tuple(record.key)] = seq, record
            yield from self._follow(stream, seq, record, conversation)
        session_id = conversation.session_id
        if is_empty:
            self._broken[stream] = self._named_by_head(stream)
            yield Problem(place=f"log {stream}", text="missing: no record of this session is left")
            return
        self.sessions += 1
        yield from self._memories.end(stream, is_broken=stream in self._broken)
        if session_id:
            for seq, record in keyed.values():
                place = _place(stream, seq)
                yield from self._keys.keyed(place, record, session_id, stream)
        if stream in self._broken:
            self._broken[stream] = session_id or self._named_by_head(stream)
            return
        yield from self._check_head(stream, conversation)
        if stream not in self._broken:
            yield from self._check_trouble(stream, trouble)

    def _named_by_head(self, stream: int) -> str:
        """Whose log it is, where the log cannot tell; empty if the head cannot either."""
        data = self._reads.get(Table.HEADS, number_key(stream))
        try:
            return readable(data, read_head).session_id if data is not None else ""
        except Unreadable:
            return ""

    def _follow(
        self, stream: int, seq: int, record: Record, conversation: Conversation
    ) -> Iterator[Problem]:
        """Note what must follow from `record` elsewhere, or look whether it does.

        The id of the session is empty where the record that holds it cannot be read.
        """
        place, session_id = _place(stream, seq), conversation.session_id
        yield from self._files.named(stream, seq, record)
        match record:
            case OpenedRecord():
                self._names[name_key(record.session_id)] = stream
                self._absent.opened(record.session_id, stream)
                self._notes.opened(record.session_id, stream)
            case BoundRecord() if session_id:
                self._notes.bound(record)
                yield from self._places.bound(place, row_of(record, session_id, stream))
            case ReleasedRecord() if session_id:
                yield from self._places.released(place, record, session_id)
            case MemoryRecord() | ForgottenRecord():
                self._memories.changed(stream, record)
            case LinkedRecord() | UnlinkedRecord() | HiddenRecord():
                if not self._absent.is_foreign(session_id):
                    yield from self._check_family(place, record)
            case UserRecord():
                self._notes.wrote(record, conversation.agent)
                yield from self._check_seen(stream, seq, record, session_id)
            case CommandRecord() | ChangedRecord():
                yield from self._check_seen(stream, seq, record, session_id)
            case DeliveryRecord() if session_id:
                yield from self._notes.settled(place, session_id, stream, record)
            case MissionRecord() if session_id:
                self._missions.ran(session_id, stream, seq, record)
            case NoteRecord() if session_id:
                yield from self._notes.kept(place, session_id, seq, record)
            case _:
                pass

    def _check_family(
        self, place: str, record: LinkedRecord | UnlinkedRecord | HiddenRecord
    ) -> Iterator[Problem]:
        """Look whether what a change did to a context is that of the change, and of that log."""
        yield from self._check_change(place, record.number)
        if isinstance(record, HiddenRecord) or self._absent.is_erased(record.session_id):
            return
        yield from self._check_joined(place, record.stream, record.session_id)

    def _check_change(self, place: str, number: int) -> Iterator[Problem]:
        """Look whether the ledger has a change; of a damaged ledger, the damage has been told."""
        if LEDGER_STREAM not in self._broken:
            change = load_record(self._reads, LEDGER_STREAM, number) if number > 0 else None
            if not isinstance(change, ChangeRecord):
                yield Problem(place=place, text=f"names change {number}, which the ledger has not")

    def _check_joined(self, place: str, stream: int, session_id: str) -> Iterator[Problem]:
        """Look whether the log that joined, or left, is that session's."""
        try:
            opened = load_record(self._reads, stream, 1)
        except (CorruptRecord, RecordFromFuture):
            return  # told where that log is read
        if opened is None and self._reads.get(Table.HEADS, number_key(stream)) is None:
            yield Problem(place=place, text=f"names log {stream}, which does not exist")
        elif isinstance(opened, OpenedRecord) and opened.session_id != session_id:
            text = f"names log {stream} of {session_id}, which is that of {opened.session_id}"
            yield Problem(place=place, text=text)

    # -- rows of one session ---------------------------------------------------------------------

    def _check_head(self, stream: int, conversation: Conversation) -> Iterator[Problem]:
        place = f"head {stream}"
        data = self._reads.get(Table.HEADS, number_key(stream))
        if data is None:
            yield Problem(place=place, text="missing")
            return
        try:
            payload = decoded(data)
            stored = read_head(payload)
        except (Unreadable, MalformedRecord) as error:
            yield Problem(place=place, text=str(error))
            return
        replayed = conversation.head()
        if stored.next_seq > replayed.next_seq:
            self._broken[stream] = conversation.session_id
            last = replayed.next_seq - 1
            text = f"tells of {stored.next_seq - 1} records, and the log ends with {last}"
            yield Problem(place=place, text=text)
            return
        if is_outdated(payload):
            return  # whoever reads it makes it anew from the log
        for name, is_stored, follows in zip(stored._fields, stored, replayed, strict=True):
            if is_stored != follows:
                text = f"{name} is {is_stored!r:.80}, the log says {follows!r:.80}"
                yield Problem(place=place, text=text)

    def _check_trouble(self, stream: int, expected: _Trouble) -> Iterator[Problem]:
        stored: dict[int, Any] = {}
        for key, data in starting_with(self._reads, Table.TROUBLE, number_key(stream)):
            seq = split_log_key(key)[1]
            try:
                stored[seq] = tuple(decoded(data))
            except (Unreadable, TypeError) as error:
                stored[seq] = str(error)
        for seq in sorted(stored.keys() | expected.keys()):
            if stored.get(seq) != expected.get(seq):
                yield Problem(
                    place=f"trouble {stream}/{seq}",
                    text=difference(stored.get(seq), expected.get(seq)),
                )

    def _check_seen(
        self,
        stream: int,
        seq: int,
        record: UserRecord | CommandRecord | ChangedRecord,
        session_id: str,
    ) -> Iterator[Problem]:
        if isinstance(record, ChangedRecord):
            yield from self._check_changed(stream, seq, record, session_id)
            return
        turn, window = message_behind(record), seen_window(record.at_us)
        place = f"seen {stream}/{seq}"
        data = self._reads.get(Table.SEEN, seen_key(window, seen_hash(turn)))
        if data is None:
            if window >= self._oldest_window:
                yield Problem(place=place, text="missing: a redelivery would be taken as new")
            return
        self._seen += 1
        expected = [session_id, seq, body_digest(turn)]
        yield from compare_row(place, data, expected, lambda row: _seen_row(row, session_id))

    def _check_changed(
        self, stream: int, seq: int, record: ChangedRecord, session_id: str
    ) -> Iterator[Problem]:
        oldest = self._oldest_window
        for found in check_changed(self._reads, stream, seq, record, session_id, oldest):
            if found is None:
                self._seen += 1
            else:
                yield found


def _seen_row(payload: Any, session_id: str) -> Any:
    """The row as it is, in the name of a session that cannot be told where that is empty."""
    return payload if session_id else ["", *payload[1:]]


def _note_trouble(trouble: _Trouble, record: Record) -> None:
    match record:
        case DeliveryRecord(status="failed" | "unknown"):
            trouble[record.delivery_seq] = (record.status, record.at_us, record.reason)
        case QuarantinedRecord():
            trouble[record.turn_seq] = ("quarantined", record.at_us, record.error)
        case ReceiptRecord(status="failed"):
            trouble[record.delivery_seq] = ("failed", record.at_us, record.reason)
        case ReopenedRecord():
            trouble.pop(record.delivery_seq, None)
        case _:
            pass


_NAMED: Final = {LEDGER_STREAM: "ledger", SCHEDULE_STREAM: "schedule"}


def _place(stream: int, seq: int) -> str:
    named = _NAMED.get(stream)
    return f"{named} {seq}" if named is not None else f"log {stream}/{seq}"


def _problem(stream: int, seq: int, text: str) -> Problem:
    return Problem(place=_place(stream, seq), text=text)
