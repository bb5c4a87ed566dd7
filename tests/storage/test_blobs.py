"""The blob folder: a file is there once, whole and durable, or not at all."""

from __future__ import annotations

import errno
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path

import pytest
import trio

from turnkeeper.storage.blobs import Blobs, Kept
from turnkeeper.storage.errors import (
    BlobDamaged,
    BlobMissing,
    BlobTooLarge,
    StorageError,
    StoreUnusable,
)

MIB = 1024 * 1024
CAT = b"a picture of a cat"


class Clock:
    """Microseconds since the epoch, as a test sets them."""

    def __init__(self) -> None:
        self.now_us = 1_767_787_200_000_000

    def __call__(self) -> int:
        return self.now_us


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def blobs(state_dir: Path, clock: Clock) -> Blobs:
    return Blobs(state_dir, clock)


async def pieces(*given: bytes) -> AsyncGenerator[bytes]:
    for piece in given:
        yield piece


def files(state_dir: Path) -> list[str]:
    """Every file in the blob folder."""
    folder = state_dir / "blobs"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def name_of(data: bytes) -> str:
    digest = sha256(data).hexdigest()
    return f"{digest[:2]}/{digest[2:]}"


def run(program: str, state_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    command = [sys.executable, "-c", program, str(state_dir)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)


# -- keeping and reading ---------------------------------------------------------------------------


async def test_what_was_kept_is_read_again(blobs: Blobs, state_dir: Path) -> None:
    kept = await blobs.keep(CAT, MIB)
    assert kept == Kept(sha256(CAT).digest(), len(CAT))
    assert await blobs.read(kept.digest, MIB) == CAT
    assert blobs.path(kept.digest).read_bytes() == CAT
    assert files(state_dir) == [name_of(CAT)]
    blobs.check(kept.digest)


async def test_an_empty_file_is_a_file(blobs: Blobs) -> None:
    for content in (b"", pieces(), pieces(b"", b"")):
        kept = await blobs.keep(content, 0)
        assert kept == Kept(sha256(b"").digest(), 0)
        assert await blobs.read(kept.digest, 0) == b""


async def test_pieces_of_any_size_make_the_same_file(blobs: Blobs, state_dir: Path) -> None:
    data = bytes(range(256)) * 8_192
    for size in (999, 65_536, 262_144, 262_145, len(data)):
        cut = [data[start : start + size] for start in range(0, len(data), size)]
        kept = await blobs.keep(pieces(b"", *cut, b""), len(data))
        assert await blobs.read(kept.digest, len(data)) == data
    assert files(state_dir) == [name_of(data)]


async def test_the_same_file_is_there_once_however_many_keep_it_at_once(
    blobs: Blobs, state_dir: Path
) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(blobs.keep, pieces(CAT[:5], CAT[5:]), MIB)
    assert files(state_dir) == [name_of(CAT)]


async def test_only_the_owner_may_read(blobs: Blobs, state_dir: Path) -> None:
    before = os.umask(0)
    try:
        await blobs.keep(CAT, MIB)
    finally:
        os.umask(before)
    for path in [state_dir, *state_dir.rglob("*")]:
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path


async def test_a_large_file_is_never_in_memory_whole(blobs: Blobs) -> None:
    size = 64 * MIB

    async def zeros() -> AsyncIterator[bytes]:
        for _ in range(size // 65_536):
            yield bytes(65_536)

    tracemalloc.start()
    try:
        kept = await blobs.keep(zeros(), size)
        blobs.check(kept.digest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.size_bytes == size
    assert peak < 8 * MIB


# -- bounds ----------------------------------------------------------------------------------------


async def test_a_file_may_be_as_long_as_the_limit_and_no_longer(
    blobs: Blobs, state_dir: Path
) -> None:
    await blobs.keep(b"12345", 5)
    for content in (b"123456", pieces(b"123", b"456"), pieces(b"123456")):
        with pytest.raises(BlobTooLarge, match="5 bytes") as caught:
            await blobs.keep(content, 5)
        assert caught.value.limit_bytes == 5
    assert files(state_dir) == [name_of(b"12345")]


async def test_a_stream_without_an_end_is_read_up_to_the_limit_and_closed(blobs: Blobs) -> None:
    taken, closed = 0, False

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken, closed
        try:
            while True:
                taken += 1
                yield b"x"
        finally:
            closed = True

    with pytest.raises(BlobTooLarge):
        await blobs.keep(endless(), 1_000)
    assert (taken, closed) == (1_001, True)


async def test_no_more_is_read_than_the_reader_asked_for(blobs: Blobs) -> None:
    kept = await blobs.keep(CAT, MIB)
    with pytest.raises(BlobTooLarge, match="10 bytes"):
        await blobs.read(kept.digest, 10)


# -- what goes wrong -------------------------------------------------------------------------------


async def test_a_stream_that_breaks_leaves_nothing(blobs: Blobs, state_dir: Path) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        raise ConnectionError("the platform hung up")

    with pytest.raises(ConnectionError, match="hung up"):
        await blobs.keep(breaking(), 2 * MIB)
    assert files(state_dir) == []


async def test_a_wait_that_is_cancelled_leaves_nothing(blobs: Blobs, state_dir: Path) -> None:
    begun = trio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        begun.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(blobs.keep, slow(), 2 * MIB)
        await begun.wait()
        assert len(files(state_dir)) == 1
        nursery.cancel_scope.cancel()
    assert files(state_dir) == []


async def test_what_is_no_bytes_is_refused_by_its_type(blobs: Blobs, state_dir: Path) -> None:
    async def texts() -> AsyncIterator[str]:
        yield "text"

    with pytest.raises(TypeError, match="not of str"):
        await blobs.keep(texts(), MIB)  # type: ignore[arg-type]  # what the test is about
    assert files(state_dir) == []


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("write", errno.ENOSPC, "is on a full disk: make room"),
        ("write", errno.EDQUOT, "is over its quota: make room"),
        ("fsync", errno.EIO, "cannot be used"),
        ("open", errno.EROFS, "is on a read-only file system"),
        ("utime", errno.EACCES, "may not be written by this user"),
    ],
)
async def test_a_disk_that_refuses_leaves_no_half_file_and_is_named(
    blobs: Blobs,
    state_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    code: int,
    words: str,
) -> None:
    await blobs.keep(b"another file", MIB)
    works: Callable[..., object] = getattr(os, call)
    refused = threading.Event()

    def refuse(*args: object, **options: object) -> object:
        if threading.current_thread() is threading.main_thread() or refused.is_set():
            return works(*args, **options)
        refused.set()
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StoreUnusable, match=re.escape(f"{state_dir / 'blobs'} {words}")):
        await blobs.keep(CAT, MIB)
    assert files(state_dir) == [name_of(b"another file")]
    await blobs.keep(CAT, MIB)


