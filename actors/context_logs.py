"""The logs of a context: a session's own, and those that have joined it, as they count in it.

Each begins behind the newest marker and the newest summary that holds. What cannot be read of a log
is left out, and told of in the log of the program.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ..storage.base import Reads
from ..storage.errors import CorruptRecord, StorageError
from .core.alterations import Altered, Changes, altered_by, as_altered
from .core.delivery_records import NoteRecord, ReceiptRecord
from .core.head import Head
from .core.records import Record
from .core.turn_records import (
    AssistantRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from .core.turns import TOLD, in_context
from .core.veil import Hidden
from .core.view_records import ChangedRecord, ClearRecord, SummaryRecord
from .core.weight import weight_of
from .core.window import Stretch
from .journal import find_session, load_head, load_record, load_records

__all__ = ["Log", "family_of", "head_at", "logs_of", "readable", "record_at", "told_of"]

logger = logging.getLogger("turnkeeper.windows")


@dataclass(slots=True, eq=False)
class Log:
    """One log of a context, and how much of it counts."""

    stream: int
    head: Head
    session_id: str | None = None
    """The earlier session whose log it is; None: the session itself."""
    since_us: int = 0
    """When the context that it is part of began anew for the last time; 0 if it never did."""
    through: int = 0
    """Turns up to this one are covered by a summary."""
    asides: int = 0
    """So is what belongs to no turn, up to this sequence number."""
    summary: tuple[int, SummaryRecord] | None = None
    """The summary of its own that is shown."""
    until: int | None = None
    """Sequence number of the newest record that counts; None for all."""
    shortened: dict[int, int] = field(default_factory=dict[int, int])
    """Tokens that are left for some messages, which are shown in part."""
    changes: dict[int, Changes] = field(default_factory=dict[int, Changes])
    """What has been read of changes, by the message."""
    bounds: dict[int, int] = field(default_factory=dict[int, int])
    """What messages that are not shown as they were count for in the head, with their changes."""

    def told(self, seq: int, record: Record) -> Record | None:
        """A record as it is shown, as far as its changes have been read; None if it is not."""
        match record:
            case ChangedRecord():
                of_message = self.changes.setdefault(record.message_seq, Changes())
                of_message.take(seq, record, weight_of(record) if record.shown == "instead" else 0)
                return record if record.shown == "later" else None
            case UserRecord() if seq in self.changes:
                of_message = self.changes[seq]
                changes = of_message.that_count()
                if altered_by(changes) is not None:
                    self.bounds[seq] = weight_of(record) + of_message.added
                return as_altered(record, changes)
            case _:
                return record

    def read_changes(self, reads: Reads, start: int) -> None:
        """Read all changes from record `start` on, in advance."""
        if self.head.changed >= start:
            stop = self.until + 1 if self.until is not None else None
            changes = readable(reads, self.stream, start, stop, kinds=[ChangedRecord.kind])
            for seq, change in changes:
                self.told(seq, change)

    def _altered(self) -> dict[int, Altered]:
        made: dict[int, Altered] = {}
        for seq, changes in self.changes.items():
            altered = altered_by(changes.that_count())
            if altered is not None:
                made[seq] = altered
        return made

    def covers(self, seq: int, record: Record) -> bool:
        """Whether a summary covers a record, as far as the record itself tells."""
        match record:
            case UserRecord() | MissionRecord():
                return seq <= self.through
            case ToolRecord():
                return record.turn_seq <= self.through
            case AssistantRecord() if record.turn_seq:
                return record.turn_seq <= self.through
            case AssistantRecord(by="runtime"):
                return False  # it may belong to the turn that was given up before it
            case _:
                return seq <= self.asides

    def stretch(
        self, reads: Reads, records: Sequence[tuple[int, Record]], *, cut: bool = False
    ) -> Stretch:
        """What the window shows of it: `records`, ascending; `cut`: there was no room for more."""
        return Stretch(
            self.session_id,
            records,
            tuple(Hidden(*entry) for entry in self.head.hidden or ()),
            self.since_us,
            _quoted(reads, self.stream, records),
            self.through,
            self.asides,
            self.summary,
            self.shortened,
            not (cut or self.through or self.head.cleared),
            self._altered() if self.changes else None,
            self._origins(reads, records) if self.changes else None,
        )

    def _origins(
        self, reads: Reads, records: Sequence[tuple[int, Record]]
    ) -> dict[int, UserRecord]:
        """The messages that changes among `records` speak of, where they are not among them."""
        here = {seq for seq, record in records if isinstance(record, UserRecord)}
        changed = {r.message_seq for _, r in records if isinstance(r, ChangedRecord)}
        found = ((seq, record_at(reads, self.stream, seq)) for seq in changed - here)
        return {
            seq: as_altered(record, self.changes[seq].that_count())
            for seq, record in found
            if isinstance(record, UserRecord)
        }


def logs_of(store: Reads, stream: int, head: Head, at_us: int | None = None) -> list[Log]:
    """The logs of a context as `head` has it, the session's own first, with their summaries.

    A session that has joined and has got a conversation of its own again goes on by itself, and
    whatever is said there from then on is for nobody else.

    Args:
        store: where the logs are.
        stream: number of the session.
        head: of the session.
        at_us: of what has joined, nothing newer counts; None for all of it.
    """
    own = Log(stream, head)
    own_us = _cleared_us(store, stream, head)
    logs = [own]
    for number, _ in head.joined or ():
        earlier = load_head(store, number)
        since_us = _goes_on_since(store, earlier, head.session_id) if earlier is not None else None
        if earlier is None or since_us is None:
            continue
        until = None
        if at_us is not None:
            until = _newest_at(store, number, at_us)
            earlier = head_at(store, number, earlier, until, 0)
        logs.append(Log(number, earlier, earlier.session_id, max(own_us, since_us), until=until))
    _begin_with_summaries(store, logs)
    return logs


def _newest_at(store: Reads, stream: int, at_us: int) -> int:
    """The newest record that is not newer than `at_us`; 0 if there is none."""
    newest_first = readable(store, stream, reverse=True)
    return next((seq for seq, record in newest_first if record.at_us <= at_us), 0)


def _begin_with_summaries(store: Reads, logs: Sequence[Log]) -> None:
    """Let each log begin with its own summary, if that holds, and what it covers be left out.

    A summary that was folded into a later one of another log is not shown again.
    """
    known = {log.stream: log for log in logs}
    held: list[tuple[Log, int, SummaryRecord]] = []
    for log in logs:
        seq = log.head.summary
        record = record_at(store, log.stream, seq) if seq else None
        if isinstance(record, SummaryRecord) and _holds(store, log, record, known):
            held.append((log, seq, record))
    held.sort(key=lambda entry: (entry[0] is not logs[0], -entry[2].at_us))
    for log, seq, record in held:
        covers = [(log.stream, record.through, record.asides, 0), *record.others]
        if log is not logs[0] and all(
            through <= known[number].through and asides <= known[number].asides
            for number, through, asides, _ in covers
        ):
            continue
        log.summary = seq, record
        for number, through, asides, _ in covers:
            covered = known[number]
            covered.through = max(covered.through, through)
            covered.asides = max(covered.asides, asides)


def _holds(store: Reads, log: Log, record: SummaryRecord, known: Mapping[int, Log]) -> bool:
    """Whether nothing that a log's summary may tell is not to be told any more."""
    if log.since_us > record.at_us:
        return False
    for number, _, _, hidden in record.others:
        other = known.get(number)
        if other is None or other.head.veils != hidden:
            return False
        if max(other.since_us, _cleared_us(store, number, other.head)) > record.at_us:
            return False
    return True


