"""kill -9 while sessions speak in each other's conversations: what was heard is noted, once."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import pytest
import trio

from turnkeeper.actors.core.delivery_records import DeliveryRecord, NoteRecord, ReopenedRecord
from turnkeeper.actors.core.outbox import FINAL_STATUSES
from turnkeeper.actors.core.ownership_records import BoundRecord, ReleasedRecord
from turnkeeper.actors.core.records import address_of
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.journal import load_note_of, load_session_number, waiting_key
from turnkeeper.actors.ledger import starting_with
from turnkeeper.actors.messages import Address
from turnkeeper.storage.base import Table
from turnkeeper.verify import Verification

from .harness import Gateway, Stored, seeds, strace

pytestmark = pytest.mark.slow

_KILLS = 12
_PADDING = 4000
"""Characters by which texts are made longer, where the disk is to be full soon."""


_Outcome: TypeAlias = tuple[int, DeliveryRecord, bool]
"""Its number, itself, and whether the speaker owned the conversation then."""


@dataclass(slots=True)
class _Delivery:
    """A message to a conversation, as its speaker's log tells of it."""

    stream: int
    said: AssistantRecord
    place: Address
    outcomes: list[_Outcome] = field(default_factory=list[_Outcome])
    reopened: int = 0

    @property
    def foreign(self) -> bool:
        """Whether something of it was heard, or may have been, in another's conversation."""
        return any(r.status in ("delivered", "unknown") and not own for _, r, own in self.outcomes)

    @property
    def open(self) -> bool:
        if not self.outcomes:
            return True
        return self.outcomes[-1][1].status not in FINAL_STATUSES


