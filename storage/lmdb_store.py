"""The store on LMDB: a thread that turns each group of batches into one durable transaction.

The loop thread checks preconditions and merges batches into groups (:mod:`.batch`); the writer
thread only begins, puts and commits, in as few calls as LMDB allows, because each one gives the
interpreter lock away and must win it back.
"""

from __future__ import annotations

import os
import shutil
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from pathlib import Path
from queue import SimpleQueue
from typing import Final

import lmdb
import trio

from .batch import Group
from .committer import Committer
from .errors import StorageError, StoreClosed, StoreFailed
from .lmdb_env import Databases, create_environment, open_environment
from .lmdb_reads import LmdbReads, LmdbSnapshot
from .state_dir import HeldStateDir, find_store, hold_state_dir
from .turnstile import Turnstile

__all__ = ["DEFAULT_MAP_BYTES", "LmdbReader", "LmdbStore", "open_lmdb", "open_reader"]

DEFAULT_MAP_BYTES: Final = 64 * 1024**3
"""Address space for the data file; the file itself is as long as what it holds."""
_FULL_DISK_BYTES: Final = 256 * 1024
"""Free space, in bytes, below which a full disk is named as the reason of a failed commit."""
_READER_CHECK_COMMITS: Final = 1000
"""Commits between two looks for readers that died in a snapshot, whose pages none may reuse."""


@asynccontextmanager
async def open_lmdb(
    state_dir: str | os.PathLike[str], *, map_size: int = DEFAULT_MAP_BYTES
) -> AsyncGenerator[LmdbStore]:
    """Open the store of `state_dir` for writing, make it if need be, and close it at the end.

    Args:
        state_dir: a directory of ours, an empty one, or one that does not exist yet.
        map_size: address space for the data file, in bytes; grown when it is full.

    Raises:
        StorageError: the directory cannot be opened; see :func:`.state_dir.hold_state_dir` and
            :func:`.lmdb_env.open_environment` for each child.
    """
    store = LmdbStore(*await trio.to_thread.run_sync(_open, state_dir, map_size))
    try:
        yield store
    finally:
        await store.aclose()


def _open(
    state_dir: str | os.PathLike[str], map_size: int
) -> tuple[ExitStack, HeldStateDir, lmdb.Environment, Databases]:
    with ExitStack() as stack:
        held = hold_state_dir(Path(state_dir).absolute(), create_environment)
        stack.callback(held.release)
        env, dbs = stack.enter_context(open_environment(held.store, map_size))
        return stack.pop_all(), held, env, dbs


class LmdbStore(LmdbReads, Committer):
    """A store open for writing; :func:`open_lmdb` makes and closes it."""

    def __init__(
        self, resources: ExitStack, held: HeldStateDir, env: lmdb.Environment, dbs: Databases
    ) -> None:
        super().__init__()
        self._resources: Final = resources
        self._held: Final = held
        self._env: Final = env
        self._dbs = dbs
        self._token: Final = trio.lowlevel.current_trio_token()
        self._turnstile: Final = Turnstile(self._hand_over, lambda: env.info()["last_txnid"])
        self._closing = False
        self._closed: Final = trio.Event()
        self._unreadable: StorageError | None = None
        self._snapshots = _Snapshots(self._token)
        self._handed: Final[SimpleQueue[Group | None]] = SimpleQueue()
        self._grown: Final[SimpleQueue[lmdb.Error | None]] = SimpleQueue()
        self._commits = 0
        self._thread: Final = threading.Thread(
            target=self._run_writer, name="turnkeeper-writer", daemon=True
        )
        self._thread.start()
        trio.lowlevel.add_instrument(self._turnstile)
        _open_stores.add(self)

    # Reads

    @contextmanager
    def snapshot(self) -> Generator[LmdbSnapshot]:
        """Reads over one frozen moment; see :class:`~.base.Store`. It delays closing and growth."""
        with self._snapshots.one(), self._reading() as txn:
            yield LmdbSnapshot(txn, self._dbs)

    def _reading(self) -> AbstractContextManager[lmdb.Transaction[bytes]]:
        if self._unreadable is not None:
            raise StoreClosed(str(self._unreadable)) from self._unreadable
        return self._env.begin()

    # The writer

    def _wake_writer(self) -> None:
        self._turnstile.has_work = True

    def _hand_over(self) -> None:
        self._handed.put(self._pending.take())
        self._turnstile.has_work = self._pending.waiting

    def _settle(self) -> None:
        self._turnstile.settled()
        super()._settle()

    def _run_writer(self) -> None:
        while (group := self._handed.get()) is not None:
            try:
                self._write(group)
            except Exception as error:  # noqa: BLE001 - whoever waits must hear of any error
                self._on_loop(self._fail, _failure(error, self._held.store))
                return
            self._on_loop(self._settle)

    def _write(self, group: Group) -> None:
        if not group.has_writes():
            return
        while True:
            try:
                self._commit(group)
            except lmdb.MapFullError:
                # The transaction is gone, the group is not. The map may move only while nobody
                # reads, so it is for the loop to say when.
                self._on_loop(self._snapshots.when_none, self._grow)
                if (error := self._grown.get()) is not None:
                    raise error from None
            else:
                return

    def _commit(self, group: Group) -> None:
        """Write `group` in one durable transaction."""
        self._commits += 1
        if self._commits % _READER_CHECK_COMMITS == 0:
            self._env.reader_check()
        puts = [(key, value) for key, value in group.tables.items() if value is not None]
        with self._env.begin(write=True) as txn:
            if group.log:
                with txn.cursor(self._dbs.log) as cursor:
                    cursor.putmulti(group.log)
            for key in group.erased:
                txn.delete(key, db=self._dbs.log)
            if puts:
                with txn.cursor(self._dbs.tables) as cursor:
                    cursor.putmulti(puts)
            if len(puts) < len(group.tables):
                for key, value in group.tables.items():
                    if value is None:
                        txn.delete(key, db=self._dbs.tables)
            self._turnstile.writer_commits(txn.id())
        self._turnstile.writer_returns()

    def _grow(self) -> None:
        try:
            self._env.set_mapsize(2 * self._env.info()["map_size"])
        except lmdb.Error as error:
            self._grown.put(error)
        else:
            self._grown.put(None)

    def _on_loop(self, call: Callable[..., None], *args: object) -> None:
        try:
            self._token.run_sync_soon(call, *args)
        except trio.RunFinishedError:
            self._handed.put(None)
        self._turnstile.writer_sleeps()

    # The end

    async def aclose(self) -> None:
        """Write what was submitted, then close. Idempotent."""
        with trio.CancelScope(shield=True):
            if self._closing:
                await self._closed.wait()
                return
            self._closing = True
            await self._drain()
            self._handed.put(None)
            await trio.to_thread.run_sync(self._thread.join)
            trio.lowlevel.remove_instrument(self._turnstile)
            self._unreadable = StoreClosed("the store has been closed")
            unread = trio.Event()
            self._snapshots.when_none(unread.set)
            await unread.wait()
            self._resources.close()
            self._closed.set()

    def forget_after_fork(self) -> None:
        """In a forked child: refuse everything from now on."""
        text = (
            f"the store in {self._held.store} belongs to the process that opened it, and this is a "
            "fork of it: start other processes with spawn, or open the store after the fork"
        )
        self._refusal = self._unreadable = StoreClosed(text)
        self._held.forget()


