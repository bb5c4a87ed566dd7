"""A gateway whose sessions speak in each other's conversations, for tests that kill it.

    notes.py STATE_DIR JOURNAL OPTIONS

OPTIONS is a JSON object:

    work     `talk`: humans write, sessions speak in conversations of others, and somebody clears,
             mirrors, retries and moves all the while. `mirror`: mirrors alone. `end`: a human
             writes in every conversation, and the program ends once nothing is open any more.
    seed     of everything that is left to chance
    die_at   which arrival kills the process at once; none by default
    padding  characters that every text is made longer by

What the platforms come to know, and what callers are told, is one JSON list a line, appended to
JOURNAL in one write each, so that a kill loses none and splits none; standard output repeats it:

    up                                                  the runtime runs
    acked MESSAGE_ID                                    a turn is acknowledged
    arrived INSTANCE PLACE DELIVERY_ID MESSAGE_ID RESEND TEXT    a reader can see a message
    recognised DELIVERY_ID RESEND                       what has arrived came again, to no effect
    answered TEXT STATUS DELIVERY_ID NOTED_IN           somebody was told what became of a message
    mirrored TEXT SESSION_ID SEQ                        a mirror is recorded
    done WHAT                                           an operator's act is done
    refused WHAT ERROR                                  something was not done, which may be so
    quiet                                               nothing is open any more

A TEXT is the first word of what was said, which no other message has; a line before it says that
the message is a repetition.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import trio

import turnkeeper as tk
from turnkeeper.actors.kernel import ActorDeadError
from turnkeeper.testing import LoopbackChannel

_HUMANS = 4
"""At each instance; every one has a conversation of its own."""
_OPEN_PLACES = 30
"""At each instance; conversations that nobody owns before somebody writes there."""
_SPEAKERS = 8
_LOOK_EVERY_S = 0.005
_OVER = ("failed", "unknown")
_INSTANCES = {
    "tg": tk.ChannelPowers(after_unknown="never"),
    "dc": tk.ChannelPowers(after_unknown="same_id"),
    "sl": tk.ChannelPowers(after_unknown="labelled"),
}
_Task: TypeAlias = Callable[[str, Random], Awaitable[None]]
"""Does one thing, whose name it is given."""


class Journal:
    """What the world outside knows, whatever happens to this process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self.entries: list[list[Any]] = [json.loads(line) for line in path.read_text().splitlines()]
        """What was known when this process began."""

    def write(self, *entry: object) -> None:
        line = json.dumps(entry).encode() + b"\n"
        os.write(self._file, line)
        os.write(1, line)


class Death:
    """Kills the process at an arrival."""

    def __init__(self, at: int) -> None:
        self._left = at

    def arrived(self) -> None:
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


class Wire(LoopbackChannel):
    """A platform that outlives the process, on a line that is good only in the end."""

    def __init__(self, name: str, journal: Journal, rng: Random, death: Death, *, good: bool):
        super().__init__(name, platform=name, powers=_INSTANCES[name])
        self._journal = journal
        self._rng = rng
        self._death = death
        self._good = good
        self._known: dict[str, str] = {
            delivery_id: message_id
            for kind, *rest in journal.entries
            if kind == "arrived"
            for instance, _, delivery_id, message_id, *_ in [rest]
            if instance == name
        }

    async def send(self, outbound: tk.Outbound) -> tk.Receipt:
        """Show a message; by chance fail, before or afterwards, or take a while to answer."""
        chance = 1.0 if self._good else self._rng.random()
        if chance < 0.05:
            assert self.on_reachable is not None
            self.on_reachable(outbound.address.conversation)  # the next attempt need not wait
            raise tk.Unreachable("connection refused")
        if chance < 0.08 and self.name == "tg":
            raise tk.Rejected("400: bad request")
        message_id = self._show(outbound)
        if 0.08 < chance < 0.14:
            raise tk.LostAnswer("timed out while waiting for the answer")
        await trio.sleep(0 if self._good else self._rng.choice((0, 0, 0.001, 0.004)))
        return tk.Receipt(platform_message_id=message_id)

    def _show(self, outbound: tk.Outbound) -> str:
        delivery_id, resend = outbound.delivery_id, outbound.resend
        if self.powers.after_unknown == "same_id" and delivery_id in self._known:
            self._journal.write("recognised", delivery_id, resend)
            return self._known[delivery_id]
        message_id = f"p{len(self._known)}-{os.getpid()}-{self._rng.randrange(1_000_000)}"
        self._known[delivery_id] = message_id
        place, text = outbound.address.conversation, _first_word(outbound.text)
        self._journal.write("arrived", self.name, place, delivery_id, message_id, resend, text)
        self._death.arrived()
        return message_id


def _first_word(text: str) -> str:
    *_, said = text.splitlines()
    return said.partition(" ")[0]


async def agent(turn: tk.Turn) -> str:
    """Repeat what was said."""
    await trio.lowlevel.checkpoint()
    return f"re-{turn.text}"


