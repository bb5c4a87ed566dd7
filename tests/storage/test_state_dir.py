"""The state directory: what is refused, and that nothing half made is ever left."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.errors import (
    NotAStore,
    StorageError,
    StoreDamaged,
    StoreFromFuture,
    StoreLocked,
    StoreUnusable,
)
from turnkeeper.storage.lmdb_env import check_data_file, create_environment
from turnkeeper.storage.lmdb_store import open_lmdb, open_reader
from turnkeeper.storage.state_dir import making_store

SMALL_MAP_BYTES = 2**30


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def fill(state_dir: Path, records: int = 1) -> None:
    async with open_lmdb(state_dir, map_size=SMALL_MAP_BYTES) as store:
        for seq in range(1, records + 1):
            batch = Batch()
            batch.append(1, seq, [b"record " * 100])
            store.submit(batch)


async def refusal(state_dir: Path) -> StorageError:
    """The error with which opening ends; the directory must be as it was."""
    before = listing(state_dir)
    with pytest.raises(StorageError) as caught:
        async with open_lmdb(state_dir, map_size=SMALL_MAP_BYTES):
            pass
    assert str(state_dir) in str(caught.value)
    assert listing(state_dir) == before
    return caught.value


def listing(directory: Path) -> list[tuple[str, bytes | None]]:
    """Everything but the locks, with its content."""
    return sorted(
        (str(path), path.read_bytes() if path.is_file() else None)
        for path in directory.rglob("*")
        if path.name not in {"lock", "lock.mdb"}
    )


# Whose it is


async def test_a_state_directory_is_made_private(state_dir: Path) -> None:
    await fill(state_dir / "below")
    paths = [path for path in state_dir.rglob("*") if path != state_dir]
    assert {path.name for path in paths} == {
        "below", "lock", "store", "data.mdb", "lock.mdb", "format.json",
    }  # fmt: skip
    assert all(path.stat().st_mode & 0o077 == 0 for path in paths)


async def test_a_directory_that_another_process_makes_at_the_same_moment_is_taken(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = Path.mkdir

    def too_late(path: Path, mode: int = 0o777, parents: bool = False) -> None:
        make(path, mode=mode, parents=parents)
        if path == state_dir:
            make(path, mode=mode, parents=parents)

    monkeypatch.setattr(Path, "mkdir", too_late)
    async with open_lmdb(state_dir) as store:
        assert store.last_seq(1) == 0


async def test_an_empty_directory_and_a_fresh_volume_are_taken(state_dir: Path) -> None:
    (state_dir / "lost+found").mkdir(parents=True)
    await fill(state_dir)
    assert (state_dir / "store" / "format.json").exists()


async def test_a_directory_with_other_files_is_refused(state_dir: Path) -> None:
    state_dir.mkdir()
    (state_dir / "thesis.tex").write_text("precious")
    error = await refusal(state_dir)
    assert isinstance(error, NotAStore)
    assert "'thesis.tex'" in str(error)
    assert not (state_dir / "lock").exists()


async def test_a_store_directory_without_a_marker_is_refused(state_dir: Path) -> None:
    await fill(state_dir)
    (state_dir / "store" / "format.json").unlink()
    assert isinstance(await refusal(state_dir), NotAStore)


@pytest.mark.parametrize(
    ("marker", "kind"),
    [
        ("", StoreDamaged),
        ('{"format": "turnk', StoreDamaged),
        ("[]", NotAStore),
        ('{"format": "somebody else\'s", "version": 1}', NotAStore),
        ('{"format": "turnkeeper store"}', StoreDamaged),
        ('{"format": "turnkeeper store", "version": "1"}', StoreDamaged),
        ('{"format": "turnkeeper store", "version": true}', StoreDamaged),
        ('{"format": "turnkeeper store", "version": 2}', StoreFromFuture),
    ],
)
async def test_a_marker_that_is_not_ours_or_not_whole_is_refused(
    state_dir: Path, marker: str, kind: type[StorageError]
) -> None:
    await fill(state_dir)
    (state_dir / "store" / "format.json").write_text(marker)
    assert type(await refusal(state_dir)) is kind


async def test_a_symlink_is_refused_wherever_it_is(state_dir: Path, tmp_path: Path) -> None:
    await fill(state_dir)
    link = tmp_path / "link"
    link.symlink_to(state_dir)
    error = await refusal(link)
    assert isinstance(error, StoreUnusable)
    assert f"name the directory itself, {state_dir}" in str(error)

    (state_dir / "store").rename(tmp_path / "elsewhere")
    (state_dir / "store").symlink_to(tmp_path / "elsewhere")
    assert isinstance(await refusal(state_dir), StoreUnusable)

    (state_dir / "lock").unlink()
    (state_dir / "lock").symlink_to(tmp_path / "precious")
    assert isinstance(await refusal(state_dir), StoreUnusable)
    assert not (tmp_path / "precious").exists()


async def test_a_file_is_refused(state_dir: Path) -> None:
    state_dir.write_text("a file")
    assert "is not a directory" in str(await refusal(state_dir))


def mount(*args: str) -> bool:
    return not subprocess.run(["mount", *args], capture_output=True, check=False).returncode


def unmount(path: Path) -> None:
    subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def read_only(state_dir: Path) -> Iterator[Path]:
    """A state directory that this user may not write to."""
    state_dir.mkdir()
    if os.geteuid() != 0:
        state_dir.chmod(0o500)
        yield state_dir
        state_dir.chmod(0o700)
        return
    if not mount("-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(state_dir)):
        pytest.skip("root without the right to mount: no directory is read-only here")
    yield state_dir
    unmount(state_dir)


async def test_a_read_only_directory_is_refused(read_only: Path) -> None:
    error = await refusal(read_only)
    assert isinstance(error, StoreUnusable)
    assert re.search("read-only file system|may not be written", str(error))


async def test_a_map_beyond_the_address_space_is_refused(state_dir: Path) -> None:
    await fill(state_dir)
    with pytest.raises(StoreUnusable, match=r"cannot be opened.*smaller map_size"):
        async with open_lmdb(state_dir, map_size=2**60):
            pass
    await fill(state_dir, records=0)


# Who holds it


async def test_a_second_opener_in_this_process_is_told_so(state_dir: Path) -> None:
    async with open_lmdb(state_dir, map_size=SMALL_MAP_BYTES) as store:
        error = await refusal(state_dir)
        assert isinstance(error, StoreLocked)
        assert f"open in this process (pid {os.getpid()}) already" in str(error)
        await store.commit(Batch())


HOLDER = """
import sys, trio
from turnkeeper.storage.lmdb_store import open_lmdb
async def main():
    async with open_lmdb(sys.argv[1], map_size=2**30):
        print("open", flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def start_holder(state_dir: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLDER, str(state_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_another_process_that_holds_it_is_named_and_its_death_frees_it(
    state_dir: Path,
) -> None:
    with start_holder(state_dir) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        error = await refusal(state_dir)
        assert isinstance(error, StoreLocked)
        assert f"held by process {child.pid}" in str(error)
        child.kill()
    await fill(state_dir)


async def test_a_refused_directory_is_not_held(state_dir: Path) -> None:
    await fill(state_dir)
    marker = state_dir / "store" / "format.json"
    text = marker.read_text()
    marker.write_text(json.dumps({"format": "turnkeeper store", "version": 99}))
    await refusal(state_dir)
    marker.write_text(text)
    await fill(state_dir, records=0)


# The first store


def steps(state_dir: Path) -> list[str]:
    state_dir.mkdir()
    return list(making_store(state_dir, create_environment))


async def test_power_may_fail_at_every_step_of_the_first_creation(tmp_path: Path) -> None:
    count = len(steps(tmp_path / "whole"))
    assert count >= 6
    for stop in range(1, count + 1):
        state_dir = tmp_path / str(stop)
        state_dir.mkdir()
        making = making_store(state_dir, create_environment)
        done = [next(making) for _ in range(stop)]
        moved = done[-1] == "moved it into place"
        assert (state_dir / "store").exists() == moved, done
        making.close()
        await fill(state_dir)
        assert not (state_dir / "store.new").exists(), done


async def test_power_may_fail_while_the_leftovers_are_cleared(state_dir: Path) -> None:
    state_dir.mkdir()
    (state_dir / "store.new").mkdir()
    (state_dir / "store.new" / "data.mdb").write_bytes(b"half")
    making = making_store(state_dir, create_environment)
    assert next(making) == "cleared what a crash left"
    making.close()
    await fill(state_dir)


# The data file


async def test_a_missing_data_file_is_refused(state_dir: Path) -> None:
    await fill(state_dir)
    (state_dir / "store" / "data.mdb").unlink()
    error = await refusal(state_dir)
    assert isinstance(error, StoreDamaged)
    assert "data.mdb is missing" in str(error)


@pytest.mark.parametrize("length", [0, 1, 100, 4096, 4097, 8192, 12288, -4096, -1])
async def test_a_data_file_cut_short_is_refused(state_dir: Path, length: int) -> None:
    await fill(state_dir, records=50)
    path = state_dir / "store" / "data.mdb"
    os.truncate(path, length if length >= 0 else path.stat().st_size + length)
    error = await refusal(state_dir)
    assert isinstance(error, StoreDamaged)
    assert re.search("cut short.*restore it from a copy", str(error))


async def test_a_data_file_that_is_something_else_is_refused(state_dir: Path) -> None:
    await fill(state_dir)
    (state_dir / "store" / "data.mdb").write_bytes(b"SQLite format 3\0" * 1000)
    assert "is not a data file of LMDB 0.9" in str(await refusal(state_dir))


async def test_a_data_file_that_lacks_only_unused_pages_is_whole(state_dir: Path) -> None:
    await fill(state_dir, records=200)
    async with open_lmdb(state_dir, map_size=SMALL_MAP_BYTES) as store:
        batch = Batch()
        batch.put(Table.SEEN, b"k", b"v" * 500_000)
        await store.commit(batch)
        batch = Batch()
        batch.delete(Table.SEEN, b"k")
        await store.commit(batch)
        for number in range(20):  # what is in use moves into the pages that came free
            batch = Batch()
            batch.append(2, number + 1, [b"r"])
            batch.put(Table.SEEN, b"k", b"v")
            await store.commit(batch)
    path = state_dir / "store" / "data.mdb"
    check_data_file(path)
    whole = path.stat().st_size
    cut = whole - 4096
    while cut > 0:
        os.truncate(path, cut)
        try:
            check_data_file(path)
        except StoreDamaged:
            break
        cut -= 4096
    assert whole - cut > 20 * 4096


# Readers


async def test_a_reader_sees_the_store_without_a_runtime(state_dir: Path) -> None:
    await fill(state_dir, records=3)
    before = listing(state_dir)
    with open_reader(state_dir, map_size=SMALL_MAP_BYTES) as reader, reader.snapshot() as snapshot:
        assert reader.last_seq(1) == snapshot.last_seq(1) == 3
        assert reader.get(Table.HEADS, b"k") is None
    assert listing(state_dir) == before


@pytest.mark.parametrize("prepare", ["nothing", "empty", "foreign"])
def test_a_reader_makes_no_store(state_dir: Path, prepare: str) -> None:
    if prepare != "nothing":
        state_dir.mkdir()
    if prepare == "foreign":
        (state_dir / "notes.txt").touch()
    with pytest.raises(NotAStore, match=str(state_dir)), open_reader(state_dir):
        pass
    assert not (state_dir / "store").exists()


@pytest.fixture
async def unwritable_store(state_dir: Path) -> AsyncIterator[Path]:
    """A state directory with two records, none of which this user may write to."""
    await fill(state_dir, records=2)
    if os.geteuid() != 0:
        paths = [state_dir / "store" / name for name in ("lock.mdb", "data.mdb", ".")]
        for path in paths:
            path.chmod(path.stat().st_mode & 0o500)
        yield state_dir
        paths[-1].chmod(0o700)
        return
    mounted = state_dir.with_name("mounted")
    mounted.mkdir()
    if not mount("--bind", "-o", "ro", str(state_dir), str(mounted)):
        pytest.skip("root without the right to mount: no directory is read-only here")
    yield mounted
    unmount(mounted)


async def test_a_reader_works_on_files_that_it_may_not_write(unwritable_store: Path) -> None:
    with open_reader(unwritable_store) as reader:
        assert reader.last_seq(1) == 2
