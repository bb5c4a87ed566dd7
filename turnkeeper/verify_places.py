"""What belongs to which session, as the logs tell it: bindings, their pasts, and session keys.

Kept in memory until every log is read: the newest binding of each place, the versions of the
earlier ones, the holder of each key, and those moves of which not everybody concerned has been
heard yet: every move in the ledger, at first. Every other row is compared as soon as it is known
what it has to be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from .actors.core.ownership_records import BoundRecord, KeyedRecord, ReleasedRecord
from .actors.core.routing import BindingRow, Key, KeyRow, read_binding, read_key
from .actors.erasing import VACATED
from .actors.journal import binding_key
from .actors.ledger import LEDGER_STREAM, key_key, past_key, put_binding, starting_with
from .actors.messages import Address, Instance
from .storage.base import Batch, Reads, Table
from .storage.keys import HASH_BYTES
from .verify_erased import Absent
from .verify_rows import Problem, adopt, compare_index, compare_row, compare_table

__all__ = ["Keys", "Places", "Teller", "row_of"]

Teller: TypeAlias = Literal["bound", "released", "ledger"]
"""Who tells of a move: the session that gained the place, the one that lost it, the ledger."""

_TELLERS: Final[tuple[Teller, ...]] = ("bound", "released", "ledger")


def row_of(record: BoundRecord, session_id: str, stream: int) -> BindingRow:
    """The binding that a session's record tells of."""
    return BindingRow(
        session_id=session_id,
        stream=stream,
        version=record.version,
        instance=record.instance,
        conversation=record.conversation,
        thread=record.thread,
        platform=record.platform,
        guild=record.guild,
        direct=record.direct,
        at_us=record.at_us,
        by=record.by,
        user_id=record.user_id,
        scope=record.scope,
        from_session=record.from_session,
    )


class _Move(NamedTuple):
    """A place that changed its owner, as far as it has been told."""

    from_session: str
    to_session: str
    of: str
    """Which place it was."""
    by: frozenset[Teller]
    place: str
    """Where it was told first."""


