"""The scheduler actor: gives each mission's prompt to its session when it is due, at most once.

A tick is taken by one batch: the mission's row goes on to its next tick, and the session's log gets
the prompt. Whatever ends the process, both are stored or neither is. Nothing is kept in memory of
missions that are not due, so that a start costs the same however many there are. What is asked of
missions is the other half: :mod:`.mission_desk`.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, TypeAlias

import trio

from ..storage.base import Batch
from ..storage.errors import StorageError
from .addressing import default_place, goes_on_in, place_on_behalf
from .alarm import Alarm
from .core.missions import (
    MissionRefused,
    MissionRow,
    Taken,
    is_blocked,
    passed_over,
    replanned,
    run_now,
    session_of_mission,
    take_tick,
)
from .core.records import MalformedRecord
from .core.schedule import BadSchedule
from .errors import ShuttingDown, TurnRefused
from .kernel import ActorDeadError, TrioFuture
from .messages import (
    Address,
    FindSession,
    Instance,
    MissionTurn,
    SendMessage,
    SessionId,
    split_record_id,
)
from .mission_desk import MissionDesk, opened_by
from .mission_rows import (
    all_missions,
    due_missions,
    load_mission,
    load_run,
    mission_key,
    next_due,
    open_runs,
    put_mission,
)
from .missions import (
    AddMission,
    BeginTicking,
    KeepNotice,
    LookAtClock,
    MissionEnded,
    PauseMission,
    RemoveMission,
    ResumeMission,
    RunMission,
    RunStarted,
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
_PAUSES_S: Final = (0.2, 1.0, 5.0)
"""Before a run is asked for again that its session could not take."""
_ERROR_CHARS: Final = 200
"""Of an error, in what is said about a failure."""

_Task: TypeAlias = Callable[..., Awaitable[None]]


class SchedulerActor(MissionDesk):
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
        super().__init__(services, agents)
        self._nursery = nursery
        self._alarm = Alarm(services.now_us, self._ring)
        self._ticking = False
        self._resting: list[TrioFuture[Any]] = []
        """Who waits until no tick is being taken."""
        self._ticks = 0
        """How many are just being taken."""
        self._known: set[bytes] = set()
        """Missions of whose newest runs the store tells the truth: they are of this life, or their
        session has come back and ended what the last life left."""
        self._unreadable: set[bytes] = set()
        """Missions that cannot be read or written: they do not run before the next start."""
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

    def _soon(self, task: _Task, *args: object) -> None:
        if self._nursery is None:
            return
        try:
            self._nursery.start_soon(task, *args)
        except RuntimeError as error:  # it takes no task any more
            raise ShuttingDown("no mission runs: the runtime is stopping") from error

    def _ring(self) -> None:
        with suppress(ActorDeadError):  # the runtime has stopped
            self.actor_ref.tell(LookAtClock())

    def _look_at_clock(self, _message: LookAtClock) -> None:
        self._look()

    def _stand_down(self, _message: StandDown) -> None:
        self._ticking = False
        if (answer := self.take_reply()) is not None:
            self._resting.append(answer)
        self._rest()

    def _rest(self) -> None:
        if self._ticks == 0 and not self._ticking:
            resting, self._resting = self._resting, []
            for answer in resting:
                answer.resolve(None)

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
                logger.warning("mission %s: a tick is passed over: %s", name, why)
                self._occupy(key)
                self._put(key, row, taken.row)
            else:
                self._run(key, row, taken, taken.run, "schedule", None)
        except (StorageError, MalformedRecord):
            logger.exception("mission %s cannot be read: it does not run", key.hex())
            self._unreadable.add(key)

    def _occupy(self, key: bytes) -> None:
        """Something is to be done about a tick; nothing else of the mission is, until then."""
        self._busy[key] = deque()
        self._ticks += 1

    def _done(self, key: bytes) -> None:
        """Whatever was done about a tick is over."""
        self._ticks -= 1
        self._free(key)
        self._rest()
        self._look()

    async def _settle(self, key: bytes, session_id: str) -> None:
        """Let the session of a mission end what the last life of the runtime left of its run."""
        try:
            with suppress(TurnRefused, LookupError, ActorDeadError, StorageError, MalformedRecord):
                session_id = goes_on_in(self._services.store, session_id)
                await self._ask(FindSession(session_id=SessionId(session_id)))
                await self._services.store.commit(Batch())
        finally:
            self._known.add(key)
            self._done(key)

    def _put(self, key: bytes, row: MissionRow, after: MissionRow) -> None:
        """Let a mission, which is occupied, go on without a run."""
        batch = Batch()
        put_mission(batch, key, row, after)
        self._submit(key, batch, partial(self._put_down, key))

    def _put_down(self, key: bytes, error: StorageError | None) -> None:
        if error is not None:
            logger.error("mission %s could not be written", key.hex(), exc_info=error)
            self._unreadable.add(key)  # else it would be tried again for ever
        self._done(key)

    # -- runs ------------------------------------------------------------------------------------

    def _start_run(
        self, key: bytes, row: MissionRow, message: StartRun, answer: TrioFuture[Any] | None
    ) -> None:
        if not self._ticking:
            raise ShuttingDown("no mission runs: the runtime is stopping, or none runs here")
        taken = run_now(row, self._services.now_us())
        assert taken.run is not None  # it was asked for
        self._run(key, row, taken, taken.run, message.by, answer)

    def _run(
        self,
        key: bytes,
        row: MissionRow,
        taken: Taken,
        turn: MissionTurn,
        by: str,
        answer: TrioFuture[Any] | None,
    ) -> None:
        """Give a run to its session, which stores it together with the row that follows."""
        definition = row.definition
        claim = Batch()
        put_mission(claim, key, row, taken.row)
        message = RunMission(
            session_id=SessionId(goes_on_in(self._services.store, definition.session_id)),
            agent=definition.agent,
            turn=turn,
            claim=claim,
            by=by,
            notify=Instance(definition.notify) if definition.notify is not None else None,
            asker=definition.asker,
        )
        self._occupy(key)
        self._soon(self._claim, key, row, message, answer)

    async def _claim(
        self, key: bytes, row: MissionRow, message: RunMission, answer: TrioFuture[Any] | None
    ) -> None:
        try:
            self._check_session(message)
            started = await self._started(key, row, message)
        except Exception as error:  # noqa: BLE001  (handed on; the other missions go on)
            self._not_claimed(key, row, error, answer)
            return
        self._known.add(key)
        if answer is not None:
            answer.resolve(started)
        self._done(key)

    def _check_session(self, message: RunMission) -> None:
        """Refuse to run in a session that somebody else has called like this mission's own.

        Raises:
            MissionRefused: so it is.
        """
        name = message.turn.mission
        if message.session_id == session_of_mission(name):
            found = opened_by(self._services, message.session_id)
            if found is not None and found[1] != f"mission {name}":
                raise MissionRefused(f"the session {message.session_id!r} is not this mission's")

    async def _started(self, key: bytes, row: MissionRow, message: RunMission) -> RunStarted:
        """Ask until the session takes the run, or will not.

        Raises:
            Exception: whatever the last answer was.
        """
        store, name, run = self._services.store, message.turn.mission, message.turn.run
        for pause_s in (*_PAUSES_S, None):
            try:
                place = split_record_id(await self._ask(message))
                assert place is not None  # the session has made it
                return RunStarted(session_id=place[0], turn_seq=place[1], run=run)
            except (TurnRefused, ActorDeadError) as error:
                if pause_s is None or not self._may_ask_again(error):
                    raise
                await trio.sleep(pause_s)
                if (taken := load_run(store, name, run)) is not None:  # it died after it took it
                    session_id = SessionId(taken.session_id)
                    return RunStarted(session_id=session_id, turn_seq=taken.seq, run=run)
                if load_mission(store, key) != row:
                    raise
        raise AssertionError("the last of them raises")

    def _may_ask_again(self, error: TurnRefused | ActorDeadError) -> bool:
        if isinstance(error, ActorDeadError):  # the session's, or the registry's
            return self._services.registry.is_alive()
        return error.retryable and not isinstance(error, ShuttingDown)

    async def _ask(self, message: Any) -> Any:
        return await self._services.registry.ask(message, block=False)

    def _not_claimed(
        self, key: bytes, row: MissionRow, error: Exception, answer: TrioFuture[Any] | None
    ) -> None:
        """A run was refused: pass its tick over, unless nothing can be stored any more."""
        name = row.definition.name
        if answer is not None:
            answer.fail(error)
        stopping = self._services.stopping or not self._services.registry.is_alive()
        if stopping or isinstance(error, ShuttingDown):
            self._ticking = False  # the next start takes the tick
        elif answer is None:
            logger.error("mission %s could not run: %s", name, error, exc_info=error)
            if self._pass_over(key, row, str(error) or type(error).__name__):
                return
        self._done(key)

    def _pass_over(self, key: bytes, row: MissionRow, why: str) -> bool:
        """Let a mission wait for its next tick; False if it has gone on already."""
        try:
            if load_mission(self._services.store, key) != row:
                return False
        except (StorageError, MalformedRecord):
            self._unreadable.add(key)
            return False
        self._put(key, row, passed_over(row, self._services.now_us(), why))
        return True

    # -- failures --------------------------------------------------------------------------------

    def _run_ended(self, message: MissionEnded) -> None:
        """Tell somebody of a run that failed, if the mission says whom."""
        if message.status != "quarantined":
            return
        logger.warning("mission %s: run %d failed: %s", message.mission, message.run, message.error)
        row = load_mission(self._services.store, mission_key(message.mission))
        if row is not None and row.definition.on_failure is not None:
            self._soon(self._tell_of, message, row)

    async def _tell_of(self, message: MissionEnded, row: MissionRow) -> None:
        reason: str | None = "no_recipient"
        try:
            if (place := self._place_of_notice(message, row)) is not None:
                error = " ".join((message.error or "").split())[:_ERROR_CHARS]
                notice = SendMessage(
                    session_id=message.session_id,
                    text=f"Run {message.run} of the mission {message.mission} failed: {error}",
                    to=place,
                    by="runtime",
                )
                outcome = await self._ask(notice)
                reason = outcome.reason if outcome.status == "failed" else None
        except (ActorDeadError, ShuttingDown):
            return
        except Exception as error:  # the supervisor's edge: nobody is told of it twice
            logger.exception("mission %s: nobody could be told", message.mission)
            reason = str(error) or type(error).__name__
        if reason is not None:
            logger.error("mission %s: nobody was told of its failure: %s", message.mission, reason)
        kept = KeepNotice(name=message.mission, notice=reason)
        self._asked(mission_key(message.mission), kept, None)

    def _place_of_notice(self, message: MissionEnded, row: MissionRow) -> Address | None:
        definition, store = row.definition, self._services.store
        assert definition.on_failure is not None  # somebody is to be told
        if definition.asker is not None:
            return place_on_behalf(store, definition.asker, definition.agent, definition.on_failure)
        return default_place(store, message.session_id, definition.agent, definition.on_failure)

    _HANDLERS: ClassVar[dict[type, Callable[[Any, Any], Any]]] = {
        **dict.fromkeys(
            (AddMission, PauseMission, ResumeMission, RemoveMission, StartRun),
            MissionDesk._request,
        ),
        BeginTicking: _begin,
        LookAtClock: _look_at_clock,
        StandDown: _stand_down,
        MissionEnded: _run_ended,
    }
