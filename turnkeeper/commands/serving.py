"""`run` and `chat`: a runtime in this process, or a terminal in that of another one."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import trio

from ..actors.core.records import MalformedRecord
from ..actors.errors import TurnRefused
from ..agent import Agent
from ..agents import load_agent
from ..builtin_agent import builtin_agent
from ..channels.base import Channel
from ..collector import relax_collector
from ..config import Config, ConfigError, load_config
from ..control import BadLine, ControlServer, RequestFailed, connect
from ..join import JoinedConsole
from ..kinds import make_channel
from ..live import Presence, channel_states, live_operations, this_process
from ..opening import open_runtime
from ..reload import Reloaded
from ..runtime import Runtime
from ..serve import serve
from ..shared_console import SharedConsole
from ..storage.errors import StorageError, StoreLocked
from .acting import ask_live
from .base import INTERRUPTED, Command, CommandError, Exit, Invocation, argument
from .output import hint, print_fields, print_json, print_line

__all__ = ["COMMANDS"]

logger = logging.getLogger("turnkeeper")

_JOIN_PATIENCE_S: Final = 3.0
"""How long a runtime that holds the state directory may take to open its control socket."""
_STDIN: Final = 0
_STDOUT: Final = 1
_STDERR: Final = 2
_LOOK_AGAIN_S: Final = 0.05
_CONSOLE: Final = "console"


# -- run -----------------------------------------------------------------------------------------


def _run(invocation: Invocation) -> int:
    host = _Host(invocation, local=False)
    relax_collector()
    try:
        return trio.run(host.run)
    except StoreLocked as locked:
        raise StoreLocked(f"{locked}; `turnkeeper chat` joins it") from locked


class _Host:
    """A runtime with the channels of the configuration and a console that others can join."""

    def __init__(self, invocation: Invocation, *, local: bool) -> None:
        """Read the configuration; `local`: always with a console at this terminal.

        Raises:
            ConfigError: it is wrong.
        """
        self._state_dir = invocation.state_dir
        self._config = invocation.config.absolute() if invocation.config else None
        self._settings = load_config(invocation.config)
        reference = invocation.arguments.agent or self._settings.agent
        self._agent: Agent = load_agent(reference) if reference else builtin_agent
        self._make_channels = partial(
            _make_channels, conversation=invocation.arguments.conversation, local=local
        )
        self._channels, self._console = self._make_channels(self._settings)
        self._kinds = {c.name: c.kind for c in self._settings.channels if c.kind is not None}
        self._terminals = [fd for fd in (_STDIN, _STDOUT, _STDERR) if os.isatty(fd)]

    async def run(self) -> int:
        """Run until a signal, or until no channel can hear anything any more."""
        since = datetime.now(UTC)
        numbers = [signal.SIGINT, signal.SIGTERM]
        if self._config is not None:
            numbers.append(signal.SIGHUP)
        with trio.open_signal_receiver(*numbers) as signals:
            async with open_runtime(
                self._state_dir,
                agent=self._agent,
                channels=self._channels,
                config=_without_kinds(self._settings, self._kinds),
            ) as runtime:
                presence = this_process(since, channel_states(self._channels, self._kinds))
                self._open_control_socket(runtime, presence)
                self._greet(presence)
                await serve(runtime, signals, partial(self._hung_up, runtime))
        return Exit.FAILED if self._console.failures else Exit.OK

    def _open_control_socket(self, runtime: Runtime, presence: Presence) -> None:
        try:
            reload = partial(self._reload, runtime)
            operations = live_operations(runtime, self._console, presence, reload)
            server = ControlServer(self._state_dir, operations)
        except OSError as error:
            logger.warning("no control socket, so that nobody can join: %s", error)
        else:
            runtime.start_soon(server.serve)

    # -- a changed configuration -----------------------------------------------------------------

    async def _reload(self, runtime: Runtime) -> Reloaded:
        """Follow the configuration file as it is now.

        Raises:
            ConfigError: it is wrong, or there is none; nothing was changed.
        """
        if self._config is None:
            raise ConfigError(
                "the runtime has no configuration file to read again: it was started without "
                "--config"
            )
        wanted = await trio.to_thread.run_sync(load_config, self._config)
        self._make_channels(wanted)  # as the next start will
        reloaded = await runtime.reload(_without_kinds(wanted, self._kinds))
        logger.info("applied from %s: %s", self._config, "; ".join(reloaded.applied) or "nothing")
        if reloaded.waiting:
            logger.warning("waits for a restart: %s", "; ".join(reloaded.waiting))
        return reloaded

    def _hung_up(self, runtime: Runtime) -> bool:
        """Reload at SIGHUP; False where it says that the terminal has gone."""
        if not all(os.isatty(fd) for fd in self._terminals):
            return False
        runtime.start_soon(self._reload_unasked, runtime)
        return True

    async def _reload_unasked(self, runtime: Runtime) -> None:
        try:
            await self._reload(runtime)
        except (ConfigError, StorageError, MalformedRecord, TurnRefused) as error:
            logger.error("SIGHUP: nothing was changed: %s", error)  # noqa: TRY400

    def _greet(self, presence: Presence) -> None:
        names = ", ".join(channel.name for channel in presence.channels)
        logger.info("process %d runs on %s; channels: %s", presence.pid, self._state_dir, names)
        if os.isatty(_STDIN) and os.isatty(_STDERR):
            hint(
                f"turnkeeper runs on {self._state_dir} (channels: {names}). "
                "`turnkeeper chat` joins from another terminal; Ctrl-C stops."
            )


def _without_kinds(settings: Config, made: Mapping[str, str]) -> Config:
    """The settings where channels of these names and kinds are made already: their rules stay."""
    channels = tuple(
        replace(channel, kind=None) if channel.kind == made.get(channel.name) else channel
        for channel in settings.channels
    )
    return replace(settings, channels=channels)


def _make_channels(
    settings: Config, *, conversation: str | None, local: bool
) -> tuple[list[Channel], SharedConsole]:
    """Every channel, and among them the console that other terminals join."""
    overrides: dict[str, Any] = {"conversation": conversation} if conversation else {}
    if local:
        overrides["local"] = True
    channels: list[Channel] = []
    console: SharedConsole | None = None
    for config in settings.channels:
        if config.agent not in (None, "main"):
            raise ConfigError(
                f"[channels.{config.name}]: agent {config.agent!r}: the command line runs one "
                "agent, 'main'; several need a program of your own (turnkeeper.open_runtime)"
            )
        channel = make_channel(config)
        if config.kind == _CONSOLE and console is None:
            stays = len(settings.channels) > 1
            channel = console = SharedConsole(
                config.name, stays=stays, **{**config.options, **overrides}
            )
        channels.append(channel)
    if console is None:
        name = _free_name({str(channel.name) for channel in channels})
        try:
            console = SharedConsole(name, **{"local": not channels, **overrides})
        except ValueError as error:
            raise ConfigError(
                "there is no stdin or stdout to talk through: pipe something in, or configure a "
                "channel with --config"
            ) from error
        channels.append(console)
    return channels, console


def _free_name(taken: set[str]) -> str:
    name = _CONSOLE
    while name in taken:
        name += "-1"
    return name


# -- chat ----------------------------------------------------------------------------------------


def _chat(invocation: Invocation) -> int:
    return trio.run(_join_or_host, invocation)


async def _join_or_host(invocation: Invocation) -> int:
    try:
        code = await _join(invocation)
    except PermissionError:
        code = None  # opening the store says what is wrong with the directory
    if code is not None:
        return code
    try:
        return await _Host(invocation, local=True).run()
    except StoreLocked:
        # It has started between our look and now, or is just about to open its socket.
        give_up_at = trio.current_time() + _JOIN_PATIENCE_S
        while (code := await _join(invocation)) is None:
            if trio.current_time() > give_up_at:
                raise
            await trio.sleep(_LOOK_AGAIN_S)
        return code


async def _join(invocation: Invocation) -> int | None:
    """Take part in the runtime that runs on the state directory; None if none does."""
    async with connect(invocation.state_dir) as lines:
        if lines is None:
            return None
        if invocation.arguments.agent or invocation.config:
            hint("joined a runtime that runs already: --agent and --config have no effect")
        console = JoinedConsole(lines)
        try:
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                await console.join(invocation.arguments.conversation, signals)
        except (RequestFailed, BadLine) as error:
            raise CommandError(f"the runtime on {invocation.state_dir} refused: {error}") from error
    if console.interrupted:
        return INTERRUPTED
    if console.lost:
        raise CommandError(
            "the runtime has stopped; what it accepted is kept, and `turnkeeper chat` goes on"
        )
    return Exit.FAILED if console.failures else Exit.OK


_SHARED: Final = (
    argument(
        "--agent",
        metavar="MODULE:NAME",
        help="the async function that answers; default: the configuration's, else a built-in one",
    ),
    argument(
        "--conversation",
        metavar="NAME",
        help="conversation of the console (default: the configuration's, else local)",
    ),
)

# -- reload --------------------------------------------------------------------------------------


def _reload(invocation: Invocation) -> int:
    reloaded = ask_live(
        invocation, "reload", "so there is nothing to tell: the next start reads its configuration"
    )
    if invocation.json:
        print_json(reloaded)
        return Exit.OK
    rows = [("applied", key) for key in reloaded["applied"]]
    rows.extend(("at restart", key) for key in reloaded["waiting"])
    print_fields(rows)
    if not rows:
        print_line("nothing has changed")
    return Exit.OK


COMMANDS: Final = (
    Command(
        words=("run",),
        summary="run the gateway, or answer what is piped in",
        action=_run,
        arguments=_SHARED,
        examples=(
            'echo "hello" | turnkeeper run',
            "turnkeeper run --agent my_agent:answer",
            "turnkeeper run --config turnkeeper.toml -v",
        ),
    ),
    Command(
        words=("chat",),
        summary="talk in this terminal, in the runtime that runs or in one of its own",
        action=_chat,
        arguments=_SHARED,
        examples=("turnkeeper chat", 'echo "hello" | turnkeeper chat --conversation work'),
    ),
    Command(
        words=("reload",),
        summary="let the runtime that runs read its configuration file again",
        details=(
            "Access, scopes, when sessions begin anew, [pairing] and [missions] are followed at "
            "once; all else waits for a restart, and is named. A file that is wrong changes "
            "nothing. SIGHUP does the same."
        ),
        action=_reload,
        examples=("turnkeeper reload", "turnkeeper reload --json | jq .waiting"),
        lists=True,
    ),
)
