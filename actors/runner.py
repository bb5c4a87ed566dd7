"""Runs agents: each turn in a task of its own, so many at once and no more.

Owns the tasks and the queue of turns that wait for one; sessions see only facts
(`TurnFinished`, `TurnFailed`, `TurnInterrupted`), which come back through the registry.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any, TypeAlias

import trio

from .frozen import fact
from .kernel import ActorDeadError, ActorRef
from .messages import (
    AgentReply,
    AnyTurn,
    RetryTurn,
    SessionId,
    StartIsolated,
    TurnFailed,
    TurnFinished,
    TurnInterrupted,
    Wake,
)

__all__ = ["AgentFault", "Invoke", "TurnJob", "TurnRunner"]

logger = logging.getLogger("turnkeeper.turns")


@fact
class TurnJob:
    """One attempt at one turn."""

    session_id: SessionId
    stream: int
    seq: int
    turn: AnyTurn
    attempt: int
    isolated: bool
    agent: str

    def __str__(self) -> str:
        return f"agent {self.agent!r} on turn {self.session_id}/{self.seq}, attempt {self.attempt}"


Invoke: TypeAlias = Callable[[TurnJob], Awaitable[AgentReply]]
"""Gives a turn to its agent and makes a reply of what comes back."""


class AgentFault(Exception):
    """The agent broke its contract in a way that no further attempt can mend."""


class TurnRunner:
    """Runs turns inside `nursery` until :meth:`drain`."""

    def __init__(
        self,
        nursery: trio.Nursery,
        invoke: Invoke,
        registry: ActorRef[Any],
        *,
        max_running: int,
        timeout_s: float,
        redact: Callable[[str], str] = str,
    ) -> None:
        """A runner.

        Args:
            nursery: where the turns run.
            invoke: gives a turn to its agent.
            registry: is told what became of each turn.
            max_running: how many turns run at once.
            timeout_s: seconds that one attempt may take.
            redact: takes out of an agent's error what must not be stored.
        """
        self._nursery = nursery
        self._invoke = invoke
        self._registry = registry
        self._max_running = max_running
        self._timeout_s = timeout_s
        self._redact = redact
        self._running: dict[SessionId, trio.CancelScope] = {}
        self._waiting: deque[TurnJob] = deque()
        self._isolation: deque[tuple[SessionId, int]] = deque()
        self._isolated: SessionId | None = None
        self._draining = False
        self._context = copy_context()
        """What the program had in its context variables when it opened the runtime."""
        self._idle = trio.Event()
        self._idle.set()

    def __repr__(self) -> str:
        return f"<TurnRunner running={len(self._running)} waiting={len(self._waiting)}>"

    @property
    def running(self) -> int:
        """How many agents run now."""
        return len(self._running)

    def start(self, job: TurnJob) -> None:
        """Run `job` now, or as soon as there is room; a draining runner gives it back."""
        if self._draining:
            self._interrupted(job)
        elif len(self._running) >= self._max_running:
            self._waiting.append(job)
        else:
            self._spawn(job)

    def _spawn(self, job: TurnJob) -> None:
        if (earlier := self._running.get(job.session_id)) is not None:
            earlier.cancel()  # its session has been loaded anew and gives the turn out again
        if self._idle.is_set():
            self._idle = trio.Event()
        scope = trio.CancelScope(deadline=trio.current_time() + self._timeout_s)
        self._running[job.session_id] = scope
        self._context.run(self._nursery.start_soon, self._run, job, scope)

    async def _run(self, job: TurnJob, scope: trio.CancelScope) -> None:
        result: TurnFinished | TurnFailed | TurnInterrupted | None = None
        try:
            with scope:
                result = await self._attempt(job)
            if result is None:
                result = self._cut_short(job, scope)
            if result is not None:
                self._registry.tell(result)
        except trio.Cancelled:  # with the whole runtime, from outside
            with suppress(ActorDeadError):
                self._interrupted(job)
            raise
        finally:
            self._ended(job, scope)

    def _ended(self, job: TurnJob, scope: trio.CancelScope) -> None:
        if self._running.get(job.session_id) is scope:
            del self._running[job.session_id]
        if job.isolated:
            self.release(job.session_id)
        if self._waiting and not self._draining:
            self._spawn(self._waiting.popleft())
        elif not self._running:
            self._idle.set()

    def _cut_short(
        self, job: TurnJob, scope: trio.CancelScope
    ) -> TurnFailed | TurnInterrupted | None:
        """Why an attempt ended without a result; None if nobody wants to know any more."""
        if trio.current_time() >= scope.deadline:
            error = f"the agent did not return within {self._timeout_s:g} s"
            return self._failed(job, error, retryable=True)
        if self._draining:
            return _interruption(job)
        return None

    async def _attempt(self, job: TurnJob) -> TurnFinished | TurnFailed:
        try:
            reply = await self._invoke(job)
        except (
            Exception,
            asyncio.CancelledError,  # let out of a loop of the agent's own; trio has another one
        ) as error:  # the supervisor's edge: whatever an agent raises ends here
            logger.warning("%s failed", job, exc_info=error)
            text = self._redact(_describe(error))
            return self._failed(job, text, retryable=not isinstance(error, AgentFault))
        return TurnFinished(session_id=job.session_id, turn_seq=job.seq, turn=job.turn, reply=reply)

    def _failed(self, job: TurnJob, error: str, *, retryable: bool) -> TurnFailed:
        return TurnFailed(
            session_id=job.session_id,
            turn_seq=job.seq,
            turn=job.turn,
            error=error,
            retryable=retryable,
        )

    def _interrupted(self, job: TurnJob) -> None:
        self._registry.tell(_interruption(job))

    def soon(self, task: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run `task` beside the turns; it must not raise."""
        self._context.run(self._nursery.start_soon, task, *args)

    def later(self, after_s: float, message: RetryTurn | Wake) -> None:
        """Send `message` after `after_s` seconds."""
        self._nursery.start_soon(self._later, after_s, message)

    async def _later(self, after_s: float, message: RetryTurn | Wake) -> None:
        await trio.sleep(after_s)
        self._registry.tell(message)

    # -- last attempts run alone ---------------------------------------------------------------

    def isolate(self, session_id: SessionId, seq: int) -> None:
        """Send `StartIsolated` once no other last attempt runs.

        What has been running when the process died twice may have killed it: one by one, only
        the culprit can do so a third time.
        """
        self._isolation.append((session_id, seq))
        self._grant()

    def release(self, session_id: SessionId) -> None:
        """The last attempt that was granted to `session_id` is over, or will not begin."""
        if self._isolated == session_id:
            self._isolated = None
            self._grant()

    def _grant(self) -> None:
        if self._isolated is None and self._isolation and not self._draining:
            self._isolated, seq = self._isolation.popleft()
            self._registry.tell(StartIsolated(session_id=self._isolated, turn_seq=seq))

    # -- stopping --------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Start nothing more, and wait for what runs."""
        self._draining = True
        while self._waiting:
            self._interrupted(self._waiting.popleft())
        await self._idle.wait()

    async def interrupt(self) -> None:
        """Take the turns away from the agents that still run."""
        self._draining = True
        for scope in self._running.values():
            scope.cancel()
        await self._idle.wait()


def _interruption(job: TurnJob) -> TurnInterrupted:
    return TurnInterrupted(session_id=job.session_id, turn_seq=job.seq, turn=job.turn)


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as mute:  # an agent's exception may be as broken as the agent
        logger.warning("a %s cannot be shown", name, exc_info=mute)
        text = ""
    return f"{name}: {text}" if text else name
