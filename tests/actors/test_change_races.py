"""Messages that are changed while they are on their way, or can no longer be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Turn
from turnkeeper.actors.core.turn_records import UserRecord
from turnkeeper.actors.core.view_records import ChangedRecord
from turnkeeper.actors.errors import SessionDamaged
from turnkeeper.actors.journal import load_records
from turnkeeper.actors.windows import window_at
from turnkeeper.storage.base import Reads
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from ..scenarios.people import assert_sound
from .stage import echo, log, on_stage
from .test_damage import rot_record
from .test_resolvers import Directory, served_by


class Calls:
    """What was called beside the test, and what came of it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.heard: list[object] = []
        self._nursery = nursery

    async def begin(self, call: Callable[[], Awaitable[object]]) -> None:
        """Call, and return once everything waits."""
        self._nursery.start_soon(self._call, call)
        await wait_all_tasks_blocked()

    async def _call(self, call: Callable[[], Awaitable[object]]) -> None:
        self.heard.append(await call())


def is_said(record: object, message_id: str) -> bool:
    return isinstance(record, UserRecord) and record.message_id == message_id


def edits(store: Reads) -> list[str | None]:
    """What the messages of the first session were changed to."""
    return [record.text for record in log(store) if isinstance(record, ChangedRecord)]


async def test_the_first_message_of_a_session_can_be_edited_before_the_session_is_durable() -> None:
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        calls = Calls(nursery)
        await wait_all_tasks_blocked()
        stage.store.hold()
        await calls.begin(lambda: tg.receive("helo", message_id="m1"))
        await calls.begin(lambda: tg.edits("m1", "hello"))
        assert calls.heard == []
        stage.store.release()
        await wait_all_tasks_blocked()
        assert calls.heard[1] is True
        assert edits(stage.store) == ["hello"]
        assert_sound(stage.store)


class Asked(Directory):
    """Says who somebody is once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_answer = trio.Event()

    async def resolve(self, platform: str, user_id: str) -> str:
        await self.may_answer.wait()
        return await super().resolve(platform, user_id)


async def test_a_message_can_be_edited_while_the_resolver_is_asked_about_its_author() -> None:
    tg, directory = LoopbackChannel("tg", platform="tg"), Asked()
    async with served_by(directory, echo, tg) as stage, trio.open_nursery() as nursery:
        calls = Calls(nursery)
        await calls.begin(lambda: tg.receive("helo", message_id="m1"))
        await calls.begin(lambda: tg.edits("m1", "hello"))
        assert calls.heard == []
        directory.may_answer.set()
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert calls.heard[1] is True
        assert edits(stage.store) == ["hello"]


async def test_a_message_can_be_edited_while_an_act_keeps_it_from_being_routed() -> None:
    tg = LoopbackChannel("tg", platform="tg")
    async with on_stage(echo, tg) as stage, trio.open_nursery() as nursery:
        calls = Calls(nursery)
        await tg.receive("hi", user_id="u1")
        await wait_all_tasks_blocked()
        stage.store.hold()
        await calls.begin(lambda: stage.runtime.link("tg", "u1", "alice"))
        await calls.begin(
            lambda: tg.receive("helo", message_id="m1", conversation="c2", user_id="u2")
        )
        await calls.begin(lambda: tg.edits("m1", "hello", conversation="c2", user_id="u2"))
        assert calls.heard == []
        stage.store.release()
        await wait_all_tasks_blocked()
        assert calls.heard[2] is True
        assert [r.text for r in log(stage.store, 2) if isinstance(r, ChangedRecord)] == ["hello"]
        assert_sound(stage.store)


@pytest.mark.parametrize("ended_by", ["an answer", "a failure"])
@pytest.mark.parametrize("change", ["edited", "deleted", "edited and deleted"])
async def test_a_message_that_is_changed_as_its_turn_begins_is_one_thing_in_text_and_window(
    change: str, ended_by: str, mock_clock: MockClock
) -> None:
    """The commit that lets the turn begin and the change may be told of in one breath."""
    given: list[tuple[str, str]] = []
    may_end = trio.Event()

    async def agent(turn: Turn) -> str:
        given.append((turn.text, turn.messages[-1].text))
        if len(given) == 1:
            await may_end.wait()
            if ended_by == "a failure":
                raise RuntimeError("boom")
        return "done"

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage, trio.open_nursery() as nursery:
        calls = Calls(nursery)
        await tg.receive("one", message_id="m1")
        await tg.receive("two", message_id="m2")
        of = "m2" if ended_by == "an answer" else "m1"
        await tg.edits(of, "three")  # known before the turn that is looked at begins
        await wait_all_tasks_blocked()
        stage.store.hold()
        may_end.set()
        await wait_all_tasks_blocked()
        if ended_by == "a failure":  # which is stored before the next attempt begins
            stage.store.release()
            await wait_all_tasks_blocked()
            stage.store.hold()
            mock_clock.jump(1.0)
            await wait_all_tasks_blocked()
        if change != "deleted":
            await calls.begin(lambda: tg.edits(of, "four"))
        if change != "edited":
            await calls.begin(lambda: tg.deletes(of))
        assert len(given) == 1
        stage.store.release()
        await wait_all_tasks_blocked()
        assert set(calls.heard) == {True}
        begun, shown = given[1]
        assert begun == shown == ("three" if of == "m2" else "one")
        assert_sound(stage.store)
        seq = next(s for s, r in load_records(stage.store, 1) if is_said(r, of))
        assert window_at(stage.store, 1, seq, None)[-1].text == shown


async def test_a_message_that_cannot_be_read_is_not_changed_and_its_channel_is_told() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        await tg.receive("helo", message_id="m1")
        await tg.next_sent()
    rot_record(disk, 1, 4)
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        with pytest.raises(SessionDamaged, match="1/4"):
            await tg.edits("m1", "hello")
        last = stage.store.last_seq(1)
        await tg.receive("and on", message_id="m2")
        assert (await tg.next_sent()).text == "and on"
        assert stage.store.last_seq(1) > last


async def test_what_cannot_be_read_of_a_later_turn_does_not_keep_an_edited_one_from_running() -> (
    None
):
    disk, may_end = MemoryDisk(), trio.Event()

    async def first_waits(turn: Turn) -> str:
        if turn.text == "first":
            await may_end.wait()
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(first_waits, tg, disk=disk) as stage:
        for text in ("first", "helo", "rotten"):
            await tg.receive(text, message_id=text)
        assert await tg.edits("helo", "hello")
        assert await tg.edits("rotten", "spoilt")
        (rotten,) = [
            seq
            for seq, record in load_records(stage.store, 1)
            if isinstance(record, UserRecord) and record.text == "rotten"
        ]
        rot_record(disk, 1, rotten)
        may_end.set()
        assert [(await tg.next_sent()).text for _ in range(2)] == ["first", "hello"]
