"""Looking: the part of a runtime that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

import trio

from . import memory as memory_views
from . import missions as mission_views
from . import people, stories, views
from .actors.core.routing import InstanceRules
from .actors.core.window import Message
from .actors.door import Refusal
from .actors.errands import ListRefusals
from .actors.messages import (
    Address,
    Instance,
)
from .actors.unknown import UnknownMission, UnknownSession
from .channels.base import Channel
from .engine import Actors, Engine
from .feeding import MAX_BEHIND, Feed
from .links import IdentityLink
from .missions import MissionInfo
from .storage.base import Store

__all__ = ["Looking"]

T = TypeVar("T")


class Looking:
    """What can be asked of a runtime without changing anything."""

    def __init__(
        self,
        *,
        store: Store,
        channels: Mapping[Instance, Channel],
        engine: Engine,
        actors: Actors,
    ) -> None:
        self.store = store
        self._channels = channels
        self._engine = engine
        self._actors = actors
        self._registry = actors.registry
        self._channel_refs = actors.channels
        self._nursery = actors.nursery
        self._resolver = engine.resolver
        self._reloading = trio.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} channels={sorted(self._channels)}>"

    @property
    def channels(self) -> Mapping[Instance, Channel]:
        """The running channels, by instance."""
        return self._channels

    async def sessions(self) -> list[views.SessionInfo]:
        """Every session, the one in which a human wrote last first."""
        return await self.look(views.sessions)

    async def session(self, session_id: str) -> views.SessionInfo:
        """One session.

        Raises:
            UnknownSession: there is none of this id.
        """
        return _found(session_id, views.session_info(self.store, session_id))

    async def history(self, session_id: str) -> list[views.HistoryRecord]:
        """The raw log of a session, oldest first.

        Raises:
            UnknownSession: there is none of this id.
        """
        return _found(session_id, await self.look(views.history, session_id))

    async def context(self, session_id: str) -> tuple[Message, ...]:
        """The messages of a session as its agent would see them now, oldest first.

        Raises:
            UnknownSession: there is none of this id.
        """
        return _found(session_id, await self.look(views.window, session_id))

    async def memory(self, session_id: str) -> dict[str, str]:
        """What the agent keeps of a session, in the order of the keys.

        Raises:
            UnknownSession: there is none of this id.
        """
        return _found(session_id, memory_views.memory(self.store, session_id))

    def feed(self, *, max_behind: int = MAX_BEHIND) -> Feed:
        """The console feed, and what happens.

        `await runtime.feed()` gives the newest entries of the console feed, oldest first.
        `async with runtime.feed() as events` gives every `FeedEvent` from then on, once it is
        durable.

        Args:
            max_behind: events that may wait for `events` to be read. One more, and it gets those
                and then FeedLagged.
        """
        return Feed(lambda: self.look(views.feed), self._engine.bus, max_behind)

    async def binding(
        self, instance: str, conversation: str, thread: str | None = None
    ) -> views.Binding | None:
        """Which session a conversation belongs to; None if to none yet."""
        place = Address(instance=Instance(instance), conversation=conversation, thread=thread)
        return views.binding(self.store, place)

    async def bindings(self) -> list[views.Binding]:
        """Every binding."""
        return await self.look(views.bindings)

    async def binding_history(
        self, instance: str, conversation: str, thread: str | None = None
    ) -> list[views.Binding]:
        """Every owner that a conversation had: the first one first, that of now last."""
        place = Address(instance=Instance(instance), conversation=conversation, thread=thread)
        return await self.look(people.binding_history, place)

    async def links(self, user: str | None = None) -> list[IdentityLink]:
        """Every link of an identity to a user, or those of one user."""
        return await self.look(people.links, user)

    async def pairs(self) -> list[people.PairInfo]:
        """Every pair of an identity with a session."""
        return await self.look(people.pairs)

    async def changes(self) -> list[people.ChangeInfo]:
        """Every change of who is who, and of what belongs to whom, the oldest first."""
        return await self.look(people.changes)

    async def access(self) -> list[people.AccessInfo]:
        """Whoever was approved or revoked, or waits with an access code."""
        return await self.look(people.access, self._engine.now_us())

    async def refusals(self) -> tuple[Refusal, ...]:
        """The turns that were not let in since the start: the newest 1,000, the oldest first."""
        return cast("tuple[Refusal, ...]", await self._registry.ask(ListRefusals(), block=False))

    async def deliveries(self) -> list[views.DeliveryInfo]:
        """Every delivery that is open, failed or unknown, the oldest first."""
        return await self.look(stories.deliveries)

    async def missions(self) -> list[MissionInfo]:
        """Every mission, the one that is due next first."""
        return await self.look(mission_views.missions)

    async def mission(self, name: str) -> MissionInfo:
        """One mission.

        Raises:
            UnknownMission: there is none of this name.
        """
        found = mission_views.mission(self.store, name)
        if found is None:
            raise UnknownMission(f"there is no mission {name!r}")
        return found

    @property
    def rules(self) -> Mapping[Instance, InstanceRules]:
        """How each instance is judged and routed now."""
        return self._engine.rules

    async def explain(self, record_id: str) -> views.Story | None:
        """The story of a session (`s1`), a turn or a delivery (`s1/3`), a change (`change/3`).

        Or of a message: `INSTANCE/CONVERSATION/MESSAGE_ID`, or the platform's id of it alone; also
        if it was not let in lately. None if it names nothing.
        """
        story = await self.look(stories.explain, record_id, self.rules)
        if story is None:
            refusal = stories.find_refusal(await self.refusals(), record_id)
            story = stories.refused(refusal) if refusal is not None else None
        return story

    async def look(self, view: Callable[..., T], *args: object) -> T:
        """What `view(reads, *args)` makes of one frozen moment of the store, off the loop."""

        def frozen() -> T:
            with self.store.snapshot() as reads:
                return view(reads, *args)

        return await trio.to_thread.run_sync(frozen)


def _found(session_id: str, value: T | None) -> T:
    if value is None:
        raise UnknownSession(f"there is no session {session_id!r}")
    return value
