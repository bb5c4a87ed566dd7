"""What was said on Slack while nobody heard is read from the channels later, and heard once."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import turnkeeper as tk
from turnkeeper.channels import (
    handover,
    http_connections,
    slack_batch,
    slack_mentions,
    slack_missed,
    slack_progress,
)
from turnkeeper.channels.http_client import HttpClient
from turnkeeper.channels.slack import SlackChannel
from turnkeeper.storage.memory import MemoryDisk, open_memory

from .slack_platform import SlackWire, make_slack, open_slack_wire

pytestmark = pytest.mark.slow


class Heard:
    """The texts that agents were asked, in their order; a turn that is run again counts once."""

    def __init__(self) -> None:
        self.turns: dict[str, tk.Turn] = {}

    @property
    def texts(self) -> list[str]:
        return [turn.text for turn in self.turns.values()]

    async def agent(self, turn: tk.Turn) -> str:
        self.turns[turn.id] = turn
        return f"Heard {turn.text}"


@asynccontextmanager
async def life(
    wire: SlackWire, disk: MemoryDisk, heard: Heard, folder: Path | None = None, **keys: Any
) -> AsyncGenerator[SlackChannel]:
    """One process with the channel: everything but the disk is gone at its end."""
    channel = make_slack(wire, "slack")
    config = {
        "http": {"listen": "127.0.0.1:0"},
        "channels": {"slack": {"access": "open", "require_mention": True}},
    }
    async with (
        open_memory(disk) as store,
        tk.open_runtime(
            folder, agent=heard.agent, channels=[channel], store=store, config=config, **keys
        ),
    ):
        await until(lambda: channel.line.state != "starting")
        await wire.attached(channel)
        yield channel


async def until(holds: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not holds():  # noqa: ASYNC110  (nobody tells)
            await trio.sleep(0.01)


async def answered(wire: SlackWire, place: str, count: int) -> list[str]:
    """What the agent has said there, once it is so much."""
    with trio.fail_after(30):
        while len(shown := await wire.seen(place)) < count:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return [one.text for one in shown]


async def talk_before(wire: SlackWire, disk: MemoryDisk, heard: Heard, here: str) -> None:
    """A first life, in which something is said and answered."""
    async with life(wire, disk, heard):
        await wire.user_says("before", conversation=here)
        await answered(wire, here, 1)


@asynccontextmanager
async def outage(wire: SlackWire) -> AsyncGenerator[None]:
    """What is said meanwhile is given up by Slack before anybody hears again."""
    waits_s = wire.slack.deliveries.waits_s
    wire.slack.deliveries.waits_s = (0.0, 0.0, 0.0)
    yield
    await wire.slack.until_acknowledged()
    wire.slack.deliveries.waits_s = waits_s


def asked(wire: SlackWire, method: str) -> list[dict[str, Any]]:
    """The arguments of all calls of a method."""
    return [arguments for name, arguments, _ in wire.slack.calls if name == method]


either = pytest.mark.parametrize("hooked", [False, True], ids=["socket", "events"])


@either
async def test_what_is_said_in_a_long_outage_is_heard_as_it_stands(hooked: bool) -> None:
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire(hooked=hooked) as wire:
        here, there = wire.conversations
        await talk_before(wire, disk, heard, here)
        async with outage(wire):
            await wire.user_says("one", conversation=here)
            changed = await wire.user_says("to", conversation=here)
            await wire.edit(changed, "two", conversation=here)
            gone = await wire.user_says("gone", conversation=here)
            await wire.delete(gone, conversation=here)
            await wire.own_echo("by hand", conversation=here)
            await wire.other_bot_says("beep", conversation=here)
            await wire.user_says("three", conversation=here)
            await wire.user_says("never heard of", conversation=there)
        wire.slack.longest_page = 2
        async with life(wire, disk, heard):
            told = await answered(wire, here, 5)
            await wire.user_says("four", conversation=here)
            told = await answered(wire, here, 6)
        assert heard.texts == ["before", "one", "two", "three", "four"]
        assert told == ["Heard before", "by hand", *[f"Heard {text}" for text in heard.texts[1:]]]


async def test_threads_in_which_the_agent_takes_part_are_read_and_no_others() -> None:
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        group = wire.slack.general
        async with life(wire, disk, heard):
            known = await wire.user_says("known", conversation=group, mention=True)
            other = await wire.user_says("not for the agent", conversation=group)
            await answered(wire, group, 1)
        async with outage(wire):
            await wire.user_says("old", conversation=group, thread=known, mention=True)
            await wire.user_says("unseen", conversation=group, thread=other, mention=True)
            new = await wire.user_says("new", conversation=group, mention=True)
            noise = await wire.user_says("noise", conversation=group)
            await wire.user_says("ours", conversation=group, thread=new, mention=True)
            await wire.user_says("theirs", conversation=group, thread=noise)
            await wire.user_says("old too", conversation=group, thread=known, mention=True)
        async with life(wire, disk, heard):
            await answered(wire, group, 5)
        assert {one["ts"] for one in asked(wire, "conversations.replies")} == {known, new}
        threads: dict[str | None, list[str]] = {}
        for turn in heard.turns.values():
            threads.setdefault(turn.context.thread_id, []).append(turn.text)
        assert threads == {known: ["known", "old", "old too"], new: ["new", "ours"]}


async def test_what_slack_delivers_again_after_it_was_read_is_heard_once() -> None:
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here = wire.conversations[0]
        deliveries = wire.slack.deliveries
        deliveries.retries_at_connect = False
        await talk_before(wire, disk, heard, here)
        for number in range(3):
            await wire.user_says(f"number {number}", conversation=here)
        async with life(wire, disk, heard):
            await answered(wire, here, 4)
            await wire.slack.retry_now()
            await wire.slack.until_acknowledged()
            await wire.user_says("after", conversation=here)
            told = await answered(wire, here, 5)
        expected = ["before", "number 0", "number 1", "number 2", "after"]
        assert heard.texts == expected
        assert told == [f"Heard {text}" for text in expected]


async def test_what_comes_live_is_behind_what_was_missed_in_its_channel() -> None:
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here, there = wire.conversations
        await talk_before(wire, disk, heard, here)
        async with outage(wire):
            await wire.user_says("missed", conversation=here)
        held = wire.slack.holds("conversations.history")
        async with life(wire, disk, heard):
            with trio.fail_after(30):
                await held.reached.wait()
            await wire.user_says("live", conversation=here)
            await wire.user_says("elsewhere", conversation=there)
            await answered(wire, there, 1)
            held.released.set()
            await answered(wire, here, 3)
        assert heard.texts == ["before", "elsewhere", "missed", "live"]


async def test_a_slack_that_slows_us_down_holds_up_nothing_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slack_missed, "_HOLD_S", 0.1)
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here = wire.conversations[0]
        await talk_before(wire, disk, heard, here)
        async with outage(wire):
            await wire.user_says("missed", conversation=here)
        wire.slack.limits("conversations.history", retry_after_s=1, times=2)
        async with life(wire, disk, heard):
            await wire.user_says("live", conversation=here)
            await answered(wire, here, 2)
            assert heard.texts == ["before", "live"]
            await answered(wire, here, 3)
        assert heard.texts == ["before", "live", "missed"]
        outcomes = [end for name, _, end in wire.slack.calls if name == "conversations.history"]
        assert outcomes == ["ratelimited", "ratelimited", "ok"]


async def test_what_was_live_meanwhile_moves_no_mark_past_what_is_still_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slack_missed, "_HOLD_S", 0.0)
    monkeypatch.setattr(slack_progress, "LAG_S", 0)
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here = wire.conversations[0]
        await talk_before(wire, disk, heard, here)
        async with outage(wire):
            await wire.user_says("missed", conversation=here)
        held = wire.slack.holds("conversations.history")
        async with life(wire, disk, heard):
            with trio.fail_after(30):
                await held.reached.wait()
            await wire.user_says("live", conversation=here)
            await answered(wire, here, 2)
        held.released.set()
        async with life(wire, disk, heard):
            await answered(wire, here, 3)
        assert heard.texts == ["before", "live", "missed"]


async def test_a_process_that_is_killed_while_it_catches_up_loses_and_repeats_nothing(
    tmp_path: Path,
) -> None:
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here = wire.conversations[0]
        await talk_before(wire, disk, heard, here)
        wire.slack.world.places[here].connected = True  # so that files are asked for
        async with outage(wire):
            await wire.user_says("one", conversation=here)
            await wire.user_sends_file("a.txt", b"two", "text/plain", conversation=here)
            await wire.user_says("three", conversation=here)
        held = wire.slack.holds("files.info")
        async with life(wire, disk, heard, folder=tmp_path):
            await answered(wire, here, 2)
            with trio.fail_after(30):
                await held.reached.wait()
            survived = disk.copy()
        held.released.set()
        again = Heard()
        async with life(wire, survived, again, folder=tmp_path):
            told = await answered(wire, here, 4)
        assert heard.texts == ["before", "one"]
        assert again.texts[-2:] == ["", "three"]
        assert told == ["Heard before", "Heard one", "Heard", "Heard three"]


async def test_a_missing_scope_is_said_once_and_what_comes_live_is_heard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here, there = wire.conversations
        async with life(wire, disk, heard):
            for place in (here, there):
                await wire.user_says("before", conversation=place)
                await answered(wire, place, 1)
        async with outage(wire):
            await wire.user_says("lost", conversation=here)
        wire.slack.scopes.discard("im:history")
        async with life(wire, disk, heard) as channel:
            await until(lambda: len(asked(wire, "conversations.history")) == 2)
            await wire.user_says("now", conversation=here)
            await answered(wire, here, 2)
            assert "im:history" in channel.line.warning
        said = [one for one in caplog.messages if "im:history" in one]
        assert len(said) == 1
        assert heard.texts == ["before", "before", "now"]


async def test_a_channel_that_the_bot_has_left_is_asked_for_once() -> None:
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        group = wire.slack.general
        async with life(wire, disk, heard):
            await wire.user_says("hello", conversation=group, mention=True)
            await answered(wire, group, 1)
        await wire.slack.removes_bot(group)
        for _ in range(2):
            async with life(wire, disk, heard) as channel:
                await wire.user_says("ping", conversation=wire.conversations[0])
                await until(lambda: "ping" in heard.texts)
                await until(lambda: len(asked(wire, "conversations.history")) >= 1)
                assert channel.line.warning == ""
        assert [one["channel"] for one in asked(wire, "conversations.history")].count(group) == 1


async def test_more_than_the_bound_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (slack_batch, slack_missed):
        monkeypatch.setattr(module, "MISSED_MESSAGES", 4)
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here = wire.conversations[0]
        await talk_before(wire, disk, heard, here)
        async with outage(wire):
            for number in range(6):
                await wire.user_says(str(number), conversation=here)
        wire.slack.longest_page = 3
        async with life(wire, disk, heard) as channel:
            await answered(wire, here, 5)
            await until(lambda: channel.line.warning != "")
            assert channel.line.warning.startswith("over 4 messages were missed in channel")
        assert heard.texts == ["before", "2", "3", "4", "5"]


def curt(base_url: str, **keys: Any) -> HttpClient:
    """A client that reads short answers only."""
    keys["max_answer_bytes"] = 4_000
    return HttpClient(base_url, **keys)


async def test_pages_that_are_too_long_are_read_in_shorter_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here, there = wire.conversations
        async with life(wire, disk, heard):
            for place in (there, here):
                await wire.user_says(f"hello {place}", conversation=place)
                await answered(wire, place, 1)
        async with outage(wire):
            for number in range(6):
                await wire.user_says(f"{number}" * 500, conversation=here)
            await wire.user_says("one that is too long by itself " * 500, conversation=there)
            await wire.user_says("after it", conversation=there)
        monkeypatch.setattr(http_connections, "HttpClient", curt)
        monkeypatch.setattr(slack_missed, "_PAGE", 8)
        monkeypatch.setattr(handover, "AGAIN_AFTER_S", (0.01,))
        async with life(wire, disk, heard) as channel:
            await answered(wire, here, 7)
            await answered(wire, there, 2)
            await until(lambda: "page of missed messages" in channel.line.warning)
        assert [text[0] for text in heard.texts if len(text) == 500] == list("012345")
        assert "after it" in heard.texts


async def test_what_is_older_than_a_day_is_left_out_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="turnkeeper.channels.slack_missed")
    disk, heard = MemoryDisk(), Heard()
    async with open_slack_wire() as wire:
        here = wire.conversations[0]
        await talk_before(wire, disk, heard, here)
        async with outage(wire):
            await wire.user_says("long ago", conversation=here)
        monkeypatch.setattr(slack_missed, "MISSED_AGE_S", -60)
        async with life(wire, disk, heard):
            await until(lambda: any("more than a day ago" in one for one in caplog.messages))
            await until(lambda: bool(asked(wire, "conversations.history")))
            await wire.user_says("now", conversation=here)
            await answered(wire, here, 2)
        assert heard.texts == ["before", "now"]


async def test_what_is_refused_until_slack_gives_up_is_read_later() -> None:
    class Moody:
        in_memory = True
        fails = True

        async def resolve(self, platform: str, user_id: str) -> str:
            if self.fails:
                raise OSError("the directory is away")
            return f"{platform}:{user_id}"

        async def link(self, platform: str, user_id: str, user: str) -> None: ...
        async def unlink(self, platform: str, user_id: str) -> None: ...
        async def links(self, user: str | None = None) -> tuple[()]:
            return ()

    disk, heard, directory = MemoryDisk(), Heard(), Moody()
    async with open_slack_wire(hooked=True) as wire:
        here = wire.conversations[0]
        async with life(wire, disk, heard, identity_resolver=directory):
            async with outage(wire):
                await wire.user_says("patience", conversation=here)
            directory.fails = False
            assert await answered(wire, here, 1) == ["Heard patience"]
        (first, _, _), *_ = log = wire.slack.deliveries.log
        assert [end for event, _, end in log if event == first] == ["http_error"] * 4


async def test_a_connection_that_is_replaced_in_time_leaves_nothing_to_read() -> None:
    async with open_slack_wire() as wire:
        heard = Heard()
        async with life(wire, MemoryDisk(), heard):
            here = wire.conversations[0]
            await wire.user_says("before", conversation=here)
            await answered(wire, here, 1)
            wire.slack.deliveries.disconnect("refresh_requested", close=False)
            await wire.slack.until_connected(2)
            await wire.user_says("after", conversation=here)
            await answered(wire, here, 2)
        assert asked(wire, "conversations.history") == []


# -- mentions ------------------------------------------------------------------------------------


@either
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_mention_that_lacks_the_files_of_its_message_is_left_to_that(
    when: str, hooked: bool
) -> None:
    async with open_slack_wire(hooked=hooked) as wire:
        world, heard = wire.slack.world, Heard()
        world.mentions, world.mentions_have_files = when, False
        group = wire.slack.general
        async with life(wire, MemoryDisk(), heard):
            await wire.slack.user_says(
                group,
                await wire.slack.add_user("Cleo"),
                f"<@{wire.slack.bot}> see",
                files=[("a.txt", b"all of it")],
            )
            await answered(wire, group, 1)
            await wire.slack.until_acknowledged()
        (turn,) = heard.turns.values()
        assert turn.text == "see"
        assert [one.name for one in turn.attachments] == ["a.txt"]
        assert len(await wire.seen(group)) == 1


async def test_a_bot_that_hears_mentions_alone_waits_for_a_message_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_slack_wire() as wire:
        wire.slack.world.mentions = "alone"
        group, heard = wire.slack.general, Heard()
        async with life(wire, MemoryDisk(), heard):
            began = trio.current_time()
            await wire.user_says("first", conversation=group, mention=True)
            await answered(wire, group, 1)
            assert trio.current_time() - began >= 1.0
            monkeypatch.setattr(slack_mentions, "_WAIT_S", 3600.0)
            await wire.user_says("second", conversation=group, mention=True)
            await answered(wire, group, 2)
        assert heard.texts == ["first", "second"]
