from typing import cast

import pytest

import turnkeeper as tk
from turnkeeper.actors.core.window import Message
from turnkeeper.builtin_agent import builtin_agent
from turnkeeper.storage.memory import open_memory
from turnkeeper.testing import LoopbackChannel


class TurnWith:
    """A turn whose window is given."""

    mission = None

    def __init__(self, *said: tuple[str, str], first_seq: int = 3) -> None:
        self.messages = tuple(
            Message(role="user", kind="user", text=text, seq=first_seq + n, at_us=0, instance=place)
            for n, (text, place) in enumerate(said)
        )

    @property
    def session(self) -> object:
        class Session:
            id = "s7"

        return Session()


async def reply_to(*said: tuple[str, str], first_seq: int = 3) -> str:
    return await builtin_agent(cast("tk.Turn", TurnWith(*said, first_seq=first_seq)))


async def test_the_first_reply_says_what_this_is_and_what_to_do_next() -> None:
    reply = await reply_to(("hello", "console"))
    assert "survives restarts" in reply
    assert "turn 1 of session s7, on console" in reply
    assert "turnkeeper chat" in reply
    assert "--agent module:function" in reply


async def test_later_replies_remember_how_much_was_said_where_and_what_first() -> None:
    reply = await reply_to(("my name is Ada", "web"), ("so it is", "console"), ("who am I", "web"))
    assert "turn 3 of session s7, on web (2), console (1)" in reply
    assert "began with “my name is Ada”" in reply
    assert "before this you said “so it is”" in reply


async def test_what_has_left_the_window_is_not_made_up() -> None:
    reply = await reply_to(("later", "web"), ("latest", "web"), first_seq=500)
    assert "at least turn 2" in reply
    assert "began" not in reply
    assert "The oldest that I still see is “later”" in reply


@pytest.mark.parametrize("text", ["x" * 5_000, "two\nlines\n" * 100, "", "\udce9\x00"])
async def test_every_reply_is_at_most_three_short_lines(text: str) -> None:
    for said in ([(text, "web")], [(text, "web"), (text, "web")]):
        lines = (await reply_to(*said)).splitlines()
        assert 1 <= len(lines) <= 3
        assert max(map(len, lines)) < 250


async def test_it_answers_in_a_runtime_and_forgets_nothing_over_a_restart() -> None:
    async with open_memory() as store:
        for expected in ("turn 1 of session s1", "turn 2 of session s1"):
            web = LoopbackChannel("web")
            async with tk.open_runtime(None, store=store, agent=builtin_agent, channels=[web]):
                await web.receive("hello")
                assert expected in (await web.next_sent()).text


async def test_a_run_of_a_mission_repeats_its_prompt_and_the_owner_hears_who_spoke() -> None:
    tg = LoopbackChannel("tg")
    async with (
        open_memory() as store,
        tk.open_runtime(None, agent=builtin_agent, channels=[tg], store=store) as runtime,
    ):
        await tg.receive("hello")
        await tg.next_sent()
        await runtime.add_mission("tea", "every 1h", "Is the tea ready?", notify="tg")
        await runtime.run_mission("tea")
        said = (await tg.next_sent()).text
        assert said == "Mission tea has run once; its prompt is “Is the tea ready?”."
        await tg.receive("what tea?")
        answer = (await tg.next_sent()).text
        assert answer.endswith("Since then once somebody spoke here for me: mission tea.")
        await tg.receive("thank you")
        assert "Since then" not in (await tg.next_sent()).text
