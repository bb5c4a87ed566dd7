"""How fast are durable commits? Beside a bare LMDB loop, and beside a loop that is busy.

``python -m benchmarks.storage [--quick] [--json PATH] [--plot PATH]``
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

import lmdb
import trio

from benchmarks.report import Figure, Report, fdatasync_p50_ms, read_options
from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.keys import hash16, log_key, number_key, table_key
from turnkeeper.storage.lmdb_store import LmdbStore, open_lmdb

QUESTION: Final = "How fast are durable commits, beside a bare LMDB loop?"
STREAMS: Final = 1000
"""Conversations that the batches are spread over."""
PASS_S: Final = 50e-6
"""Length of a busy loop's pass: that of one actor draining its mailbox."""
MAP_BYTES: Final = 8 * 2**30


class Work:
    """The next batch's content, the same for the store and for the bare loop: a turn's accept."""

    def __init__(self) -> None:
        self.seqs = [0] * STREAMS
        self.count = 0

    def next(self) -> tuple[int, int, bytes, bytes, bytes]:
        """Stream, sequence number, record, head, and key of what was seen."""
        self.count += 1
        stream = self.count % STREAMS
        seq = self.seqs[stream] = self.seqs[stream] + 1
        message = f"m{self.count}"
        record = encode(
            ["user", "tg", "12345678", None, message, "u1", "a message of a usual length", 17, seq]
        )
        head = encode([seq, "tg", "12345678", None, 17, seq, [[seq, "running"]]])
        return stream, seq, record, head, hash16("tg", message)


def batch_of(work: Work) -> Batch:
    stream, seq, record, head, seen = work.next()
    batch = Batch()
    batch.append(stream, seq, (record,))
    batch.put(Table.HEADS, number_key(stream), head)
    batch.put(Table.SEEN, seen, number_key(seq))
    return batch


def bare_rate(folder: Path, in_flight: int, total: int) -> float:
    """Batches a second of a loop which knows nothing but LMDB, `in_flight` to a commit."""
    work = Work()
    with lmdb.Environment(str(folder), map_size=MAP_BYTES, max_dbs=4, lib_version=0) as env:
        log, tables = env.open_db(b"log"), env.open_db(b"tables")
        started = time.perf_counter()
        for _ in range(total // in_flight):
            records: list[tuple[bytes, bytes]] = []
            values: list[tuple[bytes, bytes]] = []
            for _ in range(in_flight):
                stream, seq, record, head, seen = work.next()
                records.append((log_key(stream, seq), record))
                values.append((table_key(Table.HEADS, number_key(stream)), head))
                values.append((table_key(Table.SEEN, seen), number_key(seq)))
            with env.begin(write=True) as txn:
                with txn.cursor(log) as cursor:
                    cursor.putmulti(records)
                with txn.cursor(tables) as cursor:
                    cursor.putmulti(values)
        return total / (time.perf_counter() - started)


async def store_rate(folder: Path, in_flight: int, total: int) -> float:
    """Batches a second through the store, with `in_flight` tasks that wait for one each."""
    work = Work()

    async def commit_in_turn(store: LmdbStore) -> None:
        for _ in range(total // in_flight):
            await store.commit(batch_of(work))

    async with open_lmdb(folder, map_size=MAP_BYTES) as store:
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            for _ in range(in_flight):
                nursery.start_soon(commit_in_turn, store)
        return total / (time.perf_counter() - started)


async def latency_ms(folder: Path, rounds: int, *, busy: bool) -> float:
    """Median time of one commit alone, or beside a loop that never sleeps."""
    work = Work()

    async def spin() -> None:
        while True:
            end = time.perf_counter() + PASS_S
            while time.perf_counter() < end:
                pass
            await trio.lowlevel.checkpoint()

    times: list[float] = []
    async with open_lmdb(folder, map_size=MAP_BYTES) as store, trio.open_nursery() as nursery:
        if busy:
            nursery.start_soon(spin)
        for _ in range(rounds):
            started = time.perf_counter()
            await store.commit(batch_of(work))
            times.append(time.perf_counter() - started)
        nursery.cancel_scope.cancel()
    return median(times) * 1000


def raw_commit_ms(folder: Path, rounds: int) -> float:
    """Median time of one small LMDB commit."""
    times: list[float] = []
    with lmdb.Environment(str(folder), map_size=MAP_BYTES, max_dbs=4, lib_version=0) as env:
        for number in range(rounds):
            started = time.perf_counter()
            with env.begin(write=True) as txn:
                txn.put(number_key(number), b"x" * 200)
            times.append(time.perf_counter() - started)
    return median(times) * 1000


def compare_rates(report: Report, folders: Iterator[Path], in_flight: int, total: int) -> None:
    """Store and bare loop in turn, because the disk drifts; medians, because others compute too."""
    pairs: list[tuple[float, float]] = []
    for _ in range(3 if report.options.quick else 7):
        bare = bare_rate(next(folders), in_flight, total)
        pairs.append((trio.run(store_rate, next(folders), in_flight, total), bare))
    report.add(
        Figure(
            name=f"durable batches, {in_flight} in flight",
            value=median(mine for mine, _ in pairs),
            unit="batches/s",
            beside="bare LMDB loop",
            beside_value=median(bare for _, bare in pairs),
            ratio=median(mine / bare for mine, bare in pairs),
            aim="0.8" if in_flight == 64 else "",
        )
    )


def compare_latencies(report: Report, folders: Iterator[Path]) -> None:
    """One commit: raw, through the store, and through the store beside a busy loop."""
    rounds = 200 if report.options.quick else 1000
    sync_ms = fdatasync_p50_ms(report.options.directory, rounds=rounds)
    raw_ms = raw_commit_ms(next(folders), rounds)
    alone_ms = trio.run(partial(latency_ms, next(folders), rounds, busy=False))
    busy_ms = trio.run(partial(latency_ms, next(folders), rounds, busy=True))
    for name, value, beside, beside_value in (
        ("one raw LMDB commit, p50", raw_ms, "raw fdatasync", sync_ms),
        ("one commit through the store, p50", alone_ms, "raw LMDB commit", raw_ms),
        ("the same beside a busy loop, p50", busy_ms, "raw LMDB commit", raw_ms),
    ):
        report.add(
            Figure(
                name=name,
                value=value,
                unit="ms",
                beside=beside,
                beside_value=beside_value,
                ratio=value / beside_value,
            )
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark."""
    options = read_options(QUESTION, arguments)
    report = Report(question=QUESTION, options=options)
    with tempfile.TemporaryDirectory(dir=options.directory) as root:
        folders = (Path(tempfile.mkdtemp(dir=root)) for _ in count())
        compare_latencies(report, folders)
        for in_flight, total in ((1, 2_000), (64, 32_000), (512, 51_200)):
            compare_rates(report, folders, in_flight, total // 2 if options.quick else total)
    report.notes.append(
        "a batch: one record, one head, one seen message, encoded; "
        f"{STREAMS} streams. A busy loop: passes of {PASS_S * 1e6:.0f} µs, never asleep."
    )
    report.finish()


if __name__ == "__main__":
    main()
