"""What a conversation sees of an agent at work: typing, and a reply that grows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

import turnkeeper as tk
from turnkeeper.actors.deliveries import Deliver
from turnkeeper.actors.messages import (
    AgentBegan,
    AgentEnded,
    AgentSays,
    DeliveryId,
    SessionId,
    TurnId,
)
from turnkeeper.channels.base import Draft, Receipt
from turnkeeper.channels.parcel import check_powers
from turnkeeper.channels.presence import UNFINISHED, Presence
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import on_stage

POWERS = tk.ChannelPowers(typing_every_s=4.0, draft_every_s=1.0)


class Agent:
    """Yields pieces when told to."""

    def __init__(self) -> None:
        self.pieces, self._receive = trio.open_memory_channel[str](100)
        self.attempts = 0

    async def __call__(self, turn: tk.Turn) -> AsyncIterator[str]:
        self.attempts += 1
        async for piece in self._receive:
            if piece == "END":
                return
            if piece == "BREAK":
                raise RuntimeError("broken on purpose")
            yield piece

    def stream(self, turn: tk.Turn) -> AsyncIterator[str]:
        """As an agent."""
        return self(turn)

    async def begins(self, channel: LoopbackChannel, piece: str, user_id: str = "u1") -> None:
        """Hear something, and show a first piece of the reply."""
        await channel.receive("hi", user_id=user_id)
        await trio.sleep(1)
        await self.pieces.send(piece)
        await trio.sleep(2)


async def test_somebody_types_while_the_agent_works_and_no_longer(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=POWERS)

    async def slow(turn: tk.Turn) -> str:
        await trio.sleep(10)
        return "done"

    async with on_stage(slow, tg):
        await tg.receive("hi", conversation="c1")
        await tg.next_sent()
        assert [place.conversation for place in tg.typed] == ["c1"] * 3
        await trio.sleep(60)
        assert len(tg.typed) == 3


async def test_nobody_is_seen_typing_where_the_answer_comes_at_once(
    autojump_clock: MockClock,
) -> None:
    """Each turn cost a call of the platform that was called off before it was answered."""
    tg = LoopbackChannel("tg", powers=POWERS)

    async def quick(turn: tk.Turn) -> str:
        await trio.sleep(0.2)
        return "done"

    async with on_stage(quick, tg):
        await tg.receive("hi")
        await tg.next_sent()
        await trio.sleep(60)
        assert not tg.typed


async def test_a_growing_reply_is_shown_in_one_message_which_becomes_the_reply(
    autojump_clock: MockClock,
) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    async with on_stage(agent.stream, tg):
        await tg.receive("hi", conversation="c1", message_id="m1")
        for piece in ("One ", "two ", "three."):
            await trio.sleep(2)
            await agent.pieces.send(piece)
        await trio.sleep(2)
        await agent.pieces.send("END")
        sent = await tg.next_sent()
    first, *later = tg.drafts
    assert (first.shown, first.reply_to) == (None, "m1")
    assert [draft.text for draft in tg.drafts] == [
        "One" + UNFINISHED,
        "One two" + UNFINISHED,
        "One two three." + UNFINISHED,
    ]
    assert {draft.shown for draft in later} == {sent.message_id}
    assert [message.text for message in tg.sent] == ["One two three."]
    assert not tg.withdrawn


async def test_a_reply_that_comes_at_once_is_never_shown_as_a_draft(
    autojump_clock: MockClock,
) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    async with on_stage(agent.stream, tg):
        for piece in ("One ", "two.", "END"):
            await agent.pieces.send(piece)
        await tg.receive("hi")
        assert (await tg.next_sent()).text == "One two."
        assert not tg.drafts


async def test_a_draft_of_which_nothing_came_is_taken_back(autojump_clock: MockClock) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    async with on_stage(agent.stream, tg):
        await agent.begins(tg, "Well, ")
        await agent.pieces.send("BREAK")
        await trio.sleep(2)
        await agent.pieces.send("Better.")
        await agent.pieces.send("END")
        assert (await tg.next_sent()).text == "Better."
        assert tg.drafts[0].text == "Well," + UNFINISHED
        (withdrawn,) = tg.withdrawn
        assert withdrawn != tg.sent[0].message_id


async def test_a_draft_waits_for_what_is_on_its_way_to_the_conversation(
    autojump_clock: MockClock,
) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    async with on_stage(agent.stream, tg) as stage:
        accepted = await tg.receive("hi", conversation="c1")
        tg.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.runtime.send_message, accepted.session_id, "By the way")
            await trio.sleep(1)
            await agent.pieces.send("Well")
            await trio.sleep(30)
            assert not tg.drafts
            tg.release()
        await trio.sleep(2)
        assert [draft.text for draft in tg.drafts] == ["Well" + UNFINISHED]
        await agent.pieces.send("END")
        await trio.sleep(2)
        assert [message.text for message in tg.sent] == ["By the way", "Well"]


async def test_the_reply_waits_for_the_draft_that_is_on_its_way(autojump_clock: MockClock) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    async with on_stage(agent.stream, tg):
        await tg.receive("hi")
        await trio.sleep(1)
        tg.hold()
        await agent.pieces.send("Well")
        await trio.sleep(1)
        await agent.pieces.send("END")
        await trio.sleep(5)
        assert not tg.sent
        tg.release()
        sent = await tg.next_sent()
        assert (sent.text, [sent.message_id]) == ("Well", list(tg.draft_ids.values()))
        assert len(tg.drafts) == 1
        assert not tg.withdrawn


class Hanging(LoopbackChannel):
    """A platform that answers a draft when it is let; or never."""

    def __init__(self, name: str) -> None:
        super().__init__(name, powers=POWERS)
        self.let = trio.Event()
        self.hangs_up: Exception | None = None

    async def draft(self, draft: Draft, /) -> Receipt:
        try:
            await self.let.wait()
        except trio.Cancelled as stopped:
            if self.hangs_up is not None:
                raise BaseExceptionGroup("in a nursery", [stopped, self.hangs_up]) from None
            raise
        return await super().draft(draft)


@pytest.mark.parametrize("lands_after_s", [1.0, 20.0, 1_000.0])
async def test_a_draft_that_hangs_holds_up_no_reply_and_is_taken_back_when_it_lands(
    lands_after_s: float, autojump_clock: MockClock
) -> None:
    tg, agent = Hanging("tg"), Agent()
    async with on_stage(agent.stream, tg):
        await tg.receive("hi")
        await trio.sleep(1)
        await agent.pieces.send("Well")
        await trio.sleep(1)
        await agent.pieces.send("END")
        began = trio.current_time()
        sent = await tg.next_sent()
        assert sent.text == "Well"
        assert trio.current_time() - began <= 15
        assert not tg.drafts
        await trio.sleep(lands_after_s)
        tg.let.set()
        await trio.sleep(1)
        assert tg.withdrawn == list(tg.draft_ids.values())
        assert sent.message_id not in tg.withdrawn
        assert len(tg.withdrawn) == (1 if lands_after_s < 50 else 0)  # else it was given up


async def test_a_draft_is_claimed_once_unless_it_is_given_back(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg", powers=POWERS)
    turn_id = TurnId("s1/4")
    place = tk.Address(instance=tg.name, conversation="c1")
    reply = Deliver(
        session_id=SessionId("s1"),
        delivery_id=DeliveryId("s1/5"),
        address=place,
        text="Well",
        asked_at_us=0,
        turn_id=turn_id,
    )
    async with trio.open_nursery() as nursery:
        presence = Presence(tg, nursery, lambda _place: True)
        presence.began(AgentBegan(turn_id=turn_id, address=place, reply_to="m1"))
        presence.says(AgentSays(turn_id=turn_id, text="Well"))
        await trio.sleep(1)
        presence.ended(AgentEnded(turn_id=turn_id, answered=True))
        shown = await presence.claim(turn_id)
        assert shown == tg.draft_ids[turn_id]
        assert await presence.claim(turn_id) is None
        presence.give_back(reply, shown)
        assert await presence.claim(turn_id) == shown
        presence.give_back(reply, None)
        assert len(presence) == 0
    assert len(tg.drafts) == 1


@pytest.mark.parametrize("refused_first", [False, True])
async def test_the_draft_of_a_reply_that_is_refused_for_good_is_taken_back(
    refused_first: bool, autojump_clock: MockClock
) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    async with on_stage(agent.stream, tg):
        await agent.begins(tg, "Well")
        if refused_first:
            tg.fail_next("refused")
        tg.fail_next("rejected")
        await agent.pieces.send("END")
        await trio.sleep(60)
        assert tg.sent == []
        assert tg.withdrawn == list(tg.draft_ids.values())
        assert len(tg.withdrawn) == 1


async def test_a_draft_that_may_be_the_reply_is_not_taken_back(autojump_clock: MockClock) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    async with on_stage(agent.stream, tg):
        await agent.begins(tg, "Well")
        tg.fail_next("timeout_after_send")
        tg.fail_next("rejected")
        await agent.pieces.send("END")
        await trio.sleep(60)
        assert [sent.message_id for sent in tg.sent] == list(tg.draft_ids.values())
        assert not tg.withdrawn


class Brief(LoopbackChannel):
    """A platform that takes the first part of a text and no other."""

    async def send(self, outbound: tk.Outbound) -> Receipt:
        if outbound.part > 1:
            raise tk.Rejected("no more")
        return await super().send(outbound)


async def test_a_draft_that_is_the_first_part_of_a_reply_is_not_taken_back_with_the_rest(
    autojump_clock: MockClock,
) -> None:
    tg = Brief("tg", powers=tk.ChannelPowers(text_limit=60, draft_every_s=1.0))
    agent = Agent()
    async with on_stage(agent.stream, tg):
        await agent.begins(tg, "Words of a reply. " * 10)
        await agent.pieces.send("END")
        await trio.sleep(60)
        assert [sent.message_id for sent in tg.sent] == list(tg.draft_ids.values())
        assert not tg.withdrawn


@pytest.mark.parametrize("meanwhile", ["the agent works", "the reply waits"])
async def test_the_draft_of_a_reply_that_its_reader_may_not_have_any_more_is_taken_back(
    meanwhile: str, autojump_clock: MockClock
) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    rules = {"tg": {"access": "allowlist", "allowed_users": ["ann"]}}
    async with on_stage(agent.stream, tg, channels=rules) as stage:
        await agent.begins(tg, "Well", user_id="ann")
        if meanwhile == "the reply waits":
            tg.fail_next("rate_limited", retry_after_s=60.0)
            await agent.pieces.send("END")
            await trio.sleep(10)
            assert not tg.withdrawn
            await stage.runtime.revoke("tg", "ann")
        else:
            await stage.runtime.revoke("tg", "ann")
            await agent.pieces.send("END")
        await trio.sleep(120)
        assert tg.sent == []
        assert tg.withdrawn == list(tg.draft_ids.values())


async def test_the_draft_of_a_reply_for_which_there_is_no_room_is_taken_back(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tg, agent = LoopbackChannel("tg", powers=POWERS), Agent()
    async with on_stage(agent.stream, tg):
        await agent.begins(tg, "Well")
        monkeypatch.setattr("turnkeeper.channels.actor.MAX_QUEUED", 0)
        await agent.pieces.send("END")
        await trio.sleep(60)
        assert tg.sent == []
        assert tg.withdrawn == list(tg.draft_ids.values())


async def test_a_draft_that_fails_while_it_is_stopped_ends_no_runtime(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tg, agent = Hanging("tg"), Agent()
    tg.hangs_up = tk.Unreachable("the connection ended midway")
    async with on_stage(agent.stream, tg, runtime={"stop_deadline_s": 0.0}):
        await tg.receive("hi")
        await trio.sleep(1)
        await agent.pieces.send("Well")
        await trio.sleep(1)
    assert "channel tg broke while it stopped" in caplog.text


async def test_a_reply_does_not_wait_until_the_next_draft_would_be_shown(
    autojump_clock: MockClock,
) -> None:
    tg = LoopbackChannel("tg", powers=tk.ChannelPowers(draft_every_s=30.0))
    agent = Agent()
    async with on_stage(agent.stream, tg):
        await tg.receive("hi")
        await trio.sleep(1)
        await agent.pieces.send("Well")
        await trio.sleep(1)
        assert len(tg.drafts) == 1
        began = trio.current_time()
        await agent.pieces.send("END")
        await tg.next_sent()
        assert trio.current_time() - began < 1


@pytest.mark.parametrize("every_s", [0, 0.0, -1.0, float("nan"), float("inf"), "4"])
@pytest.mark.parametrize("field", ["typing_every_s", "draft_every_s"])
def test_signs_of_life_that_would_never_pause_are_refused(field: str, every_s: Any) -> None:
    channel = LoopbackChannel("tg", powers=tk.ChannelPowers(**{field: every_s}))
    with pytest.raises(ValueError, match=f"'tg' declares {field}"):
        check_powers(channel)


async def test_a_draft_is_as_long_as_the_first_part_of_the_reply(autojump_clock: MockClock) -> None:
    tg = LoopbackChannel("tg", powers=tk.ChannelPowers(text_limit=60, draft_every_s=1.0))
    agent = Agent()
    async with on_stage(agent.stream, tg):
        await agent.begins(tg, "Words of a reply. " * 10)
        await agent.pieces.send("END")
        await trio.sleep(2)
    (draft,) = tg.drafts
    assert len(draft.text) <= 60
    assert draft.text.endswith(UNFINISHED)
    assert len({message.message_id for message in tg.sent}) == len(tg.sent) > 2


class Broken(LoopbackChannel):
    """A platform that shows nothing of an agent at work."""

    async def typing(self, _address: tk.Address, /) -> None:
        raise tk.Unreachable("no")

    async def draft(self, _draft: Draft, /) -> Receipt:
        raise RuntimeError("a defect")


@pytest.mark.parametrize("powers", [POWERS])
async def test_signs_of_life_that_fail_touch_no_reply(
    powers: tk.ChannelPowers, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    tg, agent = Broken("tg", powers=powers), Agent()
    async with on_stage(agent.stream, tg):
        await tg.receive("hi")
        await trio.sleep(1)
        await agent.pieces.send("Well")
        await trio.sleep(5)
        await agent.pieces.send("END")
        assert (await tg.next_sent()).text == "Well"
        await wait_all_tasks_blocked()
    assert "broke while showing" in caplog.text
