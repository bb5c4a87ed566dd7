"""`sessions memory`: what an agent keeps of a session, shown or emptied."""

from __future__ import annotations

from typing import Final

from .. import memory
from ..actors.core.weight import bytes_of
from ..actors.deletion import why_unknown
from ..words import counted
from .acting import ask_live
from .base import Command, Exit, Invocation, NoSuchThing, argument
from .output import print_json, print_line, print_rows
from .reading import frozen

__all__ = ["COMMANDS"]

_ONLY_LIVE: Final = "and only one can empty a memory: start `turnkeeper run` first"


def _memory(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id
    if invocation.arguments.clear:
        return _clear(invocation, session_id)
    with frozen(invocation.state_dir) as reads:
        kept = memory.memory(reads, session_id)
        if kept is None:
            why = why_unknown(reads, session_id)
            raise NoSuchThing(f"{why}; `turnkeeper sessions list` shows those there are")
    if invocation.json:
        print_json(kept)
    else:
        print_rows(
            ("KEY", "BYTES", "VALUE"),
            list(kept.items()),
            lambda pair: (pair[0], bytes_of(pair[1]), pair[1]),
            nothing="its agent keeps nothing",
        )
    return Exit.OK


def _clear(invocation: Invocation, session_id: str) -> int:
    emptied = ask_live(invocation, "clear_memory", _ONLY_LIVE, session_id=session_id)
    if invocation.json:
        print_json(emptied)
    elif not (keys := emptied["keys"]):
        print_line(f"the memory of {session_id} was empty")
    else:
        count = counted(keys, "key")
        print_line(f"the memory of {session_id} is empty now: {count} gone; its log stays")
    return Exit.OK


COMMANDS: Final = (
    Command(
        words=("sessions", "memory"),
        summary="show what the agent keeps of a session, or empty it",
        action=_memory,
        arguments=(
            argument("id", metavar="ID", help="the session, e.g. s1"),
            argument("--clear", action="store_true", help="let the agent keep nothing any more"),
        ),
        details="Only a runtime that runs can empty it. What had been kept stays in the raw log, "
        "which `turnkeeper sessions history` shows.",
        examples=(
            "turnkeeper sessions memory s1",
            "turnkeeper sessions memory s1 --json",
            "turnkeeper sessions memory s1 --clear",
        ),
        lists=True,
    ),
)
