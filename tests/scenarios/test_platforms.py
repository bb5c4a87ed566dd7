"""One human in several apps at once, and one conversation behind all of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import trio

from turnkeeper import Runtime, open_runtime
from turnkeeper.kinds import KINDS

from ..peers.places import peers_python
from ..peers.ports import kept_port
from .people import Listener, noted, notes, said_on_behalf, saying
from .surfaces import Surface, open_surface

pytestmark = pytest.mark.slow

PLATFORMS: Final[list[str]] = [
    kind for kind in ("telegram", "discord", "slack", "whatsapp") if kind in KINDS
]
ANN: Final = "ann"
LOOK: Final = "look at the inbox"
NEWS: Final = "3 new mails"
YEARLY: Final = "0 0 1 1 *"
_PATIENCE_S: Final = 90.0


@pytest.fixture(autouse=True)
def _peers() -> None:
    peers_python()


@dataclass(frozen=True)
class Gateway:
    """A runtime with a channel to each of the platforms."""

    runtime: Runtime
    agent: Listener
    surfaces: dict[str, Surface]

    async def until_connected(self) -> None:
        with trio.fail_after(_PATIENCE_S):
            while set((await self.states()).values()) != {"connected"}:  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.05)

    async def states(self) -> dict[str, str]:
        """How each channel is connected."""
        return {one.name: one.state for one in await self.runtime.channel_statuses()}

    async def sessions(self) -> set[str]:
        """The sessions in which humans are."""
        return {one.id for one in await self.runtime.sessions() if not one.id.startswith("mission")}

    async def says(self, app: str, text: str, *, reply_to: str | None = None) -> None:
        """The human writes there, and is answered there."""
        await self.surfaces[app].says(0, text, reply_to=reply_to)
        await self.surfaces[app].until_said(f"re: {text}")

    async def until_noted(self, session: str, text: str) -> None:
        """Return when the session knows what was said on its behalf."""
        with trio.fail_after(_PATIENCE_S):
            while text not in [one.text for one in notes(self.runtime.store, session)]:  # noqa: ASYNC110  # nobody tells
                await trio.sleep(0.05)


@asynccontextmanager
async def on_platforms(folder: Path) -> AsyncGenerator[Gateway]:
    """One human on every platform, and a gateway to all of them that keeps its state on disk."""
    async with AsyncExitStack() as stack:
        surfaces = {
            kind: await stack.enter_async_context(open_surface(kind, folder)) for kind in PLATFORMS
        }
        agent = Listener()
        http = f"127.0.0.1:{stack.enter_context(kept_port())}"
        for surface in surfaces.values():
            await surface.calls(f"http://{http}/hooks")
        config = {
            "http": {"listen": http},
            "channels": {name: one.section() for name, one in surfaces.items()},
        }
        runtime = await stack.enter_async_context(
            open_runtime(folder / "state", agent=agent, config=config)
        )
        for name, surface in surfaces.items():
            await runtime.link(name, surface.users[0], ANN)
        gateway = Gateway(runtime, agent, surfaces)
        await gateway.until_connected()
        yield gateway


async def test_a_human_in_several_apps_has_one_session_and_is_answered_where_they_ask(
    tmp_path: Path,
) -> None:
    async with on_platforms(tmp_path) as gateway:
        for app in PLATFORMS:
            await gateway.says(app, f"hello from {app}")
        assert len(await gateway.sessions()) == 1
        for app, surface in gateway.surfaces.items():
            assert await surface.texts() == [f"re: hello from {app}"]
        last = gateway.agent.shown[f"hello from {PLATFORMS[-1]}"]
        assert [one.text for one in last if one.role == "user"] == [
            f"hello from {app}" for app in PLATFORMS
        ]


async def test_messages_in_all_apps_at_once_are_each_answered_in_their_own(
    tmp_path: Path,
) -> None:
    rounds = 5
    async with on_platforms(tmp_path) as gateway:
        for number in range(rounds):
            async with trio.open_nursery() as nursery:
                for app, surface in gateway.surfaces.items():
                    nursery.start_soon(surface.says, 0, f"{app} {number}")
        for app, surface in gateway.surfaces.items():
            wanted = [f"re: {app} {number}" for number in range(rounds)]
            assert await surface.until(lambda texts: len(texts) >= rounds) == wanted
        assert len(await gateway.sessions()) == 1
        assert len(gateway.agent.given) == rounds * len(PLATFORMS)


@pytest.mark.parametrize("app", PLATFORMS)
async def test_what_a_mission_says_in_one_app_is_known_in_all(app: str, tmp_path: Path) -> None:
    async with on_platforms(tmp_path) as gateway:
        for one in PLATFORMS:
            await gateway.says(one, f"hello from {one}")
        (session,) = await gateway.sessions()
        gateway.agent.scripts[LOOK] = saying(NEWS)
        await gateway.runtime.add_mission("inbox", YEARLY, LOOK, notify=app)
        with trio.fail_after(_PATIENCE_S):
            run = await gateway.runtime.run_mission("inbox")
        assert [outcome.status for outcome in run.outcomes] == ["delivered"]
        shown = await gateway.surfaces[app].until_said(NEWS)
        assert [outcome.platform_message_id for outcome in run.outcomes] == [shown.message_id]
        await gateway.until_noted(session, NEWS)
        for one in PLATFORMS:
            await gateway.says(one, f"what was that, asks {one}")
            assert noted(gateway.agent.shown[f"what was that, asks {one}"]) == [NEWS]
            if one != app:
                assert NEWS not in await gateway.surfaces[one].texts()
        if gateway.surfaces[app].quotes:
            await gateway.says(app, "the second one", reply_to=shown.message_id)
            quoted = gateway.agent.quoted["the second one"]
            assert quoted is not None
            assert (quoted.mission, quoted.text) == ("inbox", NEWS)


@pytest.mark.parametrize("app", PLATFORMS)
async def test_a_platform_that_dies_harms_no_other_and_is_heard_again_once_it_is_back(
    app: str, tmp_path: Path
) -> None:
    others = [one for one in PLATFORMS if one != app]
    async with on_platforms(tmp_path) as gateway:
        for one in PLATFORMS:
            await gateway.says(one, f"hello from {one}")
        (session,) = await gateway.sessions()
        gateway.agent.scripts[LOOK] = saying(NEWS)
        await gateway.runtime.add_mission("inbox", YEARLY, LOOK, notify=app)
        surface = gateway.surfaces[app]
        await surface.dies()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(gateway.runtime.run_mission, "inbox")  # ends when it is told
            for one in others:
                for number in range(3):
                    await gateway.says(one, f"{one} {number} without {app}")
            states = await gateway.states()
            assert [states[one] for one in others] == ["connected"] * len(others)
            await surface.comes_back()
            await surface.until_said(NEWS)
        await gateway.until_connected()
        for number in range(3):
            await surface.says(0, f"back {number}")
        answered = [f"re: back {number}" for number in range(3)]
        texts = await surface.until(lambda texts: len(texts) >= 5)
        assert texts == [f"re: hello from {app}", NEWS, *answered]
        assert await gateway.sessions() == {session}
        await gateway.says(others[0], "what did I miss?")
        behalf = said_on_behalf(gateway.agent.shown["what did I miss?"])
        assert behalf[-4:] == [NEWS, *answered]
