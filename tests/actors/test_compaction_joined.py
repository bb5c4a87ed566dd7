"""Contexts that are woven from two sessions, summarised together, and taken apart again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Message, SummaryRequest
from turnkeeper.actors.counts import counter_mark
from turnkeeper.actors.journal import load_head
from turnkeeper.actors.windows import WindowRules, read_window
from turnkeeper.testing import LoopbackChannel

from ..scenarios.people import Listener, apps, assert_sound, say
from .contexts import Letters, Summing, on_small_stage, size_of, summaries
from .stage import Stage

RULES = WindowRules(1_000, None, counter_mark(Letters.name))


def named(name: str, chars: int = 300) -> str:
    """A message of so many characters that can be told by its beginning."""
    return f"{name} ".ljust(chars, "x")


def texts(window: tuple[Message, ...]) -> str:
    """All that a window tells."""
    return "\n".join(message.text for message in window)


class Repeating(Summing):
    """A summariser that repeats the beginning of each message, and of each line of a summary."""

    async def answer(self, mode: str, request: object) -> object:
        assert mode == "good"
        names: list[str] = []
        for message in self.requests[-1].messages:
            if message.kind == "summary":
                names.extend(message.text.partition("| told: ")[2].split())
            elif message.kind == "user":
                names.append(message.text.split()[0])
        return "told: " + " ".join(names)


async def two_then_one(stage: Stage, tg: LoopbackChannel, dc: LoopbackChannel) -> None:
    """Two humans talk, each in a session; then they turn out to be one."""
    for number in range(2):
        assert await say(tg, named(f"tg-{number}")) == "s1"
        assert await say(dc, named(f"dc-{number}")) == "s2"
    await stage.runtime.link("tg", "1", "alice")
    await stage.runtime.link("dc", "1", "alice")
    await wait_all_tasks_blocked()


async def test_a_summary_covers_both_logs_and_the_undoing_of_the_link_voids_it(
    autojump_clock: MockClock,
) -> None:
    agent, (tg, dc), summing = Listener(), apps("tg", "dc"), Repeating()
    async with on_small_stage(agent, tg, dc, summariser=summing) as stage:
        await two_then_one(stage, tg, dc)
        for number in range(2, 6):
            assert await say(tg, named(f"tg-{number}")) == "s1"
        ((_, first), *_) = found = summaries(stage.store, 1)
        assert [entry[0] for entry in first.others] == [2]
        assert "dc-0" in found[-1][1].text
        assert "tg-0" in found[-1][1].text
        after = agent.shown[named("tg-5")]
        assert [m.kind for m in after].count("summary") == 1
        assert all(m.session_id is None or m.kind == "summary" for m in after) or len(found) == 1
        assert not any(name in m.text for m in after if m.kind == "user" for name in ("dc-0",))
        for window in agent.shown.values():
            assert size_of(window) <= 1_000

        await stage.runtime.unlink("dc", "1")
        await wait_all_tasks_blocked()
        head = load_head(stage.store, 1)
        assert head is not None
        assert head.summary == 0
        secret = texts(read_window(stage.store, 1, None))
        assert "dc-" not in secret
        assert "tg-0" in secret, "what was this session's own is told again"
        for number in range(6, 10):
            await say(tg, named(f"tg-{number}"))
        newest = summaries(stage.store, 1)
        assert len(newest) > len(found)
        anew = newest[len(found)][1]
        assert anew.previous == 0
        assert not anew.others
        assert "dc-" not in "".join(record.text for _, record in newest[len(found) :])
        assert "tg-0" in anew.text
        for number in range(6, 10):
            assert "dc-" not in texts(agent.shown[named(f"tg-{number}")])
        assert_sound(stage.store)


async def test_what_the_other_wrote_after_the_link_is_gone_from_summaries_too(
    autojump_clock: MockClock,
) -> None:
    """Its turns are in this session's own log: they are hidden, and a summary may not tell them."""
    agent, (tg, dc), summing = Listener(), apps("tg", "dc"), Repeating()
    async with on_small_stage(agent, tg, dc, summariser=summing) as stage:
        await say(tg, named("tg-0"))
        await stage.runtime.link("tg", "1", "alice")
        link = await stage.runtime.link("dc", "1", "alice")
        await wait_all_tasks_blocked()
        for number in range(1, 5):
            assert await say(dc, named(f"dc-{number}")) == "s1"
            await say(tg, named(f"tg-{number}"))
        assert "dc-1" in summaries(stage.store, 1)[-1][1].text
        made = len(summaries(stage.store, 1))
        await stage.runtime.undo(link.number)
        await wait_all_tasks_blocked()
        assert "dc-" not in texts(read_window(stage.store, 1, None))
        for number in range(5, 12):
            await say(tg, named(f"tg-{number}"))
            assert "dc-" not in texts(agent.shown[named(f"tg-{number}")])
        anew = summaries(stage.store, 1)[made:]
        assert anew
        assert all("dc-" not in record.text for _, record in anew)
        assert_sound(stage.store)


