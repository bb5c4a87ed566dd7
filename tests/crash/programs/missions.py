"""A gateway whose missions run all the time, for tests that kill it.

    missions.py STATE_DIR JOURNAL OPTIONS

OPTIONS is a JSON object: `seed` of everything that is left to chance, and `work`. With `run`, each
mission runs every second, and somebody asks for further runs all the while. With `end` they are
paused, and the program ends once nothing is open any more. One JSON list a line is appended to
JOURNAL in one write each, so that a kill loses none and splits none; standard output repeats it:

    up                                    the runtime runs
    begun TURN_ID MISSION ATTEMPT         the agent has a run
    arrived DELIVERY_ID                   a reader can see a message
    ran TURN_ID MISSION RUN STATUS        somebody was told what became of a run
    quiet                                 nothing is open any more
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from random import Random
from typing import Any

import trio

import turnkeeper as tk
from turnkeeper.testing import LoopbackChannel

_MISSIONS = [f"m{number}" for number in range(12)]
_ASKING = 3
_LOOK_EVERY_S = 0.005


class Journal:
    """What the world outside knows, whatever happens to this process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *entry: object) -> None:
        line = json.dumps(entry).encode() + b"\n"
        os.write(self._file, line)
        os.write(1, line)


class Wire(LoopbackChannel):
    """A platform that outlives the process."""

    def __init__(self, journal: Journal) -> None:
        super().__init__("tg")
        self._journal = journal

    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        """Show a message."""
        self._journal.write("arrived", outbound.delivery_id)
        await trio.lowlevel.checkpoint()
        return tk.Receipt(platform_message_id=f"p-{outbound.delivery_id}")


async def agent(journal: Journal, rng: Random, turn: tk.Turn) -> str | None:
    """Answer, or not, at once or after a while; now and then say something meanwhile."""
    if turn.mission is None:
        return turn.text
    journal.write("begun", turn.id, turn.mission, turn.attempt)
    await trio.sleep(rng.choice((0, 0.005, 0.05)))
    if rng.random() < 0.3:
        await turn.send_message(f"meanwhile {turn.id}")
    return None if rng.random() < 0.3 else f"done {turn.id}"


async def _ask(journal: Journal, rng: Random, runtime: tk.Runtime) -> None:
    while True:
        run = await runtime.run_mission(rng.choice(_MISSIONS))
        journal.write("ran", run.turn_id, run.mission, run.run, run.status)
        await trio.sleep(rng.choice((0, 0.02)))


async def main(state_dir: str, journal_path: str, options: dict[str, Any]) -> None:
    """Run until killed, or until nothing is open any more."""
    journal, rng = Journal(journal_path), Random(options["seed"])
    wire = Wire(journal)
    async with tk.open_runtime(
        state_dir, agent=functools.partial(agent, journal, rng), channels=[wire]
    ) as runtime:
        await wire.receive("hi", message_id=f"hi {options['seed']}")
        for name in _MISSIONS:
            await runtime.add_mission(name, "every 1s", f"do {name}", notify="tg", replace=True)
        journal.write("up")
        if options["work"] == "run":
            for _ in range(_ASKING):
                runtime.start_soon(_ask, journal, rng, runtime)
            await trio.sleep_forever()
        for name in _MISSIONS:
            await runtime.pause_mission(name)
        while True:
            sessions = await runtime.sessions()
            if not any(one.open_turns or one.open_deliveries for one in sessions):
                break
            await trio.sleep(_LOOK_EVERY_S)
        journal.write("quiet")


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    trio.run(main, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
