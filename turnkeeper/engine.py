"""The engine: starts the actors of a runtime, and stops them in the right order.

Starting goes from the inside out: registry, feed, channels. Stopping goes from the outside in:
nothing more is accepted, running agents and sends get a deadline, and the store closes behind the
last commit. The first failed commit ends everything at once, because nothing may be acknowledged
that was not stored.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Final, cast

import trio

from . import views
from .actors.acts import ActRefused, Pair, Unpair
from .actors.bus import Bus
from .actors.core.routing import InstanceRules
from .actors.door import Door
from .actors.erased import newest_erased
from .actors.errands import FollowRules
from .actors.feed import FeedActor
from .actors.happenings import trouble
from .actors.kernel import ActorDeadError
from .actors.ledger import paired_identities
from .actors.messages import CatchUp, Instance, Rotate, SessionId, Wake
from .actors.missions import BeginTicking, StandDown
from .actors.registry import RegistryActor
from .actors.runner import TurnRunner
from .actors.scheduler import SchedulerActor
from .actors.services import NowUs, Post, Ref, Services
from .agent import Agent, TurnHost
from .canonical import canonical_among
from .channels.actor import ChannelActor
from .channels.base import Channel
from .channels.inlet import Inlet
from .channels.retry import RetryPolicy
from .channels.secret import redact
from .compaction import CompactionPlan
from .config import Config, ConfigError
from .config_reset import reset_policy
from .hearing import keep_hearing
from .hooking import serve_hooks
from .hosting import kernel_of_this_loop
from .identifying import Identifier, Resolving
from .identity import IdentityResolver
from .keeping import Keeping
from .mission_config import follow_missions
from .outlook import Outlook, idle_after_us, keep_limits
from .storage.base import Batch, Store, Table
from .storage.blobs import Blobs
from .storage.errors import StorageError
from .sweeping import sweep
from .watermarks import StoredWatermark

__all__ = ["Actors", "Engine", "RuntimeFailed", "next_stream"]

logger = logging.getLogger("turnkeeper")

_LAST_ROUNDS: Final = 2
"""How often everybody catches up before the actors stop: for what ended tasks have told, and for
turns that were to begin because of it and are interrupted instead."""


class RuntimeFailed(Exception):
    """A commit failed and the runtime has stopped; everything acknowledged before is stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Actors:
    """What an engine has started."""

    nursery: trio.Nursery
    registry: Ref
    feed: Ref
    scheduler: Ref
    channels: Mapping[Instance, Ref]


