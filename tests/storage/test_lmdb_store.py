"""What only the store on LMDB can do wrong: threads, maps, forks and disks that fail."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import lmdb
import pytest
import trio

from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.batch import Group
from turnkeeper.storage.codec import decode, encode
from turnkeeper.storage.errors import (
    CorruptRecord,
    StorageError,
    StoreClosed,
    StoreFailed,
)
from turnkeeper.storage.lmdb_store import LmdbStore, open_lmdb, open_reader

SMALL_MAP_BYTES = 64 * 1024


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LmdbStore]:
    async with open_lmdb(tmp_path / "state", map_size=2**30) as store:
        yield store


def appending(stream: int, seq: int, record: bytes) -> Batch:
    batch = Batch()
    batch.append(stream, seq, [record])
    return batch


# Growth


async def test_a_full_map_grows_and_no_commit_is_lost(tmp_path: Path) -> None:
    told: list[StorageError | None] = []
    async with open_lmdb(tmp_path / "state", map_size=SMALL_MAP_BYTES) as store:
        for seq in range(1, 301):
            store.submit(appending(1, seq, b"%04d" % seq * 250), told.append)
            if seq % 10 == 0:
                await store.commit(Batch())
    assert told == [None] * 300
    assert (tmp_path / "state" / "store" / "data.mdb").stat().st_size > 4 * SMALL_MAP_BYTES
    with open_reader(tmp_path / "state") as reader:
        assert [seq for seq, _ in reader.read_log(1, limit=1000)] == list(range(1, 301))


async def test_one_group_larger_than_the_map_is_stored(tmp_path: Path) -> None:
    async with open_lmdb(tmp_path / "state", map_size=SMALL_MAP_BYTES) as store:
        await store.commit(appending(1, 1, b"x" * 50 * SMALL_MAP_BYTES))
        assert store.read_log(1, limit=1) == [(1, b"x" * 50 * SMALL_MAP_BYTES)]


async def test_growth_waits_for_the_last_snapshot(tmp_path: Path) -> None:
    async with open_lmdb(tmp_path / "state", map_size=SMALL_MAP_BYTES) as store:
        await store.commit(appending(1, 1, b"before"))
        done = trio.Event()
        with store.snapshot() as snapshot:
            store.submit(appending(2, 1, b"x" * 4 * SMALL_MAP_BYTES), lambda error: done.set())
            for _ in range(20):
                await trio.to_thread.run_sync(lambda: None)
                assert snapshot.read_log(1, limit=1) == [(1, b"before")]
            assert not done.is_set()
        await done.wait()
        assert store.last_seq(2) == 1


async def test_closing_waits_for_the_last_snapshot(tmp_path: Path) -> None:
    opened, close = threading.Event(), threading.Event()
    found: list[int] = []

    def read(store: LmdbStore) -> None:
        with store.snapshot() as snapshot:
            opened.set()
            close.wait()
            found.append(snapshot.last_seq(1))

    async with (
        trio.open_nursery() as nursery,
        open_lmdb(tmp_path / "state", map_size=2**30) as store,
    ):
        await store.commit(appending(1, 1, b"r"))
        nursery.start_soon(trio.to_thread.run_sync, read, store)
        await trio.to_thread.run_sync(opened.wait)
        trio.lowlevel.current_trio_token().run_sync_soon(close.set)
    assert found == [1]


# A commit that fails


def break_commits(monkeypatch: pytest.MonkeyPatch, after: int) -> list[int]:
    """Have the commit after the first `after` ones fail, once; count all of them."""
    commits: list[int] = []
    commit = LmdbStore._commit  # pyright: ignore[reportPrivateUsage]

    def failing(self: LmdbStore, group: Group) -> None:
        commits.append(len(group.outcomes))
        if len(commits) == after + 1:
            raise lmdb.DiskError("mdb_txn_commit: Input/output error", errno.EIO)
        commit(self, group)

    monkeypatch.setattr(LmdbStore, "_commit", failing)
    return commits


async def test_the_first_failed_commit_fails_all_that_waits_and_ends_the_store(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = break_commits(monkeypatch, after=1)
    await store.commit(appending(1, 1, b"fine"))
    told: list[StorageError | None] = []
    for seq in range(2, 1502):
        store.submit(appending(1, seq, b"lost"), told.append)
    failure = await store.wait_failed()
    assert isinstance(failure, StoreFailed)
    assert "Input/output error" in str(failure)
    assert isinstance(failure.__cause__, lmdb.Error)
    assert store.failure is failure
    assert told == [failure] * 1500
    assert len(commits) == 2
    with pytest.raises(StoreClosed, match=r"takes nothing more.*Input/output error"):
        store.submit(Batch())
    assert store.last_seq(1) == 1
    await store.aclose()
    assert len(commits) == 2


async def test_whoever_awaits_a_commit_hears_of_its_failure(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_commits(monkeypatch, after=0)
    with pytest.raises(StoreFailed, match=r"a commit failed: .*until it is opened again"):
        await store.commit(appending(1, 1, b"lost"))


async def test_an_error_that_nobody_thought_of_ends_the_store_too(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def surprising(self: LmdbStore, group: Group) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr(LmdbStore, "_commit", surprising)
    with pytest.raises(StoreFailed, match="surprise"):
        await store.commit(appending(1, 1, b"lost"))


# A busy loop


async def test_a_busy_loop_lets_the_writer_in(store: LmdbStore) -> None:
    passes = 0

    async def spin() -> None:
        nonlocal passes
        while True:
            end = time.perf_counter() + 20e-6
            while time.perf_counter() < end:
                pass
            passes += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(spin)
        for seq in range(1, 21):
            batch = Batch()
            for stream in range(40):
                batch.append(stream, seq, [b"r"])
            await store.commit(batch)
        nursery.cancel_scope.cancel()
    # Under a thousand on a fast disk, and 18,000 where the loop never waits; a slow disk is slow.
    assert passes < 20 * 700


async def test_batches_of_one_pass_share_one_transaction(
    store: LmdbStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = break_commits(monkeypatch, after=10**6)
    for stream in range(63):
        store.submit(appending(stream, 1, b"r"))
    await store.commit(appending(63, 1, b"r"))
    assert commits == [64]


# Forks, readers and rot


def fork(run: Callable[[], None]) -> int:
    """Run `run` in a forked child, and nothing else; the child's pid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
        child = os.fork()
    if child == 0:
        try:
            run()
        finally:
            os._exit(0)
    return child


