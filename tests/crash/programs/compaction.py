"""A gateway whose contexts become full, and which dies at a step of a compaction.

    compaction.py STATE_DIR JOURNAL OPTIONS

As `gateway.py`, whose platform and agent it has. Besides, OPTIONS may hold

    die_at     `measure`: before the tokens of a full context are counted
               `ask`: as the summariser is asked
               `write`: in the middle of the summariser's work
               `hand over`: as the finished summary reaches its session, which has not stored it
               `stored`: when it is durable, and nobody has been told
    summary    by its number, the one with which the process dies; 1 is the first of this process

and the journal has these lines more:

    window TURN_ID KIND:SEQ…       what the agent was given for a turn
    asked NUMBER KIND:SEQ…         what the summariser was given
    dying STEP
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import trio

import turnkeeper as tk
from turnkeeper.actors.compacting import Compacting
from turnkeeper.actors.core.compaction import SummaryRequest
from turnkeeper.actors.gate import OutputGate
from turnkeeper.actors.session import SessionActor
from turnkeeper.serve import serve

gateway: Any = import_module("gateway")
"""The program beside this one, whose folder is the first on the path."""


class Death:
    """Ends the process at its step."""

    def __init__(self, journal: Any, options: dict[str, Any]) -> None:
        self._journal = journal
        self._step = options.get("die_at")
        self._left = options.get("summary", 1)

    def at(self, step: str) -> None:
        """Die here, if it is the step, and the summary with which to die."""
        if step != self._step:
            return
        self._left -= 1
        if self._left == 0:
            self._journal.write("dying", step)
            os.kill(os.getpid(), signal.SIGKILL)


class Counter:
    """Four letters are a token."""

    name = "letters"
    exact = True

    def __init__(self, death: Death) -> None:
        self._death = death

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text; a summary is counted by itself."""
        await trio.lowlevel.checkpoint()
        sizes = [-(-len(text) // 4) for text in texts]
        if len(texts) > 1:
            self._death.at("measure")
        return sizes


async def summarise(journal: Any, death: Death, numbers: list[int], request: SummaryRequest) -> str:
    """Repeat the first word of everything, and of every line of an earlier summary."""
    numbers.append(len(numbers) + 1)
    journal.write("asked", numbers[-1], *(f"{m.kind}:{m.seq}" for m in request.messages))
    death.at("ask")
    await trio.sleep(0.002)
    death.at("write")
    return f"summary of {len(request.messages)} messages"


async def agent(journal: Any, turn: tk.Turn) -> str:
    """Say what was said, shorter."""
    journal.write("window", turn.id, *(f"{m.kind}:{m.seq}" for m in turn.messages))
    await trio.lowlevel.checkpoint()
    return turn.text[:40]


def _watch(death: Death) -> None:
    """Die where no program of an embedder's could."""
    made, told = vars(Compacting)["_summary_made"], vars(OutputGate)["_answer_summarised"]

    def summary_made(self: Any, message: Any) -> None:
        death.at("hand over")
        made(self, message)

    def answer_summarised(self: Any, effect: Any, answer: Any) -> None:
        death.at("stored")
        told(self, effect, answer)

    handlers: Any = vars(SessionActor)["_HANDLERS"]
    handlers.update({kind: summary_made for kind, do in handlers.items() if do is made})
    effects: Any = vars(OutputGate)["_EFFECTS"]
    effects.update({kind: answer_summarised for kind, do in effects.items() if do is told})


async def main(state_dir: str, journal_path: str, options: dict[str, Any]) -> None:
    """Run until told to stop, or until the death that is wanted."""
    journal = gateway.Journal(Path(journal_path))
    death = Death(journal, options)
    _watch(death)
    channel = gateway.JournalChannel(journal, tk.ChannelPowers(), healed=True)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        journal.write("starting", os.getpid())
        async with tk.open_runtime(
            state_dir,
            agent=functools.partial(agent, journal),
            channels=[channel],
            config={"session": {"max_context_tokens": 1_000}},
            summariser=functools.partial(summarise, journal, death, []),
            token_counter=Counter(death),
        ) as runtime:
            journal.write("up")
            runtime.start_soon(gateway._tell_when_quiet, runtime, channel, journal)
            await serve(runtime, signals)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    trio.run(main, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
