"""Who is who, in the store: identities, keys and places read back, and the ledger of changes.

The ledger is a stream of its own that holds every change in words and in full; the tables follow
from it and from the sessions' logs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from ..storage.base import Batch, Reads, Table
from ..storage.codec import decode, encode
from ..storage.errors import CorruptRecord
from ..storage.keys import HASH_BYTES, hash16, number_key
from .core.conversation import Conversation
from .core.delivery_records import NoteRecord
from .core.effects import Step
from .core.head import Head
from .core.ownership_records import KeyedRecord, OpenedRecord
from .core.records import Record, pack, unpack
from .core.routing import (
    BindingRow,
    IdentityRow,
    InstanceRules,
    Key,
    KeyRow,
    read_binding,
    read_identity,
    read_key,
    record_of,
)
from .core.runtime_records import AccessRecord, ChangeRecord
from .core.world import Plan
from .journal import (
    batch_for,
    binding_key,
    find_session,
    load_conversation,
    load_records,
    name_key,
)
from .messages import Address, Instance

__all__ = [
    "LEDGER_STREAM",
    "StoreWorld",
    "access_key",
    "append_to_ledger",
    "batch_of_plan",
    "changes_since",
    "identity_key",
    "key_key",
    "load_identity",
    "load_key",
    "next_version",
    "opening",
    "opening_alone",
    "pages",
    "paired_identities",
    "past_bindings",
    "past_key",
    "put_binding",
    "put_identity",
    "read_note",
    "session_place_key",
    "starting_with",
    "take_notes",
    "user_place_key",
    "waiting_notes",
]

LEDGER_STREAM: Final = 2**63
"""Number of the stream that holds the ledger: no session gets so far."""

_PAGE: Final = 1_000
_VERSION: Final = struct.Struct(">I")


# -- keys ----------------------------------------------------------------------------------------


def identity_key(platform: str, user_id: str) -> bytes:
    """Key of an identity in `Table.IDENTITIES`."""
    return hash16(platform, user_id)


def key_key(key: Key) -> bytes:
    """Key of a session key in `Table.KEYS`."""
    return hash16(*key)


def access_key(instance: str, user_id: str) -> bytes:
    """Key of somebody's standing in `Table.ACCESS`."""
    return hash16(instance, user_id)


def user_place_key(row: BindingRow) -> bytes:
    """Key in `Table.PLACES` by which an identity's direct conversation is found."""
    return _of_identity(row.platform, row.user_id or "") + binding_key(row.address)


def session_place_key(row: BindingRow) -> bytes:
    """Key in `Table.PLACES` by which a session's conversation is found."""
    return _of_session(row.stream) + binding_key(row.address)


def _of_identity(platform: str, user_id: str) -> bytes:
    return b"u" + hash16(platform, user_id)


def _of_session(stream: int) -> bytes:
    return b"s" + number_key(stream)


def _of_user(user: str) -> bytes:
    return b"u" + hash16(user)


def _of_pair(session_id: str) -> bytes:
    return b"p" + hash16(session_id)


def past_key(row: BindingRow) -> bytes:
    """Key of an earlier binding in `Table.PAST_BINDINGS`."""
    return binding_key(row.address) + _VERSION.pack(row.version)


# -- rows ----------------------------------------------------------------------------------------


def load_identity(store: Reads, platform: str, user_id: str) -> IdentityRow | None:
    """What was decided of an identity, or None."""
    data = store.get(Table.IDENTITIES, identity_key(platform, user_id))
    return read_identity(decode(data)) if data is not None else None


def load_key(store: Reads, key: Key) -> KeyRow | None:
    """Which session serves `key`, or None."""
    data = store.get(Table.KEYS, key_key(key))
    return read_key(decode(data)) if data is not None else None


def put_binding(batch: Batch, row: BindingRow, *, first: bool = False) -> None:
    """Store a binding and what leads to it; the `first` one only where there is none."""
    key = binding_key(row.address)
    if first:
        batch.expect(Table.BINDINGS, key, None)
    batch.put(Table.BINDINGS, key, encode(list(row)))
    batch.put(Table.PLACES, session_place_key(row), b"\0")
    if row.user_id is not None:
        batch.put(Table.PLACES, user_place_key(row), b"\0")


