"""Summarisers that fail in every way, windows that are full, and messages that no window holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Attachment, Compacted, Message, Reply, SummaryRequest, ToolCall, Turn
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.counts import counter_mark, load_count
from turnkeeper.actors.journal import load_head, load_records
from turnkeeper.actors.material import Material, read_material
from turnkeeper.actors.windows import WindowRules, read_window, window_at
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from ..scenarios.people import assert_sound
from . import contexts
from .contexts import Letters, Summing, on_small_stage, size_of, summaries
from .stage import Stage, said

_LONG_S = 400.0
"""Longer than a summariser can take with all its attempts."""
RULES = WindowRules(1_000, None, counter_mark(Letters.name))


def name_of(text: str) -> str:
    """The beginning of the first word."""
    return text.split(maxsplit=1)[0][:10]


class Talker:
    """An agent that keeps its windows; `hold` in a text waits until it is let go."""

    def __init__(self) -> None:
        self.windows: dict[str, tuple[Message, ...]] = {}
        self.began: dict[str, float] = {}
        self.go = trio.Event()

    async def __call__(self, turn: Turn) -> str:
        text = name_of(turn.text)
        self.began.setdefault(text, trio.current_time())
        self.windows[text] = turn.messages
        if text.startswith("hold"):
            await self.go.wait()
        return f"re: {text}"


async def talk(tg: LoopbackChannel, *names: str, chars: int = 1_000) -> None:
    """One message after the other, each answered; 250 tokens each by default."""
    for name in names:
        await tg.receive(f"{name} ".ljust(chars, "x"))
        await tg.next_sent()
        await wait_all_tasks_blocked()


def kinds(window: tuple[Message, ...]) -> list[str]:
    return [message.kind for message in window]


def full(stage: Stage) -> tuple[Message, ...]:
    """The context between turns, as a window shows it."""
    return read_window(stage.store, 1, RULES)


def newest_us(stage: Stage) -> int:
    """When the newest turn was accepted."""
    return max(r.at_us for _, r in load_records(stage.store, 1) if isinstance(r, UserRecord))


async def test_a_context_of_many_short_messages_is_summarised_before_any_is_out_of_sight(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper.config_context.MAX_MESSAGES", 30)
    tg, agent = LoopbackChannel("tg"), Talker()
    async with on_small_stage(agent, tg, summariser=Summing("good")) as stage:
        await talk(tg, *map(str, range(100)), chars=2)
        found = summaries(stage.store)
        assert found
        assert len(found) < 20, "each covers many messages"
        for name, window in agent.windows.items():
            assert len(window) <= 30
            told = [int(name_of(m.text)) for m in window if m.kind == "user"]
            assert told == list(range(told[0], int(name) + 1))
            assert told[0] == 0 or kinds(window)[0] == "summary"
        assert_sound(stage.store)


# -- what a summariser may do ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "fault"),
    [
        ("fail", "RuntimeError: no summary today"),
        ("cancelled", "CancelledError"),
        ("hang", "did not return within 120 s"),
        ("empty", "the summary is empty"),
        ("long", "tokens; 200 are allowed"),
        ("endless", "the summary has 10000000 characters"),
        ("nothing", "returned a NoneType, not a str"),
        ("bytes", "returned a bytes, not a str"),
    ],
)
async def test_a_summariser_that_fails_is_asked_again_and_then_the_built_in_summary_stands(
    autojump_clock: MockClock, mode: str, fault: str
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing(mode), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3")
        await talk(tg, "4", chars=400)
        began_us = newest_us(stage)
        await trio.sleep(_LONG_S)
        took = (summaries(stage.store)[0][1].at_us - began_us) / 1e6
        ((_, record),) = summaries(stage.store)
        assert len(summing.requests) == 3
        assert all(request is summing.requests[0] for request in summing.requests)
        assert record.by == "extract"
        assert fault in (record.fault or "")
        assert record.tokens <= 200
        # pauses of 0.5 and 1 second; a hanging one takes 120 seconds for each attempt
        assert took == pytest.approx(1.5 + (360.0 if mode == "hang" else 0.0), abs=0.1)
        await talk(tg, "5", "6")
        assert len(tg.sent) == 6
        assert_sound(stage.store)


async def test_one_good_summary_after_bad_ones_is_the_one_that_stands(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing("fail", "empty", "good")
    async with on_small_stage(Talker(), tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3", "4")
        await trio.sleep(_LONG_S)
        ((_, record),) = summaries(stage.store)
        assert (record.by, record.fault) == ("Summing", None)
        assert record.text.startswith("Summary 3 of")


async def test_a_summariser_is_asked_as_often_and_as_long_as_the_configuration_says(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing("hang")
    session = {"summariser_attempts": 1, "summariser_timeout_s": 7.0}
    async with on_small_stage(Talker(), tg, summariser=summing, session=session) as stage:
        await talk(tg, "1", "2", "3", "4")
        await trio.sleep(_LONG_S)
        ((_, record),) = summaries(stage.store)
        assert len(summing.requests) == 1
        assert record.fault == "the summariser did not return within 7 s"


async def test_a_deadline_of_the_summarisers_own_is_told_as_its_own(
    autojump_clock: MockClock,
) -> None:
    async def impatient(_request: SummaryRequest) -> str:
        with trio.fail_after(1.0):
            await trio.sleep_forever()
        raise AssertionError

    tg = LoopbackChannel("tg")
    async with on_small_stage(Talker(), tg, summariser=impatient) as stage:
        await talk(tg, "1", "2", "3", "4")
        await trio.sleep(_LONG_S)
        ((_, record),) = summaries(stage.store)
        assert (record.fault or "").startswith("TooSlowError")


async def test_half_a_surrogate_pair_in_a_summary_harms_nobody(autojump_clock: MockClock) -> None:
    tg, summing = LoopbackChannel("tg"), Summing("broken")
    async with on_small_stage(Talker(), tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3", "4", "5", "6")
        assert "\ud800" in summaries(stage.store)[0][1].text
        assert len(tg.sent) == 6
        assert_sound(stage.store)


class Nameless:
    """A summariser whose name is none."""

    def __init__(self) -> None:
        self.__dict__["__qualname__"] = 7

    async def __call__(self, _request: SummaryRequest) -> str:
        return "fine"


async def test_a_summariser_without_a_name_goes_by_that_of_its_class(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    summariser = Nameless()
    async with on_small_stage(Talker(), tg, summariser=summariser) as stage:
        await talk(tg, "1", "2", "3", "4")
        ((_, record),) = summaries(stage.store)[:1]
        assert record.text == "fine"
        assert record.by == "Nameless"


async def test_an_earlier_summary_is_handed_over_first_and_folded_in(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing()
    async with on_small_stage(Talker(), tg, summariser=summing) as stage:
        await talk(tg, *map(str, range(1, 9)))
        found = summaries(stage.store)
        assert len(found) >= 2
        for (earlier, _), (_, record) in pairwise(found):
            assert record.previous == earlier
        first, second = summing.requests[:2]
        assert "summary" not in kinds(first.messages)
        assert kinds(second.messages).index("summary") == 0
        assert kinds(second.messages).count("summary") == 1
        assert found[0][1].text in second.messages[0].text
        handed = [m.seq for request in summing.requests for m in request.messages[1:]]
        assert len(handed) == len(set(handed)), "nothing is summarised twice"
        assert [m.kind for m in full(stage)].count("summary") == 1
        newest = found[-1][1]
        assert newest.through >= found[0][1].through
        assert size_of(full(stage)) < 850


async def test_every_agent_may_have_a_summariser_of_its_own(autojump_clock: MockClock) -> None:
    one, two = LoopbackChannel("one"), LoopbackChannel("two")
    summing = Summing()
    agent = Talker()
    async with on_small_stage(
        {"main": agent, "ops": agent},
        one,
        two,
        summariser={"ops": summing},
        channels={"two": {"agent": "ops"}},
    ) as stage:
        await talk(one, "1", "2", "3", "4")
        await talk(two, "1", "2", "3", "4")
        assert {record.by for _, record in summaries(stage.store, 1)} == {"extract"}
        assert {record.by for _, record in summaries(stage.store, 2)} == {"Summing"}
        assert {request.agent for request in summing.requests} == {"ops"}
        assert all(record.fault is None for _, record in summaries(stage.store, 1))


async def test_a_summariser_may_use_the_runtime_and_clear_the_session(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing("send", "clear", "good")
    async with on_small_stage(Talker(), tg, summariser=summing) as stage:
        runtime = stage.runtime

        async def send(request: SummaryRequest) -> str:
            await runtime.send_message(request.session_id, "I am summing up")
            await runtime.mirror_to_session(request.session_id, "noted", source="me")
            return "A summary that was interrupted by its own message."

        async def clear(request: SummaryRequest) -> str:
            await runtime.clear(request.session_id)
            return "A summary of what is not there any more."

        summing.does = {"send": send, "clear": clear}
        await talk(tg, "1", "2", "3", "4")
        ((seq, record),) = summaries(stage.store)
        assert record.text.startswith("A summary that was interrupted")
        shown = [m.text for m in full(stage)]
        assert "I am summing up" in shown, "it came after the cut"
        await talk(tg, "5", "6", "7", "8")
        head = load_head(stage.store, 1)
        assert head is not None
        assert head.cleared > seq
        assert all("not there any more" not in r.text for _, r in summaries(stage.store))
        assert all(m.seq > head.cleared for m in full(stage) if m.kind != "note")
        assert_sound(stage.store)


async def test_a_summariser_that_waits_for_its_own_compaction_does_not_wait_for_ever(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing("ask")
    async with on_small_stage(Talker(), tg, summariser=summing) as stage:

        async def ask(request: SummaryRequest) -> Compacted:
            return await stage.runtime.compact(request.session_id)

        summing.does = {"ask": ask}
        await talk(tg, "1", "2", "3")
        done = await stage.runtime.compact("s1")
        assert (done.status, len(summing.requests)) == ("compacted", 3)
        assert "120 s" in (done.fault or "")


# -- the hard limit --------------------------------------------------------------------------------


async def test_while_a_summariser_hangs_turns_are_accepted_and_answered_as_long_as_there_is_room(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing("hold", "good"), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3")
        before = trio.current_time()
        await talk(tg, "4", chars=400)
        assert len(summing.requests) == 1, "the summariser is at it"
        await talk(tg, "5", chars=40)
        assert trio.current_time() == before, "nobody has waited"
        assert kinds(agent.windows["5"])[0] == "user"
        summing.go.set()
        await wait_all_tasks_blocked()
        assert len(summaries(stage.store)) == 1
        await talk(tg, "6", chars=40)
        assert kinds(agent.windows["6"])[0] == "summary"


async def test_a_turn_whose_window_is_full_waits_for_the_summary_and_sees_it(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing("hold", "good"), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage, trio.open_nursery() as nurse:
        await talk(tg, "1", "2", "3")
        accepted = await tg.receive("4 ".ljust(1_200, "x"))
        before = trio.current_time()
        seq = int(accepted.turn_id.partition("/")[2])
        assert seq in dict(load_records(stage.store, 1)), "it is durable before it waits"
        nurse.start_soon(_after, 20.0, summing.go.set)
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert agent.began["4"] - before == pytest.approx(20.0)
        ((at, record),) = summaries(stage.store)
        assert record.for_turn == seq
        window = agent.windows["4"]
        assert (window[0].kind, window[0].seq, window[-1].seq) == ("summary", at, seq)
        assert window_at(stage.store, 1, seq, RULES) == window
        assert size_of(window) <= 1_000


async def test_a_turn_waits_no_longer_than_is_allowed_and_goes_on_with_what_fits(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing("hang"), Talker()
    session = {"compaction_wait_s": 12.0}
    async with on_small_stage(agent, tg, summariser=summing, session=session) as stage:
        await talk(tg, "1", "2", "3")
        before = trio.current_time()
        accepted = await tg.receive("4 ".ljust(1_200, "x"))
        assert trio.current_time() == before
        await tg.next_sent()
        seq = int(accepted.turn_id.partition("/")[2])
        assert agent.began["4"] - before == pytest.approx(12.0)
        window = agent.windows["4"]
        assert size_of(window) <= 1_000
        assert (window[-1].seq, window[-1].cut) == (seq, False)
        assert "summary" not in kinds(window)
        assert window_at(stage.store, 1, seq, RULES) == window
        await trio.sleep(_LONG_S)
        ((_, record), *_) = summaries(stage.store)
        assert record.for_turn == 0, "nobody waits for it any more"
        assert window_at(stage.store, 1, seq, RULES) == window


async def test_after_a_clear_no_turn_waits_for_a_summary_of_what_was_before(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing("hang"), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3", "4", "5")
        assert len(summing.requests) > 0, "the summariser is at it"
        await tg.receive("/new")
        await tg.next_sent()
        before = trio.current_time()
        await talk(tg, "6", chars=400)
        assert agent.began["6"] == before
        assert kinds(agent.windows["6"]) == ["user"]
        await trio.sleep(_LONG_S)
        assert_sound(stage.store)


async def test_a_hundred_turns_that_come_at_once_are_all_accepted_and_all_answered(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing("hang"), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        before = trio.current_time()
        for number in range(100):
            await tg.receive(f"m{number} ".ljust(80, "x"))
        assert trio.current_time() == before, "none of them waits to be accepted"
        while len(tg.sent) < 100:
            await tg.next_sent()
        heard, answers = said(stage.store)
        assert [name_of(text) for text in heard] == [f"m{number}" for number in range(100)]
        assert answers == [f"re: m{number}" for number in range(100)]
        assert all(size_of(window) <= 1_000 for window in agent.windows.values())
        summing.modes = ["good"]
        await trio.sleep(1_000.0)
        await talk(tg, "last", chars=40)
        await wait_all_tasks_blocked()
        assert kinds(agent.windows["last"])[0] == "summary"
        assert len(full(stage)) == len(read_window(stage.store, 1, None)), "nothing is left out"
        assert_sound(stage.store)


async def test_turns_that_wait_are_not_summarised_around_one_by_one(
    autojump_clock: MockClock,
) -> None:
    """No window holds them yet: what is over before them is not too much."""
    tg, summing, agent = LoopbackChannel("tg"), Summing(), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await tg.receive("hold")
        for number in range(60):
            await tg.receive(f"m{number} ".ljust(80, "x"))
        await wait_all_tasks_blocked()
        assert not summing.requests
        agent.go.set()
        while len(tg.sent) < 61:
            await tg.next_sent()
        await wait_all_tasks_blocked()
        found = [record for _, record in summaries(stage.store)]
        assert 1 <= len(found) <= 5
        assert all(record.covered_messages >= 10 for record in found)
        assert all(size_of(window) <= 1_000 for window in agent.windows.values())
        assert_sound(stage.store)


async def _after(seconds: float, do: Callable[[], None]) -> None:
    await trio.sleep(seconds)
    do()


async def test_a_turn_that_comes_while_the_context_is_measured_is_measured_too(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was let go as soon as what came before it was counted, and then saw a part of it."""
    counting, go = trio.Event(), trio.Event()
    count = Letters.count
    tg, agent = LoopbackChannel("tg"), Talker()

    async def slow(self: Letters, texts: Sequence[str]) -> list[int]:
        counting.set()
        await go.wait()
        return await count(self, texts)

    async with on_small_stage(agent, tg, summariser=Summing()) as stage:
        monkeypatch.setattr(Letters, "count", slow)
        await talk(tg, "1", "2", chars=420)
        assert counting.is_set()
        await tg.receive("3 ".ljust(420, "x"))
        await wait_all_tasks_blocked()
        assert "3" not in agent.windows, "three times 420 bytes may be more than 1,000 tokens"
        go.set()
        await tg.next_sent()
        assert len(agent.windows["3"]) == 5
        assert not any(message.cut for message in agent.windows["3"])
        assert not summaries(stage.store)