class World:
    """Everybody who wants something of one life of the gateway."""

    def __init__(
        self, runtime: tk.Runtime, channels: list[Wire], journal: Journal, options: dict[str, Any]
    ) -> None:
        self._runtime = runtime
        self._channels = channels
        self._journal = journal
        self._seed = options["seed"]
        self._padding = " " + "x" * options.get("padding", 0)
        self._sessions: list[str] = []

    def talk(self) -> None:
        """Begin with everything at once."""
        for number in range(len(self._channels) * _HUMANS):
            self._start(self._write, f"human{number}")
        for number in range(_SPEAKERS):
            self._start(self._speak, f"speaker{number}")
        self._start(self._clear, "clear")
        self._start(self._mirror, "mirror")
        self._start(self._retry, "retry")
        self._start(self._move, "move")

    def mirror(self) -> None:
        """Begin with mirrors alone, and a few humans, so that there are sessions."""
        for number in range(_HUMANS):
            self._start(self._write, f"human{number}")
        for number in range(_SPEAKERS):
            self._start(self._mirror, f"mirror{number}")

    async def end(self) -> None:
        """Let humans write everywhere, and return when nothing is open."""
        for channel in self._channels:
            for place in (*_own_places(), *_open_places()):
                await self._write_once(channel, place, f"{self._seed}-{channel.name}-{place}")
        while True:
            sessions = await self._runtime.sessions()
            if not any(one.open_turns or one.open_deliveries for one in sessions):
                self._journal.write("quiet")
                return
            await trio.sleep(_LOOK_EVERY_S)

    def _start(self, task: _Task, name: str) -> None:
        self._runtime.start_soon(self._again_and_again, task, f"{self._seed}-{name}")

    async def _again_and_again(self, task: _Task, name: str) -> None:
        rng = Random(name)
        for number in range(1_000_000):
            try:
                await task(f"{name}-{number}", rng)
            except (tk.TurnRefused, tk.ActRefused, tk.StorageError) as error:
                self._journal.write("refused", name, type(error).__name__)
            except ActorDeadError:  # the disk has failed
                return
            await trio.sleep(rng.choice((0, 0.001, 0.01)))

    async def _session(self, rng: Random) -> str:
        """Any session; wait for the first one."""
        while not self._sessions or rng.random() < 0.02:
            self._sessions = [one.id for one in await self._runtime.sessions()]
        return rng.choice(self._sessions)

    def _place(self, rng: Random) -> tk.Address:
        places = _open_places() if rng.random() < 0.3 else _own_places()
        return tk.Address(rng.choice(self._channels).name, rng.choice(places))

    async def _write(self, text: str, rng: Random) -> None:
        place = rng.choice(_open_places() if rng.random() < 0.02 else _own_places())
        await self._write_once(rng.choice(self._channels), place, text)

    async def _write_once(self, channel: Wire, place: str, text: str) -> None:
        await channel.receive(
            text + self._padding,
            conversation=place,
            user_id=f"u-{place}",
            message_id=text,
            direct=place in _own_places(),
        )
        self._journal.write("acked", text)

    async def _speak(self, text: str, rng: Random) -> None:
        session_id, place = await self._session(rng), self._place(rng)
        outcome = await self._runtime.send_message(session_id, text + self._padding, place)
        self._journal.write("answered", text, outcome.status, outcome.delivery_id, outcome.noted_in)

    async def _mirror(self, text: str, rng: Random) -> None:
        mirrored = await self._runtime.mirror_to_session(
            await self._session(rng), text + self._padding, source="storm"
        )
        if mirrored.status == "recorded":
            self._journal.write("mirrored", text, mirrored.session_id, mirrored.seq)

    async def _clear(self, _name: str, rng: Random) -> None:
        await self._runtime.clear(await self._session(rng))
        self._journal.write("done", "clear")

    async def _retry(self, _name: str, rng: Random) -> None:
        over = [one.delivery_id for one in await self._runtime.deliveries() if one.status in _OVER]
        if over:
            await self._runtime.retry_delivery(rng.choice(over), mark_duplicate=True)
            self._journal.write("done", "retry")

    async def _move(self, _name: str, rng: Random) -> None:
        place, to = self._place(rng), await self._session(rng)
        await self._runtime.move_binding(place.instance, place.conversation, session_id=to)
        self._journal.write("done", "move")


def _own_places() -> list[str]:
    """Conversations of one human each."""
    return [f"c{number}" for number in range(_HUMANS)]


def _open_places() -> list[str]:
    """Groups in which anybody may speak, whether they belong to somebody yet or not."""
    return [f"news{number}" for number in range(_OPEN_PLACES)]


async def main(state_dir: str, journal_path: str, options: dict[str, Any]) -> None:
    """Run until killed, or until nothing is open any more."""
    journal = Journal(Path(journal_path))
    death, good = Death(options.get("die_at", 0)), options["work"] == "end"
    channels = [
        Wire(name, journal, Random(f"{options['seed']}-{name}"), death, good=good)
        for name in _INSTANCES
    ]
    config = {"channels": {name: {"send_to": _open_places()} for name in _INSTANCES}}
    async with tk.open_runtime(
        state_dir, agent=agent, channels=channels, config=config, seed=1
    ) as runtime:
        journal.write("up")
        world = World(runtime, channels, journal, options)
        match options["work"]:
            case "end":
                await world.end()
            case "mirror":
                world.mirror()
                await trio.sleep_forever()
            case _:
                world.talk()
                await trio.sleep_forever()


if __name__ == "__main__":
    logging.basicConfig(level=logging.ERROR)
    try:
        trio.run(main, sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
    except tk.StorageError as error:
        sys.exit(f"cannot start: {error}")
    except tk.RuntimeFailed as error:
        sys.exit(f"stopped: {error}")