def opening(
    row: BindingRow,
    agent: str,
    holder: KeyRow | None,
    notes: Sequence[tuple[bytes, NoteRecord]] = (),
) -> tuple[Batch, Conversation]:
    """The batch that opens a session, which owns the place of `row` and serves a key, if any.

    Args:
        row: the binding of the place.
        agent: who answers.
        holder: of the key.
        notes: what has waited for an owner of the place; see `waiting_notes`.

    Returns:
        The batch, and the state of the session after it.
    """
    records: list[Record] = [
        OpenedRecord(at_us=row.at_us, session_id=row.session_id, agent=agent, by=row.by)
    ]
    if holder is not None:
        records.append(KeyedRecord(at_us=row.at_us, key=holder.key, version=holder.version))
    records.append(record_of(row))
    batch, conversation = _opened(row.stream, [*records, *(note for _, note in notes)])
    take_notes(batch, row.session_id, row.stream, len(records) + 1, notes)
    put_binding(batch, row, first=True)
    if holder is not None:
        batch.put(Table.KEYS, key_key(holder.key), encode(list(holder)))
    return batch, conversation


def opening_alone(
    session_id: str, stream: int, agent: str, by: str, at_us: int
) -> tuple[Batch, Conversation]:
    """The batch that opens a session which owns no conversation, and its state after it."""
    return _opened(stream, [OpenedRecord(at_us=at_us, session_id=session_id, agent=agent, by=by)])


def _opened(stream: int, records: Sequence[Record]) -> tuple[Batch, Conversation]:
    conversation = Conversation()
    step = Step(conversation.next_seq)
    for record in records:
        conversation.apply(record)
        step.records.append(record)
    batch = batch_for(stream, conversation, step)
    batch.create(Table.NAMES, name_key(conversation.session_id), encode(stream))
    return batch, conversation


def waiting_notes(store: Reads, place: Address) -> list[tuple[bytes, NoteRecord]]:
    """The notes that wait for an owner of `place`, the oldest first, and the key of each."""
    found: list[tuple[bytes, NoteRecord]] = []
    for key, data in starting_with(store, Table.WAITING_NOTES, binding_key(place)):
        found.append((key, read_note(data)))
    return sorted(found, key=lambda entry: entry[1].at_us)


def read_note(data: bytes) -> NoteRecord:
    """A note that waits, as it is stored.

    Raises:
        CorruptRecord, MalformedRecord: it is none.
    """
    note = unpack(decode(data))
    if not isinstance(note, NoteRecord):
        raise CorruptRecord(f"what waits for an owner is no note but a {note.kind!r} record")
    return note


def take_notes(
    batch: Batch,
    session_id: str,
    stream: int,
    seq: int,
    notes: Sequence[tuple[bytes, NoteRecord]],
) -> None:
    """Let notes that waited stand in a session's log from record `seq` on."""
    for number, (key, _) in enumerate(notes, seq):
        batch.delete(Table.WAITING_NOTES, key)
        batch.put(Table.NOTES, key[HASH_BYTES:], encode((session_id, stream, number)))


def put_identity(batch: Batch, before: IdentityRow | None, row: IdentityRow) -> None:
    """Store what was decided of an identity, and what leads to it."""
    key = identity_key(row.platform, row.user_id)
    if before is not None:
        if before.user is not None:
            batch.delete(Table.USERS, _of_user(before.user) + key)
        if before.session_id is not None:
            batch.delete(Table.USERS, _of_pair(before.session_id) + key)
    batch.put(Table.IDENTITIES, key, encode(list(row)))
    if row.user is not None:
        batch.put(Table.USERS, _of_user(row.user) + key, b"\0")
    if row.session_id is not None:
        batch.put(Table.USERS, _of_pair(row.session_id) + key, b"\0")


def paired_identities(store: Reads) -> list[IdentityRow]:
    """Every identity that is paired to a session."""
    return _identities(store, b"p")


def _identities(store: Reads, prefix: bytes) -> list[IdentityRow]:
    """The identities to which an index leads."""
    found: list[IdentityRow] = []
    for index, _ in starting_with(store, Table.USERS, prefix):
        key = index[-HASH_BYTES:]
        data = store.get(Table.IDENTITIES, key)
        if data is None:
            raise CorruptRecord(f"an index leads to no identity {key.hex()}")
        found.append(read_identity(decode(data)))
    return found


def past_bindings(store: Reads, place: Address) -> list[BindingRow]:
    """Every binding that `place` had before the one of now, the first one first."""
    return [
        read_binding(decode(data))
        for _, data in starting_with(store, Table.PAST_BINDINGS, binding_key(place))
    ]


def next_version(store: Reads, place: Address) -> int:
    """The version of the next binding of a place that nobody owns."""
    prefix = binding_key(place)
    newest = store.scan(Table.PAST_BINDINGS, prefix, _after(prefix), limit=1, reverse=True)
    return int.from_bytes(newest[0][0][len(prefix) :], "big") + 1 if newest else 1


def pages(
    store: Reads, table: Table, prefix: bytes = b"", *, size: int = _PAGE
) -> Iterator[list[tuple[bytes, bytes]]]:
    """All of `table` whose keys begin with `prefix`, in order, `size` at a time."""
    start = prefix
    while page := store.scan(table, start, _after(prefix), limit=size):
        yield page
        if len(page) < size:
            return
        start = page[-1][0] + b"\0"


