"""What a platform tells of a message later: written down once, for whom it was, or refused."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import ChannelPowers, LateReceipt, Overloaded, ShuttingDown
from turnkeeper.actors.core.delivery_records import ReceiptRecord
from turnkeeper.channels.actor import MAX_RECEIPTS_IN_FLIGHT
from turnkeeper.storage.base import Reads
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import crashed, echo, log, on_stage
from .scripted import LONG

TELLS = ChannelPowers(late_receipts=True)


def receipts(store: Reads) -> list[tuple[str, str | None, str | None]]:
    """The late receipts in the first session's log."""
    return [
        (record.status, record.reason, record.platform_message_id)
        for record in log(store)
        if isinstance(record, ReceiptRecord)
    ]


async def greeted(tg: LoopbackChannel) -> str:
    """The platform's id of the answer to a first message."""
    await tg.receive("hi")
    sent = await tg.next_sent()
    await wait_all_tasks_blocked()
    return sent.message_id


async def test_what_a_platform_tells_later_of_a_reply_is_written_down() -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    async with on_stage(echo, tg) as stage:
        message_id = await greeted(tg)
        assert await tg.receipt(message_id, "delivered")
        assert await tg.receipt(message_id, "read")
        assert receipts(stage.store) == [
            ("delivered", None, message_id),
            ("read", None, message_id),
        ]


async def test_a_message_that_failed_later_keeps_the_reason() -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    async with on_stage(echo, tg) as stage:
        message_id = await greeted(tg)
        assert await tg.receipt(message_id, "failed", reason="blocked" * 100)
        ((status, reason, _),) = receipts(stage.store)
        assert (status, reason) == ("failed", ("blocked" * 100)[:200])


async def test_it_is_durable_before_the_platform_is_told_so() -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    heard: list[bool] = []

    async def tell(message_id: str) -> None:
        heard.append(await tg.receipt(message_id, "read"))

    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        message_id = await greeted(tg)
        stage.store.hold()
        nursery.start_soon(tell, message_id)
        await wait_all_tasks_blocked()
        assert heard == []
        stage.store.release()
        await wait_all_tasks_blocked()
        assert heard == [True]
        assert len(receipts(stage.store)) == 1


async def test_the_same_receipt_again_changes_nothing_at_once_later_or_after_a_restart() -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    heard: list[bool] = []

    async def tell(message_id: str) -> None:
        heard.append(await tg.receipt(message_id, "read"))

    async with on_stage(echo, tg) as stage:
        message_id = await greeted(tg)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(tell, message_id)
        await tell(message_id)
        assert heard == [True] * 6
        left = crashed(stage.disk)
    tg = LoopbackChannel("tg", powers=TELLS)
    async with on_stage(echo, tg, disk=left) as stage:
        assert await tg.receipt(message_id, "read", conversation="c1")
        assert receipts(stage.store) == [("read", None, message_id)]


async def test_a_receipt_of_another_conversation_or_message_is_not_one_of_ours() -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    async with on_stage(echo, tg) as stage:
        message_id = await greeted(tg)
        assert not await tg.receipt(message_id, "read", conversation="c2")
        assert not await tg.receipt("another", "read", conversation="c1")
        assert receipts(stage.store) == []


async def test_every_part_of_a_message_leads_back_to_it() -> None:
    powers = ChannelPowers(text_limit=40, late_receipts=True)
    tg = LoopbackChannel("tg", powers=powers)
    async with on_stage(echo, tg):
        await tg.receive(LONG)
        await wait_all_tasks_blocked()
        for sent in tg.sent:
            assert await tg.receipt(sent.message_id, "delivered")
        assert len(tg.sent) == 4


async def test_without_the_power_only_what_was_no_reply_is_known() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        assert not await tg.receipt(await greeted(tg), "read")
        outcome = await stage.runtime.send_message("s1", "psst")
        assert outcome.platform_message_id is not None
        assert await tg.receipt(outcome.platform_message_id, "read")


async def test_a_receipt_wakes_no_agent() -> None:
    calls: list[str] = []

    async def agent(turn: Any) -> str:
        calls.append(turn.text)
        return "yes"

    tg = LoopbackChannel("tg", powers=TELLS)
    async with on_stage(agent, tg):
        assert await tg.receipt(await greeted(tg), "read")
        await wait_all_tasks_blocked()
        assert (calls, len(tg.sent)) == (["hi"], 1)


class Status(StrEnum):
    READ = "read"


def late(**changes: Any) -> LateReceipt:
    fields: dict[str, Any] = {
        "conversation": "c1",
        "platform_message_id": "m1",
        "status": "read",
        **changes,
    }
    return LateReceipt(**fields)


@pytest.mark.parametrize(
    ("receipt", "why"),
    [
        (cast("LateReceipt", {"status": "read"}), "must be a LateReceipt, not dict"),
        (cast("LateReceipt", None), "must be a LateReceipt, not NoneType"),
        (late(conversation=5), "conversation must be a str of 1 to 1024"),
        (late(conversation=""), "conversation must be"),
        (late(conversation="c" * 1_025), "conversation must be"),
        (late(platform_message_id=None), "platform_message_id must be"),
        (late(platform_message_id="m" * 1_025), "platform_message_id must be"),
        (late(status="gone"), "one of delivered, read, failed"),
        (late(status=["read"]), "one of delivered, read, failed"),
        (late(status=Status.READ), "one of delivered, read, failed"),
    ],
)
async def test_what_is_no_late_receipt_is_refused_and_changes_nothing(
    receipt: LateReceipt, why: str
) -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    async with on_stage(echo, tg) as stage:
        message_id = await greeted(tg)
        assert tg.on_receipt is not None
        with pytest.raises(ValueError, match=why):
            await tg.on_receipt(receipt)
        assert receipts(stage.store) == []
        assert await tg.receipt(message_id, "read")


@pytest.mark.parametrize("reason", [7, b"no", object()])
async def test_a_reason_that_is_no_word_is_unnamed(reason: Any) -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    async with on_stage(echo, tg) as stage:
        assert await tg.receipt(await greeted(tg), "failed", reason=reason)
        assert receipts(stage.store)[0][1] == "unnamed"


async def test_after_the_end_a_receipt_is_to_be_told_again_later() -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    async with on_stage(echo, tg):
        message_id = await greeted(tg)
    with pytest.raises((Overloaded, ShuttingDown)):
        await tg.receipt(message_id, "read")


async def test_more_receipts_than_have_room_wait_and_are_all_heard() -> None:
    tg = LoopbackChannel("tg", powers=TELLS)
    heard: list[bool] = []
    statuses: tuple[Any, ...] = ("delivered", "read")

    async def tell(number: int) -> None:
        heard.append(await tg.receipt(tg.sent[number // 2].message_id, statuses[number % 2]))

    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        for number in range(MAX_RECEIPTS_IN_FLIGHT):
            await tg.receive(str(number))
        await wait_all_tasks_blocked()
        stage.store.hold()
        for number in range(2 * MAX_RECEIPTS_IN_FLIGHT):
            nursery.start_soon(tell, number)
        await wait_all_tasks_blocked()
        stage.store.release()
        with trio.fail_after(60):
            while len(heard) < 2 * MAX_RECEIPTS_IN_FLIGHT:
                await wait_all_tasks_blocked()
        assert all(heard)
        assert len(receipts(stage.store)) == len(heard)
