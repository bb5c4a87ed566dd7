"""What an agent saw, shown again: by turn, by time, in a runtime and from the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from turnkeeper import Message, Turn, UnknownSession
from turnkeeper.cli import main
from turnkeeper.moments import parse_moment
from turnkeeper.outlook import resting_outlook
from turnkeeper.replaying import context_at
from turnkeeper.storage.memory import MemoryDisk, open_memory
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import START, on_stage
from .states import fill

PAUSE_S = 3_600


async def lived(seen: dict[int, tuple[Message, ...]]) -> MemoryDisk:
    """Three turns, an hour apart; `seen` is filled with the window of each."""

    async def agent(turn: Turn) -> str:
        seen[int(turn.id.partition("/")[2])] = turn.messages
        return f"re {turn.text}"

    disk, tg = MemoryDisk(), LoopbackChannel("tg")
    async with on_stage(agent, tg, disk=disk) as stage:
        for text in ("one", "two", "three"):
            await tg.receive(text)
            await tg.next_sent()
            await trio.sleep(PAUSE_S)
        assert stage.store.last_seq(1) == 3 + 3 * 3
    return disk


async def test_a_turn_is_shown_as_its_agent_saw_it(autojump_clock: MockClock) -> None:
    seen: dict[int, tuple[Message, ...]] = {}
    async with open_memory(await lived(seen)) as store:
        outlook = resting_outlook(store)
        assert list(seen) == [4, 7, 10]
        for seq, window in seen.items():
            assert context_at(store, "s1", seq, outlook) == window
        assert context_at(store, "s9", 4, outlook) is None


async def test_a_time_leads_to_the_newest_turn_of_then(autojump_clock: MockClock) -> None:
    seen: dict[int, tuple[Message, ...]] = {}
    async with open_memory(await lived(seen)) as store:
        outlook = resting_outlook(store)
        second = START + timedelta(seconds=PAUSE_S)
        elsewhere = second.astimezone(timezone(timedelta(hours=5)))
        for at in (second, second.replace(tzinfo=None), elsewhere, second + timedelta(minutes=59)):
            assert context_at(store, "s1", at, outlook) == seen[7]
        assert context_at(store, "s1", second - timedelta(minutes=1), outlook) == seen[4]
        assert context_at(store, "s1", second + timedelta(days=9), outlook) == seen[10]
        with pytest.raises(LookupError, match=r"no turn of s1 .* by .*: it was opened at 2026-01"):
            context_at(store, "s1", START - timedelta(days=1), outlook)


@pytest.mark.parametrize(
    ("seq", "complaint"),
    [
        (0, "s1 has no record 0: its log goes from 1 to 12"),
        (13, "s1 has no record 13: its log goes from 1 to 12"),
        (2**70, "its log goes from 1 to 12"),
        (1, "record 1 of s1 is no turn: its kind is 'opened'$"),
        (8, "record 8 of s1 is no turn: its kind is 'assistant', and it belongs to turn 7"),
        (9, "record 9 of s1 is no turn: its kind is 'delivery', and it belongs to turn 7"),
    ],
)
async def test_what_is_no_turn_is_named_with_the_turn_that_may_be_meant(
    seq: int, complaint: str, autojump_clock: MockClock
) -> None:
    async with open_memory(await lived({})) as store:
        with pytest.raises(LookupError, match=complaint):
            context_at(store, "s1", seq, resting_outlook(store))


async def test_a_turn_that_waits_has_seen_nothing_yet() -> None:
    go = trio.Event()

    async def agent(turn: Turn) -> str:
        await go.wait()
        return turn.text

    tg = LoopbackChannel("tg")
    async with on_stage(agent, tg) as stage:
        await tg.receive("one")
        await tg.receive("two")
        with pytest.raises(LookupError, match="turn 5 has not begun: it waits behind turn 4"):
            await stage.runtime.context("s1", at=5)
        assert [m.text for m in await stage.runtime.context("s1", at=4)] == ["one"]
        with pytest.raises(UnknownSession):
            await stage.runtime.context("s9", at=4)
        go.set()
        for _ in range(2):
            await tg.next_sent()
        assert [m.text for m in await stage.runtime.context("s1", at=5)] == ["one", "one", "two"]
        assert [
            m.text for m in await stage.runtime.context("s1", at=START + timedelta(minutes=9))
        ] == [
            "one",
            "one",
            "two",
        ]


# -- the command line ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state_dir = tmp_path_factory.mktemp("replayed") / "state"
    fill(state_dir)
    return state_dir


def run(state: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["sessions", "context", *arguments, "--state", str(state)])
    out, err = capsys.readouterr()
    return code, out or err


def test_a_context_of_then_is_listed(filled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(filled, capsys, "s1", "--at", "7")
    assert code == 0
    told, heading, *rows = out.splitlines()
    assert told == "as the agent saw it in turn s1/7"
    assert heading.split() == ["SEQ", "TIME", "ROLE", "KIND", "TEXT"]
    assert [row.split("  ")[-1].strip() for row in rows] == ["hello", "you said hello", "hush"]
    assert [row.split()[3:5] for row in rows] == [
        ["user", "user"],
        ["assistant", "assistant"],
        ["user", "user"],
    ]
    now = datetime.now(UTC).isoformat()
    for at in ("0s", "0h ago", now):
        assert run(filled, capsys, "s1", "--at", at) == (0, out)
    code, printed = run(filled, capsys, "s1", "--at", "4", "--json")
    assert (code, [message["text"] for message in json.loads(printed)]) == (0, ["hello"])


def test_a_context_is_printed_as_a_provider_takes_it(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "you said hello"},
        {"role": "user", "content": "hush"},
    ]
    for form in ("openai", "anthropic"):
        code, out = run(filled, capsys, "s1", "--at", "7", "--format", form)
        assert (code, json.loads(out)) == (0, {"messages": said})


@pytest.mark.parametrize(
    ("at", "code", "complaint"),
    [
        ("99", 4, "s1 has no record 99: its log goes from 1 to"),
        ("5", 4, "its kind is 'assistant', and it belongs to turn 4"),
        ("2001-01-01", 4, "no turn of s1 had been accepted by 2001-01-01 00:00:00.000Z"),
        ("9999d", 4, "no turn of s1 had been accepted by"),
        ("yesterday", 2, "'yesterday' is no time: 2026-11-21T09:30 is one"),
        ("999999w", 2, "'999999w' is no time"),
    ],
)
def test_what_was_wrong_with_a_time_or_a_turn_is_said_in_a_line(
    at: str, code: int, complaint: str, filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got, err = run(filled, capsys, "s1", "--at", at)
    assert got == code
    assert complaint in err
    assert err.count("\n") == 1


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2h", NOW - timedelta(hours=2)),
        (" 90m ago ", NOW - timedelta(minutes=90)),
        ("3d", NOW - timedelta(days=3)),
        ("1w", NOW - timedelta(weeks=1)),
        ("30s", NOW - timedelta(seconds=30)),
        ("2026-11-21", NOW.replace(hour=0)),
        ("2026-11-21T09:30", NOW.replace(hour=9, minute=30)),
        ("2026-11-21 09:30:00Z", NOW.replace(hour=9, minute=30)),
        ("2026-11-21T09:30+05:30", NOW.replace(hour=4)),
    ],
)
def test_a_moment_is_read_as_it_is_typed(text: str, moment: datetime) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    "text", ["", "h", "2 h", "2y", "-2h", "soon", "2026-13-01", "0001-01-01T00:00+14:00", "٣h"]
)
def test_what_is_no_moment_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no time: 2026-11-21T09:30 is one \(UTC unless"):
        parse_moment(text, NOW)
