"""Messages that are edited and deleted while contexts are summarised."""

from __future__ import annotations

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Message
from turnkeeper.actors.journal import load_head
from turnkeeper.actors.windows import read_window
from turnkeeper.testing import LoopbackChannel

from ..scenarios.people import assert_sound
from .contexts import Summing, on_small_stage, summaries
from .stage import Stage
from .test_compactor import RULES, Talker, name_of


async def tell(tg: LoopbackChannel, *names: str) -> None:
    """One message after the other, each answered; of 250 tokens, with the name as its id."""
    for name in names:
        await tg.receive(f"{name} ".ljust(1_000, "x"), message_id=name)
        await tg.next_sent()
        await wait_all_tasks_blocked()


def shown(stage: Stage) -> tuple[Message, ...]:
    return read_window(stage.store, 1, RULES)


def given(summing: Summing, request: int) -> list[str]:
    """What of humans the summariser was given."""
    return [name_of(m.text) for m in summing.requests[request].messages if m.role == "user"]


async def test_an_edit_of_what_is_summarised_is_told_and_the_summary_stands(
    autojump_clock: MockClock,
) -> None:
    tg, agent = LoopbackChannel("tg"), Talker()
    async with on_small_stage(agent, tg, summariser=Summing("good")) as stage:
        await tell(tg, "a", "b", "c", "d")
        ((_, summary),) = summaries(stage.store)
        assert await tg.edits("a", "Call me Ishmael.")
        await tell(tg, "e")
        window = agent.windows["e"]
        assert window[0].text.endswith(f"| {summary.text}")
        (told,) = [m.text for m in window if m.kind == "changed"]
        assert told.endswith("| Call me Ishmael.")
        assert_sound(stage.store)


async def test_a_summary_of_what_was_deleted_is_void_and_made_anew_without_it(
    autojump_clock: MockClock,
) -> None:
    tg, agent, summing = LoopbackChannel("tg"), Talker(), Summing("good")
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await tell(tg, "a", "b", "c", "d")
        assert given(summing, 0)[0] == "a"
        assert await tg.deletes("a")
        head = load_head(stage.store, 1)
        assert head is not None
        assert head.summary == 0
        await tell(tg, "e")
        await trio.sleep(1)
        (_, first), (_, second) = summaries(stage.store)
        assert (first.previous, second.previous) == (0, 0)
        assert "a" not in given(summing, 1)
        assert "(deleted" in given(summing, 1)
        assert_sound(stage.store)


async def test_a_message_that_is_deleted_while_it_is_summarised_is_in_no_summary(
    autojump_clock: MockClock,
) -> None:
    tg, agent, summing = LoopbackChannel("tg"), Talker(), Summing("hold", "good")
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await tell(tg, "a", "b", "c")
        await tg.receive("d ".ljust(1_000, "x"))
        await wait_all_tasks_blocked()
        assert given(summing, 0)[0] == "a"
        assert await tg.deletes("a")
        summing.go.set()
        await wait_all_tasks_blocked()
        assert summaries(stage.store) == []
        await tell(tg, "e")
        await trio.sleep(1)
        ((_, summary),) = summaries(stage.store)
        assert summary.text.startswith("Summary 2 ")
        assert "a" not in given(summing, 1)
        assert_sound(stage.store)


async def test_what_is_deleted_and_not_summarised_leaves_the_summary_as_it_is(
    autojump_clock: MockClock,
) -> None:
    tg, agent = LoopbackChannel("tg"), Talker()
    async with on_small_stage(agent, tg, summariser=Summing("good")) as stage:
        await tell(tg, "a", "b", "c", "d")
        ((seq, summary),) = summaries(stage.store)
        assert await tg.deletes("d")
        await wait_all_tasks_blocked()
        head = load_head(stage.store, 1)
        assert head is not None
        assert head.summary == seq
        kinds = [(m.kind, m.altered) for m in shown(stage)]
        assert kinds[0] == ("summary", None)
        assert ("user", "deleted") in kinds
        assert summary.through < max(m.seq for m in shown(stage) if m.role == "user")
        assert_sound(stage.store)
