"""Missions in the store: their keys, and their rows read back and written.

A mission is found by its name, and by when it is due: so that whoever watches the clock reads the
first few keys, however many missions there are. Whatever the configuration has made is found too.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from ..storage.base import Batch, Reads, Table
from ..storage.codec import decode, encode
from ..storage.errors import CorruptRecord
from ..storage.keys import HASH_BYTES, hash16
from .core.missions import MissionRow, read_mission
from .journal import load_head
from .ledger import starting_with

__all__ = [
    "RunRow",
    "all_missions",
    "config_key",
    "config_missions",
    "due_key",
    "due_missions",
    "load_mission",
    "load_run",
    "mission_key",
    "newest_run",
    "next_due",
    "open_runs",
    "put_mission",
    "read_run",
    "run_key",
    "run_row",
]

_NUMBER: Final = struct.Struct(">Q")
_MISSION: Final = b"m"
_OF_CONFIG: Final = b"c"


class RunRow(NamedTuple):
    """Where the turn of a run is. A tuple, as it is stored."""

    session_id: str
    stream: int
    seq: int


def mission_key(name: str) -> bytes:
    """Key of a mission in `Table.MISSIONS`."""
    return _MISSION + hash16(name)


def config_key(mission: bytes) -> bytes:
    """Key in `Table.MISSIONS` that leads to a configured mission with the key `mission`."""
    return _OF_CONFIG + mission[1:]


def due_key(due_us: int, mission: bytes) -> bytes:
    """Key in `Table.DUE` of the mission with the key `mission`."""
    return _NUMBER.pack(due_us) + mission[1:]


def run_key(name: str, run: int) -> bytes:
    """Key of a run in `Table.RUNS`."""
    return hash16(name) + _NUMBER.pack(run)


def run_row(session_id: str, stream: int, seq: int) -> bytes:
    """A run, as it is stored."""
    return encode(list(RunRow(session_id, stream, seq)))


def load_mission(store: Reads, key: bytes) -> MissionRow | None:
    """The mission with this key, or None.

    Raises:
        CorruptRecord, MalformedRecord: it cannot be read.
    """
    data = store.get(Table.MISSIONS, key)
    return read_mission(decode(data)) if data is not None else None


def all_missions(store: Reads) -> Iterator[MissionRow]:
    """Every mission."""
    for _, data in starting_with(store, Table.MISSIONS, _MISSION):
        yield read_mission(decode(data))


def config_missions(store: Reads) -> Iterator[MissionRow]:
    """Every mission that the configuration has made."""
    for key, _ in starting_with(store, Table.MISSIONS, _OF_CONFIG):
        row = load_mission(store, _MISSION + key[1:])
        if row is None:
            raise CorruptRecord(f"an index leads to no mission {key.hex()}")
        yield row


def put_mission(
    batch: Batch, key: bytes, before: MissionRow | None, after: MissionRow | None
) -> None:
    """Store a mission instead of what it was before, and what leads to it; None: no mission."""
    batch.expect(Table.MISSIONS, key, encode(_flat(before)) if before is not None else None)
    if before is not None and before.due_us is not None:
        batch.delete(Table.DUE, due_key(before.due_us, key))
    if after is None:
        batch.delete(Table.MISSIONS, key)
        batch.delete(Table.MISSIONS, config_key(key))
        return
    batch.put(Table.MISSIONS, key, encode(_flat(after)))
    if after.due_us is not None:
        batch.put(Table.DUE, due_key(after.due_us, key), b"\0")
    if after.definition.by == "config":
        batch.put(Table.MISSIONS, config_key(key), b"\0")
    elif before is not None:
        batch.delete(Table.MISSIONS, config_key(key))


def _flat(row: MissionRow) -> list[Any]:
    _, *progress = row
    return [row.definition.flat(), *progress]


# -- what is due ---------------------------------------------------------------------------------


def due_missions(store: Reads, now_us: int, limit: int) -> list[tuple[int, bytes]]:
    """The first missions that are due at `now_us`: since when, and the key of each."""
    found = store.scan(Table.DUE, stop=_NUMBER.pack(max(now_us, 0) + 1), limit=limit)
    return [(_time_of(key), _MISSION + key[_NUMBER.size :]) for key, _ in found]


def next_due(store: Reads, after_us: int) -> int | None:
    """When the first mission is due after `after_us`; None if none ever is."""
    found = store.scan(Table.DUE, _NUMBER.pack(max(after_us, 0) + 1), limit=1)
    return _time_of(found[0][0]) if found else None


def _time_of(key: bytes) -> int:
    return int.from_bytes(key[: _NUMBER.size], "big")


# -- runs ----------------------------------------------------------------------------------------


def load_run(store: Reads, name: str, run: int) -> RunRow | None:
    """Where the turn of a run is; None if there was none.

    Raises:
        CorruptRecord: it cannot be read.
    """
    data = store.get(Table.RUNS, run_key(name, run))
    return read_run(decode(data)) if data is not None else None


def read_run(payload: object) -> RunRow:
    """The run whose tuple is `payload`.

    Raises:
        CorruptRecord: it is none.
    """
    match payload:
        case [str(session_id), int(stream), int(seq)]:
            return RunRow(session_id, stream, seq)
        case _:
            raise CorruptRecord(f"a run is kept as {payload!r:.80}")


def newest_run(store: Reads, name: str) -> int:
    """The number of the newest run of a mission, whether it is still there or not; 0 for none."""
    low, high = run_key(name, 0), run_key(name, 2**64 - 1)
    found = store.scan(Table.RUNS, low, high, limit=1, reverse=True)
    return int.from_bytes(found[0][0][HASH_BYTES:], "big") if found else 0


def open_runs(store: Reads, row: MissionRow) -> int:
    """How many of the newest two runs of a mission have not ended."""
    name, newest = row.definition.name, row.runs
    return sum(_is_open(store, name, run) for run in range(max(newest - 1, 1), newest + 1))


def _is_open(store: Reads, name: str, run: int) -> bool:
    place = load_run(store, name, run)
    head = load_head(store, place.stream) if place is not None else None
    # Turns end in the order in which they have come.
    return place is not None and head is not None and head.settled < place.seq
