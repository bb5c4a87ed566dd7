"""Opening a runtime: the configuration, channels and agents that make one, checked and joined."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict

from .agent import Agent
from .channels.base import Channel
from .compaction import SummariserSpec, enter_counter, plan_compaction
from .config import Config, ConfigError, load_config
from .config_reset import reset_policy
from .engine import Engine
from .identity import IdentityResolver
from .instances import instances_of
from .rules import agents_of, check_exposure, instance_rules
from .runtime import Runtime
from .storage.base import Store
from .storage.lmdb_store import open_lmdb
from .tokens import CounterSpec

__all__ = ["RuntimeOptions", "open_runtime"]


class RuntimeOptions(TypedDict, total=False):
    """The arguments of :func:`open_runtime`, for those that pass them on."""

    agent: Agent | None
    agents: Mapping[str, Agent] | None
    channels: Sequence[Channel]
    config: Config | Mapping[str, Any] | str | PathLike[str] | None
    store: Store | None
    identity_resolver: IdentityResolver | None
    summariser: SummariserSpec
    token_counter: CounterSpec
    clock: Callable[[], datetime] | None
    seed: int | None


@asynccontextmanager
async def open_runtime(  # noqa: PLR0913  (independent parts, all keywords)
    state_dir: str | PathLike[str] | None,
    *,
    agent: Agent | None = None,
    agents: Mapping[str, Agent] | None = None,
    channels: Sequence[Channel] = (),
    config: Config | Mapping[str, Any] | str | PathLike[str] | None = None,
    store: Store | None = None,
    identity_resolver: IdentityResolver | None = None,
    summariser: SummariserSpec = None,
    token_counter: CounterSpec = None,
    clock: Callable[[], datetime] | None = None,
    seed: int | None = None,
) -> AsyncGenerator[Runtime]:
    """Run turnkeeper inside a trio program for as long as the block lasts.

    Args:
        state_dir: where everything is kept; made if absent. None only with a `store`, and then
            files that come with messages cannot be kept.
        agent: answers the turns of every channel.
        agents: several of them by name; a channel's configuration names its own, else `main`.
        channels: the channel instances; those of `config` are added.
        config: a TOML file, a dict of its shape, or a `Config`.
        store: an open store, instead of the one in `state_dir`; its opener closes it.
        identity_resolver: says which identities are one human, instead of the links in the store.
        summariser: summarises the older part of a conversation that has become too long: an async
            function from a `SummaryRequest` to a text, or one for each agent; by default a summary
            that needs no model.
        token_counter: counts tokens: the name of an encoding, a function from a text to a number,
            or a `TokenCounter`; as the configuration says by default.
        clock: the wall clock, timezone-aware; the system's by default.
        seed: of every random choice (jitter), so that a run can be repeated.

    Raises:
        ConfigError: the configuration is wrong.
        StorageError: the state directory cannot be used; the child says why.
        RuntimeFailed: a commit failed while running.
    """
    settings = load_config(config)
    reset_policy(settings.session)  # a `Config` that a program has made has not been checked
    known = _agents(agent, agents)
    instances = instances_of(settings, channels)
    rules = instance_rules(settings, instances, agents_of(instances, settings, known))
    check_exposure(instances, rules)
    async with AsyncExitStack() as stack:
        counter = await enter_counter(stack, settings.session, token_counter)
        compaction = plan_compaction(settings.session, counter, summariser, known)
        if store is None:
            if state_dir is None:
                raise ConfigError("open_runtime needs a state_dir, or an open store")
            store = await stack.enter_async_context(open_lmdb(Path(state_dir)))
        engine = Engine(
            settings,
            store,
            instances,
            rules,
            known,
            state_dir=Path(state_dir) if state_dir is not None else None,
            compaction=compaction,
            resolver=identity_resolver,
            clock=clock,
            seed=seed,
        )
        async with engine.running() as actors:
            yield Runtime(
                store=store,
                channels=instances,
                engine=engine,
                actors=actors,
            )


def _agents(agent: Agent | None, agents: Mapping[str, Agent] | None) -> dict[str, Agent]:
    if (agent is None) == (agents is None):
        raise ConfigError("give either agent=… or agents={'main': …}")
    known = {"main": agent} if agent is not None else dict(agents or {})
    for name, one in known.items():
        if not callable(one):
            raise ConfigError(f"agent {name!r} must be callable, not {one!r}")
    if not known:
        raise ConfigError("agents is empty")
    return known
