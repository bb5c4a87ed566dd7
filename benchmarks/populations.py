"""Stores full of people: identities, linked to users whose sessions have their conversations.

The rows are those of a store in which every identity was linked before its human first wrote, and
every human has since had one turn. Links are planned and laid out by the code that a runtime does
it with; only the actors are left out, to save the time.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.load import REPLY, TEXT, Said, user_of
from turnkeeper.actors.core.changes import plan_link
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.core.effects import Step
from turnkeeper.actors.core.head import Head
from turnkeeper.actors.core.heard import user_record
from turnkeeper.actors.core.intake import body_digest, seen_window
from turnkeeper.actors.core.ownership_records import KeyedRecord, OpenedRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.routing import (
    BindingRow,
    IdentityRow,
    Key,
    KeyRow,
    record_of,
    rule_of,
)
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.journal import batch_for, name_key, seen_hash, seen_key
from turnkeeper.actors.ledger import batch_of_plan, key_key, put_binding
from turnkeeper.actors.messages import Address, InboundTurn, Instance
from turnkeeper.collector import collector_paused
from turnkeeper.storage.base import Batch, Store, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.lmdb_store import open_lmdb

__all__ = [
    "PLATFORM",
    "Population",
    "chat",
    "messages_in",
    "prepare",
    "write_population",
]

INSTANCE: Final = Instance("lo")
PLATFORM: Final = "loopback"
AGENT: Final = "main"
_USERS_A_BATCH: Final = 10_000
"""Their keys are hashes and lie all over the tables: few large commits rewrite fewer pages."""


def chat(number: int) -> str:
    """The direct conversation of an identity."""
    return f"dm-{number:07}"


def messages_in(numbers: Iterable[int], name: str) -> list[Said]:
    """One message each in the conversations of these identities."""
    return [Said(chat(number), f"{name}-{number}-{at}") for at, number in enumerate(numbers)]


@dataclass(frozen=True, slots=True)
class Population:
    """So many identities, numbered from 0; three users for every ten of them."""

    identities: int

    @property
    def users(self) -> int:
        return self.user_number(self.identities)

    def user_number(self, number: int) -> int:
        """Whom identity `number` is linked to; the identities of a user are neighbours."""
        return number * 3 // 10

    def user(self, number: int) -> str:
        """The same, by name."""
        return f"person-{self.user_number(number):07}"


async def prepare(directory: Path, population: Population) -> None:
    """Make a state directory that holds `population`."""
    with collector_paused():
        async with open_lmdb(directory) as store:
            await write_population(store, population)


async def write_population(store: Store, population: Population) -> None:
    """Fill an empty store; user number `n` has session `n + 1`."""
    batch, people = Batch(), range(0)
    for user in range(population.users):
        people = range(people.stop, _first_of(user + 1, population))
        for number in people:
            _link(batch, store, population, number)
        _open_session(batch, population, user + 1, people)
        if (user + 1) % _USERS_A_BATCH == 0:
            await store.commit(batch)
            batch = Batch()
    await store.commit(batch)


def _first_of(user: int, population: Population) -> int:
    """The first identity of user number `user`, or how many identities the users before have."""
    return min(-(-user * 10 // 3), population.identities)


@dataclass(frozen=True, slots=True)
class _NobodyYet:
    """The world before somebody's first message."""

    next_number: int
    next_stream: int = 1

    def agent_at(self, instance: str) -> str | None:
        return AGENT if instance == INSTANCE else None

    def identity(self, platform: str, user_id: str) -> IdentityRow | None:
        return None

    def identities_of(self, user: str) -> Sequence[IdentityRow]:
        return ()

    def paired_to(self, session_id: str) -> Sequence[IdentityRow]:
        return ()

    def places_of_identity(self, platform: str, user_id: str) -> Sequence[BindingRow]:
        return ()

    def places_of_session(self, stream: int) -> Sequence[BindingRow]:
        return ()

    def key(self, key: Key) -> KeyRow | None:
        return None

    def session(self, session_id: str) -> tuple[int, Head] | None:
        return None


def _link(batch: Batch, store: Store, population: Population, number: int) -> None:
    plan = plan_link(
        _NobodyYet(number + 1),
        PLATFORM,
        user_of(chat(number)),
        population.user(number),
        now_us=_now_us(),
        by="program",
    )
    _merge(batch, batch_of_plan(store, plan))


def _open_session(batch: Batch, population: Population, stream: int, people: range) -> None:
    """The session of a user: opened by the first message of the first identity."""
    now_us, session_id, user = _now_us(), f"s{stream}", population.user(people.start)
    rows = [_binding(session_id, stream, number, user, now_us) for number in people]
    holder = KeyRow(session_id, stream, 1, ("user", AGENT, user))
    core = Conversation()
    step = Step(core.next_seq)

    def record(*records: Record) -> int:
        step.records.extend(records)
        return [core.apply(one) for one in records][-1]

    record(
        OpenedRecord(at_us=now_us, session_id=session_id, agent=AGENT, by=rows[0].by),
        KeyedRecord(at_us=now_us, key=holder.key, version=holder.version),
    )
    seen: list[tuple[bytes, bytes]] = []
    for row in rows:
        turn = _turn(row)
        seq = record(record_of(row), user_record(turn, now_us))
        said = AssistantRecord(
            at_us=now_us,
            text=REPLY,
            turn_seq=seq,
            instance=row.instance,
            conversation=row.conversation,
            thread=None,
            reply_to=turn.message_id,
        )
        delivered = DeliveryRecord(
            at_us=now_us,
            delivery_seq=record(said),
            status="delivered",
            platform_message_id=f"out-{turn.message_id}",
        )
        record(delivered)
        key = seen_key(seen_window(now_us), seen_hash(turn))
        seen.append((key, encode([session_id, seq, body_digest(turn)])))
    _merge(batch, batch_for(stream, core, step))
    batch.put(Table.NAMES, name_key(session_id), encode(stream))
    batch.put(Table.KEYS, key_key(holder.key), encode(list(holder)))
    for row, (key, value) in zip(rows, seen, strict=True):
        put_binding(batch, row)
        batch.put(Table.SEEN, key, value)


def _binding(session_id: str, stream: int, number: int, user: str, now_us: int) -> BindingRow:
    return BindingRow(
        session_id=session_id,
        stream=stream,
        version=1,
        instance=INSTANCE,
        conversation=chat(number),
        thread=None,
        platform=PLATFORM,
        guild=None,
        direct=True,
        at_us=now_us,
        by=rule_of("user", None, user),
        user_id=user_of(chat(number)),
        scope="user",
    )


def _turn(row: BindingRow) -> InboundTurn:
    return InboundTurn(
        address=Address(instance=INSTANCE, conversation=row.conversation),
        platform=PLATFORM,
        message_id=f"past-{row.conversation}",
        user_id=user_of(row.conversation),
        text=TEXT,
    )


def _merge(batch: Batch, one: Batch) -> None:
    batch.appends += one.appends
    batch.puts += one.puts


def _now_us() -> int:
    return time.time_ns() // 1000
