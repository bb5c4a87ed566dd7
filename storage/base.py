"""The storage contract: what a store promises, and the batches that it commits.

A store holds *streams* (append-only logs, numbered by the session that owns them, gap-free but for
what was erased) and *tables* (small keyed values, each derived from the streams). A
:class:`Batch` names changes to both and is applied whole or not at all. The contract is narrow on
purpose: a replicated log with per-subject expected sequences and an atomic key-value create can
meet it as well as LMDB does.

Values are opaque bytes here; :mod:`.codec` makes them. Sequence numbers start at 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from enum import IntEnum
from typing import Final, Protocol, TypeAlias

from .errors import StorageError

__all__ = ["MAX_ERASED", "MAX_KEY_BYTES", "Batch", "Reads", "Store", "Table", "Then"]

MAX_ERASED: Final = 1_000
"""Places in the logs that one batch may erase: some two milliseconds of the writer's time."""

MAX_KEY_BYTES: Final = 500
"""Longest table key, in bytes. LMDB's own limit is 511; a table prefix is taken from it."""


class Table(IntEnum):
    """The keyed tables. The number is part of the stored format: never reuse one."""

    HEADS = 1
    """Session number -> head: what a session must know to wake up without reading its log."""
    NAMES = 2
    """Session id -> session number."""
    BINDINGS = 3
    """Hash of (instance, conversation, thread) -> the binding."""
    SEEN = 4
    """Window number and hash of an inbound message -> where it was accepted."""
    TROUBLE = 5
    """Session and sequence number -> a turn or delivery that an operator should look at."""
    KEYS = 6
    """Hash of a session key (a user of an agent, a guild …) -> the session that serves it."""
    PLACES = 7
    """An identity's or a session's hash or number, then a place's -> nothing: where they are."""
    PAST_BINDINGS = 8
    """Key of a binding, then a version -> the binding as it was."""
    IDENTITIES = 9
    """Hash of (platform, user id) -> the user that it is linked to, the session it is paired to."""
    USERS = 10
    """Hash of a user, then of an identity -> nothing: whom the links make one."""
    ACCESS = 11
    """Hash of (instance, user id) -> whether the operator approved or revoked them."""
    CODES = 12
    """Kind and hash of who asked -> a one-time code that waits, salted and hashed."""
    LAST = 13
    """Hash of (agent, instance) -> where a human last wrote to the agent there."""
    SENT = 14
    """Hash of (instance, conversation, platform message id) -> the delivery that it was."""
    NOTES = 15
    """Session and sequence number of a delivery -> where the note of it is."""
    WAITING_NOTES = 16
    """Key of a binding that there is not yet, then of a delivery -> the note for its owner."""
    MISSIONS = 17
    """Hash of a mission's name -> the mission, and how far it has come."""
    DUE = 18
    """Time and hash of a mission -> nothing: which one is due next."""
    RUNS = 19
    """Hash of a mission, then the number of a run -> session and sequence number of its turn."""
    TOKENS = 20
    """Session and sequence number -> how many tokens a record takes, as a counter has counted."""
    USAGE = 21
    """Session number -> how much of its window a session used when that was last measured."""
    LIMITS = 22
    """A name -> the limits that the newest runtime goes by."""
    MEMORY = 23
    """Session number and hash of a key -> the key, and what the agent keeps under it."""
    BLOBS = 24
    """Digest of a blob, then session and sequence number -> nothing: which records refer to it."""
    ERASED = 25
    """Hash of a session's id -> when a session was deleted, and by whom."""
    WATERMARKS = 26
    """Hash of an instance -> how far it has heard its platform."""


Then: TypeAlias = Callable[[StorageError | None], None]
"""Called on the loop thread once a batch's fate is known: None when durable, else why not."""


