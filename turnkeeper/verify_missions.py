"""Whether missions agree with what was decided of them, and with the runs in the sessions' logs.

Their definitions follow from the schedule's own stream; how often each has run, and where, from the
sessions' logs. When a mission is due next follows from the clock alone, so only its index is
compared.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from .actors.core.missions import MissionRow, read_mission
from .actors.core.records import MalformedRecord
from .actors.core.runtime_records import ScheduleRecord
from .actors.core.turn_records import MissionRecord
from .actors.ledger import starting_with
from .actors.mission_rows import config_key, due_key, mission_key, read_run, run_key
from .storage.base import Reads, Table
from .verify_erased import Absent
from .verify_rows import Problem, Unreadable, compare_table, decoded

__all__ = ["Missions"]


class Missions:
    """What was decided of missions, and which of them have run.

    In memory are the definition of each mission, and where each run is.
    """

    def __init__(self, reads: Reads, absent: Absent) -> None:
        self._reads = reads
        self._absent = absent
        self._decided: dict[str, ScheduleRecord] = {}
        """Name -> what was decided last."""
        self._paused: set[str] = set()
        self._runs: dict[bytes, tuple[str, int, int]] = {}
        """Key in `Table.RUNS` -> session, its number, and the turn's."""
        self._newest: dict[str, int] = {}
        """Name -> number of the newest run that a log holds."""

    def decided(self, record: ScheduleRecord) -> None:
        """Something was decided of a mission."""
        self._decided[record.name] = record
        if record.act == "paused":
            self._paused.add(record.name)
        elif record.act in ("resumed", "removed", "added"):
            self._paused.discard(record.name)

    def ran(self, session_id: str, stream: int, seq: int, record: MissionRecord) -> None:
        """A mission has run."""
        self._runs[run_key(record.mission, record.run)] = session_id, stream, seq
        self._newest[record.mission] = max(self._newest.get(record.mission, 0), record.run)

    def compare(self, broken: Collection[int]) -> Iterator[Problem]:
        """What is wrong with the tables.

        Args:
            broken: numbers of the logs that cannot be read whole.
        """
        found: dict[str, MissionRow] = {}
        for key, data in starting_with(self._reads, Table.MISSIONS, b"m"):
            try:
                row = read_mission(decoded(data))
            except (Unreadable, MalformedRecord, TypeError) as error:
                yield Problem(place=f"mission {key.hex()}", text=str(error))
                continue
            name = row.definition.name
            if mission_key(name) != key:
                yield Problem(place=f"mission {key.hex()}", text=f"is {name}, by another key")
                continue
            found[name] = row
            yield from self._compare_row(name, row, broken)
        for name, record in self._decided.items():
            if record.definition is not None and name not in found:
                yield Problem(place=f"mission {name}", text=f"missing: it was {record.act}")
        yield from self._compare_indexes(found)
        if not broken:
            yield from compare_table(
                self._reads, Table.RUNS, self._runs, read_run, lambda run: f"run {run[0]}/{run[2]}"
            )

    def _compare_row(
        self, name: str, row: MissionRow, broken: Collection[int]
    ) -> Iterator[Problem]:
        place, record = f"mission {name}", self._decided.get(name)
        if record is None or record.definition is None:
            yield Problem(place=place, text="is there, and nothing says that it was added")
            return
        if list(row.definition) != _decided(record):
            wrong = _differing(row, record)
            yield Problem(place=place, text=f"{wrong} is not what was {record.act}")
        if (row.paused_by is not None) != (name in self._paused):
            was = "paused" if name in self._paused else "never paused, or resumed"
            yield Problem(place=place, text=f"it was {was}, and the row says otherwise")
        newest = self._newest.get(name, 0)
        is_gone = row.runs > newest and self._absent.newest_us
        if row.runs != newest and not is_gone and not broken:
            text = f"tells of {row.runs} runs, and the newest in a log is {newest}"
            yield Problem(place=place, text=text)

    def _compare_indexes(self, found: dict[str, MissionRow]) -> Iterator[Problem]:
        due = {
            due_key(row.due_us, mission_key(name)): name
            for name, row in found.items()
            if row.due_us is not None
        }
        configured = {
            config_key(mission_key(name)): name
            for name, row in found.items()
            if row.definition.by == "config"
        }
        yield from self._compare_index(Table.DUE, b"", due, "next tick of")
        yield from self._compare_index(Table.MISSIONS, b"c", configured, "configured mission")

    def _compare_index(
        self, table: Table, prefix: bytes, expected: dict[bytes, str], what: str
    ) -> Iterator[Problem]:
        stored = {key for key, _ in starting_with(self._reads, table, prefix)}
        for key in sorted(stored - expected.keys()):
            yield Problem(place=f"{what} {key.hex()}", text="leads to no mission")
        for key in sorted(expected.keys() - stored):
            yield Problem(place=f"{what} {expected[key]}", text="missing")


def _differing(row: MissionRow, record: ScheduleRecord) -> str:
    stored: list[Any] = list(row.definition)
    decided = _decided(record)
    pairs = zip(row.definition._fields, stored, decided, strict=False)
    return ", ".join(name for name, one, other in pairs if one != other) or "the definition"


def _decided(record: ScheduleRecord) -> list[Any]:
    """The definition of a record, its rows as tuples, which the codec gives back as lists."""
    return [tuple(part) if isinstance(part, list) else part for part in record.definition or ()]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
