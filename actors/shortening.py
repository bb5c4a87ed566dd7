"""Shortens a context once: has its older part summarised, and the session make that its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Literal

import trio

from ..storage.base import Batch
from .compaction_job import Job
from .compactions import SummaryMade
from .core.compaction import Compacted, Cut, Limits, SummaryRequest, choose_cut
from .core.shown import Message, cut
from .core.view_records import SummaryRecord
from .core.weight import OVERHEAD, weight_of
from .material import Material
from .services import Services
from .summarising import SummaryWriter, Written

__all__ = ["STOPPING", "Shortening", "unchanged"]

STOPPING: Final = "the runtime is stopping"
"""Why there is no summary, where one was given up."""


class Shortening:
    """Lets summaries be written, and hands them over."""

    def __init__(self, services: Services, writer: SummaryWriter, limits: Limits) -> None:
        """A shortening.

        Args:
            services: of the runtime.
            writer: writes the summaries.
            limits: how large a context may become.
        """
        self._services = services
        self._store = services.store
        self._writer = writer
        self._limits = limits

    async def shorten(self, job: Job, material: Material, *, asked: bool) -> Compacted:
        """Have the older part of a context summarised.

        Args:
            job: of the session.
            material: its context, measured.
            asked: whether that is only because somebody wants it: then more of it is summarised.
        """
        limits = self._limits
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
            full=material.more
            or material.total > limits.max_tokens
            or material.messages > limits.max_messages,
        )
        if found is None:
            return unchanged(job, material, "nothing")
        covered = material.summary_tokens + sum(material.tokens[at] for at in found.covered)
        request = SummaryRequest(
            session_id=job.session_id,
            agent=material.head.agent,
            messages=(*material.summaries, *self._given(material, found)),
            max_tokens=limits.summary_tokens,
        )
        written = await self._writer.write(request, covered)
        if written is None:
            return unchanged(job, material, "too_short")
        record = _record(material, found, covered, written, self._services.now_us())
        if record.others:
            await self._store.commit(Batch())  # a marker of before the record may be on its way
            if not material.holds(self._store):
                return unchanged(job, material, "changed")
        if job.is_given_up:
            return Compacted(status="failed", session_id=job.session_id, fault=STOPPING)
        seq = await self._hand_over(job, material, record, written.mark)
        if not seq:
            return unchanged(job, material, "changed")
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
        room = self._limits.input_tokens - material.summary_tokens
        most = _most_each([material.tokens[at] for at in found.covered], room)
        return [
            material.entries[at].message
            if material.tokens[at] <= most
            else cut(material.entries[at].message, most - OVERHEAD)
            for at in found.covered
        ]

    async def _hand_over(
        self, job: Job, material: Material, record: SummaryRecord, mark: bytes | None
    ) -> int:
        """Let the session make the summary its own; 0 if it does not, else its sequence number."""
        telling = job.telling = trio.Event()
        seq: int = 0
        try:
            made = SummaryMade(
                session_id=job.session_id,
                base=material.base,
                record=replace(record, for_turn=job.held),
                mark=mark,
                awaited=job.is_asked_by_human,
            )
            with trio.CancelScope(shield=True):
                seq = await self._services.registry.ask(made, block=False)
        finally:
            telling.set()
        return seq


def unchanged(
    job: Job, material: Material, status: Literal["nothing", "too_short", "changed"]
) -> Compacted:
    """What became of a context that stays as it is."""
    return Compacted(
        status=status,
        session_id=job.session_id,
        tokens_before=material.total,
        tokens_after=material.total,
    )


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