async def test_a_write_that_the_system_takes_in_part_leaves_no_part_of_the_file(
    blobs: Blobs, state_dir: Path
) -> None:
    program = (
        "import resource, signal, sys, trio\n"
        "from pathlib import Path\n"
        "from turnkeeper.storage.blobs import Blobs\n"
        "from turnkeeper.storage.errors import StoreUnusable\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try:\n"
        "    trio.run(Blobs(Path(sys.argv[1]), lambda: 0).keep, bytes(150_000), 10**6)\n"
        "except StoreUnusable as error:\n"
        "    print(error)\n"
    )
    assert "File too large" in run(program, state_dir).stdout
    assert files(state_dir) == []


async def test_what_a_crash_left_goes_at_the_next_open(blobs: Blobs, state_dir: Path) -> None:
    await blobs.clear_leftovers()
    assert not state_dir.exists()
    kept = await blobs.keep(CAT, MIB)
    program = (
        "import os, signal, sys, trio\n"
        "from pathlib import Path\n"
        "from turnkeeper.storage.blobs import Blobs\n"
        "async def dying():\n"
        "    yield bytes(300_000)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "    yield b''\n"
        "trio.run(Blobs(Path(sys.argv[1]), lambda: 0).keep, dying(), 10**6)\n"
    )
    assert run(program, state_dir).returncode == -signal.SIGKILL
    assert len(files(state_dir)) == 2
    (state_dir / "blobs" / "new" / "somebody's").mkdir()
    await blobs.clear_leftovers()
    assert files(state_dir) == [name_of(CAT)]
    assert await blobs.read(kept.digest, MIB) == CAT


