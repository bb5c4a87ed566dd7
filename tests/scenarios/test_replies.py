"""A human answers what another session has said: the right session hears it, and knows of what."""

from __future__ import annotations

import pytest

from turnkeeper import Address, ChannelPowers, SessionDetails, Turn
from turnkeeper.actors.messages import Instance
from turnkeeper.sight import session_details
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, on_stage
from .people import (
    End,
    Listener,
    apps,
    assert_sound,
    bound,
    foretold,
    home,
    left_behind,
    noted,
    say,
    texts,
)


class Curious:
    """Looks at the session from which the quoted message came, and keeps what it finds."""

    def __init__(self, session_id: str | None = None) -> None:
        self.session_id = session_id
        self.found: list[SessionDetails | None] = []

    async def __call__(self, turn: Turn) -> str:
        session_id = self.session_id
        if session_id is None:
            assert turn.quoted is not None
            session_id = turn.quoted.session_id
        self.found.append(await turn.get_session(session_id))
        return f"re: {turn.text}"


@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_a_human_who_quotes_what_another_session_said_points_to_it(end: End) -> None:
    """I answered the alert, and the agent asked which alert."""
    (tg,) = apps("tg")
    async with on_stage(Listener(), tg) as stage:
        await say(tg, "hi", "1")
        await say(tg, "hi, I watch the servers", "2")
        before = bound(stage.store)
        outcome = await stage.runtime.send_message("s2", "disk full", home("tg", "1"))
        assert outcome.noted_in == "s1"
        disk = left_behind(end, stage)
    agent, (tg,) = Listener(), apps("tg")
    async with on_stage(agent, tg, disk=disk) as stage:
        answer = "which disk?"
        assert await say(tg, answer, "1", reply_to=outcome.platform_message_id) == "s1"
        quoted = agent.quoted[answer]
        assert quoted is not None
        assert (quoted.session_id, quoted.mission, quoted.text) == ("s2", None, "disk full")
        assert quoted.delivery_id == outcome.delivery_id
        assert noted(agent.shown[answer]) == ["disk full"]
        assert agent.shown[answer][-1].text == answer
        assert texts(tg) == [f"re: {answer}"]
        assert bound(stage.store) == before


async def test_a_quote_of_somebody_elses_message_id_points_to_nothing() -> None:
    """He quoted a number, and was shown what had been said to her."""
    agent, (tg, dc) = Listener(), apps("tg", "dc")
    async with on_stage(agent, tg, dc) as stage:
        await say(tg, "hi", "1")
        await say(tg, "hi", "2")
        await say(dc, "hi", "1")
        outcome = await stage.runtime.send_message("s2", "for alice", home("tg", "1"))
        for text, channel, user_id in (("mine?", tg, "2"), ("here?", dc, "1")):
            await say(channel, text, user_id, reply_to=outcome.platform_message_id)
            assert agent.quoted[text] is None
        await say(tg, "of nothing", "1", reply_to="no such message")
        assert agent.quoted["of nothing"] is None


async def test_a_turn_sees_its_own_session_and_no_other_humans() -> None:
    """The tool `get_session` gave Bob's agent whatever Alice had said."""
    mine, hers, none = Curious("s2"), Curious("s1"), Curious("s77")
    agent = Listener({"me": mine, "her": hers, "nobody": none})
    (tg,) = apps("tg")
    async with on_stage(agent, tg) as stage:
        await say(tg, "a secret", "1")
        await say(tg, "hi", "2")
        await stage.runtime.send_message("s1", "psst", home("tg", "2"))
        for text in agent.scripts:
            await say(tg, text, "2")
        assert (hers.found, none.found) == ([None], [None])
        (seen,) = mine.found
        assert seen is not None
        assert seen.id == "s2"
        assert "a secret" not in [message.text for message in seen.messages]
        assert noted(seen.messages) == ["psst"]


async def test_after_a_link_is_undone_neither_sees_the_others_session() -> None:
    """We had been linked by mistake for an hour, and could go on reading each other."""
    hers, his = Curious("s2"), Curious("s1")
    agent = Listener({"hers": hers, "his": his})
    tg, dc = apps("tg", "dc")
    async with on_stage(agent, tg, dc) as stage:
        await say(tg, "of alice")
        await say(dc, "of bob")
        await stage.runtime.link("tg", "1", "alice")
        await stage.runtime.link("dc", "1", "alice")
        await stage.runtime.undo()
        await say(tg, "hers")
        await say(dc, "his")
        assert (hers.found, his.found) == ([None], [None])
        assert "of bob" not in [message.text for message in agent.shown["hers"]]
        assert "of alice" not in [message.text for message in agent.shown["his"]]
        assert_sound(stage.store)


