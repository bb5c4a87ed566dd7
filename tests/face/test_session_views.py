"""How sessions are shown: their phase, their size, and a page of very many."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Turn, views
from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.head import Head
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.journal import load_head
from turnkeeper.actors.usage import Usage, base_of, put_usage
from turnkeeper.actors.windows import WindowRules
from turnkeeper.config import SessionConfig
from turnkeeper.outlook import Outlook, idle_after_us, resting_outlook
from turnkeeper.storage.base import Batch, Reads, Store, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.keys import number_key, table_key
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import START, echo, on_stage

ROT = b"\x01rotten"
START_US = int(START.timestamp() * 1_000_000)
MINUTE_US = 60_000_000


def head(number: int, last_active_us: int, bound: int = 400) -> Head:
    return Head(
        f"s{number}", "main", 1, last_active_us, 4, 0, 0, 0, 0, 0, bound, "tg", f"c{number}", None
    )._replace(phase="active", last_turn_us=last_active_us, context_messages=2)


async def keep(store: Store, *heads: Head) -> None:
    batch = Batch()
    for number, one in enumerate(heads, start=1):
        batch.put(Table.HEADS, number_key(number), encode(list(one)))
    await store.commit(batch)


def outlook(now_us: int = 10_000, most: int = 1_000) -> Outlook:
    return Outlook(now_us, MINUTE_US, WindowRules(most))


def names(found: list[views.SessionInfo]) -> list[str]:
    return [info.id for info in found]


# -- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_pages_one_behind_the_other_are_the_whole_list(seed: int) -> None:
    rng = random.Random(seed)
    async with open_memory() as store:
        await keep(store, *(head(n, rng.randrange(40)) for n in range(1, 2_001)))
        whole = views.sessions(store, outlook())
        for limit in (1, 7, 500, 3_000):
            places = range(0, len(whole), limit) if limit > 1 else range(0, len(whole), 97)
            for offset in places:
                page, count = views.newest_sessions(store, outlook(), limit=limit, offset=offset)
                assert page == whole[offset : offset + limit], f"{seed=} {limit=} {offset=}"
                assert count == 2_000
        assert views.newest_sessions(store, outlook(), limit=5, offset=9_999) == ([], 2_000)
        assert views.newest_sessions(store, outlook(), limit=0) == ([], 2_000)


async def test_a_session_with_a_damaged_head_is_on_no_page(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = MemoryDisk()
    async with open_memory(disk) as store:
        await keep(store, *(head(n, n) for n in range(1, 6)))
    disk.tables.put(table_key(Table.HEADS, number_key(3)), ROT)
    async with open_memory(disk) as store:
        first, count = views.newest_sessions(store, outlook(), limit=3)
        rest, _ = views.newest_sessions(store, outlook(), limit=3, offset=3)
        assert (names(first), names(rest), count) == (["s5", "s4", "s2"], ["s1"], 4)
        assert names(views.sessions(store, outlook())) == ["s5", "s4", "s2", "s1"]
    assert "head/3" in caplog.text


async def test_a_runtime_lists_page_by_page() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        for number in range(5):
            await tg.receive("hi", conversation=f"c{number}", user_id=f"u{number}")
            await tg.next_sent()
        whole = await stage.runtime.sessions()
        assert await stage.runtime.sessions(limit=2, offset=1) == whole[1:3]
        assert await stage.runtime.sessions(offset=4) == whole[4:]
        for wrong in ({"limit": -1}, {"offset": -1}):
            with pytest.raises(ValueError, match="must be 0 or more, not -1"):
                await stage.runtime.sessions(**wrong)


# -- how large -----------------------------------------------------------------------------------


def measured(store: Reads, tokens: int, bound: int) -> Batch:
    found = load_head(store, 1)
    assert found is not None
    batch = Batch()
    put_usage(batch, 1, Usage(bound, tokens, 2, base_of(found), "o200k_base"))
    return batch


async def test_a_size_is_an_estimate_until_it_is_counted() -> None:
    async with open_memory() as store:
        await keep(store, head(1, 1))
        (info,) = views.sessions(store, outlook())
        assert (info.context_tokens, info.context_counted) == (100, False)
        assert (info.context_percent, info.context_messages, info.summary) == (10.0, 2, None)
        await store.commit(measured(store, 123, 400))
        (counted,) = views.sessions(store, outlook())
        assert (counted.context_tokens, counted.context_counted) == (123, True)
        assert counted.context_percent == 12.3
        await store.commit(measured(store, 80, 360))
        (since,) = views.sessions(store, outlook())
        assert (since.context_tokens, since.context_counted) == (90, False)
        page, _ = views.newest_sessions(store, outlook(), limit=1)
        assert page == [since]
        assert views.info_of(head(1, 1), None, outlook()) == info


async def test_a_damaged_measurement_leaves_an_estimate(caplog: pytest.LogCaptureFixture) -> None:
    disk = MemoryDisk()
    async with open_memory(disk) as store:
        await keep(store, head(1, 1))
    disk.tables.put(table_key(Table.USAGE, number_key(1)), ROT)
    async with open_memory(disk) as store:
        (info,) = views.sessions(store, outlook())
        assert (info.context_tokens, info.context_counted) == (100, False)
        assert views.newest_sessions(store, outlook(), limit=1)[0] == [info]
    assert "usage/1" in caplog.text


async def test_the_summary_that_a_context_begins_with_is_named() -> None:
    async with open_memory() as store:
        await keep(store, head(1, 1)._replace(summary=3, phase="compacted"))
        (info,) = views.sessions(store, outlook())
        assert (info.state, info.summary) == ("compacted", 3)


# -- when, and by what ---------------------------------------------------------------------------


async def test_a_session_goes_idle_by_the_clock_of_its_runtime(autojump_clock: MockClock) -> None:
    seen: list[str] = []

    async def agent(turn: Turn) -> str:
        await trio.sleep(1_000)
        seen.append(turn.session.state)
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(
        agent, tg, session={"idle_after_s": 60.0, "turn_timeout_s": 9_999}
    ) as stage:
        await tg.receive("hi")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert seen == ["active"]
        assert (await stage.runtime.session("s1")).state == "active"
        await trio.sleep(59)
        assert (await stage.runtime.session("s1")).state == "active"
        await trio.sleep(1)
        assert (await stage.runtime.session("s1")).state == "idle"


async def test_a_session_in_which_nobody_has_spoken_is_created_and_stays_that() -> None:
    opened = Conversation()
    opened.apply(OpenedRecord(at_us=1, session_id="s1", agent="main", by="operator"))
    async with open_memory() as store:
        await keep(store, opened.head())
        for now_us in (1, 10**15):
            (info,) = views.sessions(store, outlook(now_us))
            assert (info.state, info.context_tokens, info.context_messages) == ("created", 0, 0)


async def test_a_store_at_rest_is_shown_by_the_limits_of_the_newest_runtime() -> None:
    disk = MemoryDisk()
    async with open_memory(disk) as store:
        defaults = resting_outlook(store)
        assert defaults.max_context_tokens == SessionConfig().max_context_tokens
        assert defaults.idle_after_us == idle_after_us(SessionConfig())
    for most, idle_s in ((50_000, 10.0), (60_000, 20.0)):
        session = {"max_context_tokens": most, "idle_after_s": idle_s}
        async with on_stage(echo, LoopbackChannel("tg"), disk=disk, session=session):
            pass
        async with open_memory(disk) as store:
            found = resting_outlook(store)
            assert (found.max_context_tokens, found.idle_after_us) == (most, idle_s * 1e6)


async def test_what_sessions_look_like_at_rest_is_what_they_looked_like_live() -> None:
    disk, tg = MemoryDisk(), LoopbackChannel("tg")
    async with on_stage(echo, tg, disk=disk, session={"max_context_tokens": 2_000}) as stage:
        await tg.receive("hi " * 200)
        await tg.next_sent()
        await wait_all_tasks_blocked()
        (live,) = await stage.runtime.sessions()
    async with open_memory(disk) as store:
        resting = resting_outlook(store)
        assert resting.now_us > START_US
        then = Outlook(START_US, resting.idle_after_us, resting.rules)
        assert views.sessions(store, then) == [live]
        later = START_US + int(timedelta(days=1).total_seconds() * 1e6)
        (info,) = views.sessions(store, Outlook(later, resting.idle_after_us, resting.rules))
        assert info.state == "idle"


async def test_without_limits_that_can_be_read_the_defaults_hold(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = MemoryDisk()
    disk.tables.put(table_key(Table.LIMITS, b"limits"), encode([0, 1, None, None]))
    async with open_memory(disk) as store:
        assert resting_outlook(store).max_context_tokens == SessionConfig().max_context_tokens
    assert "limits of a runtime are kept as" in caplog.text
