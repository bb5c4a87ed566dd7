"""What the fault runs have found, each as the shortest story that shows it."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper.actors.core.delivery_records import ReopenedRecord
from turnkeeper.actors.deliveries import Outcome
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, log, on_stage


async def test_what_may_have_arrived_is_marked_at_every_repetition(
    autojump_clock: MockClock,
) -> None:
    """An attempt that failed for certain says nothing of the one before, whose answer was lost."""
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        tg.fail_next("timeout_after_send")
        await tg.receive("hi")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        delivery_id, retry = "s1/5", stage.runtime.retry_delivery
        tg.fail_next("rejected")
        assert (await retry(delivery_id, mark_duplicate=True)).reason == "rejected"
        held = await retry(delivery_id)
        assert (held.status, held.reason) == ("unknown", "may_have_arrived")
        await retry(delivery_id, mark_duplicate=True)
        marks = [r.duplicate for r in log(stage.store) if isinstance(r, ReopenedRecord)]
        assert marks == [True, True]


async def test_nobody_is_told_delivered_while_another_outcome_is_being_stored() -> None:
    tg = LoopbackChannel("tg")
    told: list[Outcome] = []
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:

        async def retry() -> None:
            told.append(await stage.runtime.retry_delivery("s1/5"))

        tg.hold()
        tg.fail_next("timeout_after_send")
        await tg.receive("hi")
        await wait_all_tasks_blocked()
        stage.store.hold()
        tg.release()
        await wait_all_tasks_blocked()
        nursery.start_soon(retry)
        await wait_all_tasks_blocked()
        stage.store.release()
        await wait_all_tasks_blocked()
        assert [(outcome.status, outcome.reason) for outcome in told] == [
            ("retrying", "already_open")
        ]
        await retry()
        assert (told[-1].status, told[-1].reason) == ("unknown", "may_have_arrived")


async def test_a_message_to_a_user_may_wait_for_an_act_that_concerns_its_session() -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    told: list[Outcome] = []
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:

        async def speak() -> None:
            told.append(await stage.runtime.send_message("s1", "psst", user="telegram:u2"))

        for number in (1, 2, 3):
            await tg.receive("hi", conversation=f"c{number}", user_id=f"u{number}")
            await tg.next_sent()
        await wait_all_tasks_blocked()
        stage.store.hold()
        nursery.start_soon(stage.runtime.pair, "telegram", "u3", "s1")
        await wait_all_tasks_blocked()
        stage.store.release()  # for one commit: the act has begun, and its sessions hold still
        trio.lowlevel.current_trio_token().run_sync_soon(stage.store.hold)
        await wait_all_tasks_blocked()
        nursery.start_soon(speak)
        await wait_all_tasks_blocked()
        stage.store.release()
        assert (await tg.next_sent()).conversation == "c2"
    assert [outcome.status for outcome in told] == ["delivered"]