def starting_with(store: Reads, table: Table, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All of `table` whose keys begin with `prefix`, in order."""
    for page in pages(store, table, prefix):
        yield from page


def _after(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with `prefix`."""
    number = int.from_bytes(prefix, "big") + 1
    return None if number >> (8 * len(prefix)) else number.to_bytes(len(prefix), "big")


# -- the world -----------------------------------------------------------------------------------


class StoreWorld:
    """One moment of a store, as acts are planned on it."""

    def __init__(
        self,
        store: Reads,
        next_stream: int,
        rules: Mapping[Instance, InstanceRules] = MappingProxyType({}),
    ) -> None:
        self._store = store
        self._rules = rules
        self.next_stream = next_stream
        self.next_number = store.last_seq(LEDGER_STREAM) + 1

    def agent_at(self, instance: str) -> str | None:
        """Who answers at an instance now; None if no rules are known for it."""
        rules = self._rules.get(Instance(instance))
        return rules.agent if rules is not None else None

    def identity(self, platform: str, user_id: str) -> IdentityRow | None:
        """What was decided of an identity."""
        return load_identity(self._store, platform, user_id)

    def identities_of(self, user: str) -> Sequence[IdentityRow]:
        """The identities that are linked to a user."""
        return _identities(self._store, _of_user(user))

    def paired_to(self, session_id: str) -> Sequence[IdentityRow]:
        """The identities that are paired to a session."""
        return _identities(self._store, _of_pair(session_id))

    def places_of_identity(self, platform: str, user_id: str) -> Sequence[BindingRow]:
        """The direct conversations of an identity."""
        return list(self._places(_of_identity(platform, user_id)))

    def places_of_session(self, stream: int) -> Iterator[BindingRow]:
        """The conversations that a session owns."""
        return self._places(_of_session(stream))

    def _places(self, prefix: bytes) -> Iterator[BindingRow]:
        for key, _ in starting_with(self._store, Table.PLACES, prefix):
            data = self._store.get(Table.BINDINGS, key[len(prefix) :])
            if data is None:
                raise CorruptRecord(f"an index leads to no binding {key.hex()}")
            yield read_binding(decode(data))

    def key(self, key: Key) -> KeyRow | None:
        """Which session serves a key."""
        return load_key(self._store, key)

    def session(self, session_id: str) -> tuple[int, Head] | None:
        """Number and head of a session."""
        return find_session(self._store, session_id)


def batch_of_plan(store: Reads, plan: Plan) -> Batch:
    """The one batch that makes `plan` so."""
    batch = Batch()
    for session_id, stream in plan.opened.items():
        batch.create(Table.NAMES, name_key(session_id), encode(stream))
    opened = frozenset(plan.opened.values())
    for stream, records in plan.logs.items():
        _append(batch, store, stream, records, is_new=stream in opened)
    for before, after in plan.bindings:
        key = binding_key(after.address)
        batch.expect(Table.BINDINGS, key, encode(list(before)))
        batch.put(Table.PAST_BINDINGS, past_key(before), encode(list(before)))
        batch.delete(Table.PLACES, session_place_key(before))
        put_binding(batch, after)
    for _, row in plan.keys:
        batch.put(Table.KEYS, key_key(row.key), encode(list(row)))
    for earlier, identity in plan.identities:
        put_identity(batch, earlier, identity)
    append_to_ledger(batch, plan.change.number or 0, plan.record)
    return batch


def _append(
    batch: Batch, store: Reads, stream: int, records: Sequence[Record], *, is_new: bool
) -> None:
    conversation = Conversation() if is_new else load_conversation(store, stream)
    if conversation is None:
        raise CorruptRecord(f"session number {stream} has no head")
    step = Step(conversation.next_seq)
    for record in records:
        conversation.apply(record)
        step.records.append(record)
    written = batch_for(stream, conversation, step)
    batch.appends.extend(written.appends)
    batch.puts.extend(written.puts)


# -- the ledger ----------------------------------------------------------------------------------


def append_to_ledger(batch: Batch, number: int, record: ChangeRecord | AccessRecord) -> None:
    """Let `record` be entry `number` of the ledger."""
    batch.append(LEDGER_STREAM, number, [encode(pack(record))])


def changes_since(
    store: Reads, number: int = 1, *, reverse: bool = False
) -> Iterator[tuple[int, ChangeRecord]]:
    """The changes from entry `number` of the ledger on; the newest first: `reverse`."""
    for seq, record in load_records(store, LEDGER_STREAM, number, reverse=reverse):
        if isinstance(record, ChangeRecord):
            yield seq, record
