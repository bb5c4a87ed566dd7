"""Looking: the part of a runtime that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
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
from .replaying import context_at
from .storage.base import Reads, Store

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

    async def sessions(
        self, *, limit: int | None = None, offset: int = 0
    ) -> list[views.SessionInfo]:
        """The sessions, the one in which a human wrote last first.

        Args:
            limit: how many; None for all.
            offset: how many of the first are passed over.

        Raises:
            ValueError: a number is negative.
        """
        for name, number in (("limit", limit), ("offset", offset)):
            if number is not None and number < 0:
                raise ValueError(f"{name} must be 0 or more, not {number}")
        outlook = self._engine.outlook()

        def page(reads: Reads) -> list[views.SessionInfo]:
            if limit is None:
                return views.sessions(reads, outlook)[offset:]
            return views.newest_sessions(reads, outlook, limit=limit, offset=offset)[0]

        return await self.look(page)

    async def session(self, session_id: str) -> views.SessionInfo:
        """One session.

        Raises:
            UnknownSession: there is none of this id.
        """
        outlook = self._engine.outlook()
        return _found(session_id, views.session_info(self.store, session_id, outlook))

    async def history(
        self,
        session_id: str,
        *,
        before: int | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> list[views.HistoryRecord]:
        """The raw log of a session, or a page of it, oldest first.

        A record that cannot be read is of the kind `damaged`.

        Args:
            session_id: the session.
            before: only records with a lower sequence number.
            after: only records with a higher one.
            limit: how many: the oldest of them where `after` is given, else the newest. None for
                all.

        Raises:
            UnknownSession: there is none of this id.
            ValueError: a number is negative.
        """
        view = partial(views.history, before=before, after=after, limit=limit)
        return _found(session_id, await self.look(view, session_id))

    async def context(
        self, session_id: str, *, at: int | datetime | None = None
    ) -> tuple[Message, ...]:
        """The messages of a session as its agent would see them now, oldest first.

        Args:
            session_id: the session.
            at: instead, as it saw them at this turn, by its sequence number; or at the newest turn
                that had been accepted at this time, UTC if it names no zone.

        Raises:
            UnknownSession: there is none of this id.
            LookupError: there was no such turn, or it has not begun yet.
        """
        if at is None:
            return _found(session_id, await self.look(views.window, session_id))
        outlook = self._engine.outlook()
        return _found(session_id, await self.look(context_at, session_id, at, outlook))

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
