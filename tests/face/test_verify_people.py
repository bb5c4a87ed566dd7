"""Who is who and what belongs to whom: every damage to it is one problem, which names it."""

import time
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trio

from turnkeeper.actors.core.effects import Step
from turnkeeper.actors.core.head import Head, read_head
from turnkeeper.actors.core.ownership_records import (
    ActiveRecord,
    BoundRecord,
    HiddenRecord,
    KeyedRecord,
    LinkedRecord,
    OpenedRecord,
    ReleasedRecord,
    UnlinkedRecord,
)
from turnkeeper.actors.core.records import Record, pack
from turnkeeper.actors.core.routing import (
    read_binding,
    read_identity,
    read_key,
)
from turnkeeper.actors.core.runtime_records import AccessRecord, ChangeRecord
from turnkeeper.actors.door import read_standing
from turnkeeper.actors.journal import (
    batch_for,
    load_conversation,
    load_records,
    load_session_number,
)
from turnkeeper.actors.ledger import LEDGER_STREAM
from turnkeeper.actors.self_works import COMMAND_DIGEST
from turnkeeper.storage.base import Table
from turnkeeper.storage.codec import decode, encode
from turnkeeper.storage.keys import log_key, number_key, table_key
from turnkeeper.storage.lmdb_store import open_lmdb
from turnkeeper.storage.memory import MemoryDisk, MemoryReads
from turnkeeper.verify import Verification

from .lives import live, lived

ROTTEN = b"\x01rotten"
KINDS = sorted(
    cls.kind
    for cls in (
        OpenedRecord,
        KeyedRecord,
        BoundRecord,
        ReleasedRecord,
        LinkedRecord,
        UnlinkedRecord,
        HiddenRecord,
        ActiveRecord,
        ChangeRecord,
        AccessRecord,
    )
)


@cache
def _life() -> MemoryDisk:
    return lived()


@pytest.fixture
def disk() -> MemoryDisk:
    """A rich life, to be damaged."""
    return _life().copy()