def _goes_on_since(store: Reads, earlier: Head, session_id: str) -> int | None:
    """The last time that a session between these two was cleared; None if it does not go on."""
    passed: set[str] = set()
    since_us = 0
    while (following := earlier.merged_into) is not None and following not in passed:
        if following == session_id:
            return since_us
        passed.add(following)
        through = find_session(store, following)
        if through is None:
            return None
        since_us = max(since_us, _cleared_us(store, *through))
        earlier = through[1]
    return None


def _cleared_us(store: Reads, stream: int, head: Head) -> int:
    """When the context of a session began anew; 0 if it never did.

    Where the marker cannot be read, what comes next tells.
    """
    if not head.cleared:
        return 0
    marker = record_at(store, stream, head.cleared)
    if marker is not None:
        return marker.at_us
    return next((record.at_us for _, record in readable(store, stream, head.cleared)), 0)


def family_of(logs: Sequence[Log]) -> frozenset[str]:
    """The sessions whose logs these are: what one of them said is not shown as a note."""
    return frozenset(log.head.session_id for log in logs)


def head_at(store: Reads, stream: int, head: Head, until: int, turn: int) -> Head:
    """`head` with the marker and the summary of record `until`, or the one that `turn` waited for.

    Turn 0 is none.
    """
    cleared, summary = head.cleared, head.summary
    while cleared > until:
        marker = record_at(store, stream, cleared)
        if not isinstance(marker, ClearRecord):
            break
        cleared, summary = marker.cleared, marker.summary
    while summary > until:
        record = record_at(store, stream, summary)
        if not isinstance(record, SummaryRecord) or record.for_turn == turn > 0:
            break
        summary = record.previous
    return head._replace(cleared=cleared, summary=summary)


