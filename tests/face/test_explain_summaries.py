"""The story of a summary: what it stands for, who wrote it, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.ownership_records import HiddenRecord, LinkedRecord, OpenedRecord
from turnkeeper.actors.core.records import Record, pack
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.core.view_records import ClearRecord, SummaryRecord
from turnkeeper.actors.journal import name_key
from turnkeeper.explain import explain
from turnkeeper.storage.base import Batch, Store, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.keys import log_key, number_key
from turnkeeper.storage.memory import MemoryDisk, open_memory

SECOND_US = 1_000_000


def user(seq: int) -> UserRecord:
    return UserRecord(
        at_us=seq * SECOND_US,
        text=f"question {seq}",
        instance="tg",
        conversation="c1",
        thread=None,
        platform="telegram",
        message_id=f"m{seq}",
        user_id="u1",
    )


def answer(seq: int) -> AssistantRecord:
    return AssistantRecord(
        at_us=seq * SECOND_US,
        text="yes",
        turn_seq=seq - 1,
        instance="tg",
        conversation="c1",
        thread=None,
    )


SUMMARY = SummaryRecord(
    at_us=6 * SECOND_US,
    text="They asked twice.\nThe answer was yes.",
    through=4,
    asides=5,
    by="extract",
    tokens=12,
    covered_tokens=3_456,
    covered_bound=0,
    covered_messages=4,
)
TALK: list[Record] = [
    OpenedRecord(at_us=SECOND_US, session_id="s1", agent="main", by="test"),
    user(2),
    answer(3),
    user(4),
    answer(5),
]


async def write(store: Store, records: Sequence[Record], session_id: str, stream: int) -> None:
    core = Conversation()
    for record in records:
        core.apply(record)
    batch = Batch()
    batch.append(stream, 1, [encode(pack(record)) for record in records])
    batch.put(Table.HEADS, number_key(stream), encode(list(core.head())))
    batch.put(Table.NAMES, name_key(session_id), encode(stream))
    await store.commit(batch)


async def told(*behind: Record, disk: MemoryDisk | None = None) -> tuple[str, ...]:
    """What is explained of record 6, the first of those behind the talk."""
    disk = disk or MemoryDisk()
    async with open_memory(disk) as store:
        await write(store, [*TALK, *behind], "s1", 1)
        story = explain(store, "s1/6")
    assert story is not None
    assert (story.id, story.kind) == ("s1/6", "summary")
    return story.lines


async def test_a_summary_says_what_it_stands_for_and_by_whom() -> None:
    came = "1970-01-01 00:00:06.000Z  "
    assert await told(SUMMARY) == (
        f"{came}written by the runtime itself, which picks what matters without a model",
        f"{came}it stands for 4 messages of this session: 3,456 tokens, now 12",
        f"{came}they begin where the session does",
        f"{came}and go up to turn s1/4",
        f"{came}what was said between turns, and belongs to none, is covered up to record s1/5",
        "the context begins with it now",
        "| They asked twice.",
        "| The answer was yes.",
    )


async def test_a_summary_of_a_summariser_names_it_and_the_turn_that_waited() -> None:
    lines = "\n".join(await told(replace(SUMMARY, by="my_agents:shorten", for_turn=4)))
    assert "written by my_agents:shorten" in lines
    assert "turn s1/4 waited for it" in lines


async def test_a_fallback_says_why_the_summariser_was_not_taken() -> None:
    lines = await told(replace(SUMMARY, fault="TimeoutError: 60 s were not enough"))
    assert lines[0].endswith(
        "written by the runtime itself, since the summariser failed: "
        "TimeoutError: 60 s were not enough"
    )


async def test_a_summary_that_folds_in_another_names_it() -> None:
    lines = await told(
        SUMMARY, replace(SUMMARY, at_us=7 * SECOND_US, previous=6, covered_messages=1)
    )
    assert "1970-01-01 00:00:07.000Z  it was folded into the summary s1/7" in lines
    async with open_memory() as store:
        await write(store, [*TALK, SUMMARY, replace(SUMMARY, previous=6)], "s1", 1)
        second = explain(store, "s1/7")
    assert second is not None
    assert "they begin with the summary s1/6, which it folds in" in "\n".join(second.lines)


async def test_a_context_that_began_anew_is_where_the_messages_begin() -> None:
    cleared = ClearRecord(at_us=2 * SECOND_US, by="user")
    async with open_memory() as store:
        await write(store, [*TALK, cleared, user(7), replace(SUMMARY, through=7)], "s1", 1)
        story = explain(store, "s1/8")
    assert story is not None
    assert "they begin where the context began anew, at s1/6" in "\n".join(story.lines)


@pytest.mark.parametrize(
    ("after", "became"),
    [
        (ClearRecord(at_us=9 * SECOND_US, by="user"), "the context began anew, at s1/7"),
        (
            HiddenRecord(
                at_us=9 * SECOND_US, platform="telegram", user_id="u9", since_us=0, number=1
            ),
            "it is not used since: something in it is not to be told any more (s1/7)",
        ),
    ],
)
async def test_a_summary_that_is_not_used_any_more_says_since_when(
    after: Record, became: str
) -> None:
    assert f"1970-01-01 00:00:09.000Z  {became}" in await told(SUMMARY, after)


async def test_a_summary_that_covers_joined_sessions_names_them() -> None:
    disk = MemoryDisk()
    async with open_memory(disk) as store:
        earlier = OpenedRecord(at_us=SECOND_US, session_id="s2", agent="main", by="test")
        await write(store, [earlier], "s2", 2)
    joined = LinkedRecord(at_us=1, session_id="s2", stream=2, number=1, by="operator")
    covering = replace(SUMMARY, others=((2, 8, 9, 0), (3, 0, 4, 0)))
    lines = "\n".join(await told(covering, joined, disk=disk))
    covers = "which had joined, it covers what was said"
    assert f"of s2, {covers} up to turn 8" in lines
    assert f"of session number 3 (not there), {covers} up to record 4" in lines


async def test_damaged_records_do_not_keep_a_summary_from_being_explained() -> None:
    disk = MemoryDisk()
    async with open_memory(disk) as store:
        await write(store, [*TALK, SUMMARY, replace(SUMMARY, previous=6)], "s1", 1)
    disk.log.put(log_key(1, 3), b"\x01rotten")
    async with open_memory(disk) as store:
        story = explain(store, "s1/6")
    assert story is not None
    assert "they begin where the session does" in "\n".join(story.lines)
