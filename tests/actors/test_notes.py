"""What one session says in another's conversation: the outcome and the note of it, as one."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Address, Outcome, Runtime, RuntimeFailed, Turn
from turnkeeper.actors.core.delivery_records import DeliveryRecord, NoteRecord
from turnkeeper.actors.core.turn_records import AssistantRecord
from turnkeeper.actors.deliveries import DeliveryReported
from turnkeeper.actors.journal import load_binding, load_note_of
from turnkeeper.actors.kernel import ActorDeadError
from turnkeeper.actors.messages import DeliveryId, Instance, SessionId, split_record_id
from turnkeeper.actors.provenance import KeepNote
from turnkeeper.storage.base import Reads, Table
from turnkeeper.storage.memory import MemoryDisk, MemoryReads
from turnkeeper.testing import LoopbackChannel

from .stage import crashed, echo, log, on_stage
from .test_acting import assert_sound, commit_one_group

C1 = Address(Instance("tg"), "c1")
C2 = Address(Instance("tg"), "c2")


async def greet(tg: LoopbackChannel, *conversations: str) -> None:
    for number, conversation in enumerate(conversations, 1):
        await tg.receive("hi", conversation=conversation, user_id=f"u{number}")
        await tg.next_sent()


def notes(store: Reads, stream: int) -> list[NoteRecord]:
    return [record for record in log(store, stream) if isinstance(record, NoteRecord)]


def outcomes_with_arrival(store: Reads, stream: int) -> list[DeliveryRecord]:
    return [
        record
        for record in log(store, stream)
        if isinstance(record, DeliveryRecord)
        and (record.status in ("delivered", "unknown") or record.parts)
    ]


def assert_each_has_its_note(store: Reads, speaker: str, speaker_stream: int, owner: int) -> None:
    """Every foreign delivery of a log has one note in the other, and the other way round."""
    told = {
        f"{speaker}/{record.delivery_seq}"
        for record in outcomes_with_arrival(store, speaker_stream)
        if record.noted_in is not None
    }
    kept = [note.delivery_id for note in notes(store, owner)]
    assert len(kept) == len(set(kept))
    assert set(kept) == told


async def test_the_owner_has_a_note_of_what_another_session_said() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2")
        outcome = await stage.runtime.send_message("s1", "psst", C2)
        assert (outcome.status, outcome.provenance, outcome.noted_in) == (
            "delivered",
            "recorded",
            "s2",
        )
        (note,) = notes(stage.store, 2)
        assert (note.text, note.source, note.session_id) == ("psst", "session s1", "s1")
        assert note.delivery_id == outcome.delivery_id
        assert note.platform_message_id == outcome.platform_message_id
        assert_each_has_its_note(stage.store, "s1", 1, 2)
        (delivered,) = [r for r in outcomes_with_arrival(stage.store, 1) if r.noted_in]
        assert (delivered.noted_in, log(stage.store, 2)[delivered.noted_seq - 1]) == ("s2", note)


async def test_a_session_may_speak_to_one_that_is_being_opened() -> None:
    tg = LoopbackChannel("tg")
    outcomes: list[Outcome] = []
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:

        async def write() -> None:
            await tg.receive("hi", conversation="c2", user_id="u2")

        async def speak() -> None:
            outcomes.append(await stage.runtime.send_message("s1", "psst", C2))

        await greet(tg, "c1")
        stage.store.hold()
        for task in (write, speak):
            nursery.start_soon(task)
            await wait_all_tasks_blocked()
        stage.store.release()
    assert [(outcome.status, outcome.noted_in) for outcome in outcomes] == [("delivered", "s2")]


async def test_a_note_wakes_nobody_and_the_next_turn_is_answered() -> None:
    calls: list[str] = []

    async def agent(turn: Turn) -> str:
        calls.append(turn.text)
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await greet(tg, "c1", "c2")
        await stage.runtime.send_message("s1", "psst", C2)
        assert calls == ["hi", "hi"]
        await tg.receive("again", conversation="c2", user_id="u2")
        await tg.next_sent()
        assert (await tg.next_sent()).text == "again"


async def test_a_send_to_ones_own_conversation_needs_no_note() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2")
        outcome = await stage.runtime.send_message("s1", "psst")
        assert (outcome.status, outcome.provenance, outcome.noted_in) == (
            "delivered",
            "not_needed",
            None,
        )
        assert notes(stage.store, 1) == notes(stage.store, 2) == []


@pytest.mark.parametrize("fault", ["refused", "rejected", "timeout_before_send"])
async def test_what_has_not_arrived_leaves_no_note(fault: str) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, runtime={"delivery_max_attempts": 1}) as stage:
        await greet(tg, "c1", "c2")
        tg.fail_next(fault)  # type: ignore[arg-type]
        outcome = await stage.runtime.send_message("s1", "psst", C2)
        assert (outcome.status, outcome.provenance) == ("failed", "not_needed")
        assert notes(stage.store, 2) == []


async def test_what_may_have_arrived_is_noted_as_such() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2")
        tg.fail_next("timeout_after_send")
        outcome = await stage.runtime.send_message("s1", "psst", C2)
        assert (outcome.status, outcome.provenance) == ("unknown", "recorded")
        assert [note.status for note in notes(stage.store, 2)] == ["unknown"]


async def test_a_second_arrival_of_the_same_delivery_is_noted_once(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2")
        tg.fail_next("timeout_after_send")
        outcome = await stage.runtime.send_message("s1", "psst", C2)
        assert outcome.delivery_id is not None
        held = await stage.runtime.retry_delivery(outcome.delivery_id)
        assert (held.status, held.reason) == ("unknown", "may_have_arrived")
        assert (held.provenance, held.noted_in) == ("recorded", "s2")
        again = await stage.runtime.retry_delivery(outcome.delivery_id, mark_duplicate=True)
        assert (again.status, again.provenance, again.noted_in) == ("delivered", "recorded", "s2")
        assert len(notes(stage.store, 2)) == 1


# -- together or not at all ----------------------------------------------------------------------


async def chatter(runtime: Runtime) -> None:
    """Two sessions speak in each other's conversation, all at once."""
    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(runtime.send_message, "s1", f"to c2: {number}", C2)
            nursery.start_soon(runtime.send_message, "s2", f"to c1: {number}", C1)


