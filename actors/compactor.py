"""The compactor: measures contexts, and summarises the older part of those that are full.

It works beside the conversations. A session only ever gets a finished summary, and makes it its own
with one commit if its context is still the one that was summarised; so whatever happens in between
(a crash, a marker, a note, a hundred messages) leaves a whole context, the old one or the new.

Only a turn whose window is truly full waits for it, and only for so long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import trio

from ..storage.errors import StorageError
from .compaction_job import Asker, Job
from .compactions import CompactionEnded
from .core.compaction import Compacted, Limits, Summariser
from .core.weight import prompt_tokens
from .counting import Counting
from .errors import TurnRefused
from .journal import load_session_number
from .kernel import ActorDeadError, KernelClosed, TrioFuture
from .measuring import Measuring
from .messages import SessionId
from .services import Services
from .shortening import STOPPING, Shortening, unchanged
from .summarising import Offload, SummaryWriter, in_thread, words_of
from .tokens import TokenCounter
from .unknown import UnknownSession
from .windows import WindowRules

__all__ = ["Compactor", "Patience"]

logger = logging.getLogger("turnkeeper.compactor")

_AT_ONCE: Final = 64
"""Contexts that are worked on at once."""
_IN_THREADS: Final = 4
_MEASURED: Final = 8
"""How often a context is measured anew because more has come meanwhile, with a turn waiting."""
_CHANGES: Final = 3
"""How often a summary is begun anew because the context has become another meanwhile."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long is waited for what."""

    timeout_s: float = 120.0
    """Seconds that a summariser may take for one attempt."""
    attempts: int = 3
    """How often it is asked before the built-in summary is taken instead."""
    wait_s: float = 30.0
    """Seconds that a turn waits at most, whose window is full."""


