"""Logs are read some records at a time: never so much that the loop or the memory suffers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors import journal
from turnkeeper.actors.core.records import Record, pack
from turnkeeper.actors.erasing import next_piece
from turnkeeper.actors.journal import load_records, log_pages
from turnkeeper.storage.codec import decode_all, encode
from turnkeeper.storage.errors import StorageError
from turnkeeper.storage.keys import log_key
from turnkeeper.storage.memory import MemoryDisk, MemoryReads

from ..core.logs import note, reply, user

MB = 1_000_000


class Counted(MemoryReads):
    """Reads that keep how much each of them was."""

    def __init__(self, disk: MemoryDisk) -> None:
        super().__init__(disk)
        self.sizes: list[int] = []

    def read_log(self, *args: Any, **options: Any) -> list[tuple[int, bytes]]:
        """As the store does."""
        page = super().read_log(*args, **options)
        self.sizes.append(sum(len(data) for _, data in page))
        return page


def log_of(*sizes: int) -> Counted:
    """A log with a record of each size."""
    disk = MemoryDisk()
    for seq, size in enumerate(sizes, start=1):
        disk.log.put(log_key(1, seq), bytes(size))
    return Counted(disk)


def test_of_large_records_only_a_few_are_read_at_a_time() -> None:
    for reverse in (False, True):
        reads = log_of(*[4 * MB] * 30)
        assert [seq for page in log_pages(reads, 1, reverse=reverse) for seq, _ in page] == sorted(
            range(1, 31), reverse=reverse
        )
        assert max(reads.sizes) <= 16 * MB
        assert max(reads.sizes[1:]) <= 4 * MB


def test_small_records_are_read_hundreds_at_a_time() -> None:
    reads = log_of(*[500] * 10_000)
    assert sum(len(page) for page in log_pages(reads, 1)) == 10_000
    assert len(reads.sizes) < 50


def test_who_wants_little_reads_little() -> None:
    reads = log_of(*[500] * 10_000)
    newest = next(log_pages(reads, 1, reverse=True))
    assert newest[0][0] == 10_000
    assert sum(reads.sizes) < 5_000


def test_a_piece_of_a_deleted_log_is_small_whatever_its_records_hold() -> None:
    reads = log_of(*[4 * MB] * 30)
    piece = next_piece(reads, 1)
    assert piece is not None
    ((_, low, high),) = piece.erases
    assert high == 30, "the last one stays"
    assert low > 1
    assert sum(reads.sizes) <= 25 * MB


@given(
    sizes=st.lists(st.sampled_from([0, 10, 300_000]), max_size=60),
    start=st.integers(0, 70),
    stop=st.none() | st.integers(0, 70),
    reverse=st.booleans(),
)
def test_page_by_page_every_record_is_read_once(
    sizes: list[int], start: int, stop: int | None, reverse: bool
) -> None:
    reads = log_of(*sizes)
    found = [s for page in log_pages(reads, 1, start, stop, reverse=reverse) for s, _ in page]
    wanted = range(max(start, 1), min(len(sizes) + 1, 71 if stop is None else stop))
    assert found == sorted(wanted, reverse=reverse)


def test_of_a_page_with_a_damaged_record_all_others_are_read_and_it_is_named() -> None:
    disk, told = MemoryDisk(), list[tuple[int, str]]()
    rows = {
        1: encode(pack(user(1, "one"))),
        2: encode(pack(user(2, "two")))[:-1] + b"?",
        3: encode(pack(reply(3, 1, "re: one"))),
        4: encode(["no such kind"]),
        5: encode(None),
        6: encode(pack(note(6, "beside"))),
    }
    for seq, row in rows.items():
        disk.log.put(log_key(1, seq), row)

    def damaged(seq: int, error: StorageError) -> None:
        told.append((seq, str(error).partition(":")[0]))

    found = dict(load_records(MemoryReads(disk), 1, damaged=damaged))
    assert [(seq, record.kind) for seq, record in found.items()] == [
        (1, "user"),
        (3, "assistant"),
        (6, "note"),
    ]
    assert told == [(2, "record 1/2"), (4, "record 1/4"), (5, "record 1/5")]


def test_whoever_wants_some_kinds_of_record_gets_no_others() -> None:
    disk = MemoryDisk()
    for seq in range(1, 301):
        record = user(seq) if seq % 3 else note(seq)
        disk.log.put(log_key(1, seq), encode(pack(record)))
    found = list(load_records(MemoryReads(disk), 1, kinds={"note"}, reverse=True))
    assert [seq for seq, _ in found] == list(range(300, 0, -3))


def test_of_a_page_with_a_damaged_record_too_only_what_is_wanted_comes() -> None:
    disk, told = MemoryDisk(), list[int]()
    records: list[Record] = [user(1), note(2), user(3), note(4)]
    for seq, record in enumerate(records, start=1):
        row = encode(pack(record))
        disk.log.put(log_key(1, seq), row if seq != 3 else row[:-1] + b"?")

    def damaged(seq: int, _error: StorageError) -> None:
        told.append(seq)

    found = load_records(MemoryReads(disk), 1, damaged=damaged, kinds={"note"})
    assert [seq for seq, _ in found] == [2, 4]
    assert told == [3], "nobody can tell what it was"


def test_giants_behind_small_records_are_not_decoded_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, sizes = MemoryDisk(), list[int]()
    for seq in range(1, 301):
        text = "x" * (10 if seq < 60 else 200_000)
        disk.log.put(log_key(1, seq), encode(pack(user(seq, text))))

    def watched(rows: Sequence[bytes]) -> list[Any]:
        sizes.append(sum(map(len, rows)))
        return decode_all(rows)

    monkeypatch.setattr(journal, "decode_all", watched)
    assert [seq for seq, _ in load_records(MemoryReads(disk), 1)] == list(range(1, 301))
    assert 0 < max(sizes) <= 8 * 1_048_576