async def test_two_sessions_that_speak_in_each_others_conversation_do_not_block() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2")
        with trio.fail_after(60):
            await chatter(stage.runtime)
        assert len(notes(stage.store, 1)) == len(notes(stage.store, 2)) == 6
        assert_each_has_its_note(stage.store, "s1", 1, 2)
        assert_each_has_its_note(stage.store, "s2", 2, 1)
        assert_sound(stage.store)


async def test_outcome_and_note_are_together_at_every_commit_and_after_every_crash() -> None:
    """Each group that is committed alone is a place where the power may be cut."""
    tg = LoopbackChannel("tg")
    cuts: list[MemoryDisk] = []
    done = trio.Event()

    async def talk(runtime: Runtime) -> None:
        await chatter(runtime)
        done.set()

    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        await greet(tg, "c1", "c2")
        stage.store.hold()
        nursery.start_soon(talk, stage.runtime)
        number = 0
        while not done.is_set():
            number += 1
            nursery.start_soon(write, tg, f"between {number}")
            await wait_all_tasks_blocked()
            commit_one_group(stage.store)
            await wait_all_tasks_blocked()
            cuts.append(crashed(stage.disk))
        stage.store.release()
    assert len(cuts) > 3
    for cut in cuts:
        reads = MemoryReads(cut)
        assert_each_has_its_note(reads, "s1", 1, 2)
        assert_each_has_its_note(reads, "s2", 2, 1)
        assert_sound(reads)


async def write(tg: LoopbackChannel, text: str) -> None:
    await tg.receive(text, conversation="c1", user_id="u1")