class Compactor:
    """Works on contexts, each in a task of its own."""

    def __init__(
        self,
        services: Services,
        counter: TokenCounter,
        limits: Limits,
        *,
        summarisers: Mapping[str, Summariser],
        patience: Patience,
        system: str | None = None,
        offload: Offload = in_thread,
    ) -> None:
        """A compactor.

        Args:
            services: of the runtime.
            counter: counts tokens.
            limits: how large a context may become.
            summarisers: by the name of the agent; the built-in one where there is none.
            patience: how long is waited for what.
            system: the system prompt with which every window begins.
            offload: runs what takes long.
        """
        self._services = services
        self._store = services.store
        self._counting = Counting(counter)
        self.limits = limits
        self._system = system
        self._wait_s = patience.wait_s
        self._offload = offload
        self._measuring = Measuring(services, self._counting, limits, self._aside)
        writer = SummaryWriter(
            self._counting,
            summarisers,
            timeout_s=patience.timeout_s,
            attempts=patience.attempts,
            offload=self._aside,
            redact=services.redact,
        )
        self._shortening = Shortening(services, writer, limits)
        self._jobs: dict[SessionId, Job] = {}
        self._expected: dict[SessionId, int] = {}
        """Turns that were given out, until their agents are asked."""
        self.trigger_messages = limits.trigger_messages
        self._at_once = trio.CapacityLimiter(_AT_ONCE)
        self._threads = trio.CapacityLimiter(_IN_THREADS)
        self._closed = False

    def __repr__(self) -> str:
        return f"<Compactor jobs={len(self._jobs)}>"

    @property
    def rules(self) -> WindowRules:
        """How windows are to be filled now."""
        return WindowRules(
            self.limits.max_tokens + prompt_tokens(self._system),
            self._system,
            self._counting.mark,
            self.limits.max_messages,
        )

    def consider(self, session_id: SessionId, stream: int, *, full: bool) -> None:
        """Measure a context that may have become too large; `full`: for the window, even."""
        if self._closed:
            return
        job = self._jobs.get(session_id)
        if job is None:
            self._begin(Job(session_id, stream, full))
        elif full:
            job.hold_turns()

    def let_go(self, session_id: SessionId) -> None:
        """Let no turn wait for room: the context has become small, as after a clear.

        What is under way may still be at work on what the context was before.
        """
        job = self._jobs.get(session_id)
        if job is not None and job.full:
            job.let_turns_go()

    def ask(self, session_id: SessionId, stream: int, asker: Asker | None) -> None:
        """Summarise what can be, however small the context is; `asker` is told a `Compacted`."""
        askers = [asker] if asker is not None else []
        if self._closed:
            self._answer(askers, _stopping(session_id))
            return
        job = self._jobs.get(session_id)
        if job is None:
            job = Job(session_id, stream, full=False)
            self._begin(job)
        job.asked = True
        job.askers.extend(askers)

    def expect(self, session_id: SessionId, turn: int) -> None:
        """Know of a turn that was given out, and whose agent has seen nothing yet."""
        self._expected[session_id] = turn

    def begin(self, session_id: SessionId) -> None:
        """The agent is asked now: what comes later is not for this turn."""
        self._expected.pop(session_id, None)

    def is_expected(self, session_id: SessionId, turn: int) -> bool:
        """Whether the agent of a turn that was given out has seen nothing yet."""
        return self._expected.get(session_id) == turn

    def should_wait(self, session_id: SessionId) -> bool:
        """Whether a turn of the session should wait for :meth:`room`."""
        job = self._jobs.get(session_id)
        return job is not None and (job.is_waited_for or job.is_telling)

    async def room(self, session_id: SessionId, turn: int) -> None:
        """Wait until the window can hold the context again, but only for so long.

        A summary that has reached the session is always waited for: it is about to be durable, and
        may be made for this turn (see `SummaryRecord.for_turn`).
        """
        job = self._jobs.get(session_id)
        if job is None:
            return
        try:
            if job.is_waited_for:
                job.held = turn
                with trio.move_on_after(self._wait_s):
                    await job.fits.wait()
            if job.telling is not None:
                await job.telling.wait()
        finally:
            job.held = 0

    def close(self) -> None:
        """Begin nothing more, and let nobody wait: humans neither, while they can be told."""
        self._closed = True
        for job in self._jobs.values():
            job.fits.set()
            if not job.is_telling:  # else it is over in a moment
                self._answer(job.give_up(), job.done or _stopping(job.session_id))

    # -- one context -----------------------------------------------------------------------------

    def _begin(self, job: Job) -> None:
        self._jobs[job.session_id] = job
        self._services.runner.soon(self._run, job)

    async def _run(self, job: Job) -> None:
        outcome = Compacted(status="failed", session_id=job.session_id, fault="interrupted")
        try:
            async with self._at_once:
                outcome = await self._work(job)
        except (
            StorageError,
            ActorDeadError,
            KernelClosed,
            TurnRefused,
            UnknownSession,
        ) as error:  # the session was deleted, or the runtime stops: the context stays as it is
            logger.info("compaction of %s ended: %s", job.session_id, error)
            outcome = Compacted(status="failed", session_id=job.session_id, fault=words_of(error))
        except Exception as error:  # the supervisor's edge: so it does
            logger.exception("compaction of %s failed", job.session_id)
            outcome = Compacted(status="failed", session_id=job.session_id, fault=words_of(error))
        finally:
            del self._jobs[job.session_id]
            job.fits.set()
            self._answer(job.askers, outcome)

    def _answer(self, askers: Sequence[Asker], outcome: Compacted) -> None:
        session_id = SessionId(outcome.session_id)
        for asker in askers:
            if isinstance(asker, TrioFuture):
                asker.resolve(outcome)
                continue
            ended = CompactionEnded(session_id=session_id, asked=asker, outcome=outcome)
            # Nobody is told any more where the runtime stops, or the session cannot be found.
            with suppress(ActorDeadError, StorageError):
                if load_session_number(self._store, session_id) is not None:  # else it was deleted
                    self._services.registry.tell(ended)

    async def _work(self, job: Job) -> Compacted:
        """Summarise until the context fits; at least once, if it was asked for."""
        measuring = self._measuring
        done: Compacted | None = None
        changes = measured = 0
        while True:
            material = await measuring.measure(job)
            if material is None:
                return Compacted(
                    status="failed", session_id=job.session_id, fault="there is no such session"
                )
            over = measuring.is_over(material)
            measuring.tell(job, material, stuck=False)
            if done is not None and material.summary_seq != done.seq:
                # It holds no more: something that it may tell is not to be told any more.
                changes += 1
                if changes > _CHANGES:
                    measuring.tell(job, material, stuck=over)
                    return done
            if job.full and measuring.holds(material) and measured < _MEASURED:
                measured += 1  # what has come meanwhile may well fit, once it is counted too
                continue
            measured = 0
            if not over and (done is not None or not job.asked):
                return done or unchanged(job, material, "nothing")
            step = await self._shortening.shorten(job, material, asked=not over)
            if step.status == "compacted":
                job.done = done = step if done is None else _together(done, step)
            elif step.status == "changed" and changes < _CHANGES:
                changes += 1
            else:
                measuring.tell(job, material, stuck=over)
                return done or step
            if self._closed:
                return done or step

    async def _aside(self, function: Callable[..., Any], *args: Any) -> Any:
        async with self._threads:
            return await self._offload(function, *args)


def _stopping(session_id: SessionId) -> Compacted:
    return Compacted(status="failed", session_id=session_id, fault=STOPPING)


def _together(first: Compacted, then: Compacted) -> Compacted:
    saved = first.tokens_before - first.tokens_after
    return replace(
        then,
        tokens_before=then.tokens_before + saved,
        messages=first.messages + then.messages,
    )
