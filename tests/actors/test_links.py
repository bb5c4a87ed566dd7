"""Links and pairs, as the humans concerned and their agent see them."""

from __future__ import annotations

import itertools
from datetime import timedelta
from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import ActRefused, ConfigError, Turn
from turnkeeper.storage.memory import MemoryDisk
from turnkeeper.testing import LoopbackChannel

from .stage import START, Stage, echo, on_stage, said

NAMES: tuple[str, ...] = ("tg", "dc", "wa")


class Listener:
    """An agent that keeps what it was given, and answers `re: …` once `gate` is open."""

    def __init__(self) -> None:
        self.given: dict[str, list[str]] = {}
        """Text of a turn -> the texts of its messages, its own last."""
        self.users: dict[str, str] = {}
        """Text of a turn -> who the agent was told has written it."""
        self.gate = trio.Event()
        self.gate.set()

    async def __call__(self, turn: Turn) -> str:
        await self.gate.wait()
        self.given[turn.text] = [message.text for message in turn.messages]
        self.users[turn.text] = turn.context.unified_user_id
        return f"re: {turn.text}"


def channels(*names: str) -> tuple[LoopbackChannel, ...]:
    """An instance for each name, of a platform of the same name."""
    return tuple(LoopbackChannel(name, platform=name) for name in names)


def told(*texts: str) -> list[str]:
    """Each text with its answer behind it."""
    return [one for text in texts for one in (text, f"re: {text}")]


async def say(channel: LoopbackChannel, text: str, user_id: str = "1") -> str:
    """Write in the user's own direct conversation; the session, once all is answered."""
    accepted = await channel.receive(text, conversation=f"dm {user_id}", user_id=user_id)
    await wait_all_tasks_blocked()
    return accepted.session_id


async def owner(stage: Stage, instance: str, user_id: str = "1") -> str:
    """The session of a user's direct conversation."""
    binding = await stage.runtime.binding(instance, f"dm {user_id}")
    assert binding is not None
    return binding.session_id


# -- one human on three channels -------------------------------------------------------------------


@pytest.mark.parametrize("order", list(itertools.permutations(NAMES)), ids="-".join)
@pytest.mark.parametrize("early", range(8))
async def test_three_channels_are_one_history_whenever_and_in_whatever_order_they_are_linked(
    order: tuple[str, ...], early: int
) -> None:
    agent = Listener()
    heard = dict(zip(NAMES, channels(*NAMES), strict=True))
    writes_first = [name for number, name in enumerate(order) if early >> number & 1]
    writes_later = [name for name in NAMES if name not in writes_first]
    async with on_stage(agent, *heard.values()) as stage:
        for name in writes_first:
            await say(heard[name], f"{name} first")
        for name in order:
            await stage.runtime.link(name, "1", "alice")
        for name in writes_later:
            await say(heard[name], f"{name} first")
        assert len({await say(heard[name], f"{name} again") for name in order}) == 1
        texts = [f"{name} first" for name in (*writes_first, *writes_later)]
        texts += [f"{name} again" for name in order]
        assert agent.given[texts[-1]] == [*told(*texts[:-1]), texts[-1]]
        assert agent.users[texts[-1]] == "alice"
        assert {await owner(stage, name) for name in NAMES} == {await owner(stage, "tg")}


@pytest.mark.parametrize("seed", range(20))
async def test_three_channels_are_one_history_though_all_write_while_they_are_linked(
    seed: int,
) -> None:
    print(f"seed {seed}")
    rng = Random(seed)
    agent = Listener()
    heard = channels(*NAMES)

    async def pause() -> None:
        for _ in range(rng.randrange(12)):
            await trio.lowlevel.checkpoint()

    async def human(channel: LoopbackChannel) -> None:
        for number in range(10):
            await pause()
            await channel.receive(f"{channel.name} {number}", conversation="dm 1", user_id="1")

    async def operator(stage: Stage, name: str) -> None:
        await pause()
        await stage.runtime.link(name, "1", "alice")

    async with on_stage(agent, *heard) as stage:
        async with trio.open_nursery() as nursery:
            for channel in heard:
                nursery.start_soon(human, channel)
                nursery.start_soon(operator, stage, channel.name)
        await wait_all_tasks_blocked()
        sessions = {await say(channel, f"{channel.name} last") for channel in heard}
        assert len(sessions) == 1
        shown = agent.given["wa last"]
        for channel in heard:
            texts = [f"{channel.name} {number}" for number in range(10)]
            assert [text for text in shown if text in texts] == texts
            assert {f"re: {text}" for text in texts} <= set(shown)
            answers = [sent.text for sent in channel.sent]
            assert sorted(answers) == sorted(f"re: {t}" for t in [*texts, f"{channel.name} last"])


