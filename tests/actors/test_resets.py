"""Sessions that begin anew by themselves, as a policy of the configuration says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from trio.testing import MockClock, wait_all_tasks_blocked

from turnkeeper import Config, ConfigError, Turn, open_runtime
from turnkeeper.actors.core.session_commands import ANSWERS
from turnkeeper.actors.core.view_records import ClearRecord
from turnkeeper.config import SessionConfig
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from .stage import START, kinds, log, on_stage

NOTICE = SessionConfig().reset_notice
DAILY = {"reset_daily_at": "04:00"}
HOUR_S = 3_600.0


class Agent:
    """Keeps what it saw."""

    def __init__(self) -> None:
        self.saw: list[list[str]] = []

    async def __call__(self, turn: Turn) -> str:
        self.saw.append([message.text for message in turn.messages])
        return f"re: {turn.text}"


async def ask(tg: LoopbackChannel, text: str, **where: Any) -> list[str]:
    """Write, and return what is said until the answer has come."""
    heard: list[str] = []
    await tg.receive(text, **where)
    while not heard or not heard[-1].startswith("re: "):
        heard.append((await tg.next_sent()).text)
    await wait_all_tasks_blocked()
    return heard


def markers(store: MemoryStore, stream: int = 1) -> list[str]:
    return [record.by for record in log(store, stream) if isinstance(record, ClearRecord)]


def problems(store: MemoryStore) -> list[Any]:
    now_us = int(START.timestamp() * 1e6)
    with store.snapshot() as reads:
        return list(Verification(reads, now_us).problems())


async def test_each_day_the_first_turn_begins_anew_and_it_is_said_before_the_answer(
    mock_clock: MockClock,
) -> None:
    agent = Agent()
    async with on_stage(agent, tg := LoopbackChannel("tg"), session=DAILY) as stage:
        assert await ask(tg, "one") == ["re: one"]
        mock_clock.jump(15 * HOUR_S)
        assert await ask(tg, "two") == ["re: two"]
        mock_clock.jump(2 * HOUR_S)
        assert await ask(tg, "three") == [NOTICE, "re: three"]
        assert await ask(tg, "four") == ["re: four"]
        assert agent.saw[1:3] == [["one", "re: one", "two"], ["three"]]
        assert agent.saw[3] == ["three", "re: three", "four"]
        assert markers(stage.store) == ["policy daily"]
        assert problems(stage.store) == []


async def test_after_a_while_without_a_turn_it_begins_anew(mock_clock: MockClock) -> None:
    agent = Agent()
    session = {"reset_after_idle_s": HOUR_S, "reset_notice": "Welcome back."}
    async with on_stage(agent, tg := LoopbackChannel("tg"), session=session) as stage:
        await ask(tg, "one")
        mock_clock.jump(HOUR_S - 1)
        assert await ask(tg, "two") == ["re: two"]
        mock_clock.jump(HOUR_S)
        assert await ask(tg, "three") == ["Welcome back.", "re: three"]
        assert agent.saw[-1] == ["three"]
        assert markers(stage.store) == ["policy idle"]


async def test_it_is_off_by_default(mock_clock: MockClock) -> None:
    async with on_stage(Agent(), tg := LoopbackChannel("tg")) as stage:
        await ask(tg, "one")
        mock_clock.jump(1_000 * HOUR_S)
        assert await ask(tg, "two") == ["re: two"]
        assert markers(stage.store) == []


async def test_the_turn_is_recognised_when_it_is_delivered_again(mock_clock: MockClock) -> None:
    disk = MemoryDisk()
    async with on_stage(Agent(), tg := LoopbackChannel("tg"), disk=disk, session=DAILY) as stage:
        await ask(tg, "one")
        mock_clock.jump(24 * HOUR_S)
        first = await tg.receive("two", message_id="m2")
        await wait_all_tasks_blocked()
        assert log(stage.store)[int(first.turn_id.partition("/")[2]) - 1].kind == "user"
        before = log(stage.store)
        assert await tg.receive("two", message_id="m2") == replace(first, duplicate=True)
        assert log(stage.store) == before
        assert problems(stage.store) == []


async def test_a_restart_in_between_makes_no_difference(mock_clock: MockClock) -> None:
    disk = MemoryDisk()
    async with on_stage(Agent(), tg := LoopbackChannel("tg"), disk=disk, session=DAILY):
        await ask(tg, "one")
    assert mock_clock.rate == 0
    later = START.replace(day=START.day + 1)
    agent = Agent()
    async with on_stage(agent, tg := LoopbackChannel("tg"), disk=disk, start=later, session=DAILY):
        assert await ask(tg, "two") == [NOTICE, "re: two"]
        assert agent.saw == [["two"]]


async def test_what_has_been_cleared_is_not_cleared_again(mock_clock: MockClock) -> None:
    async with on_stage(Agent(), tg := LoopbackChannel("tg"), session=DAILY) as stage:
        await ask(tg, "one")
        await tg.receive("/new")
        assert (await tg.next_sent()).text == ANSWERS["new"]
        mock_clock.jump(24 * HOUR_S)
        assert await ask(tg, "two") == ["re: two"]
        assert markers(stage.store) == ["user"]


async def test_a_note_that_came_meanwhile_stays_visible(mock_clock: MockClock) -> None:
    agent = Agent()
    async with on_stage(agent, tg := LoopbackChannel("tg"), session=DAILY) as stage:
        await ask(tg, "one")
        mock_clock.jump(24 * HOUR_S)
        await stage.runtime.mirror_to_session("s1", "3 new mails", source="cron")
        assert await ask(tg, "which ones?") == [NOTICE, "re: which ones?"]
        note, asked = agent.saw[-1]
        assert "3 new mails" in note
        assert asked == "which ones?"


async def test_a_mission_neither_begins_a_session_anew_nor_is_told(mock_clock: MockClock) -> None:
    agent = Agent()
    async with on_stage(agent, tg := LoopbackChannel("tg"), session=DAILY) as stage:
        await ask(tg, "one")
        await stage.runtime.add_mission("inbox", "every 100w", "anything new?", session="s1")
        mock_clock.jump(24 * HOUR_S)
        await stage.runtime.run_mission("inbox")
        await wait_all_tasks_blocked()
        assert markers(stage.store) == []
        assert agent.saw[-1] == ["one", "re: one", "anything new?"]


async def test_in_a_group_it_is_said_where_somebody_wrote(mock_clock: MockClock) -> None:
    async with on_stage(Agent(), tg := LoopbackChannel("tg"), session=DAILY):
        group = {"conversation": "g1", "thread": "t1", "direct": False}
        await ask(tg, "one", **group)
        mock_clock.jump(24 * HOUR_S)
        before = len(tg.sent)
        assert await ask(tg, "two", **group) == [NOTICE, "re: two"]
        told = tg.sent[before]
        assert (told.conversation, told.thread) == ("g1", "t1")


async def test_a_changed_policy_is_followed_at_once(mock_clock: MockClock) -> None:
    async with on_stage(Agent(), tg := LoopbackChannel("tg")) as stage:
        await ask(tg, "one")
        mock_clock.jump(24 * HOUR_S)
        wanted = {"session": {**DAILY, "reset_zone": "Asia/Tokyo", "reset_notice": "Good morning."}}
        reloaded = await stage.runtime.reload(wanted)
        keys = {"reset_daily_at", "reset_zone", "reset_notice"}
        assert set(reloaded.applied) == {f"[session] {key}" for key in keys}
        assert reloaded.waiting == ()
        assert await ask(tg, "two") == ["Good morning.", "re: two"]
        with pytest.raises(ConfigError, match=r"\[session\] reset_zone is none: there is no time"):
            await stage.runtime.reload({"session": {**DAILY, "reset_zone": "Mars/Olympus"}})
        await stage.runtime.reload({})
        mock_clock.jump(24 * HOUR_S)
        assert await ask(tg, "three") == ["re: three"]
        assert kinds(stage.store).count("clear") == 1


@pytest.mark.parametrize(
    ("session", "complaint"),
    [
        ({"reset_daily_at": "4 am"}, r"config: \[session\] reset_daily_at must be a time of day"),
        ({"reset_zone": "Nowhere"}, r"config: \[session\] reset_zone is none"),
        ({"reset_notice": ""}, r"config: \[session\] reset_notice is always said"),
        ({"reset_after_idle_s": float("nan")}, r"config: \[session\] reset_after_idle_s must be"),
    ],
)
async def test_what_makes_no_sense_is_refused_at_the_start(
    session: dict[str, Any], complaint: str
) -> None:
    for config in ({"session": session}, Config(session=SessionConfig(**session))):
        async with open_memory(MemoryDisk()) as store:
            with pytest.raises(ConfigError, match=complaint):
                async with open_runtime(None, agent=Agent(), store=store, config=config):
                    pass