class Engine:
    """The actors of one runtime."""

    def __init__(  # noqa: PLR0913  (independent parts, which `open_runtime` has made)
        self,
        settings: Config,
        store: Store,
        channels: Mapping[Instance, Channel],
        rules: Mapping[Instance, InstanceRules],
        agents: Mapping[str, Agent],
        *,
        state_dir: Path | None,
        compaction: CompactionPlan,
        resolver: IdentityResolver | None,
        clock: Callable[[], datetime] | None,
        seed: int | None,
    ) -> None:
        self.settings = settings
        """What holds now; see `follow`."""
        self._store = store
        self._channels = channels
        self._rules = rules
        self._canonical = canonical_among(channels.values())
        self.agents = agents
        self.resolver = (
            Resolving(resolver, settings.identity.resolver_timeout_s)
            if resolver is not None
            else None
        )
        """The program's own identity resolver, if it has brought one."""
        self.now_us = _now_us(clock)
        """The time, in microseconds since the Unix epoch, UTC."""
        self._compaction = compaction
        blobs = Blobs(state_dir, self.now_us) if state_dir is not None else None
        self.keeping = Keeping(blobs, settings.runtime.attachment_max_bytes)
        """What it keeps of files."""
        self._rng = Random(seed)  # noqa: S311  (jitter needs no secrecy)
        self._inlets: dict[Instance, Inlet] = {}
        self._patience = trio.CancelScope()
        self._patience_s = settings.runtime.stop_deadline_s
        self.bus = Bus()
        """Tells whoever watches what has happened."""
        self.exhausted = trio.Event()
        """Set once no channel can ever hear anything again."""

    @property
    def rules(self) -> Mapping[Instance, InstanceRules]:
        """How it is judged and routed now."""
        return self._services.rules

    def outlook(self) -> Outlook:
        """By what a session is shown now."""
        idle_us = idle_after_us(self.settings.session)
        return Outlook(self.now_us(), idle_us, self._host.rules)

    def hurry(self) -> None:
        """Let a stop that has begun, or begins, wait for nothing."""
        self._patience_s = 0.0
        self._patience.cancel()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Actors]:
        """Run for as long as the block lasts.

        Raises:
            ConfigError: a pair, a mission or the address for hooks cannot be had.
            RuntimeFailed: a commit failed.
            StoreUnusable: the operating system refuses the folder of kept files.
        """
        raised: BaseException | None = None
        await self.keeping.clear_leftovers()
        async with kernel_of_this_loop(), AsyncExitStack() as stack, trio.open_nursery() as nursery:
            actors = self._start(nursery)
            stack.push_async_callback(self._stop, actors)
            body = trio.CancelScope()
            nursery.start_soon(self._watch_store, body)
            try:
                with body:
                    await keep_limits(self._store, self.outlook())
                    await _ask_pairs(actors.registry, self._missing_pairs(self.settings))
                    await follow_missions(actors.scheduler, self._store, self.settings.missions)
                    await serve_hooks(self._channels.values(), self.settings.http, nursery)
                    actors.scheduler.tell(BeginTicking())
                    nursery.start_soon(self._hear_all)
                    yield actors
            except BaseException as error:
                self.hurry()
                if isinstance(error, trio.Cancelled):
                    raise
                raised = error  # the body's own: raised below, outside of the nursery
            finally:
                with trio.CancelScope(shield=True), suppress(ActorDeadError):
                    await self._drain(actors)
                self._services.stopping = True
                nursery.cancel_scope.cancel()
        if raised is not None:
            raise raised
        if self._store.failure is not None:
            raise RuntimeFailed(f"the store failed: {self._store.failure}") from self._store.failure

    # -- starting --------------------------------------------------------------------------------

    def _start(self, nursery: trio.Nursery) -> Actors:
        store, now_us = self._store, self.now_us
        services = self._services = self._make_services()
        registry = RegistryActor.start(services, next_stream(store))
        services.registry = registry
        services.compactor = self._compactor = self._compaction.compactor(services)
        services.runner = self._runner = self._make_runner(nursery, registry)
        refs = self._start_channels(nursery, registry)
        feed = FeedActor.start(store, now_us, registry, self.bus)
        scheduler = SchedulerActor.start(services, frozenset(self.agents), nursery)
        services.post = self._make_post(refs, feed, scheduler)
        nursery.start_soon(self._wake_open_sessions, registry)
        nursery.start_soon(self._rotate, registry)
        nursery.start_soon(sweep, store, now_us, self.keeping.blobs)
        return Actors(
            nursery=nursery, registry=registry, feed=feed, scheduler=scheduler, channels=refs
        )

    def _make_services(self) -> Services:
        """What all shells use: without the actors, which are not there yet."""
        session = self.settings.session
        return Services(
            store=self._store,
            now_us=self.now_us,
            rules=self._rules,
            door=Door(self._store, self._rules),
            canonical=self._canonical,
            redact=redact,
            self_link=self.settings.identity.self_link,
            resolve=self.resolver.resolve if self.resolver is not None else None,
            tell_resolver=self.resolver.report if self.resolver is not None else None,
            failure_notice=session.failure_notice or None,
            compaction_notice=session.compaction_notice or None,
            commands=session.commands,
            reset=reset_policy(session),
            bus=self.bus,
        )

    def _make_runner(self, nursery: trio.Nursery, registry: Ref) -> TurnRunner:
        """Who gives turns to the agents."""
        self._host = TurnHost(
            self.agents,
            self._store,
            registry,
            Identifier(self._services, self.resolver),
            self.keeping,
            services=self._services,
            outlook=self.outlook,
        )
        return TurnRunner(
            nursery,
            self._host,
            registry,
            max_running=self.settings.runtime.max_running_turns,
            timeout_s=self.settings.session.turn_timeout_s,
            redact=redact,
        )

    def _start_channels(self, nursery: trio.Nursery, registry: Ref) -> dict[Instance, Ref]:
        """Let the channels send, and give them what they need to hear."""
        runtime = self.settings.runtime
        policy = RetryPolicy(
            max_attempts=runtime.delivery_max_attempts, max_age_s=runtime.delivery_max_age_s
        )
        refs: dict[Instance, Ref] = {}
        for name, channel in self._channels.items():
            refs[name] = ChannelActor.start(
                channel,
                registry,
                nursery,
                policy=policy,
                now_us=self.now_us,
                rng=self._rng,
                read_file=self.keeping.fetch,
            )
            self._inlets[name] = inlet = Inlet(
                name, registry, self.keeping.keep, channel.line.heard
            )
            channel.keep_file = inlet.keep
            channel.watermark = StoredWatermark(self._store, name)
            channel.line.clock = self.now_us
        return refs

    def _make_post(self, channels: Mapping[Instance, Ref], feed: Ref, scheduler: Ref) -> Post:
        """Where shells find whom they tell something."""
        powers = {name: channel.powers for name, channel in self._channels.items()}
        return Post(
            channels=channels,
            feed=feed,
            hearers=frozenset(name for name, p in powers.items() if p.hears_turn_ends),
            watchers=frozenset(
                name
                for name, p in powers.items()
                if p.typing_every_s is not None or p.draft_every_s is not None
            ),
            receipted=frozenset(name for name, p in powers.items() if p.late_receipts),
            scheduler=scheduler,
        )

    async def follow(
        self, actors: Actors, settings: Config, rules: Mapping[Instance, InstanceRules]
    ) -> None:
        """Judge and route by `rules` from now on, and pair and schedule as `settings` say.

        Raises:
            ConfigError: a pair or a mission cannot be made; nothing was changed.
        """
        registry, missions = actors.registry, settings.missions
        follow_rules = FollowRules(
            rules=rules,
            commands=settings.session.commands,
            reset=reset_policy(settings.session),
        )
        pairs = self._missing_pairs(settings)
        await _ask_pairs(registry, [replace(pair, dry_run=True) for pair in pairs])
        await follow_missions(actors.scheduler, self._store, missions, dry_run=True)
        await registry.ask(follow_rules, block=False)
        self.settings = settings
        await keep_limits(self._store, self.outlook())
        await _ask_pairs(registry, pairs)
        await follow_missions(actors.scheduler, self._store, missions)

    def _wanted_pairs(self, settings: Config) -> dict[tuple[str, str], SessionId]:
        wanted: dict[tuple[str, str], SessionId] = {}
        for pair in settings.pairing:
            try:
                who = pair.platform, self._canonical(pair.platform, pair.user_id)
            except ValueError as error:
                raise ConfigError(f"[pairing] {pair.user_id}@{pair.platform}: {error}") from error
            if wanted.setdefault(who, SessionId(pair.session)) != pair.session:
                raise ConfigError(f"[pairing] pairs {who[1]}@{who[0]} with two sessions")
        return wanted

    def _missing_pairs(self, settings: Config) -> list[Pair | Unpair]:
        """What makes the pairs of `settings` the ones that are written down."""
        wanted = self._wanted_pairs(settings)
        missing: list[Pair | Unpair] = []
        for row in paired_identities(self._store):
            who = row.platform, row.user_id
            if row.paired_by == "config" and who not in wanted:
                missing.append(Unpair(platform=who[0], user_id=who[1], by="config"))
            elif row.paired_by == "config" and row.session_id == wanted[who]:
                del wanted[who]
        missing.extend(
            Pair(platform=platform, user_id=user_id, session_id=session_id, by="config")
            for (platform, user_id), session_id in wanted.items()
        )
        return missing

    async def _hear_all(self) -> None:
        if not self._channels:
            return
        async with trio.open_nursery() as nursery:
            for name, channel in self._channels.items():
                hear = partial(keep_hearing, bus=self.bus, now_us=self.now_us, rng=self._rng)
                nursery.start_soon(hear, channel, self._inlets[name])
        self.exhausted.set()

    async def _wake_open_sessions(self, registry: Ref) -> None:
        """Bring in what the last process left open, beside what happens already."""
        for page in views.open_sessions(self._store):
            for session_id in page:
                registry.tell(Wake(session_id=session_id))
            await trio.lowlevel.checkpoint()

    async def _rotate(self, registry: Ref) -> None:
        while True:
            await trio.sleep(self.settings.session.idle_after_s)
            registry.tell(Rotate())

    # -- stopping --------------------------------------------------------------------------------

    async def _watch_store(self, body: trio.CancelScope) -> None:
        error = await self._store.wait_failed()
        logger.critical("the store failed; nothing is acknowledged any more: %s", error)
        self.bus.publish(trouble("store", error, self.now_us()))
        for inlet in self._inlets.values():
            inlet.close()
        self.hurry()
        body.cancel()

    async def _drain(self, actors: Actors) -> None:
        """Accept nothing more, let what runs come to an end, and interrupt what does not."""
        for inlet in self._inlets.values():
            inlet.close()
        self._compactor.close()
        if self._store.failure is None:
            self._patience.deadline = trio.current_time() + self._patience_s
            with self._patience:
                await actors.scheduler.ask(StandDown(), block=False)
                await self._runner.drain()
                await self._catch_up(actors.registry)
                await self._settle_sends(actors)
            await self._runner.interrupt()
            await self._catch_up(actors.registry)

    async def _stop(self, actors: Actors) -> None:
        """Stop the actors, now that no task is left which could tell them anything."""
        # The actors may be dead: an embedding program's kernel dies with that program's cancelled
        # tasks. What they had not decided by then is decided after the restart.
        with trio.CancelScope(shield=True), suppress(ActorDeadError):
            for _ in range(_LAST_ROUNDS if self._store.failure is None else 0):
                await self._catch_up(actors.registry)
            refs = [*actors.channels.values(), *await self._sessions(actors.registry)]
            for ref in (*refs, actors.feed, actors.scheduler, actors.registry):
                ref.stop(block=False)
        self.bus.close()

    async def _settle_sends(self, actors: Actors) -> None:
        """Wait until every send has ended, and those that follow from its end."""
        sends = -1
        while True:
            counts = [await ref.ask(CatchUp(), block=False) for ref in actors.channels.values()]
            if sum(counts) == sends:
                return
            sends = sum(counts)
            await self._catch_up(actors.registry)

    async def _sessions(self, registry: Ref) -> tuple[Ref, ...]:
        return cast("tuple[Ref, ...]", await registry.ask(CatchUp(), block=False))

    async def _catch_up(self, registry: Ref) -> None:
        """Return once everything said so far has been decided on and is durable."""
        answers = [ref.ask(CatchUp(), block=False) for ref in await self._sessions(registry)]
        for answer in answers:
            try:
                await answer
            except ActorDeadError:
                continue  # it has left memory, and with it nothing open
        with suppress(StorageError):  # whoever watches the store ends the runtime
            await self._store.commit(Batch())


async def _ask_pairs(registry: Ref, pairs: Sequence[Pair | Unpair]) -> None:
    """Carry out what the configuration says of pairs.

    Raises:
        ConfigError: one of them cannot be made.
    """
    for pair in pairs:
        try:
            await registry.ask(pair, block=False)
        except ActRefused as error:
            raise ConfigError(f"[pairing] {pair.user_id}@{pair.platform}: {error}") from error


def next_stream(store: Store) -> int:
    """Number of the next session."""
    newest = store.scan(Table.HEADS, limit=1, reverse=True)
    living = int.from_bytes(newest[0][0], "big") if newest else 0
    return max(living, newest_erased(store)) + 1


def _now_us(clock: Callable[[], datetime] | None) -> NowUs:
    if clock is None:
        return lambda: time.time_ns() // 1000
    return lambda: int(clock().timestamp() * 1_000_000)
