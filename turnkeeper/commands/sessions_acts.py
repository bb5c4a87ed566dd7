"""`sessions create` and `sessions clear`: a new session by name, and a context that begins anew."""

from __future__ import annotations

from typing import Final

from ..actors.acts import Act, Create
from ..actors.messages import Cleared, SessionId
from ..config import Config
from ..offline import USUAL_AGENT
from ..offline import clear as clear_at_rest
from .acting import carry_out, carry_out_with
from .base import Command, Exit, Invocation, argument
from .output import print_json, print_line

__all__ = ["COMMANDS"]


def _create(invocation: Invocation) -> int:
    name: str = invocation.arguments.name
    agent: str | None = invocation.arguments.agent

    def at_rest() -> Act:
        return Create(session_id=SessionId(name), agent=agent or USUAL_AGENT, by="operator")

    given = {"session_id": name, "agent": agent}
    created, _ = carry_out(invocation, "create_session", given, at_rest)
    if invocation.json:
        print_json(created)
    else:
        print_line(f"session {created['session_id']} is there; agent {created['agent']} answers")
        print_line(
            "`turnkeeper channels pair` and `turnkeeper bindings move` lead conversations to it"
        )
    return Exit.OK


def _clear(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id

    async def on_the_store(_settings: Config) -> Cleared:
        return await clear_at_rest(invocation.state_dir, session_id)

    cleared, _ = carry_out_with(invocation, "clear", {"session_id": session_id}, on_the_store)
    if invocation.json:
        print_json(cleared)
    else:
        print_line(
            f"the context of {session_id} begins after record {cleared['seq']}; its log stays"
        )
    return Exit.OK


COMMANDS: Final = (
    Command(
        words=("sessions", "create"),
        summary="make a session by name, before anybody talks in it",
        details="It has no conversation yet: pairs and moves lead people there.",
        action=_create,
        arguments=(
            argument("name", metavar="NAME", help="letters, digits, '_', '.' or '-'; 64 at most"),
            argument("--agent", metavar="A", help="who answers in it (default: the main one)"),
        ),
        examples=(
            "turnkeeper sessions create user-jason",
            "turnkeeper sessions create support --agent helper",
        ),
        lists=True,
    ),
    Command(
        words=("sessions", "clear"),
        summary="let the context of a session begin anew; its log stays",
        details="A human does the same with /new in a direct message.",
        action=_clear,
        arguments=(argument("id", metavar="ID", help="the session, e.g. s1"),),
        examples=("turnkeeper sessions clear s1",),
        lists=True,
    ),
)