class Places:
    """Bindings and their history."""

    def __init__(self, reads: Reads, absent: Absent) -> None:
        self._reads = reads
        self._absent = absent
        self._newest: dict[bytes, BindingRow] = {}
        self._earlier: dict[bytes, set[int]] = {}
        """Versions of the bindings before the newest one, of places that were moved."""
        self._before: dict[tuple[bytes, int], str | None] = {}
        """By place and version, of places that were moved: the session that owned it before."""
        self._foreign: set[tuple[bytes, int]] = set()
        """Places and versions of sessions that were brought in: what was before was elsewhere."""
        self._left: dict[bytes, tuple[int, str]] = {}
        """Places that went to another session -> the newest version of which that is told, and to
        which one."""
        self._past_rows = 0
        """Rows of `Table.PAST_BINDINGS` that are known to be there."""
        self._moves: dict[tuple[bytes, int], _Move] = {}
        """By place and new version: the moves of which not everybody has told."""

    # -- what the logs tell ----------------------------------------------------------------------

    def bound(self, place: str, row: BindingRow) -> Iterator[Problem]:
        """A session's log tells of a binding; `place` says where."""
        key = binding_key(row.address)
        newest = self._newest.get(key)
        if newest is not None and self._knows(key, row.version):
            yield Problem(
                place=place, text=f"{_named(row)} was bound as version {row.version} before"
            )
            return
        if newest is None:
            self._newest[key] = row
        else:
            older = min(newest, row, key=_version)
            self._newest[key] = max(newest, row, key=_version)
            self._earlier.setdefault(key, set()).add(older.version)
            yield from self._check_past(older)
        if self._absent.is_foreign(row.session_id):
            self._foreign.add((key, row.version))
        if row.from_session is not None:
            self._before[key, row.version] = row.from_session
            move = _Move(row.from_session, row.session_id, _named(row), frozenset({"bound"}), place)
            yield from self._heard(key, row.version, move)

    def released(self, place: str, record: ReleasedRecord, session_id: str) -> Iterator[Problem]:
        """A session's log tells that it lost a place."""
        where = (record.instance, record.conversation, record.thread)
        yield from self.moved(
            place, "released", where, (session_id, record.to_session), record.version
        )

    def moved(
        self,
        place: str,
        teller: Teller,
        where: tuple[str, str, str | None],
        sessions: tuple[str, str],
        version: int,
    ) -> Iterator[Problem]:
        """Somebody tells that a place went from one session to another, as a new version."""
        instance, conversation, thread = where
        address = Address(Instance(instance), conversation, thread)
        move = _Move(*sessions, _show(address), frozenset({teller}), place)
        key = binding_key(address)
        if self._left.get(key, (0, ""))[0] < version:
            self._left[key] = version, sessions[1]
        yield from self._heard(key, version, move)

    def _heard(self, key: bytes, version: int, move: _Move) -> Iterator[Problem]:
        known = self._moves.pop((key, version), None)
        if known is not None:
            if known[:2] != move[:2]:
                yield Problem(
                    place=move.place,
                    text=f"version {version} of {move.of} goes from {move.from_session} to "
                    f"{move.to_session}; in {known.place} it goes from {known.from_session} to "
                    f"{known.to_session}",
                )
            move = known._replace(by=known.by | move.by)
        if len(move.by) < len(_TELLERS):
            self._moves[key, version] = move

    def _knows(self, key: bytes, version: int) -> bool:
        newest = self._newest.get(key)
        return newest is not None and (
            version == newest.version or version in self._earlier.get(key, ())
        )

    def _check_past(self, row: BindingRow) -> Iterator[Problem]:
        data = self._reads.get(Table.PAST_BINDINGS, past_key(row))
        self._past_rows += data is not None
        place = f"version {row.version} of the {_binding(row)}"
        yield from compare_row(place, data, row, read_binding)

    # -- what follows from them ------------------------------------------------------------------

    def compare(self, broken: Mapping[int, str]) -> Iterator[Problem]:
        """What is wrong with bindings, their past, and the index of places.

        Args:
            broken: the logs that cannot be read whole, by their numbers, and the ids of their
                sessions; empty where nothing can tell that.
        """
        if broken:
            self._adopt(broken)
        yield from self._vacate()
        reads = self._reads
        yield from compare_table(reads, Table.BINDINGS, self._newest, read_binding, _binding)
        yield from self._gaps()
        yield from self._past_without_log()
        yield from self._untold(broken)
        yield from compare_index(reads, Table.PLACES, self._newest, _places_of, _binding)

    def _adopt(self, broken: Collection[int]) -> None:
        """Believe of damaged logs what the tables say that they told."""
        for table in (Table.BINDINGS, Table.PAST_BINDINGS):
            for _, row in adopt(self._reads, table, read_binding):
                if row.stream in broken and not self._knows(binding_key(row.address), row.version):
                    for _ in self.bound(f"log {row.stream}", row):
                        pass  # of a damaged log, the damage has been told

    def _vacate(self) -> Iterator[Problem]:
        """Places whose newest owner is not here belong to nobody, and their bindings are past."""
        for _, row in adopt(self._reads, Table.PAST_BINDINGS, read_binding):
            key = binding_key(row.address)
            is_last = self._absent.is_erased(row.session_id) and row.by == VACATED
            if is_last and not self._knows(key, row.version):
                yield from self.bound(f"version {row.version} of the {_binding(row)}", row)
        for key, row in list(self._newest.items()):
            version, owner = self._left.get(key, (0, ""))
            gone = version > row.version and self._is_absent(owner, row)
            if not gone and not self._absent.is_erased(row.session_id):
                continue
            self._earlier.setdefault(key, set()).add(row.version)
            yield from self._check_past(row)
            del self._newest[key]

    def _is_absent(self, session_id: str, row: BindingRow) -> bool:
        """Whether a session has gone, or never was here, of which that of `row` tells.

        One that was brought in speaks of sessions elsewhere; who is called the same here is another
        one, whose log would tell of the place.
        """
        return self._absent.is_erased(session_id) or self._absent.is_foreign(row.session_id)

    def _gaps(self) -> Iterator[Problem]:
        for key, row in self._newest.items():
            earlier = self._earlier.get(key, set[int]())
            excused, lost = False, 0
            for version in range(row.version - 1, 0, -1):
                if version in earlier:
                    excused = False
                    continue
                after = key, version + 1
                before = self._before.get(after)
                gone = before is not None and self._absent.is_erased(before)
                excused = excused or gone or after in self._foreign
                lost = version if not excused else lost
            if lost:
                yield Problem(place=_binding(row), text=f"version {lost} of it is in no log")

    def _past_without_log(self) -> Iterator[Problem]:
        if sum(1 for _ in starting_with(self._reads, Table.PAST_BINDINGS, b"")) == self._past_rows:
            return
        for key, _ in starting_with(self._reads, Table.PAST_BINDINGS, b""):
            place, version = key[:HASH_BYTES], int.from_bytes(key[HASH_BYTES:], "big")
            if version not in self._earlier.get(place, ()):
                row = self._newest.get(place)
                what = _binding(row) if row is not None else f"binding {place.hex()}"
                yield Problem(
                    place=f"version {version} of the {what}",
                    text="is kept as an earlier one, of which no log tells",
                )

    def _untold(self, broken: Mapping[int, str]) -> Iterator[Problem]:
        """Moves of which somebody concerned does not tell."""
        damaged = {name for number, name in broken.items() if number != LEDGER_STREAM}
        for (_, version), move in self._moves.items():
            if any(map(self._absent.is_foreign, (move.from_session, move.to_session))):
                continue  # it may have happened elsewhere
            silent: list[str] = []
            if "ledger" not in move.by and LEDGER_STREAM not in broken:
                silent.append("the ledger")
            for teller, session_id in (("released", move.from_session), ("bound", move.to_session)):
                is_gone = self._absent.is_erased(session_id)
                if teller not in move.by and not is_gone and damaged.isdisjoint((session_id, "")):
                    silent.append(f"the log of {session_id}")
            if silent:
                yield Problem(
                    place=move.place,
                    text=f"version {version} of {move.of} went from {move.from_session} to "
                    f"{move.to_session}, of which {' and '.join(silent)} "
                    f"{'do' if len(silent) > 1 else 'does'} not tell",
                )


