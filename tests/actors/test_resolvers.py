"""A program's own resolver decides who is speaking; one that cannot say decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    ActRefused,
    FileIdentityResolver,
    IdentityLink,
    IdentityResolver,
    IdentityUnavailable,
    InMemoryIdentityResolver,
    Turn,
    TurnRefused,
    open_runtime,
)
from turnkeeper.actors.errors import Unidentified
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.views import heads

from .stage import Stage, echo, said, wall_clock


class SlowDatabase:
    """Sync: works in a thread, where it may take its time."""

    def __init__(self) -> None:
        self._kept = InMemoryIdentityResolver()

    def resolve(self, platform: str, user_id: str) -> str:
        return self._kept.resolve(platform, user_id)

    def link(self, platform: str, user_id: str, user: str) -> None:
        self._kept.link(platform, user_id, user)

    def unlink(self, platform: str, user_id: str) -> None:
        self._kept.unlink(platform, user_id)

    def links(self, user: str | None = None) -> tuple[IdentityLink, ...]:
        return self._kept.links(user)


class Directory:
    """Async; says what it is told to say, when it is told to, and counts who asks."""

    def __init__(self) -> None:
        self.users: dict[tuple[str, str], Any] = {}
        """What it answers, or raises; unknown identities are themselves."""
        self.pause_s = 0.0
        self.asked: Counter[tuple[str, str]] = Counter()
        self.told: list[tuple[str, ...]] = []
        self.broken = False

    async def resolve(self, platform: str, user_id: str) -> str:
        self.asked[platform, user_id] += 1
        await trio.sleep(self.pause_s)
        answer = self.users.get((platform, user_id), f"{platform}:{user_id}")
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]  # it may lie

    async def link(self, platform: str, user_id: str, user: str) -> None:
        await self._tell("link", platform, user_id, user)
        self.users[platform, user_id] = user

    async def unlink(self, platform: str, user_id: str) -> None:
        await self._tell("unlink", platform, user_id)
        self.users.pop((platform, user_id), None)

    async def _tell(self, *what: str) -> None:
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise OSError("the directory is down")
        self.told.append(what)

    async def links(self, user: str | None = None) -> list[IdentityLink]:
        await trio.lowlevel.checkpoint()
        return [
            IdentityLink(platform=platform, user_id=user_id, user=linked)
            for (platform, user_id), linked in self.users.items()
            if user in {None, linked}
        ]


@asynccontextmanager
async def served_by(
    resolver: IdentityResolver, agent: Any, *channels: LoopbackChannel, **config: Any
) -> AsyncGenerator[Stage]:
    """A runtime with an identity resolver of its program."""
    disk = MemoryDisk()
    async with (
        open_memory(disk) as store,
        open_runtime(
            None,
            agent=agent,
            channels=channels,
            store=store,
            identity_resolver=resolver,
            config=config,
            clock=wall_clock(),
            seed=1,
        ) as runtime,
    ):
        yield Stage(runtime, store, disk)


def two_channels() -> tuple[LoopbackChannel, LoopbackChannel]:
    return LoopbackChannel("tg", platform="tg"), LoopbackChannel("dc", platform="dc")


async def say(channel: LoopbackChannel, text: str, message_id: str | None = None) -> str:
    """Write as user 1 in a direct conversation; the session."""
    answer = await channel.receive(text, conversation="dm", user_id="1", message_id=message_id)
    return answer.session_id


def sessions(stage: Stage) -> list[str]:
    """Every session; read without a thread, while which a virtual clock would run away."""
    return [head.session_id for _, head in heads(stage.store)]


# -- resolvers that know -----------------------------------------------------------------------


@pytest.fixture(params=["memory", "file", "sync", "async"])
def resolver(request: pytest.FixtureRequest, tmp_path: Path) -> IdentityResolver:
    match request.param:
        case "memory":
            return InMemoryIdentityResolver()
        case "file":
            return FileIdentityResolver(tmp_path / "links.json")
        case "sync":
            return SlowDatabase()
        case _:
            return Directory()


async def test_what_each_kind_of_resolver_links_is_one_session(resolver: IdentityResolver) -> None:
    tg, dc = two_channels()
    given: dict[str, tuple[str, list[str]]] = {}

    async def agent(turn: Turn) -> str:
        texts = [message.text for message in turn.messages if message.role == "user"]
        given[turn.text] = turn.context.unified_user_id, texts
        return turn.text

    async with served_by(resolver, agent, tg, dc) as stage:
        await stage.runtime.link("tg", "1", "alice")
        await stage.runtime.link("dc", "1", "alice")
        assert await say(tg, "one") == await say(dc, "two") == "s1"
        stranger = await dc.receive("hi", conversation="dm 2", user_id="2")
        assert stranger.session_id == "s2"
        assert (await tg.next_sent()).text == "one"
        assert {(await dc.next_sent()).text for _ in range(2)} == {"two", "hi"}
    assert given == {
        "one": ("alice", ["one"]),
        "two": ("alice", ["one", "two"]),
        "hi": ("dc:2", ["hi"]),
    }


async def test_a_link_that_a_resolver_has_before_the_first_message_holds_from_it_on() -> None:
    directory = Directory()
    directory.users = {("tg", "1"): "alice", ("dc", "1"): "alice"}
    tg, dc = two_channels()
    async with served_by(directory, echo, tg, dc) as stage:
        assert await say(tg, "one") == await say(dc, "two") == "s1"
        assert {link.user_id for link in await stage.runtime.links("alice")} == {"1"}
        assert {change.by for change in await stage.runtime.changes()} == {"resolver"}


async def test_a_link_that_is_made_in_the_resolver_later_merges_what_there_is() -> None:
    directory = Directory()
    tg, dc = two_channels()
    given: dict[str, list[str]] = {}

    async def agent(turn: Turn) -> None:
        given[turn.text] = [message.text for message in turn.messages]

    async with served_by(directory, agent, tg, dc) as stage:
        assert (await say(tg, "one"), await say(dc, "two")) == ("s1", "s2")
        await wait_all_tasks_blocked()
        directory.users = {("tg", "1"): "alice", ("dc", "1"): "alice"}
        for text, channel in (("three", tg), ("four", dc)):
            await say(channel, text)  # the turn that tells the difference
            await wait_all_tasks_blocked()
        assert await say(tg, "five") == await say(dc, "six") == "s1"
        await wait_all_tasks_blocked()
        assert given["six"] == ["one", "two", "three", "four", "five", "six"]
        assert {change.by for change in await stage.runtime.changes()} == {"resolver"}


async def test_a_resolver_may_link_again_whom_the_program_has_unlinked() -> None:
    directory = Directory()
    tg, dc = two_channels()
    async with served_by(directory, echo, tg, dc) as stage:
        await say(tg, "one")
        await say(dc, "two")
        for _ in range(3):
            directory.users["dc", "1"] = "tg:1"
            await say(dc, "this turn tells the difference")
            await wait_all_tasks_blocked()
            assert await say(dc, "together") == "s1"
            await stage.runtime.unlink("dc", "1")
            assert await say(dc, "apart") == "s2"
            await wait_all_tasks_blocked()


async def test_a_resolver_hears_of_links_before_they_are_made_and_of_none_that_is_refused() -> None:
    directory = Directory()
    tg, dc = two_channels()
    async with served_by(directory, echo, tg, dc) as stage:
        await say(tg, "one")
        await say(dc, "two")
        await stage.runtime.link("dc", "1", "tg:1", dry_run=True)
        assert directory.told == []
        await stage.runtime.link("dc", "1", "tg:1")
        with pytest.raises(ActRefused):
            await stage.runtime.link("dc", "1", "tg:1")
        with pytest.raises(ActRefused):
            await stage.runtime.unlink("tg", "1")
        assert directory.told == [("link", "dc", "1", "tg:1")]
        directory.broken = True
        with pytest.raises(IdentityUnavailable, match="directory is down"):
            await stage.runtime.unlink("dc", "1")
        assert len(await stage.runtime.links()) == 1
        assert await say(dc, "three") == "s1"


async def test_only_new_direct_conversations_wait_for_a_resolver() -> None:
    directory = Directory()
    tg, dc = two_channels()
    async with served_by(directory, echo, tg, dc) as stage:
        await say(tg, "one")
        await wait_all_tasks_blocked()
        directory.users = dict.fromkeys([("tg", "1"), ("dc", "1")], OSError("down"))
        assert await say(tg, "two") == "s1"
        group = await tg.receive("hi", conversation="group", user_id="1", direct=False)
        assert group.session_id == "s2"
        with pytest.raises(Unidentified):
            await say(dc, "three")
        assert sessions(stage) == ["s1", "s2"]
        directory.users.clear()  # so that the turns that were accepted come to an end


# -- resolvers that do not -----------------------------------------------------------------------

LIES = [None, 7, b"alice", "", "x" * 1_025, ["alice"], object(), " alice", "a\nb", "a\u202eb"]


@pytest.mark.parametrize("answer", [OSError("down"), *LIES], ids=lambda lie: type(lie).__name__)
async def test_a_resolver_that_cannot_say_makes_no_session_and_loses_no_message(
    answer: object,
) -> None:
    directory = Directory()
    directory.users["tg", "1"] = answer
    tg, _ = two_channels()
    async with served_by(directory, echo, tg) as stage:
        for _ in range(2):
            with pytest.raises(Unidentified) as refused:
                await say(tg, "hello", message_id="m1")
            assert refused.value.retryable
        assert sessions(stage) == []
        assert await stage.runtime.bindings() == []
        assert await stage.runtime.changes() == []
        directory.users["tg", "1"] = "alice"
        assert await say(tg, "hello", message_id="m1") == "s1"
        again = await tg.receive("hello", conversation="dm", user_id="1", message_id="m1")
        assert again.duplicate
        await wait_all_tasks_blocked()
        assert said(stage.store) == (["hello"], ["hello"])
        assert [sent.text for sent in tg.sent] == ["hello"]


async def test_a_resolver_that_takes_too_long_refuses_the_turn_and_is_asked_again(
    autojump_clock: MockClock,
) -> None:
    directory = Directory()
    directory.pause_s = 60.0
    tg, dc = two_channels()
    config = {"identity": {"resolver_timeout_s": 2.0}}
    async with served_by(directory, echo, tg, dc, **config) as stage:
        with pytest.raises(Unidentified, match="within 2 s"):
            await say(tg, "hello", message_id="m1")
        assert sessions(stage) == []
        directory.pause_s = 1.0
        assert await say(tg, "hello", message_id="m1") == "s1"
        assert (await tg.next_sent()).text == "hello"
    assert autojump_clock.current_time() < 30


async def test_nobody_else_waits_for_a_slow_answer_and_its_own_turns_keep_their_order(
    autojump_clock: MockClock,
) -> None:
    directory = Directory()
    tg, dc = two_channels()
    accepted: list[tuple[str, str]] = []

    async def write(text: str) -> None:
        accepted.append((text, await say(tg, text)))

    async with served_by(directory, echo, tg, dc) as stage:
        await say(dc, "known")
        await wait_all_tasks_blocked()
        directory.pause_s = 3.0
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(write, f"{number}")
                await wait_all_tasks_blocked()
            began = trio.current_time()
            assert await say(dc, "I do not wait") == "s1"
            assert trio.current_time() == began
            assert accepted == []
        assert {session for _, session in accepted} == {"s2"}
        assert directory.asked["tg", "1"] <= 2  # once for all of them, once for the first turn
        texts = [f"{number}" for number in range(20)]
        assert [(await tg.next_sent()).text for _ in texts] == texts
        assert said(stage.store, 2)[0] == texts
    assert autojump_clock.current_time() < 120


async def test_a_turn_whose_human_is_unknown_for_a_while_is_answered_once_he_is_known(
    autojump_clock: MockClock,
) -> None:
    directory = Directory()
    tg, _ = two_channels()
    users: list[tuple[int, str]] = []

    async def agent(turn: Turn) -> str:
        users.append((turn.attempt, turn.context.unified_user_id))
        return f"re: {turn.text}"

    async with served_by(directory, agent, tg) as stage:
        await say(tg, "one")
        await trio.sleep(1)
        directory.users["tg", "1"] = OSError("down")
        assert await say(tg, "two") == "s1"  # it is bound, and accepted
        await wait_all_tasks_blocked()
        assert [sent.text for sent in tg.sent] == ["re: one"]
        directory.users["tg", "1"] = "alice"
        assert [(await tg.next_sent()).text for _ in range(2)] == ["re: one", "re: two"]
        assert users[0] == (1, "tg:1")
        assert users[1][0] > 1
        assert users[1][1] == "alice"
        assert sessions(stage) == ["s1"]
    assert autojump_clock.current_time() < 600


async def test_a_turn_that_waits_for_a_resolver_is_refused_when_the_runtime_stops(
    autojump_clock: MockClock,
) -> None:
    directory = Directory()
    directory.pause_s = 4.0
    tg, _ = two_channels()
    refused: list[TurnRefused] = []

    async def write() -> None:
        try:
            await say(tg, "hello")
        except TurnRefused as error:
            refused.append(error)

    async with (
        trio.open_nursery() as nursery,
        served_by(directory, echo, tg, runtime={"stop_deadline_s": 0.0}),
    ):
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
    assert [error.retryable for error in refused] == [True]
    assert autojump_clock.current_time() < 60
