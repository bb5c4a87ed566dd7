"""Explanations: the rule that routed a message, as it was when the message came."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

import pytest
import trio

from turnkeeper import AccessDenied, Runtime
from turnkeeper.actors.core.access import AccessRules
from turnkeeper.actors.core.routing import InstanceRules, ScopeRules
from turnkeeper.actors.messages import Instance
from turnkeeper.actors.unknown import UnknownSession
from turnkeeper.explain import explain
from turnkeeper.findings import readings
from turnkeeper.overview import channels
from turnkeeper.storage.base import Table
from turnkeeper.storage.keys import table_key
from turnkeeper.storage.memory import MemoryDisk, MemoryReads
from turnkeeper.testing import LoopbackChannel
from turnkeeper.views import Story
from turnkeeper.words import show_key

from ..actors.stage import START, echo, on_stage
from .lives import lived


async def say(channel: LoopbackChannel, user_id: str, message_id: str, **more: Any) -> str:
    """A human writes and is answered; returns the id of the turn."""
    given: dict[str, Any] = {"conversation": f"dm-{user_id}", **more}
    accepted = await channel.receive(message_id, user_id=user_id, message_id=message_id, **given)
    await channel.next_sent()
    await trio.sleep(0.01)
    return accepted.turn_id


async def told(runtime: Runtime, record_id: str) -> str:
    story = await runtime.explain(record_id)
    assert story is not None
    return "\n".join(story.lines)


def two() -> tuple[LoopbackChannel, LoopbackChannel]:
    return LoopbackChannel("tg", platform="telegram"), LoopbackChannel("dc", platform="discord")


# -- turns -----------------------------------------------------------------------------------------


async def test_a_turn_names_the_binding_of_its_time_and_not_the_one_of_now() -> None:
    tg, dc = two()
    async with on_stage(echo, tg, dc) as stage:
        runtime = stage.runtime
        await say(tg, "1", "m1")
        before = await say(dc, "2", "m2")
        await runtime.link("telegram", "1", "alice", by="operator")
        await trio.sleep(0.01)
        await runtime.link("discord", "2", "alice", by="operator")
        await trio.sleep(0.01)
        after = await say(dc, "2", "m3")
        await runtime.undo()
        early, late = await told(runtime, before), await told(runtime, after)
    first, later = (
        "first message, dm_scope per-user",
        "discord:2 is alice, change 2 by the operator",
    )
    assert f"that conversation belonged to s2 (binding 1, made by: {first})" in early
    assert "linked to" not in early
    assert f"belonged to s1, before that to s2 (binding 2, made by: {later})" in late
    assert "discord:2 was linked to alice then" in late
    moved = "that conversation has moved to s2, before that to s1 (binding 3, made by: undo of"
    assert moved in early
    assert moved in late


async def test_a_turn_of_which_nothing_has_moved_says_to_whom_it_belongs() -> None:
    tg, _ = two()
    async with on_stage(echo, tg) as stage:
        text = await told(stage.runtime, await say(tg, "1", "m1"))
    assert "that conversation belongs to s1 (binding 1, made by: first message, dm_scope" in text
    assert "moved" not in text
    assert "pinned" not in text
    assert text.splitlines()[-1].endswith("answered; the reply is delivery s1/5")


async def test_a_turn_names_the_pair_and_the_link_of_its_time() -> None:
    tg, dc = two()
    async with on_stage(echo, tg, dc, pairing={"1@telegram": "user-one"}) as stage:
        runtime = stage.runtime
        await runtime.link("discord", "2", "telegram:1")
        await trio.sleep(0.01)
        paired, linked = await say(tg, "1", "m1"), await say(dc, "2", "m2")
        await runtime.unlink("discord", "2")
        one, two_ = await told(runtime, paired), await told(runtime, linked)
    assert "telegram:1 was paired with user-one then" in one
    assert "belongs to user-one (binding 1, made by: pair with user-one)" in one
    assert "discord:2 was linked to telegram:1 then" in two_
    assert "discord:2 was paired with user-one then" in two_


async def test_a_turn_in_a_group_names_its_speaker() -> None:
    tg, _ = two()
    async with on_stage(echo, tg) as stage:
        await stage.runtime.link("telegram", "1", "alice")
        turn = await say(tg, "1", "m1", conversation="g", direct=False, thread="t")
        text = await told(stage.runtime, turn)
    assert "telegram user '1' wrote message 'm1' in tg/g/t" in text
    assert "telegram:1 was linked to alice then" in text
    assert "made by: first message, its own session" in text


# -- messages by the platform's id -----------------------------------------------------------------


async def test_a_message_is_found_by_its_place_and_id_and_by_the_id_alone() -> None:
    tg, dc = two()
    async with on_stage(echo, tg, dc) as stage:
        turn = await say(tg, "1", "odd/id", conversation="odd/place", thread="t")
        for name in ("tg/odd/place/odd/id", "odd/id"):
            story = await stage.runtime.explain(name)
            assert story is not None
            assert (story.kind, story.id) == ("turn", turn)
        await say(dc, "2", "odd/id")
        story = await stage.runtime.explain("odd/id")
        assert story is not None
        assert story.kind == "messages"
        assert [line.split("  ")[1] for line in story.lines] == [
            "in tg/odd/place/t it is turn s1/4",
            "in dc/dm-2 it is turn s2/4",
        ]
        story = await stage.runtime.explain("dc/dm-2/odd/id")
        assert story is not None
        assert story.id == "s2/4"
        for nonsense in ("tg/dm-2/odd/id", "tg/odd/place/id", "dc/dm-2/", "/", "//", "///"):
            assert await stage.runtime.explain(nonsense) is None


def test_an_id_with_slashes_is_read_in_every_way() -> None:
    assert readings("a/b/c/d") == [("a", "b/c", "d"), ("a", "b", "c/d")]
    assert readings("a/b") == []


async def test_an_old_message_is_found_in_the_logs() -> None:
    tg, _ = two()
    disk = MemoryDisk()
    async with on_stage(echo, tg, disk=disk):
        await say(tg, "1", "m1")
    async with on_stage(echo, tg, disk=disk, start=START + timedelta(weeks=4)) as stage:
        await say(tg, "2", "m2")
        while len(stage.store.scan(Table.SEEN, limit=9)) > 1:  # noqa: ASYNC110
            await trio.sleep(600)
        for name in ("tg/dm-1/m1", "m1"):
            story = await stage.runtime.explain(name)
            assert story is not None
            assert story.id == "s1/4"


async def test_a_command_is_said_to_be_one() -> None:
    tg, _ = two()
    async with on_stage(echo, tg) as stage:
        await say(tg, "1", "m1")
        accepted = await tg.receive("/link", user_id="1", conversation="dm-1", message_id="m2")
        for name in ("tg/dm-1/m2", "m2", accepted.turn_id):
            story = await stage.runtime.explain(name)
            assert story is not None
            assert (story.kind, len(story.lines)) == ("command", 1)
        assert await stage.runtime.explain("command/" + "00" * 16) is None
        assert await stage.runtime.explain("command/none") is None


async def test_a_message_that_was_not_let_in_is_explained_while_it_is_remembered() -> None:
    tg, _ = two()
    async with on_stage(echo, tg, channels={"tg": {"allowed_users": ["1"]}}) as stage:
        await say(tg, "1", "m1")
        for thread in (None, "t"):
            with pytest.raises(AccessDenied):
                await tg.receive("hi", user_id="9", message_id=f"no-{thread}", thread=thread)
        for name, place in (("tg/c1/no-None", "tg/c1"), ("no-t", "tg/c1/t")):
            story = await stage.runtime.explain(name)
            assert story is not None
            assert story.kind == "refusal"
            message_id = name.rpartition("/")[2]
            wrote = f"telegram user '9' wrote message {message_id!r} in {place}"
            assert story.lines[0].endswith(wrote)
            assert "it was not let in, and nothing of it was stored: " in story.lines[1]
        assert await stage.runtime.explain("tg/c2/no-t") is None


async def test_a_delivery_that_is_none_is_refused_by_its_id() -> None:
    tg, _ = two()
    async with on_stage(echo, tg) as stage:
        await say(tg, "1", "m1")
        for nonsense in ("", "nonsense", "s1/x", "s1/٣"):
            with pytest.raises(UnknownSession, match="names no delivery"):
                await stage.runtime.retry_delivery(nonsense)
        assert (await stage.runtime.retry_delivery("s1/99")).reason == "no_such_delivery"


# -- sessions and changes --------------------------------------------------------------------------


@cache
def _life() -> MemoryReads:
    return MemoryReads(lived())


def story(record_id: str) -> Story:
    found = explain(_life(), record_id)
    assert found is not None, record_id
    return found


def lines(record_id: str) -> str:
    return "\n".join(line.split("Z  ")[-1] for line in story(record_id).lines)


def test_a_session_tells_what_it_owned_and_where_it_goes_on() -> None:
    linked = "discord:2 is alice, change 10 by the operator"
    assert lines("s2").splitlines() == [
        "session s2 opened for agent 'main' by: first message, dm_scope per-user",
        "serves the user discord:2 of agent 'main'",
        "owns dc/dm-2 (binding 1, made by: first message, dm_scope per-user)",
        "owns dc/dm-2b (binding 1, made by: first message, dm_scope per-user)",
        f"dc/dm-2b belongs to s1 from here on (binding 2, made by: {linked})",
        f"dc/dm-2 belongs to s1 from here on (binding 2, made by: {linked})",
        "it owns nothing any more, and goes on in s1",
    ]
    assert "what was said in s2 is part of this context (discord:2 is alice), change 10" in lines(
        "s1"
    )


def test_every_session_and_every_entry_of_the_ledger_has_a_story() -> None:
    reads = _life()
    for number in range(1, reads.last_seq(2**63) + 1):
        assert story(f"change/{number}").kind == "change"
    assert explain(reads, f"change/{reads.last_seq(2**63) + 1}") is None
    assert explain(reads, "change/0") is None
    for name in ("s1", "s2", "user-forty", "user-fifty", "user-seven"):
        assert story(name).kind == "session"


def test_a_change_tells_all_that_it_did() -> None:
    assert lines("change/10").splitlines() == [
        "link by the operator: discord:2 is alice",
        "discord:2 was itself, and is alice",
        "dc/dm-2b went from s2 to s1 (binding 2)",
        "dc/dm-2 went from s2 to s1 (binding 2)",
        "the history of s2 joined the context of s1",
        "the active channel of s2 is none, and was dc/dm-2b",
        "the active channel of s1 is dc/dm-2b, and was tg/dm-1",
    ]
    assert lines("change/9").splitlines()[-1] == (
        "s1 serves the user alice of agent 'main', and nobody did before"
    )
    assert lines("change/16").splitlines()[-1] == "taken back by change 17"
    taken_back = lines("change/17")
    assert "the history of s15 left the context of s14" in taken_back
    assert "what telegram:40 said here from " in story("change/17").lines[4]
    assert lines("change/2") == "U8 was approved at door by the operator"
    assert "telegram:40 was itself, and is paired with user-forty by the program" in lines(
        "change/18"
    )


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (("user", "main", "alice"), "the user alice of agent 'main'"),
        (("main", "main"), "all direct conversations of agent 'main'"),
        (("guild", "main", "dc", "g"), "the guild g on dc, of agent 'main'"),
        (("conversation", "main", "tg", "g"), "all threads of tg/g, of agent 'main'"),
        (("new", "kind"), "new/kind"),
    ],
)
def test_a_key_is_shown_as_whom_it_serves(key: tuple[str, ...], shown: str) -> None:
    assert show_key(key) == shown


# -- what is pinned --------------------------------------------------------------------------------


def rules(agent: str = "main", **scope: Any) -> InstanceRules:
    return InstanceRules(agent=agent, scope=ScopeRules(**scope), access=AccessRules())


async def test_a_place_that_the_rules_would_give_to_another_session_is_pinned() -> None:
    tg, dc = two()
    async with on_stage(echo, tg, dc) as stage:
        turn = await say(tg, "1", "m1", conversation="dm one", thread="t")
        await say(tg, "1", "m2", conversation="g", direct=False, guild="guild")
        await say(dc, "2", "m3")
        store = stage.store
        now = {Instance("tg"): rules(dm="per-conversation"), Instance("dc"): rules()}
        text = "\n".join(explain(store, turn, now).lines)  # type: ignore[union-attr]
        assert text.splitlines()[-1] == (
            "that conversation is pinned to s1: by the rules of now its session would be another "
            "(first message, its own session); it moves with: turnkeeper bindings move tg "
            "'dm one' --thread t"
        )
        of_session = explain(store, "s1", now)
        assert of_session is not None
        assert of_session.lines[-1].startswith("tg/dm one/t is pinned here: ")
        assert [(row.name, row.pinned) for row in channels(store, None, {}, now)] == [
            ("dc", 0),
            ("tg", 1),
        ]
        now[Instance("tg")] = rules(channel="collapsed")
        assert "pinned" not in "\n".join(explain(store, turn, now).lines)  # type: ignore[union-attr]
        assert [row.pinned for row in channels(store, None, {}, now)] == [0, 1]
        other = {Instance("tg"): rules("ops")}
        assert [row.pinned for row in channels(store, None, {}, other)] == [0, 2]
        assert [row.pinned for row in channels(store, None, {})] == [0, 0]


async def test_the_runtime_says_what_is_pinned_until_it_is_moved() -> None:
    tg, _ = two()
    disk = MemoryDisk()
    async with on_stage(echo, tg, disk=disk):
        turn = await say(tg, "1", "m1")
    async with on_stage(echo, tg, disk=disk, session={"dm_scope": "main"}) as stage:
        assert "is pinned to s1" in await told(stage.runtime, turn)
        await stage.runtime.move_binding("tg", "dm-1")
        assert "pinned" not in await told(stage.runtime, turn)
        await stage.runtime.move_binding("tg", "dm-1", session_id="by-hand")
        assert "pinned" not in await told(stage.runtime, turn)


def test_a_damaged_key_among_the_messages_that_were_heard_does_no_harm() -> None:
    disk = lived()
    disk.tables.put(table_key(Table.SEEN, b"\0"), b"")
    disk.tables.put(table_key(Table.SEEN, b"\xff" * 20), b"")
    assert explain(MemoryReads(disk), "hello-1") is not None
