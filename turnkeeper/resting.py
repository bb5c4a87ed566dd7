"""Sessions that go, or come in, on a store that no runtime runs on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

from .actors.acts import ActRefused, Delete, Deleted
from .actors.erasing import erase_rest
from .config import Config
from .importing import Imported, plan_import
from .offline import registry_at_rest
from .storage.blobs import Blobs
from .storage.lmdb_store import open_lmdb
from .storage.state_dir import find_store
from .sweeping import sweep_blobs

__all__ = ["import_session", "now_us", "perform_deletions"]


async def perform_deletions(
    state_dir: Path, acts: Iterable[Delete], settings: Config
) -> list[Deleted | ActRefused]:
    """Delete sessions on the store in `state_dir`; return what came of each.

    Files that no message names any more go as well.

    Raises:
        StorageError, MalformedRecord: as for :func:`.offline.perform`; those before are deleted.
    """
    found: list[Deleted | ActRefused] = []
    async with registry_at_rest(state_dir, settings) as (store, registry):
        for act in acts:
            try:
                done = cast("Deleted", await registry.ask(act, block=False))
            except ActRefused as refusal:
                found.append(refusal)
                continue
            if not done.dry_run:
                await erase_rest(store, done.number)
            found.append(done)
        if any(isinstance(one, Deleted) and not one.dry_run for one in found):
            await sweep_blobs(store, Blobs(state_dir, now_us), now_us())
    return found


async def import_session(state_dir: Path, path: Path, *, dry_run: bool) -> Imported:
    """Bring the session that `path` holds into the store in `state_dir`.

    Raises:
        BadImport: the file is no export, or is not complete.
        ImportRefused: something of it is another session's here; nothing was changed.
        OSError: the file cannot be read.
        StorageError: the store cannot be used: a runtime holds it (`StoreLocked`), for example.
    """
    find_store(state_dir)
    async with open_lmdb(state_dir) as store:
        imported, batch = plan_import(store, path, now_us())
        if not dry_run:
            await store.commit(batch)
        return replace(imported, dry_run=dry_run)


def now_us() -> int:
    """The time by the system's clock, in microseconds since the Unix epoch."""
    return time.time_ns() // 1000
