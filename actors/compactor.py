"""The compactor: measures contexts, and summarises the older part of those that are full.

It works beside the conversations. A session only ever gets a finished summary, and makes it its own
with one commit if its context is still the one that was summarised; so whatever happens in between
(a crash, a marker, a note, a hundred messages) leaves a whole context, the old one or the new.

Only a turn whose window is truly full waits for it, and only for so long.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias

import trio

from ..storage.base import Batch, Store, Table
from ..storage.codec import encode
from ..storage.errors import StorageError
from ..storage.keys import log_key
from .compactions import AskedBy, CompactionEnded, Measured, SummaryMade
from .core.compaction import (
    Compacted,
    Cut,
    Limits,
    Summariser,
    SummaryRequest,
    choose_cut,
)
from .core.shown import Message, cut
from .core.view_records import SummaryRecord
from .core.weight import OVERHEAD, prompt_tokens, weight_of
from .counting import Counting
from .counts import count_row
from .errors import TurnRefused
from .journal import load_head, load_session_number, name_key
from .kernel import ActorDeadError, KernelClosed, TrioFuture
from .material import Material, read_material
from .messages import SessionId
from .services import Services
from .summarising import Offload, SummaryWriter, Written, in_thread, words_of
from .tokens import TokenCounter
from .unknown import UnknownSession
from .usage import Usage, base_of, put_usage
from .windows import WindowRules

__all__ = ["Compactor", "Patience"]

logger = logging.getLogger("turnkeeper.compactor")

_AT_ONCE: Final = 64
"""Contexts that are worked on at once."""
_IN_THREADS: Final = 4
_ROWS: Final = 512
"""Counts that are stored with one commit."""
_BATCH_CHARS: Final = 262_144
"""Characters that are given to the counter together, as long as they are several texts."""
_MEASURED: Final = 8
"""How often a context is measured anew because more has come meanwhile, with a turn waiting."""
_CHANGES: Final = 3
"""How often a summary is begun anew because the context has become another meanwhile."""


_Asker: TypeAlias = TrioFuture[Any] | AskedBy
"""Gets a `Compacted`: the answer of a question, or a human."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long is waited for what."""

    timeout_s: float = 120.0
    """Seconds that a summariser may take for one attempt."""
    attempts: int = 3
    """How often it is asked before the built-in summary is taken instead."""
    wait_s: float = 30.0
    """Seconds that a turn waits at most, whose window is full."""


@dataclass(slots=True, eq=False)
class _Job:
    """A session whose context is being worked on."""

    session_id: SessionId
    stream: int
    full: bool
    """Whether the window may not hold the context, as far as is known."""
    asked: bool = False
    """Whether somebody wants a summary, however small the context is."""
    askers: list[_Asker] = field(default_factory=list["_Asker"])
    """Who is to be told what comes of it."""
    fits: trio.Event = field(default_factory=trio.Event)
    """Set once there is nothing to wait for any more."""
    telling: trio.Event | None = None
    """While the session makes a summary its own; set once it has answered."""
    held: int = 0
    """The turn that waits, or 0."""

    @property
    def is_waited_for(self) -> bool:
        """Whether a turn has to wait for room."""
        return self.full and not self.fits.is_set()

    @property
    def is_asked_by_human(self) -> bool:
        """Whether it is a human who is to be told."""
        return any(isinstance(asker, AskedBy) for asker in self.askers)

    @property
    def is_telling(self) -> bool:
        """Whether the session is making a summary its own."""
        return self.telling is not None and not self.telling.is_set()


