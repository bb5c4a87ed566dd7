"""Deciding: the part of a runtime for who is who, what belongs to whom, and who may talk."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from .actors.acts import (
    AccessEntry,
    ActRefused,
    Allow,
    Approve,
    By,
    Change,
    Create,
    Created,
    Delete,
    Deleted,
    Link,
    Move,
    Pair,
    Revoke,
    Undo,
    Unlink,
    Unpair,
)
from .actors.deletion import why_unknown
from .actors.erasing import erase_rest
from .actors.journal import load_session_number
from .actors.messages import (
    Address,
    Instance,
    SessionId,
)
from .actors.unknown import UnknownSession
from .looking import Looking
from .rules import usual_agent

__all__ = ["Deciding"]


class Deciding(Looking):
    """Carries out acts."""

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

    async def create_session(
        self, name: str, agent: str | None = None, *, by: By = "program"
    ) -> Created:
        """Make a session of this name, which has no conversation yet; pairs lead people there.

        Args:
            name: 1 to 64 letters, digits, `_`, `.` or `-`, beginning with a letter or digit.
            agent: who answers in it; the main one by default.
            by: who asks.

        Raises:
            ActRefused: there is a session of this name, or was, or that is no name, or there is no
                such agent.
        """
        known = self._engine.agents
        agent = agent if agent is not None else usual_agent(known)
        if agent not in known:
            listed = ", ".join(sorted(known))
            raise ActRefused(f"there is no agent {agent!r:.80}; there is: {listed}")
        act = Create(session_id=SessionId(name), agent=agent, by=by)
        return cast("Created", await self._registry.ask(act, block=False))

    async def delete(
        self,
        session_id: str,
        *,
        records: int | None = None,
        dry_run: bool = False,
        by: By = "program",
    ) -> Deleted:
        """Delete a session and all that follows from its log; its id is never used again.

        Its conversations belong to nobody then: the next message opens another session. What it
        said in other sessions' conversations, and the ledger, stay. Cancelling it while the log is
        being removed does not keep the rest from going, at the latest with the next start.

        Args:
            session_id: the session.
            records: how many records its log must hold, so that nothing goes which nobody has seen;
                None for however many there are.
            dry_run: only tell what would go.
            by: who asks.

        Raises:
            UnknownSession: there is none of this id.
            ActRefused: a turn or a message of it is not over yet, or somebody is paired with it, or
                a mission runs in it; nothing was changed.
        """
        if load_session_number(self.store, session_id) is None:
            raise UnknownSession(why_unknown(self.store, session_id))
        act = Delete(session_id=SessionId(session_id), by=by, dry_run=dry_run, records=records)
        deleted = cast("Deleted", await self._registry.ask(act, block=False))
        if not dry_run:
            await erase_rest(self.store, deleted.number)
        return deleted

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

    def _platform_of(self, instance: str) -> str:
        channel = self._channels.get(Instance(instance))
        if channel is None:
            known = ", ".join(sorted(self._channels)) or "none"
            raise ActRefused(f"there is no channel {instance!r}; there is: {known}")
        return channel.platform
