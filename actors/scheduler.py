"""The scheduler actor: gives each mission's prompt to its session when it is due, at most once.

A tick is taken by one batch: the mission's row goes on to its next tick, and the session's log gets
the prompt. Whatever ends the process, both are stored or neither is. Nothing is kept in memory of
missions that are not due, so that a start costs the same however many there are.

This part watches the clock. The others hand runs out (:mod:`.claiming`), tell of failures
(:mod:`.failures`), and change missions (:mod:`.mission_desk`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, ClassVar, Final

import trio

from ..storage.errors import StorageError
from .alarm import Alarm
from .core.missions import is_blocked, replanned, take_tick
from .core.records import MalformedRecord
from .core.schedule import BadSchedule
from .failures import FailureTeller
from .kernel import ActorDeadError
from .mission_desk import MissionDesk
from .mission_rows import (
    all_missions,
    due_missions,
    load_mission,
    mission_key,
    next_due,
    open_runs,
)
from .missions import (
    AddMission,
    BeginTicking,
    LookAtClock,
    MissionEnded,
    PauseMission,
    RemoveMission,
    ResumeMission,
    StandDown,
    StartRun,
)
from .services import Services

__all__ = ["MAX_CLAIMS", "SchedulerActor"]

logger = logging.getLogger("turnkeeper.scheduler")

MAX_CLAIMS: Final = 256
"""Ticks that are taken at once; whatever else is due waits."""
_SET_BACK_US: Final = 60_000_000
"""By how much a clock is set back before the next ticks are chosen anew: less is its own drift."""
_AGAIN_US: Final = 60_000_000
"""Until it looks again where it could not."""


class SchedulerActor(FailureTeller):
    """Watches the clock."""

    def __init__(
        self,
        services: Services,
        agents: Collection[str] | None,
        nursery: trio.Nursery | None,
    ) -> None:
        """Takes no tick before `BeginTicking`.

        Args:
            services: of the runtime.
            agents: who may be asked; None if nobody knows.
            nursery: where it waits; None on a store at rest, where nothing runs.
        """
        super().__init__(services, agents, nursery)
        self._alarm = Alarm(services.now_us, self._ring)
        self._saw_us = services.now_us()
        """What the clock showed when it was looked at last."""

    def __str__(self) -> str:
        return "scheduler"

    def on_receive(self, message: Any) -> Any:
        """Decide; answers are given when the batch is durable."""
        try:
            return self._HANDLERS[type(message)](self, message)
        except Exception as error:  # the supervisor's edge: one bad mission stops no other
            if (answer := self.take_reply()) is None:
                logger.exception("%s could not be handled", type(message).__name__)
            else:
                answer.fail(error)
        return None

    # -- the clock -------------------------------------------------------------------------------

    def _begin(self, _message: BeginTicking) -> None:
        self._ticking = True
        self._soon(self._alarm.run)
        self._look()

    def _ring(self) -> None:
        with suppress(ActorDeadError):  # the runtime has stopped
            self.actor_ref.tell(LookAtClock())

    def _look_at_clock(self, _message: LookAtClock) -> None:
        self._look()

    def _stand_down(self, _message: StandDown) -> None:
        self._ticking, self._stopping = False, True
        if (answer := self.take_reply()) is not None:
            self._resting.append(answer)
        self._rest()

    def _look(self) -> None:
        """Take the ticks that are due, as many at once as may be, and wait for the next one."""
        if self._ticking and self._ticks <= MAX_CLAIMS // 2:
            try:
                self._take_all()
            except StorageError:  # what is read by the next look may be sound
                logger.exception("what is due cannot be read")
                self._alarm.set(self._services.now_us() + _AGAIN_US)

    def _take_all(self) -> None:
        store, now_us = self._services.store, self._services.now_us()
        if now_us < self._saw_us - _SET_BACK_US:
            self._soon(self._replan)
        self._saw_us = now_us
        for due_us, key in due_missions(store, now_us, 2 * MAX_CLAIMS):
            if self._ticks >= MAX_CLAIMS:
                self._alarm.set(None)  # some of them end, and then it looks again
                return
            if key not in self._busy and key not in self._unreadable:
                self._take(key, due_us, now_us)
        self._alarm.set(next_due(store, now_us))

    async def _replan(self) -> None:
        """Choose all next ticks anew: the clock by which they were chosen was wrong."""
        logger.warning("the clock has been set back: the missions' next runs are chosen anew")
        try:
            for row in all_missions(self._services.store):
                await trio.lowlevel.checkpoint()
                self._replan_one(mission_key(row.definition.name))
        except (StorageError, MalformedRecord):
            logger.exception("not all of the missions can be read")

    def _replan_one(self, key: bytes) -> None:
        row = load_mission(self._services.store, key)
        if row is None or key in self._busy:
            return  # it has gone, or its next tick is being chosen just now
        with suppress(BadSchedule):  # its tick says so
            after = replanned(row, self._services.now_us())
            if after is not row:
                self._occupy(key)
                self._put(key, row, after)

    # -- ticks -----------------------------------------------------------------------------------

    def _take(self, key: bytes, due_us: int, now_us: int) -> None:
        try:
            row = load_mission(self._services.store, key)
            if row is None or row.due_us != due_us or row.next_us is None or row.next_us > due_us:
                raise MalformedRecord(f"it is due at {due_us}, and kept as {row!r:.80}")
            runs = open_runs(self._services.store, row)
            if runs and key not in self._known and is_blocked(row, runs):
                self._occupy(key)
                self._soon(self._settle, key, row.definition.session_id)
                return
            taken = take_tick(row, now_us, runs)
            if taken.run is None:
                name, why = row.definition.name, taken.row.skipped_why
                logger.info("mission %s: a tick is passed over: %s", name, why)
                self._occupy(key)
                self._put(key, row, taken.row)
            else:
                self._run(key, row, taken, taken.run, "schedule", None)
        except (StorageError, MalformedRecord):
            logger.exception("mission %s cannot be read: it does not run", key.hex())
            self._unreadable.add(key)

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        **dict.fromkeys(
            (AddMission, PauseMission, ResumeMission, RemoveMission, StartRun),
            MissionDesk._request,
        ),
        BeginTicking: _begin,
        LookAtClock: _look_at_clock,
        StandDown: _stand_down,
        MissionEnded: FailureTeller._run_ended,
    }
