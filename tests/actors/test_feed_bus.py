"""The feed: what has happened, told once it is durable, in one order, to whoever watches."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from itertools import pairwise

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    Address,
    Deliver,
    FeedEvent,
    FeedLagged,
    LateReceipt,
    Runtime,
    RuntimeFailed,
    Turn,
    TurnRefused,
    views,
)
from turnkeeper.actors.bus import Bus, Subscription
from turnkeeper.actors.happenings import MAX_TEXT_CHARS, rendered
from turnkeeper.actors.messages import DeliveryId, Instance, MissionTurn, SessionId
from turnkeeper.actors.missions import RunMission
from turnkeeper.actors.provenance import HearReceipt
from turnkeeper.channels.base import Unreachable
from turnkeeper.storage.base import Batch
from turnkeeper.storage.memory import MemoryDisk, MemoryStore
from turnkeeper.testing import LoopbackChannel

from .stage import START, crashed, echo, on_stage

C2 = Address(Instance("tg"), "c2")


@asynccontextmanager
async def watched(runtime: Runtime) -> AsyncGenerator[list[FeedEvent]]:
    """What is told within the block, and because of it."""
    seen: list[FeedEvent] = []
    async with runtime.feed() as events, trio.open_nursery() as nursery:
        nursery.start_soon(collect, events, seen)
        yield seen
        await wait_all_tasks_blocked()
        events.close()


async def collect(events: Subscription, seen: list[FeedEvent]) -> None:
    async for event in events:
        seen.append(event)  # noqa: PERF401  (so that it is seen at once)


def kinds_of(events: Sequence[FeedEvent]) -> list[tuple[str, str | None]]:
    return [(event.kind, event.id) for event in events]


def of_kind(events: Sequence[FeedEvent], kind: str) -> list[FeedEvent]:
    return [event for event in events if event.kind == kind]


# -- what is told ----------------------------------------------------------------------------------


async def test_a_turn_is_told_from_its_acceptance_to_its_delivery() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, watched(stage.runtime) as seen:
        await tg.receive("hi", conversation="c1", thread="t1")
    assert kinds_of(seen) == [
        ("accepted", "s1/4"),
        ("turn_started", "s1/4"),
        ("turn_ended", "s1/4"),
        ("delivery", "s1/5"),
    ]
    assert [event.number for event in seen] == [1, 2, 3, 4]
    for event in seen:
        assert (event.session_id, event.instance, event.conversation, event.thread) == (
            "s1",
            "tg",
            "c1",
            "t1",
        )
        assert (event.text, event.mission) == ("hi", None)
        assert START <= event.at < START + timedelta(minutes=1)
    _, started, ended, delivered = seen
    assert started.detail == {"attempt": 1}
    assert ended.detail == {"status": "answered", "delivery_id": "s1/5", "error": None}
    assert delivered.detail == {
        "status": "delivered",
        "reason": None,
        "attempt": 1,
        "platform_message_id": tg.sent[0].message_id,
        "parts": [],
        "parts_in_all": 1,
        "turn_id": "s1/4",
        "noted_in": None,
    }


async def test_silence_is_told_as_an_end_without_a_delivery() -> None:
    async def silent(_turn: Turn) -> None:
        await trio.lowlevel.checkpoint()

    tg = LoopbackChannel("tg")
    async with on_stage(silent, tg) as stage, watched(stage.runtime) as seen:
        await tg.receive("hi")
    assert kinds_of(seen)[-1] == ("turn_ended", "s1/4")
    assert seen[-1].detail == {"status": "silent", "delivery_id": None, "error": None}


async def test_a_turn_that_waits_is_told_when_it_is_accepted_and_again_when_it_begins() -> None:
    go = trio.Event()

    async def agent(turn: Turn) -> str:
        await go.wait()
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage, watched(stage.runtime) as seen:
        await tg.receive("one")
        await tg.receive("two")
        await wait_all_tasks_blocked()
        assert [(e.kind, e.text) for e in seen] == [
            ("accepted", "one"),
            ("turn_started", "one"),
            ("accepted", "two"),
        ]
        go.set()
    assert ("turn_started", "two") in [(e.kind, e.text) for e in seen[3:]]


async def test_a_message_that_is_delivered_again_is_not_told_again() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, watched(stage.runtime) as seen:
        await tg.receive("hi", message_id="m1")
        assert (await tg.receive("hi", message_id="m1")).duplicate
    assert len(of_kind(seen, "accepted")) == 1


async def test_every_attempt_at_a_delivery_is_told(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg")
    tg.fail_next("refused")
    async with on_stage(echo, tg) as stage, watched(stage.runtime) as seen:
        await tg.receive("hi")
        await tg.next_sent()
    told = [(e.detail["status"], e.detail["attempt"]) for e in of_kind(seen, "delivery")]
    assert told == [("retrying", 1), ("delivered", 2)]
    assert of_kind(seen, "delivery")[0].detail["reason"] == "channel_down"
    assert autojump_clock.current_time() < 60


async def test_a_turn_that_is_given_up_is_told_as_an_end_and_as_an_error(
    autojump_clock: MockClock,
) -> None:
    async def agent(_turn: Turn) -> str:
        raise ValueError("no idea")

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage, watched(stage.runtime) as seen:
        await tg.receive("hi")
        await trio.sleep(60)
    assert [e.detail["attempt"] for e in of_kind(seen, "turn_started")] == [1, 2, 3]
    (ended,) = of_kind(seen, "turn_ended")
    (error,) = of_kind(seen, "error")
    assert (ended.detail["status"], ended.detail["error"]) == ("quarantined", "ValueError: no idea")
    assert (error.id, error.text, error.detail) == ("s1/4", "ValueError: no idea", {"of": "turn"})
    assert autojump_clock.current_time() < 100


async def test_a_note_is_told_as_the_owners_behind_the_delivery_that_it_is_about() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi", conversation="c1", user_id="u1")
        await tg.receive("hi", conversation="c2", user_id="u2")
        await wait_all_tasks_blocked()
        async with watched(stage.runtime) as seen:
            outcome = await stage.runtime.send_message("s1", "psst", C2)
    delivered, note = seen
    assert kinds_of(seen) == [("delivery", outcome.delivery_id), ("note", outcome.delivery_id)]
    assert (delivered.session_id, delivered.detail["noted_in"]) == ("s1", "s2")
    assert (note.session_id, note.conversation, note.text) == ("s2", "c2", "psst")
    assert note.detail == {
        "source": "session s1",
        "from_session": "s1",
        "status": "delivered",
        "record": "s2/7",
    }


@pytest.mark.parametrize("user_id", ["u1", "u9"], ids=["that is known", "that is new"])
async def test_a_note_that_waited_is_told_when_a_session_gets_the_conversation(
    user_id: str,
) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg, channels={"tg": {"send_to": ["c9"]}}) as stage:
        await tg.receive("hi", conversation="c1", user_id="u1")
        async with watched(stage.runtime) as seen:
            place = Address(Instance("tg"), "c9")
            outcome = await stage.runtime.send_message("s1", "good morning", place)
            await wait_all_tasks_blocked()
            assert of_kind(seen, "note") == []
            accepted = await tg.receive("what?", conversation="c9", user_id=user_id)
        kept = [
            f"{accepted.session_id}/{record.seq}"
            for record in views.history(stage.store, accepted.session_id) or ()
            if record.kind == "note"
        ]
    (note,) = of_kind(seen, "note")
    assert (note.id, note.session_id) == (outcome.delivery_id, accepted.session_id)
    assert [note.detail["record"]] == kept
    assert seen.index(note) < seen.index(next(e for e in seen if e.text == "what?"))


async def test_what_is_mirrored_is_told() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await wait_all_tasks_blocked()
        async with watched(stage.runtime) as seen:
            await stage.runtime.mirror_to_session("s1", "the build is green", source="cron")
    (note,) = seen
    assert (note.kind, note.session_id, note.id) == ("note", "s1", None)
    assert (note.detail["source"], note.detail["status"]) == ("cron", "mirrored")


async def test_a_late_receipt_is_told_once() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi", conversation="c1")
        outcome = await stage.runtime.send_message("s1", "psst")
        assert outcome.platform_message_id is not None
        late = LateReceipt(
            conversation="c1", platform_message_id=outcome.platform_message_id, status="read"
        )
        await wait_all_tasks_blocked()
        registry = stage.runtime._registry  # pyright: ignore[reportPrivateUsage]
        async with watched(stage.runtime) as seen:
            for _ in range(2):
                await registry.ask(HearReceipt(instance=Instance("tg"), receipt=late), block=False)
    (receipt,) = seen
    assert (receipt.kind, receipt.id, receipt.text) == ("receipt", outcome.delivery_id, "psst")
    assert (receipt.conversation, receipt.detail["status"]) == ("c1", "read")


async def test_the_run_of_a_mission_is_told_with_its_name_from_end_to_end() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi", conversation="c1")
        await wait_all_tasks_blocked()
        registry = stage.runtime._registry  # pyright: ignore[reportPrivateUsage]
        async with watched(stage.runtime) as seen:
            turn = MissionTurn(mission="inbox", run=1, text="look at the inbox", due_us=0)
            request = RunMission(
                session_id=SessionId("mission-inbox"),
                agent="main",
                turn=turn,
                claim=Batch(),
                by="schedule",
                notify=Instance("tg"),
            )
            await registry.ask(request, block=False)
    assert [event.kind for event in seen] == [
        "accepted",
        "turn_started",
        "turn_ended",
        "delivery",
        "note",
    ]
    assert {event.mission for event in seen} == {"inbox"}
    assert [event.session_id for event in seen] == [*["mission-inbox"] * 4, "s1"]
    assert (seen[0].text, seen[0].instance) == ("look at the inbox", None)
    assert seen[4].detail["source"] == "mission inbox"


async def test_what_stands_in_the_console_feed_is_told() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        registry = stage.runtime._registry  # pyright: ignore[reportPrivateUsage]
        async with watched(stage.runtime) as seen:
            turn = MissionTurn(mission="inbox", run=1, text="look", due_us=0)
            request = RunMission(
                session_id=SessionId("m"), agent="main", turn=turn, claim=Batch(), by="schedule"
            )
            await registry.ask(request, block=False)
        (entry,) = await stage.runtime.feed()
    shown, delivered = seen[-2:]
    assert (shown.kind, shown.id, shown.text) == ("rendered", entry.delivery_id, entry.text)
    assert (delivered.kind, delivered.detail["status"]) == ("delivery", "rendered")


async def test_a_long_text_is_told_in_part() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, watched(stage.runtime) as seen:
        await tg.receive("x" * 5_000)
    for event in seen:
        assert event.text == "x" * (MAX_TEXT_CHARS - 1) + "…"


# -- what broke ------------------------------------------------------------------------------------


async def test_a_session_that_breaks_is_told(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        async with watched(stage.runtime) as seen:
            (await stage.runtime.session_ref("s1")).tell("no session knows this message")
            await trio.sleep(5)
    (error,) = of_kind(seen, "error")
    assert (error.session_id, error.id, error.detail) == ("s1", None, {"of": "session"})
    assert error.text.startswith("KeyError")
    assert autojump_clock.current_time() < 10


async def test_a_channel_that_breaks_is_told_with_the_pause_before_it_runs_again(
    autojump_clock: MockClock,
) -> None:
    class Frail(LoopbackChannel):
        runs = 0

        async def run(self, deliver: Deliver) -> None:
            self.runs += 1
            if self.runs < 3:
                raise ConnectionError("lost the connection")
            await super().run(deliver)

    async with on_stage(echo, Frail("tg")) as stage, watched(stage.runtime) as seen:
        await trio.sleep(10)
    assert [(e.kind, e.instance, e.text) for e in seen] == [
        ("error", "tg", "ConnectionError: lost the connection")
    ] * 2
    assert [e.detail for e in seen] == [
        {"of": "channel", "restarts_in_s": 1.0},
        {"of": "channel", "restarts_in_s": 2.0},
    ]
    assert autojump_clock.current_time() < 20


async def test_a_channel_that_cannot_be_reached_is_told_of_in_its_own_words(
    autojump_clock: MockClock,
) -> None:
    class Cut(LoopbackChannel):
        async def run(self, deliver: Deliver) -> None:
            raise Unreachable("the cable is out")

    async with on_stage(echo, Cut("tg")) as stage, watched(stage.runtime) as seen:
        await trio.sleep(1)
    assert [(e.kind, e.instance, e.text) for e in seen][:1] == [("error", "tg", "the cable is out")]
    assert autojump_clock.current_time() < 20


# -- after durability only -------------------------------------------------------------------------


async def test_nothing_is_told_before_it_is_durable() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, watched(stage.runtime) as seen:
        async with trio.open_nursery() as nursery:
            stage.store.hold()
            nursery.start_soon(tg.receive, "hi")
            await wait_all_tasks_blocked()
            assert seen == []
            stage.store.release()
        await wait_all_tasks_blocked()
    assert [event.kind for event in seen] == ["accepted", "turn_started", "turn_ended", "delivery"]


@pytest.mark.parametrize(
    "told",
    [[], ["accepted", "turn_started"], ["accepted", "turn_started", "turn_ended"]],
    ids=["of the turn", "of the reply", "of the outcome"],
)
async def test_a_failed_commit_tells_nothing_but_that_the_store_failed(told: list[str]) -> None:
    tg = LoopbackChannel("tg")
    seen: list[FeedEvent] = []

    async def until_the_disk_refuses() -> None:
        async with on_stage(echo, tg) as stage, stage.runtime.feed() as events:
            with trio.CancelScope(shield=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(refuse_after, stage.store, events)
                    with suppress(TurnRefused):
                        await tg.receive("hi")
            await trio.sleep_forever()

    async def refuse_after(store: MemoryStore, events: Subscription) -> None:
        for _ in told:
            event = await events.receive()
            assert event is not None
            seen.append(event)
        store.fail_next()
        event = await events.receive()
        assert event is not None
        seen.append(event)

    with pytest.raises(RuntimeFailed):
        await until_the_disk_refuses()
    assert [event.kind for event in seen] == [*told, "error"]
    assert seen[-1].detail == {"of": "store"}
    assert "the disk refused" in seen[-1].text


async def test_after_a_crash_a_new_stream_begins_with_the_turn_that_was_open() -> None:
    async def hang(_turn: Turn) -> str:
        await trio.sleep_forever()
        raise AssertionError

    tg, disk = LoopbackChannel("tg"), MemoryDisk()
    async with on_stage(hang, tg, disk=disk, runtime={"stop_deadline_s": 0}) as stage:
        async with watched(stage.runtime) as before:
            await tg.receive("hi")
        left = crashed(disk)
    assert [event.number for event in before] == [1, 2]
    async with (
        on_stage(echo, LoopbackChannel("tg"), disk=left) as stage,
        watched(stage.runtime) as after,
    ):
        pass
    assert kinds_of(after) == [
        ("turn_started", "s1/4"),
        ("turn_ended", "s1/4"),
        ("delivery", "s1/6"),
    ]
    assert [event.number for event in after] == [1, 2, 3]
    assert after[0].detail == {"attempt": 2}


# -- who is told -----------------------------------------------------------------------------------


async def talk(tg: LoopbackChannel, conversation: str, turns: int) -> None:
    for number in range(turns):
        await tg.receive(f"{number}", conversation=conversation, user_id=f"u-{conversation}")


async def test_everybody_is_told_the_same_and_each_session_in_its_order() -> None:
    tg = LoopbackChannel("tg")
    async with (
        on_stage(echo, tg) as stage,
        watched(stage.runtime) as one,
        watched(stage.runtime) as two,
        trio.open_nursery() as nursery,
    ):
        for number in range(5):
            nursery.start_soon(talk, tg, f"c{number}", 10)
    assert one == two
    assert [event.number for event in one] == list(range(1, 1 + 5 * 10 * 4))
    for name in {event.session_id for event in one}:
        of_session = [event for event in one if event.session_id == name]
        for kind in ("accepted", "turn_started", "turn_ended", "delivery"):
            assert [event.text for event in of_kind(of_session, kind)] == [
                str(n) for n in range(10)
            ]
        for turn_id in {event.id for event in of_kind(of_session, "accepted")}:
            life = [event.kind for event in of_session if event.id == turn_id]
            assert life == ["accepted", "turn_started", "turn_ended"]


async def test_a_slow_subscriber_is_dropped_alone_and_told_where_its_stream_ends() -> None:
    tg = LoopbackChannel("tg")
    async with (
        on_stage(echo, tg) as stage,
        stage.runtime.feed(max_behind=5) as slow,
        watched(stage.runtime) as seen,
    ):
        await talk(tg, "c1", 4)
        await wait_all_tasks_blocked()
        assert len(seen) == 16
        got: list[FeedEvent] = []
        with pytest.raises(FeedLagged, match="number 5") as lagged:
            await collect(slow, got)
        assert got == seen[:5]
        assert (lagged.value.behind, lagged.value.last) == (5, 5)
        await talk(tg, "c2", 1)
    assert len(seen) == 20
    assert len(tg.sent) == 5


async def test_a_subscriber_that_is_just_not_too_slow_misses_nothing() -> None:
    bus = Bus()
    events = bus.subscribe(3)
    for _ in range(10):
        for _ in range(3):
            bus.publish(event())
        for _ in range(3):
            assert await events.receive() is not None
    events.close()


async def test_a_cancelled_watcher_is_forgotten() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        bus = stage.runtime._engine.bus  # pyright: ignore[reportPrivateUsage]
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch_forever, stage.runtime)
                await wait_all_tasks_blocked()
                assert len(bus.subscribers) == 1
                scope.cancel()
        assert bus.subscribers == ()
        await talk(tg, "c1", 1)
        async with watched(stage.runtime) as seen:
            await talk(tg, "c1", 1)
    assert seen[0].number == 1, "what nobody watched has a number"


async def watch_forever(runtime: Runtime) -> None:
    async with runtime.feed() as events:
        await collect(events, [])


def event(text: str = "") -> FeedEvent:
    return rendered(SessionId("s1"), DeliveryId("s1/1"), text, 0)


@pytest.mark.parametrize("seed", range(5))
async def test_whoever_comes_and_goes_misses_nothing_while_being_there(seed: int) -> None:
    rng = random.Random(seed)
    bus, stays = Bus(), list[int]()

    async def publish() -> None:
        for _ in range(500):
            for _ in range(rng.randrange(4)):
                bus.publish(event())
            await trio.lowlevel.checkpoint()
        bus.close()

    async def come_and_go() -> None:
        over = False
        while not over:
            events, numbers = bus.subscribe(), list[int]()
            for _ in range(rng.randrange(1, 50)):
                told = await events.receive()
                if over := told is None:
                    break
                numbers.append(told.number)
            events.close()
            stays.append(len(numbers))
            assert all(later == earlier + 1 for earlier, later in pairwise(numbers)), f"seed {seed}"

    async with trio.open_nursery() as nursery:
        for _ in range(9):
            nursery.start_soon(come_and_go)
        nursery.start_soon(publish)
    assert bus.subscribers == ()
    assert sum(stays) > 1_000


async def test_a_subscription_that_is_closed_ends_for_whoever_waits_for_it() -> None:
    bus = Bus()
    events, seen = bus.subscribe(), list[FeedEvent]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect, events, seen)
        bus.publish(event("one"))
        await wait_all_tasks_blocked()
        events.close()
        events.close()
    bus.publish(event("two"))
    assert [told.text for told in seen] == ["one"]


async def test_when_the_runtime_stops_what_was_told_can_be_read_and_then_the_stream_ends() -> None:
    tg = LoopbackChannel("tg")
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(on_stage(echo, tg))
        feed = stage.runtime.feed()
        events = await feed.__aenter__()
        await tg.receive("hi")
        await stack.aclose()
    seen: list[FeedEvent] = []
    await collect(events, seen)
    assert [told.kind for told in seen] == ["accepted", "turn_started", "turn_ended", "delivery"]
    await feed.__aexit__(None, None, None)
    async with stage.runtime.feed() as late:
        assert await late.receive() is None


def test_room_for_no_event_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Bus().subscribe(0)
