"""Remembering: the part of a session's shell that keeps what its agent wants to be kept.

Rows follow from the records and are in the same batch. What is decided on is the memory as the
last decision left it, which need not be durable yet; it is read from the store when something is
to be kept for the first time, and thrown away with the actor wherever a batch was not stored.
"""

from __future__ import annotations

from functools import partial

from ..storage.base import Batch, Table
from .awaiting import Awaiting
from .core.conversation import Conversation
from .core.memory import Memory
from .core.view_records import ForgottenRecord
from .journal import batch_for
from .memories import Forget, Remember
from .memory_rows import load_memory, memory_key, memory_keys, put_memory
from .services import Services

__all__ = ["Remembering"]


class Remembering(Awaiting):
    """Keeps values under keys."""

    def __init__(self, services: Services, stream: int, conversation: Conversation) -> None:
        super().__init__(services, stream, conversation)
        self._memory: Memory | None = None
        """As it was decided; None until something is to be kept."""

    def _keep_value(self, message: Remember) -> None:
        if self._memory is None:
            self._memory = Memory(load_memory(self._services.store, self._stream))
        now_us = self._services.now_us()
        record = self._memory.keep(message.key, message.value, now_us, message.during)
        batch = Batch()
        if record is not None:
            self._memory.apply(record)
            batch = batch_for(self._stream, self._core, self._core.keep(record))
            put_memory(batch, self._stream, record)
        # Also what changes nothing waits: the value that it finds may be on its way to the disk.
        self._submit(batch, partial(self._answered, self.take_reply(), record is not None))

    def _empty_memory(self, message: Forget) -> None:
        """Empty the memory, also where something of it cannot be read any more."""
        memory = self._memory
        rows = set(memory_keys(self._services.store, self._stream))
        if memory is not None:
            rows = {memory_key(self._stream, key) for key in memory.values}
        batch = Batch()
        if rows:
            record = ForgottenRecord(at_us=self._services.now_us(), by=message.by)
            if memory is not None:
                memory.apply(record)
            batch = batch_for(self._stream, self._core, self._core.keep(record))
            for row in rows:
                batch.delete(Table.MEMORY, row)
        self._submit(batch, partial(self._answered, self.take_reply(), len(rows)))
