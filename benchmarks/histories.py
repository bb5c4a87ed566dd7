"""Stores with a past: sessions whose logs hold what real turns would have left there.

The records, heads, names, bindings and seen messages are those of a run in which every turn was
accepted, answered and delivered at once; only the actors are left out, to save the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from benchmarks.load import REPLY, TEXT, Said
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.effects import Step
from turnkeeper.actors.core.intake import body_digest, seen_window
from turnkeeper.actors.core.records import (
    AssistantRecord,
    DeliveryRecord,
    Record,
    user_record,
)
from turnkeeper.actors.core.routing import bind
from turnkeeper.actors.journal import batch_for, binding_key, name_key, seen_hash, seen_key
from turnkeeper.actors.messages import Address, InboundTurn, Instance, SessionId
from turnkeeper.storage.base import Batch, Store, Table
from turnkeeper.storage.codec import Payload, encode

__all__ = ["chat", "write_histories"]

INSTANCE: Final = Instance("lo")
_TURNS_A_BATCH: Final = 500
_BATCHES_AHEAD: Final = 256
"""Batches that are submitted before one is waited for; it bounds the memory."""


def chat(stream: int) -> str:
    """The conversation whose session has number `stream`."""
    return f"chat-{stream - 1:06}"


async def write_histories(store: Store, lengths: Iterable[int]) -> None:
    """Write sessions 1, 2, 3 … with as many turns as `lengths` says, into an empty store."""
    submitted = 0
    for stream, turns in enumerate(lengths, start=1):
        writer = _Writer(stream)
        while writer.written < turns or not writer.opened:
            batch = writer.next_batch(min(_TURNS_A_BATCH, turns - writer.written))
            submitted += 1
            if submitted % _BATCHES_AHEAD:
                store.submit(batch)
            else:
                await store.commit(batch)
    await store.commit(Batch())


class _Writer:
    """Makes up the log of one session."""

    def __init__(self, stream: int) -> None:
        self.written = 0
        self.opened = False
        self._stream = stream
        self._place = Address(instance=INSTANCE, conversation=chat(stream))
        self._core = Conversation()

    def next_batch(self, turns: int) -> Batch:
        """The next `turns` turns, and before the first of them what opens the session."""
        core, now_us = self._core, time.time_ns() // 1000
        step = Step(core.next_seq)
        tables: list[tuple[Table, bytes, bytes]] = []
        if not self.opened:
            self.opened = True
            tables += self._open(step, now_us)
        for _ in range(turns):
            tables.append(self._take_turn(step, now_us))
        batch = batch_for(self._stream, core, step)
        for row in tables:
            batch.put(*row)
        return batch

    def _record(self, step: Step, record: Record) -> int:
        step.records.append(record)
        return self._core.apply(record)

    def _turn(self) -> InboundTurn:
        said = Said(self._place.conversation, f"past-{self._stream:06}-{self.written:06}")
        return InboundTurn(
            address=self._place,
            platform="loopback",
            message_id=said.message_id,
            user_id="u1",
            text=TEXT,
        )

    def _open(self, step: Step, now_us: int) -> list[tuple[Table, bytes, bytes]]:
        session_id = SessionId(f"s{self._stream}")
        row, records = bind(self._turn(), session_id, self._stream, "main", "first message", now_us)
        for record in records:
            self._record(step, record)
        return [
            (Table.NAMES, name_key(session_id), encode(self._stream)),
            (Table.BINDINGS, binding_key(self._place), encode([*row])),
        ]

    def _take_turn(self, step: Step, now_us: int) -> tuple[Table, bytes, bytes]:
        turn = self._turn()
        self.written += 1
        seq = self._record(step, user_record(turn, now_us))
        said = AssistantRecord(
            at_us=now_us,
            text=REPLY,
            turn_seq=seq,
            instance=INSTANCE,
            conversation=self._place.conversation,
            thread=None,
            reply_to=turn.message_id,
        )
        delivery_seq = self._record(step, said)
        self._record(
            step,
            DeliveryRecord(
                at_us=now_us,
                delivery_seq=delivery_seq,
                status="delivered",
                platform_message_id=f"out-past-{self.written}",
            ),
        )
        row: Payload = [self._core.session_id, seq, body_digest(turn)]
        return Table.SEEN, seen_key(seen_window(now_us), seen_hash(turn)), encode(row)
