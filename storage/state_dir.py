"""The state directory: whose it is, who holds it, and how a first store comes to be in it.

    <state_dir>/            created 0700
        lock                held with flock while a store is open; the holder's pid
        store/              an LMDB environment and format.json; renamed here once whole
        store.new/          the same, in the making; left behind by a crash, made anew
        blobs/              files that came with messages: see `blobs`

Everything that is not plainly ours is refused, and nothing is changed before it is known to be.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import stat
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, cast

from .errors import (
    NotAStore,
    StorageError,
    StoreDamaged,
    StoreFromFuture,
    StoreLocked,
    StoreUnusable,
)

__all__ = [
    "STORE_VERSION",
    "HeldStateDir",
    "find_store",
    "hold_state_dir",
    "making_store",
    "os_errors",
    "refuse_odd_directory",
    "sync_directory",
    "user_state_dir",
]

STORE_VERSION: Final = 1
"""Version of the directory's layout and of the tables in it."""

_FORMAT_NAME: Final = "turnkeeper store"
_LOCK: Final = "lock"
_STORE: Final = "store"
_NEW_STORE: Final = "store.new"
_MARKER: Final = "format.json"
_MAX_MARKER_BYTES: Final = 4096
_BEFORE_A_STORE: Final = frozenset(
    {_LOCK, _NEW_STORE, "lost+found", "identity.json", "identity.json.lock", "identity.json.new"}
)
"""What a directory may hold and still count as empty: a fresh volume's, and a file of links, which
may be there before the first message."""


