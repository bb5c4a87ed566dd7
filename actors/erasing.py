"""What goes with a session that is deleted.

At first, in one batch: whatever leads to it. Its log ends with the record of its deletion, and from
then on nobody finds it. The rest of the log follows, from its end to its beginning, piece by piece,
so that no other commit waits for long: with each record go the rows that follow from it. A process
that dies in between leaves what the next one finishes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from ..storage.base import MAX_ERASED, Batch, Reads, Store, Table
from ..storage.codec import decode, encode
from ..storage.errors import Conflict, CorruptRecord, RecordFromFuture
from ..storage.keys import hash16, log_key, number_key
from .blob_rows import blob_keys
from .core.attached import attachments_of
from .core.delivery_records import DeliveryRecord, NoteRecord, ReopenedRecord
from .core.heard import change_behind
from .core.intake import seen_window
from .core.ownership_records import BoundRecord, KeyedRecord
from .core.records import MalformedRecord, address_of, pack, unpack
from .core.routing import BindingRow, KeyRow, read_binding
from .core.turn_records import AssistantRecord, MissionRecord, UserRecord
from .core.view_records import ChangedRecord, CommandRecord, ErasedRecord
from .erased import put_erased
from .journal import (
    binding_key,
    change_hash,
    load_note_of,
    load_record,
    load_session_number,
    log_pages,
    name_key,
    read_last,
    read_sent,
    seen_key,
    sent_key,
    waiting_key,
)
from .ledger import (
    StoreWorld,
    key_key,
    load_key,
    past_key,
    session_place_key,
    starting_with,
    user_place_key,
)
from .memory_rows import memory_keys
from .messages import split_record_id
from .mission_rows import load_run, run_key
from .usage import usage_key

__all__ = ["VACATED", "erase_rest", "first_batch", "is_unfinished", "next_piece"]

VACATED: Final = "deleted"
"""What is said to have made the last binding of a place whose owner was deleted, where others tell
of the place too: its versions go on from there."""

_PIECE: Final = MAX_ERASED // 5
"""Records from which on no more belong to a piece: finding what follows from them takes the loop
some ten milliseconds."""
_PIECE_BYTES: Final = 1_048_576
"""Bytes of such records, for the same reason."""
_UNREADABLE: Final = (
    CorruptRecord,
    RecordFromFuture,
    MalformedRecord,
    TypeError,
    ValueError,
    OverflowError,
)
"""What a damaged record raises: what would follow from it is not known any more."""


def first_batch(store: Reads, stream: int, record: ErasedRecord) -> tuple[Batch, list[BindingRow]]:
    """The batch after which a session is gone, and the conversations that it had owned.

    Args:
        store: one moment of it.
        stream: number of the session.
        record: the one that is left of it.

    Raises:
        CorruptRecord, MalformedRecord: a conversation of it cannot be read.
    """
    batch = Batch()
    batch.append(stream, record.records + 1, [encode(pack(record))])
    batch.expect(Table.NAMES, name_key(record.session_id), encode(stream))
    batch.delete(Table.NAMES, name_key(record.session_id))
    batch.delete(Table.HEADS, number_key(stream))
    put_erased(batch, stream, record)
    owned = list(StoreWorld(store, 0).places_of_session(stream))
    for row in owned:
        _vacate(batch, store, row)
    for key, data in starting_with(store, Table.LAST, b""):
        if read_last(decode(data)).session_id == record.session_id:
            batch.delete(Table.LAST, key)
    batch.delete(Table.USAGE, usage_key(stream))
    for key in memory_keys(store, stream):
        batch.delete(Table.MEMORY, key)
    return batch, owned


def _vacate(batch: Batch, store: Reads, row: BindingRow) -> None:
    """Let nobody own a place any more."""
    key = binding_key(row.address)
    batch.expect(Table.BINDINGS, key, store.get(Table.BINDINGS, key))
    batch.delete(Table.BINDINGS, key)
    batch.delete(Table.PLACES, session_place_key(row))
    if row.user_id is not None:
        batch.delete(Table.PLACES, user_place_key(row))
    if row.version > 1:
        left = row._replace(by=VACATED, user_id=None, guild=None)
        batch.put(Table.PAST_BINDINGS, past_key(row), encode(list(left)))


# -- the rest of the log -------------------------------------------------------------------------


def is_unfinished(store: Reads, stream: int) -> bool:
    """Whether more is left of the log of a deleted session than its last record."""
    return len(store.read_log(stream, limit=2)) > 1


async def erase_rest(store: Store, stream: int) -> None:
    """Remove what is left of the log of a deleted session, and what follows from it.

    Raises:
        StorageError: the store fails or is closed; the next start finishes it.
    """
    while (piece := next_piece(store, stream)) is not None:
        try:
            await store.commit(piece)
        except Conflict:
            continue  # a row of it was just changed: decide again


def next_piece(store: Reads, stream: int) -> Batch | None:
    """The batch that removes the newest records but the last; None if that alone is left."""
    newest = store.last_seq(stream)
    page: list[tuple[int, bytes]] = []
    for more in log_pages(store, stream, 1, newest, reverse=True):
        page.extend(more)
        if len(page) >= _PIECE or sum(len(data) for _, data in page) >= _PIECE_BYTES:
            break
    if not page:
        return None
    high, low = page[0][0], page[-1][0]
    batch = Batch()
    batch.erase(stream, low, high + 1)
    batch.delete(Table.USAGE, usage_key(stream))
    for table in (Table.TOKENS, Table.TROUBLE, Table.NOTES):
        start, stop = log_key(stream, low), log_key(stream, high + 1)
        for key, _ in store.scan(table, start, stop, limit=len(page)):
            batch.delete(table, key)
    piece = _Piece(store, stream, batch)
    for seq, data in page:
        piece.follow(seq, data)
    return batch


class _Piece:
    """Finds the rows that follow from single records, and are still those of their session."""

    def __init__(self, store: Reads, stream: int, batch: Batch) -> None:
        self._store = store
        self._stream = stream
        self._batch = batch
        self._keys: set[bytes] = set()

    def follow(self, seq: int, data: bytes) -> None:
        """Let the batch remove what follows from record `seq`."""
        try:
            record = unpack(decode(data))
            follows = self._FOLLOW.get(type(record))
            if follows is not None:
                follows(self, seq, record)
        except _UNREADABLE:
            pass

    def _user(self, seq: int, record: UserRecord) -> None:
        self._seen(seq, record)
        for key in blob_keys(self._stream, seq, attachments_of(record)):
            self._batch.delete(Table.BLOBS, key)

    def _seen(self, seq: int, record: UserRecord | CommandRecord) -> None:
        seen = hash16(record.instance, record.conversation, record.message_id)
        self._forget(seq, seen_key(seen_window(record.at_us), seen))

    def _forget(self, seq: int, key: bytes) -> None:
        """Recognise no more what record `seq` tells of."""
        stored = self._store.get(Table.SEEN, key)
        if stored is not None and decode(stored)[1] == seq:
            self._batch.delete(Table.SEEN, key)

    def _changed(self, seq: int, record: ChangedRecord) -> None:
        said = load_record(self._store, self._stream, record.message_seq)
        if isinstance(said, UserRecord):
            news = change_hash(change_behind(record, said))
            self._forget(seq, seen_key(seen_window(record.at_us), news))

    def _said(self, seq: int, record: AssistantRecord) -> None:
        place = address_of(record)
        if place is not None:
            self._batch.delete(Table.WAITING_NOTES, waiting_key(place, self._stream, seq))
        for key in blob_keys(self._stream, seq, attachments_of(record)):
            self._batch.delete(Table.BLOBS, key)

    def _reopened(self, _seq: int, record: ReopenedRecord) -> None:
        place = address_of(record)
        if place is not None:
            key = waiting_key(place, self._stream, record.delivery_seq)
            self._batch.delete(Table.WAITING_NOTES, key)

    def _delivered(self, _seq: int, record: DeliveryRecord) -> None:
        said = load_record(self._store, self._stream, record.delivery_seq)
        place = address_of(said) if isinstance(said, AssistantRecord) else None
        if place is None:
            return
        for platform_id in record.parts or filter(None, [record.platform_message_id]):
            key = sent_key(place, platform_id)
            stored = self._store.get(Table.SENT, key)
            if stored is not None and read_sent(decode(stored)).stream == self._stream:
                self._batch.delete(Table.SENT, key)

    def _noted(self, seq: int, record: NoteRecord) -> None:
        """A note of what another session said here."""
        spoken = split_record_id(record.delivery_id) if record.delivery_id is not None else None
        speaker = load_session_number(self._store, spoken[0]) if spoken is not None else None
        if spoken is None or speaker is None:
            return
        note = load_note_of(self._store, speaker, spoken[1])
        if note is not None and note[1:] == (self._stream, seq):
            self._batch.delete(Table.NOTES, log_key(speaker, spoken[1]))

    def _ran(self, _seq: int, record: MissionRecord) -> None:
        run = load_run(self._store, record.mission, record.run)
        if run is not None and run.stream == self._stream:
            self._batch.delete(Table.RUNS, run_key(record.mission, record.run))

    def _bound(self, _seq: int, record: BoundRecord) -> None:
        place = address_of(record)
        assert place is not None  # a bound place is one
        key = binding_key(place) + record.version.to_bytes(4, "big")
        stored = self._store.get(Table.PAST_BINDINGS, key)
        if stored is None:
            return
        row = read_binding(decode(stored))
        if row.stream == self._stream and row.by != VACATED:
            self._batch.delete(Table.PAST_BINDINGS, key)

    def _keyed(self, _seq: int, record: KeyedRecord) -> None:
        """Let nobody serve a key that nobody took over. Others may tell of its earlier versions."""
        key = tuple(record.key)
        row, where = load_key(self._store, key), key_key(key)
        if row is None or row.stream != self._stream or where in self._keys:
            return
        self._keys.add(where)
        self._batch.expect(Table.KEYS, where, self._store.get(Table.KEYS, where))
        if row.version > 1:
            nobody = KeyRow(None, 0, row.version, key)
            self._batch.put(Table.KEYS, where, encode(list(nobody)))
        else:
            self._batch.delete(Table.KEYS, where)

    _Follow: TypeAlias = Callable[[Any, int, Any], None]
    _FOLLOW: Final[dict[type, _Follow]] = {
        UserRecord: _user,
        CommandRecord: _seen,
        ChangedRecord: _changed,
        AssistantRecord: _said,
        ReopenedRecord: _reopened,
        DeliveryRecord: _delivered,
        NoteRecord: _noted,
        MissionRecord: _ran,
        BoundRecord: _bound,
        KeyedRecord: _keyed,
    }
