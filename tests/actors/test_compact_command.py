"""What a human is told who has asked for a summary with `/compact`."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import SummaryRequest, Turn
from turnkeeper.actors.core.session_commands import ANSWERS
from turnkeeper.actors.journal import name_key
from turnkeeper.storage.base import Table
from turnkeeper.storage.keys import table_key
from turnkeeper.storage.memory import MemoryDisk, MemoryReads
from turnkeeper.testing import LoopbackChannel

from ..scenarios.people import assert_sound
from .contexts import Summing, on_small_stage, summaries
from .stage import echo

NOTICE = {"compaction_notice": "I have tidied up."}
FAILED = "I could not summarise our conversation now. Please try again later."


async def talk(tg: LoopbackChannel, *names: str) -> None:
    """One message after the other, each answered; 100 tokens each."""
    for name in names:
        await tg.receive(f"{name} ".ljust(400, "x"))
        await tg.next_sent()
    await wait_all_tasks_blocked()


async def test_they_are_told_how_much_was_summarised_and_what_that_saved(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing()
    async with on_small_stage(echo, tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3")
        await tg.receive("/compact", message_id="m9")
        assert (await tg.next_sent()).text == ANSWERS["compact"]
        told = await tg.next_sent()
        ((_, record),) = summaries(stage.store)
        count, before = record.covered_messages, 6 * 104
        after = before - record.covered_tokens + record.tokens
        assert told.text == (
            f"Done. I have summarised {count} messages: {before} tokens before, {after} after."
        )
        assert (told.conversation, told.reply_to) == ("c1", "m9")
        await wait_all_tasks_blocked()
        assert_sound(stage.store)


async def test_they_are_told_that_there_is_not_enough_to_summarise(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_small_stage(echo, tg) as stage:
        await tg.receive("/compact")
        assert (await tg.next_sent()).text == ANSWERS["compact"]
        assert (await tg.next_sent()).text.startswith("There is not enough to summarise yet.")
        assert not summaries(stage.store)


async def test_they_are_told_where_they_asked_and_no_window_shows_it(
    autojump_clock: MockClock,
) -> None:
    seen: list[str] = []

    async def agent(turn: Turn) -> str:
        seen.extend(message.text for message in turn.messages)
        return turn.text

    tg, dc = LoopbackChannel("tg"), LoopbackChannel("dc")
    summing = Summing("hold")
    async with on_small_stage(
        agent, tg, dc, summariser=summing, session={"dm_scope": "main"}
    ) as stage:
        await talk(tg, "1", "2", "3")
        await tg.receive("/compact", conversation="c1")
        assert (await tg.next_sent()).text == ANSWERS["compact"]
        await dc.receive("meanwhile, elsewhere", conversation="c2")
        await dc.next_sent()
        summing.go.set()
        assert (await tg.next_sent()).text.startswith("Done. I have summarised ")
        await talk(dc, "4")
        assert len(dc.sent) == 2
        assert not any(text.startswith("Done. I have") for text in seen)
        assert_sound(stage.store)


async def test_they_are_told_once_and_whoever_has_not_asked_by_the_notice(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing()
    async with on_small_stage(echo, tg, summariser=summing, session=NOTICE) as stage:
        await talk(tg, "1", "2", "3")
        await tg.receive("/compact")
        assert (await tg.next_sent()).text == ANSWERS["compact"]
        assert (await tg.next_sent()).text.startswith("Done. I have summarised ")
        await talk(tg, "4", "5")
        before = len(tg.sent)
        await stage.runtime.compact("s1")
        await wait_all_tasks_blocked()
        assert [message.text for message in tg.sent[before:]] == ["I have tidied up."]


async def test_everybody_who_asks_while_it_is_made_is_told(autojump_clock: MockClock) -> None:
    tg, summing = LoopbackChannel("tg"), Summing("hold")
    async with on_small_stage(echo, tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3")
        for message_id in ("m8", "m9"):
            await tg.receive("/compact", message_id=message_id)
            await tg.next_sent()
        await wait_all_tasks_blocked()
        summing.go.set()
        told = [await tg.next_sent() for _ in range(2)]
        assert [message.reply_to for message in told] == ["m8", "m9"]
        assert told[0].text == told[1].text
        assert len(summaries(stage.store)) == 1


async def test_who_waits_when_the_runtime_stops_is_told_before_it_ends(
    autojump_clock: MockClock,
) -> None:
    disk, summing = MemoryDisk(), Summing("hang")
    tg = LoopbackChannel("tg")
    async with on_small_stage(echo, tg, summariser=summing, disk=disk) as stage:
        await talk(tg, "1", "2", "3")
        await tg.receive("/compact", message_id="m9")
        await tg.next_sent()
        await wait_all_tasks_blocked()
    assert (tg.sent[-1].text, tg.sent[-1].reply_to) == (FAILED, "m9")
    async with on_small_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        await wait_all_tasks_blocked()
        assert not tg.sent
        assert not summaries(stage.store)
        assert_sound(stage.store)


async def test_a_session_that_is_deleted_meanwhile_tells_nobody(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tg = LoopbackChannel("tg")
    gone, summing = trio.Event(), Summing("delete")

    async def delete(_request: SummaryRequest) -> str:
        await stage.runtime.delete("s1")
        gone.set()
        return "A summary of what is not there any more."

    summing.does = {"delete": delete}
    async with on_small_stage(echo, tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3")
        await tg.receive("/compact")
        await tg.next_sent()
        await gone.wait()
        await wait_all_tasks_blocked()
        assert len(tg.sent) == 4
        assert not [each for each in caplog.records if each.levelname == "ERROR"]


async def test_where_the_name_of_the_session_is_damaged_meanwhile_only_they_are_not_told(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing("damage")

    async def damage(_request: SummaryRequest) -> str:
        stage.disk.tables.put(table_key(Table.NAMES, name_key("s1")), b"no name")
        return "A summary."

    summing.does = {"damage": damage}
    async with on_small_stage(echo, tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3")
        await tg.receive("/compact")
        assert (await tg.next_sent()).text == ANSWERS["compact"]
        await wait_all_tasks_blocked()
        await tg.receive("hello", conversation="c2", user_id="u2")
        assert (await tg.next_sent()).text == "hello"


async def test_who_was_told_that_nothing_was_summarised_was_told_the_truth(
    autojump_clock: MockClock,
) -> None:
    disk, summing, finish = MemoryDisk(), Summing("hold"), trio.Event()
    tg = LoopbackChannel("tg")

    async def agent(turn: Turn) -> str:
        if turn.text == "wait":
            await finish.wait()
        return turn.text

    async def end_one_after_the_other() -> None:
        assert (await tg.next_sent()).text == ANSWERS["compact"]
        assert (await tg.next_sent()).text == FAILED
        summing.go.set()
        await wait_all_tasks_blocked()
        finish.set()

    async with (
        trio.open_nursery() as nursery,
        on_small_stage(agent, tg, summariser=summing, disk=disk),
    ):
        await talk(tg, "1", "2", "3")
        await tg.receive("wait")
        await tg.receive("/compact", message_id="m9")
        await wait_all_tasks_blocked()
        nursery.start_soon(end_one_after_the_other)
    assert [message.text for message in tg.sent[-2:]] == [FAILED, "wait"]
    assert not summaries(MemoryReads(disk))
