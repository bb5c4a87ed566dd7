"""The storage floor: what the disk, LMDB and the codec leave to a runtime that costs nothing.

One thread and a bare loop: no actors, no trio. It takes the records which a real run has left in
its store, encodes them anew and writes them with the store's own settings, codec and keys: two
commits a turn, one that accepts and one that replies, each as full as the number in flight allows.
The outcome of a delivery rides in the commit after its reply. Nothing is read and nothing checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lmdb

from benchmarks.clocks import Clocks
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.head import read_head
from turnkeeper.actors.core.heard import heard
from turnkeeper.actors.core.intake import seen_window
from turnkeeper.actors.core.records import address_of, pack
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.journal import (
    binding_key,
    load_binding,
    load_records,
    load_seen,
    name_key,
    seen_hash,
    seen_key,
)
from turnkeeper.storage.base import Reads, Table
from turnkeeper.storage.codec import decode, encode_known
from turnkeeper.storage.keys import log_key, number_key, table_key
from turnkeeper.storage.lmdb_env import Databases, create_environment, open_environment
from turnkeeper.storage.lmdb_store import DEFAULT_MAP_BYTES

__all__ = ["Entry", "FloorTurn", "Transaction", "turns_of", "write_floor"]

Entry = tuple[int, list[Any]]
"""Sequence number and flat form of a record."""


@dataclass(slots=True)
class FloorTurn:
    """Everything that one turn wrote, not encoded."""

    stream: int
    head: list[Any]
    seen: tuple[int, bytes, list[Any]]
    """Window, hash and row of the message."""
    accepted: list[Entry] = field(default_factory=list[Entry])
    replied: list[Entry] = field(default_factory=list[Entry])
    delivered: list[Entry] = field(default_factory=list[Entry])
    """The outcome, and before it that the delivery began, if it had to wait in its lane."""
    opened: list[tuple[Table, bytes, Any]] = field(default_factory=list[tuple[Table, bytes, Any]])
    """Name and binding of the session, which its first turn writes."""


def turns_of(store: Reads, streams: Sequence[int]) -> list[FloorTurn]:
    """What a finished run wrote: the first turn of every stream, then the second, and so on.

    Raises:
        ValueError: a turn was not simply accepted, answered and delivered.
    """
    by_stream = [list(_turns_of_stream(store, stream)) for stream in streams]
    return [turn for turns in zip(*by_stream, strict=True) for turn in turns]


def _turns_of_stream(store: Reads, stream: int) -> Iterator[FloorTurn]:
    head_data = store.get(Table.HEADS, number_key(stream))
    assert head_data is not None
    head = read_head(decode(head_data))
    before: list[Entry] = []
    turns: dict[int, FloorTurn] = {}
    heard_delivery: dict[int, FloorTurn] = {}
    for seq, record in load_records(store, stream):
        entry = (seq, pack(record))
        match record:
            case UserRecord():
                hashed = seen_hash(heard(record))
                row = load_seen(store, hashed, record.at_us)
                assert row is not None
                turn = FloorTurn(stream, [*head], (seen_window(record.at_us), hashed, [*row]))
                if not turns:
                    place = address_of(record)
                    assert place is not None
                    binding = load_binding(store, place)
                    assert binding is not None
                    turn.accepted += before
                    turn.opened = [
                        (Table.NAMES, name_key(head.session_id), stream),
                        (Table.BINDINGS, binding_key(place), [*binding]),
                    ]
                turn.accepted.append(entry)
                turns[seq] = turn
            case AssistantRecord():
                turns[record.turn_seq].replied.append(entry)
                heard_delivery[seq] = turns[record.turn_seq]
            case DeliveryRecord():
                heard_delivery[record.delivery_seq].delivered.append(entry)
            case _ if not turns:
                before.append(entry)
            case _:
                raise ValueError(f"stream {stream} holds a {record.kind!r} record at {seq}")
    for seq, turn in turns.items():
        if len(turn.replied) != 1 or not turn.delivered:
            raise ValueError(f"turn {stream}/{seq} was not simply answered and delivered")
    yield from turns.values()


class Transaction:
    """The contents of one commit."""

    __slots__ = ("heads", "log", "tables")

    def __init__(self) -> None:
        self.log: list[tuple[bytes, bytes]] = []
        self.heads: dict[int, list[Any]] = {}
        self.tables: list[tuple[bytes, bytes]] = []

    def append(self, stream: int, head: list[Any], entries: list[Entry]) -> None:
        self.log.extend((log_key(stream, seq), encode_known(payload)) for seq, payload in entries)
        self.heads[stream] = head

    def put(self, table: Table, key: bytes, payload: Any) -> None:
        self.tables.append((table_key(table, key), encode_known(payload)))

    def commit(self, env: lmdb.Environment, dbs: Databases) -> None:
        for stream, head in self.heads.items():
            self.put(Table.HEADS, number_key(stream), head)
        with env.begin(write=True) as txn:
            with txn.cursor(dbs.log) as cursor:
                cursor.putmulti(self.log)
            with txn.cursor(dbs.tables) as cursor:
                cursor.putmulti(self.tables)


def write_floor(directory: Path, turns: Sequence[FloorTurn], in_flight: int) -> Clocks:
    """What it takes to write `turns` into a new store, `in_flight` of them at a time."""
    directory.mkdir()
    create_environment(directory)
    with open_environment(directory, DEFAULT_MAP_BYTES) as (env, dbs):
        began = Clocks.now()
        just_sent: Sequence[FloorTurn] = ()
        for start in range(0, len(turns), in_flight):
            group = turns[start : start + in_flight]
            accept = Transaction()
            for turn in just_sent:
                accept.append(turn.stream, turn.head, turn.delivered)
            for turn in group:
                accept.append(turn.stream, turn.head, turn.accepted)
                window, hashed, row = turn.seen
                accept.put(Table.SEEN, seen_key(window, hashed), row)
                for table, key, payload in turn.opened:
                    accept.put(table, key, payload)
            accept.commit(env, dbs)
            reply = Transaction()
            for turn in group:
                reply.append(turn.stream, turn.head, turn.replied)
            reply.commit(env, dbs)
            just_sent = group
        return Clocks.now().since(began)