async def test_a_session_that_was_summarised_before_it_joined_is_told_of_by_its_summary(
    autojump_clock: MockClock,
) -> None:
    agent, (tg, dc), summing = Listener(), apps("tg", "dc"), Repeating()
    async with on_small_stage(agent, tg, dc, summariser=summing) as stage:
        await say(tg, named("tg-0"))
        for number in range(6):
            await say(dc, named(f"dc-{number}"))
        ((seq, record), *_) = summaries(stage.store, 2)
        assert "dc-0" in record.text
        await stage.runtime.link("tg", "1", "alice")
        await stage.runtime.link("dc", "1", "alice")
        await wait_all_tasks_blocked()
        await say(tg, named("tg-1", 30))
        window = agent.shown[named("tg-1", 30)]
        shown = [m for m in window if m.kind == "summary"]
        assert len(shown) == 1
        assert "dc-0" in texts(window)
        for number in range(2, 7):
            await say(tg, named(f"tg-{number}"))
        (*_, (_, newest)) = summaries(stage.store, 1)
        assert "dc-0" in newest.text
        assert "tg-0" in newest.text
        window = agent.shown[named("tg-6")]
        assert [m.seq for m in window if m.kind == "summary"] != [seq]
        assert [m.kind for m in window].count("summary") == 1, "it was folded in"
        assert size_of(window) <= 1_000
        assert_sound(stage.store)


async def test_a_long_joined_log_is_not_measured_at_every_message(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    count = Letters.count

    async def counted(self: Letters, texts: Sequence[str]) -> list[int]:
        counts.append(len(texts))
        return await count(self, texts)

    monkeypatch.setattr(Letters, "count", counted)
    agent, (tg, dc), summing = Listener(), apps("tg", "dc"), Repeating()
    async with on_small_stage(agent, tg, dc, summariser=summing) as stage:
        for number in range(2):
            await say(dc, named(f"dc-{number}", 400))
        await say(tg, named("tg-0", 30))
        await stage.runtime.link("tg", "1", "alice")
        await stage.runtime.link("dc", "1", "alice")
        await wait_all_tasks_blocked()
        await say(tg, named("tg-1", 30))
        counts.clear()
        for number in range(2, 8):
            await say(tg, named(f"tg-{number}", 30))
        assert len(counts) <= 3
        assert not summing.requests


async def test_a_session_that_had_joined_is_cleared_while_a_summary_of_it_is_written(
    autojump_clock: MockClock,
) -> None:
    agent, (tg, dc), summing = Listener(), apps("tg", "dc"), Repeating("hold", "good")
    go = trio.Event()

    async def hold(request: SummaryRequest) -> object:
        await go.wait()
        return await Repeating.answer(summing, "good", request)

    summing.does["hold"] = hold
    async with on_small_stage(agent, tg, dc, summariser=summing) as stage:
        await two_then_one(stage, tg, dc)
        for number in range(2, 4):
            await say(tg, named(f"tg-{number}"))
        assert "dc-0" in texts(summing.requests[0].messages)
        await stage.runtime.clear("s2")
        await trio.sleep(1)
        go.set()
        for number in range(4, 8):
            await say(tg, named(f"tg-{number}"))
            assert "dc-" not in texts(agent.shown[named(f"tg-{number}")])
        assert summaries(stage.store, 1)
        assert all("dc-" not in record.text for _, record in summaries(stage.store, 1))
        assert_sound(stage.store)


async def test_what_a_summary_covered_is_summarised_anew_once_one_of_its_sessions_is_deleted(
    autojump_clock: MockClock,
) -> None:
    agent, (tg, dc), summing = Listener(), apps("tg", "dc"), Repeating()
    async with on_small_stage(agent, tg, dc, summariser=summing) as stage:
        await two_then_one(stage, tg, dc)
        for number in range(2, 12):
            await say(tg, named(f"tg-{number}"))
        while (await stage.runtime.compact("s1")).status == "compacted":
            pass
        head = load_head(stage.store, 1)
        assert head is not None
        assert head.context_bound < 850, "as far as the session knows"
        assert "dc-0" in summaries(stage.store, 1)[-1][1].text
        await stage.runtime.delete("s2")
        for number in range(12, 16):
            await say(tg, named(f"tg-{number}", 40))
            window = texts(agent.shown[named(f"tg-{number}", 40)])
            assert "dc-" not in window
            assert {f"tg-{earlier}" for earlier in range(number)} <= set(window.split())
        assert_sound(stage.store)


async def test_of_a_joined_session_that_is_deleted_while_it_is_counted_nothing_is_kept(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, (tg, dc), deleted = Listener(), apps("tg", "dc"), trio.Event()
    count = Letters.count

    async def delete_and_count(self: Letters, texts: Sequence[str]) -> list[int]:
        if not deleted.is_set() and named("dc-0") in texts:
            deleted.set()
            await stage.runtime.delete("s2")
            await wait_all_tasks_blocked()
        return await count(self, texts)

    async with on_small_stage(agent, tg, dc, summariser=Repeating()) as stage:
        assert await say(tg, named("tg-0")) == "s1"
        assert await say(dc, named("dc-0")) == "s2"
        monkeypatch.setattr(Letters, "count", delete_and_count)
        await stage.runtime.link("tg", "1", "alice")
        await stage.runtime.link("dc", "1", "alice")
        for number in range(1, 6):
            assert await say(tg, named(f"tg-{number}")) == "s1"
        await wait_all_tasks_blocked()
        assert deleted.is_set()
        assert summaries(stage.store, 1), "it is measured again without that session"
        assert_sound(stage.store)
