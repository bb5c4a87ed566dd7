"""Which conversations share a session, under every scope, and after it has changed."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import pytest
from trio.testing import wait_all_tasks_blocked

from turnkeeper import ActRefused, Turn, open_runtime
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from .stage import Stage, echo, on_stage


@dataclass(frozen=True)
class Scopes:
    dm_scope: str = "per-user"
    channel_scope: str = "per-channel"
    thread_scope: str = "per-thread"

    def __str__(self) -> str:
        return f"{self.dm_scope} {self.channel_scope} {self.thread_scope}"

    def config(self) -> dict[str, str]:
        return dict(vars(self))


class Place(NamedTuple):
    instance: str
    conversation: str
    thread: str | None
    user_id: str
    guild: str | None
    direct: bool


ALL_SCOPES = [
    Scopes(*found)
    for found in itertools.product(
        ("per-user", "per-conversation", "main"),
        ("per-channel", "collapsed"),
        ("per-thread", "per-conversation"),
    )
]
PLATFORMS = {"tg": "telegram", "tg2": "telegram", "dc": "discord"}
DIRECT = [
    Place(instance, f"dm {user_id} {which}", thread, user_id, None, True)
    for instance, user_id, which, thread in itertools.product(
        PLATFORMS, ("ann", "bob"), "12", (None, "t1")
    )
]
GROUPS = [
    Place(instance, f"{guild} {channel}", thread, "ann", guild, False)
    for instance, guild, channel, thread in itertools.product(
        PLATFORMS, ("g1", "g2", None), "12", (None, "t1", "t2")
    )
]


def shares(place: Place, scopes: Scopes) -> tuple[str | None, ...]:
    """What is the same for two places exactly if they are to share a session."""
    conversation = (place.instance, place.conversation)
    if place.direct and scopes.dm_scope == "main":
        return ("main",)
    if place.direct and scopes.dm_scope == "per-user":
        return ("user", PLATFORMS[place.instance], place.user_id)
    if not place.direct and scopes.channel_scope == "collapsed" and place.guild:
        return ("guild", place.instance, place.guild)
    if scopes.thread_scope == "per-conversation":
        return ("conversation", *conversation)
    return ("place", *conversation, place.thread)


def groups(sessions: dict[Place, str]) -> set[frozenset[Place]]:
    """The places that share a session."""
    found: dict[str, set[Place]] = {}
    for place, session_id in sessions.items():
        found.setdefault(session_id, set()).add(place)
    return {frozenset(together) for together in found.values()}


def expected(places: list[Place], scopes: Scopes) -> set[frozenset[Place]]:
    return groups({place: repr(shares(place, scopes)) for place in places})


def channels() -> dict[str, LoopbackChannel]:
    return {name: LoopbackChannel(name, platform=kind) for name, kind in PLATFORMS.items()}


async def say(heard: dict[str, LoopbackChannel], place: Place, text: str = "hi") -> str:
    accepted = await heard[place.instance].receive(
        text,
        conversation=place.conversation,
        thread=place.thread,
        user_id=place.user_id,
        guild=place.guild,
        direct=place.direct,
    )
    return accepted.session_id


async def move(stage: Stage, place: Place) -> None:
    """Move a place to where the rules of now want it, unless it is there."""
    with suppress(ActRefused):
        await stage.runtime.move_binding(*place[:3])


# -- what is said of a scope ---------------------------------------------------------------------


@pytest.mark.parametrize("scopes", ALL_SCOPES, ids=str)
async def test_places_share_a_session_as_the_scopes_say_and_not_otherwise(scopes: Scopes) -> None:
    places = [*DIRECT, *GROUPS]
    Random(str(scopes)).shuffle(places)
    heard = channels()
    async with on_stage(echo, *heard.values(), session=scopes.config()):
        first = {place: await say(heard, place) for place in places}
        assert groups(first) == expected(places, scopes)
        assert {place: await say(heard, place) for place in places} == first


async def test_an_instance_may_have_scopes_of_its_own() -> None:
    heard = channels()
    section = {"dm_scope": "per-conversation", "channel_scope": "collapsed"}
    async with on_stage(echo, *heard.values(), channels={"dc": section}):
        sessions = {place: await say(heard, place) for place in [*DIRECT, *GROUPS]}
    for instance in PLATFORMS:
        scopes = Scopes(**section) if instance == "dc" else Scopes()
        here = {place: at for place, at in sessions.items() if place.instance == instance}
        assert groups(here) == expected(list(here), scopes)


async def test_a_guild_of_the_same_id_on_two_instances_is_two_sessions() -> None:
    heard = channels()
    collapsed = Scopes(channel_scope="collapsed").config()
    async with on_stage(echo, *heard.values(), session=collapsed):
        places = [Place(name, "lobby", None, "ann", "g1", False) for name in PLATFORMS]
        assert [await say(heard, place) for place in places] == ["s1", "s2", "s3"]


async def test_two_agents_have_each_their_own_session_with_one_human() -> None:
    heard = channels()

    async def main(turn: Turn) -> str:
        return f"main heard {turn.text}"

    async def ops(turn: Turn) -> str:
        return f"ops heard {turn.text}"

    async with (
        open_memory(MemoryDisk()) as store,
        open_runtime(
            None,
            agents={"main": main, "ops": ops},
            channels=list(heard.values()),
            store=store,
            config={"channels": {"tg2": {"agent": "ops"}}},
        ),
    ):
        at_tg = Place("tg", "dm", None, "ann", None, True)
        assert await say(heard, at_tg) == "s1"
        assert await say(heard, at_tg._replace(instance="tg2")) == "s2"
        await wait_all_tasks_blocked()
    assert [sent.text for sent in heard["tg"].sent] == ["main heard hi"]
    assert [sent.text for sent in heard["tg2"].sent] == ["ops heard hi"]


async def test_an_answer_goes_to_the_channel_of_a_guild_in_which_was_asked() -> None:
    heard = channels()
    given: dict[str, list[str]] = {}

    async def agent(turn: Turn) -> str:
        given[turn.text] = [message.text for message in turn.messages]
        return f"re: {turn.text}"

    collapsed = Scopes(channel_scope="collapsed").config()
    async with on_stage(agent, *heard.values(), session=collapsed):
        for text, conversation, thread in [
            ("one", "lobby", None),
            ("two", "workshop", None),
            ("three", "lobby", "t1"),
        ]:
            await say(heard, Place("dc", conversation, thread, "ann", "g1", False), text)
            await wait_all_tasks_blocked()
    assert [(sent.conversation, sent.thread, sent.text) for sent in heard["dc"].sent] == [
        ("lobby", None, "re: one"),
        ("workshop", None, "re: two"),
        ("lobby", "t1", "re: three"),
    ]
    assert given["three"] == ["one", "re: one", "two", "re: two", "three"]


@pytest.mark.parametrize("dm_scope", ["per-conversation", "main"])
async def test_links_tell_who_somebody_is_and_move_nothing_where_users_have_no_sessions(
    dm_scope: str,
) -> None:
    heard = channels()
    users: list[str] = []

    async def agent(turn: Turn) -> None:
        users.append(turn.context.unified_user_id)

    async with on_stage(agent, *heard.values(), session={"dm_scope": dm_scope}) as stage:
        at_tg = Place("tg", "dm", None, "ann", None, True)
        at_dc = at_tg._replace(instance="dc")
        before = [await say(heard, place) for place in (at_tg, at_dc)]
        await wait_all_tasks_blocked()
        for platform in ("telegram", "discord"):
            change = await stage.runtime.link(platform, "ann", "alice")
            assert change.moved == ()
        assert [await say(heard, place) for place in (at_tg, at_dc)] == before
        await wait_all_tasks_blocked()
    assert users[:2] == ["telegram:ann", "discord:ann"]
    assert users[2:] == ["alice", "alice"]


async def test_a_group_belongs_to_nobody_whoever_writes_in_it_and_is_linked() -> None:
    heard = channels()
    group = Place("tg", "group", None, "ann", None, False)
    direct = Place("tg", "dm", None, "ann", None, True)
    async with on_stage(echo, *heard.values()) as stage:
        await stage.runtime.link("telegram", "ann", "alice")
        assert await say(heard, direct) == "s1"
        assert await say(heard, group) == "s2"
        assert await say(heard, group._replace(user_id="bob")) == "s2"
        await stage.runtime.unlink("telegram", "ann")
        change = await stage.runtime.link("telegram", "ann", "telegram:bob")
        assert {moved.address.conversation for moved in change.moved} <= {"dm"}
        assert await say(heard, group) == "s2"


# -- scopes that change --------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(24))
async def test_a_changed_scope_pins_what_is_bound_until_each_place_is_moved(seed: int) -> None:
    rng = Random(seed)
    before, after = rng.sample(ALL_SCOPES, 2)
    print(f"seed {seed}: {before} -> {after}")
    places = rng.sample([*DIRECT, *GROUPS], 30)
    disk = MemoryDisk()
    async with on_stage(echo, *(heard := channels()).values(), disk=disk, session=before.config()):
        bound = {place: await say(heard, place) for place in places}
    heard = channels()
    async with on_stage(echo, *heard.values(), disk=disk, session=after.config()) as stage:
        assert {place: await say(heard, place) for place in places} == bound
        rng.shuffle(places)
        for place in places:
            await move(stage, place)
        moved = {place: await say(heard, place) for place in places}
        assert groups(moved) == expected(places, after)
        for place in places:
            with pytest.raises(ActRefused, match="already"):
                await stage.runtime.move_binding(*place[:3])
            found = await stage.runtime.binding_history(*place[:3])
            assert [binding.version for binding in found] == list(range(1, len(found) + 1))


async def test_a_place_that_is_new_follows_the_scope_of_now() -> None:
    disk = MemoryDisk()
    old = Place("dc", "lobby", None, "ann", "g1", False)
    async with on_stage(echo, *(heard := channels()).values(), disk=disk):
        assert await say(heard, old) == "s1"
    heard = channels()
    collapsed = Scopes(channel_scope="collapsed").config()
    async with on_stage(echo, *heard.values(), disk=disk, session=collapsed) as stage:
        assert await say(heard, old._replace(conversation="workshop")) == "s2"
        assert await say(heard, old._replace(conversation="garden")) == "s2"
        assert await say(heard, old) == "s1"
        preview = await stage.runtime.move_binding("dc", "lobby", dry_run=True)
        assert [(m.from_session, m.to_session) for m in preview.moved] == [("s1", "s2")]
        assert await say(heard, old) == "s1"
        await stage.runtime.move_binding("dc", "lobby")
        assert await say(heard, old) == "s2"
        await stage.runtime.undo()
        assert await say(heard, old) == "s1"


async def test_what_was_moved_by_hand_stays_there_until_it_is_moved_back() -> None:
    heard = channels()
    direct = Place("tg", "dm", None, "ann", None, True)
    async with on_stage(echo, *heard.values()) as stage:
        assert await say(heard, direct) == "s1"
        await stage.runtime.move_binding("tg", "dm", None, "desk")
        await stage.runtime.link("telegram", "ann", "alice")
        assert await say(heard, direct) == "desk"
        assert await say(heard, direct._replace(instance="dc")) == "s3"
        await stage.runtime.move_binding("tg", "dm")
        binding = await stage.runtime.binding("tg", "dm")
        assert binding is not None
        assert binding.scope == "user"
        assert await say(heard, direct._replace(conversation="dm 2")) == binding.session_id
        with pytest.raises(ActRefused, match="already"):
            await stage.runtime.move_binding("tg", "dm")


async def test_what_nobody_wrote_in_cannot_be_moved() -> None:
    async with on_stage(echo, *channels().values()) as stage:
        with pytest.raises(ActRefused):
            await stage.runtime.move_binding("tg", "dm")
        with pytest.raises(ActRefused):
            await stage.runtime.move_binding("nowhere", "dm", None, "s1")
