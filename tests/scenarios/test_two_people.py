"""Two people, one bot: whatever is done to their accounts, neither gets or is shown the other's."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
from trio.testing import wait_all_tasks_blocked

from turnkeeper import ActRefused, Turn
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import Stage, on_stage
from .people import End, Listener, apps, assert_sound, home, left_behind

STEPS = 60
NAMES = ("tg", "dc")


class Person:
    """One person with an account on each instance. Every text about them says whom it is for."""

    def __init__(self, name: str, user_id: str) -> None:
        self.name = name
        self.user_id = user_id
        self.missions: list[str] = []

    def text(self, text: str) -> str:
        return f"{text}, for {self.name}"


class Listening(Listener):
    """An agent that makes a mission for whoever asks, and tags what it says on their behalf."""

    def __init__(self) -> None:
        super().__init__()
        self.stage: Stage | None = None

    async def __call__(self, turn: Turn) -> str | None:
        order, *rest = turn.text.partition(",")[0].split()
        if order == "remind" and self.stage is not None:
            name, notify = rest
            prompt = f"remember {turn.text}"
            await self.stage.runtime.add_mission(name, "@yearly", prompt, notify=notify)
        return await super().__call__(turn)


class Step:
    """One thing that happens to one person."""

    def __init__(
        self, rng: Random, stage: Stage, heard: tuple[LoopbackChannel, ...], person: Person
    ) -> None:
        self._rng = rng
        self._runtime = stage.runtime
        self._person = person
        self._channel = rng.choice(heard)
        self._platform = rng.choice(NAMES)
        self._user = rng.choice((person.name, f"{self._platform}:{person.user_id}"))

    async def __call__(self) -> None:
        happens = self._rng.choice(
            [
                *(self.write, self.write, self.remind, self.run, self.run),
                *(self.send_by_default, self.send_to_user, self.mirror, self.clear),
                *(self.link, self.unlink, self.pair, self.unpair, self.move, self.undo),
            ]
        )
        with suppress(ActRefused):  # it is so already
            await happens()
        await wait_all_tasks_blocked()

    async def _owner(self) -> str | None:
        place = home(self._channel.name, self._person.user_id)
        binding = await self._runtime.binding(*place)
        return binding.session_id if binding is not None else None

    async def write(self, text: str = "hi") -> None:
        user_id = self._person.user_id
        await self._channel.receive(
            self._person.text(text), conversation=f"dm {user_id}", user_id=user_id
        )

    async def remind(self) -> None:
        name = f"{self._person.name}-{len(self._person.missions)}"
        self._person.missions.append(name)
        await self.write(f"remind {name} {self._platform}")

    async def run(self) -> None:
        if self._person.missions:
            await self._runtime.run_mission(self._rng.choice(self._person.missions))

    async def send_by_default(self) -> None:
        if (owner := await self._owner()) is not None:
            await self._runtime.set_active_channel_to_default(owner, self._platform)
            await self._runtime.send_message(owner, self._person.text("by default"))

    async def send_to_user(self) -> None:
        if (owner := await self._owner()) is not None:
            text = self._person.text("to the user")
            await self._runtime.send_message(owner, text, user=self._user)

    async def mirror(self) -> None:
        text = self._person.text("psst")
        await self._runtime.mirror_to_session(user=self._user, text=text, source="web")

    async def clear(self) -> None:
        if (owner := await self._owner()) is not None:
            await self._runtime.clear(owner)

    async def link(self) -> None:
        await self._runtime.link(self._platform, self._person.user_id, self._person.name)

    async def unlink(self) -> None:
        await self._runtime.unlink(self._platform, self._person.user_id)

    async def pair(self) -> None:
        desk = f"desk-of-{self._person.name}"
        await self._runtime.pair(self._platform, self._person.user_id, desk)

    async def unpair(self) -> None:
        await self._runtime.unpair(self._platform, self._person.user_id)

    async def move(self) -> None:
        instance, conversation, _ = home(self._platform, self._person.user_id)
        target = self._rng.choice((None, f"corner-of-{self._person.name}"))
        await self._runtime.move_binding(instance, conversation, session_id=target)

    async def undo(self) -> None:
        await self._runtime.undo()


@pytest.mark.parametrize("seed", range(20))
async def test_two_people_get_and_are_shown_their_own_alone_whatever_becomes_of_their_accounts(
    seed: int,
) -> None:
    """Every mix-up between two people began with one of them being linked, paired or moved."""
    print(f"seed {seed}")
    rng, disk, agent = Random(seed), MemoryDisk(), Listening()
    people = [Person("alice", "1"), Person("bob", "2")]
    for _life in range(3):
        heard = apps(*NAMES)
        scope = {"dm_scope": rng.choice(("per-user", "per-conversation"))}
        async with on_stage(agent, *heard, disk=disk, session=scope) as stage:
            agent.stage = stage
            for _ in range(STEPS // 3):
                await Step(rng, stage, heard, rng.choice(people))()
            assert_each_has_their_own(heard, agent, people)
            assert_sound(stage.store)
            end: End = rng.choice(("stop", "crash"))
            disk = left_behind(end, stage)


def assert_each_has_their_own(
    heard: tuple[LoopbackChannel, ...], agent: Listener, people: list[Person]
) -> None:
    for person in people:
        seen = [s.text for c in heard for s in c.sent if s.conversation == f"dm {person.user_id}"]
        assert [text for text in seen if not text.endswith(person.text(""))] == []
    for text, shown in agent.shown.items():
        whose = text.rpartition(", for ")[2]
        assert [m.text for m in shown if m.text.rpartition(", for ")[2] != whose] == []
