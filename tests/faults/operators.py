"""The program and the operator of a fault run: what is asked of a runtime without any human."""

from __future__ import annotations

from typing import TypeAlias

from turnkeeper.actors.messages import Address

from .events import (
    AddMission,
    Aim,
    Clear,
    Link,
    Mirror,
    Move,
    Pair,
    Retry,
    RunMission,
    Say,
    Undo,
    Unlink,
    Unpair,
)
from .humans import Humans
from .people import MISSIONS, show

__all__ = ["Operators"]

_Act: TypeAlias = Link | Unlink | Pair | Unpair | Move | Undo


class Operators(Humans):
    """Sends, mirrors, clears, links, moves and retries."""

    def program(self, event: Say | Mirror | Clear | Aim) -> None:
        """The program asks something of a session."""
        session_id = self.session(event.session)
        if session_id is None:
            return
        match event:
            case Say():
                self._request_send(event, session_id)
            case Mirror(number=number):
                self.request(f"mirror {number}", self._mirror, session_id, f"seen {number}")
            case Clear(number=number):
                self.request(f"clear {number} of {session_id}", self._clear, session_id)
            case Aim(number=number, instance=instance):
                self.auditor.aimed.add(session_id)
                self.request(f"aim {number} of {session_id}", self._aim, session_id, instance)

    def _request_send(self, event: Say, session_id: str) -> None:
        text = f"p{event.number} by {session_id}"
        if event.to is not None:
            text = f"p{event.number} to {show(event.to)}"
        elif event.user is not None:
            text = f"p{event.number} for {event.user}"
        what = f"p{event.number} in {session_id}"
        self.request(what, self._say, session_id, text, event.to, event.user)

    async def _say(
        self, session_id: str, text: str, to: Address | None, user: str | None
    ) -> object:
        self.auditor.owners.asks(text)
        return await self.runtime.send_message(session_id, text, to, user=user)

    async def _mirror(self, session_id: str, text: str) -> object:
        mirrored = await self.runtime.mirror_to_session(session_id, text, source="web")
        return f"{mirrored.status} {mirrored.session_id}/{mirrored.seq}"

    async def _clear(self, session_id: str) -> object:
        return await self.runtime.clear(session_id)

    async def _aim(self, session_id: str, instance: str) -> object:
        return await self.runtime.set_active_channel_to_default(session_id, instance)

    def act(self, event: _Act) -> None:
        """The operator changes who is who, or what belongs to whom."""
        self.request(str(event), self._act, event)

    async def _act(self, event: _Act) -> object:
        runtime = self.runtime
        match event:
            case Link(who=who, user=user):
                change = await runtime.link(*who, user)
            case Unlink(who=who):
                change = await runtime.unlink(*who)
            case Pair(who=who, session_id=session_id):
                change = await runtime.pair(*who, session_id)
            case Unpair(who=who):
                change = await runtime.unpair(*who)
            case Move(place=place, session=pick):
                target = self.session(pick) if pick is not None else None
                change = await runtime.move_binding(*place, session_id=target)
            case Undo():
                change = await runtime.undo()
        return change.text

    def plan(self, event: AddMission | RunMission) -> None:
        """The operator adds a mission, or asks something of one."""
        self.request(str(event), self._plan, event)

    async def _plan(self, event: AddMission | RunMission) -> object:
        runtime = self.runtime
        match event:
            case AddMission():
                schedule, prompt = f"every {event.every_s}s", f"run: {event.behaviour}"
                notify = event.notify
                await runtime.add_mission(event.name, schedule, prompt, notify, replace=True)
            case RunMission(act="run"):
                run = await runtime.run_mission(event.name)
                for outcome in run.outcomes:
                    self.auditor.answered(outcome)
                return f"{run.turn_id} {run.status} ({run.error})"
            case RunMission(act="pause"):
                await runtime.pause_mission(event.name)
            case RunMission():
                await runtime.resume_mission(event.name)
        return "done"

    def end_missions(self) -> None:
        """Nothing is planned any more."""
        for name in MISSIONS:
            self.request(f"the end of {name}", self._remove, name)

    async def _remove(self, name: str) -> object:
        return await self.runtime.remove_mission(name)

    def retry(self, event: Retry) -> None:
        """The operator opens a delivery again."""
        known = list(self.auditor.deliveries.known.values())
        if not event.any_delivery:
            known = [one for one in known if one.status in ("failed", "unknown")]
        if known:
            delivery = known[event.pick % len(known)]
            what = f"retry {event.number} of {delivery.id}"
            what += " marked" if event.mark_duplicate else ""
            self.request(what, self._open_again, delivery.id, event.mark_duplicate)

    async def _open_again(self, delivery_id: str, mark: bool) -> object:
        return await self.runtime.retry_delivery(delivery_id, mark_duplicate=mark)