async def test_an_answer_that_quotes_nothing_still_finds_the_note_before_it() -> None:
    """Most people do not quote: they just answer."""
    agent, (tg,) = Listener(), apps("tg")
    async with on_stage(agent, tg) as stage:
        await say(tg, "hi", "1")
        await say(tg, "hi", "2")
        outcome = await stage.runtime.send_message("s2", "disk full", home("tg", "1"))
        assert await say(tg, "which disk?", "1") == "s1"
        *_, note, answer = agent.shown["which disk?"]
        assert (note.kind, note.role, answer.text) == ("note", "assistant", "which disk?")
        assert note.source is not None
        assert note.source.session_id == "s2"
        assert note.source.delivery_id == outcome.delivery_id
        (header, *_) = foretold([note])[0].text.splitlines()
        assert 'get_session("s2")' in header
        assert agent.quoted["which disk?"] is None


# -- long messages, and what the platform tells later ------------------------------------------


LONG = " ".join(f"disk {number} is full." for number in range(12))


async def test_a_quote_of_any_part_of_a_long_message_leads_to_the_whole() -> None:
    """Its alert came as five messages; the answer to the last of them was an answer to nothing."""
    agent = Listener()
    tg = LoopbackChannel("tg", platform="tg", powers=ChannelPowers(text_limit=60))
    async with on_stage(agent, tg) as stage:
        await say(tg, "hi", "1")
        await say(tg, "hi", "2")
        outcome = await stage.runtime.send_message("s2", LONG, home("tg", "1"))
        parts = [sent for sent in tg.sent if sent.delivery_id == outcome.delivery_id]
        assert len(parts) == len(outcome.parts) > 3
        for sent in parts:
            text = f"about {sent.part}"
            await say(tg, text, "1", reply_to=sent.message_id)
            quoted = agent.quoted[text]
            assert quoted is not None
            assert (quoted.delivery_id, quoted.text) == (outcome.delivery_id, LONG)
        assert noted(agent.shown["about 1"]) == [LONG]
        assert_sound(stage.store)


@pytest.mark.parametrize("end", ["stop", "crash"])
async def test_half_a_message_is_noted_as_half_and_once_the_rest_has_come_still_once(
    end: End,
) -> None:
    """It had reported a failure, so nobody knew that she had read half of it."""
    powers = ChannelPowers(text_limit=60)
    tg = LoopbackChannel("tg", platform="tg", powers=powers)
    async with on_stage(Listener(), tg) as stage:
        await say(tg, "hi", "1")
        await say(tg, "hi", "2")
        tg.fail_next("rejected", after=2)
        half = await stage.runtime.send_message("s2", LONG, home("tg", "1"))
        assert (half.status, half.provenance, half.noted_in) == ("failed", "recorded", "s1")
        assert half.delivery_id is not None
        arrived = texts(tg, "dm 1")[1:]
        disk = left_behind(end, stage)
    agent, tg = Listener(), LoopbackChannel("tg", platform="tg", powers=powers)
    async with on_stage(agent, tg, disk=disk) as stage:
        await say(tg, "it stopped in the middle", "1")
        (note,) = foretold(agent.shown["it stopped in the middle"])
        assert note.source is not None
        assert note.source.status == "partial"
        again = await stage.runtime.retry_delivery(half.delivery_id)
        assert again.status == "delivered"
        rest = [sent.text for sent in tg.sent if sent.delivery_id == half.delivery_id]
        assert "".join("".join(arrived + rest).split()) == "".join(LONG.split())
        await say(tg, "I have it all now", "1")
        assert noted(agent.shown["I have it all now"]) == [LONG]
        assert_sound(stage.store)


async def test_whoever_spoke_is_told_what_the_platform_tells_later() -> None:
    """The platform had accepted it and lost it; the agent said that it had told her."""
    agent, (tg,) = Listener(), apps("tg")
    async with on_stage(agent, tg) as stage:
        await say(tg, "hi", "1")
        await say(tg, "hi", "2")
        outcome = await stage.runtime.send_message("s2", "disk full", home("tg", "1"))
        assert outcome.platform_message_id is not None
        before = len(agent.given)
        for _ in range(2):
            assert await tg.receipt(outcome.platform_message_id, "failed", reason="blocked")
        assert len(agent.given) == before
        await say(tg, "has she read it?", "2")
        (told,) = foretold(agent.shown["has she read it?"], "receipt")
        assert outcome.delivery_id is not None
        assert outcome.delivery_id in told.text
        assert "did not arrive after all" in told.text
        await say(tg, "anything new?", "1")
        assert foretold(agent.shown["anything new?"], "receipt") == []
        assert_sound(stage.store)


async def test_a_session_whose_conversation_went_elsewhere_is_still_for_nobody_else() -> None:
    """What Ann had said was shown to Bob once her own session had lost her conversation."""
    tg = LoopbackChannel("tg")
    async with on_stage(echo, tg) as stage:
        for number, text in ((1, "my secret"), (2, "hi"), (3, "hi")):
            await tg.receive(text, conversation=f"c{number}", user_id=f"u{number}")
            await tg.next_sent()
        place = Address(Instance("tg"), "c2")
        await stage.runtime.send_message("s1", "psst", place)
        assert session_details(stage.store, "s2", "s1") is None
        await stage.runtime.move_binding("tg", "c1", session_id="s3")
        assert session_details(stage.store, "s2", "s1") is None
        assert session_details(stage.store, "s3", "s1") is not None, "it goes on there"