class HeldStateDir:
    """A state directory which this process alone may write to."""

    def __init__(self, store: Path, lock: int) -> None:
        self.store: Final = store
        """The LMDB environment's directory."""
        self._lock: int | None = lock

    def release(self) -> None:
        """Let others have it. Idempotent."""
        if self._lock is not None:
            # A forked child may still have the descriptor, and closing ours would not end the lock.
            fcntl.flock(self._lock, fcntl.LOCK_UN)
            self.forget()

    def forget(self) -> None:
        """In a forked child: leave the lock to the parent alone."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def hold_state_dir(state_dir: Path, create_environment: Callable[[Path], None]) -> HeldStateDir:
    """Hold `state_dir` for this process alone, until it is released or the process ends.

    A store is made if there is none: `create_environment` is called with an empty directory.

    Raises:
        StoreUnusable: a symlink, a file, somebody else's, or not writable.
        NotAStore: the directory holds something else.
        StoreFromFuture: a newer version wrote it.
        StoreDamaged: the marker is unreadable.
        StoreLocked: somebody holds it.
    """
    with os_errors(state_dir):
        _ensure_directory(state_dir)
        _refuse_foreign(state_dir)
        held = HeldStateDir(state_dir / _STORE, _lock(state_dir))
    try:
        with os_errors(state_dir):
            if not os.path.lexists(held.store):
                for _step in making_store(state_dir, create_environment):
                    pass
            _check_marker(held.store)
    except BaseException:
        held.release()
        raise
    return held


def find_store(state_dir: Path) -> Path:
    """The store's directory in `state_dir`, which is neither held nor changed.

    Raises:
        NotAStore: there is no store.
        StoreUnusable, StoreFromFuture, StoreDamaged: as for :func:`hold_state_dir`.
    """
    with os_errors(state_dir):
        if not os.path.lexists(state_dir):
            raise NotAStore(
                f"{state_dir} does not exist: nothing has run there yet; or name another state "
                "directory"
            )
        refuse_odd_directory(state_dir)
        _refuse_foreign(state_dir)
        store = state_dir / _STORE
        if not os.path.lexists(store):
            raise NotAStore(f"{state_dir} holds no store yet: run turnkeeper on it first")
        _check_marker(store)
        return store


def making_store(state_dir: Path, create_environment: Callable[[Path], None]) -> Generator[str]:
    """Make a store, step by step; a crash after any of them leaves none, or all of it.

    Yields what has been done, for tests which stop there.
    """
    new = state_dir / _NEW_STORE
    if os.path.lexists(new):
        shutil.rmtree(new)
        yield "cleared what a crash left"
    new.mkdir(mode=0o700)
    yield "made the directory"
    create_environment(new)
    yield "made the environment"
    marker = {"format": _FORMAT_NAME, "version": STORE_VERSION}
    with open(new / _MARKER, "x", encoding="utf-8", opener=_private) as file:
        json.dump(marker, file)
        yield "wrote the marker"
        file.flush()
        os.fsync(file.fileno())
    yield "synced the marker"
    sync_directory(new)
    yield "synced the directory"
    new.rename(state_dir / _STORE)
    yield "moved it into place"
    sync_directory(state_dir)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def user_state_dir(environ: Mapping[str, str]) -> Path:
    """Where a user's own state is by default: `turnkeeper` in `XDG_STATE_HOME`.

    Source: the XDG Base Directory Specification, which has relative paths ignored.
    """
    base = environ.get("XDG_STATE_HOME")
    home = Path(base) if base and os.path.isabs(base) else Path.home() / ".local" / "state"
    return home / "turnkeeper"


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _ensure_directory(state_dir: Path) -> None:
    if not os.path.lexists(state_dir):
        with suppress(FileExistsError):  # another process was faster: look at what it made
            state_dir.mkdir(mode=0o700, parents=True)
        sync_directory(state_dir.parent)
    refuse_odd_directory(state_dir)


def refuse_odd_directory(path: Path) -> None:
    """Refuse what is no directory of ours.

    Raises:
        StoreUnusable: a symlink, a file, or somebody else's.
    """
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise StoreUnusable(
            f"{path} is a symbolic link: name the directory itself, {os.path.realpath(path)}"
        )
    if not stat.S_ISDIR(status.st_mode):
        raise StoreUnusable(f"{path} is not a directory: name another state directory")
    if status.st_uid != os.geteuid() and os.geteuid() != 0:
        raise StoreUnusable(
            f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}: "
            "run as its owner or change the owner"
        )


def _refuse_foreign(state_dir: Path) -> None:
    names = os.listdir(state_dir)
    foreign = sorted(set(names) - _BEFORE_A_STORE)
    if foreign and _STORE not in names:
        shown = ", ".join(map(repr, foreign[:3])) + (" …" if len(foreign) > 3 else "")
        raise NotAStore(
            f"{state_dir} holds other files ({shown}) and no turnkeeper store: "
            "name an empty or a new directory"
        )


def _check_marker(store: Path) -> None:
    refuse_odd_directory(store)
    path = store / _MARKER
    try:
        with open(path, "rb") as file:
            text = file.read(_MAX_MARKER_BYTES)
    except FileNotFoundError as error:
        raise NotAStore(
            f"{store} has no {_MARKER}, so it is no turnkeeper store: name another state directory"
        ) from error
    try:
        marker: object = json.loads(text)
    except ValueError as error:
        raise StoreDamaged(f"{path} is unreadable: restore it from a copy") from error
    fields = cast("dict[str, object]", marker) if isinstance(marker, dict) else {}
    if fields.get("format") != _FORMAT_NAME:
        raise NotAStore(f"{path} names another format: name another state directory")
    version = fields.get("version")
    if type(version) is not int or version < 1:
        raise StoreDamaged(f"{path} has no version: restore it from a copy")
    if version > STORE_VERSION:
        raise StoreFromFuture(
            f"{store} has version {version}, this turnkeeper reads up to {STORE_VERSION}: "
            "upgrade turnkeeper"
        )


def _lock(state_dir: Path) -> int:
    """A descriptor that holds the lock until it is closed, by us or by our death."""
    path = state_dir / _LOCK
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.open(path, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, b"%d\n" % os.getpid(), 0)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise StoreLocked(_locked_text(state_dir, holder)) from error
    except BaseException:
        os.close(lock)
        raise
    return lock


def _locked_text(state_dir: Path, holder: str) -> str:
    if holder == str(os.getpid()):
        return f"{state_dir} is open in this process (pid {holder}) already: use that store"
    return (
        f"{state_dir} is held by process {holder or 'unknown'}: stop it, talk to it, or name "
        "another state directory"
    )


_OS_REASONS: Final = {
    errno.EROFS: "is on a read-only file system: name a directory that can be written",
    errno.EACCES: "may not be written by this user: change its mode or owner",
    errno.EPERM: "may not be written by this user: change its mode or owner",
    errno.ENOSPC: "is on a full disk: make room",
    errno.EDQUOT: "is over its quota: make room",
    errno.ELOOP: "holds a symbolic link in place of one of its files: remove the link",
    errno.ENOLCK: "is on a file system without locks: name a directory on a local disk",
}


@contextmanager
def os_errors(directory: Path) -> Generator[None]:
    """Map what the operating system says of `directory`, and what is in it, to `StoreUnusable`."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        code = error.errno or 0
        reason = _OS_REASONS.get(code, "cannot be used: name another state directory")
        raise StoreUnusable(f"{directory} {reason} ({error.strerror or error})") from error