async def test_a_summary_that_lands_as_a_turn_is_accepted_is_seen_by_that_turn(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing("hold", "good"), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage, trio.open_nursery() as nurse:
        await talk(tg, "1", "2", "3")
        await talk(tg, "4", chars=400)
        stage.store.hold()
        nurse.start_soon(tg.receive, "5 ".ljust(300, "x"))
        await wait_all_tasks_blocked()
        summing.go.set()
        await wait_all_tasks_blocked()
        stage.store.release()
        await tg.next_sent()
        window = agent.windows["5"]
        ((at, record),) = summaries(stage.store)
        seq = window[-1].seq
        assert seq < at
        assert record.for_turn == seq
        assert (window[0].kind, window[0].seq) == ("summary", at)
        assert window_at(stage.store, 1, seq, RULES) == window


async def test_a_summary_that_lands_before_an_agent_is_asked_is_seen_by_its_turn(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing("hold", "good"), Talker()
    alone = {"max_running_turns": 1}
    async with on_small_stage(agent, tg, summariser=summing, runtime=alone) as stage:
        await talk(tg, "1", "2", "3")
        await talk(tg, "4", chars=400)
        await tg.receive("hold", conversation="c2", user_id="u2")
        await wait_all_tasks_blocked()
        await tg.receive("5 ".ljust(300, "x"))  # given out, and waits for the other agent
        await wait_all_tasks_blocked()
        summing.go.set()
        await wait_all_tasks_blocked()
        ((at, record),) = summaries(stage.store)
        assert "5" not in agent.windows
        agent.go.set()
        assert {(await tg.next_sent()).text for _ in range(2)} == {"re: hold", "re: 5"}
        window = agent.windows["5"]
        assert record.for_turn == window[-1].seq < at
        assert (window[0].kind, window[0].seq) == ("summary", at)
        assert window_at(stage.store, 1, record.for_turn, RULES) == window


async def test_a_stopping_runtime_waits_for_no_summary(autojump_clock: MockClock) -> None:
    tg, summing = LoopbackChannel("tg"), Summing("hang")
    async with on_small_stage(Talker(), tg, summariser=summing) as stage:
        await talk(tg, "1", "2", "3")
        await tg.receive("4 ".ljust(1_200, "x"))
        await wait_all_tasks_blocked()
        before = trio.current_time()
    assert trio.current_time() - before < 30.0
    async with on_small_stage(agent := Talker(), tg, disk=stage.disk) as stage:
        while len(tg.sent) < 4:
            await tg.next_sent()
        assert size_of(agent.windows.get("4", ())) <= 1_000
        assert_sound(stage.store)


# -- messages that no window holds -----------------------------------------------------------------


MUCH = 4_000_000


@pytest.mark.parametrize(
    "text",
    ["x" * MUCH, "é" * MUCH, "\n" * (MUCH - 1) + "x", "\U0001f600" * (MUCH // 4)],
    ids=["letters", "accents", "lines", "pictures"],
)
async def test_a_message_larger_than_the_window_is_answered_cut_and_summarised_later(
    autojump_clock: MockClock, text: str
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing(), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await talk(tg, "1")
        await tg.receive(text)
        assert (await tg.next_sent()).text.startswith("re: ")
        await wait_all_tasks_blocked()
        window = agent.windows[name_of(text)]
        assert size_of(window) <= 1_000
        assert window[-1].cut
        assert len(summing.requests) <= 4, "it is not tried again and again"
        await talk(tg, "2", "3")
        (*_, (_, record)) = summaries(stage.store)
        records = dict(load_records(stage.store, 1))
        (large,) = [s for s, r in records.items() if isinstance(r, UserRecord) and r.text == text]
        assert record.through >= large, "it is covered as soon as it can be"
        assert all(size_of(request.messages) <= 800 for request in summing.requests)
        assert all(m.seq != large for m in agent.windows["3"])
        assert len(full(stage)) == len(read_window(stage.store, 1, None))
        assert_sound(stage.store)


async def test_sixty_four_images_in_one_message_are_answered_and_summarised_later(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing(), Talker()
    images = tuple(Attachment(kind="image", reference=f"file-{n}") for n in range(64))
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await tg.receive("look", attachments=images)
        await tg.next_sent()
        await wait_all_tasks_blocked()
        (shown,) = agent.windows["look"]
        assert (shown.cut, shown.attachments) == (True, ())
        assert size_of(agent.windows["look"]) <= 1_000
        await talk(tg, "1", "2", "3")
        assert summaries(stage.store)
        assert all(size_of(request.messages) <= 800 for request in summing.requests)
        assert "user" not in [m.kind for m in full(stage) if m.text == "look"]
        assert_sound(stage.store)


async def test_a_turn_of_many_large_messages_is_cut_to_what_a_summariser_can_take(
    autojump_clock: MockClock,
) -> None:
    tg, summing = LoopbackChannel("tg"), Summing()

    async def agent(turn: Turn) -> Reply:
        calls = tuple(ToolCall(name=f"t{n}", arguments="{}", result="y" * 2_000) for n in range(20))
        return Reply(text="z" * 3_000, tools=calls if turn.text == "1" else ())

    async with on_small_stage(agent, tg, summariser=summing) as stage:
        for text in ("1", "2", "3"):
            await tg.receive(text)
            await tg.next_sent()
            await wait_all_tasks_blocked()
        first = summing.requests[0].messages
        assert [m.kind for m in first] == ["user", *["tool"] * 20, "assistant"]
        assert size_of(first) <= 800
        assert all(m.tool is not None and m.tool.name == f"t{n}" for n, m in enumerate(first[1:21]))
        assert (first[0].text, first[0].cut) == ("1", False), "what is small stays whole"
        assert_sound(stage.store)


async def test_a_little_before_a_giant_does_not_stop_it_from_being_summarised(
    autojump_clock: MockClock,
) -> None:
    tg, summing, agent = LoopbackChannel("tg"), Summing(), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await talk(tg, "a", chars=3)
        await talk(tg, "giant", chars=40_000)
        await talk(tg, "b", "c", "d", chars=100)
        assert len(full(stage)) == len(read_window(stage.store, 1, None))
        assert size_of(full(stage)) < 850
        assert kinds(agent.windows["d"])[0] == "summary"


async def test_a_flood_of_giants_is_summarised_in_parts_each_of_which_memory_can_hold(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []

    def read(*args: Any) -> Material | None:
        material = read_material(*args)
        assert material is not None
        held.append(sum(len(entry.message.text) for entry in material.entries))
        return material

    monkeypatch.setattr("turnkeeper.actors.measuring.read_material", read)
    monkeypatch.setattr("turnkeeper.actors.measuring.MOST_BYTES", 32_000)
    tg, summing, agent = LoopbackChannel("tg"), Summing(), Talker()
    async with on_small_stage(agent, tg, summariser=summing) as stage:
        await tg.receive("hold")
        for number in range(40):
            await tg.receive(f"m{number} ".ljust(4_000, "x"))
        await wait_all_tasks_blocked()
        assert not summing.requests, "what waits is in no window, and is not over"
        agent.go.set()
        while len(tg.sent) < 41:
            await tg.next_sent()
        await wait_all_tasks_blocked()
        await talk(tg, "last", chars=40)
        assert max(held) <= 32_000 + 2 * 4_000
        assert all(size_of(window) <= 1_000 for window in agent.windows.values())
        assert kinds(agent.windows["last"])[0] == "summary"
        assert len(full(stage)) == len(read_window(stage.store, 1, None)), "nothing is left out"
        assert_sound(stage.store)


async def test_a_counter_that_fails_leaves_a_bound_that_holds(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(_self: Any, texts: Any) -> list[int]:
        raise OSError(f"no counter for {len(texts)} texts")

    monkeypatch.setattr(Letters, "count", broken)
    tg, agent = LoopbackChannel("tg"), Talker()
    async with on_small_stage(agent, tg, summariser=Summing()) as stage:
        await talk(tg, "1", "2", "3", "4", chars=300)
        assert all(sum(len(m.text) for m in w) <= 1_000 for w in agent.windows.values())
        assert summaries(stage.store)
        assert [r.text for _, r in load_records(stage.store, 1) if isinstance(r, AssistantRecord)]


class Bytes(Letters):
    """Finds four times as many tokens as `Letters` do."""

    name = "bytes"

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Every letter is one."""
        return [4 * tokens for tokens in await super().count(texts)]


async def test_a_summary_is_counted_anew_once_tokens_are_counted_otherwise(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, tg, agent = MemoryDisk(), LoopbackChannel("tg"), Talker()
    async with on_small_stage(agent, tg, disk=disk) as stage:
        await talk(tg, "1", "2", "3", chars=1_000)
        await stage.runtime.compact("s1")
        ((seq, record),) = summaries(stage.store)
        assert load_count(stage.store, 1, seq, counter_mark("letters")) == record.tokens
        assert load_count(stage.store, 1, seq, counter_mark("bytes")) is None
    monkeypatch.setattr(contexts, "Letters", Bytes)
    tg, agent = LoopbackChannel("tg"), Talker()
    async with on_small_stage(agent, tg, disk=disk) as stage:
        await talk(tg, "4", "5", chars=300)
        assert all(sum(len(m.text) + 4 for m in w) <= 1_000 for w in agent.windows.values())
        counted = load_count(stage.store, 1, seq, counter_mark("bytes"))
        assert counted is not None
        assert counted > 3 * record.tokens
        *_, (newest, record) = summaries(stage.store)
        assert newest > seq, "what had room by the other counter has none by this one"
        assert load_count(stage.store, 1, newest, counter_mark("bytes")) == record.tokens
        assert_sound(stage.store)


async def test_a_short_context_that_is_asked_for_is_summarised_in_less(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_small_stage(Talker(), tg) as stage:
        await talk(tg, "1", "2", "3", chars=400)
        done = await stage.runtime.compact("s1")
        ((_, record),) = summaries(stage.store)
        assert (done.status, done.fault) == ("compacted", None)
        assert record.tokens <= record.covered_tokens * 3 // 4
        assert done.tokens_after < done.tokens_before
