"""Random lives in which sessions are deleted: everything goes on following from the logs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import turnkeeper as tk
from turnkeeper import views
from turnkeeper.actors.acts import ActRefused
from turnkeeper.actors.erased import load_erased
from turnkeeper.actors.journal import load_session_number
from turnkeeper.actors.messages import Address, Instance
from turnkeeper.export import export_lines
from turnkeeper.importing import ImportRefused, plan_import
from turnkeeper.storage.base import Batch
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel

from .retained import NOW_US, agent, is_quiet, problems, say, until

STEPS = 40
PEOPLE = ("ann", "bob", "eve")
WHAT = (
    *["say"] * 6,
    *["delete"] * 3,
    *["move", "send"] * 2,
    *["link", "unlink", "pair", "unpair", "undo"],
)
PLATFORMS = {"tg": "telegram", "dc": "discord"}


class Life:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.disk = MemoryDisk()
        self.gone: set[str] = set()
        self.done: list[str] = []

    async def live(self) -> None:
        left = STEPS
        while left:
            channels = {
                name: LoopbackChannel(name, platform=platform)
                for name, platform in PLATFORMS.items()
            }
            async with (
                open_memory(self.disk) as store,
                tk.open_runtime(
                    None, store=store, agent=agent, channels=list(channels.values())
                ) as runtime,
            ):
                for _ in range(min(left, self.rng.randrange(1, 12))):
                    left -= 1
                    await self.step(runtime, store, channels)
                    assert problems(store) == [], self.done
                    here = {info.id for info in views.sessions(store)}
                    assert not here & self.gone, self.done
                    assert all(load_erased(store, name) for name in self.gone)

    async def step(
        self, runtime: tk.Runtime, store: MemoryStore, channels: dict[str, LoopbackChannel]
    ) -> None:
        rng, person = self.rng, self.rng.choice(PEOPLE)
        where = rng.choice(sorted(channels))
        ids = sorted(info.id for info in views.sessions(store))
        session_id = rng.choice(ids) if ids else "s1"
        what = rng.choice(WHAT)
        self.done.append(f"{what} {person} {where} {session_id}")
        try:
            match what:
                case "say":
                    await say(channels[where], store, rng.choice(["hello", "keep it"]), person)
                case "delete":
                    await runtime.delete(session_id)
                    self.gone.add(session_id)
                case "link":
                    await runtime.link(PLATFORMS[where], person, rng.choice(["carol", "dave"]))
                case "unlink":
                    await runtime.unlink(PLATFORMS[where], person)
                case "pair":
                    target = rng.choice([session_id, "work", "play"])
                    await runtime.pair(PLATFORMS[where], person, target)
                case "unpair":
                    await runtime.unpair(PLATFORMS[where], person)
                case "move":
                    place_for = rng.choice([session_id, "work", None])
                    await runtime.move_binding(where, f"dm-{person}", session_id=place_for)
                case "undo":
                    await runtime.undo()
                case _:
                    place = Address(Instance(where), f"dm-{person}")
                    await runtime.send_message(session_id, "unasked", place)
        except (ActRefused, tk.UnknownSession) as refused:
            self.done.append(f"  refused: {refused}")
        await until(lambda: all(is_quiet(store, info.id) for info in views.sessions(store)))

    def plan(self, store: MemoryStore, path: Path) -> tuple[Batch | None, str]:
        try:
            return plan_import(store, path, NOW_US)[1], ""
        except ImportRefused as refusal:
            return None, str(refusal)

    async def move_house(self, folder: Path) -> None:
        """Bring every session into another store, in any order."""
        async with open_memory(self.disk) as origin, open_memory() as store:
            ids = [info.id for info in views.sessions(origin)]
            self.rng.shuffle(ids)
            for session_id in ids:
                number = load_session_number(origin, session_id)
                assert number is not None
                lines = list(export_lines(origin, session_id, number))
                path = folder / session_id
                path.write_text("".join(f"{line}\n" for line in lines))
                self.done.append(f"import {session_id}")
                batch, refused = self.plan(store, path)
                # Names get the next number here, which may be that of one that comes later.
                assert not refused or "the number of" in refused, (refused, self.done)
                if batch is None:
                    continue
                await store.commit(batch)
                assert problems(store) == [], self.done
                number = load_session_number(store, session_id)
                assert number is not None
                assert list(export_lines(store, session_id, number)) == lines


@pytest.mark.parametrize("number", range(12))
async def test_whatever_is_deleted_everything_follows_from_what_is_left(
    number: int, tmp_path: Path
) -> None:
    seed = random.Random(number).randrange(2**32)
    print(f"seed {seed}")
    life = Life(random.Random(seed))
    await life.live()
    await life.move_house(tmp_path)
