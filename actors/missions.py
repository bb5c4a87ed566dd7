"""Messages between the scheduler, whoever asks it, and the sessions in which missions run."""

from __future__ import annotations

from typing import Literal, TypeAlias

from ..storage.base import Batch
from .core.mission_definition import Asker
from .frozen import message
from .messages import Address, DeliveryId, Instance, MissionTurn, SessionId, TurnId

__all__ = [
    "AddMission",
    "AwaitRun",
    "BeginTicking",
    "KeepNotice",
    "LookAtClock",
    "MissionAct",
    "MissionEnded",
    "PauseMission",
    "RemoveMission",
    "ResumeMission",
    "RunMission",
    "RunStarted",
    "StandDown",
    "StartRun",
]


# -- what is asked of the scheduler --------------------------------------------------------------


@message
class AddMission:
    """Request: there is this mission from now on. Answered with its `MissionRow` once durable."""

    name: str
    schedule: str
    prompt: str
    notify: str | None = None
    agent: str | None = None
    """None: the agent of the session, of the channel that it notifies, or the main one."""
    zone: str = "UTC"
    session: str | None = None
    """Where it runs; None for a session of its own."""
    missed: str = "skip"
    overlap: str = "skip"
    jitter_s: float = 0.0
    on_failure: str | None = None
    replace: bool = False
    """Whether a mission of this name may be there already, and becomes this one."""
    by: str = "program"
    enabled: bool = True
    """Whether it waits for ticks; otherwise it is paused. For a configuration."""
    asked_in: SessionId | None = None
    """The session in whose turn it is asked for: it speaks in that one's conversations alone."""
    asked_at: Address | None = None
    """The conversation in which that is: it speaks to nobody else, whoever shares the session."""
    asked_by: str | None = None
    """The mission in whose run it is asked for: on behalf of whom that one is, this one is too."""
    dry_run: bool = False


@message
class PauseMission:
    """Request to take no tick of a mission any more. Answered with its `MissionRow`."""

    name: str
    by: str = "program"


@message
class ResumeMission:
    """Request to go on with the next tick of a paused mission. Answered with its `MissionRow`."""

    name: str
    by: str = "program"


@message
class RemoveMission:
    """Request: there is no such mission any more. Answered with the last of its `MissionRow`.

    A run that goes on ends as it would have.
    """

    name: str
    by: str = "program"


MissionAct: TypeAlias = AddMission | PauseMission | ResumeMission | RemoveMission


@message
class StartRun:
    """Request to run a mission now, whatever its schedule says. Answered with `RunStarted`."""

    name: str
    by: str = "program"


@message
class RunStarted:
    """A run is durable, and its session will give it to the agent."""

    session_id: SessionId
    turn_seq: int
    run: int


@message
class BeginTicking:
    """Request to take the ticks that are due, from now on."""


@message
class KeepNotice:
    """Request to keep why nobody could be told of the newest failed run; None if somebody was."""

    name: str
    notice: str | None


@message
class LookAtClock:
    """Request to take the ticks that are due."""


@message
class StandDown:
    """Request to take no tick any more. Answered once none is being taken."""


# -- between the scheduler and sessions ----------------------------------------------------------


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
    asker: Asker | None = None
    """For whom it speaks, if it was asked for in a turn: it never writes to anybody else."""


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


@message
class AwaitRun:
    """Request to answer once a run has ended, and whatever it has sent has arrived or has not."""

    session_id: SessionId
    turn_seq: int
