"""What `verify` finds where notes, and what leads to deliveries, do not agree with the logs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from turnkeeper import Address
from turnkeeper.actors.core.delivery_records import DeliveryRecord, NoteRecord
from turnkeeper.actors.core.records import pack, unpack
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.journal import last_key, sent_key
from turnkeeper.actors.ledger import starting_with
from turnkeeper.actors.messages import Instance
from turnkeeper.storage.base import Batch, Reads, Table
from turnkeeper.storage.codec import decode, encode
from turnkeeper.storage.keys import log_key
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from ..actors.stage import START, echo, on_stage

NOW_US = int(START.timestamp() * 1_000_000)
C2 = Address(Instance("tg"), "c2")
C9 = Address(Instance("tg"), "c9")


async def _life() -> MemoryDisk:
    """Session s1 has spoken in the conversation of s2, and in one of nobody."""
    disk = MemoryDisk()
    tg = LoopbackChannel("tg")
    config = {"tg": {"send_to": ["c9"]}}
    async with on_stage(echo, tg, disk=disk, channels=config) as stage:
        for number in (1, 2):
            await tg.receive("hi", conversation=f"c{number}", user_id=f"u{number}")
            await tg.next_sent()
        await stage.runtime.send_message("s1", "psst", C2)
        await stage.runtime.send_message("s1", "anybody?", C9)
    return disk


def _problems(reads: Reads) -> list[str]:
    return [str(problem) for problem in Verification(reads, NOW_US).problems()]


def _spoken(reads: Reads) -> tuple[int, DeliveryRecord]:
    for seq, data in reads.read_log(1, limit=100):
        record = unpack(decode(data))
        if isinstance(record, DeliveryRecord) and record.noted_in is not None:
            return seq, record
    raise AssertionError("nothing was noted")


def _unlink_note(reads: Reads, batch: Batch) -> None:
    batch.delete(Table.NOTES, log_key(1, _spoken(reads)[1].delivery_seq))


def _misplace_note(reads: Reads, batch: Batch) -> None:
    batch.put(Table.NOTES, log_key(1, _spoken(reads)[1].delivery_seq), encode(("s2", 2, 1)))


def _break_note(reads: Reads, batch: Batch) -> None:
    batch.put(Table.NOTES, log_key(1, _spoken(reads)[1].delivery_seq), encode("somewhere"))


def _unlink_sent(reads: Reads, batch: Batch) -> None:
    batch.delete(Table.SENT, sent_key(C2, _spoken(reads)[1].platform_message_id or ""))


def _misplace_sent(_reads: Reads, batch: Batch) -> None:
    batch.put(Table.SENT, sent_key(C2, "m99"), encode(("s1", 1, 1, ())))


def _lose_last(_reads: Reads, batch: Batch) -> None:
    batch.delete(Table.LAST, last_key("main", "tg"))


def _forge_last(_reads: Reads, batch: Batch) -> None:
    row = ("tg", "c1", None, "s1", 1)
    batch.put(Table.LAST, last_key("main", "tg"), encode(row))


def _adopt_last(_reads: Reads, batch: Batch) -> None:
    batch.put(Table.LAST, last_key("ops", "tg"), encode(("tg", "c1", None, "s1", 1)))


def _misplace_waiting(reads: Reads, batch: Batch) -> None:
    ((key, data),) = starting_with(reads, Table.WAITING_NOTES, b"")
    batch.delete(Table.WAITING_NOTES, key)
    batch.put(Table.WAITING_NOTES, bytes(16) + key[16:], data)


def _break_waiting(reads: Reads, batch: Batch) -> None:
    ((key, _),) = starting_with(reads, Table.WAITING_NOTES, b"")
    batch.put(Table.WAITING_NOTES, key, encode(7))


def _note_of_nothing(reads: Reads, batch: Batch) -> None:
    seq = reads.last_seq(2) + 1
    note = NoteRecord(
        at_us=NOW_US,
        text="never said",
        source="session s1",
        session_id="s1",
        mission=None,
        delivery_id="s1/4",
        instance="tg",
        conversation="c2",
        thread=None,
    )
    batch.append(2, seq, [encode(pack(note))])


def _heard_without_note(reads: Reads, batch: Batch) -> None:
    seq = reads.last_seq(1) + 1
    said = AssistantRecord(
        at_us=NOW_US + 10**9,
        text="psst",
        turn_seq=0,
        instance="tg",
        conversation="c2",
        thread=None,
    )
    outcome = DeliveryRecord(at_us=NOW_US + 10**9, delivery_seq=seq, status="delivered")
    batch.append(1, seq, [encode(pack(said)), encode(pack(outcome))])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_unlink_note, "note s2/7: missing"),
        (_misplace_note, "note s2/7: holds"),
        (_break_note, "the place of a note is kept as 'somewhere'"),
        (_unlink_sent, "does not lead to this delivery"),
        (_misplace_sent, "leads to s1/1, which is no delivery"),
        (_lose_last, "missing: humans have written to 'main' there"),
        (_forge_last, "where nobody wrote then"),
        (_adopt_last, "names s1, which is another agent's"),
        (_misplace_waiting, "waits for another place than it is about"),
        (_break_waiting, "waiting note of 1/"),
        (_note_of_nothing, "is of s1/4, which was not heard"),
        (_heard_without_note, "was heard in tg/c2, which was that of s2: no note"),
    ],
)
def test_each_disagreement_is_one_problem_that_names_its_place(
    damage: Callable[[Reads, Batch], None], said: str
) -> None:
    async def damaged() -> list[str]:
        disk = await _life()
        assert _problems(MemoryReads(disk)) == []
        async with open_memory(disk) as store:
            batch = Batch()
            damage(MemoryReads(disk), batch)
            await _commit(store, batch)
        return _problems(MemoryReads(disk))

    problems = trio.run(damaged)
    assert any(said in problem for problem in problems), problems


async def _commit(store: MemoryStore, batch: Batch) -> None:
    await store.commit(batch)
