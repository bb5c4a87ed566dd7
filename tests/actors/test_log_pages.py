"""Logs are read some records at a time: never so much that the loop or the memory suffers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.erasing import next_piece
from turnkeeper.actors.journal import log_pages
from turnkeeper.storage.keys import log_key
from turnkeeper.storage.memory import MemoryDisk, MemoryReads

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
