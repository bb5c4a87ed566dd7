"""Messages that no human asked for: where they go, and what whoever sent them is told."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import (
    Address,
    Outbound,
    Outcome,
    Receipt,
    Turn,
    UnknownInstance,
    open_runtime,
)
from turnkeeper.actors.messages import Instance
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import log, on_stage
from .people import (
    End,
    Listener,
    actives,
    apps,
    assert_sound,
    bound,
    foretold,
    home,
    left_behind,
    notes,
    say,
    texts,
    troubled,
)


class Asking:
    """Does one send inside a turn, and keeps what it was told."""

    def __init__(self, text: str, to: Address | None = None, user: str | None = None) -> None:
        self.text = text
        self.to = to
        self.user = user
        self.outcomes: list[Outcome] = []

    async def __call__(self, turn: Turn) -> str:
        outcome = await turn.send_message(self.text, self.to, user=self.user)
        self.outcomes.append(outcome)
        return f"I was told: {outcome.status} {outcome.reason}"


# -- an honest outcome -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "user"),
    [
        (home("tg", "2"), None),
        (home("nowhere", "1"), None),
        (home("tg", "1")._replace(thread="no such topic"), None),
        (None, "bob"),
        (None, "tg:2"),
    ],
    ids=["nobody wrote there", "no such instance", "no such thread", "no user", "no identity"],
)
async def test_a_send_to_nobody_fails_and_the_agent_is_told_so(
    to: Address | None, user: str | None
) -> None:
    """The agent said that it had told Bob; nothing had been sent, for Bob cannot be reached."""
    asking = Asking("for bob", to, user)
    agent = Listener({"tell bob": asking})
    (tg,) = apps("tg")
    async with on_stage(agent, tg) as stage:
        await say(tg, "tell bob")
        assert [(o.status, o.reason) for o in asking.outcomes] == [("failed", "no_recipient")]
        assert texts(tg) == ["I was told: failed no_recipient"]
        assert_sound(stage.store)


class Broken(LoopbackChannel):
    """An adapter with a defect: nothing is ever handed to the platform."""

    async def send(self, outbound: Outbound) -> Receipt:
        raise RuntimeError("the adapter is broken")


class Mute(LoopbackChannel):
    """An adapter that does not say what the platform said."""

    async def send(self, outbound: Outbound) -> Receipt:
        return None  # type: ignore[return-value]  # pyright: ignore[reportReturnType]


class Lying(LoopbackChannel):
    """An adapter that has a receipt without an id."""

    async def send(self, outbound: Outbound) -> Receipt:
        return Receipt(platform_message_id=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("adapter", [Broken, Mute, Lying])
async def test_what_no_platform_has_confirmed_is_never_called_delivered(
    adapter: type[LoopbackChannel], autojump_clock: MockClock
) -> None:
    """`delivered: true` in the log, although no adapter ever handed the message to anybody."""
    channel = adapter("tg")
    async with on_stage(Listener(), channel) as stage:
        await say(channel, "hi")
        outcome = await stage.runtime.send_message("s1", "psst")
        await trio.sleep(60)
        assert outcome.status not in ("delivered", "rendered")
        assert {info.status for info in troubled(stage.store)} <= {"unknown", "failed", "retrying"}
        assert {info.text for info in troubled(stage.store)} == {"re: hi", "psst"}
        assert outcome.platform_message_id is None


@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_an_instance_that_was_taken_out_of_the_configuration_delivers_nothing(
    end: End, autojump_clock: MockClock
) -> None:
    """I had removed the bot; its reminders went on to be reported as sent."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        await say(tg, "from tg")
        dc.fail_next("refused", times=100)
        await say(dc, "from dc", "2")
        disk = left_behind(end, stage)
    (tg,) = apps("tg")
    async with on_stage(Listener(), tg, disk=disk) as stage:
        await trio.sleep(60)
        outcome = await stage.runtime.send_message("s2", "anybody there?")
        assert (outcome.status, outcome.reason) == ("failed", "no_such_channel")
        found = {info.text: (info.status, info.reason) for info in troubled(stage.store)}
        assert found == {
            "re: from dc": ("failed", "no_such_channel"),
            "anybody there?": ("failed", "no_such_channel"),
        }
        assert texts(tg) == []


