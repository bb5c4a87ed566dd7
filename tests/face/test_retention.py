"""Deleting sessions: what goes, what stays, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

import turnkeeper as tk
from turnkeeper import views
from turnkeeper.actors.acts import ActRefused
from turnkeeper.actors.core.view_records import ErasedRecord
from turnkeeper.actors.erased import load_erased
from turnkeeper.actors.erasing import first_batch, is_unfinished, next_piece
from turnkeeper.actors.journal import load_session_number
from turnkeeper.actors.kernel import ActorDeadError
from turnkeeper.explain import explain
from turnkeeper.storage.base import Batch, Table
from turnkeeper.storage.keys import log_key, number_key
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel

from .retained import NOW_US, agent, is_quiet, left_of, problems, say, until


class Scene(NamedTuple):
    runtime: tk.Runtime
    store: MemoryStore
    tg: LoopbackChannel
    dc: LoopbackChannel

    async def say(self, text: str, user_id: str, where: str = "tg") -> str:
        return await say(self.tg if where == "tg" else self.dc, self.store, text, user_id)


@asynccontextmanager
async def scene(disk: MemoryDisk | None = None, **options: Any) -> AsyncGenerator[Scene]:
    tg = LoopbackChannel("tg", platform="telegram")
    dc = LoopbackChannel("dc", platform="discord")
    options = {"agent": agent, "clock": lambda: datetime.fromtimestamp(NOW_US / 1e6, UTC)} | options
    async with (
        open_memory(disk) as store,
        tk.open_runtime(None, store=store, channels=[tg, dc], **options) as runtime,
    ):
        yield Scene(runtime, store, tg, dc)


async def test_a_deleted_session_is_gone_and_the_next_message_opens_a_new_one() -> None:
    async with scene() as at:
        await at.say("hello", "ann")
        await at.say("keep hello", "ann")
        await at.say("other words", "bob")
        deleted = await at.runtime.delete("s1")
        assert (deleted.session_id, deleted.number, deleted.dry_run) == ("s1", 1, False)
        assert deleted.memories == 1
        assert [place.conversation for place in deleted.conversations] == ["dm-ann"]
        assert left_of(at.store, b"hello", b"dm-ann") == set()
        assert left_of(at.store, b"s1") == {"ERASED", "log 1"}
        assert at.store.read_log(1, limit=9)[0][0] == deleted.records + 1
        assert problems(at.store) == []
        assert await at.say("back again", "ann") == "s3"
        assert await at.say("other words", "bob") == "s2"
        assert {info.id for info in views.sessions(at.store)} == {"s2", "s3"}
        assert problems(at.store) == []


async def test_what_was_deleted_is_told_and_deleted_once() -> None:
    async with scene() as at:
        await at.say("hello", "ann")
        deleted = await at.runtime.delete("s1", by="operator")
        row = load_erased(at.store, "s1")
        assert row == ("s1", 1, NOW_US, "operator", deleted.records)
        with pytest.raises(tk.UnknownSession, match="was deleted on 2023-11-14 by the operator"):
            await at.runtime.delete("s1")
        for story in (explain(at.store, "s1"), explain(at.store, "s1/3")):
            assert story is not None
            assert "s1 was deleted by the operator: none of its" in story.lines[0]
        with pytest.raises(tk.UnknownSession, match="no session 's9'"):
            await at.runtime.delete("s9")


async def test_a_dry_run_tells_what_would_go_and_changes_nothing() -> None:
    async with scene() as at:
        await at.say("hello", "ann")
        before = {table: at.store.scan(table, limit=99) for table in Table}
        going = await at.runtime.delete("s1", dry_run=True)
        assert going.dry_run
        assert going.records == at.store.last_seq(1)
        assert {table: at.store.scan(table, limit=99) for table in Table} == before


async def test_ids_and_numbers_are_not_given_again_after_a_restart() -> None:
    disk = MemoryDisk()
    async with scene(disk) as at:
        await at.say("hello", "ann")
        await at.say("hello", "bob")
        await at.runtime.delete("s2")
    async with scene(disk) as at:
        assert await at.say("hello", "eve") == "s3"
        assert problems(at.store) == []
    async with scene(disk) as at:
        await at.runtime.delete("s3")
        await at.runtime.delete("s1")
    async with scene(disk) as at:
        assert await at.say("hello", "eve") == "s4"
        assert problems(at.store) == []


async def test_a_session_with_an_open_turn_is_not_deleted() -> None:
    gate = trio.Event()

    async def slow(turn: tk.Turn) -> str:
        await gate.wait()
        return f"you said {turn.text}"

    async with scene(agent=slow) as at:
        await at.tg.receive("hello", conversation="dm-ann", user_id="ann")
        with pytest.raises(ActRefused, match="1 turn of s1 is not over yet"):
            await at.runtime.delete("s1")
        gate.set()
        await until(lambda: is_quiet(at.store, "s1"))
        await at.runtime.delete("s1")


async def test_a_session_with_an_open_message_is_not_deleted() -> None:
    async with scene() as at:
        at.tg.hold()
        await at.tg.receive("hello", conversation="dm-ann", user_id="ann")
        await until(lambda: not views.sessions(at.store)[0].open_turns)
        with pytest.raises(ActRefused, match="1 message of s1 is still on the way"):
            await at.runtime.delete("s1")
        at.tg.release()
        await until(lambda: is_quiet(at.store, "s1"))
        await at.runtime.delete("s1")


@pytest.mark.parametrize("head_start", range(8))
async def test_a_message_that_comes_while_its_session_is_deleted_keeps_it_or_opens_a_new_one(
    head_start: int,
) -> None:
    async with scene() as at:
        await at.say("hello", "ann")
        outcomes: list[str] = []

        async def delete() -> None:
            try:
                await at.runtime.delete("s1")
            except ActRefused:
                outcomes.append("kept")
            else:
                outcomes.append("deleted")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            for _ in range(head_start):
                await trio.lowlevel.checkpoint()
            accepted = await at.tg.receive("again", conversation="dm-ann", user_id="ann")
        assert (outcomes[0], accepted.session_id) in {("kept", "s1"), ("deleted", "s2")}
        await until(lambda: is_quiet(at.store, accepted.session_id))
        assert problems(at.store) == []


async def test_what_is_meant_for_a_deleted_session_is_refused() -> None:
    async with scene() as at:
        await at.say("hello", "ann")
        await at.runtime.delete("s1")
        with pytest.raises(tk.UnknownSession):
            await at.runtime.send_message("s1", "anybody there?")
        with pytest.raises(tk.UnknownSession):
            await at.runtime.clear("s1")


async def test_whoever_is_paired_with_a_session_keeps_it() -> None:
    async with scene() as at:
        await at.runtime.pair("telegram", "ann", "work")
        await at.say("hello", "ann")
        with pytest.raises(ActRefused, match="channels unpair --platform telegram --user-id ann"):
            await at.runtime.delete("work")
        await at.runtime.unpair("telegram", "ann")
        await at.runtime.delete("work")
        assert problems(at.store) == []
        with pytest.raises(ActRefused, match="'work' was deleted, and its id is never used again"):
            await at.runtime.pair("telegram", "ann", "work")
        with pytest.raises(ActRefused, match="never used again"):
            await at.runtime.undo(2)
        with pytest.raises(ActRefused, match="never used again"):
            await at.runtime.pair("telegram", "bob", "work", dry_run=True)


async def test_a_session_in_which_a_mission_runs_stays() -> None:
    async with scene() as at:
        await at.runtime.add_mission("daily", "0 9 * * *", "look around")
        await at.runtime.run_mission("daily")
        with pytest.raises(ActRefused, match=r"runs in mission-daily: `missions remove daily"):
            await at.runtime.delete("mission-daily")
        await at.runtime.remove_mission("daily")
        await at.runtime.delete("mission-daily")
        assert problems(at.store) == []
        assert at.store.scan(Table.RUNS, limit=9) == []
        with pytest.raises(tk.MissionRefused, match="never used again"):
            await at.runtime.add_mission("daily", "0 9 * * *", "look around")


async def test_notes_of_both_sessions_go_and_what_the_other_kept_stays() -> None:
    async with scene() as at:
        await at.say("hello", "ann")
        await at.say("hello", "bob")
        outcome = await at.runtime.send_message(
            "s1",
            "ann says hi",
            tk.Address(instance="tg", conversation="dm-bob"),  # type: ignore[arg-type]
        )
        assert outcome.noted_in == "s2"
        outcome = await at.runtime.send_message(
            "s2",
            "bob says hi",
            tk.Address(instance="tg", conversation="dm-ann"),  # type: ignore[arg-type]
        )
        assert outcome.noted_in == "s1"
        await until(lambda: is_quiet(at.store, "s1") and is_quiet(at.store, "s2"))
        assert len(at.store.scan(Table.NOTES, limit=9)) == 2
        await at.runtime.delete("s1")
        assert at.store.scan(Table.NOTES, limit=9) == []
        assert left_of(at.store, b"ann says hi") == {"log 2"}
        assert problems(at.store) == []
        await at.say("hello", "bob")
        assert problems(at.store) == []


async def test_a_note_that_waited_for_an_owner_goes_with_who_spoke() -> None:
    async with scene(config={"channels": {"tg": {"send_to": ["c9"]}}}) as at:
        await at.say("hello", "ann")
        place = tk.Address(instance="tg", conversation="c9")  # type: ignore[arg-type]
        await at.runtime.send_message("s1", "to nobody yet", place)
        await until(lambda: is_quiet(at.store, "s1"))
        assert len(at.store.scan(Table.WAITING_NOTES, limit=9)) == 1
        await at.runtime.delete("s1")
        assert at.store.scan(Table.WAITING_NOTES, limit=9) == []
        assert problems(at.store) == []


async def test_a_session_that_had_joined_another_is_not_shown_there_any_more() -> None:
    async with scene() as at:
        await at.say("words of ann", "ann")
        await at.say("words of bob", "bob", "dc")
        await at.runtime.link("telegram", "ann", "carol")
        await at.runtime.link("discord", "bob", "carol")
        shown = views.window(at.store, "s1")
        assert shown is not None
        assert any("words of bob" in message.text for message in shown)
        await at.runtime.delete("s2")
        assert problems(at.store) == []
        shown = views.window(at.store, "s1")
        assert shown is not None
        assert not any("words of bob" in message.text for message in shown)
        await at.say("and now", "bob", "dc")
        await at.runtime.unlink("discord", "bob")
        assert problems(at.store) == []


async def test_a_summary_that_tells_of_a_deleted_session_is_not_shown_any_more() -> None:
    async with scene(token_counter="estimate") as at:
        for number in range(24):
            await at.say(f"ann decided on number A-{number}. " * 4, "ann")
            await at.say(f"bob decided on number B-{number}. " * 4, "bob", "dc")
        await at.runtime.link("telegram", "ann", "carol")
        await at.runtime.link("discord", "bob", "carol")
        await at.say("together now", "ann")
        await at.runtime.compact("s1")
        shown = views.window(at.store, "s1")
        assert shown is not None
        assert shown[0].kind == "summary"
        assert "B-" in shown[0].text
        await at.runtime.delete("s2")
        shown = views.window(at.store, "s1")
        assert shown is not None
        assert not any("B-" in message.text for message in shown)
        assert any("A-0" in message.text for message in shown)
        assert problems(at.store) == []
        await at.runtime.compact("s1")
        shown = views.window(at.store, "s1")
        assert shown is not None
        assert not any("B-" in message.text for message in shown)
        assert problems(at.store) == []


async def test_a_summary_that_comes_too_late_for_its_session_is_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, go_on = trio.Event(), trio.Event()

    async def summarise(_request: tk.SummaryRequest) -> str:
        begun.set()
        await go_on.wait()
        return "all that was said"

    async with scene(token_counter="estimate", summariser=summarise) as at:
        for number in range(24):
            await at.say(f"ann decided on number A-{number}. " * 4, "ann")
        async with trio.open_nursery() as nursery:

            async def compact() -> None:
                with pytest.raises(ActorDeadError):
                    await at.runtime.compact("s1")

            nursery.start_soon(compact)
            await begun.wait()
            await at.runtime.delete("s1")
            go_on.set()
        assert left_of(at.store, b"A-1", b"all that was said") == set()
        assert problems(at.store) == []
    assert not [record for record in caplog.records if record.exc_info]


async def test_what_went_on_in_a_deleted_session_can_be_moved_out_again() -> None:
    async with scene() as at:
        await at.say("words of ann", "ann")
        await at.say("words of bob", "bob", "dc")
        await at.runtime.link("telegram", "ann", "carol")
        await at.runtime.link("discord", "bob", "carol")
        await at.runtime.delete("s1")
        assert problems(at.store) == []
        assert await at.say("hello", "ann") == "s3"
        assert await at.say("hello", "bob", "dc") == "s3"
        assert problems(at.store) == []
        await at.runtime.move_binding("dc", "dm-bob", session_id="s2")
        assert problems(at.store) == []
        await at.runtime.unlink("discord", "bob")
        assert problems(at.store) == []
        await at.runtime.delete("s2")
        assert problems(at.store) == []
        for number in range(1, 9):
            with suppress(ActRefused):
                await at.runtime.undo(number)
            assert problems(at.store) == []


async def test_the_history_of_a_moved_conversation_holds_together_without_its_owners() -> None:
    async with scene() as at:
        await at.say("hello", "ann")
        await at.say("hello", "bob")
        for target in ("s2", "work", "s1", "s2"):
            await at.runtime.move_binding("tg", "dm-ann", session_id=target)
        await at.runtime.delete("s2")
        assert problems(at.store) == []
        assert await at.say("hello", "ann") == "s1"  # which still serves her
        assert problems(at.store) == []
        binding = await at.runtime.binding("tg", "dm-ann")
        assert binding is not None
        assert binding.version == 6
        for session_id in ("work", "s1"):
            await at.runtime.delete(session_id)
            assert problems(at.store) == []
        assert await at.say("hello", "ann") == "s4"
        assert await at.say("hello", "bob") == "s5"
        assert problems(at.store) == []


async def test_whoever_wrote_last_is_not_taken_for_somebody_else() -> None:
    async with scene() as at:
        await at.say("hello", "bob")
        await at.say("hello", "ann")
        await at.runtime.delete("s2")
        assert at.store.scan(Table.LAST, limit=9) == []
        assert problems(at.store) == []
        await at.runtime.add_mission("daily", "0 9 * * *", "look around", notify="tg")
        run = await at.runtime.run_mission("daily")
        assert [outcome.reason for outcome in run.outcomes] == ["no_recipient"]


async def test_files_of_a_deleted_session_are_not_named_any_more(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    async with tk.open_runtime(tmp_path, agent=agent, channels=[tg]) as runtime:
        kept = await tg.keep(b"a picture", kind="image", mime="image/png")
        for user_id in ("ann", "bob"):
            await tg.receive("look", conversation=user_id, user_id=user_id, attachments=(kept,))
            await tg.next_sent()
        await until(lambda: is_quiet(runtime.store, "s1") and is_quiet(runtime.store, "s2"))
        assert len(runtime.store.scan(Table.BLOBS, limit=9)) == 2
        await runtime.delete("s1")
        assert len(runtime.store.scan(Table.BLOBS, limit=9)) == 1
        await runtime.delete("s2")
        assert runtime.store.scan(Table.BLOBS, limit=9) == []


async def test_what_a_dying_process_left_of_a_log_is_removed_by_the_next_one() -> None:
    disk = MemoryDisk()
    async with scene(disk) as at:
        for number in range(3):
            await at.say(f"hello {number}", "ann")
    async with open_memory(disk) as store:
        records = store.last_seq(1)
        erased = ErasedRecord(at_us=NOW_US, session_id="s1", by="operator", records=records)
        await store.commit(first_batch(store, 1, erased)[0])
        assert is_unfinished(store, 1)
        assert load_session_number(store, "s1") is None
        (problem,) = problems(store)
        assert "s1 was deleted, and not all of its records are gone yet" in problem
    async with scene(disk) as at:
        assert await at.say("meanwhile", "ann") == "s2"
        await until(lambda: not is_unfinished(at.store, 1))
        assert left_of(at.store, b"hello") == set()
        assert problems(at.store) == []


async def test_a_damaged_session_can_be_deleted() -> None:
    disk = MemoryDisk()
    async with scene(disk) as at:
        await at.say("hello", "ann")
        await at.say("hello again", "ann")
        for seq in (1, 3, 5):
            data = at.store.read_log(1, seq, limit=1)[0][1]
            disk.log.put(log_key(1, seq), data[:-1] + b"?")
        key = number_key(1)
        head = at.store.get(Table.HEADS, key)
        assert head is not None
        batch = Batch()
        batch.put(Table.HEADS, key, head[:-1] + b"?")
        await at.store.commit(batch)
        await at.runtime.delete("s1")
        assert next_piece(at.store, 1) is None
        assert load_session_number(at.store, "s1") is None
