"""Planning: the part of a runtime for missions."""

from __future__ import annotations

from typing import TypeVar, cast

from . import missions as mission_views
from .actors.acts import By
from .actors.core.mission_definition import MissionRefused
from .actors.core.missions import MissionRow
from .actors.kernel import ActorDeadError
from .actors.messages import Address, Instance, SessionId
from .actors.missions import (
    AddMission,
    AwaitRun,
    MissionAct,
    PauseMission,
    RemoveMission,
    ResumeMission,
    RunStarted,
    StartRun,
)
from .context import SessionContext, get_session_context
from .looking import Looking
from .missions import Missed, MissionInfo, MissionRun, Overlap

__all__ = ["Planning"]

T = TypeVar("T")


class Planning(Looking):
    """Adds, changes and runs missions."""

    async def add_mission(  # noqa: PLR0913  (the parts of a mission)
        self,
        name: str,
        schedule: str,
        prompt: str,
        notify: str | None = None,
        agent: str | None = None,
        *,
        zone: str = "UTC",
        session: str | None = None,
        missed: Missed = "skip",
        overlap: Overlap = "skip",
        jitter_s: float = 0.0,
        on_failure: str | None = None,
        replace: bool = False,
        by: By = "program",
    ) -> MissionInfo:
        """Let an agent be given a prompt at set times, each time at most once.

        It runs in a session of its own, and speaks where a human last wrote to the agent on the
        instance that it notifies. Made inside a turn, it speaks to whoever wrote there alone: in
        that conversation, or at another instance in the one where the same user last wrote.

        Args:
            name: 1 to 56 letters, digits, `_`, `.` or `-`.
            schedule: `0 9 * * mon-fri`, `every 15m` or `at 2026-12-01T09:00`.
            prompt: what the agent is to do; at most 1,000,000 characters.
            notify: the instance where its messages go; None for the console feed.
            agent: who is asked; by default the agent of the turn, of the instance, or the main one.
            zone: the time zone of the schedule, like `Europe/Berlin`.
            session: runs it in this session, behind its other turns; it then speaks where that one
                does.
            missed: whether ticks that nobody was there to run are passed over, or run once.
            overlap: whether a tick is passed over while a run goes on, waits, or waits however many
                do.
            jitter_s: seconds by which each run may be put off, so that not all begin at once.
            on_failure: the instance where somebody is told of a run that failed.
            replace: whether a mission of this name may be there already, and becomes this one.
            by: who asks.

        Raises:
            MissionRefused: it makes no sense; nothing was changed.
        """
        context = get_session_context()
        return await self._mission_act(
            AddMission(
                name=name,
                schedule=schedule,
                prompt=prompt,
                notify=notify,
                agent=agent,
                zone=zone,
                session=session,
                missed=missed,
                overlap=overlap,
                jitter_s=jitter_s,
                on_failure=on_failure,
                replace=replace,
                by=by,
                asked_in=SessionId(context.session_id) if context is not None else None,
                asked_at=_place_of(context),
                asked_by=context.mission if context is not None else None,
            )
        )

    async def pause_mission(self, name: str, *, by: By = "program") -> MissionInfo:
        """Let a mission wait, until it is resumed. A run that goes on ends as it would have.

        Raises:
            UnknownMission: there is none of this name.
        """
        return await self._mission_act(PauseMission(name=name, by=by))

    async def resume_mission(self, name: str, *, by: By = "program") -> MissionInfo:
        """Let a paused mission go on with its next tick; what it missed is not made up for.

        Raises:
            UnknownMission: there is none of this name.
            MissionRefused: the configuration pauses it.
        """
        return await self._mission_act(ResumeMission(name=name, by=by))

    async def remove_mission(self, name: str, *, by: By = "program") -> MissionInfo:
        """Let there be no such mission any more. Its session and what it has said stay.

        Returns:
            The mission as it was.

        Raises:
            UnknownMission: there is none of this name.
            MissionRefused: the configuration makes it.
        """
        return await self._mission_act(RemoveMission(name=name, by=by))

    async def run_mission(self, name: str, *, by: By = "program") -> MissionRun:
        """Run a mission now, and return once it has ended and each of its messages has an outcome.

        Its schedule goes on as if nothing had been. Cancelling ends the wait, not the run.

        Raises:
            UnknownMission: there is none of this name.
            MissionRefused: this is a turn of the session in which it would run: it would wait for
                itself.
            TurnRefused: its session could not take it; nothing was changed.
        """
        context = get_session_context()
        if context is not None and context.session_id == (await self.mission(name)).session_id:
            raise MissionRefused(
                f"the mission {name!r} runs in this very session, after this turn: a turn cannot "
                "wait for it"
            )
        started = cast(
            "RunStarted", await self._actors.scheduler.ask(StartRun(name=name, by=by), block=False)
        )
        await self._run_ended(started)
        run = mission_views.run_of(self.store, name, started.run)
        assert run is not None  # it is durable
        return run

    async def _run_ended(self, run: RunStarted) -> None:
        message = AwaitRun(session_id=run.session_id, turn_seq=run.turn_seq)
        while True:
            try:
                await self._registry.ask(message, block=False)
            except ActorDeadError:  # its session broke, and comes back
                if not self._registry.is_alive():
                    raise
            else:
                return

    async def _mission_act(self, act: MissionAct) -> MissionInfo:
        row = cast("MissionRow", await self._actors.scheduler.ask(act, block=False))
        return mission_views.mission_info(self.store, row)


def _place_of(context: SessionContext | None) -> Address | None:
    """The conversation of a turn; None outside of any, and in a mission's run."""
    if context is None or context.mission is not None:
        return None
    return Address(Instance(context.instance), context.chat_id, context.thread_id)