@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_a_message_for_an_instance_that_comes_back_can_be_sent_again(
    end: End, autojump_clock: MockClock
) -> None:
    """The token had expired for an hour, and everything of that hour was lost."""
    (dc,) = apps("dc")
    async with on_stage(Listener(), dc) as stage:
        await say(dc, "hi")
        disk = left_behind(end, stage)
    async with on_stage(Listener(), disk=disk) as stage:
        lost = await stage.runtime.send_message("s1", "news")
        assert (lost.status, lost.reason) == ("failed", "no_such_channel")
        assert lost.delivery_id is not None
        disk = left_behind(end, stage)
    (dc,) = apps("dc")
    async with on_stage(Listener(), dc, disk=disk) as stage:
        again = await stage.runtime.retry_delivery(lost.delivery_id)
        assert (again.status, texts(dc)) == ("delivered", ["news"])
        assert troubled(stage.store) == []


async def test_a_send_that_a_power_cut_interrupted_is_unknown_to_both_sides(
    autojump_clock: MockClock,
) -> None:
    """It was marked as sent on the way out; whether she had got it was anybody's guess."""
    (tg,) = apps("tg")
    async with on_stage(Listener(), tg) as stage, trio.open_nursery() as nursery:
        await say(tg, "hi", "1")
        await say(tg, "hi", "2")
        tg.hold()
        nursery.start_soon(stage.runtime.send_message, "s2", "disk full", home("tg", "1"))
        await wait_all_tasks_blocked()
        disk = left_behind("crash", stage)
        tg.release()
    agent, (tg,) = Listener(), apps("tg")
    async with on_stage(agent, tg, disk=disk) as stage:
        await trio.sleep(60)
        assert texts(tg) == []
        (info,) = troubled(stage.store)
        assert (info.status, info.reason, info.note) == ("unknown", "interrupted", "s1/7")
        await say(tg, "did you say something?", "1")
        (note,) = foretold(agent.shown["did you say something?"])
        assert note.source is not None
        assert note.source.status == "unknown"
        assert "may have been said" in note.text.splitlines()[0]
        assert_sound(stage.store)


# -- the operator's retries ------------------------------------------------------------------------


async def test_a_retry_that_is_typed_twice_changes_nothing() -> None:
    """I was not sure that the first `deliveries retry` had worked; the customer got it twice."""
    (tg,) = apps("tg")
    async with on_stage(Listener(), tg) as stage:
        await say(tg, "hi")
        tg.fail_next("rejected")
        dead = await stage.runtime.send_message("s1", "the bill")
        assert dead.status == "failed"
        assert dead.delivery_id is not None
        first = await stage.runtime.retry_delivery(dead.delivery_id)
        records = log(stage.store)
        second = await stage.runtime.retry_delivery(dead.delivery_id)
        assert (first.status, first.reason) == ("delivered", None)
        assert (second.status, second.reason) == ("delivered", "already_arrived")
        assert log(stage.store) == records
        assert texts(tg) == ["re: hi", "the bill"]


async def test_a_retry_that_is_typed_twice_at_once_is_one_retry() -> None:
    """Two of us saw the dead letter, and both of us sent it again."""
    (tg,) = apps("tg")
    outcomes: list[Outcome] = []
    async with on_stage(Listener(), tg) as stage:
        await say(tg, "hi")
        tg.fail_next("rejected")
        dead = (await stage.runtime.send_message("s1", "the bill")).delivery_id
        assert dead is not None

        async def retry(delivery_id: str) -> None:
            outcomes.append(await stage.runtime.retry_delivery(delivery_id))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(retry, dead)
        assert texts(tg) == ["re: hi", "the bill"]
        assert sorted((o.status, o.reason or "") for o in outcomes) == [
            ("delivered", ""),
            *[("retrying", "already_open")] * 4,
        ]
        assert_sound(stage.store)