async def test_after_a_crash_at_any_commit_nothing_delivered_lacks_its_note(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    cuts: list[MemoryDisk] = []
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        await greet(tg, "c1", "c2")
        stage.store.hold()
        asked = trio.Event()

        async def speak() -> None:
            await stage.runtime.send_message("s1", "psst", C2)
            asked.set()

        nursery.start_soon(speak)
        while not asked.is_set():
            await wait_all_tasks_blocked()
            cuts.append(crashed(stage.disk))
            commit_one_group(stage.store)
            await wait_all_tasks_blocked()
        cuts.append(crashed(stage.disk))
        stage.store.release()
    assert len(cuts) >= 3
    for cut in cuts:
        again = LoopbackChannel("tg")
        async with on_stage(echo, again, disk=cut) as stage:
            await trio.sleep(60)
            assert_each_has_its_note(stage.store, "s1", 1, 2)
            assert len(again.sent) <= 1


# -- whose conversation it is when the outcome comes -----------------------------------------------


async def test_the_note_goes_to_whoever_owns_the_conversation_when_the_outcome_is_written() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        await greet(tg, "c1", "c2", "c3")
        tg.hold()
        nursery.start_soon(stage.runtime.send_message, "s1", "psst", C2)
        await wait_all_tasks_blocked()
        await stage.runtime.move_binding("tg", "c2", session_id="s3")
        tg.release()
        await wait_all_tasks_blocked()
        assert notes(stage.store, 2) == []
        assert [note.text for note in notes(stage.store, 3)] == ["psst"]


async def test_moves_and_notes_wait_for_each_other() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2", "c3")
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                for number in range(8):
                    nursery.start_soon(chatter, stage.runtime)
                    target = "s3" if number % 2 == 0 else "s2"
                    await stage.runtime.move_binding("tg", "c2", session_id=target)
        spoken = [r for r in outcomes_with_arrival(stage.store, 1) if r.noted_in is not None]
        kept = [note.delivery_id for stream in (2, 3) for note in notes(stage.store, stream)]
        to_c2 = [f"s1/{record.delivery_seq}" for record in spoken]
        assert sorted(filter(None, kept)) == sorted(to_c2)
        assert_sound(stage.store)


async def test_a_note_for_a_conversation_without_an_owner_waits_for_its_first_message() -> None:
    tg = LoopbackChannel("tg")
    config = {"tg": {"send_to": ["c9"]}}
    async with on_stage(echo, tg, channels=config) as stage:
        await greet(tg, "c1")
        place = Address(Instance("tg"), "c9")
        outcome = await stage.runtime.send_message("s1", "good morning", place)
        assert (outcome.status, outcome.provenance) == ("delivered", "not_needed")
        assert load_binding(stage.store, place) is None
        await tg.receive("what?", conversation="c9", user_id="u9")
        (note,) = notes(stage.store, 2)
        assert note.text == "good morning"
        kinds = [record.kind for record in log(stage.store, 2)]
        assert kinds.index("note") < kinds.index("user")
        assert stage.store.scan(Table.WAITING_NOTES, limit=1) == []
        parts = split_record_id(outcome.delivery_id or "")
        assert parts is not None
        assert load_note_of(stage.store, 1, parts[1]) == ("s2", 2, kinds.index("note") + 1)
        assert_sound(stage.store)


async def test_a_first_message_that_comes_while_such_a_note_is_stored_finds_it() -> None:
    tg = LoopbackChannel("tg")
    config = {"tg": {"send_to": ["c9"]}}
    async with on_stage(echo, tg, channels=config) as stage, trio.open_nursery() as nursery:
        await greet(tg, "c1")
        stage.store.hold()
        place = Address(Instance("tg"), "c9")
        nursery.start_soon(stage.runtime.send_message, "s1", "good morning", place)
        await wait_all_tasks_blocked()
        commit_one_group(stage.store)
        await wait_all_tasks_blocked()
        nursery.start_soon(write_to, tg, "c9")
        await wait_all_tasks_blocked()
        stage.store.release()
        await wait_all_tasks_blocked()
        assert [note.text for note in notes(stage.store, 2)] == ["good morning"]


async def write_to(tg: LoopbackChannel, conversation: str) -> None:
    await tg.receive("hi", conversation=conversation, user_id="u9")


async def test_a_conversation_of_nobody_that_no_rule_opens_is_refused() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1")
        place = Address(Instance("tg"), "c9")
        outcome = await stage.runtime.send_message("s1", "good morning", place)
        assert (outcome.status, outcome.reason) == ("failed", "no_recipient")
        assert len(tg.sent) == 1


async def test_a_failing_commit_of_outcome_and_note_stores_neither() -> None:
    tg = LoopbackChannel("tg")
    disk = MemoryDisk()
    with pytest.raises(RuntimeFailed):
        await speak_on_a_failing_disk(tg, disk)
    reads = MemoryReads(disk)
    assert notes(reads, 2) == []
    assert [r for r in outcomes_with_arrival(reads, 1) if r.noted_in] == []


async def speak_on_a_failing_disk(tg: LoopbackChannel, disk: MemoryDisk) -> None:
    async with on_stage(echo, tg, disk=disk) as stage:
        await greet(tg, "c1", "c2")
        tg.hold()
        stage.runtime.start_soon(speak_in_vain, stage.runtime)
        await wait_all_tasks_blocked()
        stage.store.fail_next()
        tg.release()
        await trio.sleep_forever()


async def speak_in_vain(runtime: Runtime) -> None:
    with suppress(ActorDeadError):
        await runtime.send_message("s1", "psst", C2)


# -- sessions that break meanwhile ---------------------------------------------------------------


def _stray(delivery_seq: int = 4) -> KeepNote:
    """A request to note a delivery that was over before."""
    report = DeliveryReported(
        session_id=SessionId("s1"),
        delivery_id=DeliveryId(f"s1/{delivery_seq}"),
        attempt=1,
        status="delivered",
        platform_message_id="m1",
        address=C2,
    )
    return KeepNote(
        session_id=SessionId("s2"), speaker=SessionId("s1"), speaker_stream=1, report=report
    )


def _reply_of(store: Reads) -> int:
    return next(seq for seq, r in enumerate(log(store, 1), 1) if isinstance(r, AssistantRecord))


@pytest.mark.parametrize("breaks", [False, True])
async def test_a_session_goes_on_after_a_note_that_nobody_wrote(
    breaks: bool, autojump_clock: MockClock
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2")
        owner = await stage.runtime.session_ref("s2")
        owner.tell(_stray(_reply_of(stage.store)))
        if breaks:
            owner.tell("what no session understands")
        await trio.sleep(5)
        await tg.receive("still there?", conversation="c2", user_id="u2")
        assert (await tg.next_sent()).text == "still there?"
        assert notes(stage.store, 2) == []
        assert (await stage.runtime.send_message("s1", "psst", C2)).noted_in == "s2"
        assert_sound(stage.store)