def end(child: int, signal_number: int = 0) -> None:
    if signal_number:
        os.kill(child, signal_number)
    os.waitpid(child, 0)


async def test_a_fork_may_not_touch_the_store_of_its_parent(
    store: LmdbStore, tmp_path: Path
) -> None:
    await store.commit(appending(1, 1, b"parent"))

    def try_both() -> None:
        calls: list[Callable[[], object]] = [
            lambda: store.submit(Batch()),
            lambda: store.get(Table.HEADS, b"k"),
        ]
        for call in calls:
            try:
                call()
            except StoreClosed as error:
                with (tmp_path / "said").open("a") as file:
                    file.write(f"{error}\n")

    end(fork(try_both))
    said = (tmp_path / "said").read_text().splitlines()
    assert len(said) == 2
    assert all("fork" in line and "spawn" in line for line in said)
    await store.commit(appending(1, 2, b"parent"))


async def test_a_forked_child_does_not_keep_the_state_directory(tmp_path: Path) -> None:
    async with open_lmdb(tmp_path / "state", map_size=2**30):
        child = fork(signal.pause)
    try:
        async with open_lmdb(tmp_path / "state", map_size=2**30) as store:
            await store.commit(appending(1, 1, b"r"))
    finally:
        end(child, signal.SIGKILL)


async def test_a_reader_that_died_is_cleared_beside_one_that_lives(tmp_path: Path) -> None:
    async with open_lmdb(tmp_path / "state", map_size=2**30) as store:
        await store.commit(appending(1, 1, b"r"))

    def read_until_killed() -> None:
        with open_reader(tmp_path / "state") as reader, reader.snapshot():
            (tmp_path / str(os.getpid())).touch()
            signal.pause()

    lives, dies = fork(read_until_killed), fork(read_until_killed)
    try:
        while not (tmp_path / str(lives)).exists() or not (tmp_path / str(dies)).exists():
            await trio.lowlevel.checkpoint()
        end(dies, signal.SIGKILL)
        async with open_lmdb(tmp_path / "state", map_size=2**30) as store:
            readers = store._env.readers()  # pyright: ignore[reportPrivateUsage]
    finally:
        end(lives, signal.SIGKILL)
    assert str(lives) in readers
    assert str(dies) not in readers


async def test_a_bit_that_flips_on_disk_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    record = encode(["user", "a message which is easy to find"])
    async with open_lmdb(tmp_path / "state", map_size=2**30) as store:
        await store.commit(appending(7, 1, record))
    path = tmp_path / "state" / "store" / "data.mdb"
    data = bytearray(path.read_bytes())
    place = data.index(b"easy to find")
    data[place] ^= 0x10
    path.write_bytes(data)
    async with open_lmdb(tmp_path / "state", map_size=2**30) as store:
        [(seq, damaged)] = store.read_log(7, limit=1)
        with pytest.raises(CorruptRecord, match="record log/7/1 fails its checksum"):
            decode(damaged, ("log", 7, seq))