def problems_in(disk: MemoryDisk) -> list[str]:
    examined = Verification(MemoryReads(disk), time.time_ns() // 1000)
    return [str(problem) for problem in examined.problems()]


def the_problem(disk: MemoryDisk) -> str:
    found = problems_in(disk)
    assert len(found) == 1, found
    return found[0]


def rows(disk: MemoryDisk, table: Table) -> list[tuple[bytes, bytes]]:
    return MemoryReads(disk).scan(table, limit=1_000_000)


def put(disk: MemoryDisk, table: Table, key: bytes, value: object) -> None:
    disk.tables.put(table_key(table, key), value if isinstance(value, bytes) else encode(value))  # type: ignore[arg-type]


def logs(disk: MemoryDisk) -> Iterable[tuple[int, int, Record]]:
    reads = MemoryReads(disk)
    last = max(int.from_bytes(key, "big") for key, _ in rows(disk, Table.HEADS))
    for stream in (*range(1, last + 1), LEDGER_STREAM):
        for seq, record in load_records(reads, stream):
            yield stream, seq, record


def append(disk: MemoryDisk, stream: int, *records: Record) -> int:
    """Let a defect write `records` behind a log; return the sequence number of the last one."""
    reads = MemoryReads(disk)
    if stream == LEDGER_STREAM:
        seq = reads.last_seq(stream)
        for record in records:
            seq += 1
            disk.log.put(log_key(stream, seq), encode(pack(record)))
        return seq
    conversation = load_conversation(reads, stream)
    assert conversation is not None
    step = Step(conversation.next_seq)
    for record in records:
        conversation.apply(record)
        step.records.append(record)
    batch = batch_for(stream, conversation, step)
    for _, first, written in batch.appends:
        for seq, data in enumerate(written, first):
            disk.log.put(log_key(stream, seq), data)
    for table, key, value in batch.puts:
        disk.tables.put(table_key(table, key), value)
    return conversation.next_seq - 1


def one(disk: MemoryDisk, kind: str) -> tuple[int, int, Any]:
    """The newest record of a kind."""
    return [entry for entry in logs(disk) if entry[2].kind == kind][-1]


# --- a store that holds -------------------------------------------------------------------------


def test_after_a_rich_life_all_follows_from_the_logs(disk: MemoryDisk) -> None:
    assert problems_in(disk) == []
    lived_through = {record.kind for _, _, record in logs(disk)}
    assert lived_through >= set(KINDS)
    elsewhere = {Table.TROUBLE, Table.WAITING_NOTES, Table.MISSIONS, Table.DUE, Table.RUNS}
    beside = {
        Table.TOKENS,
        Table.USAGE,
        Table.LIMITS,
        Table.MEMORY,
        Table.BLOBS,
        Table.ERASED,
        Table.WATERMARKS,
    }
    for table in set(Table) - elsewhere - beside:
        assert rows(disk, table), table
    assert any(decode(data)[2] == COMMAND_DIGEST for _, data in rows(disk, Table.SEEN))


def test_after_a_rich_life_on_disk_all_follows_from_the_logs(tmp_path: Path) -> None:
    async def run() -> list[str]:
        async with open_lmdb(tmp_path / "state") as store:
            await live(store)
            with store.snapshot() as reads:
                examined = Verification(reads, time.time_ns() // 1000)
                return [str(problem) for problem in examined.problems()]

    assert trio.run(run) == []


# --- one damaged row ----------------------------------------------------------------------------

TABLES = [
    (Table.NAMES, "name"),
    (Table.BINDINGS, "binding of "),
    (Table.PAST_BINDINGS, "version "),
    (Table.KEYS, "key "),
    (Table.PLACES, "index of places "),
    (Table.IDENTITIES, "identity "),
    (Table.USERS, "index of users "),
    (Table.ACCESS, "access of "),
]


@pytest.mark.parametrize(("table", "what"), TABLES)
def test_a_row_that_is_missing_is_one_problem(table: Table, what: str, disk: MemoryDisk) -> None:
    whole = disk
    for key, _ in rows(whole, table):
        disk = whole.copy()
        disk.tables.delete(table_key(table, key))
        problem = the_problem(disk)
        assert problem.startswith(what)
        assert "missing" in problem


@pytest.mark.parametrize(("table", "what"), [*TABLES, (Table.CODES, "code ")])
def test_a_row_that_cannot_be_read_is_one_problem(
    table: Table, what: str, disk: MemoryDisk
) -> None:
    whole = disk
    for key, _ in rows(whole, table):
        disk = whole.copy()
        put(disk, table, key, ROTTEN)
        problem = the_problem(disk)
        assert problem.startswith(what)
        assert "unreadable" in problem or "holds b'\\x01rotten'" in problem


@pytest.mark.parametrize(
    ("table", "key", "complaint"),
    [
        (Table.NAMES, b"k" * 16, "name 6b6b"),
        (Table.BINDINGS, b"k" * 16, "binding 6b6b"),
        (Table.PAST_BINDINGS, b"k" * 16 + b"\0\0\0\1", "version 1 of the binding 6b6b"),
        (Table.KEYS, b"k" * 16, "session key 6b6b"),
        (Table.PLACES, b"u" + b"k" * 32, "index of places 756b"),
        (Table.PLACES, b"s" + b"k" * 24, "index of places 736b"),
        (Table.IDENTITIES, b"k" * 16, "identity 6b6b"),
        (Table.USERS, b"p" + b"k" * 32, "index of users 706b"),
        (Table.ACCESS, b"k" * 16, "access 6b6b"),
    ],
)
def test_a_row_that_nothing_tells_of_is_one_problem(
    table: Table, key: bytes, complaint: str, disk: MemoryDisk
) -> None:
    put(disk, table, key, rows(disk, table)[0][1])
    problem = the_problem(disk)
    assert problem.startswith(complaint)
    assert "of which no log tells" in problem or "leads to nothing" in problem


def test_an_index_that_leads_to_a_place_by_a_wrong_way_is_one_problem(disk: MemoryDisk) -> None:
    key = rows(disk, Table.PLACES)[-1][0]
    put(disk, Table.PLACES, b"s" + number_key(9_999) + key[-16:], b"\0")
    assert "which is elsewhere" in the_problem(disk)


FIELDS = [
    *((Table.BINDINGS, field, value) for field, value in [
        ("session_id", "s99"), ("stream", 99), ("version", 99), ("platform", "x"), ("guild", "x"),
        ("at_us", 1), ("by", "x"), ("user_id", "x"), ("scope", "x"), ("from_session", "s99"),
    ]),
    *((Table.PAST_BINDINGS, field, value) for field, value in [
        ("session_id", "s99"), ("version", 99), ("conversation", "x"), ("user_id", "x"),
        ("scope", "x"), ("from_session", "s99"), ("at_us", 1),
    ]),
    *((Table.KEYS, field, value) for field, value in [
        ("session_id", "s99"), ("stream", 99), ("version", 99), ("key", ("main", "x")),
    ]),
    *((Table.IDENTITIES, field, value) for field, value in [
        ("user_id", "x"), ("user", "x"), ("session_id", "x"), ("paired_by", "x"),
        ("linked_us", 1), ("paired_us", 1),
    ]),
    *((Table.ACCESS, field, value) for field, value in [
        ("instance", "x"), ("user_id", "x"), ("at_us", 1), ("user_name", "x"),
    ]),
]  # fmt: skip
READERS = {
    Table.BINDINGS: read_binding,
    Table.PAST_BINDINGS: read_binding,
    Table.KEYS: read_key,
    Table.IDENTITIES: read_identity,
    Table.ACCESS: read_standing,
}


@pytest.mark.parametrize(("table", "field", "value"), FIELDS)
def test_a_row_that_says_otherwise_is_one_problem_that_names_the_field(
    table: Table, field: str, value: Any, disk: MemoryDisk
) -> None:
    key, data = rows(disk, table)[0]
    row: Any = READERS[table](decode(data))
    put(disk, table, key, list(row._replace(**{field: value})))
    assert f": {field} is {value!r}, the log says " in the_problem(disk)


def test_a_standing_that_was_turned_round_is_one_problem(disk: MemoryDisk) -> None:
    key, data = next(row for row in rows(disk, Table.ACCESS) if decode(row[1])[0] == "revoked")
    put(disk, Table.ACCESS, key, ["approved", *decode(data)[1:]])
    assert the_problem(disk).endswith("standing is 'approved', the log says 'revoked'")


def test_a_key_that_was_given_up_stays_given_up(disk: MemoryDisk) -> None:
    key, data = next(row for row in rows(disk, Table.KEYS) if decode(row[1])[0] is None)
    row = read_key(decode(data))
    put(disk, Table.KEYS, key, list(row._replace(session_id="s1", stream=1)))
    assert "session_id is 's1', the log says None" in the_problem(disk)


def test_a_code_that_is_none_is_told_without_its_content(disk: MemoryDisk) -> None:
    put(disk, Table.CODES, b"l" + b"k" * 32, ["link", "SECRET"])
    problem = the_problem(disk)
    assert problem.endswith("neither a code that waits nor a count of attempts")
    assert "SECRET" not in problem


def test_what_was_heard_and_is_neither_message_nor_command_is_one_problem(
    disk: MemoryDisk,
) -> None:
    key = next(key for key, data in rows(disk, Table.SEEN) if decode(data)[2] == COMMAND_DIGEST)
    put(disk, Table.SEEN, key, ["", 1, COMMAND_DIGEST])
    assert the_problem(disk) == f"seen {key.hex()}: leads to /1, which is another"


# --- one damaged record -------------------------------------------------------------------------


def _place(stream: int, seq: int) -> str:
    return f"ledger {seq}" if stream == LEDGER_STREAM else f"log {stream}/{seq}"


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_cannot_be_read_is_one_problem_with_its_place(
    kind: str, disk: MemoryDisk
) -> None:
    whole = disk
    places = [(stream, seq) for stream, seq, record in logs(whole) if record.kind == kind]
    for stream, seq in places:
        disk = whole.copy()
        disk.log.put(log_key(stream, seq), ROTTEN)
        assert the_problem(disk).startswith(f"{_place(stream, seq)}: unreadable")


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_is_missing_is_one_problem(kind: str, disk: MemoryDisk) -> None:
    whole = disk
    places = [(stream, seq) for stream, seq, record in logs(whole) if record.kind == kind]
    for stream, seq in places:
        is_last = seq == MemoryReads(whole).last_seq(stream)
        disk = whole.copy()
        disk.log.delete(log_key(stream, seq))
        if stream == LEDGER_STREAM and is_last:
            assert problems_in(disk)  # no head tells how long the ledger is; but what follows does
        elif is_last:
            assert the_problem(disk).startswith(f"head {stream}: tells of {seq} records")
        else:
            assert the_problem(disk).startswith(f"{_place(stream, seq)}: missing")


def test_a_session_without_any_record_is_one_problem(disk: MemoryDisk) -> None:
    whole = disk
    for stream in {stream for stream, _, _ in logs(whole)} - {LEDGER_STREAM}:
        disk = whole.copy()
        for seq in range(1, MemoryReads(whole).last_seq(stream) + 1):
            disk.log.delete(log_key(stream, seq))
        assert the_problem(disk).startswith(f"log {stream}: missing")


def test_several_damages_are_told_one_by_one(disk: MemoryDisk) -> None:
    places = [(LEDGER_STREAM, 2), (LEDGER_STREAM, 5), (1, 3), (2, 1)]
    for stream, seq in places:
        disk.log.put(log_key(stream, seq), ROTTEN)
    found = [problem.split(": ")[0] for problem in problems_in(disk)]
    assert found == [_place(stream, seq) for stream, seq in places]


def test_the_ledger_is_no_session_even_where_a_head_says_so(disk: MemoryDisk) -> None:
    put(disk, Table.HEADS, number_key(LEDGER_STREAM), rows(disk, Table.HEADS)[0][1])
    assert the_problem(disk) == f"head {LEDGER_STREAM}: no session has such a number"


# --- logs that contradict each other ------------------------------------------------------------


def _head(disk: MemoryDisk, stream: int) -> Head:
    return read_head(decode(dict(rows(disk, Table.HEADS))[number_key(stream)]))


def test_a_record_where_none_of_its_kind_belongs_is_one_problem(disk: MemoryDisk) -> None:
    _, _, change = one(disk, "change")
    seq = append(disk, 1, change)
    assert the_problem(disk) == f"log 1/{seq}: a 'change' record does not belong here"


def test_a_session_record_in_the_ledger_is_one_problem(disk: MemoryDisk) -> None:
    _, _, active = one(disk, "active")
    seq = append(disk, LEDGER_STREAM, active)
    assert the_problem(disk) == f"ledger {seq}: a 'active' record in the ledger"


def test_a_change_of_another_shape_is_one_problem(disk: MemoryDisk) -> None:
    change = ChangeRecord(at_us=1, act="link", by="code", text="?", identities=(("telegram",),))
    seq = append(disk, LEDGER_STREAM, change)
    assert the_problem(disk).startswith(f"ledger {seq}: malformed")


def test_a_standing_that_is_none_is_one_problem(disk: MemoryDisk) -> None:
    access = AccessRecord(at_us=1, instance="tg", user_id="1", standing="adored", by="operator")
    seq = append(disk, LEDGER_STREAM, access)
    assert the_problem(disk).startswith(f"ledger {seq}: malformed")


def test_an_undo_of_what_was_not_yet_is_one_problem(disk: MemoryDisk) -> None:
    seq = append(disk, LEDGER_STREAM, ChangeRecord(at_us=1, act="undo", by="code", text="?"))
    undo = ChangeRecord(at_us=1, act="undo", by="code", text="?", undoes=seq + 1)
    append(disk, LEDGER_STREAM, undo)
    assert the_problem(disk) == f"ledger {seq + 1}: takes back {seq + 1}, which is no earlier one"


@pytest.mark.parametrize("joins", [LinkedRecord, UnlinkedRecord])
def test_a_joined_log_and_its_change_must_be_there(
    joins: type[LinkedRecord | UnlinkedRecord], disk: MemoryDisk
) -> None:
    last = MemoryReads(disk).last_seq(LEDGER_STREAM)
    earlier = _head(disk, 2).session_id
    cases = {
        "names log 4444, which does not exist": (4444, earlier, last),
        f"names log 2 of s77, which is that of {earlier}": (2, "s77", last),
        f"names change {last + 1}, which the ledger has not": (2, earlier, last + 1),
        "names change 0, which the ledger has not": (2, earlier, 0),
    }
    whole = disk
    for complaint, (stream, session_id, number) in cases.items():
        disk = whole.copy()
        record = joins(at_us=1, session_id=session_id, stream=stream, number=number, by="?")
        seq = append(disk, 1, record)
        assert the_problem(disk) == f"log 1/{seq}: {complaint}"


def test_what_is_hidden_must_be_so_by_a_change(disk: MemoryDisk) -> None:
    record = HiddenRecord(at_us=1, platform="telegram", user_id="1", since_us=1, number=999)
    seq = append(disk, 1, record)
    assert the_problem(disk) == f"log 1/{seq}: names change 999, which the ledger has not"
    _, number, _ = one(disk, "access")
    disk.log.put(log_key(1, seq), encode(pack(replace(record, number=number))))
    assert the_problem(disk).endswith(f"names change {number}, which the ledger has not")


def test_a_place_that_was_let_go_must_have_gone_somewhere(disk: MemoryDisk) -> None:
    reads = MemoryReads(disk)
    stream, _, bound = next(entry for entry in logs(disk) if entry[2].kind == "bound")
    assert isinstance(bound, BoundRecord)
    released = ReleasedRecord(
        at_us=1,
        instance=bound.instance,
        conversation=bound.conversation,
        thread=bound.thread,
        version=77,
        by="?",
        to_session="user-fifty",
    )
    seq = append(disk, stream, released)
    assert load_session_number(reads, "user-fifty")
    problem = the_problem(disk)
    assert problem.startswith(f"log {stream}/{seq}: version 77 of ")
    assert problem.endswith("of which the ledger and the log of user-fifty do not tell")


def test_who_gained_a_place_and_who_lost_it_must_agree(disk: MemoryDisk) -> None:
    stream, seq, released = one(disk, "released")
    other = "user-forty" if released.to_session != "user-forty" else "user-fifty"
    disk.log.put(log_key(stream, seq), encode(pack(replace(released, to_session=other))))
    found = problems_in(disk)
    assert any(f"version {released.version} of " in problem for problem in found), found
    assert any("goes from" in problem for problem in found)


def test_a_move_that_the_ledger_tells_otherwise_is_named(disk: MemoryDisk) -> None:
    _, seq, change = next(
        entry for entry in logs(disk) if isinstance(entry[2], ChangeRecord) and entry[2].moves
    )
    assert isinstance(change, ChangeRecord)
    (move, *others) = change.moves
    moves = ((*move[:5], 88, move[6]), *others)
    disk.log.put(log_key(LEDGER_STREAM, seq), encode(pack(replace(change, moves=moves))))
    found = problems_in(disk)
    assert any(problem.startswith(f"ledger {seq}: version 88 of ") for problem in found)
    assert any("of which the ledger does not tell" in problem for problem in found)
    assert len(found) == 2


def test_a_place_that_two_sessions_were_given_as_one_version_is_one_problem(
    disk: MemoryDisk,
) -> None:
    stream, _, bound = next(entry for entry in logs(disk) if entry[2].kind == "bound")
    other = next(number for number, _, _ in logs(disk) if number != stream)
    seq = append(disk, other, bound)
    assert the_problem(disk).startswith(f"log {other}/{seq}: ")


def test_a_version_that_no_log_has_is_one_problem(disk: MemoryDisk) -> None:
    key, data = rows(disk, Table.BINDINGS)[0]
    row = read_binding(decode(data))
    for stream, seq, record in logs(disk):
        if (
            isinstance(record, BoundRecord)
            and stream == row.stream
            and record.version == row.version
            and record.conversation == row.conversation
            and record.thread == row.thread
        ):
            disk.log.put(log_key(stream, seq), encode(pack(replace(record, version=9))))
    put(disk, Table.BINDINGS, key, list(row._replace(version=9)))
    found = problems_in(disk)
    assert any("version 1 of it is in no log" in problem for problem in found), found


def test_a_key_that_two_sessions_serve_is_one_problem(disk: MemoryDisk) -> None:
    held = (read_key(decode(data)) for _, data in rows(disk, Table.KEYS))
    row = next(row for row in held if row.session_id is not None)
    other = next(s for s, _, _ in logs(disk) if s > row.stream)
    seq = append(disk, other, KeyedRecord(at_us=1, key=row.key, version=row.version))
    problem = the_problem(disk)
    assert problem.startswith(f"log {other}/{seq}: ")
    assert problem.endswith(f"and so does {row.session_id}")
