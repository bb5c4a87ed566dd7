"""`sessions compact`, as it is typed; and a summary as `feed --follow` and `verify` show it."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
import trio

import turnkeeper as tk
from turnkeeper.commands.base import INTERRUPTED, Exit
from turnkeeper.commands.compaction import COMMANDS

from .command import terminal
from .gateway import HOW, Gateway

pytestmark = pytest.mark.timeout(120)

TOLD: Final = re.compile(
    r"s1: (\d+) messages summarised, ([\d,]+) → ([\d,]+) tokens \(record s1/(\d+)\)\n"
)
ESTIMATE: Final = {"token_counter": "estimate"}


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys, config={"session": ESTIMATE})


async def summarise(request: tk.SummaryRequest) -> str:
    await trio.lowlevel.checkpoint()
    return f"They spoke of rooms, in {len(request.messages)} messages."


async def fail(_request: tk.SummaryRequest) -> str:
    await trio.lowlevel.checkpoint()
    raise ConnectionError("no model\x1b[2J here")


async def talk(gateway: Gateway, turns: int = 16) -> None:
    for number in range(turns):
        await gateway.say("tg", "1", f"Bob and Carol meet in room {number}. " * 8)


async def greet(gateway: Gateway) -> None:
    await gateway.say("tg", "1", "hi")


async def _compacted(gateway: Gateway, session: str = "") -> re.Match[str]:
    config = gateway.state_dir.parent / "tk.toml"
    config.write_text(f"[session]\n{session}\n", encoding="utf-8")
    out = await gateway.done("sessions", "compact", "s1", "--config", config)
    found = TOLD.fullmatch(out)
    assert found is not None, out
    return found


def _number(text: str) -> int:
    return int(text.replace(",", ""))


@pytest.mark.parametrize("how", HOW)
async def test_it_tells_what_was_summarised_and_where_the_record_is(
    gateway: Gateway, how: str
) -> None:
    async with gateway.after(talk, how):
        told = await _compacted(gateway, 'token_counter = "estimate"')
    messages, before, after, seq = map(_number, told.groups())
    assert messages > 16
    assert after < before
    context = json.loads(await gateway.done("sessions", "context", "s1", "--json"))
    assert [message["kind"] for message in context].count("summary") == 1
    assert context[0]["seq"] == seq
    assert len(context) == 32 - messages + 1
    info = json.loads(await gateway.done("sessions", "info", "s1", "--json"))
    assert (info["state"], info["summary"]) == ("compacted", seq)
    assert info["context_tokens"] == after
    assert "no problems" in await gateway.done("verify")
    async with gateway.up():  # and the conversation goes on
        assert await gateway.say("tg", "1", "still there?") == "telegram:1 said still there?"


@pytest.mark.parametrize("how", HOW)
async def test_as_json_it_is_what_a_program_gets(gateway: Gateway, how: str) -> None:
    async with gateway.after(talk, how):
        done = json.loads(await gateway.done("sessions", "compact", "s1", "--json"))
    assert done.keys() == {
        "status",
        "session_id",
        "seq",
        "tokens_before",
        "tokens_after",
        "messages",
        "fault",
    }
    assert (done["status"], done["session_id"], done["fault"]) == ("compacted", "s1", None)


@pytest.mark.parametrize("how", HOW)
async def test_where_there_is_nothing_to_summarise_it_says_so_and_is_content(
    gateway: Gateway, how: str
) -> None:
    async with gateway.after(greet, how):
        out = await gateway.done("sessions", "compact", "s1")
        assert out.startswith("s1: nothing summarised, ")
        assert re.search(r"its context has \d+ tokens\n$", out)


async def test_where_nothing_has_been_said_it_says_so(gateway: Gateway) -> None:
    async with gateway.after(greet, "at rest"):
        await gateway.done("sessions", "clear", "s1")
        out = await gateway.done("sessions", "compact", "s1")
    assert out == "s1: nothing summarised, nothing has been said in its context yet\n"


async def test_without_a_configuration_the_window_is_that_of_the_newest_runtime(
    gateway: Gateway,
) -> None:
    gateway.config = {"session": {"max_context_tokens": 6_000, "system_prompt": "Be brief."}}
    async with gateway.after(talk, "at rest"):
        told = TOLD.fullmatch(await gateway.done("sessions", "compact", "s1"))
    assert told is not None  # by the default window, all of it would have stayed
    assert _number(told[3]) < 0.17 * 6_000 + 200
    assert "no problems" in await gateway.done("verify")


@pytest.mark.parametrize("how", HOW)
async def test_a_session_that_nobody_has_is_named(gateway: Gateway, how: str) -> None:
    async with gateway.after(greet, how):
        complaint = await gateway.complaint(Exit.NOT_FOUND, "sessions", "compact", "s9")
        assert complaint.startswith("there is no session 's9'")


async def test_where_there_is_no_store_none_is_made(gateway: Gateway) -> None:
    await gateway.complaint(Exit.STATE, "sessions", "compact", "s1")
    assert not gateway.state_dir.exists()


async def test_a_summariser_that_failed_is_told_of_in_a_second_line(gateway: Gateway) -> None:
    gateway.config = {"session": {**ESTIMATE, "summariser_attempts": 1}}
    async with gateway.up(summariser=fail):
        await talk(gateway)
        out = await gateway.done("sessions", "compact", "s1")
        assert TOLD.match(out)
        _, why = out.splitlines()
        assert why == r"  the built-in summary stands: ConnectionError: no model\x1b[2J here"


async def test_at_rest_the_summariser_of_the_configuration_writes(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_mine.py").write_text(
        "async def summarise(request):\n"
        "    return f'{request.agent} and a human, {len(request.messages)} messages.'\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the working directory comes on it
    async with gateway.up():
        await talk(gateway)
    told = await _compacted(gateway, 'summariser = "of_mine:summarise"')
    first, *_ = json.loads(await gateway.done("sessions", "context", "s1", "--json"))
    assert first["text"].endswith(f"\n| main and a human, {told[1]} messages.")
    (tmp_path / "tk.toml").write_text('[session]\nsummariser = "gone:x"\n', encoding="utf-8")
    words = ("sessions", "compact", "s1", "--config", tmp_path / "tk.toml")
    assert "there is no module 'gone'" in await gateway.complaint(Exit.USAGE, *words)


async def test_a_message_that_waits_for_its_agent_still_waits_after_a_compaction_at_rest(
    gateway: Gateway,
) -> None:
    begun = trio.Event()

    async def slow(turn: tk.Turn) -> str:
        if turn.text == "wait":
            begun.set()
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return "noted"

    gateway.config = {"session": ESTIMATE, "runtime": {"stop_deadline_s": 0.0}}
    async with gateway.up(agent=slow):
        await talk(gateway)
        await gateway.channels["tg"].receive("wait", conversation="dm-1", user_id="1")
        await begun.wait()
    assert (await _compacted(gateway))[1] != "0"
    info = json.loads(await gateway.done("sessions", "info", "s1", "--json"))
    assert info["open_turns"] == 1
    async with gateway.up():
        channel = gateway.channels["tg"]
        while not channel.sent:
            await channel.next_sent()
        assert channel.sent[-1].text == "telegram:1 said wait"
    assert "no problems" in await gateway.done("verify")


async def test_a_summary_is_a_line_of_the_feed(gateway: Gateway) -> None:
    async with gateway.up(summariser=summarise) as runtime:
        await talk(gateway)
        with terminal("feed", "--follow", "--state", gateway.state_dir) as feed:
            await trio.to_thread.run_sync(feed.wait_for, "following the runtime")
            done = await runtime.compact("s1")
            for shown in (f"summary       s1/{done.seq}  ", f"  {done.messages} messages, "):
                await trio.to_thread.run_sync(feed.wait_for, shown)


# -- while it takes its time ---------------------------------------------------------------------


def _hold() -> tuple[trio.Event, Callable[[tk.SummaryRequest], Any]]:
    go_on = trio.Event()

    async def held(request: tk.SummaryRequest) -> str:
        await go_on.wait()
        return await summarise(request)

    return go_on, held


@pytest.mark.slow
async def test_a_terminal_is_shown_that_it_goes_on(gateway: Gateway) -> None:
    go_on, held = _hold()
    async with gateway.up(summariser=held):
        await talk(gateway)
        with terminal("sessions", "compact", "s1", "--state", gateway.state_dir) as shown:
            await trio.to_thread.run_sync(shown.wait_for, "summarising s1 … ")
            go_on.set()
            await trio.to_thread.run_sync(shown.wait_for, "messages summarised")
            assert await trio.to_thread.run_sync(shown.wait) == Exit.OK


@pytest.mark.slow
async def test_whoever_stops_waiting_is_told_that_it_goes_on(gateway: Gateway) -> None:
    go_on, held = _hold()
    async with gateway.up(summariser=held) as runtime:
        await talk(gateway)
        with terminal("sessions", "compact", "s1", "--state", gateway.state_dir) as shown:
            await trio.to_thread.run_sync(shown.wait_for, "summarising s1 … ")
            shown.process.send_signal(signal.SIGINT)
            await trio.to_thread.run_sync(shown.wait_for, "it goes on")
            assert await trio.to_thread.run_sync(shown.wait) == INTERRUPTED
        async with runtime.feed() as events:
            go_on.set()
            async for event in events:
                if event.kind == "summary":
                    break
        assert (await runtime.session("s1")).summary is not None


def test_the_help_says_when_it_happens_by_itself() -> None:
    (command,) = COMMANDS
    assert command.words == ("sessions", "compact")
    assert "by itself" in command.details
