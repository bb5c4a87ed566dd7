"""A gateway whose agent answers with files, for tests that kill it.

    files.py STATE_DIR JOURNAL OPTIONS

OPTIONS is a JSON object: `seed` of everything that is left to chance, `numbers` of messages, and
`work`: once nothing is open any more the program ends with `end`, and with `run` goes on until it
is killed. One JSON list a line is appended to JOURNAL in one write each, so that a kill loses none
and splits none; standard output repeats it:

    up                                    the runtime runs
    accepted NUMBER                       a human's message is durable
    arrived PART_ID WHAT                  a human sees a text, or the SHA-256 of a file
    quiet                                 nothing is open any more
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from hashlib import sha256
from random import Random
from typing import Any

import trio

import turnkeeper as tk
from turnkeeper.testing import LoopbackChannel

_LOOK_EVERY_S = 0.005
_HUMANS = 5


class Journal:
    """What the world outside knows, whatever happens to this process."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *entry: object) -> None:
        line = json.dumps(entry).encode() + b"\n"
        os.write(self._file, line)
        os.write(1, line)


class Wire(LoopbackChannel):
    """A platform that outlives the process, and recognises what it has."""

    def __init__(self, journal: Journal, rng: Random) -> None:
        super().__init__("tg", powers=tk.ChannelPowers(files=True, after_unknown="same_id"))
        self._journal = journal
        self._rng = rng

    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        """Show a text, or a file."""
        await trio.sleep(self._rng.choice((0, 0, 0.002)))
        what = outbound.text
        if outbound.file is not None:
            what = sha256(await outbound.file.read()).hexdigest()
        self._journal.write("arrived", outbound.part_id, what)
        await trio.sleep(self._rng.choice((0, 0, 0.002)))
        return tk.Receipt(platform_message_id=f"p-{outbound.part_id}")


async def agent(rng: Random, turn: tk.Turn) -> tk.Reply:
    """Answer with what was said, and two files that hold it, one of which everybody gets."""
    await trio.sleep(rng.choice((0, 0, 0.005)))
    own = await turn.keep_file(turn.text.encode() * 10_000, name=f"{turn.text}.txt")
    shared = await turn.keep_file(b"for everybody")
    return tk.Reply(text=turn.text, attachments=(own, shared))


async def main(state_dir: str, journal_path: str, options: dict[str, Any]) -> None:
    """Run until killed or, if that is the work, until nothing is open any more."""
    journal, rng = Journal(journal_path), Random(options["seed"])
    wire = Wire(journal, rng)
    async with tk.open_runtime(
        state_dir, agent=functools.partial(agent, rng), channels=[wire]
    ) as runtime:
        journal.write("up")
        for number in options["numbers"]:
            human = f"u{number % _HUMANS}"
            await wire.receive(
                f"m{number}", message_id=f"m{number}", conversation=human, user_id=human
            )
            journal.write("accepted", number)
        while True:
            sessions = await runtime.sessions()
            if not any(one.open_turns or one.open_deliveries for one in sessions):
                break
            await trio.sleep(_LOOK_EVERY_S)
        journal.write("quiet")
        if options["work"] == "run":
            await trio.sleep_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    trio.run(main, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
