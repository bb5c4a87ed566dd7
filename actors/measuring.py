"""Measures contexts: counts what of them has not been counted, and tells their sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ..storage.base import Batch, Store, Table
from ..storage.codec import encode
from ..storage.keys import log_key
from .compaction_job import Job
from .compactions import Measured
from .context_logs import Log
from .core.asides import summary_text
from .core.compaction import Limits
from .core.weight import OVERHEAD
from .counting import Counting
from .counts import count_row
from .journal import load_head, name_key
from .material import Material, read_material
from .services import Services
from .summarising import Offload
from .uncovered import MOST_BYTES
from .usage import Usage, base_of, put_usage

__all__ = ["Measuring"]

_ROWS: Final = 512
"""Counts that are stored with one commit."""
_BATCH_CHARS: Final = 262_144
"""Characters that are given to the counter together, as long as they are several texts."""
_MOST_PER_TOKEN: Final = 32
"""Bytes of a token in any conversation that a window could hold as a whole: English has some 4."""


class Measuring:
    """Knows how large contexts are, and how large they may be."""

    def __init__(
        self, services: Services, counting: Counting, limits: Limits, offload: Offload
    ) -> None:
        """A measuring.

        Args:
            services: of the runtime.
            counting: counts tokens.
            limits: how large a context may become.
            offload: runs what takes long.
        """
        self._services = services
        self._store = services.store
        self._counting = counting
        self._limits = limits
        self._offload = offload
        self._most_bytes = max(MOST_BYTES, _MOST_PER_TOKEN * limits.max_tokens)

    async def measure(self, job: Job) -> Material | None:
        """Count what has not been counted, and keep the counts; None: there is no such session.

        Turns that wait for room go on if there is enough.
        """
        mark = self._counting.mark
        material: Material | None = await self._offload(
            _read, self._store, job.stream, mark, self._most_bytes
        )
        if material is None:
            return None
        await self._count_summaries(job, material)
        for which in _batches(material):
            await self._count(job, material, which)
        if not material.more:
            batch = self._kept_if_there(job)
            put_usage(batch, job.stream, self._usage_of(material))
            await self._store.commit(batch)
        if self._fits(job, material):
            job.let_turns_go()
        return material

    def holds(self, material: Material) -> bool:
        """Whether a window can hold a context as it was measured."""
        limits = self._limits
        return (
            not material.more
            and material.total <= limits.max_tokens
            and material.messages <= limits.max_messages
        )

    def is_over(self, material: Material) -> bool:
        """Whether the older part of a context is to be summarised."""
        limits = self._limits
        return (
            material.more
            or material.total >= limits.trigger_tokens
            or material.messages >= limits.trigger_messages
        )

    def tell(self, job: Job, material: Material, *, stuck: bool) -> None:
        """Tell the session what was measured; `stuck`: and that nothing can be done about it."""
        head = material.head
        waiting_bound = sum(material.weights[at] for at in material.waiting)
        joined_bound, joined_messages = material.joined
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

    def _usage_of(self, material: Material) -> Usage:
        head, summary_size = material.head, material.summary_sizes.get(0)
        own = [
            tokens
            for entry, tokens in zip(material.entries, material.tokens, strict=True)
            if entry.log == 0
        ]
        return Usage(
            head.context_bound,
            sum(own) + (summary_size or 0),
            len(own) + (summary_size is not None),
            base_of(head),
            self._counting.name,
        )

    def _fits(self, job: Job, material: Material) -> bool:
        """Whether the window can hold the context, with what has come since it was read."""
        limits, then = self._limits, material.head
        now = load_head(self._store, job.stream) or then
        if material.more or now.settled != then.settled:
            return False  # not all of it was looked at, or a turn has begun that had waited
        tokens = material.total + max(now.context_bound - then.context_bound, 0)
        messages = material.messages + max(now.context_messages - then.context_messages, 0)
        return tokens <= limits.max_tokens and messages < limits.max_messages

    async def _count_summaries(self, job: Job, material: Material) -> None:
        """Count the summaries that another counter counted, or none."""
        found = [(number, material.logs[number]) for number in material.uncounted_summaries]
        told = [(number, log, log.summary) for number, log in found if log.summary is not None]
        if not told:
            return
        texts = [summary_text(record.text) for _, _, (_, record) in told]
        counts, mark = await self._counting.count(texts)
        sizes: list[tuple[Log, int, int]] = []
        for (number, log, (seq, _)), tokens in zip(told, counts, strict=True):
            size = material.summary_sizes[number] = tokens + OVERHEAD
            sizes.append((log, seq, size))
        await self._keep(job, sizes, mark)

    async def _count(self, job: Job, material: Material, which: Sequence[int]) -> None:
        texts = [material.entries[at].message.attributed for at in which]
        counts, mark = await self._counting.count(texts)
        sizes: list[tuple[Log, int, int]] = []
        for at, tokens in zip(which, counts, strict=True):
            entry, size = material.entries[at], material.count(at, tokens)
            sizes.append((material.logs[entry.log], entry.message.seq, size))
        await self._keep(job, sizes, mark)

    async def _keep(
        self, job: Job, sizes: Sequence[tuple[Log, int, int]], mark: bytes | None
    ) -> None:
        """Store how large records are, by log and sequence number.

        Args:
            job: for whose context they were counted.
            sizes: tokens of each.
            mark: of the counter that counted them; None for none, and nothing is stored.
        """
        if mark is None:
            return
        batch = self._kept_if_there(job, {log.stream: log for log, _, _ in sizes}.values())
        for log, seq, size in sizes:
            batch.put(Table.TOKENS, log_key(log.stream, seq), count_row(size, mark))
        await self._store.commit(batch)

    def _kept_if_there(self, job: Job, logs: Iterable[Log] = ()) -> Batch:
        """A batch that is not stored once the session has been deleted, or that of one of `logs`.

        Nobody would remove what is kept beside a log that is gone.
        """
        batch = Batch()
        batch.expect(Table.NAMES, name_key(job.session_id), encode(job.stream))
        for log in logs:
            if log.session_id is not None:
                batch.expect(Table.NAMES, name_key(log.session_id), encode(log.stream))
        return batch


def _read(store: Store, stream: int, mark: bytes, most_bytes: int) -> Material | None:
    with store.snapshot() as reads:
        return read_material(reads, stream, mark, most_bytes)


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