def _version(row: BindingRow) -> int:
    return row.version


def _show(place: Address) -> str:
    return "/".join(part for part in place if part is not None)


def _named(row: BindingRow) -> str:
    return _show(row.address)


def _binding(row: BindingRow) -> str:
    return f"binding of {_named(row)}"


def _places_of(row: BindingRow) -> Collection[bytes]:
    """Every key in `Table.PLACES` that leads to a binding."""
    batch = Batch()
    put_binding(batch, row)
    return [key for table, key, _ in batch.puts if table is Table.PLACES]


class Keys:
    """Which session serves which key."""

    def __init__(self, reads: Reads, absent: Absent) -> None:
        self._reads = reads
        self._absent = absent
        self._newest: dict[bytes, KeyRow] = {}

    def keyed(
        self, place: str, record: KeyedRecord, session_id: str, stream: int
    ) -> Iterator[Problem]:
        """The last that a session's log tells of a key: whether the session serves it."""
        key: Key = tuple(record.key)
        row = KeyRow(session_id, stream, record.version, key)
        if not record.held:
            row = KeyRow(None, 0, record.version, key)
        known = self._newest.get(key_key(key))
        if known is None or known.version < record.version:
            self._newest[key_key(key)] = row
        elif known.version == record.version and record.held:
            # Whoever gives a key away and whoever takes it write the same version.
            if known.session_id is None:
                self._newest[key_key(key)] = row
            else:
                text = f"{session_id} serves the {_key(row)}, and so does {known.session_id}"
                yield Problem(place=place, text=text)

    def compare(self, broken: Collection[int]) -> Iterator[Problem]:
        """What is wrong with the table of keys; `broken` are the logs that cannot be read whole."""
        if broken:
            for key, row in adopt(self._reads, Table.KEYS, read_key):
                if _may_follow(row, self._newest.get(key), broken):
                    self._newest[key] = row
        if self._absent.newest_us:
            self._adopt_unserved()
        yield from compare_table(self._reads, Table.KEYS, self._newest, read_key, _key)

    def _adopt_unserved(self) -> None:
        """Believe that whoever served a key last was deleted, where nobody does now."""
        for key, row in adopt(self._reads, Table.KEYS, read_key):
            told = self._newest.get(key)
            if row.session_id is None and (told is None or told.version < row.version):
                self._newest[key] = row


def _may_follow(stored: KeyRow, told: KeyRow | None, broken: Collection[int]) -> bool:
    """Whether a stored row may follow from what damaged logs told."""
    if told is None:
        return stored.session_id is None or stored.stream in broken
    if stored.session_id is None:
        return stored.version > told.version and told.stream in broken
    least = told.version if told.session_id is None else told.version + 1
    return stored.version >= least and stored.stream in broken


def _key(row: KeyRow) -> str:
    return f"key {'/'.join(row.key)}"
