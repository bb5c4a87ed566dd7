"""`sessions compact`: the older part of a context is summarised now."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from .. import offline_compaction
from ..actors.core.compaction import Compacted
from ..config import Config
from ..words import counted
from .acting import carry_out_with
from .base import Command, CommandError, Exit, Invocation, argument
from .output import print_json, print_line

__all__ = ["COMMANDS"]

_PATIENCE_S: Final = 86_400.0
"""Longer than any summariser takes, however often it may try."""
_QUIET_S: Final = 1.0
"""How long nothing is said of what goes on."""
_PROGRESS_S: Final = 0.5
"""Seconds between two signs of life on a terminal."""
_DONE: Final = frozenset({"compacted", "nothing", "too_short"})


def _compact(invocation: Invocation) -> int:
    session_id: str = invocation.arguments.id

    async def on_the_store(settings: Config) -> Compacted:
        given = settings if invocation.config is not None else None
        return await offline_compaction.compact(invocation.state_dir, session_id, given)

    given = {"session_id": session_id}
    try:
        with _signs_of_life(session_id):
            done, _ = carry_out_with(
                invocation, "compact", given, on_the_store, timeout_s=_PATIENCE_S
            )
    except KeyboardInterrupt:
        sys.stderr.write(
            f"\nwhere a runtime summarises {session_id}, it goes on; "
            f"`turnkeeper sessions info {session_id}` tells of the summary\n"
        )
        raise
    if invocation.json:
        print_json(done)
    elif done["status"] not in _DONE:
        raise CommandError(_not_done(done))
    else:
        for line in _lines(done):
            print_line(line)
    return Exit.OK if done["status"] in _DONE else Exit.FAILED


def _lines(done: dict[str, Any]) -> list[str]:
    """What came of it."""
    session_id, before = done["session_id"], done["tokens_before"]
    match done["status"]:
        case "compacted":
            what = f"{counted(done['messages'], 'message')} summarised"
            size = f"{before:,} → {done['tokens_after']:,} tokens"
            lines = [f"{session_id}: {what}, {size} (record {session_id}/{done['seq']})"]
            if done["fault"] is not None:
                lines.append(f"  the built-in summary stands: {done['fault']}")
            return lines
        case _ if not before:
            return [f"{session_id}: nothing summarised, nothing has been said in its context yet"]
        case "too_short":
            why = "a summary would be as long as what it stands for"
        case _:
            why = "there is nothing older than what stays as it is"
    return [f"{session_id}: nothing summarised, {why}; its context has {before:,} tokens"]


def _not_done(done: dict[str, Any]) -> str:
    session_id = done["session_id"]
    if done["status"] == "changed":
        return (
            f"{session_id} was not summarised: its context became another one meanwhile, again and "
            "again; try it once more"
        )
    return f"{session_id} was not summarised: {done['fault']}"


@contextmanager
def _signs_of_life(session_id: str) -> Generator[None]:
    """Tell on a terminal what goes on, and for how long, if it takes a while."""
    if not sys.stderr.isatty():
        yield
        return
    over = threading.Event()
    shower = threading.Thread(target=_show, args=(session_id, over), daemon=True)
    shower.start()
    try:
        yield
    finally:
        over.set()
        shower.join()


def _show(session_id: str, over: threading.Event) -> None:
    began = time.monotonic()
    if over.wait(_QUIET_S):
        return
    shown = False
    while not shown or not over.wait(_PROGRESS_S):
        seconds = time.monotonic() - began
        sys.stderr.write(f"\rsummarising {session_id} … {seconds:.0f} s")
        sys.stderr.flush()
        shown = True
    sys.stderr.write("\r\x1b[K")
    sys.stderr.flush()


COMMANDS: Final = (
    Command(
        words=("sessions", "compact"),
        summary="summarise the older part of a session's context now; its log stays",
        details=(
            "It happens by itself before the window is full. A human does the same with /compact "
            "in a direct message. Where no runtime runs, the configuration that is given here says "
            "how; without one, the window is that of the newest runtime. A summariser that a "
            "program passes in code is only known to that program."
        ),
        action=_compact,
        arguments=(argument("id", metavar="ID", help="the session, e.g. s1"),),
        examples=(
            "turnkeeper sessions compact s1",
            "turnkeeper sessions compact s1 --json",
        ),
        lists=True,
    ),
)
