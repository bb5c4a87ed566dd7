"""A store in which everything has happened that people, operators and configurations can do."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
import trio

import turnkeeper as tk
from turnkeeper.storage.base import Store
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, open_memory
from turnkeeper.testing import LoopbackChannel

__all__ = ["live", "lived"]

CONFIG: Final[dict[str, Any]] = {
    "session": {"channel_scope": "collapsed"},
    "pairing": {"7@telegram": "user-seven"},
    "channels": {
        "door": {"access": "code"},
        "home": {"dm_scope": "main"},
        "each": {"dm_scope": "per-conversation", "thread_scope": "per-conversation"},
    },
}
_CODE: Final = re.compile(r"\b[2-9A-Z]{4}-[2-9A-Z]{4}\b")


async def _agent(turn: tk.Turn) -> str:
    return f"you said {turn.text}"


class _Life:
    """Channels, and humans who write on them."""

    def __init__(self) -> None:
        self.tg = LoopbackChannel("tg", platform="telegram")
        self.dc = LoopbackChannel("dc", platform="discord")
        self.door = LoopbackChannel("door", platform="slack")
        self.home = LoopbackChannel("home", platform="matrix")
        self.each = LoopbackChannel("each", platform="irc")

    @property
    def channels(self) -> list[LoopbackChannel]:
        return [self.tg, self.dc, self.door, self.home, self.each]

    async def say(
        self, channel: LoopbackChannel, user_id: str, text: str, **more: Any
    ) -> tuple[tk.Accepted, str]:
        more = {"conversation": f"dm-{user_id}", **more}
        accepted = await channel.receive(text, user_id=user_id, **more)
        return accepted, (await channel.next_sent()).text

    async def first_meetings(self) -> None:
        await self.say(self.tg, "1", "hello from telegram", message_id="hello-1")
        await self.say(self.dc, "2", "hello from discord", message_id="hello-2")
        await self.say(self.dc, "2", "in a second place", conversation="dm-2b")
        await self.say(self.tg, "7", "I am paired by the configuration")
        await self.say(self.home, "3", "at home")
        await self.say(self.home, "4", "at home too")
        for thread in (None, "t1", "t2"):
            await self.say(self.each, "5", "each", thread=thread)
            await self.say(
                self.tg, "1", "in a topic", conversation="g1", thread=thread, direct=False
            )
        for room in ("r1", "r2"):
            await self.say(self.dc, "2", "room", conversation=room, guild="guild", direct=False)

    async def knock(self, runtime: tk.Runtime) -> None:
        """Strangers at the door: one is let in by a code, one without, one is put out again."""
        for user_id in ("U8", "U9"):
            with pytest.raises(tk.AccessDenied):
                await self.door.receive("let me in", user_id=user_id, conversation=user_id)
            code = _CODE.search((await self.door.next_sent()).text)
            assert code is not None
            if user_id == "U8":
                await runtime.approve(code.group())
                assert "let in" in (await self.door.next_sent()).text
        await self.say(self.door, "U8", "thank you")
        await runtime.allow("door", "U10")
        await self.say(self.door, "U10", "I was named")
        await runtime.revoke("door", "U10")

    async def link_themselves(self) -> None:
        """By a code; also wrong ones, one that waits, one posted in a group, and none any more."""
        await self.say(self.dc, "20", "before the link")
        accepted, text = await self.say(self.tg, "10", "/link", message_id="ask")
        assert accepted.session_id == ""
        code = _CODE.search(text)
        assert code is not None
        await self.say(self.dc, "20", "/link ABCD-EFGH")
        await self.say(self.dc, "20", f"/link {code.group()}", message_id="redeem")
        await self.say(self.dc, "20", "after the link")
        await self.say(self.tg, "10", "I too")
        await self.say(self.tg, "30", "/link")
        await self.say(self.tg, "30", "/link", conversation="g1", direct=False)
        await self.say(self.dc, "20", "/unlink")
        await self.say(self.dc, "20", "on my own again")

    async def be_operated_on(self, runtime: tk.Runtime) -> None:
        """Every act, some of them taken back."""
        await runtime.link("telegram", "1", "alice", by="operator")
        await runtime.link("discord", "2", "alice", by="operator")
        await self.say(self.dc, "2", "as alice")
        await self.say(self.tg, "1", "as alice")
        await runtime.link("irc", "unseen", "alice")
        await runtime.undo()
        await runtime.link("telegram", "40", "discord:41")
        await self.say(self.dc, "41", "hello")
        await self.say(self.tg, "40", "hello")
        await runtime.link("discord", "41", "bob")
        await self.say(self.tg, "40", "as bob")
        await runtime.unlink("telegram", "40")
        await self.say(self.tg, "40", "as myself")
        undone = await runtime.link("telegram", "40", "bob")
        await self.say(self.tg, "40", "this is taken back")
        await runtime.undo(undone.number)
        await runtime.pair("telegram", "40", "user-forty")
        await self.say(self.tg, "40", "paired")
        await runtime.pair("discord", "50", "user-fifty")
        await self.say(self.dc, "50", "paired before the first word")
        await runtime.unpair("discord", "50")
        await self.say(self.dc, "50", "unpaired")
        await runtime.move_binding("dc", "dm-2b", session_id="user-forty")
        await runtime.move_binding("dc", "dm-2b")
        await runtime.move_binding("tg", "g1", "t1", session_id="user-forty")
        await runtime.undo()
        await runtime.move_binding("tg", "g1", "t2", session_id="user-fifty")


async def live(store: Store) -> None:
    """Fill `store` with a life of three processes, the second of which has other rules."""
    life = _Life()
    others: dict[str, Any] = {"channels": CONFIG["channels"]}
    for config, acts in (
        (CONFIG, [life.first_meetings]),
        (others, [life.link_themselves]),
        (CONFIG, []),
    ):
        async with tk.open_runtime(
            None, agent=_agent, channels=life.channels, store=store, config=config
        ) as runtime:
            for act in acts:
                await act()
            if config is CONFIG and acts:
                await life.knock(runtime)
            if not acts:
                await life.be_operated_on(runtime)


def lived() -> MemoryDisk:
    """A disk in memory that holds such a life."""
    disk = MemoryDisk()

    async def fill() -> None:
        async with open_memory(disk) as store:
            await live(store)

    trio.run(fill)
    assert MemoryReads(disk).last_seq(1)
    return disk
