"""A delivery that is heard a second time, after its conversation has got another owner."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Address, Turn
from turnkeeper.actors.core.delivery_records import DeliveryRecord
from turnkeeper.actors.messages import Instance
from turnkeeper.testing import LoopbackChannel

from .stage import echo, log, on_stage
from .test_acting import assert_sound
from .test_notes import greet, notes

C2 = Address(Instance("tg"), "c2")


async def test_what_is_heard_again_under_another_owner_stays_noted_where_it_was(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await greet(tg, "c1", "c2", "c3")
        tg.fail_next("timeout_after_send")
        lost = await stage.runtime.send_message("s1", "psst", C2)
        assert lost.delivery_id is not None
        await stage.runtime.move_binding("tg", "c2", session_id="s3")
        again = await stage.runtime.retry_delivery(lost.delivery_id, mark_duplicate=True)
        assert (again.status, again.noted_in) == ("delivered", "s2")
        with trio.fail_after(10):  # whoever was asked for the note is free for the next one
            later = await stage.runtime.send_message("s1", "more", C2)
        assert (later.status, later.noted_in) == ("delivered", "s3")
        assert [note.delivery_id for note in notes(stage.store, 2)] == [lost.delivery_id]
        assert [note.delivery_id for note in notes(stage.store, 3)] == [later.delivery_id]
        settled = [r for r in log(stage.store, 1) if isinstance(r, DeliveryRecord) and r.noted_in]
        assert [r.noted_in for r in settled] == ["s2", "s2", "s3"]
        assert_sound(stage.store)


async def test_an_answer_that_was_heard_while_nobody_owned_its_place_was_heard() -> None:
    may_answer = trio.Event()

    async def agent(turn: Turn) -> str:
        if turn.text == "slowly":
            await may_answer.wait()
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await greet(tg, "c1", "c2")
        await tg.receive("slowly", conversation="c1", user_id="u1")
        await stage.runtime.move_binding("tg", "c1", session_id="s2")
        await stage.runtime.delete("s2")
        may_answer.set()
        assert (await tg.next_sent()).text == "slowly"
        await wait_all_tasks_blocked()
        await tg.receive("and on", conversation="c1", user_id="u1")
        assert (await tg.next_sent()).text == "and on"
        await wait_all_tasks_blocked()
        assert_sound(stage.store)
