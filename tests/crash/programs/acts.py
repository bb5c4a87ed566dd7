"""A gateway whose humans write while somebody decides who they are, for tests that kill it.

    acts.py STATE_DIR SEED BUSY

While it is BUSY (`yes` or `no`), humans write on two channels, and links, pairs, moves and their
undoing are asked for, all at once and by chance. Else it ends when nothing is open any more.
Standard output has one JSON list a line:

    acked MESSAGE_ID          a message is acknowledged; its id is also its text
    done NUMBER TEXT          an act is answered: where it stands in the ledger, and what was done
    quiet                     nothing is open any more
"""

from __future__ import annotations

import json
import logging
import os
import sys
from random import Random

import trio

import turnkeeper as tk
from turnkeeper.testing import LoopbackChannel

_USERS = ("alice", "tg:0", "dc:1", "dc:2")
_LOOK_EVERY_S = 0.005


def _tell(*entry: object) -> None:
    os.write(1, json.dumps(entry).encode() + b"\n")


async def agent(turn: tk.Turn) -> str:
    """Repeat what was said."""
    await trio.lowlevel.checkpoint()
    return turn.text


async def _write(rng: Random, life: str, channels: list[LoopbackChannel]) -> None:
    for number in range(1_000_000):
        channel, user_id = rng.choice(channels), str(rng.randrange(4))
        conversation, text = f"{user_id}/{rng.randrange(2)}", f"{life}-{number}"
        await channel.receive(text, conversation=conversation, user_id=user_id, message_id=text)
        _tell("acked", text)


async def _decide(rng: Random, runtime: tk.Runtime) -> None:
    while True:
        platform, user_id = rng.choice(("tg", "dc")), str(rng.randrange(4))
        try:
            match rng.randrange(6):
                case 0 | 1:
                    change = await runtime.link(platform, user_id, rng.choice(_USERS))
                case 2:
                    change = await runtime.unlink(platform, user_id)
                case 3:
                    change = await runtime.pair(platform, user_id, "family")
                case 4:
                    change = await runtime.move_binding(platform, f"{user_id}/0")
                case _:
                    change = await runtime.undo()
        except tk.ActRefused:
            await trio.lowlevel.checkpoint()
        else:
            _tell("done", change.number, change.text)


async def _quiet(runtime: tk.Runtime) -> None:
    while True:
        if not any(one.open_turns or one.open_deliveries for one in await runtime.sessions()):
            return
        await trio.sleep(_LOOK_EVERY_S)


async def main(state_dir: str, seed: str, busy: str) -> None:
    """Run until killed, or until nothing is open any more."""
    rng = Random(seed)
    channels = [LoopbackChannel(name, platform=name) for name in ("tg", "dc")]
    async with tk.open_runtime(state_dir, agent=agent, channels=channels) as runtime:
        if busy == "yes":
            for human in range(4):
                runtime.start_soon(_write, rng, f"{seed}-{human}", channels)
            runtime.start_soon(_decide, rng, runtime)
            await trio.sleep_forever()
        await _quiet(runtime)
        _tell("quiet")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3])