async def test_a_preview_says_what_the_link_then_does_and_changes_nothing() -> None:
    tg, dc = channels("tg", "dc")
    async with on_stage(echo, tg, dc) as stage:
        await say(tg, "one")
        await say(dc, "two")
        preview = await stage.runtime.link("dc", "1", "tg:1", dry_run=True)
        assert preview.dry_run
        assert preview.number is None
        assert (await owner(stage, "tg"), await owner(stage, "dc")) == ("s1", "s2")
        assert await stage.runtime.changes() == []
        change = await stage.runtime.link("dc", "1", "tg:1")
        assert change.moved == preview.moved
        assert change.joined == preview.joined
        assert change.active == preview.active
        assert [(m.from_session, m.to_session, m.version) for m in change.moved] == [
            ("s2", "s1", 2)
        ]


async def test_the_log_that_joins_another_stays_as_it_was_written() -> None:
    tg, dc = channels("tg", "dc")
    async with on_stage(echo, tg, dc) as stage:
        await say(tg, "one")
        await say(dc, "two")
        before = await stage.runtime.history("s2")
        await stage.runtime.link("dc", "1", "tg:1")
        after = await stage.runtime.history("s2")
        assert after[: len(before)] == before
        assert [record.kind for record in after[len(before) :]] == ["released"]
        assert "linked" in [record.kind for record in await stage.runtime.history("s1")]
        info = await stage.runtime.session("s2")
        assert info.merged_into == "s1"


async def test_the_conversation_where_the_human_wrote_last_is_the_active_one_after_a_link() -> None:
    tg, dc = channels("tg", "dc")
    async with on_stage(echo, tg, dc) as stage:
        await say(tg, "one")
        await say(dc, "two")
        await stage.runtime.link("dc", "1", "tg:1")
        await stage.runtime.send_message("s1", "unasked")
        assert [sent.text for sent in dc.sent] == ["two", "unasked"]
        await say(tg, "three")
        await stage.runtime.send_message("s1", "unasked again")
        assert [sent.text for sent in tg.sent] == ["one", "three", "unasked again"]


async def test_a_binding_keeps_the_history_of_its_owners() -> None:
    tg, dc = channels("tg", "dc")
    async with on_stage(echo, tg, dc) as stage:
        await say(tg, "one")
        await say(dc, "two")
        await stage.runtime.link("dc", "1", "tg:1", by="operator")
        await stage.runtime.undo()
        found = await stage.runtime.binding_history("dc", "dm 1")
        assert [(b.version, b.session_id, b.from_session) for b in found] == [
            (1, "s2", None),
            (2, "s1", "s2"),
            (3, "s2", "s1"),
        ]
        assert [b.by for b in found] == [
            "first message, dm_scope per-user",
            "dc:1 is tg:1",
            "undo of change 1: dc:1 is tg:1",
        ]


# -- turns that run ----------------------------------------------------------------------------


