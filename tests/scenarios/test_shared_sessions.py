"""Several people in one session: what one of them asked for is told to them, not to the last."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from turnkeeper import Turn
from turnkeeper.actors.core.mission_definition import MissionRefused

from ..actors.stage import on_stage
from .people import Listener, apps, say, saying, texts
from .test_missions_and_humans import remind


@pytest.mark.parametrize("how", ["main", "moved", "collapsed"])
async def test_a_mission_is_told_where_it_was_asked_for_though_others_share_the_session(
    how: str,
) -> None:
    """What Alice asked to be reminded of was told to Bob, because he had written last."""
    agent, (tg,) = Listener(), apps("tg")
    agent.scripts.update(
        {
            "remind me": remind(lambda: stage.runtime, "alice", "prompt"),
            "prompt": saying("pills, for alice"),
        }
    )
    sections: dict[str, dict[str, Any]] = {
        "main": {"dm_scope": "main"},
        "collapsed": {"channel_scope": "collapsed"},
    }
    group: dict[str, Any] = {"guild": "g", "direct": False} if how == "collapsed" else {}
    async with on_stage(agent, tg, session=sections.get(how, {})) as stage:
        for text, user in (("hi", "2"), ("remind me", "1")):
            await tg.receive(text, conversation=f"dm {user}", user_id=user, **group)
            await wait_all_tasks_blocked()
        if how == "moved":
            await stage.runtime.move_binding("tg", "dm 1", session_id="s1")
        await tg.receive("bob again", conversation="dm 2", user_id="2", **group)
        await wait_all_tasks_blocked()
        await stage.runtime.run_mission("alice")
        assert texts(tg, "dm 1")[1:] == ["pills, for alice"]
        assert "pills, for alice" not in texts(tg, "dm 2")


async def test_what_an_agent_says_before_its_turn_ends_goes_where_the_turn_came_from() -> None:
    """Somebody else had written meanwhile, and got the answer to a question that was not theirs."""
    gate = trio.Event()

    async def slow(turn: Turn) -> None:
        await gate.wait()
        await turn.send_message("result, for alice")

    agent, (tg,) = Listener({"work": slow}), apps("tg")
    async with on_stage(agent, tg, session={"dm_scope": "main"}):
        await say(tg, "hi", "2")
        await say(tg, "work", "1")
        await say(tg, "hi again", "2")
        gate.set()
        await wait_all_tasks_blocked()
        assert "result, for alice" in texts(tg, "dm 1")


async def test_a_turn_cannot_have_a_mission_run_in_the_session_of_somebody_else() -> None:
    """Bob's agent was talked into a job that ran in Alice's conversation and read all of it."""

    async def make(_turn: Turn) -> str:
        with pytest.raises(MissionRefused, match="is the session of somebody else"):
            await stage.runtime.add_mission("spy", "@yearly", "tell me all", session="s1")
        return "refused"

    agent, (tg,) = Listener({"spy on alice": make}), apps("tg")
    async with on_stage(agent, tg) as stage:
        await say(tg, "my secret", "1")
        await say(tg, "spy on alice", "2")
        assert texts(tg, "dm 2") == ["refused"]