class Batch:
    """Changes that become durable together or not at all.

    Preconditions (`expect`, and the expected sequence of `append`) are checked against everything
    that was committed before this batch; one that does not hold fails this batch with
    :class:`~.errors.Conflict` and touches no other. Deletions come before puts; of several puts on
    one key the last one counts. Appends come before erasures.
    """

    __slots__ = ("appends", "bulk", "deletes", "erases", "expects", "puts")

    def __init__(self) -> None:
        self.bulk = False
        """Whether it may be as large as memory allows: where nobody else waits for the store."""
        self.appends: list[tuple[int, int, Sequence[bytes]]] = []
        self.erases: list[tuple[int, int, int]] = []
        self.expects: list[tuple[Table, bytes, bytes | None]] = []
        self.puts: list[tuple[Table, bytes, bytes]] = []
        self.deletes: list[tuple[Table, bytes]] = []

    def append(self, stream: int, expected_seq: int, records: Sequence[bytes]) -> None:
        """Append `records` to `stream`; `expected_seq`, the first one's, must be its next."""
        self.appends.append((stream, expected_seq, records))

    def erase(self, stream: int, start: int, stop: int) -> None:
        """Remove the records of `stream` with `start <= seq < stop`, those that are there.

        Its newest record, once this batch's appends are there, must not be among them: so no
        sequence number is ever given twice. A batch may name `MAX_ERASED` places at most, because
        all others wait while it is written; a long log is erased piece by piece.
        """
        self.erases.append((stream, start, stop))

    def expect(self, table: Table, key: bytes, value: bytes | None) -> None:
        """Require that `key` holds exactly `value` before this batch (None: is absent)."""
        self.expects.append((table, key, value))

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        """Set `key` to `value`."""
        self.puts.append((table, key, value))

    def create(self, table: Table, key: bytes, value: bytes) -> None:
        """Set `key` to `value`, and fail the batch if it is there already."""
        self.expect(table, key, None)
        self.put(table, key, value)

    def delete(self, table: Table, key: bytes) -> None:
        """Remove `key`; an absent one is no error."""
        self.deletes.append((table, key))

    def join(self, other: Batch) -> None:
        """Do everything that `other` would, in this batch."""
        self.appends.extend(other.appends)
        self.erases.extend(other.erases)
        self.expects.extend(other.expects)
        self.puts.extend(other.puts)
        self.deletes.extend(other.deletes)


class Reads(Protocol):
    """Point and range reads over what is committed. Every answer is a copy, safe to keep."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """The value at `key`, or None."""
        ...

    def scan(
        self,
        table: Table,
        start: bytes = b"",
        stop: bytes | None = None,
        *,
        limit: int,
        reverse: bool = False,
    ) -> list[tuple[bytes, bytes]]:
        """At most `limit` pairs with `start <= key < stop`, by key (descending: `reverse`)."""
        ...

    def read_log(
        self,
        stream: int,
        start: int = 1,
        stop: int | None = None,
        *,
        limit: int,
        reverse: bool = False,
    ) -> list[tuple[int, bytes]]:
        """At most `limit` records with `start <= seq < stop`, in order (descending: `reverse`).

        What was erased is passed over.
        """
        ...

    def last_seq(self, stream: int) -> int:
        """Sequence number of the stream's newest record; 0 when it has none."""
        ...


class Store(Reads, Protocol):
    """A store that is open for writing. One per state directory and process.

    Reads on the store itself see the newest commit and take microseconds: they are meant for the
    loop thread. Long scans belong into a thread, on a :meth:`snapshot`.
    """

    def submit(self, batch: Batch, then: Then | None = None) -> None:
        """Queue `batch`; never blocks. Batches become durable, and `then` is called, in this order.

        `then` runs on the loop thread and must not raise.

        Raises:
            StoreClosed: the store is closed, or a commit failed before.
            InvalidKey, BatchTooLarge: no store can hold this; nothing was queued.
        """
        ...

    async def commit(self, batch: Batch) -> None:
        """Submit `batch` and wait until it is durable.

        Cancelling the wait does not take the batch back.

        Raises:
            Conflict: a precondition did not hold; nothing of the batch was stored.
            StoreFailed: the disk refused; the store takes nothing more. Whether the batch is there
                is known once the store is opened again.
            StoreClosed, InvalidKey, BatchTooLarge: as for :meth:`submit`.
        """
        ...

    def snapshot(self) -> AbstractContextManager[Reads]:
        """Reads over one frozen moment, usable from any one thread; keep it short."""
        ...

    @property
    def failure(self) -> StorageError | None:
        """Why the store stopped taking batches, or None."""
        ...

    async def wait_failed(self) -> StorageError:
        """Return once a commit has failed. The caller must stop acknowledging and exit."""
        ...

    async def aclose(self) -> None:
        """Write what was submitted, then close. Idempotent."""
        ...