async def test_turns_accepted_before_a_link_are_answered_where_they_were_asked() -> None:
    agent = Listener()
    tg, dc = channels("tg", "dc")
    async with on_stage(agent, tg, dc) as stage:
        await say(tg, "hello")
        agent.gate = trio.Event()
        assert await say(dc, "running") == "s2"
        assert await say(dc, "waiting") == "s2"
        await stage.runtime.link("dc", "1", "tg:1")
        assert await say(dc, "after") == "s1"
        agent.gate.set()
        await wait_all_tasks_blocked()
        assert sorted(sent.text for sent in dc.sent) == ["re: after", "re: running", "re: waiting"]
        assert [sent.text for sent in tg.sent] == ["re: hello"]
        assert said(stage.store, 2) == (["running", "waiting"], ["re: running", "re: waiting"])
        assert said(stage.store, 1) == (["hello", "after"], ["re: hello", "re: after"])
        await say(tg, "at last")
        assert agent.given["at last"] == [
            *told("hello", "running", "waiting", "after"),
            "at last",
        ]


# -- links that make no sense, or meet others ------------------------------------------------------


async def test_a_link_to_oneself_and_a_circle_are_refused_and_change_nothing() -> None:
    tg, dc, wa = channels("tg", "dc", "wa")
    async with on_stage(echo, tg, dc, wa) as stage:
        for channel in (tg, dc, wa):
            await say(channel, "hi")
        with pytest.raises(ActRefused, match="already"):
            await stage.runtime.link("tg", "1", "tg:1")
        await stage.runtime.link("tg", "1", "dc:1")
        await stage.runtime.link("dc", "1", "wa:1")
        with pytest.raises(ActRefused):
            await stage.runtime.link("wa", "1", "tg:1")
        assert len(await stage.runtime.changes()) == 2
        assert {await owner(stage, name) for name in NAMES} == {"s3"}


async def test_a_user_named_like_an_identity_is_that_identity() -> None:
    agent = Listener()
    tg, dc = channels("tg", "dc")
    async with on_stage(agent, tg, dc) as stage:
        await stage.runtime.link("tg", "1", "dc:1")
        assert await say(tg, "one") == await say(dc, "two") == "s1"
        assert agent.given["two"] == [*told("one"), "two"]
        assert agent.users == {"one": "dc:1", "two": "dc:1"}
        assert await say(dc, "three", user_id="2") == "s2"


async def test_a_relink_leaves_what_was_said_with_those_who_stay() -> None:
    agent = Listener()
    tg, dc, wa = channels("tg", "dc", "wa")
    async with on_stage(agent, tg, dc, wa) as stage:
        await stage.runtime.link("tg", "1", "alice")
        await stage.runtime.link("dc", "1", "alice")
        await stage.runtime.link("wa", "1", "bob")
        await say(tg, "secret of alice")
        await say(dc, "from dc")
        await say(wa, "from bob")
        await stage.runtime.link("dc", "1", "bob")
        assert await say(dc, "who am I?") == await owner(stage, "wa")
        assert agent.given["who am I?"] == [*told("from bob"), "who am I?"]
        await say(tg, "still here")
        assert agent.given["still here"] == [*told("secret of alice", "from dc"), "still here"]


async def test_of_two_links_of_one_identity_at_once_the_second_builds_on_the_first() -> None:
    tg, dc, wa = channels("tg", "dc", "wa")
    async with on_stage(echo, tg, dc, wa) as stage:
        for channel in (tg, dc, wa):
            await say(channel, "hi")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.runtime.link, "tg", "1", "dc:1")
            nursery.start_soon(stage.runtime.link, "tg", "1", "wa:1")
        (link,) = [one for one in await stage.runtime.links() if one.platform == "tg"]
        assert await owner(stage, "tg") == await owner(stage, link.user.partition(":")[0])
        history = await stage.runtime.binding_history("tg", "dm 1")
        assert [binding.version for binding in history] == [1, 2, 3]
        assert len(await stage.runtime.changes()) == 2


async def test_of_many_links_at_once_that_say_the_same_one_is_made() -> None:
    tg, dc = channels("tg", "dc")
    refused = 0

    async def link(stage: Stage) -> None:
        nonlocal refused
        try:
            await stage.runtime.link("tg", "1", "dc:1")
        except ActRefused:
            refused += 1

    async with on_stage(echo, tg, dc) as stage:
        await say(tg, "hi")
        await say(dc, "hi")
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(link, stage)
        assert refused == 19
        assert len(await stage.runtime.changes()) == 1


