"""Acts amid traffic: whoever is not concerned goes on, and an act is carried out whole or not."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    ActRefused,
    Address,
    Outcome,
    Overloaded,
    Runtime,
    RuntimeFailed,
    ShuttingDown,
    Turn,
    TurnRefused,
)
from turnkeeper.actors.acts import Change
from turnkeeper.actors.core.delivery_records import NoteRecord
from turnkeeper.actors.core.turn_records import AssistantRecord, UserRecord
from turnkeeper.actors.kernel import ActorDeadError
from turnkeeper.actors.ledger import changes_since
from turnkeeper.storage.base import Reads
from turnkeeper.storage.errors import Conflict
from turnkeeper.storage.memory import MemoryDisk, MemoryReads, MemoryStore
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification
from turnkeeper.views import heads, sessions

from .stage import START, Stage, echo, log, on_stage
from .test_cancellation import cancelled_after

STRANGERS = 300


def two_channels() -> tuple[LoopbackChannel, LoopbackChannel]:
    return LoopbackChannel("tg", platform="tg"), LoopbackChannel("dc", platform="dc")


def commit_one_group(store: MemoryStore) -> None:
    """Let what a held store was given so far become durable, and hold it again."""
    store.release()
    trio.lowlevel.current_trio_token().run_sync_soon(store.hold)


def assert_sound(store: Reads) -> None:
    """Every log, table and index agrees."""
    now_us = int(START.timestamp() * 1_000_000)
    assert list(Verification(store, now_us).problems()) == []


def assert_answered_once(store: Reads) -> set[str]:
    """Every stored turn has one reply, in its own log, that repeats it; the texts of all."""
    texts: list[str] = []
    for stream, _ in heads(store):
        users = {
            n: r.text for n, r in enumerate(log(store, stream), 1) if isinstance(r, UserRecord)
        }
        replies = [
            (r.turn_seq, r.text) for r in log(store, stream) if isinstance(r, AssistantRecord)
        ]
        assert sorted(replies) == sorted(users.items())
        texts += users.values()
    assert len(texts) == len(set(texts))
    return set(texts)


def changes(store: Reads) -> list[str]:
    """What was done, in words, the oldest first."""
    return [change.text for _, change in changes_since(store)]


class Asker:
    """Asks for an act and keeps what it is told."""

    def __init__(self, ask: Callable[[], Awaitable[Change]]) -> None:
        self._ask = ask
        self.change: Change | None = None
        self.error: Exception | None = None
        self.told = trio.Event()

    async def __call__(self) -> None:
        try:
            self.change = await self._ask()
        except (ActRefused, Conflict, ShuttingDown, ActorDeadError) as error:
            self.error = error
        self.told.set()


async def greet(tg: LoopbackChannel, dc: LoopbackChannel) -> None:
    """One human writes on both channels, before anybody knows that it is one: `s1` and `s2`."""
    await tg.receive("from tg", conversation="t1", user_id="1")
    await dc.receive("from dc", conversation="d1", user_id="2")
    await wait_all_tasks_blocked()


async def link(stage: Stage) -> Change:
    return await stage.runtime.link("tg", "1", "dc:2")


# -- who waits ---------------------------------------------------------------------------------


async def test_conversations_that_an_act_does_not_concern_wait_for_the_store_alone() -> None:
    tg, dc = two_channels()
    accepted: list[str] = []

    async def write(text: str, conversation: str) -> None:
        await tg.receive(text, conversation=conversation, user_id=conversation)
        accepted.append(text)

    async with on_stage(echo, tg, dc) as stage, trio.open_nursery() as nursery:
        await greet(tg, dc)
        strangers = [f"stranger {number}" for number in range(STRANGERS)]
        for name in strangers:
            await write(f"{name} says hi", name)
        await wait_all_tasks_blocked()
        stage.store.hold()
        asker = Asker(lambda: link(stage))
        nursery.start_soon(asker)
        nursery.start_soon(write, "concerned", "t1")
        await wait_all_tasks_blocked()
        commits = 0
        while not asker.told.is_set():
            commits += 1
            assert commits < 10
            texts = [f"{name}, {commits}" for name in strangers[commits::10]]
            for name, text in zip(strangers[commits::10], texts, strict=True):
                nursery.start_soon(write, text, name)
            await wait_all_tasks_blocked()
            commit_one_group(stage.store)
            await wait_all_tasks_blocked()
            assert set(texts) <= set(accepted)
        assert commits > 1  # or nobody could have waited
        stage.store.release()
        await wait_all_tasks_blocked()
        assert "concerned" in accepted
        assert set(accepted) <= assert_answered_once(stage.store)
        assert_sound(stage.store)


async def test_what_a_session_says_where_an_act_has_taken_its_conversation_away_is_noted() -> None:
    tg, dc = two_channels()
    place = Address(instance=tg.name, conversation="t1")
    outcomes: list[Outcome] = []

    async def speak(stage: Stage) -> None:
        outcomes.append(await stage.runtime.send_message("s1", "psst", to=place))

    async with on_stage(echo, tg, dc) as stage, trio.open_nursery() as nursery:
        await greet(tg, dc)
        stage.store.hold()
        asker = Asker(lambda: link(stage))
        nursery.start_soon(asker)
        while not asker.told.is_set():
            nursery.start_soon(speak, stage)
            await wait_all_tasks_blocked()
            commit_one_group(stage.store)
            await wait_all_tasks_blocked()
        stage.store.release()
    records = log(MemoryReads(stage.disk), 1)
    sent = [r.text for r in records if isinstance(r, AssistantRecord)]
    assert sent.count("psst") == len(outcomes)
    noted = [outcome for outcome in outcomes if outcome.provenance == "recorded"]
    notes = [r.delivery_id for r in log(MemoryReads(stage.disk), 2) if isinstance(r, NoteRecord)]
    assert notes
    assert notes == [outcome.delivery_id for outcome in noted]


async def test_a_conversation_that_is_new_during_an_act_belongs_where_the_act_says() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage, trio.open_nursery() as nursery:
        await greet(tg, dc)
        stage.store.hold()
        asker = Asker(lambda: link(stage))
        nursery.start_soon(asker)
        await wait_all_tasks_blocked()

        async def write() -> None:
            accepted = await tg.receive("elsewhere", conversation="t2", user_id="1")
            assert accepted.session_id == "s2"

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        stage.store.release()
    assert asker.change is not None
    assert [moved.to_session for moved in asker.change.moved] == ["s2"]


async def test_an_act_moves_a_session_that_is_just_being_opened() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage, trio.open_nursery() as nursery:
        await dc.receive("from dc", conversation="d1", user_id="2")
        await wait_all_tasks_blocked()
        stage.store.hold()

        async def write() -> None:
            await tg.receive("from tg", conversation="t1", user_id="1")

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        asker = Asker(lambda: link(stage))
        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        stage.store.release()
        await wait_all_tasks_blocked()
        assert asker.change is not None
        assert [(m.from_session, m.to_session) for m in asker.change.moved] == [("s2", "s1")]
        assert assert_answered_once(stage.store) == {"from dc", "from tg"}
        assert (await tg.receive("again", conversation="t1", user_id="1")).session_id == "s1"
        assert_sound(stage.store)


async def test_an_act_waits_for_a_place_that_a_session_was_asked_to_own() -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage, trio.open_nursery() as nursery:
        await greet(tg, dc)
        stage.store.hold()

        async def write() -> None:
            await tg.receive("elsewhere", conversation="t2", user_id="1")

        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        asker = Asker(lambda: link(stage))
        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        stage.store.release()
        await wait_all_tasks_blocked()
        assert asker.change is not None
        assert {m.address.conversation for m in asker.change.moved} == {"t1", "t2"}
        assert_answered_once(stage.store)
        assert_sound(stage.store)


# -- sessions that come and go ---------------------------------------------------------------------


async def test_an_act_takes_over_a_session_that_is_leaving_memory(
    autojump_clock: MockClock,
) -> None:
    tg, dc = two_channels()
    async with (
        on_stage(echo, tg, dc, session={"idle_after_s": 10.0}) as stage,
        trio.open_nursery() as nursery,
    ):
        await greet(tg, dc)
        leaving = [await stage.runtime.session_ref(name) for name in ("s1", "s2")]
        await trio.sleep(9)
        stage.store.hold()
        await trio.sleep(15)  # both have been asked to leave, and may not yet
        asker = Asker(lambda: link(stage))
        nursery.start_soon(asker)

        async def write() -> None:
            accepted = await tg.receive("still here", conversation="t1", user_id="1")
            assert accepted.session_id == "s2"

        await wait_all_tasks_blocked()
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        stage.store.release()
        await trio.sleep(1)
        assert asker.change is not None
        assert not any(ref.is_alive() for ref in leaving)
        assert "still here" in assert_answered_once(stage.store)
        assert_sound(stage.store)
    assert autojump_clock.current_time() < 60


@pytest.mark.parametrize("commits", range(4))
@pytest.mark.parametrize("name", ["s1", "s2"])
@pytest.mark.parametrize("how", ["breaks", "is stopped"])
async def test_an_act_survives_the_end_of_a_session_that_it_concerns(
    name: str, how: str, commits: int, autojump_clock: MockClock
) -> None:
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc) as stage, trio.open_nursery() as nursery:
        await greet(tg, dc)
        session = await stage.runtime.session_ref(name)
        stage.store.hold()
        asker = Asker(lambda: link(stage))
        nursery.start_soon(asker)
        await wait_all_tasks_blocked()
        for _ in range(commits):
            commit_one_group(stage.store)
            await wait_all_tasks_blocked()
        if how == "breaks":
            session.tell("what no session understands")
        else:
            session.stop(block=False)
        await wait_all_tasks_blocked()
        stage.store.release()
        with trio.fail_after(60):
            for number in range(3):
                await tg.receive(f"more {number}", conversation="t1", user_id="1")
            await asker.told.wait()
        await trio.sleep(5)
        assert asker.change is not None
        assert {"from tg", "from dc", "more 2"} <= assert_answered_once(stage.store)
        assert_sound(stage.store)
    assert autojump_clock.current_time() < 120


class Traffic:
    """Humans who write, and operators who decide who they are, all at once."""

    def __init__(self, rng: Random, channels: tuple[LoopbackChannel, LoopbackChannel]) -> None:
        self.rng = rng
        self.channels = channels
        self.heard: set[str] = set()
        self.done = 0

    async def human(self, channel: LoopbackChannel, user_id: str, which: int) -> None:
        conversation = f"{user_id}/{which}"
        for number in range(15):
            await trio.sleep(self.rng.choice([0.0, 0.01, 0.02, 0.05]))
            text = f"{channel.name} {conversation} {number}"
            await self._write(channel, conversation, user_id, text)
            self.heard.add(text)

    async def _write(
        self, channel: LoopbackChannel, conversation: str, user_id: str, text: str
    ) -> None:
        while True:
            try:
                await channel.receive(
                    text, conversation=conversation, user_id=user_id, message_id=text
                )
            except Overloaded:
                await trio.sleep(0.5)  # and the platform delivers it again
            else:
                return

    async def operator(self, runtime: Runtime) -> None:
        for _ in range(40):
            await trio.sleep(self.rng.choice([0.0, 0.01, 0.03]))
            try:
                await self._act(runtime, self.rng.choice(("tg", "dc")), self.rng.choice("123"))
            except ActRefused:
                continue
            self.done += 1

    async def _act(self, runtime: Runtime, name: str, user_id: str) -> None:
        match self.rng.randrange(6):
            case 0:
                user = self.rng.choice(["alice", "tg:1", "dc:1", "dc:2"])
                await runtime.link(name, user_id, user)
            case 1:
                await runtime.unlink(name, user_id)
            case 2:
                await runtime.pair(name, user_id, "family")
            case 3:
                await runtime.unpair(name, user_id)
            case 4:
                await runtime.move_binding(name, f"{user_id}/{self.rng.randrange(2)}")
            case _:
                await runtime.undo()

    async def breaker(self, runtime: Runtime) -> None:
        """Break one session after the other."""
        for _ in range(10):
            await trio.sleep(self.rng.choice([0.02, 0.05, 0.2]))
            for info in sessions(runtime.store)[:1]:
                with suppress(ActorDeadError):
                    (await runtime.session_ref(info.id)).tell("what no session understands")


async def test_who_follows_a_broken_session_begins_after_all_that_it_has_stored(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg")

    async def write(text: str) -> None:
        with suppress(Overloaded):
            await tg.receive(text)

    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        await tg.receive("first")
        await wait_all_tasks_blocked()
        session = await stage.runtime.session_ref("s1")
        stage.store.hold()
        nursery.start_soon(write, "on its way to the store")
        await wait_all_tasks_blocked()
        session.tell("what no session understands")
        await wait_all_tasks_blocked()
        for text in ("second", "and another"):
            nursery.start_soon(write, text)
            await wait_all_tasks_blocked()
        stage.store.release()
        await trio.sleep(5)
        assert assert_answered_once(stage.store) == {
            "first",
            "on its way to the store",
            "second",
            "and another",
        }
        assert_sound(stage.store)
    assert autojump_clock.current_time() < 60


@pytest.mark.parametrize("seed", range(12))
async def test_humans_write_while_acts_and_ends_of_sessions_go_on_around_them(
    seed: int, autojump_clock: MockClock
) -> None:
    print(f"seed {seed}")
    traffic = Traffic(Random(seed), two_channels())
    async with on_stage(echo, *traffic.channels, session={"idle_after_s": 0.01}) as stage:
        async with trio.open_nursery() as nursery:
            for channel, user_id, which in itertools.product(traffic.channels, "123", range(2)):
                nursery.start_soon(traffic.human, channel, user_id, which)
            for _ in range(3):
                nursery.start_soon(traffic.operator, stage.runtime)
            nursery.start_soon(traffic.breaker, stage.runtime)
        await trio.sleep(10)
        assert traffic.done > 10
        assert_sound(stage.store)
        assert assert_answered_once(stage.store) == traffic.heard
        for channel in traffic.channels:
            for sent in channel.sent:
                assert sent.text.startswith(f"{channel.name} {sent.conversation} ")
            texts = [sent.text for sent in channel.sent]
            assert len(texts) == len(set(texts))
    assert autojump_clock.current_time() < 300


# -- askers that go away ---------------------------------------------------------------------------


async def test_an_asker_cancelled_at_any_step_leaves_the_act_whole_or_not_there() -> None:
    tg, dc = two_channels()
    caught: list[bool] = []
    async with on_stage(echo, tg, dc) as stage:
        for number in range(8):
            who = f"{number}"
            await tg.receive(f"tg {who}", conversation=who, user_id=who)
            await dc.receive(f"dc {who}", conversation=who, user_id=who)
            await wait_all_tasks_blocked()

            async def ask(who: str = who) -> Change:
                return await stage.runtime.link("tg", who, f"dc:{who}")

            caught.append(await cancelled_after(number, ask))
            await wait_all_tasks_blocked()
            assert_sound(stage.store)
            linked = await stage.runtime.links(f"dc:{who}")
            tg_place = await stage.runtime.binding("tg", who)
            dc_place = await stage.runtime.binding("dc", who)
            assert tg_place is not None
            assert dc_place is not None
            assert bool(linked) == (tg_place.session_id == dc_place.session_id)
            if linked:
                with pytest.raises(ActRefused, match="already"):
                    await ask()
            else:
                await ask()
            again = await tg.receive(f"again {who}", conversation=who, user_id=who)
            assert again.session_id == dc_place.session_id
        assert len(changes(stage.store)) == 8
    assert any(caught)
    assert not all(caught)


# -- the store fails -------------------------------------------------------------------------------


async def test_when_the_commit_of_an_act_fails_nothing_of_it_is_there_and_everybody_is_told() -> (
    None
):
    disk = MemoryDisk()
    tg, dc = two_channels()
    askers: list[Asker] = []
    refused: list[TurnRefused] = []

    async def write() -> None:
        try:
            await tg.receive("meanwhile", conversation="t1", user_id="1")
        except TurnRefused as error:
            refused.append(error)

    async def until_the_disk_refuses(nursery: trio.Nursery) -> None:
        async with on_stage(echo, tg, dc, disk=disk) as stage:
            await greet(tg, dc)
            askers.append(Asker(lambda: link(stage)))
            askers.append(Asker(lambda: stage.runtime.pair("dc", "2", "family")))
            stage.store.hold()
            for asker in askers:
                nursery.start_soon(asker)
                await wait_all_tasks_blocked()
            nursery.start_soon(write)  # it is kept while its session holds still
            await wait_all_tasks_blocked()
            stage.store.fail_next()
            stage.store.release()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        with pytest.raises(RuntimeFailed, match="the disk refused"):
            await until_the_disk_refuses(nursery)
    assert [type(asker.error) for asker in askers] == [ShuttingDown, ShuttingDown]
    assert [error.retryable for error in refused] == [True]
    assert_sound(MemoryReads(disk))
    assert changes(MemoryReads(disk)) == []
    tg, dc = two_channels()
    async with on_stage(echo, tg, dc, disk=disk) as stage:
        assert not await stage.runtime.links()
        assert (await link(stage)).number == 1
        await tg.receive("meanwhile", conversation="t1", user_id="1")
        await wait_all_tasks_blocked()
        assert assert_answered_once(stage.store) == {"from tg", "from dc", "meanwhile"}
        assert_sound(stage.store)


async def test_when_a_turn_before_an_act_cannot_be_stored_the_act_is_not_either() -> None:
    disk = MemoryDisk()
    tg, dc = two_channels()
    asker: Asker | None = None

    async def write() -> None:
        with pytest.raises(ShuttingDown):
            await tg.receive("lost", conversation="t1", user_id="1")

    async def until_the_disk_refuses(nursery: trio.Nursery) -> None:
        nonlocal asker
        async with on_stage(echo, tg, dc, disk=disk) as stage:
            await greet(tg, dc)
            stage.store.hold()
            nursery.start_soon(write)
            await wait_all_tasks_blocked()
            asker = Asker(lambda: link(stage))
            nursery.start_soon(asker)
            await wait_all_tasks_blocked()
            stage.store.fail_next()
            stage.store.release()
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        with pytest.raises(RuntimeFailed):
            await until_the_disk_refuses(nursery)
    assert asker is not None
    assert isinstance(asker.error, ShuttingDown)
    assert_sound(MemoryReads(disk))
    assert changes(MemoryReads(disk)) == []


# -- the runtime stops -----------------------------------------------------------------------------


@pytest.mark.parametrize("commits", range(5))
async def test_a_stop_during_an_act_loses_no_turn_and_no_reply(
    commits: int, caplog: pytest.LogCaptureFixture
) -> None:
    disk = MemoryDisk()
    tg, dc = two_channels()
    answer = trio.Event()

    async def agent(turn: Turn) -> str:
        if turn.text == "slow":
            await answer.wait()
        return turn.text

    async with trio.open_nursery() as nursery, on_stage(agent, tg, dc, disk=disk) as stage:
        await greet(tg, dc)
        await tg.receive("slow", conversation="t1", user_id="1")
        await tg.receive("waits", conversation="t1", user_id="1")
        await wait_all_tasks_blocked()
        stage.store.hold()
        askers = [
            Asker(lambda: link(stage)),
            Asker(lambda: stage.runtime.unlink("tg", "1")),
            Asker(lambda: stage.runtime.link("tg", "1", "alice")),
        ]
        for asker in askers:
            nursery.start_soon(asker)
            await wait_all_tasks_blocked()
        for _ in range(commits):
            commit_one_group(stage.store)
            await wait_all_tasks_blocked()
        answer.set()
        await wait_all_tasks_blocked()
        trio.lowlevel.current_trio_token().run_sync_soon(stage.store.release)
    assert all(asker.told.is_set() for asker in askers)
    reads = MemoryReads(disk)
    assert_sound(reads)
    assert len(changes(reads)) == sum(asker.change is not None for asker in askers)
    replies = [r.text for r in log(reads) if isinstance(r, AssistantRecord)]
    assert replies[:2] == ["from tg", "slow"]
    assert replies[2:] in ([], ["waits"])  # it may begin before the missions have come to rest
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    async with on_stage(echo, *two_channels(), disk=disk) as stage:
        await wait_all_tasks_blocked()
        assert assert_answered_once(stage.store) == {"from tg", "from dc", "slow", "waits"}
        assert_sound(stage.store)


@pytest.mark.parametrize("steps", range(4, 40, 2))
async def test_a_runtime_cancelled_while_it_acts_has_done_what_it_said(steps: int) -> None:
    acknowledged: list[str] = []
    told: list[Change] = []
    disk = MemoryDisk()

    async def story() -> None:
        tg, dc = two_channels()
        async with on_stage(echo, tg, dc, disk=disk) as stage:
            for number in range(4):
                who = f"{number}"
                for channel in (tg, dc):
                    text = f"{channel.name} {who}"
                    await channel.receive(text, conversation=who, user_id=who)
                    acknowledged.append(text)
                told.append(await stage.runtime.link("tg", who, f"dc:{who}"))

    await cancelled_after(steps, story)
    assert_sound(MemoryReads(disk))
    assert [change.text for change in told] == changes(MemoryReads(disk))[: len(told)]
    async with on_stage(echo, *two_channels(), disk=disk) as stage:
        await wait_all_tasks_blocked()
        assert set(acknowledged) <= assert_answered_once(stage.store)
        assert_sound(stage.store)