def told_of(store: Reads, log: Log) -> Iterator[tuple[Log, int, Record]]:
    """What of a log is not covered by a summary, newest first."""
    stop = log.until + 1 if log.until is not None else None
    newest_first = readable(store, log.stream, log.through + 1, stop, reverse=True, kinds=_SHOWN)
    marked = _marked(newest_first, log.head.cleared)
    for seq, record in in_context(_as_told(log, marked), log.since_us):
        if not isinstance(record, _ASIDES) or not log.covers(seq, record):
            yield log, seq, record


_ASIDES: Final = (NoteRecord, ReceiptRecord, ChangedRecord)
_SHOWN: Final = frozenset(
    kind.kind for kind in (*TOLD, ClearRecord, SilentRecord, QuarantinedRecord)
)
"""The kinds of record that are shown, or tell where others stand."""


def _as_told(log: Log, newest_first: Iterator[tuple[int, Record]]) -> Iterator[tuple[int, Record]]:
    """The records as they are shown: a change is always newer than its message."""
    for seq, record in newest_first:
        told = log.told(seq, record)
        if told is not None:
            yield seq, told


def _marked(
    newest_first: Iterator[tuple[int, Record]], cleared: int
) -> Iterator[tuple[int, Record]]:
    """The records with the marker `cleared`, even where that one cannot be read."""
    for seq, record in newest_first:
        if seq < cleared:
            yield cleared, ClearRecord(at_us=record.at_us, by="")
        if seq <= cleared:
            cleared = 0
        yield seq, record


def readable(
    store: Reads,
    stream: int,
    start: int = 1,
    stop: int | None = None,
    *,
    reverse: bool = False,
    kinds: Collection[str] | None = None,
) -> Iterator[tuple[int, Record]]:
    """The records that can be read; of each other one the log of the program tells.

    Args:
        store: where they are.
        stream: number of the session.
        start: the first one.
        stop: the first one that is not wanted any more.
        reverse: newest first.
        kinds: the only ones that are wanted; None for all.
    """
    return load_records(store, stream, start, stop, reverse=reverse, damaged=_tell, kinds=kinds)


def record_at(store: Reads, stream: int, seq: int) -> Record | None:
    """Record `seq`, if there is one that can be read."""
    try:
        return load_record(store, stream, seq)
    except CorruptRecord as error:
        _tell(seq, error)
        return None


def _tell(seq: int, error: StorageError) -> None:
    logger.warning("left out of a context: %s", error)


def _quoted(
    store: Reads, stream: int, records: Sequence[tuple[int, Record]]
) -> Mapping[int, AssistantRecord]:
    """What the receipts among `records` speak of, where it is not among them."""
    here = {seq for seq, record in records if isinstance(record, AssistantRecord)}
    wanted = {
        record.delivery_seq
        for seq, record in records
        if isinstance(record, ReceiptRecord)
        and record.delivery_seq < seq
        and record.delivery_seq not in here
    }
    found = ((seq, record_at(store, stream, seq)) for seq in wanted)
    return {seq: record for seq, record in found if isinstance(record, AssistantRecord)}
