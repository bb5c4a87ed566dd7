"""Compacting: the part of a session's shell that lets its context be summarised in time."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Final

from ..storage.base import Table
from ..storage.errors import StorageError
from ..storage.keys import log_key
from .changing import Changing
from .compactions import Compact, CompactionEnded, Measured, SummaryMade
from .core.conversation import Conversation
from .core.effects import Effect
from .core.session_commands import compaction_answer
from .counts import count_row
from .journal import batch_for
from .kernel import TrioFuture
from .material import told_of_joined
from .services import Services

__all__ = ["Compacting"]

_GROWTH: Final = 0.05
"""Share of the limit by which a context grows before it is looked at again, if the last look could
do nothing, and no turn has ended since."""


class Compacting(Changing):
    """Has the context measured when it may be too large, and takes its summary."""

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__(services, stream, conversation)
        self._measured: Measured | None = None

    def _durable(
        self,
        effects: list[Effect],
        answer: TrioFuture[Any] | None,
        error: StorageError | None,
    ) -> None:
        core, compactor = self._core, self._services.compactor
        if error is None:
            if (
                core.context_bound >= compactor.limits.trigger_tokens
                or core.context_messages >= compactor.trigger_messages
                or core.joins
            ):
                self._look_at_room()
            else:
                compactor.let_go(core.session_id)
        super()._durable(effects, answer, error)

    def _look_at_room(self) -> None:
        """Have the context looked at if it may be too large: a byte may be a token."""
        services, core = self._services, self._core
        limits = services.compactor.limits
        joined_bound, joined_messages = told_of_joined(services.store, self._stream, core.base[3])
        waiting_bound, waiting = core.waiting
        bound = core.context_bound - waiting_bound + joined_bound
        told = core.context_messages - waiting + joined_messages
        tokens, messages = bound, told
        known = self._measured
        if (
            known is not None
            and known.base == core.base
            and known.bound <= bound
            and known.told <= told
        ):
            tokens = known.tokens + bound - known.bound
            messages = known.messages + told - known.told
            grown = bound - known.bound >= limits.max_tokens * _GROWTH
            if known.stuck and not grown and known.settled == core.settled:
                return
        if tokens >= limits.trigger_tokens or messages >= services.compactor.trigger_messages:
            full = tokens > limits.max_tokens or messages > limits.max_messages
            services.compactor.consider(core.session_id, self._stream, full=full)

    def _on_measured(self, message: Measured) -> None:
        self._measured = message

    def _summary_made(self, message: SummaryMade) -> None:
        core, record = self._core, message.record
        turn = core.running
        is_new = turn > self._given or self._services.compactor.is_expected(core.session_id, turn)
        if turn and not record.for_turn and is_new:
            # Its agent has seen nothing yet: see `Compactor.room`.
            record = replace(record, for_turn=turn)
        notice = None if message.awaited else self._services.compaction_notice
        step = core.summarise(record, message.base, notice)
        batch = batch_for(self._stream, core, step)
        if step.records and message.mark is not None:
            counted = count_row(record.tokens, message.mark)
            batch.put(Table.TOKENS, log_key(self._stream, step.first_seq), counted)
        self._submit(batch, partial(self._durable, step.effects, self.take_reply()))

    def _compaction_ended(self, message: CompactionEnded) -> None:
        """Tell the human who asked. As with every command, no window shows it."""
        _, step = self._core.send(
            compaction_answer(message.outcome),
            message.asked.address,
            self._services.now_us(),
            by="runtime",
            route="command",
            reply_to=message.asked.message_id,
        )
        self._commit(step)

    def _compact(self, _message: Compact) -> None:
        compactor = self._services.compactor
        compactor.ask(self._core.session_id, self._stream, self.take_reply())
