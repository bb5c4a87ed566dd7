"""The process that :mod:`benchmarks.routing` starts and looks at: it measures its own first turn.

A process of its own, because a restart is what is measured, and because memory says something
only in a heap that has seen nothing else. Prints one JSON object.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import trio

from benchmarks.living import Memory, memory
from benchmarks.load import AnsweringChannel, Said, quiet, running
from turnkeeper.actors.messages import Accepted

__all__ = ["Restarted"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Restarted:
    """How a process came back to a store full of people."""

    since_start_s: float
    """From the start of the process until its first turn is accepted, durably."""
    since_open_s: float
    """The same, from the call of open_runtime."""
    looked_s: float
    """From the call of open_runtime until all sessions have been looked at for open work."""
    at_accept: Memory
    at_rest: Memory
    """After that look, which goes on beside the first turns."""


class FirstTurnChannel(AnsweringChannel):
    """Notes when a turn was accepted, and the memory of the process then."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted_s = 0.0
        self.at_accept = Memory(private_bytes=0, file_bytes=0)

    async def receive(self, text: str, **turn: Any) -> Accepted:
        accepted = await super().receive(text, **turn)
        self.accepted_s, self.at_accept = time.monotonic(), memory()
        return accepted


async def restart(directory: Path, conversation: str, started_s: float) -> Restarted:
    """Open the store and hear one message.

    Args:
        directory: a state directory with a population.
        conversation: one that is bound.
        started_s: the monotonic clock when this process was asked for, in seconds.
    """
    channel = FirstTurnChannel()
    opened_s = time.monotonic()
    async with running(directory, channel) as runtime:
        await channel.say(Said(conversation, f"after-restart-{started_s}"))
        await quiet(runtime)
        return Restarted(
            since_start_s=channel.accepted_s - started_s,
            since_open_s=channel.accepted_s - opened_s,
            looked_s=time.monotonic() - opened_s,
            at_accept=channel.at_accept,
            at_rest=memory(),
        )
    raise AssertionError("a runtime swallows nothing")


def measure_this_process() -> None:
    """Measure, as told: `DIRECTORY CONVERSATION STARTED_S`."""
    directory, conversation, started_s = sys.argv[1:]
    found = trio.run(restart, Path(directory), conversation, float(started_s))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    measure_this_process()