async def test_a_damaged_file_is_told_and_mended_by_keeping_it_again(blobs: Blobs) -> None:
    kept = await blobs.keep(CAT, MIB)
    for rotten in (b"a picture of a dog", b"", CAT[:-1], CAT + b"!"):
        blobs.path(kept.digest).write_bytes(rotten)
        with pytest.raises(BlobDamaged, match="restore it from a copy"):
            await blobs.read(kept.digest, MIB)
        with pytest.raises(BlobDamaged):
            blobs.check(kept.digest)
    assert await blobs.keep(CAT, MIB) == kept
    assert await blobs.read(kept.digest, MIB) == CAT


async def test_a_missing_file_is_told(blobs: Blobs) -> None:
    with pytest.raises(BlobMissing, match="is missing"):
        await blobs.read(bytes(32), MIB)
    with pytest.raises(BlobMissing):
        blobs.check(bytes(32))


async def test_nothing_is_followed_out_of_the_folder(
    blobs: Blobs, state_dir: Path, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CAT)
    kept = await blobs.keep(CAT, MIB)
    blobs.path(kept.digest).unlink()
    blobs.path(kept.digest).symlink_to(secret)
    with pytest.raises(StorageError):
        await blobs.read(kept.digest, MIB)
    elsewhere = tmp_path / "elsewhere"
    (state_dir / "blobs").rename(elsewhere)
    (state_dir / "blobs").symlink_to(elsewhere)
    with pytest.raises(StoreUnusable, match="symbolic link"):
        await blobs.keep(CAT, MIB)
    with pytest.raises(StoreUnusable, match="symbolic link"):
        await blobs.clear_leftovers()


# -- removing --------------------------------------------------------------------------------------


async def test_a_file_that_was_kept_again_is_as_young_as_that(blobs: Blobs, clock: Clock) -> None:
    began = clock.now_us
    cat = (await blobs.keep(CAT, MIB)).digest
    dog = (await blobs.keep(b"a dog", MIB)).digest
    clock.now_us += 1_000
    await blobs.keep(CAT, MIB)
    assert list(blobs.older_than(began)) == []
    assert list(blobs.older_than(began + 1)) == [dog]
    assert list(blobs.older_than(began + 1_001)) == sorted([cat, dog])
    assert not blobs.remove_older(cat, began + 1)
    assert blobs.remove_older(dog, began + 1)
    assert not blobs.remove_older(dog, began + 1)
    with pytest.raises(BlobMissing):
        blobs.check(dog)
    blobs.check(cat)


async def test_a_file_that_is_renewed_is_as_young_as_that_and_its_size_is_told(
    blobs: Blobs, clock: Clock
) -> None:
    began = clock.now_us
    cat = (await blobs.keep(CAT, MIB)).digest
    clock.now_us += 1_000
    assert await blobs.renew(cat) == len(CAT)
    assert list(blobs.older_than(began + 1_000)) == []
    assert list(blobs.older_than(began + 1_001)) == [cat]
    blobs.check(cat)
    with pytest.raises(BlobMissing):
        await blobs.renew(bytes(32))
    assert blobs.remove_older(cat, 2**62)
    with pytest.raises(BlobMissing):
        await blobs.renew(cat)


async def test_what_is_no_kept_file_is_never_listed(blobs: Blobs, state_dir: Path) -> None:
    assert list(blobs.older_than(2**62)) == []
    kept = await blobs.keep(CAT, MIB)
    folder = blobs.path(kept.digest).parent
    (folder / "notes.txt").write_text("somebody's")
    (folder / ("F" * 62)).write_text("a name in capitals")
    (state_dir / "blobs" / "README").write_text("somebody's")
    (state_dir / "blobs" / "new" / ("a" * 62)).write_text("being written")
    assert list(blobs.older_than(2**62)) == [kept.digest]
