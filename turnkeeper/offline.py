"""An act on a store that no runtime runs on.

The registry carries it out, as it would in a runtime. No session wakes, no turn runs and nothing is
sent: whoever would be told is told nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from .actors.acts import Act
from .actors.core.access import AccessRules
from .actors.core.routing import InstanceRules, read_binding
from .actors.deletion import why_unknown
from .actors.door import Door
from .actors.journal import batch_for, load_conversation, load_session_number
from .actors.ledger import starting_with
from .actors.messages import Cleared, Instance, SessionId
from .actors.missions import MissionAct
from .actors.registry import RegistryActor
from .actors.scheduler import SchedulerActor
from .actors.services import Post, Ref, Services
from .actors.unknown import UnknownSession
from .canonical import canonical_user_id
from .config import Config
from .engine import next_stream
from .hosting import kernel_of_this_loop
from .kinds import platform_of_kind
from .missions import MissionInfo, mission_info
from .rules import scope_rules
from .storage.base import Reads, Store, Table
from .storage.codec import decode
from .storage.lmdb_store import open_lmdb
from .storage.state_dir import find_store

__all__ = [
    "USUAL_AGENT",
    "clear",
    "perform",
    "perform_mission",
    "platform_of",
    "registry_at_rest",
    "rules_at_rest",
]

USUAL_AGENT: Final = "main"
"""Who answers where a section names nobody."""


async def perform(state_dir: Path, act: Act, settings: Config) -> Any:
    """Carry out `act` on the store in `state_dir`; return what the registry answers.

    Args:
        state_dir: holds a store already: whoever mistypes its name makes no new one.
        act: what to do.
        settings: says by which scopes a conversation is moved where no session is named.

    Raises:
        ActRefused: it makes no sense as things are; nothing was changed.
        StorageError: the store cannot be used: a runtime holds it (`StoreLocked`), for example.
        MalformedRecord: what is stored cannot be read.
    """
    async with registry_at_rest(state_dir, settings) as (_, registry):
        return await registry.ask(act, block=False)


@asynccontextmanager
async def registry_at_rest(state_dir: Path, settings: Config) -> AsyncGenerator[tuple[Store, Ref]]:
    """The store in `state_dir`, and a registry that carries out acts on it.

    Raises:
        StorageError: as for :func:`perform`.
    """
    find_store(state_dir)
    async with open_lmdb(state_dir) as store, kernel_of_this_loop():
        rules = rules_at_rest(settings)
        services = Services(
            store=store,
            now_us=lambda: time.time_ns() // 1000,
            rules=rules,
            door=Door(store, rules),
            canonical=canonical_user_id,
        )
        registry = RegistryActor.start(services, next_stream(store))
        services.registry = registry
        services.post = Post(channels={}, feed=registry, hearers=frozenset())
        try:
            yield store, registry
        finally:
            registry.stop(block=False)


async def clear(state_dir: Path, session_id: str) -> Cleared:
    """Let the context of a session begin anew in the store in `state_dir`.

    Raises:
        UnknownSession: there is no such session.
        StorageError, MalformedRecord: as for :func:`perform`.
    """
    find_store(state_dir)
    async with open_lmdb(state_dir) as store:
        stream = load_session_number(store, session_id)
        conversation = load_conversation(store, stream) if stream is not None else None
        if stream is None or conversation is None:
            raise UnknownSession(why_unknown(store, session_id))
        step = conversation.clear("operator", time.time_ns() // 1000)
        await store.commit(batch_for(stream, conversation, step))
        return Cleared(session_id=SessionId(session_id), seq=step.first_seq)


async def perform_mission(state_dir: Path, act: MissionAct, settings: Config) -> MissionInfo:
    """Add, pause, resume or remove a mission on the store in `state_dir`; return what it is then.

    Args:
        state_dir: holds a store already.
        act: what to do.
        settings: says which instances there are. Which agents there are, nobody knows.

    Raises:
        MissionRefused: it makes no sense; nothing was changed.
        UnknownMission: there is no such mission.
        StorageError, MalformedRecord: as for :func:`perform`.
    """
    find_store(state_dir)
    async with open_lmdb(state_dir) as store, kernel_of_this_loop():
        rules = rules_at_rest(settings)
        services = Services(
            store=store,
            now_us=lambda: time.time_ns() // 1000,
            rules=rules,
            door=Door(store, rules),
        )
        scheduler = SchedulerActor.start(services, None, None)
        try:
            return mission_info(store, await scheduler.ask(act, block=False))
        finally:
            scheduler.stop(block=False)


def rules_at_rest(settings: Config) -> dict[Instance, InstanceRules]:
    """How the conversations of the configured instances are routed; access matters to no act."""
    return {
        Instance(section.name): InstanceRules(
            agent=section.agent or USUAL_AGENT,
            scope=scope_rules(settings.session, section),
            access=AccessRules(),
        )
        for section in settings.channels
    }


def platform_of(reads: Reads, settings: Config, instance: str) -> str | None:
    """The platform of an instance that does not run; None if nothing tells it.

    That is its kind in the configuration, or whoever wrote there before.
    """
    for section in settings.channels:
        if section.name == instance and section.kind is not None:
            return platform_of_kind(section.kind)
    for _, data in starting_with(reads, Table.BINDINGS, b""):
        row = read_binding(decode(data))
        if row.instance == instance:
            return row.platform
    return None
