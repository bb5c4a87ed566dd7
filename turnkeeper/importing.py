"""Bringing a session in that was exported elsewhere: all of it in one batch, or nothing.

Afterwards every table is as it would be if the session had always been here. Sessions that it
speaks of need not be here. The ledger says that it was imported, because others' logs do not tell
of what happened elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from .actors.blob_rows import refer
from .actors.core.attached import attachments_of
from .actors.core.conversation import Conversation
from .actors.core.delivery_records import DeliveryRecord, NoteRecord, ReceiptRecord, ReopenedRecord
from .actors.core.heard import change_behind
from .actors.core.intake import body_digest, change_digest, seen_window
from .actors.core.ownership_records import BoundRecord, KeyedRecord, OpenedRecord, ReleasedRecord
from .actors.core.records import Record, address_of, pack
from .actors.core.routing import Key, is_numbered
from .actors.core.runtime_records import ChangeRecord
from .actors.core.session_commands import message_behind
from .actors.core.turn_records import AssistantRecord, MissionRecord, UserRecord
from .actors.core.view_records import (
    ChangedRecord,
    CommandRecord,
    ForgottenRecord,
    MemoryRecord,
    SummaryRecord,
)
from .actors.deletion import why_unknown
from .actors.erased import load_erased, newest_erased
from .actors.frozen import message
from .actors.journal import (
    LastRow,
    SentRow,
    binding_key,
    change_hash,
    index_trouble,
    last_key,
    load_head,
    load_last,
    load_record,
    load_session_number,
    name_key,
    seen_hash,
    seen_key,
    sent_key,
)
from .actors.ledger import (
    LEDGER_STREAM,
    append_to_ledger,
)
from .actors.memory_rows import put_memory
from .actors.messages import Address, split_record_id
from .actors.mission_rows import load_mission, load_run, mission_key, put_mission, run_key, run_row
from .import_claims import ComingPlace, claim_key, claim_place
from .import_lines import BadImport, read_export
from .storage.base import Batch, Reads, Table
from .storage.codec import encode
from .storage.keys import log_key, number_key
from .verify_places import row_of
from .verify_summaries import faults_of
from .words import show_place

__all__ = ["ImportRefused", "Imported", "plan_import"]

_MAX_NUMBER: Final = 2**53
"""Highest number that a session is given by its name."""


class ImportRefused(Exception):
    """The session cannot be brought in as things are here; nothing was changed."""


@message
class Imported:
    """A session that was brought in, or would be."""

    session_id: str
    number: int
    records: int
    dry_run: bool
    conversations: tuple[Address, ...] = ()
    """Those that belong to it."""
    open_turns: int = 0
    """The next start of the runtime gives them to the agent."""
    open_deliveries: int = 0
    """The next start of the runtime sends them, where that is safe."""
    missing: tuple[str, ...] = ()
    """Sessions that are part of its context, and are not here."""
    files: int = 0
    """How many files its messages name. An export does not contain them."""
    has_digest: bool = True
    """False of a file of an older form, of which nobody knows whether it is complete."""


def plan_import(store: Reads, path: Path, now_us: int) -> tuple[Imported, Batch]:
    """What the export in `path` comes to, and the batch that brings it in.

    Raises:
        BadImport: it is no export, or is not complete.
        ImportRefused: something of it is another session's here.
        OSError: it cannot be read.
    """
    coming = _Coming(store, now_us)
    export = read_export(path, coming.take)
    refusals = list(coming.finish())
    if refusals:
        more = f" (and {len(refusals) - 1} more)" if len(refusals) > 1 else ""
        raise ImportRefused(f"{refusals[0]}{more}")
    return coming.imported(has_digest=export.has_digest), coming.batch


def _number_for(store: Reads, session_id: str) -> int:
    """The number that a session gets.

    Raises:
        ImportRefused: its id or its number is taken.
    """
    if load_session_number(store, session_id) is not None:
        raise ImportRefused(f"there is a session {session_id!r} here already")
    if load_erased(store, session_id) is not None:
        raise ImportRefused(f"{why_unknown(store, session_id)}: its id is never used again")
    if not is_numbered(session_id):
        return _next_number(store)
    number = int(session_id[1:]) if len(session_id) < len(str(_MAX_NUMBER)) + 1 else 0
    if f"s{number}" != session_id or number < 1:
        raise ImportRefused(f"{session_id!r:.80} is no name that the runtime gives to a session")
    if store.last_seq(number) or load_head(store, number) is not None:
        head = load_head(store, number)
        owner = f"that of {head.session_id!r}" if head is not None else "used up"
        raise ImportRefused(f"the number of {session_id} is {owner} here")
    return number


def _next_number(store: Reads) -> int:
    newest = store.scan(Table.HEADS, limit=1, reverse=True)
    living = int.from_bytes(newest[0][0], "big") if newest else 0
    return max(living, newest_erased(store)) + 1


class _Coming:
    """A session that is being brought in: its state so far, and the batch so far."""

    def __init__(self, store: Reads, now_us: int) -> None:
        self.batch: Final = Batch()
        self.batch.bulk = True
        self._store = store
        self._now_us = now_us
        self._core = Conversation()
        self._stream = 0
        self._records: list[bytes] = []
        self._kinds: list[type[Record]] = []
        self._rows: dict[tuple[Table, bytes], bytes] = {}
        """Rows that later records may change again."""
        self._places: dict[bytes, ComingPlace] = {}
        self._keyed: dict[Key, KeyedRecord] = {}
        self._wrote: dict[int, UserRecord] = {}
        """The messages of humans, which may have been changed."""
        self._said: dict[int, tuple[Address | None, bool]] = {}
        """Where each message went, and whether it is an answer."""
        self._sent: dict[tuple[int, str], SentRow] = {}
        self._runs: dict[str, int] = {}
        self._last: dict[str, LastRow] = {}
        self._files: set[str] = set()
        self._refusals: list[str] = []

    # -- record by record ------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        """The next record of its log."""
        if isinstance(record, OpenedRecord):
            self._stream = _number_for(self._store, record.session_id)
        if isinstance(record, SummaryRecord):
            self._check(record)
        try:
            seq = self._core.apply(record)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            text = f"record {self._core.next_seq - 1} cannot follow those before it: {error}"
            raise BadImport(text) from error
        self._records.append(encode(pack(record)))
        self._kinds.append(type(record))
        trouble = Batch()
        index_trouble(trouble, self._stream, record)
        self._fold(trouble)
        self._follow(seq, record)

    def _check(self, record: SummaryRecord) -> None:
        """Refuse a summary that would hide what nobody has summarised."""
        seq, head = len(self._records) + 1, self._core.head()
        for fault in faults_of(seq, record, head, self._kind_of):
            raise BadImport(f"record {seq} is a summary that {fault}")

    def _kind_of(self, seq: int) -> type[Record] | None:
        return self._kinds[seq - 1] if 0 < seq <= len(self._kinds) else None

    def _fold(self, changes: Batch) -> None:
        """Let later changes of a row come after earlier ones: a batch deletes before it puts."""
        for table, key in changes.deletes:
            self._rows.pop((table, key), None)
        for table, key, value in changes.puts:
            self._rows[table, key] = value

    def _follow(self, seq: int, record: Record) -> None:
        match record:
            case UserRecord():
                self._hear(seq, record)
            case CommandRecord():
                self._recognise(seq, record)
            case ChangedRecord():
                self._changed(seq, record)
            case AssistantRecord():
                self._said[seq] = address_of(record), record.reply_to is not None
                self._name_files(seq, record)
            case ReopenedRecord():
                _, is_answer = self._said[record.delivery_seq]
                self._said[record.delivery_seq] = address_of(record), is_answer
            case DeliveryRecord():
                self._settle(record)
            case ReceiptRecord():
                self._receipt(record)
            case NoteRecord():
                self._note(seq, record)
            case MissionRecord():
                self._run(seq, record)
            case MemoryRecord() | ForgottenRecord():
                self._remember(record)
            case _:
                self._belong(record)

    def _belong(self, record: Record) -> None:
        """What belongs to the session, and to which one it goes."""
        match record:
            case BoundRecord():
                row = row_of(record, self._core.session_id, self._stream)
                place = self._places.setdefault(binding_key(row.address), ComingPlace())
                if row.version in place.versions:
                    text = f"{show_place(row.address)} is bound as version {row.version} twice"
                    raise BadImport(text)
                place.versions[row.version] = row
            case ReleasedRecord():
                address = address_of(record)
                assert address is not None  # its fields are all texts
                left = self._places.get(binding_key(address))
                if left is not None:
                    left.released = record.version
            case KeyedRecord():
                self._keyed[tuple(record.key)] = record
            case _:
                pass

    def _hear(self, seq: int, record: UserRecord) -> None:
        self._wrote[seq] = replace(record, text="", attachments=None)
        self._recognise(seq, record)
        self._name_files(seq, record)
        self._last[record.instance] = LastRow(
            record.instance,
            record.conversation,
            record.thread,
            self._core.session_id,
            record.at_us,
        )

    def _name_files(self, seq: int, record: UserRecord | AssistantRecord) -> None:
        attachments = attachments_of(record)
        refer(self.batch, self._stream, seq, attachments)
        self._files.update(attachment.reference for attachment in attachments)

    def _recognise(self, seq: int, record: UserRecord | CommandRecord) -> None:
        """Let a redelivery be recognised, as long as its like is."""
        window = seen_window(record.at_us)
        if window < seen_window(self._now_us) - 1:
            return
        turn = message_behind(record)
        key = seen_key(window, seen_hash(turn))
        if (Table.SEEN, key) in self._rows or self._store.get(Table.SEEN, key) is not None:
            self._refusals.append(
                f"message {turn.message_id!r:.80} of {show_place(turn.address)} was accepted here"
            )
        self._rows[Table.SEEN, key] = encode((self._core.session_id, seq, body_digest(turn)))

    def _changed(self, seq: int, record: ChangedRecord) -> None:
        """Let a change be recognised when it is told again, as long as its message is."""
        window, said = seen_window(record.at_us), self._wrote[record.message_seq]
        if window >= seen_window(self._now_us) - 1:
            key = seen_key(window, change_hash(change_behind(record, said)))
            row = self._core.session_id, seq, change_digest(record.text)
            self._rows[Table.SEEN, key] = encode(row)

    def _settle(self, record: DeliveryRecord) -> None:
        place, is_answer = self._said[record.delivery_seq]
        seq = record.delivery_seq
        if record.noted_in is not None:
            self._noted(seq, record.noted_in, record.noted_seq)
        if place is None or (is_answer and record.noted_in is None):
            return
        for platform_id in record.parts or filter(None, [record.platform_message_id]):
            self._sent[seq, platform_id] = SentRow(self._core.session_id, self._stream, seq)

    def _receipt(self, record: ReceiptRecord) -> None:
        platform_id, seq = record.platform_message_id, record.delivery_seq
        if platform_id is None or self._said[seq][0] is None:
            return
        row = self._sent.get((seq, platform_id)) or SentRow(
            self._core.session_id, self._stream, seq
        )
        self._sent[seq, platform_id] = row._replace(heard=(*row.heard, record.status))

    def _note(self, seq: int, record: NoteRecord) -> None:
        """A note of what another session said here."""
        spoken = split_record_id(record.delivery_id) if record.delivery_id is not None else None
        speaker = load_session_number(self._store, spoken[0]) if spoken is not None else None
        if spoken is not None and speaker is not None:
            key = log_key(speaker, spoken[1])
            self._rows[Table.NOTES, key] = encode((self._core.session_id, self._stream, seq))

    def _noted(self, delivery_seq: int, owner: str, noted_seq: int) -> None:
        """A note, in the log of a session that may be here, of what this one said."""
        number = load_session_number(self._store, owner)
        note = load_record(self._store, number, noted_seq) if number is not None else None
        delivery_id = f"{self._core.session_id}/{delivery_seq}"
        if isinstance(note, NoteRecord) and note.delivery_id == delivery_id:
            key = log_key(self._stream, delivery_seq)
            self._rows[Table.NOTES, key] = encode((owner, number, noted_seq))

    def _run(self, seq: int, record: MissionRecord) -> None:
        name, run = record.mission, record.run
        key = run_key(name, run)
        there = load_run(self._store, name, run)
        if there is not None or (Table.RUNS, key) in self._rows:
            where = there.session_id if there is not None else self._core.session_id
            self._refusals.append(f"run {run} of the mission {name!r:.80} is in {where} already")
        self._rows[Table.RUNS, key] = run_row(self._core.session_id, self._stream, seq)
        self._runs[name] = max(self._runs.get(name, 0), run)

    def _remember(self, record: MemoryRecord | ForgottenRecord) -> None:
        if isinstance(record, MemoryRecord):
            kept = Batch()
            put_memory(kept, self._stream, record)
            self._fold(kept)
            return
        for table, key in [place for place in self._rows if place[0] is Table.MEMORY]:
            del self._rows[table, key]

    # -- afterwards ------------------------------------------------------------------------------

    def finish(self) -> Iterator[str]:
        """Complete the batch; tell why it may not be stored as things are."""
        batch, session_id = self.batch, self._core.session_id
        yield from self._refusals
        batch.append(self._stream, 1, self._records)
        batch.create(Table.NAMES, name_key(session_id), encode(self._stream))
        batch.put(Table.HEADS, number_key(self._stream), encode(list(self._core.head())))
        for place in self._places.values():
            yield from claim_place(batch, self._store, place)
        for record in self._keyed.values():
            yield from claim_key(batch, self._store, session_id, self._stream, record)
        yield from self._index_sent()
        for name, runs in self._runs.items():
            self._count_runs(name, runs)
        for instance, row in self._last.items():
            before = load_last(self._store, self._core.agent, instance)
            if before is None or before.at_us < row.at_us:
                batch.put(Table.LAST, last_key(self._core.agent, instance), encode(list(row)))
        for (table, where), value in self._rows.items():
            batch.put(table, where, value)
        change = ChangeRecord(
            at_us=self._now_us,
            act="import",
            by="operator",
            text=f"{session_id} was imported, {len(self._records)} records",
            imported=session_id,
        )
        append_to_ledger(batch, self._store.last_seq(LEDGER_STREAM) + 1, change)

    def _index_sent(self) -> Iterator[str]:
        for (seq, platform_id), row in self._sent.items():
            place = self._said[seq][0]
            if place is None:
                continue
            key = sent_key(place, platform_id)
            if self._store.get(Table.SENT, key) is not None:
                yield f"message {platform_id!r:.80} of {show_place(place)} was sent from here"
            self._rows[Table.SENT, key] = encode(list(row))

    def _count_runs(self, name: str, runs: int) -> None:
        """Let a mission of the same name go on counting."""
        key = mission_key(name)
        row = load_mission(self._store, key)
        if row is not None and row.runs < runs:
            put_mission(self.batch, key, row, row._replace(runs=runs))

    def imported(self, *, has_digest: bool) -> Imported:
        """What has come."""
        head = self._core.head()
        owned = [place.newest.address for place in self._places.values() if place.is_owned]
        missing = [
            earlier
            for _, earlier in head.joined or ()
            if load_session_number(self._store, earlier) is None
        ]
        return Imported(
            session_id=self._core.session_id,
            number=self._stream,
            records=len(self._records),
            dry_run=False,
            conversations=tuple(owned),
            open_turns=head.open_turns,
            open_deliveries=head.open_deliveries,
            missing=tuple(missing),
            files=len(self._files),
            has_digest=has_digest,
        )
