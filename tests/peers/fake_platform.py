"""What fake platforms have in common: what goes wrong, what was called, and what outlives them."""

from __future__ import annotations

import os
import pickle
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import BaseRoute

from .background import open_background
from .faults import Call, Fault, Faults, Hold, Rates, broken
from .web import Pulse, WebServer, open_web

__all__ = ["FakePlatform", "FaultyServer", "kept_world", "open_fake"]

W = TypeVar("W")


class FaultyServer:
    """A platform's API that a test lets fail; methods are named as the platform does."""

    def __init__(self) -> None:
        """Serve nothing yet."""
        self.faults = Faults()
        self.rates = Rates()
        self.server: WebServer

    async def down(self) -> None:
        """Refuse connections, until `up()`."""
        await self.server.down()

    async def up(self) -> None:
        """Be there again, at the same address."""
        await self.server.up()

    def loses_answers(self, method: str, *, times: int = 1) -> None:
        """Let the platform act, and the connection break before the answer."""
        self.faults.add(Fault(method.lower(), times, after_acting=True))

    def loses_requests(self, method: str, *, times: int = 1) -> None:
        """Let the connection break before the platform acts."""
        self.faults.add(Fault(method.lower(), times))

    def holds(self, method: str) -> Hold:
        """Stop requests of a method before the platform acts, until the hold is released."""
        return self.faults.hold(method.lower())


class FakePlatform(FaultyServer, ABC):
    """A fake platform as a test has it in its hand."""

    def __init__(self, kept: object, state: Path | None) -> None:
        """Serve nothing yet.

        Args:
            kept: all that outlives the process.
            state: the file that it is put into.
        """
        super().__init__()
        self.pulse = Pulse()
        self.calls: list[Call] = []
        self._kept = kept
        self._state = state

    @property
    def url(self) -> str:
        """The base of the API, without a slash at the end."""
        return self.server.url

    @abstractmethod
    def routes(self) -> list[BaseRoute]:
        """What it serves; with what a test does from outside, for a process of its own."""

    @abstractmethod
    async def push(self) -> None:
        """Tell of what happens whoever is to be called, until cancelled."""

    def called(self, method: str) -> list[Call]:
        """The calls of a method that were answered, or broken off, so far."""
        return [call for call in self.calls if call.method.lower() == method.lower()]

    async def changed(self, *, since: int = -1) -> int:
        """Wait until more than `since` things have changed, and say how many did.

        From outside that is the way to wait for what a client does.
        """
        await self.pulse.until(lambda: self.pulse.count > since)
        return self.pulse.count

    async def _unless_it_fails(
        self, method: str, act: Callable[[], Awaitable[Response]]
    ) -> tuple[Response, int]:
        """What `act` answers, or what goes wrong instead; and the status, 0 for no answer."""
        await self.faults.wait(method)
        fault = self.faults.take(method)
        if fault is None or fault.after_acting:
            response = await act()
            if fault is None:
                return response, response.status_code
        return broken(fault), fault.status

    def _keep(self) -> None:
        """Wake who waits, and put the world into its file before anybody is told of it."""
        if self._state is not None:
            written = self._state.with_suffix(".new")
            written.write_bytes(pickle.dumps(self._kept))
            os.replace(written, self._state)
        self.pulse.beat()


def kept_world(state: Path | None, new: Callable[[], W]) -> W:
    """The world in a state file, if there is one; or a `new` one."""
    if state is None or not state.exists():
        return new()
    world: W = pickle.loads(state.read_bytes())
    return world


@asynccontextmanager
async def open_fake(platform: FakePlatform, port: int) -> AsyncGenerator[None]:
    """Serve a platform on loopback until the block ends."""
    app = Starlette(routes=platform.routes())
    async with open_web(app, port=port) as platform.server, open_background() as nursery:
        nursery.start_soon(platform.push)
        yield