class Compactor:
    """Works on contexts in the tasks that `start` begins."""

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
        self._writer = SummaryWriter(
            self._counting,
            summarisers,
            timeout_s=patience.timeout_s,
            attempts=patience.attempts,
            offload=self._aside,
            redact=services.redact,
        )
        self._jobs: dict[SessionId, _Job] = {}
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
            self._begin(_Job(session_id, stream, full))
        elif full and not job.full:
            job.full, job.fits = True, trio.Event()

    def let_go(self, session_id: SessionId) -> None:
        """Let no turn wait for room: the context has become small, as after a clear.

        What is under way may still be at work on what the context was before.
        """
        job = self._jobs.get(session_id)
        if job is not None and job.full:
            job.full = False
            job.fits.set()

    def ask(
        self, session_id: SessionId, stream: int, asker: TrioFuture[Any] | AskedBy | None
    ) -> None:
        """Summarise what can be, however small the context is; `asker` is told a `Compacted`."""
        askers = [asker] if asker is not None else []
        if self._closed:
            self._answer(askers, _stopping(session_id))
            return
        job = self._jobs.get(session_id)
        if job is None:
            job = _Job(session_id, stream, full=False)
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
            humans = [asker for asker in job.askers if isinstance(asker, AskedBy)]
            job.askers = [asker for asker in job.askers if not isinstance(asker, AskedBy)]
            self._answer(humans, _stopping(job.session_id))

    # -- one context -----------------------------------------------------------------------------

    def _begin(self, job: _Job) -> None:
        self._jobs[job.session_id] = job
        self._services.runner.soon(self._run, job)

    async def _run(self, job: _Job) -> None:
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

    def _answer(self, askers: Sequence[_Asker], outcome: Compacted) -> None:
        session_id = SessionId(outcome.session_id)
        for asker in askers:
            if isinstance(asker, TrioFuture):
                asker.resolve(outcome)
            elif load_session_number(self._store, session_id) is not None:  # else it was deleted
                ended = CompactionEnded(session_id=session_id, asked=asker, outcome=outcome)
                with suppress(ActorDeadError):  # the runtime stops: nobody is told any more
                    self._services.registry.tell(ended)

    async def _work(self, job: _Job) -> Compacted:
        """Summarise until the context fits; at least once, if it was asked for."""
        done: Compacted | None = None
        changes = measured = 0
        while True:
            material = await self._measure(job)
            if material is None:
                return Compacted(
                    status="failed", session_id=job.session_id, fault="there is no such session"
                )
            over = self._is_over(material)
            self._tell(job, material, stuck=False)
            if done is not None and material.summary_seq != done.seq:
                # It holds no more: something that it may tell is not to be told any more.
                changes += 1
                if changes > _CHANGES:
                    self._tell(job, material, stuck=over)
                    return done
            if job.full and self._holds(material) and measured < _MEASURED:
                measured += 1  # what has come meanwhile may well fit, once it is counted too
                continue
            measured = 0
            if not over and (done is not None or not job.asked):
                return done or _nothing(job, material, "nothing")
            step = await self._compact(job, material, asked=not over)
            if step.status == "changed" and changes < _CHANGES:
                changes += 1
            elif step.status != "compacted":
                self._tell(job, material, stuck=over)
                return done or step
            else:
                done = step if done is None else _together(done, step)

    def _holds(self, material: Material) -> bool:
        """Whether a window can hold a context as it was measured."""
        limits = self.limits
        return material.total <= limits.max_tokens and material.messages <= limits.max_messages

    def _is_over(self, material: Material) -> bool:
        limits = self.limits
        return (
            material.more
            or material.total >= limits.trigger_tokens
            or material.messages >= self.trigger_messages
        )

    def _tell(self, job: _Job, material: Material, *, stuck: bool) -> None:
        head = material.head
        joined_bound, joined_messages = material.joined
        waiting_bound = sum(material.weights[at] for at in material.waiting)
        self._services.registry.tell(
            Measured(
                session_id=job.session_id,
                bound=head.context_bound - waiting_bound + joined_bound,
                tokens=material.total,
                told=head.context_messages - len(material.waiting) + joined_messages,
                messages=material.messages,
                settled=head.settled,
                base=material.base,
                stuck=stuck,
            )
        )

    # -- measuring -------------------------------------------------------------------------------

    async def _measure(self, job: _Job) -> Material | None:
        """Count what has not been counted, and keep the counts."""
        mark = self._counting.mark
        material: Material | None = await self._aside(_read, self._store, job.stream, mark)
        if material is None:
            return None
        for which in _batches(material):
            await self._count(job, material, which)
        head = material.head
        if not material.more:
            own = [
                tokens
                for entry, tokens in zip(material.entries, material.tokens, strict=True)
                if entry.log == 0
            ]
            summary = material.logs[0].summary
            batch = self._kept_if_there(job)
            put_usage(
                batch,
                job.stream,
                Usage(
                    head.context_bound,
                    sum(own) + (summary[1].tokens if summary is not None else 0),
                    len(own) + (summary is not None),
                    base_of(head),
                    self._counting.name,
                ),
            )
            await self._store.commit(batch)
        if self._fits(job, material):
            job.full = False
            job.fits.set()
        return material

    def _fits(self, job: _Job, material: Material) -> bool:
        """Whether the window can hold the context, with what has come since it was read."""
        limits, then = self.limits, material.head
        now = load_head(self._store, job.stream) or then
        if now.settled != then.settled:
            return False  # a turn has begun that had waited
        tokens = material.total + max(now.context_bound - then.context_bound, 0)
        messages = material.messages + max(now.context_messages - then.context_messages, 0)
        return tokens <= limits.max_tokens and messages < limits.max_messages

    async def _count(self, job: _Job, material: Material, which: Sequence[int]) -> None:
        texts = [material.entries[at].message.attributed for at in which]
        counts, mark = await self._counting.count(texts)
        batch = self._kept_if_there(job)
        for at, tokens in zip(which, counts, strict=True):
            size = material.count(at, tokens)
            if mark is not None:
                entry = material.entries[at]
                key = log_key(material.logs[entry.log].stream, entry.message.seq)
                batch.put(Table.TOKENS, key, count_row(size, mark))
        if batch.puts:
            await self._store.commit(batch)

    def _kept_if_there(self, job: _Job) -> Batch:
        """A batch that is not stored once the session has been deleted."""
        batch = Batch()
        batch.expect(Table.NAMES, name_key(job.session_id), encode(job.stream))
        return batch

    async def _aside(self, function: Callable[..., Any], *args: Any) -> Any:
        async with self._threads:
            return await self._offload(function, *args)

    # -- summarising -----------------------------------------------------------------------------

    async def _compact(self, job: _Job, material: Material, *, asked: bool) -> Compacted:
        limits = self.limits
        keep = limits.keep_recent_tokens
        if asked:
            keep = min(keep, material.total // 4)
        found = choose_cut(
            material.pieces(),
            material.settled,
            keep_tokens=keep,
            input_tokens=limits.input_tokens - material.summary_tokens,
            worth_tokens=limits.summary_tokens,
            keep_messages=limits.keep_recent_messages,
            full=material.total > limits.max_tokens or material.messages > limits.max_messages,
        )
        if found is None:
            return _nothing(job, material, "nothing")
        covered = material.summary_tokens + sum(material.tokens[at] for at in found.covered)
        request = SummaryRequest(
            session_id=job.session_id,
            agent=material.head.agent,
            messages=(*material.summaries, *self._given(material, found)),
            max_tokens=limits.summary_tokens,
        )
        written = await self._writer.write(request, covered)
        if written is None:
            return _nothing(job, material, "too_short")
        record = _record(material, found, covered, written, self._services.now_us())
        if record.others:
            await self._store.commit(Batch())  # a marker of before the record may be on its way
            if not material.holds(self._store):
                return _nothing(job, material, "changed")
        seq = await self._hand_over(job, material, record)
        if not seq:
            return _nothing(job, material, "changed")
        return Compacted(
            status="compacted",
            session_id=job.session_id,
            seq=seq,
            tokens_before=material.total,
            tokens_after=material.total - covered + record.tokens,
            messages=len(found.covered),
            fault=record.fault,
        )

    def _given(self, material: Material, found: Cut) -> list[Message]:
        """What is summarised; the largest messages are cut if it is too much for a summariser."""
        room = self.limits.input_tokens - material.summary_tokens
        most = _most_each([material.tokens[at] for at in found.covered], room)
        return [
            material.entries[at].message
            if material.tokens[at] <= most
            else cut(material.entries[at].message, most - OVERHEAD)
            for at in found.covered
        ]

    async def _hand_over(self, job: _Job, material: Material, record: SummaryRecord) -> int:
        """Let the session make the summary its own; 0 if it does not, else its sequence number."""
        telling = job.telling = trio.Event()
        seq: int = 0
        try:
            made = SummaryMade(
                session_id=job.session_id,
                base=material.base,
                record=replace(record, for_turn=job.held),
                awaited=job.is_asked_by_human,
            )
            with trio.CancelScope(shield=True):
                seq = await self._services.registry.ask(made, block=False)
        finally:
            telling.set()
        return seq


def _most_each(sizes: Sequence[int], room: int) -> int:
    """How large a message may be so that all of them fit into `room`; at least their frames."""
    left = room
    for place, size in enumerate(sorted(sizes)):
        each = left // (len(sizes) - place)
        if size > each:
            return max(each, OVERHEAD)
        left -= size
    return max(sizes, default=0)


def _record(
    material: Material, found: Cut, covered: int, written: Written, now_us: int
) -> SummaryRecord:
    own = material.logs[0]
    weights = [material.weights[at] for at in found.covered if material.entries[at].log == 0]
    folded = own.summary
    return SummaryRecord(
        at_us=max(now_us, *(log.since_us for log in material.logs)),  # clocks may go back
        text=written.text,
        through=max(found.through[0], own.through),
        asides=max(found.asides[0], own.asides),
        by=written.by,
        tokens=written.tokens,
        covered_tokens=covered,
        covered_bound=sum(weights) + (weight_of(folded[1]) if folded is not None else 0),
        covered_messages=len(weights) + (folded is not None),
        previous=folded[0] if folded is not None else 0,
        others=tuple(
            (
                log.stream,
                max(found.through[number], log.through),
                max(found.asides[number], log.asides),
                log.head.veils,
            )
            for number, log in enumerate(material.logs)
            if number
        ),
        fault=written.fault,
    )


def _read(store: Store, stream: int, mark: bytes) -> Material | None:
    with store.snapshot() as reads:
        return read_material(reads, stream, mark)


def _batches(material: Material) -> Iterator[Sequence[int]]:
    """The entries that have to be counted, so many at a time as the counter is given together."""
    which: list[int] = []
    chars = 0
    for at in material.uncounted:
        which.append(at)
        chars += len(material.entries[at].message.text)
        if chars >= _BATCH_CHARS or len(which) == _ROWS:
            yield which
            which, chars = [], 0
    if which:
        yield which


def _stopping(session_id: SessionId) -> Compacted:
    fault = "the runtime is stopping"
    return Compacted(status="failed", session_id=session_id, fault=fault)


def _nothing(
    job: _Job, material: Material, status: Literal["nothing", "too_short", "changed"]
) -> Compacted:
    return Compacted(
        status=status,
        session_id=job.session_id,
        tokens_before=material.total,
        tokens_after=material.total,
    )


def _together(first: Compacted, then: Compacted) -> Compacted:
    return replace(then, tokens_before=first.tokens_before, messages=first.messages + then.messages)