async def test_a_link_outlives_the_runtime() -> None:
    disk, agent = MemoryDisk(), Listener()
    tg, dc = channels("tg", "dc")
    async with on_stage(agent, tg, dc, disk=disk) as stage:
        await say(tg, "one")
        await say(dc, "two")
        await stage.runtime.link("dc", "1", "tg:1")
    tg, dc = channels("tg", "dc")
    async with on_stage(agent, tg, dc, disk=disk, start=START + timedelta(hours=1)):
        assert await say(dc, "three") == await say(tg, "four") == "s1"
    assert agent.given["four"] == [*told("one", "two", "three"), "four"]


# -- links that end ----------------------------------------------------------------------------


async def test_whoever_is_alone_keeps_the_session_when_unlinked() -> None:
    agent = Listener()
    (tg,) = channels("tg")
    async with on_stage(agent, tg) as stage:
        await stage.runtime.link("tg", "1", "alice")
        await say(tg, "one")
        await stage.runtime.unlink("tg", "1")
        assert await say(tg, "two") == "s1"
        assert agent.given["two"] == [*told("one"), "two"]
        assert agent.users == {"one": "alice", "two": "tg:1"}


async def test_one_of_several_who_is_unlinked_leaves_without_the_past() -> None:
    agent = Listener()
    tg, dc = channels("tg", "dc")
    async with on_stage(agent, tg, dc) as stage:
        await stage.runtime.link("tg", "1", "alice")
        await stage.runtime.link("dc", "1", "alice")
        await say(tg, "one")
        await say(dc, "two")
        await stage.runtime.unlink("dc", "1")
        assert await say(dc, "three") == "s2"
        assert agent.given["three"] == ["three"]
        assert await say(tg, "four") == "s1"
        assert agent.given["four"] == [*told("one", "two"), "four"]


async def test_an_undone_link_gives_back_what_was_and_hides_what_was_said_meanwhile() -> None:
    agent = Listener()
    tg, dc = channels("tg", "dc")
    async with on_stage(agent, tg, dc) as stage:
        await say(tg, "tg before")
        await say(dc, "dc before")
        await stage.runtime.link("dc", "1", "tg:1")
        await say(dc, "dc meanwhile")
        await say(tg, "tg meanwhile")
        assert agent.given["tg meanwhile"][-3:] == [*told("dc meanwhile"), "tg meanwhile"]
        await stage.runtime.undo()
        assert await say(tg, "tg after") == "s1"
        assert agent.given["tg after"] == [*told("tg before", "tg meanwhile"), "tg after"]
        assert await say(dc, "dc after") == "s2"
        assert agent.given["dc after"] == [*told("dc before"), "dc after"]
        assert await stage.runtime.links() == []


async def test_a_change_that_others_build_on_is_not_undone_before_them() -> None:
    tg, dc = channels("tg", "dc")
    async with on_stage(echo, tg, dc) as stage:
        await say(tg, "one")
        await say(dc, "two")
        first = await stage.runtime.link("tg", "1", "alice")
        second = await stage.runtime.link("dc", "1", "alice")
        with pytest.raises(ActRefused, match="builds on it"):
            await stage.runtime.undo(first.number)
        assert await owner(stage, "dc") == await owner(stage, "tg")
        await stage.runtime.undo(second.number)
        await stage.runtime.undo(first.number)
        assert (await owner(stage, "tg"), await owner(stage, "dc")) == ("s1", "s2")
        with pytest.raises(ActRefused, match="taken back"):
            await stage.runtime.undo(first.number)


# -- pairs -------------------------------------------------------------------------------------


async def test_a_pair_beats_a_link_and_gives_way_to_it_when_it_ends() -> None:
    agent = Listener()
    tg, dc = channels("tg", "dc")
    async with on_stage(agent, tg, dc) as stage:
        await stage.runtime.link("tg", "1", "alice")
        await stage.runtime.link("dc", "1", "alice")
        await stage.runtime.pair("tg", "1", "office")
        assert await say(tg, "from work") == "office"
        assert await say(dc, "from home") == "s2"
        assert agent.given["from home"] == ["from home"]
        assert agent.users["from work"] == "alice"
        binding = await stage.runtime.binding("tg", "dm 1")
        assert binding is not None
        assert binding.by == "pair with office"
        await stage.runtime.unpair("tg", "1")
        assert await say(tg, "home again") == "s2"