class _Snapshots:
    """How many snapshots are open, and what waits for there to be none."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token: Final = token
        self._lock: Final = threading.Lock()
        self._open = 0
        self._waiting: list[Callable[[], None]] = []

    @contextmanager
    def one(self) -> Generator[None]:
        """Count one snapshot, on any thread."""
        with self._lock:
            self._open += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1
                waiting, self._waiting = (
                    (self._waiting, []) if not self._open else ([], self._waiting)
                )
            for call in waiting:
                self._token.run_sync_soon(self.when_none, call)

    def when_none(self, call: Callable[[], None]) -> None:
        """Loop thread: call `call` on the loop thread, at a moment when no snapshot is open."""
        with self._lock:
            if self._open:
                self._waiting.append(call)
                return
            # Under the lock, so that no snapshot begins meanwhile.
            call()


def _failure(error: Exception, path: Path) -> StoreFailed:
    # LMDB calls a write that fitted in part an input/output error, whatever the reason.
    full = shutil.disk_usage(path).free < _FULL_DISK_BYTES
    failure = StoreFailed(
        f"a commit failed: {error}{' (the disk is full)' if full else ''}; "
        f"{path} stores nothing more until it is opened again"
    )
    failure.__cause__ = error
    return failure


_open_stores: Final[weakref.WeakSet[LmdbStore]] = weakref.WeakSet()


def _forget_all_after_fork() -> None:
    for store in list(_open_stores):
        store.forget_after_fork()


# LMDB does not notice a fork, and both processes would write to one map.
os.register_at_fork(after_in_child=_forget_all_after_fork)


class LmdbReader(LmdbReads):
    """A store open for reading only, beside or without a process that writes."""

    def __init__(self, env: lmdb.Environment, dbs: Databases) -> None:
        self._env: Final = env
        self._dbs = dbs

    @contextmanager
    def snapshot(self) -> Generator[LmdbSnapshot]:
        """Reads over one frozen moment; keep it short, for it keeps old pages from being reused."""
        with self._env.begin() as txn:
            yield LmdbSnapshot(txn, self._dbs)

    def _reading(self) -> AbstractContextManager[lmdb.Transaction[bytes]]:
        return self._env.begin()


@contextmanager
def open_reader(
    state_dir: str | os.PathLike[str], *, map_size: int = DEFAULT_MAP_BYTES
) -> Generator[LmdbReader]:
    """Open the store of `state_dir` for reading only, and close it at the end.

    Raises:
        NotAStore: there is no store.
        StorageError: as for :func:`open_lmdb`.
    """
    store = find_store(Path(state_dir).absolute())
    with open_environment(store, map_size, readonly=True) as (env, dbs):
        yield LmdbReader(env, dbs)
