"""Failures: the part of the scheduler that tells somebody of a run that failed."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

import trio

from .addressing import default_place, place_on_behalf
from .claiming import Claimer
from .core.missions import MissionRow
from .deliveries import SendMessage
from .errors import ShuttingDown
from .kernel import ActorDeadError
from .messages import Address
from .mission_rows import load_mission, mission_key
from .missions import KeepNotice, MissionEnded
from .services import Services

__all__ = ["FailureTeller"]

logger = logging.getLogger("turnkeeper.scheduler")

_ERROR_CHARS: Final = 200
"""Of an error, in what is said about a failure."""


class FailureTeller(Claimer):
    """Tells of failures, once each."""

    def __init__(
        self,
        services: Services,
        agents: Collection[str] | None,
        nursery: trio.Nursery | None,
    ) -> None:
        super().__init__(services, agents, nursery)
        self._stopping = False

    def _run_ended(self, message: MissionEnded) -> None:
        """Tell somebody of a run that failed, if the mission says whom."""
        if message.status != "quarantined":
            return
        logger.warning("mission %s: run %d failed: %s", message.mission, message.run, message.error)
        row = load_mission(self._services.store, mission_key(message.mission))
        if row is None or row.definition.on_failure is None:
            return
        if self._stopping:  # what is sent now would be cut short
            self._remember(message.mission, "the runtime was stopping")
        else:
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
        self._remember(message.mission, reason)

    def _remember(self, name: str, notice: str | None) -> None:
        self._asked(mission_key(name), KeepNotice(name=name, notice=notice), None)

    def _place_of_notice(self, message: MissionEnded, row: MissionRow) -> Address | None:
        definition, store = row.definition, self._services.store
        assert definition.on_failure is not None  # somebody is to be told
        if definition.asker is not None:
            return place_on_behalf(store, definition.asker, definition.agent, definition.on_failure)
        return default_place(store, message.session_id, definition.agent, definition.on_failure)
