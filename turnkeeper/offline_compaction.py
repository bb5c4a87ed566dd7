"""A compaction in a store that no runtime runs on.

The compactor does it, as it would in a runtime, with the counter and the summariser of the
configuration. No turn runs and nothing is sent: no human is told of it.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NoReturn, cast

import trio

from .actors.compactions import Compact
from .actors.core.compaction import Compacted
from .actors.deletion import why_unknown
from .actors.door import Door
from .actors.journal import find_session
from .actors.messages import SessionId
from .actors.registry import RegistryActor
from .actors.runner import TurnJob, TurnRunner
from .actors.services import Post, Services
from .actors.unknown import UnknownSession
from .compaction import enter_counter, plan_compaction
from .config import Config, SessionConfig
from .engine import next_stream
from .hosting import kernel_of_this_loop
from .offline import rules_at_rest
from .outlook import resting_outlook
from .storage.base import Reads
from .storage.lmdb_store import open_lmdb
from .storage.state_dir import find_store

__all__ = ["compact"]


async def compact(state_dir: Path, session_id: str, settings: Config | None) -> Compacted:
    """Summarise the older part of a session's context in the store in `state_dir`.

    Args:
        state_dir: holds a store already: whoever mistypes its name makes no new one.
        session_id: the session.
        settings: say how large a context may be, what counts it, and who summarises. None: a window
            is as large as that of the newest runtime on the store, and begins with its prompt. A
            summariser that a program has is not known here; the built-in one stands in for it.

    Raises:
        UnknownSession: there is no such session.
        ConfigError: there is no such counter or summariser.
        StorageError: the store cannot be used: a runtime holds it (`StoreLocked`), for example.
        MalformedRecord: what is stored cannot be read.
    """
    find_store(state_dir)
    async with open_lmdb(state_dir) as store, kernel_of_this_loop():
        agent = _agent_of(store, session_id)
        settings = settings or _as_the_newest_runtime(store)
        rules = rules_at_rest(settings)
        services = Services(
            store=store,
            now_us=lambda: time.time_ns() // 1000,
            rules=rules,
            door=Door(store, rules),
            stopping=True,  # what is open belongs to the next start
        )
        async with AsyncExitStack() as stack:
            counter = await enter_counter(stack, settings.session)
            plan = plan_compaction(settings.session, counter, None, {agent})
            services.compactor = plan.compactor(services)
            return await _ask(services, Compact(session_id=SessionId(session_id)))


async def _ask(services: Services, message: Compact) -> Compacted:
    """The answer of a registry that lives for this one question."""
    answer: Compacted | Exception
    async with trio.open_nursery() as nursery:
        registry = RegistryActor.start(services, next_stream(services.store))
        services.registry = registry
        services.post = Post(channels={}, feed=registry, hearers=frozenset())
        services.runner = TurnRunner(nursery, _refuse, registry, max_running=1, timeout_s=0.0)
        try:
            answer = cast("Compacted", await registry.ask(message, block=False))
        except Exception as error:  # noqa: BLE001  (raised below, outside of the nursery)
            answer = error
        finally:
            services.compactor.close()
            registry.stop(block=False)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _as_the_newest_runtime(store: Reads) -> Config:
    """What the store tells of the configuration of the newest runtime on it."""
    rules = resting_outlook(store).rules
    session = SessionConfig(max_context_tokens=rules.max_tokens, system_prompt=rules.system or "")
    return Config(session=session)


def _agent_of(store: Reads, session_id: str) -> str:
    """Who answers in a session.

    Raises:
        UnknownSession: there is no such session.
    """
    found = find_session(store, session_id)
    if found is None:
        raise UnknownSession(why_unknown(store, session_id))
    return found[1].agent


async def _refuse(job: TurnJob) -> NoReturn:
    """Run no agent: no turn begins in a store at rest."""
    raise RuntimeError(f"{job} has begun in a store at rest")
