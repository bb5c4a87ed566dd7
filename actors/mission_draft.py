"""Drafts of missions: what is asked for, checked against what there is."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from .addressing import goes_on_in
from .core.head import Head
from .core.mission_definition import Definition, MissionRefused, define, session_of_mission
from .core.ownership_records import OpenedRecord
from .core.routing import check_session_name, is_numbered
from .erased import load_erased
from .journal import find_session, load_record, load_session_number
from .ledger import StoreWorld
from .messages import Address, Instance
from .mission_rows import load_mission, mission_key
from .missions import AddMission
from .services import Services

__all__ = ["Drafter", "opened_by"]

_MAIN: Final = "main"
"""Who answers where nobody is named."""


def opened_by(services: Services, session_id: str) -> tuple[Head, str] | None:
    """The head of a session, and what opened it; None if there is none of this name."""
    found = find_session(services.store, session_id)
    if found is None:
        return None
    stream, head = found
    opening = load_record(services.store, stream, 1)
    return head, opening.by if isinstance(opening, OpenedRecord) else ""


class Drafter:
    """Makes definitions of what is asked for. Reads only."""

    def __init__(self, services: Services, agents: Collection[str] | None) -> None:
        self._services = services
        self._agents = agents

    def __repr__(self) -> str:
        return f"<Drafter agents={sorted(self._agents) if self._agents is not None else None}>"

    def definition(self, message: AddMission, before: Definition | None) -> Definition:
        """The mission that is asked for, checked against what there is.

        Raises:
            MissionRefused: it makes no sense; the text says why.
        """
        if message.session is not None and message.notify is not None:
            raise MissionRefused(
                "a mission in a session of somebody else speaks where that session does; give it "
                "`notify` or a session, not both",
                "notify",
            )
        for field, instance in (("notify", message.notify), ("on_failure", message.on_failure)):
            rules = self._services.rules
            if instance is not None and Instance(instance) not in rules:
                known = ", ".join(sorted(rules)) or "none"
                raise MissionRefused(
                    f"there is no channel {instance!r} for {field}; there is: {known}", field
                )
        session_id = message.session or session_of_mission(message.name)
        maker, asked_at = self._maker(message)
        return define(
            name=message.name,
            schedule=message.schedule,
            zone=message.zone,
            prompt=message.prompt,
            agent=self._agent(message, session_id, maker),
            session_id=session_id,
            notify=message.notify,
            on_behalf_of=maker,
            asked_at=asked_at,
            missed=message.missed,
            overlap=message.overlap,
            jitter_s=message.jitter_s,
            on_failure=message.on_failure,
            by=message.by,
            now_us=self._services.now_us(),
            before=before,
        )

    def _maker(self, message: AddMission) -> tuple[str | None, Address | None]:
        """The session on whose behalf a mission is made, and where, if it is made in a turn."""
        if message.asked_by is None:
            return message.asked_in, message.asked_at
        parent = load_mission(self._services.store, mission_key(message.asked_by))
        if parent is None:
            raise MissionRefused(
                f"the mission {message.asked_by!r} that asks for it has been removed: nobody knows "
                "any more on whose behalf it would be"
            )
        definition = parent.definition
        asker = definition.asker
        if asker is not None:
            return asker
        is_its_own = definition.session_id == session_of_mission(definition.name)
        return (None if is_its_own else message.asked_in), None

    def _check_own(self, session_id: str, maker: str | None) -> None:
        """Refuse what would let one human's turn look into another's session."""
        store = self._services.store
        if maker is None or goes_on_in(store, session_id) == goes_on_in(store, maker):
            return
        stream = load_session_number(store, session_id)
        owned = StoreWorld(store, 0).places_of_session(stream) if stream is not None else iter(())
        if next(owned, None) is not None:
            raise MissionRefused(
                f"{session_id!r} is the session of somebody else: a mission that is asked for in a "
                "conversation runs in that one's session, or in one of its own",
                "session",
            )

    def _agent(self, message: AddMission, session_id: str, maker: str | None) -> str:
        """Who is given the prompt: somebody there is, and who may speak in the session."""
        if load_erased(self._services.store, session_id) is not None:
            raise MissionRefused(
                f"the session {session_id!r} was deleted, and its id is never used again; call the "
                "mission something else, or say in which session it is to run",
                "name" if message.session is None else "session",
            )
        found = opened_by(self._services, session_id)
        agent = message.agent
        if message.session is not None:
            self._check_named(session_id, exists=found is not None)
            self._check_own(session_id, maker)
            agent = agent or (found[0].agent if found is not None else None)
        elif found is not None and found[1] != f"mission {message.name}":
            raise MissionRefused(
                f"there is a session {session_id!r} already, which is not this mission's; call the "
                "mission something else, or say in which session it is to run",
                "name",
            )
        agent = agent or self._usual_agent(message, maker)
        if self._agents is not None and agent not in self._agents:
            known = ", ".join(sorted(self._agents))
            raise MissionRefused(f"there is no agent {agent!r}; there is: {known}", "agent")
        if found is not None and found[0].agent != agent:
            raise MissionRefused(
                f"the session {session_id!r} is one of the agent {found[0].agent!r}, not of "
                f"{agent!r}; call the mission something else, or say in which session it is to run",
                "agent",
            )
        return agent

    def _usual_agent(self, message: AddMission, maker: str | None) -> str:
        if maker is not None and (found := opened_by(self._services, maker)) is not None:
            return found[0].agent
        if message.notify is not None:
            return self._services.rules[Instance(message.notify)].agent
        if self._agents is not None and len(self._agents) == 1:
            return next(iter(self._agents))
        return _MAIN

    def _check_named(self, session_id: str, *, exists: bool) -> None:
        if exists:
            return
        try:
            check_session_name(session_id)
        except ValueError as error:
            raise MissionRefused(str(error), "session") from error
        if is_numbered(session_id):
            raise MissionRefused(
                f"there is no session {session_id!r}, and the runtime itself gives such names; "
                "choose another one",
                "session",
            )
