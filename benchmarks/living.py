"""The processes that :mod:`benchmarks.sessions` starts and looks at: each measures itself.

A process of its own, because a restart is what is measured, and because memory says something
only in a heap that has seen nothing else. Prints one JSON object.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks.load import AnsweringChannel, Said, conversing, quiet, running, say_all
from turnkeeper import views

__all__ = ["Living", "Memory", "Restarted", "memory"]

_IN_FLIGHT: Final = 256
_WARM_TURNS: Final = 2_000
_PAGE: Final = 50
"""Sessions that a terminal is shown at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Memory that only this process has."""

    private_bytes: int
    file_bytes: int
    """The part of it that is pages of the data file: the system takes them back when it likes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Restarted:
    """How a process came back to a store full of sessions."""

    reply_since_start_s: float
    """From the start of the process to the first reply sent."""
    reply_since_open_s: float
    """From the call of open_runtime to the first reply sent."""
    at_reply: Memory
    at_rest: Memory
    """After the look for open work, which goes on beside the first turns."""
    page_s: float
    """What the first page of the list takes."""
    list_s: float
    """What all of it takes."""
    listed: int
    after_list: Memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Living:
    """What idle sessions take while they are in memory."""

    sessions: int
    empty: Memory
    """The same process before: warmed up by one session."""
    full: Memory


def memory() -> Memory:
    """What /proc says about this process."""
    private_kb = file_kb = 0
    of_file = False
    with open("/proc/self/smaps", encoding="utf-8") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("Private_Clean", "Private_Dirty"):
                size_kb = int(value.split()[0])
                private_kb += size_kb
                file_kb += size_kb * of_file
            elif "-" in name.split(" ", 1)[0]:  # "7f00-7f01 rw-s 00000000 fd:00 42 /path"
                of_file = line.rstrip().endswith("data.mdb")
    return Memory(private_bytes=private_kb * 1024, file_bytes=file_kb * 1024)


async def restart(directory: Path, conversation: str, started_s: float) -> Restarted:
    """Open the store, answer one message in `conversation`, then list all sessions.

    Args:
        directory: a state directory with a past.
        conversation: one that has a session.
        started_s: the monotonic clock when this process was asked for, in seconds.
    """
    channel = AnsweringChannel()
    opened_s = time.monotonic()
    async with running(directory, channel) as runtime:
        await channel.say(Said(conversation, "after the restart"))
        replied_s = time.monotonic()
        at_reply = memory()
        await quiet(runtime)
        at_rest = memory()
        with runtime.store.snapshot() as reads:
            began_s = time.monotonic()
            views.newest_sessions(reads, limit=_PAGE)
            page_s = time.monotonic() - began_s
            began_s = time.monotonic()
            listed = views.sessions(reads)
            list_s = time.monotonic() - began_s
        return Restarted(
            reply_since_start_s=replied_s - started_s,
            reply_since_open_s=replied_s - opened_s,
            at_reply=at_reply,
            at_rest=at_rest,
            page_s=page_s,
            list_s=list_s,
            listed=len(listed),
            after_list=memory(),
        )
    raise AssertionError("a runtime swallows nothing")


async def live(directory: Path, sessions: int) -> Living:
    """Have one turn in each of `sessions` conversations, and let them rest."""
    channel = AnsweringChannel()
    async with running(directory, channel) as runtime:
        one = (Said("warm", f"warm-{number}") for number in range(_WARM_TURNS))
        await say_all(channel, one, _IN_FLIGHT)
        await quiet(runtime)
        gc.collect()
        empty = memory()
        await say_all(channel, conversing(sessions, 1), _IN_FLIGHT)
        await quiet(runtime)
        gc.collect()
        return Living(sessions=sessions, empty=empty, full=memory())
    raise AssertionError("a runtime swallows nothing")


def measure_this_process() -> None:
    """Measure, as told: `restart DIRECTORY CONVERSATION STARTED_S` or `live DIRECTORY N`."""
    measured: Any
    match sys.argv[1:]:
        case ["restart", directory, conversation, started_s]:
            measured = trio.run(restart, Path(directory), conversation, float(started_s))
        case ["live", directory, sessions]:
            measured = trio.run(live, Path(directory), int(sessions))
        case given:
            sys.exit(f"started by benchmarks.sessions; it knows no {given}")
    print(json.dumps(asdict(measured)))


if __name__ == "__main__":
    measure_this_process()
