"""Housekeeping of a running runtime: what is stored and of no more use is removed, bit by bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Protocol

import trio

from .actors.blob_rows import is_named
from .actors.codebook import sweep_codes
from .actors.core.intake import seen_window
from .actors.core.records import MalformedRecord
from .actors.erased import all_erased
from .actors.erasing import erase_rest, is_unfinished
from .actors.journal import seen_key
from .storage.base import Batch, Reads, Store, Table
from .storage.blobs import Blobs
from .storage.errors import (
    Conflict,
    CorruptRecord,
    RecordFromFuture,
    StorageError,
    StoreUnusable,
)

__all__ = ["Frozen", "finish_erasing", "sweep", "sweep_blobs", "unreferenced"]

logger = logging.getLogger("turnkeeper")

_SWEEP_S: Final = 3_600.0
"""Seconds between two looks."""
_SWEEP_KEYS: Final = 1_000
"""Keys that one commit removes at most."""
_UNNAMED_US: Final = 86_400_000_000
"""Microseconds after which a kept file goes that no record names: twice as long as its turn may
take to name it."""


class Frozen(Protocol):
    """A store, or a reader of one, of which a moment can be looked at."""

    def snapshot(self) -> AbstractContextManager[Reads]:
        """Reads over that moment, in any thread."""
        ...


async def sweep(store: Store, now_us: Callable[[], int], blobs: Blobs | None) -> None:
    """Sweep every hour, until the store fails: whoever watches it ends the runtime."""
    while True:
        try:
            await _sweep_seen(store, now_us())
            await _sweep_codes(store, now_us())
            await finish_erasing(store)
            if blobs is not None:
                await _try_sweeping_blobs(store, blobs, now_us() - _UNNAMED_US)
        except StorageError:
            return
        await trio.sleep(_SWEEP_S)


async def _sweep_seen(store: Store, now_us: int) -> None:
    """Remove what lies so far back that no platform delivers it again."""
    stop = seen_key(max(seen_window(now_us) - 1, 0), b"")
    while page := store.scan(Table.SEEN, b"", stop, limit=_SWEEP_KEYS):
        batch = Batch()
        for key, _ in page:
            batch.delete(Table.SEEN, key)
        await store.commit(batch)


async def finish_erasing(store: Store) -> None:
    """Remove what an earlier process has left of sessions that it deleted.

    Raises:
        StorageError: the store fails or is closed.
    """
    try:
        for page in all_erased(store):
            for row in page:
                if is_unfinished(store, row.number):
                    await erase_rest(store, row.number)
            await trio.lowlevel.checkpoint()
    except (CorruptRecord, RecordFromFuture) as error:
        logger.error("deleted sessions cannot be looked after: %s", error)  # noqa: TRY400


async def _sweep_codes(store: Store, now_us: int) -> None:
    """Remove one-time codes that have expired, and attempts that count no more."""
    try:
        batch = sweep_codes(store, now_us)
        if batch.deletes:
            await store.commit(batch)
    except Conflict:
        pass  # one was renewed meanwhile: the next round has the others
    except (CorruptRecord, RecordFromFuture, MalformedRecord) as error:
        logger.error("attempts at codes cannot be read, and count for ever: %s", error)  # noqa: TRY400


async def _try_sweeping_blobs(store: Store, blobs: Blobs, before_us: int) -> None:
    try:
        await sweep_blobs(store, blobs, before_us)
    except StoreUnusable as error:
        logger.error("kept files that nothing names cannot be removed: %s", error)  # noqa: TRY400


async def sweep_blobs(store: Frozen, blobs: Blobs, before_us: int) -> int:
    """Remove every kept file that no record names, and that was kept before `before_us`.

    Returns:
        How many were removed.

    Raises:
        StoreUnusable: the operating system refuses.
        StorageError: the store cannot be read.
    """
    if not blobs.any_kept:
        return 0
    return await trio.to_thread.run_sync(_sweep_blobs, store, blobs, before_us)


def _sweep_blobs(store: Frozen, blobs: Blobs, before_us: int) -> int:
    found = unreferenced(store, blobs, before_us)
    return sum(blobs.remove_older(digest, before_us) for digest in found)


def unreferenced(store: Frozen, blobs: Blobs, older_than: int) -> list[bytes]:
    """SHA-256 of every kept file that no record names, and that was kept before a time.

    Reads the whole folder, in the thread of the caller, and only then a moment of the store.

    Args:
        store: the store.
        blobs: the folder.
        older_than: the time, in microseconds since the Unix epoch. A file that was kept later may
            be named by a turn that is on its way.
    """
    old = list(blobs.older_than(older_than))
    with store.snapshot() as reads:
        return [digest for digest in old if not is_named(reads, digest)]
