"""The storage floor of sends: what is left when the runtime costs nothing. See :mod:`.floor`.

Two commits for each group of sends: one that asks for them, one with what became of them. Where a
send went into another session's conversation, its note is part of the second one, in that log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.clocks import Clocks
from benchmarks.floor import Entry, Transaction
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.head import read_head
from turnkeeper.actors.core.records import address_of, pack
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.journal import (
    load_note_of,
    load_record,
    load_records,
    load_sent,
    sent_key,
)
from turnkeeper.storage.base import Reads, Table
from turnkeeper.storage.codec import decode
from turnkeeper.storage.keys import log_key, number_key
from turnkeeper.storage.lmdb_env import create_environment, open_environment
from turnkeeper.storage.lmdb_store import DEFAULT_MAP_BYTES

__all__ = ["FloorSend", "sends_of", "write_sends"]


@dataclass(frozen=True, slots=True)
class FloorNote:
    """The note of a send, in the log of whoever owns the conversation; not encoded."""

    stream: int
    head: list[Any]
    entry: Entry


@dataclass(slots=True)
class FloorSend:
    """Everything that one send wrote, not encoded."""

    stream: int
    head: list[Any]
    asked: Entry
    became: list[Entry] = field(default_factory=list[Entry])
    """The outcome, and before it that the delivery began, if it had to wait in its lane."""
    note: FloorNote | None = None
    rows: list[tuple[Table, bytes, Any]] = field(default_factory=list[tuple[Table, bytes, Any]])
    """The platform's id of the message, and where its note is."""


def sends_of(store: Reads, streams: Sequence[int]) -> list[FloorSend]:
    """What a finished run wrote: the first send of every stream, then the second, and so on.

    Raises:
        ValueError: a send was not simply asked for and delivered.
    """
    by_stream = [list(_sends_of_stream(store, stream)) for stream in streams]
    return [send for sends in zip(*by_stream, strict=True) for send in sends]


def _sends_of_stream(store: Reads, stream: int) -> Iterator[FloorSend]:
    head = _head(store, stream)
    sends: dict[int, FloorSend] = {}
    said: dict[int, AssistantRecord] = {}
    for seq, record in load_records(store, stream):
        match record:
            case AssistantRecord(turn_seq=0):
                said[seq] = record
                sends[seq] = FloorSend(stream, head, (seq, pack(record)))
            case DeliveryRecord(delivery_seq=asked) if asked in sends:
                sends[asked].became.append((seq, pack(record)))
                if record.status == "delivered":
                    _add_rows(store, sends[asked], said[asked], record)
            case _:
                pass  # of a turn, or noted here: that belongs to whoever has spoken
    for seq, send in sends.items():
        if not send.rows:
            raise ValueError(f"send {stream}/{seq} was not delivered")
    yield from sends.values()


def _add_rows(
    store: Reads, send: FloorSend, said: AssistantRecord, outcome: DeliveryRecord
) -> None:
    place, platform_id = address_of(said), outcome.platform_message_id
    assert place is not None
    assert platform_id is not None
    sent = load_sent(store, place, platform_id)
    assert sent is not None
    send.rows.append((Table.SENT, sent_key(place, platform_id), [*sent]))
    if outcome.noted_in is None:
        return
    row = load_note_of(store, send.stream, outcome.delivery_seq)
    assert row is not None
    _, owner, seq = row
    note = load_record(store, owner, seq)
    assert note is not None
    send.note = FloorNote(owner, _head(store, owner), (seq, pack(note)))
    send.rows.append((Table.NOTES, log_key(send.stream, outcome.delivery_seq), [*row]))


def _head(store: Reads, stream: int) -> list[Any]:
    data = store.get(Table.HEADS, number_key(stream))
    assert data is not None
    return [*read_head(decode(data))]


def write_sends(directory: Path, sends: Sequence[FloorSend], in_flight: int) -> Clocks:
    """What it takes to write `sends` into a new store, `in_flight` of them at a time."""
    directory.mkdir()
    create_environment(directory)
    with open_environment(directory, DEFAULT_MAP_BYTES) as (env, dbs):
        began = Clocks.now()
        for start in range(0, len(sends), in_flight):
            group = sends[start : start + in_flight]
            ask = Transaction()
            for send in group:
                ask.append(send.stream, send.head, [send.asked])
            ask.commit(env, dbs)
            tell = Transaction()
            for send in group:
                tell.append(send.stream, send.head, send.became)
                if send.note is not None:
                    tell.append(send.note.stream, send.note.head, [send.note.entry])
                for table, key, payload in send.rows:
                    tell.put(table, key, payload)
            tell.commit(env, dbs)
        return Clocks.now().since(began)
