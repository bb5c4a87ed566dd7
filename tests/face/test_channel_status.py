"""`channels status` and `channels probe`: how channels are doing, told to those who run them."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from pathlib import Path

import pytest
import trio
import trio.testing

import turnkeeper as tk
from turnkeeper import kinds
from turnkeeper.channels.line import Line
from turnkeeper.cli import main
from turnkeeper.testing import LoopbackChannel

from ..actors.stage import echo, on_stage
from .command import environment, terminal
from .gateway import Gateway


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


class Wired(LoopbackChannel):
    """Says that it is connected."""

    async def run(self, deliver: tk.Deliver) -> None:
        self.line.up()
        await super().run(deliver)


async def test_a_status_tells_since_when_a_channel_stands_and_when_it_heard_something() -> None:
    tg = Wired("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        (status,) = await stage.runtime.channel_statuses()
        assert (status.name, status.state, status.breaks) == ("tg", "connected", 0)
        assert status.since is not None
        assert status.last_heard is not None
        assert timedelta(0) <= status.last_heard - status.since < timedelta(minutes=5)
        assert (status.last_error, status.next_try, status.warning) == (None, None, None)


async def test_a_channel_is_down_since_it_broke_however_often_it_was_tried_again() -> None:
    at_us = itertools.count(1_000_000, 1_000_000)
    line = Line(lambda: next(at_us))
    line.down("the cable is out", retry_in_s=2)
    began_us = line.since_us
    line.begin()
    line.down("it still is", retry_in_s=4)
    assert line.since_us == began_us < line.error_at_us
    assert (line.error, line.breaks) == ("it still is", 2)
    assert line.next_try_at_us == line.error_at_us + 4_000_000
    line.down("the token was revoked", refused=True)
    assert line.since_us == line.error_at_us > began_us


async def test_a_status_shows_the_fullest_lanes_and_why_the_first_delivery_waits() -> None:
    tg = Wired("tg")
    async with on_stage(echo, tg) as stage:
        tg.fail_next("rate_limited", retry_after_s=3_000.0)
        await tg.receive("one", conversation="c1")
        await tg.receive("two", conversation="c2", user_id="u2", thread="t")
        assert (await tg.next_sent()).text == "two"
        tg.hold()
        await tg.receive("three", conversation="c3", user_id="u3")
        await trio.testing.wait_all_tasks_blocked()
        (status,) = await stage.runtime.channel_statuses()
        assert status.waiting == 2
        first, second = status.lanes
        assert (first.conversation, first.waiting, first.reason) == ("c1", 1, "rate_limited")
        assert first.next_try is not None
        assert (second.conversation, second.waiting) == ("c3", 1)
        assert (second.next_try, second.reason) == (None, None)
        tg.release()


async def test_a_runtime_that_has_stopped_still_tells_how_its_channels_were() -> None:
    tg = Wired("tg")
    async with on_stage(echo, tg) as stage:
        await tg.receive("hi")
        await tg.next_sent()
    (status,) = await stage.runtime.channel_statuses()
    assert (status.name, status.waiting, status.lanes) == ("tg", 0, ())


async def test_the_command_shows_what_the_runtime_that_runs_says(gateway: Gateway) -> None:
    async with gateway.up():
        await gateway.say("tg", "u1")
        gateway.channels["dc"].line.down("the token was revoked", retry_in_s=300, refused=True)
        gateway.channels["tg"].line.warning = "another program polls"
        code, out, err = await gateway.run("channels", "status")
        assert code == 0
        head, tg, dc = out.splitlines()
        assert head.split("  ")[0] == "NAME"
        assert tg.split()[:3] == ["tg", "telegram", "connected"]
        assert dc.split()[:3] == ["dc", "discord", "refused"]
        assert dc.endswith("the token was revoked")
        assert err == "tg: another program polls\n"
        rows = json.loads(await gateway.done("channels", "status", "dc", "--json"))
        assert [row["name"] for row in rows] == ["dc"]
        assert rows[0]["next_try"] > rows[0]["last_error_at"]
        assert await gateway.complaint(4, "channels", "status", "xx") == (
            "no channel 'xx' runs; there is: tg, dc"
        )


async def test_without_a_runtime_the_command_says_what_can_be_asked(gateway: Gateway) -> None:
    async with gateway.up():
        pass
    complaint = await gateway.complaint(3, "channels", "status")
    assert complaint.startswith("no runtime runs on ")
    assert "`turnkeeper channels probe`" in complaint


class Asked(LoopbackChannel):
    """A platform that answers probes as its name says."""

    async def probe(self) -> tuple[tk.Check, ...]:
        if self.name == "away":
            raise tk.Unreachable("connection refused")
        if self.name == "nested":
            raise ExceptionGroup("in a nursery", [tk.Unreachable("connection reset")])
        if self.name == "broken":
            raise KeyError("a defect")
        good = self.name == "good"
        return (
            tk.Check(what="token", ok=True, detail="@bot"),
            tk.Check(what="may write", ok=good, detail="" if good else "invite it"),
        )


def probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, names: tuple[str, ...]
) -> int:
    monkeypatch.setitem(kinds.KINDS, "asked", "x:y")
    monkeypatch.setattr(kinds, "load_kind", lambda _kind: Asked)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    config = tmp_path / "turnkeeper.toml"
    config.write_text("".join(f'[channels.{name}]\nkind = "asked"\n' for name in names))
    return main(["channels", "probe", *arguments, "--config", str(config)])


def test_a_probe_lists_every_check_and_fails_if_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(tmp_path, monkeypatch, names=("good", "bad", "away")) == 1
    rows = [line.split(maxsplit=3) for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[-1]) for row in rows[-1:]] == [("away", "NO  connection refused")] or (
        rows[-1][0] == "away"
    )
    assert probe(tmp_path, monkeypatch, "good", names=("good", "bad")) == 0
    assert "bad" not in capsys.readouterr().out
    assert probe(tmp_path, monkeypatch, "--json", names=("bad",)) == 1
    assert json.loads(capsys.readouterr().out) == [
        {"name": "bad", "what": "token", "ok": True, "detail": "@bot"},
        {"name": "bad", "what": "may write", "ok": False, "detail": "invite it"},
    ]


def test_a_channel_that_breaks_when_it_is_asked_stops_no_other_from_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(tmp_path, monkeypatch, "--json", names=("broken", "nested", "good")) == 1
    rows = [(row["name"], row["detail"]) for row in json.loads(capsys.readouterr().out)]
    assert rows == [
        ("broken", "the channel broke: KeyError: 'a defect' (-v shows where)"),
        ("nested", "connection reset"),
        ("good", "@bot"),
        ("good", ""),
    ]


def test_a_probe_of_what_is_not_configured_names_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe(tmp_path, monkeypatch, "xx", names=("good",)) == 4
    assert capsys.readouterr().err == (
        "turnkeeper: no channel 'xx' is configured; there is: good\n"
    )


def test_what_to_do_is_shown_whole_on_a_narrow_terminal(tmp_path: Path) -> None:
    config = tmp_path / "turnkeeper.toml"
    config.write_text(
        "[channels.tg]\n"
        'kind = "telegram"\n'
        f'token = "1:{"a" * 35}"\n'
        'api_url = "http://127.0.0.1:9"\n',
        encoding="utf-8",
    )
    env = environment(COLUMNS="40")
    with terminal("channels", "probe", "--config", config, env=env) as shown:
        assert shown.wait() == 1
        row = shown.seen.splitlines()[-1]
    assert row.startswith("tg    reachable  NO")
    assert "cannot connect to 127.0.0.1:9" in row
    assert not row.endswith("…")
