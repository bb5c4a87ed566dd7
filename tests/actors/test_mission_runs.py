"""What becomes of a run: its status, its messages, whom they reach, and who hears of a failure."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    Address,
    MissionInfo,
    MissionRefused,
    MissionRun,
    Turn,
)
from turnkeeper.actors.core.delivery_records import NoteRecord
from turnkeeper.actors.core.ownership_records import ActiveRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import AssistantRecord, MissionRecord, UserRecord
from turnkeeper.actors.journal import load_head, load_session_number
from turnkeeper.actors.kernel import ActorDeadError
from turnkeeper.actors.messages import Instance
from turnkeeper.missions import mission, runs
from turnkeeper.storage.base import Reads
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel
from turnkeeper.views import bindings
from turnkeeper.words import text_of

from .stage import START, Stage, crashed, log, on_stage

MINUTE: Final = 60.0
HOUR: Final = 60 * MINUTE
C1: Final = Address(Instance("tg"), "c1")
C2: Final = Address(Instance("tg"), "c2")


async def agent(turn: Turn) -> str | None:
    """Do as the prompt says; answer a human with what they said."""
    if turn.text == "stay silent":
        return None
    if turn.text == "fail":
        raise ValueError("the inbox is locked")
    if turn.text.startswith("say "):
        return turn.text.removeprefix("say ")
    return turn.text


def records(store: Reads, session_id: str) -> list[Record]:
    stream = load_session_number(store, session_id)
    return log(store, stream) if stream is not None else []


def info(store: Reads, name: str) -> MissionInfo:
    found = mission(store, name)
    assert found is not None
    return found


def active(store: Reads, session_id: str) -> Address | None:
    stream = load_session_number(store, session_id)
    head = load_head(store, stream) if stream is not None else None
    assert head is not None
    return head.active_channel


async def greet(channel: LoopbackChannel, *conversations: str) -> None:
    """Let a human of each conversation write once, and be answered."""
    for conversation in conversations:
        user = conversation.replace("c", "u")
        await channel.receive("hi", conversation=conversation, user_id=user)
        await channel.next_sent()


async def run_of(stage: Stage, prompt: str, **parts: Any) -> MissionRun:
    await stage.runtime.add_mission("job", "0 9 * * *", prompt, **parts)
    return await stage.runtime.run_mission("job")


# -- what became of a run ------------------------------------------------------------------------


async def test_an_answer_goes_where_a_human_last_wrote_to_the_agent() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await greet(tg, "c1", "c2")
        run = await run_of(stage, "say three mails", notify="tg")
        assert (run.mission, run.run, run.session_id) == ("job", 1, "mission-job")
        assert (run.status, run.error) == ("answered", None)
        (outcome,) = run.outcomes
        assert (outcome.status, outcome.provenance, outcome.noted_in) == (
            "delivered",
            "recorded",
            "s2",
        )
        sent = tg.sent[-1]
        assert (sent.conversation, sent.text) == ("c2", "three mails")
        assert sent.delivery_id == outcome.delivery_id
        (note,) = [r for r in records(stage.store, "s2") if isinstance(r, NoteRecord)]
        assert (note.mission, note.session_id, note.text) == ("job", "mission-job", "three mails")


async def test_silence_sends_nothing() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await greet(tg, "c1")
        run = await run_of(stage, "stay silent", notify="tg")
        assert (run.status, run.outcomes) == ("silent", ())
        assert len(tg.sent) == 1


async def test_a_run_that_fails_is_not_tried_again() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await greet(tg, "c1")
        run = await run_of(stage, "fail", notify="tg")
        assert (run.status, run.error) == ("failed", "ValueError: the inbox is locked")
        assert run.outcomes == ()
        assert len(tg.sent) == 1
        last = info(stage.store, "job").last_run
        assert last is not None
        assert (last.status, last.run, last.by) == ("failed", 1, "program")


async def test_without_anybody_to_address_the_run_is_answered_and_its_delivery_failed() -> None:
    async with on_stage(agent, LoopbackChannel("tg")) as stage:
        run = await run_of(stage, "say three mails", notify="tg")
        assert run.status == "answered"
        assert [(o.status, o.reason) for o in run.outcomes] == [("failed", "no_recipient")]
        last = info(stage.store, "job").last_run
        assert last is not None
        (delivery,) = last.deliveries
        assert (last.status, delivery.status, delivery.reason) == (
            "answered",
            "failed",
            "no_recipient",
        )


async def test_without_a_channel_to_notify_it_is_shown_in_the_feed() -> None:
    async with on_stage(agent) as stage:
        run = await run_of(stage, "say three mails")
        assert [o.status for o in run.outcomes] == ["rendered"]


async def test_the_end_of_a_run_waits_for_each_of_its_messages() -> None:
    tg = LoopbackChannel("tg")

    async def chatty(turn: Turn) -> str:
        if turn.mission:
            with trio.move_on_after(0):
                await turn.send_message("first")
        return "last"

    async with on_stage(chatty, tg) as stage, trio.open_nursery() as nursery:
        await greet(tg, "c1")
        await stage.runtime.add_mission("job", "0 9 * * *", "look", "tg")
        tg.hold()
        over: list[MissionRun] = []

        async def ask() -> None:
            over.append(await stage.runtime.run_mission("job"))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        last = info(stage.store, "job").last_run
        assert last is not None
        assert last.status == "answered"
        assert [d.status for d in last.deliveries] == ["retrying", "retrying"]
        assert over == []
        tg.release()
        await wait_all_tasks_blocked()
        (run,) = over
        assert [o.status for o in run.outcomes] == ["delivered", "delivered"]
        assert [m.text for m in tg.sent[-2:]] == ["first", "last"]


async def test_a_retried_delivery_is_shown_as_it_is_now() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg, runtime={"delivery_max_attempts": 1}) as stage:
        await greet(tg, "c1")
        tg.fail_next("rejected")
        run = await run_of(stage, "say three mails", notify="tg")
        (outcome,) = run.outcomes
        assert outcome.status == "failed"
        assert outcome.delivery_id is not None
        await stage.runtime.retry_delivery(outcome.delivery_id)
        last = info(stage.store, "job").last_run
        assert last is not None
        assert [d.status for d in last.deliveries] == ["delivered"]


async def test_a_run_of_a_stopped_process_is_interrupted_and_never_repeated(
    autojump_clock: MockClock,
) -> None:
    disk = MemoryDisk()
    begun: list[str] = []

    async def hang(turn: Turn) -> None:
        begun.append(turn.id)
        await trio.sleep_forever()

    async with on_stage(hang, disk=disk) as stage:
        await stage.runtime.add_mission("job", "every 1h", "look", missed="run_once")
        await trio.sleep(HOUR + MINUTE)
        image = crashed(disk)
    for left in (disk, image):  # a clean stop, and a crash
        async with on_stage(agent, disk=left, start=START) as stage:
            await wait_all_tasks_blocked()
            last = info(stage.store, "job").last_run
            assert last is not None
            assert last.status == "interrupted"
            assert "never repeated" in (last.error or "")
    assert len(begun) == 1


async def test_whoever_waits_for_a_run_hears_of_its_end_though_its_session_broke(
    autojump_clock: MockClock,
) -> None:
    begun = trio.Event()

    async def hang(turn: Turn) -> None:
        begun.set()
        await trio.sleep_forever()

    async with on_stage(hang) as stage, trio.open_nursery() as nursery:
        await stage.runtime.add_mission("job", "0 9 * * *", "look")
        over: list[MissionRun] = []

        async def ask() -> None:
            over.append(await stage.runtime.run_mission("job"))

        nursery.start_soon(ask)
        await begun.wait()
        session = await stage.runtime.session_ref("mission-job")
        session.tell("nonsense")
        await trio.sleep(MINUTE)
        (run,) = over
        assert (run.status, run.outcomes) == ("interrupted", ())


async def test_a_run_waits_behind_the_turns_of_its_session() -> None:
    tg = LoopbackChannel("tg")
    finish = trio.Event()
    order: list[str] = []

    async def slow(turn: Turn) -> str:
        if turn.mission is None:
            await finish.wait()
        order.append(turn.text)
        return turn.text

    async with on_stage(slow, tg) as stage, trio.open_nursery() as nursery:
        await tg.receive("hi", conversation="c1", user_id="u1")
        await stage.runtime.add_mission("job", "0 9 * * *", "look", session="s1")
        nursery.start_soon(stage.runtime.run_mission, "job")
        await wait_all_tasks_blocked()
        assert order == []
        found = info(stage.store, "job")
        assert found.running
        assert found.last_run is not None
        assert (found.last_run.status, found.last_run.ended) == ("waiting", None)
        finish.set()
    assert order == ["hi", "look"]


async def test_a_run_behind_another_one_of_its_mission_is_shown_as_waiting() -> None:
    finish = trio.Semaphore(0)

    async def slow(_turn: Turn) -> str:
        await finish.acquire()
        return "done"

    async with on_stage(slow) as stage, trio.open_nursery() as nursery:
        await stage.runtime.add_mission("job", "0 9 * * *", "look", overlap="allow")
        for _ in range(3):
            nursery.start_soon(stage.runtime.run_mission, "job")
            await wait_all_tasks_blocked()
        shown: list[list[str]] = []
        for _ in range(4):
            shown.append([run.status for run in runs(stage.store, "job")])
            finish.release()
            await wait_all_tasks_blocked()
    assert shown == [
        ["waiting", "waiting", "running"],
        ["waiting", "running", "answered"],
        ["running", "answered", "answered"],
        ["answered", "answered", "answered"],
    ]


async def test_a_turn_cannot_wait_for_a_run_behind_itself() -> None:
    stages: list[Stage] = []
    refused: list[str] = []

    async def impatient(turn: Turn) -> None:
        with pytest.raises(MissionRefused) as error:
            await stages[0].runtime.run_mission("job")
        refused.append(str(error.value))

    async with on_stage(impatient) as stage:
        stages.append(stage)
        run = await run_of(stage, "look")
        assert run.status == "silent"
        assert "a turn cannot wait" in refused[0]


async def test_a_run_may_wait_for_another_mission() -> None:
    stages: list[Stage] = []

    async def boss(turn: Turn) -> str | None:
        if turn.mission == "job":
            run = await stages[0].runtime.run_mission("helper")
            return f"helper: {run.status}"
        return None

    async with on_stage(boss) as stage:
        stages.append(stage)
        await stage.runtime.add_mission("helper", "0 9 * * *", "help")
        run = await run_of(stage, "look")
        said = records(stage.store, "mission-job")
        assert [r.text for r in said if isinstance(r, AssistantRecord)] == ["helper: silent"]
        assert run.status == "answered"


async def test_a_run_can_be_asked_for_while_the_mission_is_paused_or_over(
    autojump_clock: MockClock,
) -> None:
    async with on_stage(agent) as stage:
        rt = stage.runtime
        await rt.add_mission("once", "at 2026-01-07T13:00", "stay silent")
        await trio.sleep(2 * HOUR)
        await rt.pause_mission("once")
        assert (await rt.run_mission("once")).run == 2
        assert info(stage.store, "once").next_due is None


# -- whom it reaches -----------------------------------------------------------------------------


async def test_a_mission_changes_no_binding_and_no_other_active_channel(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await greet(tg, "c1", "c2")
        before = bindings(stage.store), active(stage.store, "s1"), active(stage.store, "s2")
        await stage.runtime.add_mission("job", "every 10m", "say three mails", "tg")
        await stage.runtime.add_mission("beat", "every 30s", "stay silent", session="s1")
        await stage.runtime.add_mission("talk", "every 25m", "say hello", session="s1")
        await trio.sleep(HOUR + 1)
        assert info(stage.store, "beat").runs == 120
        after = bindings(stage.store), active(stage.store, "s1"), active(stage.store, "s2")
        assert after == before
        assert [r for r in records(stage.store, "s1") if isinstance(r, ActiveRecord)] == []
        assert {m.conversation for m in tg.sent if m.text == "three mails"} == {"c2"}
        assert {m.conversation for m in tg.sent if m.text == "hello"} == {"c1"}


class Planner:
    """An agent that makes a mission when it is told `plan NAME PROMPT`, by whomever."""

    def __init__(self) -> None:
        self.stage: Stage | None = None

    async def __call__(self, turn: Turn) -> str | None:
        if not turn.text.startswith("plan "):
            return turn.text
        assert self.stage is not None
        _, name, prompt = turn.text.split(" ", 2)
        await self.stage.runtime.add_mission(name, "every 1h", prompt, "tg", replace=True)
        return None if turn.mission else "planned"


async def test_a_mission_made_in_one_chat_never_speaks_in_another_that_wrote_later(
    autojump_clock: MockClock,
) -> None:
    tg, planner = LoopbackChannel("tg"), Planner()
    async with on_stage(planner, tg) as stage:
        planner.stage = stage
        for number in ("1", "2"):
            plan = f"plan m{number} for c{number}"
            await tg.receive(plan, conversation=f"c{number}", user_id=f"u{number}")
            await tg.next_sent()
        await tg.receive("hi", conversation="c3", user_id="u3")
        await trio.sleep(2 * HOUR + MINUTE)
        missions_sent = [(m.conversation, m.text) for m in tg.sent if m.text.startswith("for ")]
        assert sorted(missions_sent) == [("c1", "for c1")] * 2 + [("c2", "for c2")] * 2


async def test_it_does_not_speak_to_anybody_else_once_its_chat_is_somebody_elses(
    autojump_clock: MockClock,
) -> None:
    tg, planner = LoopbackChannel("tg"), Planner()
    async with on_stage(planner, tg) as stage:
        planner.stage = stage
        await tg.receive("plan m1 for c1", conversation="c1", user_id="u1")
        await tg.next_sent()
        await tg.receive("hi", conversation="c2", user_id="u2")
        await tg.next_sent()
        await trio.sleep(2 * HOUR + MINUTE)
        assert {m.conversation for m in tg.sent if m.text == "for c1"} == {"c1"}
        await stage.runtime.pair("loopback", "u1", "other")
        await trio.sleep(2 * HOUR)
        assert "c2" not in {m.conversation for m in tg.sent if m.text == "for c1"}


async def test_a_mission_that_a_mission_makes_is_for_the_same_human(
    autojump_clock: MockClock,
) -> None:
    tg, planner = LoopbackChannel("tg"), Planner()
    async with on_stage(planner, tg) as stage:
        planner.stage = stage
        await tg.receive("plan parent plan child for c1", conversation="c1", user_id="u1")
        await tg.next_sent()
        await tg.receive("hi", conversation="c2", user_id="u2")
        await tg.next_sent()
        assert (await stage.runtime.run_mission("parent")).status == "silent"
        parent, child = info(stage.store, "parent"), info(stage.store, "child")
        assert parent.on_behalf_of == child.on_behalf_of == "s1"
        (outcome,) = (await stage.runtime.run_mission("child")).outcomes
        assert outcome.status == "delivered"
        assert (tg.sent[-1].conversation, tg.sent[-1].text) == ("c1", "for c1")


async def test_a_mission_that_was_removed_while_it_runs_can_make_no_other() -> None:
    tg, refused = LoopbackChannel("tg"), trio.Event()
    stages: list[Stage] = []

    async def planner(turn: Turn) -> None:
        await stages[0].runtime.remove_mission("job")
        with pytest.raises(MissionRefused, match="on whose behalf"):
            await stages[0].runtime.add_mission("child", "every 1h", "look", "tg")
        refused.set()

    async with on_stage(planner, tg) as stage:
        stages.append(stage)
        await run_of(stage, "look")
        assert refused.is_set()
        assert mission(stage.store, "child") is None


async def test_without_a_conversation_of_its_chat_nobody_else_is_told(
    autojump_clock: MockClock,
) -> None:
    tg, dc, planner = LoopbackChannel("tg"), LoopbackChannel("dc"), Planner()
    async with on_stage(planner, tg, dc) as stage:
        planner.stage = stage
        await tg.receive("hi", conversation="c2", user_id="u2")
        await tg.next_sent()
        await dc.receive("plan m1 for c1", conversation="d1", user_id="v1")
        await dc.next_sent()
        run = await stage.runtime.run_mission("m1")
        assert [(o.status, o.reason) for o in run.outcomes] == [("failed", "no_recipient")]
        assert len(tg.sent) == 1


async def test_a_named_session_that_is_not_there_is_opened_by_the_first_run() -> None:
    async with on_stage(agent) as stage:
        run = await run_of(stage, "say hello", session="heartbeat")
        assert run.session_id == "heartbeat"
        assert [o.status for o in run.outcomes] == ["rendered"]


# -- whom a failure reaches ----------------------------------------------------------------------


async def test_somebody_is_told_of_a_run_that_failed() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await greet(tg, "c1")
        run = await run_of(stage, "fail", on_failure="tg")
        assert run.status == "failed"
        await tg.next_sent()
        notice = tg.sent[-1]
        assert (notice.conversation, notice.text) == (
            "c1",
            "Run 1 of the mission job failed: ValueError: the inbox is locked",
        )
        await wait_all_tasks_blocked()
        assert info(stage.store, "job").notice is None
        (note,) = [r for r in records(stage.store, "s1") if isinstance(r, NoteRecord)]
        assert note.text == notice.text


async def test_that_nobody_can_be_told_of_a_failure_is_seen_and_repeats_nothing(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await stage.runtime.add_mission("job", "every 1h", "fail", on_failure="tg")
        await trio.sleep(3 * HOUR + MINUTE)
        seen = info(stage.store, "job")
        assert (seen.notice, seen.runs) == ("no_recipient", 3)
        assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 3
        await greet(tg, "c1")
        await trio.sleep(HOUR)
        assert info(stage.store, "job").notice is None
        assert len(tg.sent) == 2


async def test_what_a_stop_cuts_short_is_seen_and_not_told() -> None:
    tg, disk = LoopbackChannel("tg"), MemoryDisk()
    begun = trio.Event()

    async def hang(turn: Turn) -> str:
        if turn.mission:
            begun.set()
            await trio.sleep_forever()
        return turn.text

    with trio.move_on_after(10) as patience:
        async with on_stage(hang, tg, disk=disk, runtime={"stop_deadline_s": 0.0}) as stage:
            await greet(tg, "c1")
            await stage.runtime.add_mission("job", "0 9 * * *", "look", on_failure="tg")
            stage.runtime.start_soon(run_until_cut_short, stage)
            await begun.wait()
    assert not patience.cancelled_caught
    async with on_stage(agent, tg, disk=disk) as stage:
        await wait_all_tasks_blocked()
        seen = info(stage.store, "job")
        assert seen.last_run is not None
        assert (seen.last_run.status, seen.notice) == ("interrupted", "the runtime was stopping")
        assert len(tg.sent) == 1


async def run_until_cut_short(stage: Stage) -> None:
    with suppress(ActorDeadError):
        await stage.runtime.run_mission("job")


async def test_a_failure_is_told_in_the_chat_in_which_the_mission_was_made(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")
    stages: list[Stage] = []

    async def planner(turn: Turn) -> str:
        if turn.mission:
            raise ValueError("no")
        if turn.text == "plan":
            await stages[0].runtime.add_mission("m", "every 1h", "look", on_failure="tg")
        return turn.text

    async with on_stage(planner, tg) as stage:
        stages.append(stage)
        await tg.receive("plan", conversation="c1", user_id="u1")
        await tg.next_sent()
        await tg.receive("hi", conversation="c2", user_id="u2")
        await tg.next_sent()
        await trio.sleep(HOUR + MINUTE)
        notices = [(m.conversation, m.text) for m in tg.sent[2:]]
        assert notices == [("c1", "Run 1 of the mission m failed: ValueError: no")]


async def test_a_prompt_is_a_turn_of_the_log_like_any_other() -> None:
    async with on_stage(agent) as stage:
        await run_of(stage, "say hello")
        turns = [
            r
            for r in records(stage.store, "mission-job")
            if isinstance(r, MissionRecord | UserRecord)
        ]
        assert [(r.kind, text_of(r)) for r in turns] == [("mission", "say hello")]