@pytest.mark.parametrize("mark_duplicate", [False, True])
async def test_a_retry_of_what_may_have_arrived_says_so_and_is_noted_once(
    mark_duplicate: bool,
) -> None:
    """A timeout was reported as failed; I sent it again, and he had it three times."""
    (tg,) = apps("tg")
    async with on_stage(Listener(), tg) as stage:
        await say(tg, "hi, for alice", "1")
        await say(tg, "hi, for bob", "2")
        tg.fail_next("timeout_after_send")
        unknown = await stage.runtime.send_message("s1", "for bob", home("tg", "2"))
        assert (unknown.status, unknown.provenance) == ("unknown", "recorded")
        assert unknown.delivery_id is not None
        for _ in range(3):
            await stage.runtime.retry_delivery(unknown.delivery_id, mark_duplicate=mark_duplicate)
        again = ["(again)\nfor bob"] if mark_duplicate else []
        assert texts(tg, "dm 2")[1:] == ["for bob", *again]
        assert [note.text for note in notes(stage.store, "s2")] == ["for bob"]
        assert_sound(stage.store)


# -- where it goes ---------------------------------------------------------------------------------


async def test_a_reply_goes_where_its_turn_came_from_and_what_follows_where_the_human_is() -> None:
    """I asked on Telegram, went on in Discord, and the answer to Telegram came on Discord."""
    tg, dc = apps("tg", "dc")
    gate = trio.Event()

    async def slow(turn: Turn) -> str:
        await gate.wait()
        return f"re: {turn.text}"

    agent = Listener({"question on tg": slow})
    async with on_stage(agent, tg, dc) as stage:
        for channel in (tg, dc):
            await stage.runtime.link(channel.platform, "1", "alice")
        assert await say(tg, "question on tg") == "s1"
        assert await say(dc, "now I am here") == "s1"
        gate.set()
        await wait_all_tasks_blocked()
        assert texts(tg) == ["re: question on tg"]
        assert texts(dc) == ["re: now I am here"]
        await stage.runtime.send_message("s1", "by the way")
        assert (texts(tg), texts(dc)[1:]) == (["re: question on tg"], ["by the way"])


@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_the_active_channel_follows_the_human_and_can_be_set_to_where_they_last_were(
    end: End,
) -> None:
    """Send it to my phone": where the agent's human last wrote there, until they write again."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        for channel in (tg, dc):
            await stage.runtime.link(channel.platform, "1", "alice")
            await say(channel, f"hello from {channel.name}")
        assert actives(stage.store) == {"s1": home("dc", "1")}
        found = await stage.runtime.set_active_channel_to_default("s1", "tg")
        assert found == home("tg", "1")
        disk = left_behind(end, stage)
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc, disk=disk) as stage:
        await stage.runtime.send_message("s1", "to the phone")
        assert (texts(tg), texts(dc)) == (["to the phone"], [])
        await say(dc, "I am back")
        await stage.runtime.send_message("s1", "to the desk")
        assert (texts(tg), texts(dc)) == (["to the phone"], ["re: I am back", "to the desk"])


async def test_a_default_that_does_not_exist_changes_nothing() -> None:
    """It took my Telegram away and pointed at a Discord where I have never been."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        await say(tg, "hi")
        before = log(stage.store)
        assert await stage.runtime.set_active_channel_to_default("s1", "dc") is None
        with pytest.raises(UnknownInstance, match="no channel 'sms'; there is: dc, tg"):
            await stage.runtime.set_active_channel_to_default("s1", "sms")
        assert log(stage.store) == before
        assert actives(stage.store) == {"s1": home("tg", "1")}


async def test_where_somebody_else_last_wrote_is_nobodys_default() -> None:
    """She asked for it on Discord, where only he had ever been: he got it."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        await say(tg, "hi, for alice", "1")
        await say(dc, "hi, for bob", "2")
        assert await stage.runtime.set_active_channel_to_default("s1", "dc") is None
        await stage.runtime.send_message("s1", "for alice")
        assert texts(tg) == ["re: hi, for alice", "for alice"]
        assert texts(dc) == ["re: hi, for bob"]


async def test_a_send_changes_no_binding_and_no_active_channel() -> None:
    """After the reminder, my chat belonged to whoever had sent the reminder."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        await say(tg, "hi, for alice", "1")
        await say(dc, "hi, for bob", "2")
        before = bound(stage.store), actives(stage.store)
        for _ in range(3):
            outcome = await stage.runtime.send_message("s1", "for bob", home("dc", "2"))
            assert outcome.noted_in == "s2"
        assert (bound(stage.store), actives(stage.store)) == before
        assert await say(dc, "who was that?", "2") == "s2"
        assert texts(tg) == ["re: hi, for alice"]


