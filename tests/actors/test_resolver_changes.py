"""What others decide reaches a program's own resolver, and its later words are followed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from trio.testing import wait_all_tasks_blocked

from turnkeeper import IdentityLink, Runtime, Turn, open_runtime
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel


class Directory:
    """A resolver, as a program may bring one."""

    def __init__(self) -> None:
        self.users: dict[tuple[str, str], str] = {}

    async def resolve(self, platform: str, user_id: str) -> str:
        return self.users.get((platform, user_id), f"{platform}:{user_id}")

    async def link(self, platform: str, user_id: str, user: str) -> None:
        self.users[platform, user_id] = user

    async def unlink(self, platform: str, user_id: str) -> None:
        self.users.pop((platform, user_id), None)

    async def links(self, user: str | None = None) -> list[IdentityLink]:
        return []


async def name_the_user(turn: Turn) -> str:
    return turn.context.unified_user_id


@asynccontextmanager
async def two_channels() -> AsyncGenerator[
    tuple[Runtime, LoopbackChannel, LoopbackChannel, Directory]
]:
    """A runtime with a human on each of two channels: sessions `s1` and `s2`."""
    tg, dc = LoopbackChannel("tg", platform="tg"), LoopbackChannel("dc", platform="dc")
    directory = Directory()
    async with (
        open_memory(MemoryDisk()) as store,
        open_runtime(
            None,
            agent=name_the_user,
            channels=[tg, dc],
            store=store,
            identity_resolver=directory,
        ) as runtime,
    ):
        assert [await say(tg), await say(dc)] == ["s1", "s2"]
        yield runtime, tg, dc, directory


async def say(channel: LoopbackChannel, text: str = "hello") -> str:
    accepted = await channel.receive(text, conversation="dm", user_id="1")
    await wait_all_tasks_blocked()
    return accepted.session_id


async def test_a_link_and_its_end_in_the_resolver_take_effect_from_the_next_turn_on() -> None:
    async with two_channels() as (_, _, dc, directory):
        directory.users["dc", "1"] = "tg:1"
        assert [await say(dc), await say(dc)] == ["s2", "s1"]
        directory.users.clear()
        assert [await say(dc), await say(dc)] == ["s1", "s2"]


async def test_the_undoing_of_a_link_reaches_the_resolver_and_holds() -> None:
    async with two_channels() as (runtime, _, dc, directory):
        await runtime.link("dc", "1", "tg:1")
        assert directory.users == {("dc", "1"): "tg:1"}
        assert await say(dc) == "s1"
        await runtime.undo()
        assert [await say(dc), await say(dc), await say(dc)] == ["s2", "s2", "s2"]
        assert directory.users == {}


async def test_a_link_by_code_reaches_the_resolver_and_so_does_its_end() -> None:
    async with two_channels() as (_, tg, dc, directory):
        await say(tg, "/link")
        code = tg.sent[-1].text.partition("/link ")[2].split()[0]
        await say(dc, f"/link {code}")
        assert [await say(dc), await say(tg), await say(dc)] == ["s1", "s1", "s1"]
        assert dc.sent[-1].text == tg.sent[-1].text == "tg:1"
        assert directory.users == {("dc", "1"): "tg:1"}
        await say(dc, "/unlink")
        assert [await say(dc), await say(dc)] == ["s2", "s2"]
        assert directory.users == {}
