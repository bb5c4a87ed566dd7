"""Whether what is stored holds together: every log read and replayed, every table compared.

The logs are the truth; heads, names, bindings, the index of seen messages and the index of trouble
follow from them. Each difference, gap or unreadable record is one problem with its place. Reads
only, in one pass over the logs and one over each table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from .actors.core.conversation import Conversation
from .actors.core.head import read_head
from .actors.core.intake import body_digest, seen_window
from .actors.core.records import (
    BoundRecord,
    DeliveryRecord,
    FeedRecord,
    MalformedRecord,
    OpenedRecord,
    QuarantinedRecord,
    Record,
    ReopenedRecord,
    UserRecord,
    turn_of,
    unpack,
)
from .actors.core.routing import BindingRow, read_binding
from .actors.journal import FEED_STREAM, binding_key, name_key, seen_hash, seen_key
from .storage.base import Reads, Table
from .storage.codec import decode
from .storage.errors import CorruptRecord, RecordFromFuture
from .storage.keys import log_key, number_key, split_log_key

__all__ = ["Problem", "Verification"]

_PAGE: Final = 1_000
_UNREADABLE: Final = (CorruptRecord, RecordFromFuture, MalformedRecord)


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """Something that does not hold."""

    place: str
    """`log STREAM/SEQ`, or a table and what its row is about."""
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class _Damaged(Exception):
    """A stored value that cannot be read."""


class Verification:
    """One examination of a store, over one frozen moment of it."""

    def __init__(
        self, reads: Reads, now_us: int, progress: Callable[[int], None] | None = None
    ) -> None:
        """Nothing is read before :meth:`problems`.

        Args:
            reads: the frozen moment.
            now_us: the time, which tells how far back messages must be recognised.
            progress: called now and then with the number of records read so far.
        """
        self._reads = reads
        self._oldest_window = seen_window(now_us) - 1
        self._progress = progress
        self.records = 0
        """Records read so far, the feed's included."""
        self.sessions = 0
        """Logs of sessions read so far."""
        self._names: dict[bytes, int] = {}
        self._bindings: dict[bytes, BindingRow] = {}
        self._broken: set[int] = set()
        """Streams that could not be replayed to the end: what follows from them is not known."""
        self._seen = 0

    def problems(self) -> Iterator[Problem]:
        """Find every problem, in the order of the places."""
        yield from self._feed()
        for stream in range(1, self._last_stream() + 1):
            yield from self._session(stream)
        yield from self._compare_heads()
        yield from self._compare_names()
        yield from self._compare_bindings()
        yield from self._compare_seen()
        yield from self._compare_trouble()

    # -- logs ------------------------------------------------------------------------------------

    def _last_stream(self) -> int:
        """Number of the last session that anything tells of."""
        last = 0
        for table in (Table.HEADS, Table.TROUBLE):
            newest = self._reads.scan(table, limit=1, reverse=True)
            if newest:
                last = max(last, int.from_bytes(newest[0][0][:8], "big"))
        while self._reads.last_seq(last + 1):
            last += 1
        return last

    def _log(self, stream: int) -> Iterator[tuple[int, Record | Problem]]:
        """Every record of a log, or what is wrong with it."""
        expected, start = 1, 0
        while page := self._reads.read_log(stream, start, limit=_PAGE):
            for seq, data in page:
                if seq != expected:
                    self._broken.add(stream)
                    yield seq, _problem(stream, expected, f"missing: the next record is {seq}")
                expected = seq + 1
                try:
                    yield seq, unpack(decode(data))
                except _UNREADABLE as error:
                    self._broken.add(stream)
                    yield seq, _problem(stream, seq, f"unreadable: {error}")
            self.records += len(page)
            if self._progress is not None:
                self._progress(self.records)
            start = expected

    def _feed(self) -> Iterator[Problem]:
        for seq, record in self._log(FEED_STREAM):
            if isinstance(record, Problem):
                yield record
            elif not isinstance(record, FeedRecord):
                yield _problem(FEED_STREAM, seq, f"a {record.kind!r} record in the feed")

    def _session(self, stream: int) -> Iterator[Problem]:
        conversation = Conversation()
        trouble: dict[int, tuple[str, int, str | None]] = {}
        count = 0
        for seq, record in self._log(stream):
            count += 1
            if isinstance(record, Problem):
                yield record
                continue
            if (seq == 1) != isinstance(record, OpenedRecord) or isinstance(record, FeedRecord):
                yield _problem(stream, seq, f"a {record.kind!r} record does not belong here")
            conversation.next_seq = seq
            conversation.apply(record)
            yield from self._follow(stream, seq, record, conversation, trouble)
        if not count:
            yield Problem(place=f"log {stream}", text="missing: no record of this session is left")
            return
        self.sessions += 1
        if stream not in self._broken:
            yield from self._check_head(stream, conversation)
            yield from self._check_trouble(stream, trouble)

    def _follow(
        self,
        stream: int,
        seq: int,
        record: Record,
        conversation: Conversation,
        trouble: dict[int, tuple[str, int, str | None]],
    ) -> Iterator[Problem]:
        """Note what must follow from `record` in the tables; check what can be checked at once."""
        match record:
            case OpenedRecord():
                self._names[name_key(record.session_id)] = stream
            case BoundRecord():
                self._note_binding(stream, record, conversation.session_id)
            case UserRecord():
                yield from self._check_seen(stream, seq, record, conversation.session_id)
            case DeliveryRecord(status="failed" | "unknown"):
                trouble[record.delivery_seq] = (record.status, record.at_us, record.reason)
            case QuarantinedRecord():
                trouble[record.turn_seq] = ("quarantined", record.at_us, record.error)
            case ReopenedRecord():
                trouble.pop(record.delivery_seq, None)
            case _:
                pass

    def _note_binding(self, stream: int, record: BoundRecord, session_id: str) -> None:
        if not session_id:
            return  # the record that holds the name cannot be read, which is a problem already
        row = BindingRow(
            session_id=session_id,
            stream=stream,
            version=record.version,
            instance=record.instance,
            conversation=record.conversation,
            thread=record.thread,
            platform=record.platform,
            guild=record.guild,
            direct=record.direct,
            at_us=record.at_us,
            by=record.by,
        )
        key = binding_key(row.address)
        earlier = self._bindings.get(key)
        if earlier is None or earlier.version < row.version:
            self._bindings[key] = row

    # -- tables ----------------------------------------------------------------------------------

    def _value(self, table: Table, key: bytes) -> Any:
        """The decoded value at `key`; None if there is none."""
        data = self._reads.get(table, key)
        return _decoded(data) if data is not None else None

    def _rows(self, table: Table) -> Iterator[tuple[bytes, bytes]]:
        start = b""
        while page := self._reads.scan(table, start, limit=_PAGE):
            yield from page
            start = page[-1][0] + b"\0"

    def _check_head(self, stream: int, conversation: Conversation) -> Iterator[Problem]:
        place, expected = f"head {stream}", conversation.head()
        try:
            payload = self._value(Table.HEADS, number_key(stream))
            if payload is None:
                yield Problem(place=place, text="missing")
                return
            stored = read_head(payload)
        except (_Damaged, MalformedRecord) as error:
            yield Problem(place=place, text=str(error))
            return
        for name, is_stored, replayed in zip(stored._fields, stored, expected, strict=True):
            if is_stored != replayed:
                yield Problem(
                    place=place, text=f"{name} is {is_stored!r:.80}, the log says {replayed!r:.80}"
                )

    def _check_trouble(
        self, stream: int, expected: dict[int, tuple[str, int, str | None]]
    ) -> Iterator[Problem]:
        start, stop = log_key(stream, 0), log_key(stream + 1, 0)
        stored: dict[int, Any] = {}
        while page := self._reads.scan(Table.TROUBLE, start, stop, limit=_PAGE):
            for key, data in page:
                seq = split_log_key(key)[1]
                try:
                    stored[seq] = tuple(_decoded(data))
                except _Damaged as error:
                    stored[seq] = str(error)
            start = page[-1][0] + b"\0"
        for seq in sorted(stored.keys() | expected.keys()):
            if stored.get(seq) != expected.get(seq):
                yield Problem(
                    place=f"trouble {stream}/{seq}",
                    text=_difference(stored.get(seq), expected.get(seq)),
                )

    def _check_seen(
        self, stream: int, seq: int, record: UserRecord, session_id: str
    ) -> Iterator[Problem]:
        turn, window = turn_of(record), seen_window(record.at_us)
        place = f"seen {stream}/{seq}"
        try:
            stored = self._value(Table.SEEN, seen_key(window, seen_hash(turn)))
        except _Damaged as error:
            self._seen += 1
            yield Problem(place=place, text=str(error))
            return
        if stored is None:
            if window >= self._oldest_window:
                yield Problem(place=place, text="missing: a redelivery would be taken as new")
            return
        self._seen += 1
        # The name is not known where the record that holds it cannot be read.
        expected = [session_id or stored[0], seq, body_digest(turn)]
        if stored != expected:
            yield Problem(place=place, text=_difference(stored, expected))

    def _compare_heads(self) -> Iterator[Problem]:
        for key, _ in self._rows(Table.HEADS):
            stream = int.from_bytes(key, "big")
            if len(key) != len(number_key(0)) or not self._reads.last_seq(stream):
                yield Problem(place=f"head {stream}", text="leads to no log")

    def _compare_names(self) -> Iterator[Problem]:
        expected = self._names
        for key, data in self._rows(Table.NAMES):
            yield from self._compare("name", key, data, expected.pop(key, None))
        for stream in expected.values():
            yield Problem(place=f"name of session {stream}", text="missing")

    def _compare_bindings(self) -> Iterator[Problem]:
        expected = self._bindings
        for key, data in self._rows(Table.BINDINGS):
            row = expected.pop(key, None)
            yield from self._compare("binding", key, data, row)
        for row in expected.values():
            yield Problem(
                place=_binding_place(row), text=f"missing: the log of {row.stream} has it"
            )

    def _compare(self, what: str, key: bytes, data: bytes, expected: object) -> Iterator[Problem]:
        """Compare one stored name or binding with what the logs say."""
        place = (
            _binding_place(expected) if isinstance(expected, BindingRow) else f"{what} {key.hex()}"
        )
        try:
            stored = _decoded(data)
            if what == "binding":
                stored = read_binding(stored)
        except (_Damaged, MalformedRecord) as error:
            yield Problem(place=place, text=str(error))
            return
        if stored != expected and not (expected is None and self._may_be_lost(stored)):
            yield Problem(place=place, text=_difference(stored, expected))

    def _may_be_lost(self, stored: object) -> bool:
        """Whether a row is of a log that could not be read whole, which is a problem already."""
        stream = stored.stream if isinstance(stored, BindingRow) else stored
        return stream in self._broken

    def _compare_seen(self) -> Iterator[Problem]:
        if sum(1 for _ in self._rows(Table.SEEN)) == self._seen:
            return
        for key, data in self._rows(Table.SEEN):
            place = f"seen {key.hex()}"
            try:
                session_id, seq, _ = _decoded(data)
                found = self._accepted(str(session_id), int(seq))
            except (_Damaged, TypeError, ValueError) as error:
                yield Problem(place=place, text=str(error))
                continue
            if found is not None and found != key:
                yield Problem(place=place, text=f"leads to {session_id}/{seq}, which is another")

    def _accepted(self, session_id: str, seq: int) -> bytes | None:
        """Key of the message that record `seq` accepted; None if its log is damaged anyway."""
        stream = self._value(Table.NAMES, name_key(session_id))
        if stream in self._broken:
            return None
        found = self._reads.read_log(stream, seq, seq + 1, limit=1) if stream else []
        record = unpack(_decoded(found[0][1])) if found else None
        if not isinstance(record, UserRecord):
            return b""
        return seen_key(seen_window(record.at_us), seen_hash(turn_of(record)))

    def _compare_trouble(self) -> Iterator[Problem]:
        for key, _ in self._rows(Table.TROUBLE):
            stream, seq = split_log_key(key)
            if not self._reads.last_seq(stream):
                yield Problem(place=f"trouble {stream}/{seq}", text="leads to no log")


def _decoded(data: bytes) -> Any:
    try:
        return decode(data)
    except (CorruptRecord, RecordFromFuture) as error:
        raise _Damaged(f"unreadable: {error}") from error


def _problem(stream: int, seq: int, text: str) -> Problem:
    return Problem(place=f"log {stream}/{seq}", text=text)


def _binding_place(row: BindingRow) -> str:
    thread = f"/{row.thread}" if row.thread is not None else ""
    return f"binding of {row.instance}/{row.conversation}{thread}"


def _difference(stored: object, expected: object) -> str:
    if stored is None:
        return f"missing: the log says {expected!r:.120}"
    if expected is None:
        return f"holds {stored!r:.120}, of which no log tells"
    return f"holds {stored!r:.120}, the log says {expected!r:.120}"
