"""Housekeeping of a running runtime: what is stored and of no more use is removed, bit by bit."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from .actors.codebook import sweep_codes
from .actors.core.intake import seen_window
from .actors.core.records import MalformedRecord
from .actors.journal import seen_key
from .storage.base import Batch, Store, Table
from .storage.errors import Conflict, CorruptRecord, RecordFromFuture, StorageError

__all__ = ["sweep"]

logger = logging.getLogger("turnkeeper")

_SWEEP_S: Final = 3_600.0
"""Seconds between two looks."""
_SWEEP_KEYS: Final = 1_000
"""Keys that one commit removes at most."""


async def sweep(store: Store, now_us: Callable[[], int]) -> None:
    """Sweep every hour, until the store fails: whoever watches it ends the runtime."""
    while True:
        try:
            await _sweep_seen(store, now_us())
            await _sweep_codes(store, now_us())
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
