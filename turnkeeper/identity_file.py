"""Links of identities to users, in a file that several processes may share."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Final, TypeAlias, cast

from .identity import IdentityUnavailable
from .links import IdentityLink, Links, change_links, check_ids, check_link, find_user, list_links
from .storage.state_dir import sync_directory, user_state_dir

__all__ = ["FileIdentityResolver"]

_FORMAT: Final = "turnkeeper identities"
_VERSION: Final = 1
_LOCK_WAIT_S: Final = 10.0
"""How long a change waits for those of other processes, each of which takes milliseconds."""
_LOCK_POLL_S: Final = 0.005

_Signature: TypeAlias = tuple[int, ...]
_Read: TypeAlias = tuple[_Signature, Links]
"""The links of a file, and the state in which it was."""

_ABSENT: Final[_Read] = ((0,), {})


class FileIdentityResolver:
    """Links in a JSON file, which several processes may share.

    The file is replaced as a whole by each change, so that a crash leaves the links from before or
    after it; `<path>.lock` keeps changes apart, and `<path>.new` is what a crash may leave behind.
    Changes of others are seen by the next call. Meant for some ten thousand links: a change writes
    them all, and the next `resolve` reads them all.

    The file must be a plain file with mode 0600 that belongs to whoever runs this, root included; a
    symbolic link in its place is refused, one among its directories is followed. What cannot be
    read and understood in full is never written over, and nobody is resolved from it. A file that
    is not there holds no links; one that vanishes later is an error.

    Args:
        path: the file; else `TURNKEEPER_IDENTITY_PATH`, else `turnkeeper/identity.json` in
            `XDG_STATE_HOME`, by default `~/.local/state`. Directories are made with mode 0700.
    """

    in_memory: ClassVar[bool] = True
    """`resolve` looks at the state of the file, and reads it only when that has changed."""

    def __init__(self, path: str | PathLike[str] | None = None) -> None:
        self.path: Final = Path(path).absolute() if path is not None else _default(os.environ)
        self._read: _Read | None = None

    def __repr__(self) -> str:
        return f"<FileIdentityResolver {str(self.path)!r}>"

    def resolve(self, platform: str, user_id: str) -> str:
        """The user of an identity.

        Raises:
            IdentityUnavailable: the file cannot be used.
            ValueError: an argument is empty or too long; the text names it.
        """
        return find_user(self._current()[1], platform, user_id)

    def link(self, platform: str, user_id: str, user: str) -> None:
        """Make the identity this user. Returns once that is durable.

        Raises:
            IdentityUnavailable: the file cannot be used, or others hold it for too long.
            ValueError: an argument is empty, too long or holds surrogates; the text names it.
        """
        check_link(platform=platform, user_id=user_id, user=user)
        self._change((platform, user_id), user)

    def unlink(self, platform: str, user_id: str) -> None:
        """Make the identity nobody but itself. Returns once that is durable.

        Raises:
            IdentityUnavailable: the file cannot be used, or others hold it for too long.
            ValueError: an argument is empty or too long; the text names it.
        """
        check_ids(platform=platform, user_id=user_id)
        self._change((platform, user_id), None)

    def links(self, user: str | None = None) -> tuple[IdentityLink, ...]:
        """Every link, or those of one user.

        Raises:
            IdentityUnavailable: the file cannot be used.
        """
        return list_links(self._current()[1], user)

    def _current(self) -> _Read:
        read = self._read  # once: other threads may put an earlier or a later one in its place
        with _os_errors(self.path):
            try:
                status = os.lstat(self.path)
            except FileNotFoundError:
                if read is None:
                    return _ABSENT
                raise IdentityUnavailable(
                    f"{self.path} was there and is gone: put it back, or restart without links"
                ) from None
            if read is None or read[0] != _signature(status):
                read = self._read = _read_file(self.path)
            return read

    def _change(self, identity: tuple[str, str], user: str | None) -> None:
        self._current()  # refuse before anything is left beside a file that is not ours
        with _os_errors(self.path):
            _make_directories(self.path.parent)
            with _locked(self.path):
                signature, links = self._current()
                changed = change_links(links, identity, user)
                if changed != links:
                    text = _to_text(changed)
                    self._read = (_replace(self.path, text, after_ns=signature[0]), changed)


def _default(environ: Mapping[str, str]) -> Path:
    if named := environ.get("TURNKEEPER_IDENTITY_PATH"):
        return Path(named).absolute()
    return user_state_dir(environ) / "identity.json"


def _signature(status: os.stat_result) -> _Signature:
    """What changes whenever a file is written, replaced, or given to others."""
    return (
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
        status.st_ino,
        status.st_dev,
        status.st_mode,
    )


def _read_file(path: Path) -> _Read:
    with open(path, "rb", opener=_open_existing) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise IdentityUnavailable(f"{path} is no plain file: name another")
        if status.st_uid != os.geteuid():
            raise IdentityUnavailable(
                f"{path} belongs to user {status.st_uid}, not to {os.geteuid()}: "
                "run as its owner or change the owner"
            )
        if status.st_mode & 0o077:
            raise IdentityUnavailable(
                f"{path} has mode {stat.S_IMODE(status.st_mode):04o}, so that others may have "
                f"changed it: look at it, then chmod 600 {path}"
            )
        text = file.read()
    try:
        return _signature(status), _from_text(text)
    except (ValueError, RecursionError) as error:
        raise IdentityUnavailable(
            f"{path} is left as it is, because it is not understood: {error}"
        ) from error


def _from_text(text: bytes) -> Links:
    """The links in `text`.

    Raises:
        ValueError: it is anything but the whole of what :func:`_to_text` writes.
    """
    content: object = json.loads(text, object_pairs_hook=_without_repeats)
    fields = cast("dict[str, object]", content) if isinstance(content, dict) else {}
    if fields.get("format") != _FORMAT:
        raise ValueError("it names another format")
    version = fields.get("version")
    if type(version) is not int or version < 1:
        raise ValueError("it has no version")
    if version > _VERSION:
        raise ValueError(f"it has version {version}, and {_VERSION} is known: upgrade turnkeeper")
    platforms = fields.get("links")
    if len(fields) != 3 or not isinstance(platforms, dict):
        raise ValueError("it must hold format, version and links, and nothing else")
    links: Links = {}
    for platform, users in cast("dict[str, object]", platforms).items():
        if not isinstance(users, dict):
            raise ValueError(f"the links of {platform!r:.80} are no object")
        for user_id, user in cast("dict[str, str]", users).items():
            check_link(platform=platform, user_id=user_id, user=user)
            links[platform, user_id] = user
    return links


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return fields


def _to_text(links: Links) -> bytes:
    platforms: dict[str, dict[str, str]] = {}
    for (platform, user_id), user in links.items():
        platforms.setdefault(platform, {})[user_id] = user
    content = {"format": _FORMAT, "version": _VERSION, "links": platforms}
    return json.dumps(content, indent=2).encode("ascii") + b"\n"


def _replace(path: Path, text: bytes, after_ns: int) -> _Signature:
    """Put a file of `text` in place of `path`, and tell its state.

    It counts as written after `after_ns`: clocks of file systems are coarse, and two files of one
    length, written in one tick, the second with the inode of the one before the first, would pass
    for one.
    """
    new = f"{path}.new"
    with suppress(FileNotFoundError):
        os.unlink(new)
    with open(new, "xb", opener=_open_private) as file:
        file.write(text)
        file.flush()
        written = os.fstat(file.fileno())
        changed_ns = max(written.st_mtime_ns, after_ns + 1)
        os.utime(file.fileno(), ns=(written.st_atime_ns, changed_ns))
        os.fsync(file.fileno())
        os.rename(new, path)
        sync_directory(path.parent)
        return _signature(os.fstat(file.fileno()))


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Keep every other thread and process from changing `path`."""
    lock = _open_private(f"{path}.lock", os.O_RDWR | os.O_CREAT)
    try:
        give_up = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > give_up:
                    raise IdentityUnavailable(
                        f"{path} has been held by another process for {_LOCK_WAIT_S:g} s"
                    ) from None
                time.sleep(_LOCK_POLL_S)
        try:
            yield
        finally:
            # A forked child may have the descriptor too, and closing ours would not end the lock.
            fcntl.flock(lock, fcntl.LOCK_UN)
    finally:
        os.close(lock)


def _open_existing(path: str, flags: int) -> int:
    # Without O_NONBLOCK, opening a named pipe would wait for whoever writes to it.
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)


def _open_private(path: str, flags: int) -> int:
    """A descriptor of a file with mode 0600, whatever the umask is."""
    file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        os.fchmod(file, 0o600)
    except BaseException:
        os.close(file)
        raise
    return file


def _make_directories(directory: Path) -> None:
    missing = [one for one in (directory, *directory.parents) if not one.exists()]
    for one in reversed(missing):
        one.mkdir(mode=0o700, exist_ok=True)
        sync_directory(one.parent)


@contextmanager
def _os_errors(path: Path) -> Generator[None]:
    """Map what the operating system says."""
    try:
        yield
    except OSError as error:
        named = error.filename or path
        if os.path.islink(named):
            reason = f"is a symbolic link: name the file itself, {os.path.realpath(named)}"
        else:
            reason = f"cannot be used: {error.strerror or error}"
        raise IdentityUnavailable(f"{named} {reason}") from error