@pytest.mark.parametrize(
    ("to", "user"),
    [
        (None, None),
        (home("tg", "1"), None),
        (home("dc", "2"), None),
        (home("tg", "2"), None),
        (home("sms", "1"), None),
        (home("ops", "1"), None),
        (Address(Instance("dc"), "open to all"), None),
        (None, "alice"),
        (None, "dc:2"),
        (None, "nobody"),
        (None, "ops:1"),
    ],
    ids=str,
)
async def test_a_preview_of_a_send_says_what_the_send_then_does(
    to: Address | None, user: str | None
) -> None:
    """`--dry-run` said that it would go to her; then it went to nobody."""
    tg, dc, ops = apps("tg", "dc", "ops")
    config = {"dc": {"send_to": ["open to all"]}, "ops": {"agent": "ops"}}
    agents = {"main": Listener(), "ops": Listener()}
    async with (
        open_memory() as store,
        open_runtime(
            None, agents=agents, channels=(tg, dc, ops), store=store, config={"channels": config}
        ) as runtime,
    ):
        await say(tg, "hi", "1")
        await say(dc, "hi", "2")
        await say(ops, "hi", "1")
        await runtime.link("tg", "1", "alice")
        before = [(channel, texts(channel)) for channel in (tg, dc, ops)]
        plan = await runtime.plan_send("s1", to, user=user)
        assert [(channel, texts(channel)) for channel in (tg, dc, ops)] == before
        outcome = await runtime.send_message("s1", "psst", to, user=user)
        if plan.refused is not None:
            assert (outcome.status, outcome.reason) == ("failed", plan.refused)
            assert [(channel, texts(channel)) for channel in (tg, dc, ops)] == before
        else:
            assert outcome.status == "delivered"
            assert outcome.noted_in == (plan.owner if plan.owner != "s1" else None)
            ((instance, sent),) = [
                (channel.name, channel.sent[-1])
                for channel in (tg, dc, ops)
                if texts(channel)[-1:] == ["psst"]
            ]
            assert plan.address == Address(instance, sent.conversation, sent.thread)
        assert_sound(store)


# -- two people ------------------------------------------------------------------------------------


async def test_two_people_on_one_instance_get_each_their_own_messages() -> None:
    """My colleague got my reminder, because he had written last."""
    (tg,) = apps("tg")
    async with on_stage(Listener(), tg) as stage:
        for user_id, name in (("1", "alice"), ("2", "bob")):
            await say(tg, f"hi, for {name}", user_id)
        for _ in range(2):
            for session_id, name in (("s1", "alice"), ("s2", "bob")):
                await stage.runtime.set_active_channel_to_default(session_id, "tg")
                await stage.runtime.send_message(session_id, f"default, for {name}")
            for user_id, name in (("2", "bob"), ("1", "alice")):
                text = f"as a user, for {name}"
                await stage.runtime.send_message("s1", text, user=f"tg:{user_id}")
        assert_each_gets_their_own(tg, {"dm 1": "alice", "dm 2": "bob"})
        assert_sound(stage.store)


