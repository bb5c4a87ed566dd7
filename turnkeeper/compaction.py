"""How contexts are kept small enough, as `[session]` and the program say it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from inspect import iscoroutinefunction, unwrap
from typing import TypeAlias, cast

from .actors.compactor import Compactor, Patience
from .actors.core.compaction import Limits, Summariser
from .actors.services import Services
from .actors.summarising import Offload, in_thread
from .actors.tokens import TokenCounter
from .agents import load_callable
from .config_context import context_limits
from .config_tables import ConfigError, SessionConfig
from .tokens import CounterSpec, open_counter

__all__ = ["CompactionPlan", "SummariserSpec", "enter_counter", "plan_compaction"]

SummariserSpec: TypeAlias = Summariser | Mapping[str, Summariser] | None
"""One for all agents, or by the name of the agent; None for the built-in summary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompactionPlan:
    """What a runtime's compactor is made of."""

    limits: Limits
    counter: TokenCounter
    summarisers: Mapping[str, Summariser]
    patience: Patience
    system: str | None
    offload: Offload = in_thread
    """Runs what takes long where it does not hold up the loop."""

    def compactor(self, services: Services) -> Compactor:
        """The compactor of one runtime."""
        return Compactor(
            services,
            self.counter,
            self.limits,
            summarisers=self.summarisers,
            patience=self.patience,
            system=self.system,
            offload=self.offload,
        )


async def enter_counter(
    stack: AsyncExitStack, session: SessionConfig, given: CounterSpec = None
) -> TokenCounter:
    """The counter that the program has `given`, or else `session` names, closed with `stack`.

    Raises:
        ConfigError: there is no such counter.
    """
    try:
        return await stack.enter_async_context(open_counter(given or session.token_counter))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"config: [session] {error}") from error


def plan_compaction(
    session: SessionConfig,
    counter: TokenCounter,
    summariser: SummariserSpec,
    agents: Collection[str],
) -> CompactionPlan:
    """What the compactor is made of.

    Args:
        session: the table of the configuration.
        counter: counts tokens.
        summariser: as the program gives it; what the table names stands where it gives none.
        agents: the names of those there are.

    Raises:
        ConfigError: the limits contradict each other, or there is no such summariser or agent.
    """
    return CompactionPlan(
        limits=context_limits(session),
        counter=counter,
        summarisers=_summarisers(session, summariser, agents),
        patience=Patience(
            timeout_s=session.summariser_timeout_s,
            attempts=session.summariser_attempts,
            wait_s=session.compaction_wait_s,
        ),
        system=session.system_prompt or None,
    )


def _summarisers(
    session: SessionConfig, given: SummariserSpec, agents: Collection[str]
) -> dict[str, Summariser]:
    if given is None:
        if session.summariser is None:
            return {}
        given = cast("Summariser", load_callable(session.summariser, "summariser"))
    by_agent: dict[str, Summariser] = (
        dict(given)  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(given, Mapping)
        else dict.fromkeys(agents, given)
    )
    for name, one in by_agent.items():
        if name not in agents:
            known = ", ".join(sorted(agents))
            raise ConfigError(f"summariser for agent {name!r}: there is no such agent, but {known}")
        if not _is_async(one):
            raise ConfigError(
                f"the summariser of agent {name!r} must be an async function, not {one!r:.80}"
            )
    return by_agent


def _is_async(one: object) -> bool:
    """Whether something can be called and awaited, as far as can be known without doing it."""
    if not callable(one) or isinstance(one, type):
        return False
    return iscoroutinefunction(unwrap(one)) or iscoroutinefunction(type(one).__call__)