async def test_a_pair_with_a_session_that_is_not_there_opens_it() -> None:
    tg, dc = channels("tg", "dc")
    async with on_stage(echo, tg, dc) as stage:
        await say(tg, "one")
        change = await stage.runtime.pair("tg", "1", "user-jason")
        assert change.opened == ("user-jason",)
        assert await owner(stage, "tg") == "user-jason"
        await stage.runtime.pair("dc", "1", "somebody")
        assert "somebody" not in {info.id for info in await stage.runtime.sessions()}
        assert await say(dc, "two") == "somebody"


async def test_first_messages_at_once_of_all_who_are_paired_open_one_session() -> None:
    names = [f"c{number}" for number in range(20)]
    heard = channels(*names)
    accepted: list[str] = []

    async def human(channel: LoopbackChannel) -> None:
        accepted.append((await channel.receive("hi")).session_id)

    async with on_stage(echo, *heard) as stage:
        for name in names:
            await stage.runtime.pair(name, "u1", "all")
        async with trio.open_nursery() as nursery:
            for channel in heard:
                nursery.start_soon(human, channel)
        assert accepted == ["all"] * 20
        assert [info.id for info in await stage.runtime.sessions()] == ["all"]


@pytest.mark.parametrize("name", ["s7", "s0", "", " jason", "a/b", "-x", "j\n", "x" * 65])
async def test_a_pair_with_what_can_be_no_new_session_is_refused(name: str) -> None:
    (tg,) = channels("tg")
    async with on_stage(echo, tg) as stage:
        await say(tg, "one")
        with pytest.raises(ActRefused):
            await stage.runtime.pair("tg", "1", name)
        assert await stage.runtime.pairs() == []
        assert await owner(stage, "tg") == "s1"


async def test_what_the_configuration_pairs_only_the_configuration_changes() -> None:
    (tg,) = channels("tg")
    async with on_stage(echo, tg, pairing={"1@tg": "user-jason"}) as stage:
        runtime = stage.runtime
        assert await say(tg, "one") == "user-jason"
        with pytest.raises(ActRefused, match="configuration"):
            await runtime.pair("tg", "1", "other", by="operator")
        with pytest.raises(ActRefused, match="configuration"):
            await runtime.unpair("tg", "1", by="operator")
        await runtime.pair("tg", "2", "other", by="operator")
        assert await say(tg, "two", user_id="2") == "other"
        await runtime.reload({"pairing": {"1@tg": "elsewhere"}})
        assert await say(tg, "three") == "elsewhere"
        assert {(p.user_id, p.session_id, p.by) for p in await runtime.pairs()} == {
            ("1", "elsewhere", "config"),
            ("2", "other", "operator"),
        }
        await runtime.reload({})
        assert [pair.user_id for pair in await runtime.pairs()] == ["2"]
        with pytest.raises(ConfigError):
            await runtime.reload({"pairing": {"1@tg": "s999"}})
        assert [pair.user_id for pair in await runtime.pairs()] == ["2"]


async def test_pairs_of_the_configuration_are_made_and_dropped_at_the_next_start() -> None:
    disk = MemoryDisk()
    async with on_stage(echo, *(heard := channels("tg")), disk=disk):
        assert await say(heard[0], "one") == "s1"
    pairing = {"1@tg": "user-jason"}
    async with on_stage(echo, *(heard := channels("tg")), disk=disk, pairing=pairing):
        assert await say(heard[0], "two") == "user-jason"
    async with on_stage(echo, *(heard := channels("tg")), disk=disk) as stage:
        assert await stage.runtime.pairs() == []
        assert await say(heard[0], "three") == await owner(stage, "tg")
