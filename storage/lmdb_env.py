"""LMDB environments: how they are made, checked before they are opened, and with which options.

LMDB maps its file into memory and trusts it: a page that the file has lost is a SIGBUS, and an
empty file is a fresh database. So the file's length is compared with what its meta pages say first.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import lmdb
from lmdb import verify as lmdb_verify

from .errors import StorageError, StoreDamaged, StoreUnusable

__all__ = [
    "Databases",
    "check_data_file",
    "create_environment",
    "open_environment",
]

_DATA: Final = "data.mdb"
_LOG: Final = b"log"
_TABLES: Final = b"tables"
_LMDB_MAJOR: Final = 0
"""The 0.9 format; 1.0 files are another, and an environment keeps the one that it was made with."""
_NEW_MAP_BYTES: Final = 1024 * 1024
_SPARE_TXNS: Final = 8
"""Read transactions kept for reuse; a new one costs an allocation and a reader slot."""

_PAGE_HEADER_BYTES: Final = 16
_META: Final = struct.Struct("=II8x8xI44x48xQQ")
"""Of `MDB_meta` in mdb.c: magic, version, page size, number of the last page, transaction id."""
_MAGIC: Final = 0xBEEFC0DE
_DATA_VERSION: Final = 1
_PAGE_SIZES: Final = frozenset(2**power for power in range(9, 17))


@dataclass(frozen=True, slots=True)
class Databases:
    """The named databases of an environment."""

    log: lmdb._Database  # pyright: ignore[reportPrivateUsage] - py-lmdb's only name for it
    """Every stream's records."""
    tables: lmdb._Database  # pyright: ignore[reportPrivateUsage]
    """Every table's keys and values."""


def create_environment(path: Path) -> None:
    """Make an environment with its databases, durable, in the empty directory `path`.

    Raises:
        StoreUnusable: LMDB or the operating system refused.
    """
    with _lmdb_errors(path), _environment(path, _NEW_MAP_BYTES) as env:
        for name in (_LOG, _TABLES):
            env.open_db(name)


@contextmanager
def open_environment(
    path: Path, map_size: int, *, readonly: bool = False
) -> Generator[tuple[lmdb.Environment, Databases]]:
    """Check the environment in `path`, open it, and close it at the end.

    Args:
        path: the directory.
        map_size: address space for the data file, in bytes; a larger file gets what it needs.
        readonly: neither write nor wait for who does.

    Raises:
        StoreDamaged: the data file is missing or shorter than it must be, or LMDB refuses it.
        StoreUnusable: LMDB or the operating system refused.
    """
    check_data_file(path / _DATA)
    with _lmdb_errors(path):
        env = _environment(path, map_size, readonly=readonly)
    try:
        with _lmdb_errors(path):
            if not readonly:
                env.reader_check()
            dbs = Databases(
                log=env.open_db(_LOG, create=False), tables=env.open_db(_TABLES, create=False)
            )
        yield env, dbs
    finally:
        env.close()


def check_data_file(path: Path) -> None:
    """See that the file is as long as its newest meta page says.

    Raises:
        StoreDamaged: it is not, or it is no data file at all.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(_PAGE_HEADER_BYTES + _META.size)
            page_size = _read_meta(path, head).page_size
            file.seek(page_size)
            second = file.read(_PAGE_HEADER_BYTES + _META.size)
            # The length last: a writer beside us lets the file grow before it writes a meta page.
            length = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise StoreDamaged(f"{path} is missing: restore it from a copy") from error
    except OSError as error:
        raise StoreUnusable(f"{path} cannot be read: {error.strerror}") from error
    newest = max(_read_meta(path, head), _read_meta(path, second), key=lambda meta: meta.txn_id)
    needed = (newest.last_page + 1) * page_size
    # LMDB may never have written pages at the end which were free from the start. That is rare, and
    # finding out reads the whole file.
    if length < needed and _problems(path):
        raise StoreDamaged(
            f"{path} is cut short: it has {length} of {needed} bytes; restore it from a copy"
        )


@dataclass(frozen=True, slots=True)
class _Meta:
    page_size: int
    last_page: int
    txn_id: int


def _read_meta(path: Path, page: bytes) -> _Meta:
    if len(page) < _PAGE_HEADER_BYTES + _META.size:
        raise StoreDamaged(
            f"{path} is cut short: it has no meta pages; restore it from a copy"
            if page
            else f"{path} is empty or cut short: restore it from a copy"
        )
    magic, version, page_size, last_page, txn_id = _META.unpack_from(page, _PAGE_HEADER_BYTES)
    if magic != _MAGIC or version != _DATA_VERSION or page_size not in _PAGE_SIZES:
        raise StoreDamaged(f"{path} is not a data file of LMDB 0.9: restore it from a copy")
    return _Meta(page_size=page_size, last_page=last_page, txn_id=txn_id)


def _problems(path: Path) -> list[str]:
    try:
        return cast("list[str]", lmdb_verify.verify(str(path)))  # type: ignore[no-untyped-call]
    except lmdb_verify.VerifyError as error:
        return [str(error)]


def _environment(path: Path, map_size: int, *, readonly: bool = False) -> lmdb.Environment:
    return lmdb.Environment(
        str(path),
        map_size=map_size,
        max_dbs=16,
        mode=0o600,
        readonly=readonly,
        create=not readonly,
        # A reader takes a slot in the lock file; where it may not write one, nobody writes at all.
        lock=not readonly or os.access(path, os.W_OK),
        max_spare_txns=_SPARE_TXNS,
        lib_version=_LMDB_MAJOR,
    )


_DAMAGED: Final = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.NotFoundError,
    lmdb.PageNotFoundError,
    lmdb.VersionMismatchError,
)


@contextmanager
def _lmdb_errors(path: Path) -> Generator[None]:
    """Map what LMDB says while an environment is opened."""
    try:
        yield
    except StorageError:
        raise
    except _DAMAGED as error:
        raise StoreDamaged(f"{path} is damaged: {error}; restore it from a copy") from error
    except lmdb.Error as error:
        hint = (
            "; raise the limit on address space (ulimit -v) or open it with a smaller map_size"
            if error.code == errno.ENOMEM
            else ""
        )
        raise StoreUnusable(f"{path} cannot be opened: {error}{hint}") from error
