"""How missions come along: what becomes of one at a tick, a pause or a change.

Pure; times are integer microseconds since the epoch, UTC. A mission's row holds its definition and
how far it has come. Each function here gives the row that follows; what is written with it, and in
which session it runs, is for the shells.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ..frozen import fact
from ..messages import Address, MissionTurn
from .mission_definition import Definition
from .records import MalformedRecord
from .schedule import GRACE_US, BadSchedule, catch_up, jitter_us, next_tick

__all__ = [
    "MissionRow",
    "Taken",
    "added",
    "changed",
    "is_blocked",
    "passed_over",
    "paused",
    "read_mission",
    "replanned",
    "resumed",
    "run_now",
    "take_tick",
]

_SECOND_US: Final = 1_000_000
_TRUSTED_BACK_US: Final = 86_400 * _SECOND_US
"""By how much a clock may be set back for a tick to count as having run. A tick that lies further
ahead ran by a clock that was wrong."""


class MissionRow(NamedTuple):
    """A mission, and how far it has come. A tuple, as it is stored."""

    definition: Definition
    paused_by: str | None = None
    """Who has paused it; None while it is not."""
    next_us: int | None = None
    """The tick that it waits for; None: paused, or never again."""
    due_us: int | None = None
    """When that tick is taken: the jitter later."""
    runs: int = 0
    """The number of the newest run. Missions of one name go on counting."""
    ran_us: int | None = None
    """The newest tick that ran."""
    planned_us: int = 0
    """What the clock showed when the next tick was chosen."""
    skipped_us: int | None = None
    """The newest tick that was passed over."""
    skipped_why: str | None = None
    notice: str | None = None
    """Why nobody could be told of the newest failure; None if somebody was."""


@fact
class Taken:
    """What a tick comes to."""

    row: MissionRow
    run: MissionTurn | None
    """None if it is passed over."""


def added(definition: Definition, now_us: int, runs: int = 0) -> MissionRow:
    """A mission that begins now.

    Args:
        definition: what it is.
        now_us: the time.
        runs: of an earlier mission of this name.
    """
    row = MissionRow(definition, runs=runs)
    return _planned(row, next_tick(definition.plan, now_us), now_us)


def changed(row: MissionRow, definition: Definition, now_us: int) -> MissionRow:
    """A mission that is something else from now on; `row` itself if it is not.

    A schedule that stays as it was goes on with the tick that it waits for.
    """
    before = row.definition
    if definition == before:
        return row
    row = row._replace(definition=definition)
    goes_on = (before.plan, before.jitter_s) == (definition.plan, definition.jitter_s)
    if goes_on or row.paused_by is not None:
        return row
    return _planned(row, next_tick(definition.plan, now_us), now_us)


# -- how it comes along --------------------------------------------------------------------------


def paused(row: MissionRow, by: str) -> MissionRow:
    """A mission that waits for no tick until it is resumed; `row` itself if it was paused."""
    if row.paused_by is not None:
        return row
    return row._replace(paused_by=by, next_us=None, due_us=None)


def resumed(row: MissionRow, now_us: int) -> MissionRow:
    """A mission that waits for its next tick again; `row` itself if it was not paused.

    What was missed meanwhile is not made up for.

    Raises:
        BadSchedule: this machine no longer knows its time zone.
    """
    if row.paused_by is None:
        return row
    row = row._replace(paused_by=None)
    return _planned(row, next_tick(row.definition.plan, now_us), now_us)


def is_blocked(row: MissionRow, open_runs: int) -> bool:
    """Whether a tick would be passed over while the newest runs, so many, have not ended.

    Args:
        row: the mission.
        open_runs: how many of the newest two.
    """
    match row.definition.overlap:
        case "skip":
            return open_runs > 0
        case "queue_one":
            return open_runs > 1
        case "allow":
            return False


def take_tick(row: MissionRow, now_us: int, open_runs: int) -> Taken:
    """What becomes of the tick that is due.

    Args:
        row: the mission; its tick is not after `now_us`.
        now_us: the time.
        open_runs: how many of its newest two runs have not ended.
    """
    assert row.next_us is not None  # it is due
    definition = row.definition
    grace_us = GRACE_US + int(definition.jitter_s * _SECOND_US)
    try:
        due = catch_up(definition.plan, row.next_us, now_us, definition.missed, grace_us)
    except BadSchedule as error:
        return Taken(_skipped(row, str(error))._replace(next_us=None, due_us=None), None)
    missed_us, row = row.next_us, _planned(row, due.next_us, now_us)
    if due.run_us is None:
        why = "nobody was there to run it in time"
        return Taken(row._replace(skipped_us=missed_us, skipped_why=why), None)
    if is_blocked(row, open_runs):
        why = "the run before it had not ended"
        return Taken(row._replace(skipped_us=due.run_us, skipped_why=why), None)
    return _run(row, due.run_us)


def run_now(row: MissionRow, now_us: int) -> Taken:
    """A run that somebody asks for. The schedule goes on as if nothing had been."""
    return _run(row, now_us)


def passed_over(row: MissionRow, now_us: int, why: str) -> MissionRow:
    """The tick that is due cannot run, and the mission waits for the next one."""
    try:
        next_us = next_tick(row.definition.plan, now_us)
    except BadSchedule:
        next_us = None
    return _planned(_skipped(row, why), next_us, now_us)


def replanned(row: MissionRow, now_us: int) -> MissionRow:
    """A mission whose next tick was chosen by a clock that has been set back since.

    What ran does not run again, unless it lies so far ahead that the clock must have been wrong.

    Raises:
        BadSchedule: this machine no longer knows its time zone.
    """
    if row.next_us is None or row.planned_us <= now_us:
        return row
    after_us = now_us
    if row.ran_us is not None and now_us < row.ran_us <= now_us + _TRUSTED_BACK_US:
        after_us = row.ran_us
    return _planned(row, next_tick(row.definition.plan, after_us), now_us)


def _run(row: MissionRow, due_us: int) -> Taken:
    number = row.runs + 1
    turn = MissionTurn(
        mission=row.definition.name, run=number, text=row.definition.prompt, due_us=due_us
    )
    return Taken(row._replace(runs=number, ran_us=due_us), turn)


def _skipped(row: MissionRow, why: str) -> MissionRow:
    return row._replace(skipped_us=row.next_us, skipped_why=why)


def _planned(row: MissionRow, next_us: int | None, now_us: int) -> MissionRow:
    definition = row.definition
    due_us = next_us
    if next_us is not None:
        due_us = next_us + jitter_us(next_us, definition.jitter_s, definition.name)
    return row._replace(next_us=next_us, due_us=due_us, planned_us=now_us)


# -- as they are stored --------------------------------------------------------------------------


def read_mission(payload: object) -> MissionRow:
    """The mission whose nested tuple is `payload`.

    Raises:
        MalformedRecord: it is none.
    """
    if not isinstance(payload, list) or not payload:
        raise MalformedRecord(f"a mission is kept as {payload!r:.80}")
    values: list[Any] = payload  # pyright: ignore[reportUnknownVariableType]
    definition, *progress = values
    if len(definition) != len(Definition._fields) or len(progress) >= len(MissionRow._fields):
        raise MalformedRecord(f"a mission is kept as {payload!r:.80}")
    kept = Definition(*definition)
    if kept.asked_at is not None:
        kept = kept._replace(asked_at=Address(*kept.asked_at))
    return MissionRow(kept, *progress)