class _Books:
    """Everything that was said and noted in a store at rest, and the world outside."""

    def __init__(self, gateway: Gateway, stored: Stored) -> None:
        self.stored = stored
        self.deliveries: dict[str, _Delivery] = {}
        self.notes: dict[str, tuple[str, int, NoteRecord]] = {}
        self.waiting = {key for key, _ in starting_with(stored.store, Table.WAITING_NOTES, b"")}
        self.arrived: dict[str, list[list[Any]]] = defaultdict(list)
        """Delivery id -> instance, place, message id, whether it was a resend, and text."""
        for _, instance, place, delivery_id, *rest in gateway.said("arrived"):
            self.arrived[delivery_id].append([instance, place, *rest])
        for name in stored.logs:
            self._read(name)

    def _read(self, name: str) -> None:
        stream = load_session_number(self.stored.store, name)
        assert stream is not None
        own: set[Address | None] = set()
        for seq, record in self.stored.logs[name]:
            match record:
                case BoundRecord():
                    own.add(address_of(record))
                case ReleasedRecord():
                    own.discard(address_of(record))
                case AssistantRecord():
                    place = address_of(record)
                    if place is not None:
                        self.deliveries[f"{name}/{seq}"] = _Delivery(stream, record, place)
                case DeliveryRecord():
                    delivery = self.deliveries.get(f"{name}/{record.delivery_seq}")
                    if delivery is not None:
                        delivery.outcomes.append((seq, record, delivery.place in own))
                case ReopenedRecord():
                    self.deliveries[f"{name}/{record.delivery_seq}"].reopened += 1
                case NoteRecord(delivery_id=str(delivery_id)):
                    assert delivery_id not in self.notes, "it is noted twice"
                    assert address_of(record) in own, "whoever noted it was not the owner"
                    self.notes[delivery_id] = name, seq, record
                case _:
                    pass

    def check_notes(self) -> None:
        """What was heard in another's conversation is noted once, or waits for its owner."""
        for delivery_id, one in self.deliveries.items():
            note = self.notes.get(delivery_id)
            key = waiting_key(one.place, one.stream, int(delivery_id.rpartition("/")[2]))
            waits = key in self.waiting
            self.waiting.discard(key)
            assert (note is not None) + waits == one.foreign, (delivery_id, one, note)
            for _, record, own in one.outcomes:
                if record.noted_in is not None:
                    assert note is not None
                    assert note[:2] == (record.noted_in, record.noted_seq)
                    assert not own
            if note is not None:
                assert note[2].text == one.said.text
                assert note[2].session_id == delivery_id.rpartition("/")[0]
                assert address_of(note[2]) == one.place
                assert note[2].status in {record.status for _, record, _ in one.outcomes}
        assert not self.waiting, "a note waits of what was not heard"
        assert self.notes.keys() <= self.deliveries.keys()

    def check_platforms(self) -> None:
        """What is said to be delivered has arrived; nothing has arrived that is not on record."""
        for delivery_id, arrivals in self.arrived.items():
            one = self.deliveries[delivery_id]
            for instance, place, _, _, text in arrivals:
                assert (instance, place) == (one.place.instance, one.place.conversation)
                assert one.said.text.partition(" ")[0] == text
            again = sum(not resend for *_, resend, _ in arrivals) - 1
            assert again <= one.reopened, "it was sent again, and nobody asked for it"
        for delivery_id, one in self.deliveries.items():
            held = {message_id for _, _, message_id, *_ in self.arrived.get(delivery_id, ())}
            for _, record, _ in one.outcomes:
                assert record.status != "delivered" or record.platform_message_id in held
                assert record.status != "failed" or one.reopened or not held

    def check_answers(self, gateway: Gateway) -> None:
        """Whatever anybody was told is so."""
        ids = self.stored.message_ids()
        assert len(ids) == len(set(ids))
        assert {message_id for _, message_id in gateway.said("acked")} <= set(ids)
        for _, text, status, delivery_id, noted_in in gateway.said("answered"):
            if delivery_id is None:
                assert status == "failed"
                continue
            one = self.deliveries[delivery_id]
            assert one.said.text.partition(" ")[0] == text
            assert status in {record.status for _, record, _ in one.outcomes}
            if noted_in is not None:
                assert self.notes[delivery_id][0] == noted_in
        mirrors = {
            (record.text.partition(" ")[0], name, seq)
            for name, log in self.stored.logs.items()
            for seq, record in log
            if isinstance(record, NoteRecord) and record.status == "mirrored"
        }
        assert {(text, name, seq) for _, text, name, seq in gateway.said("mirrored")} <= mirrors
        assert len({text for text, _, _ in mirrors}) == len(mirrors)

    def lost(self) -> dict[str, int]:
        """What has arrived, and nobody has written down; with the number of its last record."""
        heads = {name: len(log) for name, log in self.stored.logs.items()}
        return {
            delivery_id: heads[delivery_id.rpartition("/")[0]]
            for delivery_id, one in self.deliveries.items()
            if one.open and delivery_id in self.arrived
        }

    def check_ambiguous(self, lost: dict[str, int]) -> None:
        """What a crash made ambiguous was called unknown, or came to those who recognise it."""
        for delivery_id, head in lost.items():
            one = self.deliveries[delivery_id]
            later = [record.status for seq, record, _ in one.outcomes if seq > head]
            final = [status for status in later if status in FINAL_STATUSES]
            assert final[0] == ("unknown" if one.place.instance == "tg" else "delivered")


