"""A gateway whose platform is a journal file, for tests that kill it.

    gateway.py STATE_DIR JOURNAL OPTIONS

Reads what humans write from standard input, one JSON list `[id, conversation, text]` a line, and
hands at most 64 over at once. What the platform comes to know is one JSON list a line, appended to
JOURNAL in one write each, so that a kill loses none and splits none; standard output repeats it:

    starting PID                          signals are heard, and the store is being opened
    up                                    the runtime runs
    heard ID                              a message is handed over
    acked ID TURN_ID DUPLICATE            it is acknowledged
    refused ID ERROR                      it is not
    begun TURN_ID ATTEMPT TEXT            the agent has the turn
    sent DELIVERY_ID CONVERSATION TEXT RESEND    bytes left for the platform
    refusing DELIVERY_ID                  none did
    quiet                                 all input is heard, and nothing is open any more
    stopping                              a signal has been heard

The first word of a text says what the agent does with it, and that of a reply, which repeats it,
what the platform does (see `agent` and `JournalChannel.send`). Both behave once they are healed.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import trio

import turnkeeper as tk
from turnkeeper.serve import serve

_IN_FLIGHT = 64
_SHOWN_CHARS = 40
_REFUSAL_S = 3600.0
"""For so long the platform wants to hear nothing again of a message that it has refused."""
_LOOK_EVERY_S = 0.005


class Journal:
    """What the platform knows, whatever happens to this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def write(self, *entry: object) -> None:
        line = json.dumps(entry).encode() + b"\n"
        os.write(self._file, line)
        os.write(1, line)


class JournalChannel(tk.Channel):
    """Hears standard input and speaks into the journal."""

    platform = "journal"

    def __init__(self, journal: Journal, powers: tk.ChannelPowers, *, healed: bool) -> None:
        super().__init__("j")
        self.powers = powers
        self._journal = journal
        self._healed = healed
        self.in_flight = 0
        self.all_heard = False

    async def run(self, deliver: tk.Deliver) -> None:
        room = trio.Semaphore(_IN_FLIGHT)
        async with trio.open_nursery() as nursery:
            async for line in _lines(trio.lowlevel.FdStream(os.dup(0))):
                await room.acquire()
                self.in_flight += 1
                await nursery.start(self._hand_over, deliver, room, json.loads(line))
            self.all_heard = True
            await trio.sleep_forever()

    async def _hand_over(
        self,
        deliver: tk.Deliver,
        room: trio.Semaphore,
        message: list[str],
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        message_id, conversation, text = message
        turn = tk.InboundTurn(
            address=tk.Address(instance=self.name, conversation=conversation),
            platform=self.platform,
            message_id=message_id,
            user_id=conversation.partition("/")[0],
            text=text,
        )
        task_status.started()
        try:
            self._journal.write("heard", message_id)
            accepted = await deliver(turn)
        except tk.TurnRefused as error:
            self._journal.write("refused", message_id, type(error).__name__)
        else:
            self._journal.write("acked", message_id, accepted.turn_id, accepted.duplicate)
        finally:
            self.in_flight -= 1
            room.release()

    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        """Show a message; until the platform has healed, fail as its first word says."""
        fault = "" if self._healed else outbound.text.partition(" ")[0]
        if fault == "refuse":
            self._journal.write("refusing", outbound.delivery_id)
            raise tk.Unreachable("connection refused", retry_after_s=_REFUSAL_S)
        if fault == "lose":
            self._sent(outbound)
            raise tk.LostAnswer("timed out while waiting for the answer")
        self._sent(outbound)
        if fault == "stall":
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return tk.Receipt(platform_message_id=f"p-{outbound.delivery_id}")

    def _sent(self, outbound: tk.Outbound) -> None:
        place = outbound.address.conversation
        self._journal.write(
            "sent", outbound.delivery_id, place, outbound.text[:_SHOWN_CHARS], outbound.resend
        )


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in stream:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


async def agent(journal: Journal, healed: bool, stopping: trio.Event, turn: tk.Turn) -> str:
    """Repeat the text; but `die` kills the process, `hang` never ends, and `fail` raises, when it
    has told the process to stop.

    `linger` ends when the process has been told to stop.

    `hang-1` ends from the second attempt on, and so on.
    """
    journal.write("begun", turn.id, turn.attempt, turn.text[:_SHOWN_CHARS])
    word, _, times = turn.text.partition(" ")[0].partition("-")
    if not healed and turn.attempt <= int(times or 99):
        match word:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(0)
            case "hang":
                await trio.sleep_forever()
            case "linger":
                await stopping.wait()
            case "fail":
                os.kill(os.getpid(), signal.SIGTERM)
                raise RuntimeError("told to fail")
            case _:
                pass
    await trio.lowlevel.checkpoint()
    return turn.text


async def _tell_when_quiet(runtime: tk.Runtime, channel: JournalChannel, journal: Journal) -> None:
    while True:
        if channel.all_heard and not channel.in_flight:
            sessions = await runtime.sessions()
            if not any(one.open_turns or one.open_deliveries for one in sessions):
                journal.write("quiet")
                return
        await trio.sleep(_LOOK_EVERY_S)


async def main(state_dir: str, journal_path: str, options: dict[str, Any]) -> None:
    """Run until told to stop."""
    journal = Journal(Path(journal_path))
    powers = tk.ChannelPowers(after_unknown=options.get("after_unknown", "never"))
    healed, stopping = options.get("healed", False), trio.Event()
    channel = JournalChannel(journal, powers, healed=healed)
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        journal.write("starting", os.getpid())
        async with tk.open_runtime(
            state_dir,
            agent=functools.partial(agent, journal, healed, stopping),
            channels=[channel],
            config=options.get("config"),
            seed=options.get("seed"),
        ) as runtime:
            journal.write("up")
            runtime.start_soon(_tell_when_quiet, runtime, channel, journal)
            await serve(runtime, signals)
            journal.write("stopping")
            stopping.set()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    try:
        trio.run(main, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
    except tk.StorageError as error:
        sys.exit(f"cannot start: {error}")
    except tk.RuntimeFailed as error:
        sys.exit(f"stopped: {error}")
