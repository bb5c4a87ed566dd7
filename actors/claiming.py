"""Claiming: the half of the scheduler that hands runs to sessions, each at most once.

A run is one batch: its mission's row as it is from then on, where the run is, and the prompt in its
session's log. A session that cannot take it is asked again, and then the tick is passed over, for a
reason that the row keeps.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias

import trio

from ..storage.base import Batch
from ..storage.errors import StorageError
from .addressing import goes_on_in
from .core.mission_definition import MissionRefused, session_of_mission
from .core.missions import MissionRow, Taken, passed_over, run_now
from .core.records import MalformedRecord
from .errors import ShuttingDown, TurnRefused
from .kernel import ActorDeadError, TrioFuture
from .messages import FindSession, Instance, MissionTurn, SessionId, split_record_id
from .mission_desk import MissionDesk
from .mission_draft import opened_by
from .mission_rows import load_mission, load_run, put_mission
from .missions import RunMission, RunStarted, StartRun
from .services import Services

__all__ = ["Claimer"]

logger = logging.getLogger("turnkeeper.scheduler")

_PAUSES_S: Final = (0.2, 1.0, 5.0)
"""Before a run is asked for again that its session could not take."""

_Task: TypeAlias = Callable[..., Awaitable[None]]


class Claimer(MissionDesk):
    """Hands runs out; the scheduler knows when."""

    def __init__(
        self,
        services: Services,
        agents: Collection[str] | None,
        nursery: trio.Nursery | None,
    ) -> None:
        """Runs nothing before `_ticking` is set.

        Args:
            services: of the runtime.
            agents: who may be asked; None if nobody knows.
            nursery: where it waits; None on a store at rest, where nothing runs.
        """
        super().__init__(services, agents)
        self._nursery = nursery
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

    def _soon(self, task: _Task, *args: object) -> None:
        if self._nursery is None:
            return
        try:
            self._nursery.start_soon(task, *args)
        except RuntimeError as error:  # it takes no task any more
            raise ShuttingDown("no mission runs: the runtime is stopping") from error

    async def _ask(self, message: Any) -> Any:
        return await self._services.registry.ask(message, block=False)

    # -- what is being done about ticks ----------------------------------------------------------

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

    def _rest(self) -> None:
        if self._ticks == 0 and not self._ticking:
            resting, self._resting = self._resting, []
            for answer in resting:
                answer.resolve(None)

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
            self._check(message)
            started = await self._started(key, row, message)
        except Exception as error:  # noqa: BLE001  (handed on; the other missions go on)
            self._not_claimed(key, row, error, answer)
            return
        self._known.add(key)
        if answer is not None:
            answer.resolve(started)
        self._done(key)

    def _check(self, message: RunMission) -> None:
        """Refuse what has come to make no sense since the mission was made.

        Raises:
            MissionRefused: its agent has gone, or somebody else's session is called like its own.
        """
        name = message.turn.mission
        if self._agents is not None and message.agent not in self._agents:
            known = ", ".join(sorted(self._agents))
            raise MissionRefused(f"there is no agent {message.agent!r}; there is: {known}")
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