def _check(gateway: Gateway) -> _Books:
    with gateway.stored() as stored:
        assert list(Verification(stored.store, time.time_ns() // 1000).problems()) == []
        books = _Books(gateway, stored)
        for delivery_id in books.notes:
            one = books.deliveries[delivery_id]
            seq = int(delivery_id.rpartition("/")[2])
            row = load_note_of(stored.store, one.stream, seq)
            assert row is not None
            assert (row[0], row[2]) == books.notes[delivery_id][:2]
    books.check_notes()
    books.check_platforms()
    books.check_answers(gateway)
    return books


async def _end(gateway: Gateway, seed: object) -> _Books:
    """Let everything come to its end, with a human in every conversation."""
    async with gateway.life(None, work="end", seed=f"{seed}-end") as life:
        await life.until("quiet")
        assert await life.exit_code() == 0
    books = _check(gateway)
    assert not any(one.open for one in books.deliveries.values())
    with gateway.stored() as stored:
        assert not list(starting_with(stored.store, Table.WAITING_NOTES, b""))
    return books


async def _live(gateway: Gateway, seed: str, rng: Random, work: str) -> None:
    """Kill the process at one of its arrivals, or after any of its lines."""
    at_arrival = work == "talk" and rng.random() < 0.5
    die_at = rng.randint(1, 150) if at_arrival else 0
    async with gateway.life(None, work=work, seed=seed, die_at=die_at) as life:
        if at_arrival:
            await life.exit_code()
        else:
            await life.until("up")
            await life.lines(rng.randint(0, rng.choice((100, 300, 1500))))
            await life.kill()


@pytest.mark.parametrize("seed", seeds(2))
async def test_whatever_is_heard_in_anothers_conversation_is_noted_once_across_kills(
    tmp_path: Path, seed: int
) -> None:
    print(f"seed {seed}")
    rng, gateway = Random(seed), Gateway(tmp_path, program="notes.py")
    lost: dict[str, int] = {}
    for life in range(_KILLS):
        await _live(gateway, f"{seed}-{life}", rng, "talk")
        books = _check(gateway)
        books.check_ambiguous({name: head for name, head in lost.items() if not _open(books, name)})
        lost.update(books.lost())
    books = await _end(gateway, seed)
    books.check_ambiguous(lost)
    told = Counter(note.status for _, _, note in books.notes.values())
    done = Counter(what for _, what in gateway.said("done"))
    print(len(lost), told, done, len(gateway.said("mirrored")))
    assert min(len(lost), told["delivered"], told["unknown"]) > 0
    assert min(done["move"], done["clear"], done["retry"]) > 0
    assert {kind for _, _, kind in gateway.said("refused")} <= {"ActRefused"}


def _open(books: _Books, delivery_id: str) -> bool:
    return books.deliveries[delivery_id].open


@pytest.mark.parametrize("call", ["fdatasync", "pwrite64"])
@pytest.mark.parametrize("nth", [3, 16, 45])
async def test_a_process_that_dies_in_the_middle_of_a_commit_leaves_no_half_of_a_note(
    tmp_path: Path, call: str, nth: int
) -> None:
    gateway = Gateway(tmp_path, program="notes.py")
    async with gateway.life(None, work="talk", seed="first") as life:
        await life.until("answered", times=5)
        await life.kill()
    lost = _check(gateway).lost()
    prefix = strace(call, f"signal=KILL:when={nth}")
    async with gateway.life(None, work="talk", seed="cut", prefix=prefix) as life:
        assert await life.exit_code() != 0
    books = _check(gateway)
    books.check_ambiguous({name: head for name, head in lost.items() if not _open(books, name)})
    lost.update(books.lost())
    (await _end(gateway, nth)).check_ambiguous(lost)


async def test_every_mirror_that_was_answered_is_there_once_across_kills(tmp_path: Path) -> None:
    rng, gateway = Random(1), Gateway(tmp_path, program="notes.py")
    for life in range(_KILLS):
        await _live(gateway, f"m{life}", rng, "mirror")
        _check(gateway)
    await _end(gateway, "m")
    assert len(gateway.said("mirrored")) > _KILLS


async def test_a_disk_that_is_full_amid_notes_stops_the_runtime_and_nothing_is_half_written(
    tmp_path: Path, small_disk: Path
) -> None:
    gateway = Gateway(
        tmp_path, state_dir=small_disk / "state", program="notes.py", padding=_PADDING
    )
    lost: dict[str, int] = {}
    for life in range(2):  # still full at the second start
        async with gateway.life(None, work="talk", seed=f"full{life}") as full:
            assert await full.exit_code() == 1
        *_, last = gateway.errors.splitlines()
        assert last.startswith("stopped: the store failed: a commit failed")
        assert "Traceback" not in gateway.errors
        books = _check(gateway)
        books.check_ambiguous({name: head for name, head in lost.items() if not _open(books, name)})
        lost.update(books.lost())
    await trio.run_process(["mount", "-o", "remount,size=64m", str(small_disk)])
    (await _end(gateway, "full")).check_ambiguous(lost)
