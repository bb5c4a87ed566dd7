"""Compacting: the part of a session's shell that lets its context be summarised in time."""

from __future__ import annotations

from typing import Any, Final

from ..storage.errors import StorageError
from .compactions import Compact, Measured, SummaryMade
from .core.conversation import Conversation
from .core.effects import Effect
from .hearing import Hearing
from .journal import load_head
from .kernel import TrioFuture
from .services import Services

__all__ = ["Compacting"]

_GROWTH: Final = 0.05
"""Share of the limit by which a context grows before it is looked at again, if the last look could
do nothing."""


class Compacting(Hearing):
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
        if error is None and (
            core.context_bound >= compactor.limits.trigger_tokens
            or core.context_messages >= compactor.trigger_messages
            or core.joins
        ):
            self._look_at_room()
        super()._durable(effects, answer, error)

    def _look_at_room(self) -> None:
        """Have the context looked at if it may be too large: a byte may be a token."""
        services, core = self._services, self._core
        limits = services.compactor.limits
        bound = core.context_bound + self._joined_bound()
        tokens, messages = bound, core.context_messages
        known = self._measured
        if known is not None and known.base == core.base and known.bound <= bound:
            tokens = known.tokens + bound - known.bound
            if known.stuck and bound - known.bound < limits.max_tokens * _GROWTH:
                return
        if tokens >= limits.trigger_tokens or messages >= services.compactor.trigger_messages:
            full = tokens > limits.max_tokens or messages > limits.max_messages
            services.compactor.consider(core.session_id, self._stream, full=full)

    def _joined_bound(self) -> int:
        store = self._services.store
        heads = (load_head(store, stream) for stream in self._core.base[3])
        return sum(head.context_bound for head in heads if head is not None)

    def _on_measured(self, message: Measured) -> None:
        self._measured = message

    def _summary_made(self, message: SummaryMade) -> None:
        step = self._core.summarise(message.record, message.base, self._services.compaction_notice)
        self._commit(step, self.take_reply())

    def _compact(self, _message: Compact) -> None:
        self._ask_compaction(self.take_reply())

    def _ask_compaction(self, answer: TrioFuture[Any] | None = None) -> None:
        self._services.compactor.ask(self._core.session_id, self._stream, answer)
