"""Messages between the scheduler and the sessions in which missions run."""

from __future__ import annotations

from typing import Literal

from ..storage.base import Batch
from .frozen import message
from .messages import DeliveryId, Instance, MissionTurn, SessionId, TurnId

__all__ = ["MissionEnded", "RunMission"]


@message
class RunMission:
    """Request to give a mission's prompt to its agent. Answered with the `TurnId` once durable.

    A session that is not there yet is opened.
    """

    session_id: SessionId
    agent: str
    """Who answers in a session that is opened for this."""
    turn: MissionTurn
    claim: Batch
    """What the run must be durable with: the tick is taken, or the whole is refused."""
    by: str
    """`schedule`, or whoever asked for this run."""
    notify: Instance | None = None
    """The instance at whose default conversation its messages go; None: as the session has it."""
    on_behalf_of: SessionId | None = None
    """The session in whose conversation the mission was made: it never writes to anybody else."""


@message
class MissionEnded:
    """The turn of a run is over; what it has sent may still be on its way."""

    session_id: SessionId
    turn_seq: int
    mission: str
    run: int
    status: Literal["answered", "silent", "quarantined"]
    delivery_id: DeliveryId | None = None
    """Of the answer."""
    error: str | None = None

    @property
    def turn_id(self) -> TurnId:
        """Of the run."""
        return TurnId(f"{self.session_id}/{self.turn_seq}")
