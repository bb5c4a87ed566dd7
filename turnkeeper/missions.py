"""What can be seen of missions: when each is due, and what became of its runs. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal, TypeAlias

from .actors.context_logs import readable
from .actors.core.conversation import INTERRUPTED
from .actors.core.delivery_records import DeliveryRecord, ReceiptRecord, ReopenedRecord
from .actors.core.mission_definition import Overlap
from .actors.core.missions import MissionRow
from .actors.core.outbox import FINAL_STATUSES
from .actors.core.schedule import Missed
from .actors.core.turn_records import (
    AssistantRecord,
    MissionRecord,
    QuarantinedRecord,
    SilentRecord,
    UserRecord,
)
from .actors.deliveries import Outcome, OutcomeStatus, Part
from .actors.frozen import message
from .actors.journal import load_head, load_record, load_records
from .actors.messages import DeliveryId, SessionId
from .actors.mission_rows import (
    RunRow,
    all_missions,
    load_mission,
    load_run,
    mission_key,
    open_runs,
)
from .storage.base import Reads, Table
from .storage.keys import log_key
from .views import time_of

__all__ = [
    "MAX_RUNS_SHOWN",
    "Missed",
    "MissionDelivery",
    "MissionInfo",
    "MissionRun",
    "MissionRunInfo",
    "Overlap",
    "RunStatus",
    "mission",
    "mission_info",
    "missions",
    "run_info",
    "run_of",
    "runs",
]

RunStatus: TypeAlias = Literal["waiting", "running", "answered", "silent", "failed", "interrupted"]
"""What became of a run, whatever became of its messages. `waiting`: turns that came to its session
before it are not over, another run of the mission perhaps. `interrupted`: the process ended first.
"""

MAX_RUNS_SHOWN: Final = 20
"""Newest runs that are listed of one mission."""


@message
class MissionDelivery:
    """A message that a run has sent."""

    delivery_id: DeliveryId
    status: OutcomeStatus
    reason: str | None


@message
class MissionRunInfo:
    """One run of a mission."""

    run: int
    """1 for the first one."""
    due: datetime
    began: datetime
    """When it was given to its session; the agent gets it once the turns before it are over."""
    ended: datetime | None
    status: RunStatus
    error: str | None
    session_id: str
    turn_id: str
    by: str
    """`schedule`, or whoever asked for it."""
    deliveries: tuple[MissionDelivery, ...]


@message
class MissionRun:
    """One run of a mission that is over, with what became of each message it has sent."""

    mission: str
    run: int
    session_id: str
    turn_id: str
    status: RunStatus
    error: str | None
    outcomes: tuple[Outcome, ...]


@message
class MissionInfo:
    """One mission."""

    name: str
    schedule: str
    zone: str
    prompt: str
    agent: str
    session_id: str
    """Where it runs."""
    notify: str | None
    """The instance where it speaks; None: where its session does."""
    on_behalf_of: str | None
    """The session in whose conversations alone it speaks, if it was made in a turn of that."""
    missed: str
    overlap: str
    jitter_s: float
    on_failure: str | None
    paused: bool
    next_due: datetime | None
    """When it runs next; None: not before it is resumed, or never again."""
    running: bool
    last_run: MissionRunInfo | None
    runs: int
    by: str
    """Who has made it: `operator`, `program` or `config`."""
    last_skipped: datetime | None
    """The newest tick that was passed over."""
    skipped_because: str | None
    notice: str | None
    """Why nobody could be told of the newest run that failed; None if somebody was."""


def missions(store: Reads) -> list[MissionInfo]:
    """Every mission, the one that is due next first; those that are not due at all last."""
    found = [mission_info(store, row) for row in all_missions(store)]
    return sorted(found, key=lambda info: (info.next_due is None, info.next_due, info.name))


def mission(store: Reads, name: str) -> MissionInfo | None:
    """One mission; None if there is none of this name."""
    row = load_mission(store, mission_key(name))
    return mission_info(store, row) if row is not None else None


def mission_info(store: Reads, row: MissionRow) -> MissionInfo:
    """What the row of a mission tells of it."""
    definition = row.definition
    return MissionInfo(
        name=definition.name,
        schedule=definition.schedule,
        zone=definition.zone,
        prompt=definition.prompt,
        agent=definition.agent,
        session_id=definition.session_id,
        notify=definition.notify,
        on_behalf_of=definition.on_behalf_of,
        missed=definition.missed,
        overlap=definition.overlap,
        jitter_s=definition.jitter_s,
        on_failure=definition.on_failure,
        paused=row.paused_by is not None,
        next_due=time_of(row.due_us) if row.due_us is not None else None,
        running=open_runs(store, row) > 0,
        last_run=run_info(store, definition.name, row.runs),
        runs=row.runs,
        by=definition.by,
        last_skipped=time_of(row.skipped_us) if row.skipped_us is not None else None,
        skipped_because=row.skipped_why,
        notice=row.notice,
    )


def runs(store: Reads, name: str) -> list[MissionRunInfo]:
    """The newest runs of a mission, the newest first."""
    row = load_mission(store, mission_key(name))
    newest = row.runs if row is not None else 0
    found = (
        run_info(store, name, run) for run in range(newest, max(newest - MAX_RUNS_SHOWN, 0), -1)
    )
    return [info for info in found if info is not None]


def run_info(store: Reads, name: str, run: int) -> MissionRunInfo | None:
    """One run of a mission; None if there was none."""
    tale = _tale(store, name, run)
    if tale is None:
        return None
    return MissionRunInfo(
        run=run,
        due=time_of(tale.asked.due_us),
        began=time_of(tale.asked.at_us),
        ended=time_of(tale.ended_us) if tale.ended_us is not None else None,
        status=tale.status,
        error=tale.error,
        session_id=tale.place.session_id,
        turn_id=tale.turn_id,
        by=tale.asked.by,
        deliveries=tuple(
            MissionDelivery(
                delivery_id=DeliveryId(f"{tale.place.session_id}/{seq}"),
                status=outcome.status,
                reason=outcome.reason,
            )
            for seq, outcome in tale.outcomes.items()
        ),
    )


def run_of(store: Reads, name: str, run: int) -> MissionRun | None:
    """One run of a mission with the outcome of each of its messages; None if there was none."""
    tale = _tale(store, name, run)
    if tale is None:
        return None
    return MissionRun(
        mission=name,
        run=run,
        session_id=tale.place.session_id,
        turn_id=tale.turn_id,
        status=tale.status,
        error=tale.error,
        outcomes=tuple(tale.outcomes.values()),
    )


class _Tale:
    """What a session's log says of one run, record by record."""

    def __init__(self, place: RunRow, asked: MissionRecord) -> None:
        self.place = place
        self.asked = asked
        self.status: RunStatus = "running"
        self.ended_us: int | None = None
        self.error: str | None = None
        self.outcomes: dict[int, Outcome] = {}
        """What became of each message, by its sequence number."""

    @property
    def turn_id(self) -> str:
        return f"{self.place.session_id}/{self.place.seq}"

    def hear(self, seq: int, record: object) -> None:
        """Record `seq` of the log, which comes after the run has been given to the session."""
        match record:
            case AssistantRecord() if self.place.seq in (record.turn_seq, record.during):
                self.outcomes[seq] = self._outcome(seq, "retrying", "waiting")
                if record.turn_seq:
                    self._end("answered", record.at_us)
            case SilentRecord() if record.turn_seq == self.place.seq:
                self._end("silent", record.at_us)
            case QuarantinedRecord() if record.turn_seq == self.place.seq:
                self._end("interrupted" if record.error == INTERRUPTED else "failed", record.at_us)
                self.error = record.error
            case DeliveryRecord() if record.delivery_seq in self.outcomes:
                self.outcomes[record.delivery_seq] = self._reported(record)
            case ReopenedRecord() if record.delivery_seq in self.outcomes:
                again = self._outcome(record.delivery_seq, "retrying", "reopened")
                self.outcomes[record.delivery_seq] = again
            case ReceiptRecord(status="failed") if record.delivery_seq in self.outcomes:
                failed = self._outcome(record.delivery_seq, "failed", record.reason)
                self.outcomes[record.delivery_seq] = failed
            case _:
                pass

    def _end(self, status: RunStatus, at_us: int) -> None:
        self.status = status
        self.ended_us = at_us

    def _outcome(self, seq: int, status: OutcomeStatus, reason: str | None) -> Outcome:
        delivery_id = DeliveryId(f"{self.place.session_id}/{seq}")
        return Outcome(status=status, reason=reason, delivery_id=delivery_id)

    def _reported(self, record: DeliveryRecord) -> Outcome:
        noted_in = SessionId(record.noted_in) if record.noted_in is not None else None
        return Outcome(
            status="retrying" if record.status == "sending" else record.status,
            reason=record.reason,
            platform_message_id=record.platform_message_id or next(iter(record.parts), None),
            delivery_id=DeliveryId(f"{self.place.session_id}/{record.delivery_seq}"),
            provenance="recorded" if noted_in is not None else "not_needed",
            noted_in=noted_in,
            parts=_parts(record.parts),
        )

    def is_over(self, store: Reads) -> bool:
        """Whether nothing that follows in the log tells more of it."""
        return self.status != "running" and all(
            outcome.status in FINAL_STATUSES
            and (
                outcome.status in ("delivered", "rendered")
                # A failure that is no trouble any more has been tried again.
                or store.get(Table.TROUBLE, log_key(self.place.stream, seq)) is not None
            )
            for seq, outcome in self.outcomes.items()
        )


def _parts(arrived: Sequence[str]) -> tuple[Part, ...]:
    if len(arrived) <= 1:
        return ()
    return tuple(
        Part(number=number, status="delivered", platform_message_id=platform_id)
        for number, platform_id in enumerate(arrived, 1)
    )


def _tale(store: Reads, name: str, run: int) -> _Tale | None:
    place = load_run(store, name, run)
    asked = load_record(store, place.stream, place.seq) if place is not None else None
    if place is None or not isinstance(asked, MissionRecord):
        return None
    tale = _Tale(place, asked)
    for seq, record in load_records(store, place.stream, place.seq + 1):
        tale.hear(seq, record)
        if tale.is_over(store):
            break
    if tale.ended_us is None and _waits(store, place):
        tale.status = "waiting"
    return tale


def _waits(store: Reads, place: RunRow) -> bool:
    """Whether a turn that came before an open run is open too."""
    head = load_head(store, place.stream)
    settled = head.settled if head is not None else 0
    earlier = readable(store, place.stream, settled + 1, place.seq)
    return any(isinstance(record, UserRecord | MissionRecord) for _, record in earlier)
