"""Files that go with messages: each kept once, under the digest of what is in it.

    <state_dir>/blobs/          0700; made when the first file is kept
        ab/cdef…                0600; SHA-256 in hexadecimal, the first byte as the folder's name
        new/                    what is being written; what a crash left there goes at the next open

A file is written beside, synced, renamed into its place, and the folder is synced. So it is there
whole and durable, or not at all. No name from outside ever becomes the name of a file. The time of
the last change of a file is when it was kept last, by the runtime's clock.

Which records name a file is the store's to know. Whoever holds the state directory may write here;
anybody may read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import aclosing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias, TypeVar, TypeVarTuple

import trio

from .blob_writing import BlobWriting
from .errors import BlobDamaged, BlobMissing, BlobTooLarge
from .state_dir import os_errors, refuse_odd_directory, sync_directory

__all__ = ["BLOBS_FOLDER", "Blobs", "Content", "Kept"]

BLOBS_FOLDER: Final = "blobs"
"""Name of the folder in a state directory."""
Content: TypeAlias = "bytes | AsyncIterable[bytes]"
"""All of a file, or its pieces in their order."""

T = TypeVar("T")
_Given = TypeVarTuple("_Given")

_NEW: Final = "new"
_WRITTEN_AT_ONCE: Final = 256 * 1024
"""Bytes that small pieces are gathered to, because each write takes a turn in a thread."""
_READ_AT_ONCE: Final = 1024 * 1024
_DIGEST_BYTES: Final = 32
_THREADS: Final = 8
"""Threads that work on files at once: others need threads too while a disk is slow."""


class Kept(NamedTuple):
    """A file that is durable."""

    digest: bytes
    """SHA-256 of it, 32 bytes."""
    size_bytes: int


class Blobs:
    """The blob folder of a state directory.

    Async methods do their file work in threads. The others block on the disk.

    Args:
        state_dir: the state directory.
        now_us: the time, in microseconds since the Unix epoch; asked on the loop.
    """

    def __init__(self, state_dir: Path, now_us: Callable[[], int]) -> None:
        self._folder: Final = state_dir.absolute() / BLOBS_FOLDER
        self._now_us: Final = now_us
        self._placing: Final = threading.Lock()
        """Held while a file is put in its place, or removed from it."""
        self._threads: Final = trio.CapacityLimiter(_THREADS)

    def __repr__(self) -> str:
        return f"<Blobs in {str(self._folder)!r}>"

    async def _in_thread(self, work: Callable[[*_Given], T], *given: *_Given) -> T:
        return await trio.to_thread.run_sync(work, *given, limiter=self._threads)

    @property
    def any_kept(self) -> bool:
        """Whether anything was ever kept here: whether there is a folder."""
        return os.path.lexists(self._folder)

    # -- writing ---------------------------------------------------------------------------------

    async def clear_leftovers(self) -> None:
        """Remove what a crash left half written. Only before the first `keep`.

        Raises:
            StoreUnusable: the operating system refuses the folder.
        """
        if self.any_kept:
            await self._in_thread(self._clear_leftovers)

    async def keep(self, content: Content, limit_bytes: int) -> Kept:
        """Keep a file; return once it is durable.

        One that is here already is written again, which mends it if it was damaged, and counts as
        kept now. If anything goes wrong, or the wait is cancelled, nothing of it is left.

        Args:
            content: the file. Its pieces are read as fast as the disk takes them, and only some
                of them are held in memory. A generator is closed at the end.
            limit_bytes: how long the file may be.

        Raises:
            BlobTooLarge: it is longer; it was not read to its end.
            StoreUnusable: the operating system refuses: a full disk, for example.
            TypeError: a piece of it is no bytes.
        """
        writing = await self._in_thread(self._begin)
        try:
            async with aclosing(_gathered(content, limit_bytes)) as pieces:
                async for piece in pieces:
                    await self._in_thread(self._write, writing, piece)
            await self._in_thread(self._place, writing, self._now_us())
        finally:
            with trio.CancelScope(shield=True):
                await self._in_thread(writing.discard)
        return Kept(writing.digest, writing.size_bytes)

    def _clear_leftovers(self) -> None:
        with os_errors(self._folder):
            refuse_odd_directory(self._folder)
            new = self._folder / _NEW
            if not os.path.lexists(new):
                return
            refuse_odd_directory(new)
            for leftover in new.iterdir():
                if not leftover.is_dir():  # which would be nothing of ours
                    leftover.unlink()

    def _begin(self) -> BlobWriting:
        new = self._folder / _NEW
        with os_errors(self._folder):
            for directory in (self._folder.parent, self._folder, new):
                _make_directory(directory)
            return BlobWriting(new)

    def _write(self, writing: BlobWriting, piece: bytes | bytearray) -> None:
        with os_errors(self._folder):
            writing.write(piece)

    def _place(self, writing: BlobWriting, at_us: int) -> None:
        with os_errors(self._folder):
            writing.sync(at_us)
            place = self.path(writing.digest)
            _make_directory(place.parent)
            with self._placing:
                writing.move_to(place)

    async def renew(self, digest: bytes) -> int:
        """Count a file as kept now; its size in bytes. What is in it is not looked at.

        Raises:
            BlobMissing: it is not here.
            StoreUnusable: the operating system refuses.
        """
        return await self._in_thread(self._renew, digest, self._now_us())

    def _renew(self, digest: bytes, at_us: int) -> int:
        place = self.path(digest)
        with os_errors(self._folder), self._placing:
            try:
                os.utime(place, ns=(at_us * 1000, at_us * 1000), follow_symlinks=False)
                return os.lstat(place).st_size
            except (FileNotFoundError, NotADirectoryError) as error:
                raise BlobMissing(f"{place} is missing: restore it from a copy") from error

    def remove_older(self, digest: bytes, than_us: int) -> bool:
        """Remove a file, unless it was kept at `than_us` or later.

        Returns:
            Whether it is gone, and was there.

        Raises:
            StoreUnusable: the operating system refuses.
        """
        place = self.path(digest)
        with os_errors(self._folder), self._placing:
            try:
                if _kept_at_us(os.lstat(place)) >= than_us:
                    return False
                place.unlink()
            except FileNotFoundError:
                return False
        return True

    # -- reading ---------------------------------------------------------------------------------

    def path(self, digest: bytes) -> Path:
        """Where the file of this SHA-256 is, if it is here."""
        name = digest.hex()
        assert len(digest) == _DIGEST_BYTES
        return self._folder / name[:2] / name[2:]

    async def read(self, digest: bytes, limit_bytes: int) -> bytes:
        """All of a file.

        Raises:
            BlobMissing: it is not here.
            BlobDamaged: it is not what was written.
            BlobTooLarge: it is longer than `limit_bytes`.
            StoreUnusable: the operating system refuses.
        """
        return await self._in_thread(self._read, digest, limit_bytes)

    def _read(self, digest: bytes, limit_bytes: int) -> bytes:
        pieces: list[bytes] = []
        left = limit_bytes
        for piece in self._pieces(digest):
            left -= len(piece)
            if left < 0:
                raise BlobTooLarge(limit_bytes)
            pieces.append(piece)
        return b"".join(pieces)

    def check(self, digest: bytes) -> None:
        """Read a file through, and compare it with its name.

        Raises:
            BlobMissing, BlobDamaged, StoreUnusable: as for :meth:`read`.
        """
        for _ in self._pieces(digest):
            pass

    def _pieces(self, digest: bytes) -> Iterator[bytes]:
        """A file, piece by piece; what it is is known when the last one has been taken."""
        place, found = self.path(digest), sha256()
        with os_errors(self._folder):
            try:
                descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError) as error:
                raise BlobMissing(f"{place} is missing: restore it from a copy") from error
            with open(descriptor, "rb", buffering=0) as file:
                while piece := file.read(_READ_AT_ONCE):
                    found.update(piece)
                    yield piece
        if found.digest() != digest:
            raise BlobDamaged(f"{place} is damaged: restore it from a copy")

    def older_than(self, than_us: int) -> Iterator[bytes]:
        """SHA-256 of every file that was not kept at `than_us` or later.

        Raises:
            StoreUnusable: the operating system refuses.
        """
        with os_errors(self._folder):
            if not self.any_kept:
                return
            refuse_odd_directory(self._folder)
            for folder in sorted(self._folder.iterdir()):
                if folder.name != _NEW and folder.is_dir():
                    yield from _older_than(folder, than_us)


def _older_than(folder: Path, than_us: int) -> Iterator[bytes]:
    for name in sorted(os.listdir(folder)):
        with suppress(FileNotFoundError, ValueError):  # removed meanwhile; no file of ours
            digest = bytes.fromhex(folder.name + name)
            if (
                digest.hex() == folder.name + name
                and len(digest) == _DIGEST_BYTES
                and _kept_at_us(os.lstat(folder / name)) < than_us
            ):
                yield digest


async def _gathered(content: Content, limit_bytes: int) -> AsyncGenerator[bytes | bytearray]:
    """The pieces of a file, none of them much smaller than what is worth a write, but the last.

    Raises:
        BlobTooLarge, TypeError: as for :meth:`Blobs.keep`.
    """
    gathered, size_bytes = bytearray(), 0
    async with aclosing(_pieces_of(content)) as pieces:
        async for piece in pieces:
            size_bytes += len(piece)
            if size_bytes > limit_bytes:
                raise BlobTooLarge(limit_bytes)
            if len(piece) >= _WRITTEN_AT_ONCE and not gathered:
                yield piece
                continue
            gathered += piece
            if len(gathered) >= _WRITTEN_AT_ONCE:
                yield gathered
                gathered = bytearray()
    if gathered:
        yield gathered


async def _pieces_of(content: Content) -> AsyncGenerator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    pieces = aiter(content)
    try:
        async for piece in pieces:
            if not isinstance(piece, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"a file is made of bytes, not of {type(piece).__name__}")
            yield piece
    finally:
        if isinstance(pieces, AsyncGenerator):
            await pieces.aclose()


def _kept_at_us(status: os.stat_result) -> int:
    return status.st_mtime_ns // 1000


def _make_directory(path: Path) -> None:
    """Have a directory of ours at `path`, durably."""
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        sync_directory(path.parent)
    refuse_odd_directory(path)
