"""Stores with a past: sessions whose logs hold what real turns would have left there.

The records, heads, names, bindings and seen messages are those of a run in which every turn was
accepted, answered and delivered at once; only the actors are left out, to save the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from benchmarks.load import REPLY, TEXT, Said, user_of
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.effects import Step
from turnkeeper.actors.core.heard import user_record
from turnkeeper.actors.core.intake import body_digest, seen_window
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.routing import BindingRow, KeyRow, default_user, rule_of
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.journal import batch_for, seen_hash, seen_key
from turnkeeper.actors.ledger import opening
from turnkeeper.actors.messages import Address, InboundTurn, Instance
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
        now_us = time.time_ns() // 1000
        opened: Batch | None = None
        if not self.opened:
            self.opened = True
            opened = self._open(now_us)
        step = Step(self._core.next_seq)
        rows = [self._take_turn(step, now_us) for _ in range(turns)]
        batch = batch_for(self._stream, self._core, step)
        for row in rows:
            batch.put(*row)
        return _both(opened, batch) if opened is not None else batch

    def _record(self, step: Step, record: Record) -> int:
        step.records.append(record)
        return self._core.apply(record)

    def _turn(self) -> InboundTurn:
        said = Said(self._place.conversation, f"past-{self._stream:06}-{self.written:06}")
        return InboundTurn(
            address=self._place,
            platform="loopback",
            message_id=said.message_id,
            user_id=user_of(self._place.conversation),
            text=TEXT,
        )

    def _open(self, now_us: int) -> Batch:
        turn, session_id = self._turn(), f"s{self._stream}"
        row = BindingRow(
            session_id=session_id,
            stream=self._stream,
            version=1,
            instance=INSTANCE,
            conversation=self._place.conversation,
            thread=None,
            platform=turn.platform,
            guild=None,
            direct=True,
            at_us=now_us,
            by=rule_of("user", None, None),
            user_id=turn.user_id,
            scope="user",
        )
        key = ("user", "main", default_user(turn.platform, turn.user_id))
        batch, self._core = opening(row, "main", KeyRow(session_id, self._stream, 1, key))
        return batch

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


def _both(one: Batch, other: Batch) -> Batch:
    """Two batches on one stream, the second behind the first, as one."""
    stream, first_seq, records = one.appends[0]
    both = Batch()
    both.append(stream, first_seq, [*records, *(other.appends[0][2] if other.appends else ())])
    both.puts = [*one.puts, *other.puts]
    return both
