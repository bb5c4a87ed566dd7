"""Whether what is stored holds together: every log read and replayed, every table compared.

The logs are the truth; heads, names, bindings, the index of seen messages and the index of trouble
follow from them. Each difference, gap or unreadable record is one problem with its place. Reads
only: one pass over the logs, then one over each table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
from .actors.core.routing import BindingRow
from .actors.journal import FEED_STREAM, binding_key, name_key, seen_hash, seen_key
from .storage.base import Reads, Table
from .storage.keys import MAX_NUMBER, log_key, number_key, split_log_key
from .verify_tables import Expected, Problem, Unreadable, compare_tables, decoded, difference

__all__ = ["Problem", "Verification"]

_PAGE: Final = 1_000

_Trouble = dict[int, tuple[str, int, str | None]]
"""Sequence number of a turn or delivery -> what became of it, when, and why."""


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
        self._expected = Expected()
        self.records = 0
        """Records read so far, the feed's included."""
        self.sessions = 0
        """Logs of sessions read so far."""

    def problems(self) -> Iterator[Problem]:
        """Find every problem: those of the logs in their order, then those of the tables."""
        yield from self._feed()
        for stream in self._streams():
            yield from self._session(stream)
        yield from compare_tables(self._reads, self._expected)

    # -- logs ------------------------------------------------------------------------------------

    def _streams(self) -> Iterator[int]:
        """Number of every session that has a log or a head."""
        stream = 1
        while stream < MAX_NUMBER:
            if not self._reads.last_seq(stream):
                following = self._reads.scan(Table.HEADS, number_key(stream), limit=1)
                if not following:
                    return
                stream = int.from_bytes(following[0][0], "big")
            yield stream
            stream += 1

    def _log(self, stream: int) -> Iterator[tuple[int, Record | Problem]]:
        """Every record of a log, or what is wrong with it."""
        expected, start = 1, 0
        while page := self._reads.read_log(stream, start, limit=_PAGE):
            for seq, data in page:
                if seq != expected:
                    self._expected.broken.add(stream)
                    yield seq, _problem(stream, expected, f"missing: the next record is {seq}")
                expected = seq + 1
                try:
                    yield seq, unpack(decoded(data))
                except (Unreadable, MalformedRecord) as error:
                    self._expected.broken.add(stream)
                    yield seq, _problem(stream, seq, str(error))
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
        conversation, trouble = Conversation(), _Trouble()
        is_empty = True
        for seq, record in self._log(stream):
            is_empty = False
            if isinstance(record, Problem):
                yield record
                continue
            if (seq == 1) != isinstance(record, OpenedRecord) or isinstance(record, FeedRecord):
                yield _problem(stream, seq, f"a {record.kind!r} record does not belong here")
            conversation.next_seq = seq
            conversation.apply(record)
            _note_trouble(trouble, record)
            yield from self._follow(stream, seq, record, conversation.session_id)
        if is_empty:
            yield Problem(place=f"log {stream}", text="missing: no record of this session is left")
            return
        self.sessions += 1
        if stream not in self._expected.broken:
            yield from self._check_head(stream, conversation)
            yield from self._check_trouble(stream, trouble)

    def _follow(self, stream: int, seq: int, record: Record, session_id: str) -> Iterator[Problem]:
        """Note what must follow from `record` in the tables, or look whether it does.

        `session_id` is empty where the record that holds it cannot be read.
        """
        match record:
            case OpenedRecord():
                self._expected.names[name_key(record.session_id)] = stream
            case BoundRecord() if session_id:
                self._note_binding(stream, record, session_id)
            case UserRecord():
                yield from self._check_seen(stream, seq, record, session_id)
            case _:
                pass

    def _note_binding(self, stream: int, record: BoundRecord, session_id: str) -> None:
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
            user_id=record.user_id,
            scope=record.scope,
            from_session=record.from_session,
        )
        bindings, key = self._expected.bindings, binding_key(row.address)
        if key not in bindings or bindings[key].version < row.version:
            bindings[key] = row

    # -- rows of one session ---------------------------------------------------------------------

    def _check_head(self, stream: int, conversation: Conversation) -> Iterator[Problem]:
        place = f"head {stream}"
        data = self._reads.get(Table.HEADS, number_key(stream))
        if data is None:
            yield Problem(place=place, text="missing")
            return
        try:
            stored = read_head(decoded(data))
        except (Unreadable, MalformedRecord) as error:
            yield Problem(place=place, text=str(error))
            return
        replayed = conversation.head()
        for name, is_stored, follows in zip(stored._fields, stored, replayed, strict=True):
            if is_stored != follows:
                text = f"{name} is {is_stored!r:.80}, the log says {follows!r:.80}"
                yield Problem(place=place, text=text)

    def _check_trouble(self, stream: int, expected: _Trouble) -> Iterator[Problem]:
        start, stop = log_key(stream, 0), log_key(stream + 1, 0)
        stored: dict[int, Any] = {}
        while page := self._reads.scan(Table.TROUBLE, start, stop, limit=_PAGE):
            for key, data in page:
                seq = split_log_key(key)[1]
                try:
                    stored[seq] = tuple(decoded(data))
                except (Unreadable, TypeError) as error:
                    stored[seq] = str(error)
            start = page[-1][0] + b"\0"
        for seq in sorted(stored.keys() | expected.keys()):
            if stored.get(seq) != expected.get(seq):
                yield Problem(
                    place=f"trouble {stream}/{seq}",
                    text=difference(stored.get(seq), expected.get(seq)),
                )

    def _check_seen(
        self, stream: int, seq: int, record: UserRecord, session_id: str
    ) -> Iterator[Problem]:
        turn, window = turn_of(record), seen_window(record.at_us)
        place = f"seen {stream}/{seq}"
        data = self._reads.get(Table.SEEN, seen_key(window, seen_hash(turn)))
        if data is None:
            if window >= self._oldest_window:
                yield Problem(place=place, text="missing: a redelivery would be taken as new")
            return
        self._expected.seen += 1
        try:
            stored = decoded(data)
        except Unreadable as error:
            yield Problem(place=place, text=str(error))
            return
        expected = [session_id or stored[0], seq, body_digest(turn)]
        if stored != expected:
            yield Problem(place=place, text=difference(stored, expected))


def _note_trouble(trouble: _Trouble, record: Record) -> None:
    match record:
        case DeliveryRecord(status="failed" | "unknown"):
            trouble[record.delivery_seq] = (record.status, record.at_us, record.reason)
        case QuarantinedRecord():
            trouble[record.turn_seq] = ("quarantined", record.at_us, record.error)
        case ReopenedRecord():
            trouble.pop(record.delivery_seq, None)
        case _:
            pass


def _problem(stream: int, seq: int, text: str) -> Problem:
    return Problem(place=f"log {stream}/{seq}", text=text)
