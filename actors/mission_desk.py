"""The mission desk: the half of the scheduler that adds, changes, pauses and removes missions.

Each change is one batch: the record in the schedule's own stream, and the mission's row as it is
from then on. Changes of different missions wait for nothing; of one mission, each waits until the
one before it is durable, and so does a change while a tick of it is being taken.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any, ClassVar, Final, Literal

from ..storage.base import Batch, Table
from ..storage.codec import encode
from ..storage.errors import StorageError, StoreClosed, StoreFailed
from .core.mission_definition import MissionRefused, check_mission_name
from .core.missions import MissionRow, added, changed, paused, resumed
from .core.records import pack
from .core.runtime_records import ScheduleRecord
from .core.schedule import BadSchedule
from .errors import ShuttingDown
from .frozen import fact
from .journal import SCHEDULE_STREAM
from .kernel import TrioActor, TrioFuture
from .ledger import pages
from .mission_draft import Drafter
from .mission_rows import load_mission, mission_key, newest_run, put_mission
from .missions import AddMission, KeepNotice, PauseMission, RemoveMission, ResumeMission, StartRun
from .services import Services
from .unknown import UnknownMission

__all__ = ["MAX_MISSIONS", "MAX_WAITING", "Asked", "MissionDesk"]

logger = logging.getLogger("turnkeeper.scheduler")

MAX_MISSIONS: Final = 1_000_000
MAX_WAITING: Final = 1_000
"""Requests about missions that are just being changed; the next one is refused."""

Asked = tuple[Any, "TrioFuture[Any] | None"]
"""A request, and the future that its answer goes to."""


@fact
class _Change:
    """What a request comes to."""

    row: MissionRow | None
    """What the mission is from now on; None: no more."""
    acts: tuple[str, ...]
    """What is written down of it."""
    answer: MissionRow


class MissionDesk(TrioActor):
    """Changes missions; the scheduler runs them."""

    scheduling: ClassVar[Literal["pool", "resident"]] = "resident"

    def __init__(self, services: Services, agents: Collection[str] | None) -> None:
        super().__init__()
        self._services = services
        self._agents = agents
        """Who may be asked; None on a store at rest, where nobody knows."""
        self._drafter = Drafter(services, agents)
        self._busy: dict[bytes, deque[Asked]] = {}
        """Missions of which something is on its way to the store, and what waits for that."""
        self._next_seq = services.store.last_seq(SCHEDULE_STREAM) + 1

    @abstractmethod
    def _start_run(
        self, key: bytes, row: MissionRow, message: StartRun, answer: TrioFuture[Any] | None
    ) -> None:
        """Run a mission because somebody asks for it."""

    @abstractmethod
    def _look(self) -> None:
        """Something may be due that was not before."""

    # -- one request after the other, for each mission -------------------------------------------

    def _request(self, message: Any) -> None:
        check_mission_name(message.name)
        self._asked(mission_key(message.name), message, self.take_reply())

    def _asked(self, key: bytes, message: Any, answer: TrioFuture[Any] | None) -> None:
        try:
            if (waiting := self._busy.get(key)) is None:
                self._carry_out(key, message, answer)
            elif len(waiting) < MAX_WAITING:
                waiting.append((message, answer))
            else:
                raise MissionRefused(f"{MAX_WAITING} changes of this mission wait already")
        except Exception as error:  # the supervisor's edge: it ends this request, and nothing else
            if answer is None:
                logger.exception("%s could not be carried out", type(message).__name__)
            else:
                answer.fail(_refusal(error))

    def _carry_out(self, key: bytes, message: Any, answer: TrioFuture[Any] | None) -> None:
        before = load_mission(self._services.store, key)
        if before is None and not isinstance(message, AddMission):
            raise UnknownMission(f"there is no mission {message.name!r}")
        if isinstance(message, StartRun):
            assert before is not None  # checked above
            self._start_run(key, before, message, answer)
            return
        change = self._CHANGES[type(message)](self, before, message)
        if change.row is before or getattr(message, "dry_run", False):
            if answer is not None:
                answer.resolve(change.answer)
            return
        batch = Batch()
        put_mission(batch, key, before, change.row)
        self._write_down(batch, change, message)
        self._submit(key, batch, partial(self._written, key, change.answer, answer))

    def _write_down(self, batch: Batch, change: _Change, message: Any) -> None:
        definition = change.row.definition if change.row is not None else None
        records = [
            ScheduleRecord(
                at_us=self._services.now_us(),
                act=act,
                name=message.name,
                by=message.by,
                definition=tuple(definition.flat()) if definition is not None else None,
            )
            for act in change.acts
        ]
        if records:
            packed = [encode(pack(record)) for record in records]
            batch.append(SCHEDULE_STREAM, self._next_seq, packed)
            self._next_seq += len(records)

    def _submit(
        self, key: bytes, batch: Batch, then: Callable[[StorageError | None], None]
    ) -> None:
        """Write something of a mission; nothing else of it is written until `then` frees it."""
        self._busy.setdefault(key, deque())
        try:
            self._services.store.submit(batch, then)
        except StorageError as error:  # too large, or a commit failed before
            then(error)

    def _written(
        self,
        key: bytes,
        value: MissionRow,
        answer: TrioFuture[Any] | None,
        error: StorageError | None,
    ) -> None:
        if error is not None:
            self._next_seq = self._services.store.last_seq(SCHEDULE_STREAM) + 1
        if answer is not None and error is not None:
            answer.fail(_refusal(error))
        elif answer is not None:
            answer.resolve(value)
        self._free(key)
        self._look()

    def _free(self, key: bytes) -> None:
        """Nothing of a mission is on its way any more: what has waited comes next."""
        for message, answer in self._busy.pop(key, ()):
            self._asked(key, message, answer)

    # -- changes ---------------------------------------------------------------------------------

    def _add(self, row: MissionRow | None, message: AddMission) -> _Change:
        name, now_us = message.name, self._services.now_us()
        of_config = message.by == "config"
        if row is not None and not of_config:
            _keep_off_config(row)
        if row is not None and not message.replace:
            raise MissionRefused(
                f"there is a mission {name!r} already; replace it, or remove it first", "name"
            )
        if row is not None and of_config and row.definition.by != "config":
            raise MissionRefused(
                f"there is a mission {name!r} already, made by the {row.definition.by}; remove "
                "it, or choose another name",
                "name",
            )
        definition = self._drafter.definition(message, row.definition if row is not None else None)
        if row is None:
            self._check_room()
            after = added(definition, now_us, newest_run(self._services.store, name))
        else:
            after = changed(row, definition, now_us)
        acts = ["added"] if row is None else ["changed"] if after is not row else []
        if of_config and not message.enabled and after.paused_by is None:
            after = paused(after, "config")
            acts.append("paused")
        elif of_config and message.enabled and after.paused_by == "config":
            after = resumed(after, now_us)
            acts.append("resumed")
        return _Change(after, tuple(acts), after)

    def _pause(self, row: MissionRow, message: PauseMission) -> _Change:
        after = paused(row, message.by)
        return _Change(after, ("paused",) if after is not row else (), after)

    def _resume(self, row: MissionRow, message: ResumeMission) -> _Change:
        if row.paused_by == "config":
            raise MissionRefused(
                f"the configuration pauses {message.name!r}: take `enabled = false` out of "
                f"[missions.{message.name}], and reload"
            )
        try:
            after = resumed(row, self._services.now_us())
        except BadSchedule as error:
            raise MissionRefused(str(error), "schedule") from error
        return _Change(after, ("resumed",) if after is not row else (), after)

    def _remove(self, row: MissionRow, message: RemoveMission) -> _Change:
        if message.by != "config":
            _keep_off_config(row)
        return _Change(None, ("removed",), row)

    def _keep_notice(self, row: MissionRow, message: KeepNotice) -> _Change:
        after = row._replace(notice=message.notice) if message.notice != row.notice else row
        return _Change(after, (), after)

    _CHANGES: ClassVar[dict[type, Callable[[Any, Any, Any], _Change]]] = {
        AddMission: _add,
        PauseMission: _pause,
        ResumeMission: _resume,
        RemoveMission: _remove,
        KeepNotice: _keep_notice,
    }

    def _check_room(self) -> None:
        store = self._services.store
        if store.last_seq(SCHEDULE_STREAM) < MAX_MISSIONS:
            return  # each has a record at least: there is no need to count them
        if sum(map(len, pages(store, Table.MISSIONS, b"m"))) >= MAX_MISSIONS:
            raise MissionRefused(f"there are {MAX_MISSIONS} missions already; remove some")


def _keep_off_config(row: MissionRow) -> None:
    name = row.definition.name
    if row.definition.by == "config":
        raise MissionRefused(
            f"the configuration makes the mission {name!r}: change it there, under "
            f"[missions.{name}], and reload; or pause it"
        )


def _refusal(error: Exception) -> Exception:
    """`error` in the words of those who ask."""
    if not isinstance(error, StoreClosed | StoreFailed):
        return error
    refused = ShuttingDown(f"nothing is stored any more: {error}")
    refused.__cause__ = error
    return refused
