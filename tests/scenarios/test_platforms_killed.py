"""A platform and a gateway that are killed in the middle of many conversations lose nothing.

The platform goes twice and the gateway once, each while messages and replies are under way. What a
human then does not find answered exactly once is what nobody can know: the platform may have taken
a reply whose answer was lost. That is an outcome of its own, and such a reply is not sent again.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from turnkeeper.control import ask
from turnkeeper.kinds import KINDS
from turnkeeper.storage.lmdb_store import open_reader
from turnkeeper.stories import deliveries
from turnkeeper.views import sessions

from ..crash.harness import Stored
from ..peers.places import peers_python
from ..peers.ports import kept_port
from ..peers.programs import Program, open_program
from .surfaces import Surface, open_surface

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PLATFORMS: Final[list[str]] = [
    kind
    for kind in ("telegram", "discord", "slack", "whatsapp", "matrix", "webhook")
    if kind in KINDS
]
RECOGNISING: Final = frozenset({"webhook"})
"""Platforms that take the same message once: there, nothing stays unknown."""
HUMANS: Final = 20
LOTS: Final = 5
"""How often each human writes. Between any two times, something is killed."""
_PATIENCE_S: Final = 200.0


@pytest.fixture(autouse=True)
def _peers() -> None:
    peers_python()


class Gateway:
    """`turnkeeper run` in a process of its own."""

    def __init__(self, folder: Path, surface: Surface, port: int) -> None:
        self.state_dir = folder / "state"
        self._config = folder / "turnkeeper.toml"
        self._surface = surface
        self._connected = (surface.kind, "connected")
        self._http = f"127.0.0.1:{port}"
        self.hooks_url = f"http://{self._http}/hooks"

    @asynccontextmanager
    async def life(self) -> AsyncGenerator[Program]:
        """One process, connected; it is told to stop at the end of the block if it still runs."""
        tables = {
            "http": {"listen": self._http},
            f"channels.{self._surface.kind}": self._surface.section(),
        }
        self._config.write_text("".join(map(_table, tables.items())), encoding="utf-8")
        agent = ("--agent", "tests.scenarios.echoing:answer")
        places = ("--state", self.state_dir, "--config", self._config)
        async with open_program(
            (sys.executable, "-m", "turnkeeper", "run", "-v", *agent, *places)
        ) as it:
            await self._until_connected()
            yield it

    async def _until_connected(self) -> None:
        while True:
            with suppress(OSError):  # nobody listens yet
                found = await trio.to_thread.run_sync(ask, self.state_dir, "channels")
                if any((one["name"], one["state"]) == self._connected for one in found or ()):
                    return
            await trio.sleep(0.1)


def _table(table: tuple[str, dict[str, Any]]) -> str:
    """A table of TOML: its texts, truths, numbers and lists are written as those of JSON are."""
    name, keys = table
    lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    return "\n".join([f"[{name}]", *lines, "", ""])


async def lot_is_written(surface: Surface, lot: int) -> None:
    """Every human writes, in no order among them."""
    async with trio.open_nursery() as nursery:
        for who in range(HUMANS):
            nursery.start_soon(surface.says, who, f"{who}/{lot}")


async def until_replies(surface: Surface, least: int) -> None:
    """Return once humans have so many replies."""
    while True:
        began = trio.current_time()
        if sum([len(await surface.texts(who)) for who in range(HUMANS)]) >= least:
            return
        # Half of the time at most is for looking: the platform has other work, too.
        await trio.sleep(max(0.02, trio.current_time() - began))


async def until_settled(state_dir: Path) -> None:
    """Return once all that was ever written is heard, and nothing is open any more."""
    while True:
        with open_reader(state_dir) as store, store.snapshot() as reads:
            busy = any(one.open_turns or one.open_deliveries for one in sessions(reads))
            if len(Stored(reads).message_ids()) == HUMANS * LOTS and not busy:
                return
        await trio.sleep(0.25)


@pytest.mark.parametrize("kind", PLATFORMS)
async def test_whatever_is_killed_every_message_is_answered_once_and_in_order(
    kind: str, tmp_path: Path
) -> None:
    some = HUMANS // 4
    with trio.fail_after(_PATIENCE_S), kept_port() as port:
        async with open_surface(kind, tmp_path, HUMANS) as surface:
            gateway = Gateway(tmp_path, surface, port)
            await surface.calls(gateway.hooks_url)
            async with gateway.life() as first:
                await lot_is_written(surface, 0)
                await until_replies(surface, HUMANS)  # so that everybody is known
                await lot_is_written(surface, 1)
                await until_replies(surface, HUMANS + some)
                await surface.dies()
                await surface.comes_back()
                await lot_is_written(surface, 2)
                await until_replies(surface, 2 * HUMANS + some)
                await first.kill()
            await lot_is_written(surface, 3)
            async with gateway.life() as second:
                await until_replies(surface, 3 * HUMANS + some)
                await surface.dies()
                await surface.comes_back()
                await lot_is_written(surface, 4)
                await until_settled(gateway.state_dir)
                assert await second.end() == 0
            replies = [await surface.texts(who) for who in range(HUMANS)]
    with open_reader(gateway.state_dir) as store:
        stored = Stored(store)
        unknown = {one.text for one in deliveries(store) if one.status == "unknown"}
        assert set(stored.statuses().values()) <= {"delivered", "unknown"}
    assert not (unknown and kind in RECOGNISING)
    said = {f"{who}/{lot}" for who in range(HUMANS) for lot in range(LOTS)}
    heard = [user.text for name in stored.logs for _, user in stored.users(name)]
    assert Counter(heard) == dict.fromkeys(said, 1)
    for who, texts in enumerate(replies):
        written = [f"{who}/{lot}" for lot in range(LOTS)]
        told = [text for text in heard if text in written]
        if surface.tells_in_order:
            assert told == written
        wanted = [f"re: {text}" for text in told]
        assert texts == [text for text in wanted if text in texts], "once, and in order"
        assert {text for text in wanted if text not in texts} <= unknown
