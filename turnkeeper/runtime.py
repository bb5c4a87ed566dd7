"""The runtime: what an embedding program holds while turnkeeper runs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from os import PathLike
from typing import Any, Literal, TypeVar, cast

import trio

from . import missions as mission_views
from . import people, stories, views
from .actors.acts import (
    AccessEntry,
    ActRefused,
    Allow,
    Approve,
    By,
    Change,
    Link,
    Move,
    Pair,
    Revoke,
    Undo,
    Unlink,
    Unpair,
)
from .actors.core.missions import MissionRefused, MissionRow
from .actors.core.routing import InstanceRules
from .actors.core.window import Message
from .actors.door import Refusal
from .actors.errands import ListRefusals
from .actors.errors import TurnRefused
from .actors.kernel import ActorDeadError
from .actors.messages import (
    Address,
    Clear,
    Cleared,
    DeliveryId,
    FindSession,
    Instance,
    Outcome,
    RetryDelivery,
    SendMessage,
    SendPlan,
    SessionId,
    split_record_id,
)
from .actors.missions import (
    AddMission,
    AwaitRun,
    MissionAct,
    PauseMission,
    RemoveMission,
    ResumeMission,
    RunStarted,
    StartRun,
)
from .actors.provenance import AimAtDefault, Mirrored
from .actors.services import Ref
from .actors.unknown import UnknownMission, UnknownSession
from .channels.base import Channel
from .config import Config, load_config
from .context import get_session_context
from .engine import Actors, Engine, RuntimeFailed
from .feeding import MAX_BEHIND, Feed
from .kinds import make_channels
from .links import IdentityLink
from .mirroring import mirror
from .missions import Missed, MissionInfo, MissionRun, Overlap
from .reload import Reloaded, follow
from .rules import agents_of, check_exposure, instance_rules
from .storage.base import Store
from .storage.errors import StorageError

__all__ = ["Runtime", "RuntimeFailed"]

logger = logging.getLogger("turnkeeper")

T = TypeVar("T")


class Runtime:
    """A running turnkeeper. Made by :func:`open_runtime`."""

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
        return f"<Runtime channels={sorted(self._channels)}>"

    @property
    def channels(self) -> Mapping[Instance, Channel]:
        """The running channels, by instance."""
        return self._channels

    # -- looking ---------------------------------------------------------------------------------

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

    # -- acting ----------------------------------------------------------------------------------

    async def send_message(
        self,
        session_id: str,
        text: str,
        to: Address | None = None,
        *,
        user: str | None = None,
        by: Literal["program", "operator"] = "program",
    ) -> Outcome:
        """Say something in a session that no human asked for.

        Where another session owns the conversation, its log gets a note of it in the same batch as
        the outcome. Returns once the outcome is known, or with `retrying` after the first failure.

        Args:
            session_id: the session that speaks.
            text: what it says.
            to: a conversation of its agent, or one that the configuration opens with `send_to`; by
                default the session's active channel, and the feed if it has none.
            user: instead of a conversation, whom it is for: it goes to the direct conversation in
                which they last wrote to the agent.
            by: who asks.

        Raises:
            UnknownSession: there is no such session.
            TypeError, ValueError: the text is no plain str, or has more than 4,194,304 characters,
                or both `to` and `user` are given.
        """
        message = SendMessage(session_id=SessionId(session_id), text=text, to=to, user=user, by=by)
        return cast("Outcome", await self._registry.ask(message, block=False))

    async def plan_send(
        self, session_id: str, to: Address | None = None, *, user: str | None = None
    ) -> SendPlan:
        """Where :meth:`send_message` would send now, and why it would not. Sends nothing.

        Raises:
            UnknownSession, ValueError: as for :meth:`send_message`.
        """
        message = SendMessage(
            session_id=SessionId(session_id), text="", to=to, user=user, dry_run=True
        )
        return cast("SendPlan", await self._registry.ask(message, block=False))

    async def set_active_channel_to_default(
        self, session_id: str, instance: str, *, by: By = "program"
    ) -> Address | None:
        """Let a session's messages go where a human last wrote to its agent on an instance.

        A session that has conversations of its own chooses among these; another one, such as a
        mission's, among all of the agent's.

        Returns:
            The conversation. None if no human has written there: what was before stays, and where
            nothing was, a later send fails with `no_recipient`.

        Raises:
            UnknownSession: there is no such session.
            UnknownInstance: there is no such channel.
        """
        message = AimAtDefault(session_id=SessionId(session_id), instance=Instance(instance), by=by)
        return cast("Address | None", await self._registry.ask(message, block=False))

    async def mirror_to_session(
        self,
        session_id: str | None = None,
        text: str = "",
        *,
        source: str,
        user: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Mirrored:
        """Let a session's agent know what was said to its human elsewhere. Sends nothing.

        The note is part of the agent's next turn, and wakes nobody. A failure breaks nothing: it is
        logged, and returned with `status="failed"` and its reason.

        Args:
            session_id: the session; where it goes on in another one, that one.
            text: what was said.
            source: by what, in a few words: `cron`, `web`.
            user: instead of a session, whose direct session it is.
            metadata: what else to keep, of JSON's types: at most 65,536 bytes of it.
        """
        try:
            message = mirror(session_id, text, source, user, metadata)
            return cast("Mirrored", await self._registry.ask(message, block=False))
        except (ValueError, TypeError, LookupError, TurnRefused, StorageError) as error:
            reason = f"{type(error).__name__}: {error}"
        except ActorDeadError as error:
            reason = f"the runtime is stopping: {error}"
        logger.warning("nothing was mirrored to %s: %s", session_id or user, reason)
        return Mirrored(status="failed", reason=reason)

    async def clear(self, session_id: str, *, by: By = "program") -> Cleared:
        """Let the context of a session begin anew. Its log, id and bindings stay as they are.

        What others have said on its behalf since a human last wrote stays in the context.

        Raises:
            UnknownSession: there is no such session.
        """
        message = Clear(session_id=SessionId(session_id), by=by)
        return cast("Cleared", await self._registry.ask(message, block=False))

    async def retry_delivery(self, delivery_id: str, *, mark_duplicate: bool = False) -> Outcome:
        """Open a dead or unknown delivery again.

        Args:
            delivery_id: the delivery.
            mark_duplicate: send it even if it may have arrived, marked as a possible repetition.
                Without, such a one stays `unknown`, for the reason `may_have_arrived`.

        Raises:
            UnknownSession: the id is none of a delivery, or names no session.
        """
        parts = split_record_id(delivery_id)
        if parts is None:
            raise UnknownSession(f"{delivery_id!r:.80} names no delivery: SESSION/NUMBER does")
        message = RetryDelivery(
            session_id=parts[0],
            delivery_id=DeliveryId(delivery_id),
            mark_duplicate=mark_duplicate,
        )
        return cast("Outcome", await self._registry.ask(message, block=False))

    async def link(
        self, platform: str, user_id: str, user: str, *, dry_run: bool = False, by: By = "program"
    ) -> Change:
        """Decide that an identity is `user`; its direct conversations move to that user's session.

        Args:
            platform: the transport kind.
            user_id: the platform's stable id of the human.
            user: any name; also that of another identity, `platform:user_id`.
            dry_run: only tell what would change.
            by: who asks.

        Raises:
            ActRefused: it is so already, or makes no sense; nothing was changed.
            IdentityUnavailable: the program's identity resolver failed.
        """
        act = Link(platform=platform, user_id=user_id, user=user, dry_run=dry_run, by=by)
        if self._resolver is not None and not dry_run:
            await self._change(replace(act, dry_run=True))  # what is refused, it need not know
            await self._resolver.tell("link", platform, user_id, user)
        return await self._change(act)

    async def unlink(
        self, platform: str, user_id: str, *, dry_run: bool = False, by: By = "program"
    ) -> Change:
        """Decide that an identity is nobody but itself; its conversations leave what was shared.

        Raises:
            ActRefused: it is not linked.
            IdentityUnavailable: the program's identity resolver failed.
        """
        act = Unlink(platform=platform, user_id=user_id, dry_run=dry_run, by=by)
        if self._resolver is not None and not dry_run:
            await self._change(replace(act, dry_run=True))
            await self._resolver.tell("unlink", platform, user_id)
        return await self._change(act)

    async def pair(
        self,
        platform: str,
        user_id: str,
        session_id: str,
        *,
        dry_run: bool = False,
        by: By = "program",
    ) -> Change:
        """Let an identity's direct conversations belong to a session, whatever it is linked to.

        A session of a new name is opened by the first message.

        Raises:
            ActRefused: it is so already, the configuration says otherwise, or that is no name.
        """
        target = SessionId(session_id)
        return await self._change(
            Pair(platform=platform, user_id=user_id, session_id=target, dry_run=dry_run, by=by)
        )

    async def unpair(
        self, platform: str, user_id: str, *, dry_run: bool = False, by: By = "program"
    ) -> Change:
        """Take the pair of an identity away; it goes where its link says, or on its own.

        Raises:
            ActRefused: it is not paired, or the configuration pairs it.
        """
        return await self._change(
            Unpair(platform=platform, user_id=user_id, dry_run=dry_run, by=by)
        )

    async def move_binding(
        self,
        instance: str,
        conversation: str,
        thread: str | None = None,
        session_id: str | None = None,
        *,
        dry_run: bool = False,
        by: By = "program",
    ) -> Change:
        """Let a conversation belong to `session_id`; None for what the rules of now would choose.

        Raises:
            ActRefused: it belongs there already, or to no session yet.
        """
        place = Address(instance=Instance(instance), conversation=conversation, thread=thread)
        target = SessionId(session_id) if session_id is not None else None
        return await self._change(Move(address=place, session_id=target, dry_run=dry_run, by=by))

    async def undo(
        self, number: int | None = None, *, dry_run: bool = False, by: By = "program"
    ) -> Change:
        """Take change `number` back, as though it had not been made; None for the newest one.

        Raises:
            ActRefused: there is none, it was taken back before, or a later one builds on it.
        """
        return await self._change(Undo(number=number, dry_run=dry_run, by=by))

    async def _change(self, act: Link | Unlink | Pair | Unpair | Move | Undo) -> Change:
        return cast("Change", await self._registry.ask(act, block=False))

    async def approve(self, code: str) -> AccessEntry:
        """Let in whoever was given this access code.

        Raises:
            ActRefused: no such code waits.
        """
        return cast("AccessEntry", await self._registry.ask(Approve(code=code), block=False))

    async def allow(self, instance: str, user_id: str) -> AccessEntry:
        """Let a user talk on an instance, in direct conversations.

        Raises:
            ActRefused: there is no such instance, or that is no user id.
        """
        act = Allow(instance=instance, platform=self._platform_of(instance), user_id=user_id)
        return cast("AccessEntry", await self._registry.ask(act, block=False))

    async def revoke(self, instance: str, user_id: str) -> AccessEntry:
        """Let a user not talk on an instance any more, and send them nothing there from now on.

        Raises:
            ActRefused: there is no such instance, or that is no user id.
        """
        act = Revoke(instance=instance, platform=self._platform_of(instance), user_id=user_id)
        return cast("AccessEntry", await self._registry.ask(act, block=False))

    async def add_mission(  # noqa: PLR0913  (the parts of a mission)
        self,
        name: str,
        schedule: str,
        prompt: str,
        notify: str | None = None,
        agent: str | None = None,
        *,
        zone: str = "UTC",
        session: str | None = None,
        missed: Missed = "skip",
        overlap: Overlap = "skip",
        jitter_s: float = 0.0,
        on_failure: str | None = None,
        replace: bool = False,
        by: By = "program",
    ) -> MissionInfo:
        """Let an agent be given a prompt at set times, each time at most once.

        It runs in a session of its own, and speaks where a human last wrote to the agent on the
        instance that it notifies. Made inside a turn, it speaks in the conversations of that turn's
        session alone.

        Args:
            name: 1 to 56 letters, digits, `_`, `.` or `-`.
            schedule: `0 9 * * mon-fri`, `every 15m` or `at 2026-12-01T09:00`.
            prompt: what the agent is to do; at most 1,000,000 characters.
            notify: the instance where its messages go; None for the console feed.
            agent: who is asked; by default the agent of the turn, of the instance, or the main one.
            zone: the time zone of the schedule, like `Europe/Berlin`.
            session: runs it in this session, behind its other turns; it then speaks where that one
                does.
            missed: whether ticks that nobody was there to run are passed over, or run once.
            overlap: whether a tick is passed over while a run goes on, waits, or waits however many
                do.
            jitter_s: seconds by which each run may be put off, so that not all begin at once.
            on_failure: the instance where somebody is told of a run that failed.
            replace: whether a mission of this name may be there already, and becomes this one.
            by: who asks.

        Raises:
            MissionRefused: it makes no sense; nothing was changed.
        """
        context = get_session_context()
        return await self._mission_act(
            AddMission(
                name=name,
                schedule=schedule,
                prompt=prompt,
                notify=notify,
                agent=agent,
                zone=zone,
                session=session,
                missed=missed,
                overlap=overlap,
                jitter_s=jitter_s,
                on_failure=on_failure,
                replace=replace,
                by=by,
                asked_in=SessionId(context.session_id) if context is not None else None,
                asked_by=context.mission if context is not None else None,
            )
        )

    async def pause_mission(self, name: str, *, by: By = "program") -> MissionInfo:
        """Let a mission wait, until it is resumed. A run that goes on ends as it would have.

        Raises:
            UnknownMission: there is none of this name.
        """
        return await self._mission_act(PauseMission(name=name, by=by))

    async def resume_mission(self, name: str, *, by: By = "program") -> MissionInfo:
        """Let a paused mission go on with its next tick; what it missed is not made up for.

        Raises:
            UnknownMission: there is none of this name.
            MissionRefused: the configuration pauses it.
        """
        return await self._mission_act(ResumeMission(name=name, by=by))

    async def remove_mission(self, name: str, *, by: By = "program") -> MissionInfo:
        """Let there be no such mission any more. Its session and what it has said stay.

        Returns:
            The mission as it was.

        Raises:
            UnknownMission: there is none of this name.
            MissionRefused: the configuration makes it.
        """
        return await self._mission_act(RemoveMission(name=name, by=by))

    async def run_mission(self, name: str, *, by: By = "program") -> MissionRun:
        """Run a mission now, and return once it has ended and each of its messages has an outcome.

        Its schedule goes on as if nothing had been. Cancelling ends the wait, not the run.

        Raises:
            UnknownMission: there is none of this name.
            MissionRefused: this is a turn of the session in which it would run: it would wait for
                itself.
            TurnRefused: its session could not take it; nothing was changed.
        """
        context = get_session_context()
        if context is not None and context.session_id == (await self.mission(name)).session_id:
            raise MissionRefused(
                f"the mission {name!r} runs in this very session, after this turn: a turn cannot "
                "wait for it"
            )
        started = cast(
            "RunStarted", await self._actors.scheduler.ask(StartRun(name=name, by=by), block=False)
        )
        await self._run_ended(started)
        run = mission_views.run_of(self.store, name, started.run)
        assert run is not None  # it is durable
        return run

    async def _run_ended(self, run: RunStarted) -> None:
        message = AwaitRun(session_id=run.session_id, turn_seq=run.turn_seq)
        while True:
            try:
                await self._registry.ask(message, block=False)
            except ActorDeadError:  # its session broke, and comes back
                if not self._registry.is_alive():
                    raise
            else:
                return

    async def _mission_act(self, act: MissionAct) -> MissionInfo:
        row = cast("MissionRow", await self._actors.scheduler.ask(act, block=False))
        return mission_views.mission_info(self.store, row)

    async def reload(self, config: Config | Mapping[str, Any] | str | PathLike[str]) -> Reloaded:
        """Follow what `config` says now of access, scopes, pairs and missions.

        All else waits for a restart.

        No conversation that has a session moves because of a scope.

        Raises:
            ConfigError: it is wrong; nothing was changed.
        """
        async with self._reloading:
            wanted = await trio.to_thread.run_sync(load_config, config)
            make_channels(wanted, self._channels)  # so that what waits is right too
            settings, reloaded = follow(self._engine.settings, wanted, self._channels)
            agent_of = agents_of(self._channels, settings, self._engine.agents)
            rules = instance_rules(settings, self._channels, agent_of)
            check_exposure(self._channels, rules)
            await self._engine.follow(self._actors, settings, rules)
        return reloaded

    def _platform_of(self, instance: str) -> str:
        channel = self._channels.get(Instance(instance))
        if channel is None:
            known = ", ".join(sorted(self._channels)) or "none"
            raise ActRefused(f"there is no channel {instance!r}; there is: {known}")
        return channel.platform

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


def _found(session_id: str, value: T | None) -> T:
    if value is None:
        raise UnknownSession(f"there is no session {session_id!r}")
    return value
