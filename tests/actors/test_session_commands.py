"""`/new` and `/compact`, as a human sends them while everything else goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import (
    Accepted,
    AccessDenied,
    Attachment,
    ChannelPowers,
    MessageIdReused,
    Turn,
    views,
)
from turnkeeper.actors.core.session_commands import ANSWERS
from turnkeeper.actors.core.view_records import ClearRecord, CommandRecord
from turnkeeper.actors.messages import TurnEnded
from turnkeeper.explain import explain
from turnkeeper.storage.base import Table
from turnkeeper.storage.memory import MemoryDisk, MemoryStore
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from .stage import START, crashed, echo, kinds, log, on_stage

NEW, COMPACT = ANSWERS["new"], ANSWERS["compact"]
COMMAND = ["command", "clear", "assistant"]


class Agent:
    """Says when it begins, and waits to be let go; keeps what it saw."""

    def __init__(self) -> None:
        self.saw: list[list[str]] = []
        self.began = trio.Event()
        self.may_end = trio.Event()

    async def __call__(self, turn: Turn) -> str:
        self.saw.append([message.text for message in turn.messages])
        self.began.set()
        await self.may_end.wait()
        return f"re: {turn.text}"


def sent(channel: LoopbackChannel) -> list[str]:
    return [message.text for message in channel.sent]


def problems(store: MemoryStore) -> list[Any]:
    now_us = int(START.timestamp() * 1e6)
    with store.snapshot() as reads:
        return list(Verification(reads, now_us).problems())


async def test_new_lets_the_next_turn_see_nothing_of_what_was_said() -> None:
    agent = Agent()
    agent.may_end.set()
    async with on_stage(agent, tg := LoopbackChannel("tg")) as stage:
        await tg.receive("one")
        await tg.next_sent()
        accepted = await tg.receive("/new", message_id="m-new")
        answer = await tg.next_sent()
        await tg.receive("two")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert (answer.text, answer.reply_to, answer.conversation) == (NEW, "m-new", "c1")
        assert agent.saw == [["one"], ["two"]]
        assert (accepted.session_id, accepted.duplicate) == ("s1", False)
        assert kinds(stage.store)[3:8] == [*COMMAND, "delivery", "user"]
        marker = log(stage.store)[7]
        assert isinstance(marker, ClearRecord)
        assert (marker.by, marker.cleared, marker.summary) == ("user", 0, 0)
        assert problems(stage.store) == []


async def test_compact_is_answered_and_the_context_stays_what_it_was() -> None:
    agent = Agent()
    agent.may_end.set()
    async with on_stage(agent, tg := LoopbackChannel("tg")) as stage:
        await tg.receive("one")
        await tg.next_sent()
        await tg.receive("/compact")
        assert (await tg.next_sent()).text == COMPACT
        await tg.receive("two")
        await tg.next_sent()
        assert agent.saw == [["one"], ["one", "re: one", "two"]]
        await wait_all_tasks_blocked()
        assert problems(stage.store) == []


async def test_it_does_not_wait_for_the_agent_whose_turn_keeps_what_it_saw() -> None:
    agent = Agent()
    async with on_stage(agent, tg := LoopbackChannel("tg")) as stage:
        await tg.receive("one")
        await agent.began.wait()
        await tg.receive("two")  # it waits behind the first one
        await tg.receive("/new")
        assert (await tg.next_sent()).text == NEW
        agent.may_end.set()
        assert [(await tg.next_sent()).text for _ in range(2)] == ["re: one", "re: two"]
        await tg.receive("three")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert agent.saw == [["one"], ["two"], ["two", "re: two", "three"]]
        assert problems(stage.store) == []


async def test_a_note_that_no_turn_has_seen_yet_stays_visible() -> None:
    agent = Agent()
    agent.may_end.set()
    async with on_stage(agent, tg := LoopbackChannel("tg")) as stage:
        await tg.receive("one")
        await tg.next_sent()
        await stage.runtime.mirror_to_session("s1", "3 new mails", source="cron")
        await tg.receive("/new")
        await tg.next_sent()
        await tg.receive("which ones?")
        await tg.next_sent()
        await tg.receive("/new")
        await tg.next_sent()
        await tg.receive("and now?")
        await tg.next_sent()
        first, second, third = agent.saw
        assert first == ["one"]
        assert "3 new mails" in second[0]
        assert second[1:] == ["which ones?"]
        assert third == ["and now?"]
        await wait_all_tasks_blocked()
        assert problems(stage.store) == []


@pytest.mark.parametrize(
    ("text", "group", "attached"),
    [
        ("/new chapter", False, False),
        ("new", False, False),
        ("/help", False, False),
        ("/new", True, False),
        ("/compact", True, False),
        ("/new", False, True),
    ],
)
async def test_what_is_no_command_there_goes_to_the_agent(
    text: str, group: bool, attached: bool
) -> None:
    files = (Attachment(kind="image", reference="f1"),) if attached else ()
    async with on_stage(echo, tg := LoopbackChannel("tg")) as stage:
        await tg.receive(text, direct=not group, attachments=files)
        assert (await tg.next_sent()).text == text
        assert kinds(stage.store)[0] == "user"


async def test_without_commands_all_of_it_goes_to_the_agent_from_the_reload_on() -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg"), session={"commands": False}) as stage:
        await tg.receive("/new", message_id="m1")
        assert (await tg.next_sent()).text == "/new"
        reloaded = await stage.runtime.reload({})
        assert reloaded.applied == ("[session] commands",)
        again = await tg.receive("/new", message_id="m1")
        assert (again.duplicate, again.turn_id) == (True, "s1/4")
        await tg.receive("/new", message_id="m2")
        assert (await tg.next_sent()).text == NEW
        await stage.runtime.reload({"session": {"commands": False}})
        again = await tg.receive("/new", message_id="m2")
        assert (again.duplicate, again.turn_id) == (True, "s1/7")
        await wait_all_tasks_blocked()
        assert problems(stage.store) == []


# --- once, and no more than once ----------------------------------------------------------------


async def test_heard_again_it_changes_nothing() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        await tg.receive("one")
        await tg.next_sent()
        first = await tg.receive("/Reset@some_bot", message_id="m1")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        before = log(stage.store)
        for text in ("/Reset@some_bot", "/new"):
            again = await tg.receive(text, message_id="m1")
            assert again == replace(first, duplicate=True)
        with pytest.raises(MessageIdReused, match="'m1' of 'c1' on 'tg' was accepted as s1/7"):
            await tg.receive("hello", message_id="m1")
        assert log(stage.store) == before
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk) as stage:
        assert await tg.receive("/reset@some_bot", message_id="m1") == replace(
            first, duplicate=True
        )
        assert log(stage.store) == before
        assert not tg.sent
        assert problems(stage.store) == []


async def test_heard_several_times_while_it_becomes_durable_it_is_carried_out_once() -> None:
    tg = LoopbackChannel("tg")
    accepted: list[Accepted] = []

    async def write() -> None:
        accepted.append(await tg.receive("/new", message_id="m1"))

    async with on_stage(echo, tg) as stage:
        stage.store.hold()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(write)
            await wait_all_tasks_blocked()
            assert (accepted, sent(tg)) == ([], [])  # nothing is said that is not stored
            stage.store.release()
        assert sorted(answer.duplicate for answer in accepted) == [False, True, True]
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert (kinds(stage.store).count("clear"), sent(tg)) == (1, [NEW])


async def test_after_a_power_cut_it_is_either_there_whole_or_not_at_all() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, tg := LoopbackChannel("tg"), disk=disk):
        await tg.receive("one")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        before = crashed(disk)
        tg.hold()
        await tg.receive("/new", message_id="m1")
        after = crashed(disk)
        tg.release()
    for left, is_there in ((before, False), (after, True)):
        async with on_stage(echo, tg := LoopbackChannel("tg"), disk=left) as stage:
            await wait_all_tasks_blocked()
            assert kinds(stage.store)[3:6] == (COMMAND if is_there else [])
            again = await tg.receive("/new", message_id="m1")
            assert (again.turn_id, again.duplicate) == ("s1/7", is_there)
            await wait_all_tasks_blocked()
            assert kinds(stage.store)[3:6] == COMMAND
            assert kinds(stage.store).count("command") == 1
            assert problems(stage.store) == []


# --- who, where ---------------------------------------------------------------------------------


async def test_as_the_first_message_of_all_it_opens_the_session() -> None:
    agent = Agent()
    agent.may_end.set()
    async with on_stage(agent, tg := LoopbackChannel("tg")) as stage:
        accepted = await tg.receive("/new")
        assert (await tg.next_sent()).text == NEW
        await tg.receive("one")
        await tg.next_sent()
        assert agent.saw == [["one"]]
        assert accepted.turn_id == "s1/4"
        assert [record.kind for record in log(stage.store)][:6] == [
            "opened",
            "keyed",
            "bound",
            *COMMAND,
        ]
        await wait_all_tasks_blocked()
        assert problems(stage.store) == []


async def test_whoever_may_not_talk_may_not_clear() -> None:
    rules = {"tg": {"allowed_users": ["u1"]}}
    async with on_stage(echo, tg := LoopbackChannel("tg"), channels=rules) as stage:
        await tg.receive("one")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        before = log(stage.store)
        with pytest.raises(AccessDenied):
            await tg.receive("/new", user_id="u2")
        assert log(stage.store) == before


async def test_each_human_clears_their_own_session_only() -> None:
    agent = Agent()
    agent.may_end.set()
    async with on_stage(agent, tg := LoopbackChannel("tg")) as stage:
        for number in (1, 2):
            await tg.receive("one", conversation=f"c{number}", user_id=f"u{number}")
            await tg.next_sent()
        await tg.receive("/new", conversation="c2", user_id="u2")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        assert "clear" not in kinds(stage.store, 1)
        assert "clear" in kinds(stage.store, 2)


async def test_it_is_activity_of_a_human_and_no_turn() -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg")) as stage:
        await tg.receive("/compact")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        command = log(stage.store)[3]
        assert isinstance(command, CommandRecord)
        (head,) = [head for _, head in views.heads(stage.store)]
        assert (head.last_active_us, head.phase) == (command.at_us, "created")
        assert (head.context_bound, head.active_channel) == (0, None)
        assert not stage.store.scan(Table.LAST, limit=1)


class Listening(LoopbackChannel):
    """Wants to know when its turns have ended."""

    powers = ChannelPowers(hears_turn_ends=True)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.ended: list[TurnEnded] = []

    def turn_ended(self, ended: TurnEnded) -> None:
        self.ended.append(ended)


async def test_a_channel_that_waits_for_its_turns_is_told_that_it_is_over() -> None:
    async with on_stage(echo, tg := Listening("tg")):
        accepted = await tg.receive("/new")
        answer = await tg.next_sent()
        await wait_all_tasks_blocked()
        (ended,) = tg.ended
        assert (ended.turn_id, ended.status) == (accepted.turn_id, "answered")
        assert ended.delivery_id == answer.delivery_id


async def test_the_feed_tells_of_the_answer_and_of_no_turn() -> None:
    seen: list[tuple[str, str]] = []

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        async with stage.runtime.feed() as events:
            task_status.started()
            async for event in events:
                seen.append((event.kind, event.text))  # noqa: PERF401  (it is ended from outside)

    async with on_stage(echo, tg := LoopbackChannel("tg")) as stage, trio.open_nursery() as nursery:
        await nursery.start(watch)
        await tg.receive("/new")
        await tg.next_sent()
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert seen == [("delivery", NEW)]


async def test_explain_tells_what_it_was_by_its_id_and_by_the_platforms() -> None:
    async with on_stage(echo, tg := LoopbackChannel("tg")) as stage:
        accepted = await tg.receive("/new", message_id="m1")
        await tg.next_sent()
        for named in (accepted.turn_id, "m1", "tg/c1/m1"):
            story = explain(stage.store, named)
            assert story is not None
            assert story.kind == "command"
            who, what, cleared, answered = story.lines
            assert "'u1' wrote message 'm1' in tg/c1" in who
            assert "the command /new: no agent heard it" in what
            assert cleared.endswith("the context begins anew after record s1/5")
            assert answered.endswith("the reply is delivery s1/6")
        story = explain(stage.store, "s1/6")
        assert story is not None
        assert any("asked for by the runtime itself" in line for line in story.lines)
