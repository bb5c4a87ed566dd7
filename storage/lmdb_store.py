"""The store on LMDB: a thread that turns each group of batches into one durable transaction.

The loop thread checks preconditions and merges batches into groups (:mod:`.batch`); the writer
thread only begins, puts and commits, in as few calls as LMDB allows, because each one gives the
interpreter lock away and must win it back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import lmdb
import trio

from .batch import Group
from .committer import Committer
from .errors import StorageError, StoreFailed
from .lmdb_reads import Databases, LmdbReads, LmdbSnapshot

__all__ = ["LmdbStore", "open_lmdb"]

DEFAULT_MAP_BYTES: Final = 64 * 1024**3
"""Address space that the data file may fill before it must be mapped anew; costs nothing unused."""


class LmdbStore(LmdbReads, Committer):
    """A store open for writing; :func:`open_lmdb` makes and closes it."""

    def __init__(self, env: lmdb.Environment) -> None:
        super().__init__()
        self._env: Final = env
        self._dbs = Databases(log=env.open_db(b"log"), tables=env.open_db(b"tables"))
        self._token: Final = trio.lowlevel.current_trio_token()
        self._handed: Final[SimpleQueue[Group | None]] = SimpleQueue()
        self._thread: Final = threading.Thread(
            target=self._run_writer, name="turnkeeper-writer", daemon=True
        )
        self._thread.start()

    @contextmanager
    def snapshot(self) -> Generator[LmdbSnapshot]:
        """Reads over one frozen moment; see :class:`~.base.Store`."""
        with self._env.begin() as txn:
            yield LmdbSnapshot(txn, self._dbs)

    async def aclose(self) -> None:
        """Write what was submitted, then close. Idempotent."""
        with trio.CancelScope(shield=True):
            await self._drain()
            self._handed.put(None)
            await trio.to_thread.run_sync(self._thread.join)
        self._env.close()

    def _reading(self) -> AbstractContextManager[lmdb.Transaction[bytes]]:
        return self._env.begin()

    def _wake_writer(self) -> None:
        self._token.run_sync_soon(self._hand_over)

    def _hand_over(self) -> None:
        self._handed.put(self._take())

    def _run_writer(self) -> None:
        while (group := self._handed.get()) is not None:
            while group is not None:
                try:
                    self._write(group)
                except lmdb.Error as error:
                    failure = StoreFailed(f"{error}")
                    failure.__cause__ = error
                    self._on_loop(self._fail, failure)
                    return
                self._on_loop(self._settle)
                group = self._take()

    def _write(self, group: Group) -> None:
        if not group.has_writes():
            return
        puts = [(key, value) for key, value in group.tables.items() if value is not None]
        with self._env.begin(write=True) as txn:
            if group.log:
                with txn.cursor(self._dbs.log) as cursor:
                    cursor.putmulti(group.log)
            if puts:
                with txn.cursor(self._dbs.tables) as cursor:
                    cursor.putmulti(puts)
            if len(puts) < len(group.tables):
                for key, value in group.tables.items():
                    if value is None:
                        txn.delete(key, db=self._dbs.tables)

    def _on_loop(self, call: Callable[..., None], *args: StorageError) -> None:
        self._token.run_sync_soon(call, *args)


@asynccontextmanager
async def open_lmdb(
    state_dir: str | os.PathLike[str], *, map_size: int = DEFAULT_MAP_BYTES
) -> AsyncGenerator[LmdbStore, None]:
    """Open the store of `state_dir` for writing, and close it at the end."""
    path = Path(state_dir) / "store"
    path.mkdir(parents=True, exist_ok=True)
    env = lmdb.Environment(
        str(path), map_size=map_size, max_dbs=16, mode=0o600, lib_version=0, max_spare_txns=4
    )
    store = LmdbStore(env)
    try:
        yield store
    finally:
        await store.aclose()
