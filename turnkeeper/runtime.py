"""The runtime: what an embedding program holds while turnkeeper runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from os import PathLike
from typing import Any, cast

import trio

from .actors.deliveries import LaneSeen, LookAtLanes
from .actors.kernel import ActorDeadError
from .actors.messages import FindSession, Instance, SessionId
from .actors.services import Ref
from .channel_status import ChannelStatus, status_of
from .channels.base import Channel
from .config import Config, load_config
from .deciding import Deciding
from .engine import RuntimeFailed
from .instances import instances_of
from .planning import Planning
from .reload import Reloaded, follow
from .rules import agents_of, check_exposure, instance_rules
from .speaking import Speaking

__all__ = ["Runtime", "RuntimeFailed"]


class Runtime(Speaking, Deciding, Planning):
    """A running turnkeeper. Made by :func:`open_runtime`."""

    async def reload(self, config: Config | Mapping[str, Any] | str | PathLike[str]) -> Reloaded:
        """Follow what `config` says now of access, scopes, resets, pairs and missions.

        All else waits for a restart.

        No conversation that has a session moves because of a scope.

        Raises:
            ConfigError: it is wrong, or the next start would refuse its channels; nothing was
                changed.
        """
        async with self._reloading:
            wanted = await trio.to_thread.run_sync(load_config, config)
            self._check_next_start(wanted)
            settings, reloaded = follow(self._engine.settings, wanted, self._channels)
            agent_of = agents_of(self._channels, settings, self._engine.agents)
            rules = instance_rules(settings, self._channels, agent_of)
            check_exposure(self._channels, rules)
            await self._engine.follow(self._actors, settings, rules)
        return reloaded

    def _check_next_start(self, wanted: Config) -> None:
        """Refuse what the next start would refuse: what waits for it is to be right, too.

        Raises:
            ConfigError: it would.
        """
        instances = instances_of(wanted, self._made_in_code())
        agent_of = agents_of(instances, wanted, self._engine.agents)
        check_exposure(instances, instance_rules(wanted, instances, agent_of))

    def _made_in_code(self) -> list[Channel]:
        """The running channels that no configuration describes."""
        described = {
            section.name for section in self._engine.settings.channels if section.kind is not None
        }
        return [channel for name, channel in self._channels.items() if name not in described]

    async def channel_statuses(self) -> list[ChannelStatus]:
        """How each channel is doing: its connection, and what waits to be sent."""
        return [
            status_of(channel, await self._lanes_of(name))
            for name, channel in self._channels.items()
        ]

    async def _lanes_of(self, name: Instance) -> tuple[LaneSeen, ...]:
        try:
            lanes = await self._channel_refs[name].ask(LookAtLanes(), block=False)
        except ActorDeadError:
            return ()  # the runtime has stopped: what waits is on disk
        return cast("tuple[LaneSeen, ...]", lanes)

    def channel_ref(self, instance: str) -> Ref:
        """The actor of a channel instance.

        Raises:
            KeyError: there is no such instance.
        """
        return self._channel_refs[Instance(instance)]

    async def session_ref(self, session_id: str) -> Ref:
        """The actor of a session, brought into memory if need be.

        Raises:
            UnknownSession: there is none of this id.
        """
        found = await self._registry.ask(FindSession(session_id=SessionId(session_id)), block=False)
        return cast("Ref", found)

    async def wait_exhausted(self) -> None:
        """Return once no channel can ever hear anything again (a piped stdin has ended)."""
        await self._engine.exhausted.wait()

    def start_soon(self, task: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run `task` beside the runtime; it is cancelled when the runtime has stopped."""
        self._nursery.start_soon(task, *args)

    def hurry(self) -> None:
        """Give up the patience of stopping: interrupt what still runs."""
        self._engine.hurry()
