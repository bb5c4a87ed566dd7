"""A runtime that answers on its control socket, and the command line beside it or after it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import turnkeeper as tk
from turnkeeper.cli import main
from turnkeeper.config import ConfigError
from turnkeeper.control import ControlServer
from turnkeeper.live import channel_states, live_operations, this_process
from turnkeeper.reload import Reloaded
from turnkeeper.shared_console import SharedConsole
from turnkeeper.testing import LoopbackChannel

from .command import turnkeeper

ASKED = frozenset(
    {
        "add",
        "allow",
        "approve",
        "clear",
        "create",
        "link",
        "pair",
        "refused",
        "reload",
        "revoke",
        "unlink",
        "unpair",
    }
)
"""Commands that ask the runtime only; the others open the store, which a process does once."""


async def echo(turn: tk.Turn) -> str:
    await trio.lowlevel.checkpoint()
    return f"{turn.context.unified_user_id} said {turn.text}"


@dataclass
class Gateway:
    """A state directory, what happens on it, and what is typed about it."""

    state_dir: Path
    capsys: pytest.CaptureFixture[str]
    channels: dict[str, LoopbackChannel] = field(default_factory=dict[str, LoopbackChannel])
    platforms: Mapping[str, str] = field(
        default_factory=lambda: {"tg": "telegram", "dc": "discord"}
    )
    config: Any = None
    """What `reload` reads; None for nothing."""
    runtime: tk.Runtime | None = None
    """While it is up."""

    async def run(self, *arguments: object) -> tuple[int, str, str]:
        """The command line: its exit code, what it printed, and what it complained about."""
        words = [*map(str, arguments), "--state", str(self.state_dir)]
        if self.runtime is not None and ASKED.isdisjoint(words[:2]):
            ended = await trio.to_thread.run_sync(partial(turnkeeper, *words))
            return ended.returncode, ended.stdout, ended.stderr
        self.capsys.readouterr()
        code = await trio.to_thread.run_sync(main, words)
        out, err = self.capsys.readouterr()
        return code, out, err

    async def done(self, *arguments: object) -> str:
        """What the command printed; it must not fail."""
        code, out, err = await self.run(*arguments)
        assert (code, err) == (0, "")
        return out

    async def complaint(self, exit_code: int, *arguments: object) -> str:
        """The one line with which the command fails."""
        code, out, err = await self.run(*arguments)
        assert (code, out) == (exit_code, "")
        assert err.startswith("turnkeeper: ")
        assert err.count("\n") == 1
        return err.removeprefix("turnkeeper: ").rstrip("\n")

    @asynccontextmanager
    async def up(self, **options: Any) -> AsyncGenerator[tk.Runtime]:
        """A runtime that can be asked, with a channel for each of the platforms."""
        for name, platform in self.platforms.items():
            self.channels[name] = LoopbackChannel(name, platform=platform)
        channels = list(self.channels.values())
        options = {"agent": echo, "config": self.config, **options}
        async with (
            tk.open_runtime(self.state_dir, channels=channels, **options) as runtime,
            trio.open_nursery() as nursery,
        ):
            presence = this_process(datetime.now(UTC), channel_states(channels, {}))

            async def reload() -> Reloaded:
                if self.config is None:
                    raise ConfigError("there is no configuration file")
                return await runtime.reload(self.config)

            console = SharedConsole(local=False)
            operations = live_operations(runtime, console, presence, reload)
            nursery.start_soon(ControlServer(self.state_dir, operations).serve)
            self.runtime = runtime
            try:
                yield runtime
            finally:
                self.runtime = None
                nursery.cancel_scope.cancel()

    async def say(self, instance: str, user_id: str, text: str = "hello") -> str:
        """A human writes directly, and is answered; returns the answer."""
        channel = self.channels[instance]
        before = len(channel.sent)
        await channel.receive(text, conversation=f"dm-{user_id}", user_id=user_id)
        while len(channel.sent) == before:
            await channel.next_sent()
        return channel.sent[-1].text

    @asynccontextmanager
    async def after(
        self, scene: Callable[[Gateway], Awaitable[object]], how: str
    ) -> AsyncGenerator[None]:
        """Let `scene` happen in a runtime that goes on meanwhile (`live`), or ends (`at rest`)."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.up())
            await scene(self)
            if how == "at rest":
                await stack.aclose()
            yield


HOW = ("live", "at rest")
"""Whether a runtime runs on the state directory."""
