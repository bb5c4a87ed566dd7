"""Long lives of one human with several apps, through missions, restarts and power cuts."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import pytest
import trio
from trio.testing import MockClock

from turnkeeper import Outbound, Receipt, Turn
from turnkeeper.actors.core.turn_records import UserRecord
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel
from turnkeeper.views import heads, window

from ..actors.stage import START, Stage, log, on_stage
from .people import Listener, assert_sound, bound, fed, left_behind, said_on_behalf, troubled

LOOK = "look at the inbox"
NAMES = ("tg", "dc", "wa")


@dataclass
class Human:
    """One human, and everything that they wrote and saw, in order."""

    seen: list[str] = field(default_factory=list[str])
    wrote: list[str] = field(default_factory=list[str])

    async def write(self, app: App, text: str) -> None:
        self.wrote.append(text)
        await app.receive(text, conversation=f"dm of {app.name}", user_id="1")


class App(LoopbackChannel):
    """An app of one human, who reads everything."""

    def __init__(self, name: str, human: Human) -> None:
        super().__init__(name, platform=name)
        self._human = human

    async def send(self, outbound: Outbound) -> Receipt:
        receipt = await super().send(outbound)
        self._human.seen.append(outbound.text)
        return receipt


class Assistant(Listener):
    """Answers, thinks for two minutes where it is asked to, and has news at some hours."""

    def __init__(self, rng: Random) -> None:
        super().__init__({LOOK: self._look})
        self._rng = rng
        self._runs = itertools.count(1)

    async def _look(self, _turn: Turn) -> str | None:
        run = next(self._runs)
        return f"news of run {run}" if self._rng.random() < 0.7 else None

    async def __call__(self, turn: Turn) -> str | None:
        if turn.text.startswith("think"):
            await trio.sleep(120)
        return await super().__call__(turn)


@pytest.mark.parametrize("seed", range(5))
async def test_a_day_of_one_human_on_three_apps_is_known_whole_in_order_and_once(
    seed: int, autojump_clock: MockClock
) -> None:
    """After a day with restarts, half of what I had been told was news to the agent."""
    print(f"seed {seed}")
    rng, human, disk = Random(seed), Human(), MemoryDisk()
    agent = Assistant(rng)
    for hour in range(24):
        start = START + timedelta(hours=hour, minutes=-10)
        heard = [App(name, human) for name in NAMES]
        async with on_stage(agent, *heard, disk=disk, start=start) as stage:
            if hour == 0:
                for name in NAMES:
                    await stage.runtime.link(name, "1", "alice")
                await human.write(heard[0], "hello")
                await stage.runtime.add_mission("inbox", "0 * * * *", LOOK, notify="tg")
            await live_an_hour(rng, human, heard, hour)
            disk = left_behind("stop" if rng.random() < 0.5 else "crash", stage)
    async with on_stage(agent, *(App(name, human) for name in NAMES), disk=disk) as stage:
        await trio.sleep(300)
        assert_all_is_known(stage, human, agent)


async def live_an_hour(rng: Random, human: Human, heard: list[App], hour: int) -> None:
    """See the mission run in ten minutes, write now and then, and perhaps leave a turn open."""
    await trio.sleep(900)
    for number in range(rng.randrange(4)):
        await human.write(rng.choice(heard), f"{hour}:{number}")
        await trio.sleep(rng.randrange(1, 600))
    if rng.random() < 0.5:
        await human.write(rng.choice(heard), f"think about {hour}")
        await trio.sleep(60)


def assert_all_is_known(stage: Stage, human: Human, agent: Assistant) -> None:
    store = stage.store
    assert {head.session_id for _, head in heads(store)} == {"s1", "mission-inbox"}
    assert {owner for owner, _ in bound(store).values()} == {"s1"}
    assert [r.text for r in log(store) if isinstance(r, UserRecord)] == human.wrote
    shown = window(store, "s1")
    assert shown is not None
    assert [m.text for m in shown if m.kind == "user"] == human.wrote
    assert said_on_behalf(shown) == human.seen
    assert len(set(human.seen)) == len(human.seen)
    assert agent.given.count(LOOK) == 24
    assert (fed(store), troubled(store)) == ([], [])
    assert_sound(store)