async def test_two_people_who_are_linked_and_unlinked_get_each_their_own_messages() -> None:
    """We had unlinked her account; his next reminders still went to her."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        runtime = stage.runtime
        for user_id, name in (("1", "alice"), ("2", "bob")):
            for channel in (tg, dc):
                await say(channel, f"hi, for {name}", user_id)
                await runtime.link(channel.platform, user_id, name)
        for name in ("alice", "bob"):
            assert (await runtime.send_message("s1", f"linked, for {name}", user=name)).status == (
                "delivered"
            )
        await runtime.unlink("dc", "2")
        await say(dc, "on my own, for bob", "2")
        assert texts(dc, "dm 2")[-1] == "re: on my own, for bob"
        for name in ("alice", "bob"):
            await runtime.send_message("s1", f"unlinked, for {name}", user=name)
        assert texts(tg, "dm 2")[-1] == "unlinked, for bob"
        assert_each_gets_their_own(tg, {"dm 1": "alice", "dm 2": "bob"})
        assert_each_gets_their_own(dc, {"dm 1": "alice", "dm 2": "bob"})
        await runtime.link("dc", "2", "alice")  # an account that alice has from now on
        await say(dc, "hi again, for alice", "2")
        await runtime.send_message("s1", "for alice", user="alice")
        assert texts(dc, "dm 2")[-1] == "for alice"
        assert_each_gets_their_own(tg, {"dm 1": "alice", "dm 2": "bob"})
        assert_sound(stage.store)


async def test_what_is_for_a_user_goes_where_they_last_wrote_although_it_was_moved_since() -> None:
    """She had written on Discord; once her accounts were linked, it went to her old Telegram."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        await say(tg, "long ago")
        await trio.sleep(0.01)
        await say(dc, "just now")
        for channel in (tg, dc):
            await stage.runtime.link(channel.platform, "1", "alice")
        await say(tg, "of somebody else", "2")
        outcome = await stage.runtime.send_message("s3", "for alice", user="alice")
        assert (outcome.status, texts(dc)) == ("delivered", ["re: just now", "for alice"])


@pytest.mark.parametrize("undone", ["unpair", "undo"])
async def test_what_is_for_a_user_follows_pairs_and_moves(undone: str) -> None:
    """The operator had moved her chat; the reminders went on to where it had been."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        runtime = stage.runtime
        await say(tg, "hi, for alice", "1")
        await say(dc, "hi, for bob", "2")
        await runtime.pair("tg", "1", "desk")
        assert await say(tg, "paired, for alice", "1") == "desk"
        for _ in range(2):
            await runtime.send_message("s2", "for alice", user="tg:1")
            await runtime.send_message("s2", "for bob", user="dc:2")
        if undone == "undo":
            await runtime.undo()
        else:
            await runtime.unpair("tg", "1")
        await runtime.send_message("s2", "for alice", user="tg:1")
        await runtime.move_binding("tg", "dm 1", session_id="s2")
        await runtime.send_message("s2", "for alice", user="tg:1")
        await runtime.send_message("s2", "for bob", user="dc:2")
        assert len(texts(tg)) == len(["hi", "paired"]) + 4
        assert_each_gets_their_own(tg, {"dm 1": "alice"})
        assert_each_gets_their_own(dc, {"dm 2": "bob"})
        assert_sound(stage.store)


def assert_each_gets_their_own(channel: LoopbackChannel, whose: dict[str, str]) -> None:
    """Every text says whom it is for; it is in their conversation."""
    assert channel.sent
    for sent in channel.sent:
        assert sent.text.endswith(f"for {whose[sent.conversation]}"), sent


# -- nobody's session ------------------------------------------------------------------------------


async def test_a_disk_that_was_never_used_has_no_session_to_send_from() -> None:
    """send_message said ok to a session that does not exist."""
    async with on_stage(Listener(), disk=MemoryDisk()) as stage:
        with pytest.raises(LookupError, match="there is no session 's1'"):
            await stage.runtime.send_message("s1", "hello?")


async def test_a_session_that_goes_on_in_another_speaks_where_that_one_does() -> None:
    """Her old session had no chat of its own any more: its reminder went to whoever wrote last."""
    tg, dc = apps("tg", "dc")
    async with on_stage(Listener(), tg, dc) as stage:
        await say(tg, "hi, for alice", "1")
        await say(dc, "hi, for alice", "1")
        for channel in (tg, dc):
            await stage.runtime.link(channel.platform, "1", "alice")
        await say(tg, "hi, for bob", "2")
        await stage.runtime.set_active_channel_to_default("s2", "tg")
        await stage.runtime.send_message("s2", "for alice")
        assert_each_gets_their_own(tg, {"dm 1": "alice", "dm 2": "bob"})
