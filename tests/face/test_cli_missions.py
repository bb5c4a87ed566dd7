import io
import json
import re
import sys
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

import turnkeeper as tk
from turnkeeper.config import load_config
from turnkeeper.control import RequestFailed, ask

from .command import TIMEOUT_S, running, turnkeeper
from .gateway import HOW, Gateway

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "missions.md"
ADD = ("missions", "add", "inbox", "0 9 * * mon-fri", "Look through the inbox.")
HEADING = "NAME SCHEDULE ZONE NEXT LAST STATUS DELIVERY NOTIFY"
MOMENT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    channels = '[channels.tg]\nkind = "websocket"\n[channels.dc]\nkind = "websocket"\n'
    (tmp_path / "tk.toml").write_text(channels, encoding="utf-8")
    return Gateway(tmp_path / "state", capsys)


def notify(gateway: Gateway, instance: str) -> tuple[object, ...]:
    """Options: speak there, which at rest is known from the configuration alone."""
    return "--notify", instance, "--config", gateway.state_dir.parent / "tk.toml"


async def ann_writes(gateway: Gateway) -> None:
    """s1: ann on tg."""
    await gateway.say("tg", "ann")


async def ann_has_an_inbox(gateway: Gateway) -> None:
    await ann_writes(gateway)
    await gateway.done(*ADD, *notify(gateway, "tg"))


async def fails(turn: tk.Turn) -> str:
    if turn.mission is None:
        return "hello"
    raise RuntimeError("broken on purpose")


async def hushes(turn: tk.Turn) -> str | None:
    return "hello" if turn.mission is None else None


async def names(gateway: Gateway) -> list[str]:
    """The missions that there are."""
    if gateway.runtime is not None:
        return [mission.name for mission in await gateway.runtime.missions()]
    listed = json.loads(await gateway.done("missions", "list", "--json"))
    return [mission["name"] for mission in listed]


# -- adding and looking --------------------------------------------------------------------------


@pytest.mark.parametrize("how", HOW)
async def test_an_added_mission_is_listed_and_shown(how: str, gateway: Gateway) -> None:
    async with gateway.after(ann_writes, how):
        out = await gateway.done(*ADD, *notify(gateway, "tg"), "--zone", "Europe/Berlin")
        first, *more = out.splitlines()
        assert re.fullmatch(rf"inbox is added, and is due at {MOMENT}", first)
        assert bool(more) == (how == "at rest")
        heading, row = (await gateway.done("missions", "list")).splitlines()
        assert heading.split() == [
            "NAME",
            "SCHEDULE",
            "ZONE",
            "NEXT",
            "LAST",
            "STATUS",
            "DELIVERY",
            "NOTIFY",
        ]
        assert re.fullmatch(rf"inbox +0 9 \* \* mon-fri +Europe/Berlin +{MOMENT} +- +- +- +tg", row)
        shown = (await gateway.done("missions", "show", "inbox")).splitlines()
        fields = dict(re.split(r" {2,}", line, maxsplit=1) for line in shown)
        assert fields["mission"] == "inbox"
        assert fields["schedule"] == "0 9 * * mon-fri"
        assert fields["zone"] == "Europe/Berlin"
        assert fields["session"] == "mission-inbox"
        assert fields["prompt"] == "Look through the inbox."
        assert (fields["running"], fields["runs"], fields["made by"]) == ("no", "0", "operator")


async def test_json_has_the_same_shape_live_and_at_rest(gateway: Gateway) -> None:
    added: list[dict[str, Any]] = []
    async with gateway.up():
        await ann_writes(gateway)
        added.append(json.loads(await gateway.done(*ADD, *notify(gateway, "tg"), "--json")))
        await gateway.done("missions", "remove", "inbox")
    added.append(json.loads(await gateway.done(*ADD, *notify(gateway, "tg"), "--json")))
    assert added[0] == added[1]
    due = datetime.fromisoformat(added[0].pop("next_due"))
    assert (due.hour, due.minute, due.utcoffset()) == (9, 0, timedelta(0))
    assert added[0] == {
        "name": "inbox",
        "schedule": "0 9 * * mon-fri",
        "zone": "UTC",
        "prompt": "Look through the inbox.",
        "agent": "main",
        "session_id": "mission-inbox",
        "notify": "tg",
        "on_behalf_of": None,
        "missed": "skip",
        "overlap": "skip",
        "jitter_s": 0.0,
        "on_failure": None,
        "paused": False,
        "running": False,
        "last_run": None,
        "runs": 0,
        "by": "operator",
        "last_skipped": None,
        "skipped_because": None,
        "notice": None,
    }
    (listed,) = json.loads(await gateway.done("missions", "list", "--json"))
    shown = json.loads(await gateway.done("missions", "show", "inbox", "--json"))
    assert shown == {"mission": listed, "last_runs": []}
    assert listed == added[1]


@pytest.mark.parametrize("how", HOW)
async def test_every_option_is_kept(how: str, gateway: Gateway) -> None:
    options = (
        *("--agent", "main", "--zone", "Asia/Tokyo", "--missed", "run_once"),
        *("--overlap", "queue_one", "--jitter", "1.5", "--on-failure", "dc"),
    )

    async def scene(gateway: Gateway) -> None:
        await ann_writes(gateway)
        await gateway.say("dc", "bob")

    async with gateway.after(scene, how):
        info = json.loads(await gateway.done(*ADD, *notify(gateway, "tg"), *options, "--json"))
    assert (info["notify"], info["agent"], info["zone"]) == ("tg", "main", "Asia/Tokyo")
    assert (info["missed"], info["overlap"]) == ("run_once", "queue_one")
    assert (info["jitter_s"], info["on_failure"]) == (1.5, "dc")


@pytest.mark.parametrize("how", HOW)
async def test_a_mission_can_run_in_a_session_that_exists(how: str, gateway: Gateway) -> None:
    async with gateway.after(ann_writes, how):
        info = json.loads(await gateway.done(*ADD, "--session", "s1", "--json"))
        assert (info["session_id"], info["notify"]) == ("s1", None)


@pytest.mark.parametrize("how", HOW)
async def test_a_mission_is_replaced_only_if_that_is_said(how: str, gateway: Gateway) -> None:
    async with gateway.after(ann_has_an_inbox, how):
        again = ("missions", "add", "inbox", "every 1h", "Again.")
        assert "replace it" in await gateway.complaint(1, *again)
        await gateway.done(*again, "--replace")
        (listed,) = json.loads(await gateway.done("missions", "list", "--json"))
        assert (listed["schedule"], listed["prompt"]) == ("every 1h", "Again.")


async def test_without_a_mission_the_list_says_how_to_make_one(gateway: Gateway) -> None:
    async with gateway.after(ann_writes, "at rest"):
        assert "turnkeeper missions add" in await gateway.done("missions", "list")
        assert json.loads(await gateway.done("missions", "list", "--json")) == []


async def test_a_limit_says_how_many_are_left_out(gateway: Gateway) -> None:
    async with gateway.after(ann_has_an_inbox, "at rest"):
        await gateway.done("missions", "add", "soon", "every 1s", "Now.")
        out = (await gateway.done("missions", "list", "--limit", "1")).splitlines()
        assert out[1].split()[0] == "soon"
        assert out[2] == "… and 1 more; --limit 0 lists all"


# -- changing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [pytest.param("live", marks=pytest.mark.slow), "at rest"])
async def test_a_mission_rests_goes_on_and_is_removed(how: str, gateway: Gateway) -> None:
    async with gateway.after(ann_has_an_inbox, how):
        assert await gateway.done("missions", "pause", "inbox") == "inbox is paused\n"
        row = (await gateway.done("missions", "list")).splitlines()[1]
        assert re.search(r"UTC +paused +- +- +- +tg$", row)
        resumed = (await gateway.done("missions", "resume", "inbox")).splitlines()
        assert re.fullmatch(rf"inbox is resumed, and is due at {MOMENT}", resumed[0])
        removed = (await gateway.done("missions", "remove", "inbox")).splitlines()
        assert removed == ["inbox is removed", "  what it said stays in the log of mission-inbox"]
        assert json.loads(await gateway.done("missions", "list", "--json")) == []
        assert (await gateway.done("verify")).endswith(" no problems\n")


@pytest.mark.parametrize("verb", ["show", "pause", "resume", "remove", "run"])
async def test_an_unknown_mission_is_not_found_and_the_nearest_is_named(
    verb: str, gateway: Gateway
) -> None:
    async with gateway.after(ann_has_an_inbox, "at rest"):
        near = await gateway.complaint(4, "missions", verb, "inbux")
        assert near == "there is no mission 'inbux'; did you mean 'inbox'?"
        far = await gateway.complaint(4, "missions", verb, "\x1b[2J\udce9")
        assert far.startswith("there is no mission")
        assert far.endswith("`turnkeeper missions list` shows them")


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize(
    ("arguments", "exit_code", "complaint"),
    [
        (("x", "0 9 * *", "p"), 1, "'0 9 * *' is no schedule; it is written as in '0 9 * * mon"),
        (("x", "every 0s", "p"), 1, "a period has from 1 second"),
        (("x", "at 1999-01-01T00:00", "p"), 1, "is over"),
        (("x", "@daily", "p", "--zone", "Europe/Berlni"), 1, "did you mean 'Europe/Berlin'?"),
        (("a b", "@daily", "p"), 1, "a b"),
        (("x" * 57, "@daily", "p"), 1, "56"),
        (("x", "@daily", ""), 1, "prompt"),
        (("x", "@daily", "p", "--notify", "tg", "--session", "s1"), 1, "notify"),
        (("x", "@daily", "p", "--session", "a b"), 1, "session"),
        (("x", "@daily", "p", "--missed", "never"), 2, "there is: skip, run_once"),
        (("x", "@daily", "p", "--overlap", "queue"), 2, "did you mean 'queue_one'?"),
        (("x", "@daily", "p", "--jitter", "-1"), 2, "--jitter: must be a number of seconds"),
        (("x", "@daily", "p", "--jitter", "nan"), 2, "--jitter: must be a number of seconds"),
        (("x", "@daily", "p", "--jitter", "soon"), 2, "--jitter: must be a number of seconds"),
        (("x", "@daily"), 2, "required: PROMPT"),
        (("x", "0", "9", "*", "*", "*"), 2, "unexpected"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_what_makes_no_sense_is_one_line_and_adds_nothing(
    arguments: tuple[str, ...], exit_code: int, complaint: str, how: str, gateway: Gateway
) -> None:
    async with gateway.after(ann_writes, how):
        words = ("missions", "add", *arguments, "--config", gateway.state_dir.parent / "tk.toml")
        assert complaint in await gateway.complaint(exit_code, *words)
        assert await names(gateway) == []


@pytest.mark.parametrize("option", ["--notify", "--on-failure"])
@pytest.mark.parametrize("how", HOW)
async def test_an_instance_that_is_not_there_is_refused_with_those_that_are(
    option: str, how: str, gateway: Gateway, tmp_path: Path
) -> None:
    path = tmp_path / "tk.toml"
    async with gateway.after(ann_writes, how):
        complaint = await gateway.complaint(
            2 if how == "at rest" else 1, *ADD, option, "nowhere", "--config", path
        )
        assert "'nowhere'" in complaint
        assert "tg" in complaint
        assert "dc" in complaint
        assert await names(gateway) == []
        await gateway.done(*ADD, option, "tg", "--config", path)


@pytest.mark.slow
async def test_what_the_configuration_makes_is_changed_there(
    gateway: Gateway, tmp_path: Path
) -> None:
    path = tmp_path / "tk.toml"
    path.write_text('[missions.inbox]\nschedule = "@daily"\nprompt = "Look."\n')
    async with gateway.after(ann_writes, "at rest"):
        complaint = await gateway.complaint(1, *ADD, "--config", path)
        assert complaint.endswith("change it there, under [missions.inbox]")
    async with gateway.up(config=path):
        for act in (ADD, (*ADD, "--replace"), ("missions", "remove", "inbox")):
            await gateway.complaint(1, *act, "--config", path)
        await gateway.done("missions", "pause", "inbox")
        await gateway.done("missions", "resume", "inbox")
    await gateway.complaint(1, "missions", "remove", "inbox", "--config", path)


async def test_nothing_is_added_where_there_is_no_store(gateway: Gateway) -> None:
    await gateway.complaint(3, *ADD)
    assert not gateway.state_dir.exists()


# -- the prompt ----------------------------------------------------------------------------------


async def test_a_prompt_of_a_dash_is_read_from_stdin(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway.after(ann_writes, "at rest"):
        monkeypatch.setattr(sys, "stdin", io.StringIO("Look here.\n\nAnd there.\n"))
        info = json.loads(await gateway.done("missions", "add", "x", "@daily", "-", "--json"))
        assert info["prompt"] == "Look here.\n\nAnd there."


@pytest.mark.parametrize(
    ("stdin", "exit_code", "complaint"),
    [
        (b"", 1, "the prompt is empty"),
        (b"\n", 1, "the prompt is empty"),
        (b"\xff\xfe", 2, "stdin is no utf-8 text"),
        (b"x" * 1_000_001, 1, "1000000 are allowed"),
        (b"x" * 2_000_000, 1, "1000000 are allowed"),
    ],
    ids=["empty", "blank", "undecodable", "too long", "much too long"],
)
async def test_what_stdin_holds_must_be_a_prompt(
    stdin: bytes,
    exit_code: int,
    complaint: str,
    gateway: Gateway,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with gateway.after(ann_writes, "at rest"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        add = ("missions", "add", "x", "@daily", "-")
        assert complaint in await gateway.complaint(exit_code, *add)
        assert await names(gateway) == []


async def test_without_stdin_there_is_no_prompt_to_read(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway.after(ann_writes, "at rest"):
        monkeypatch.setattr(sys, "stdin", None)
        assert "stdin" in await gateway.complaint(2, "missions", "add", "x", "@daily", "-")


async def test_hostile_text_is_escaped_where_it_is_shown(gateway: Gateway) -> None:
    hostile = "\x1b[2J\u202egnp\n tail"
    async with gateway.after(ann_writes, "at rest"):
        await gateway.done("missions", "add", "x", "@daily", hostile)
        shown = await gateway.done("missions", "show", "x")
        out = await gateway.done("missions", "show", "x", "--json")
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", shown)
    assert json.loads(out)["mission"]["prompt"] == hostile


# -- running -------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_run_prints_its_status_and_each_delivery(gateway: Gateway) -> None:
    async with gateway.up():
        await ann_has_an_inbox(gateway)
        first, second = (await gateway.done("missions", "run", "inbox")).splitlines()
        assert re.fullmatch(
            r"run 1 of inbox: answered; `turnkeeper explain mission-inbox/\d+`", first
        )
        assert re.fullmatch(r"  mission-inbox/\d+  delivered", second)
        assert gateway.channels["tg"].sent[-1].text.endswith("Look through the inbox.")
        assert gateway.channels["tg"].sent[-1].conversation == "dm-ann"
        row = (await gateway.done("missions", "list")).splitlines()[1]
        assert re.search(rf"{MOMENT} +{MOMENT} +answered +delivered +tg$", row)
        run = json.loads(await gateway.done("missions", "run", "inbox", "--json"))
        assert (run["run"], run["status"], run["error"]) == (2, "answered", None)
        assert [outcome["status"] for outcome in run["outcomes"]] == ["delivered"]
        shown = (await gateway.done("missions", "show", "inbox")).splitlines()
        start = next(i for i, line in enumerate(shown) if line.startswith("RUN "))
        assert [line.split()[0] for line in shown[start + 1 :]] == ["2", "1"]


async def test_a_run_of_which_nothing_arrives_exits_with_1(gateway: Gateway) -> None:
    async with gateway.up():
        await ann_has_an_inbox(gateway)
        gateway.channels["tg"].fail_next("rejected")
        code, out, _ = await gateway.run("missions", "run", "inbox")
        assert code == 1
        assert re.search(
            r"run 1 of inbox: answered;.*\n  mission-inbox/\d+  failed \(rejected", out
        )
        row = (await gateway.done("missions", "list")).splitlines()[1]
        assert re.search(r"answered +failed \(rejected.*\) +tg$", row)


async def test_a_run_without_anybody_to_address_exits_with_1(gateway: Gateway) -> None:
    async with gateway.up():
        await ann_writes(gateway)
        await gateway.done(*ADD, *notify(gateway, "dc"))
        code, out, _ = await gateway.run("missions", "run", "inbox")
        assert code == 1
        assert "failed (no_recipient)" in out


async def test_a_run_that_fails_exits_with_1_and_says_why(gateway: Gateway) -> None:
    async with gateway.up(agent=fails):
        await ann_has_an_inbox(gateway)
        code, out, _ = await gateway.run("missions", "run", "inbox")
        assert code == 1
        assert out.startswith("run 1 of inbox: failed (")
        assert "broken on purpose" in out
        shown = await gateway.done("missions", "show", "inbox")
        assert "broken on purpose" in shown


async def test_a_silent_run_is_a_good_one(gateway: Gateway) -> None:
    async with gateway.up(agent=hushes):
        await ann_has_an_inbox(gateway)
        out = await gateway.done("missions", "run", "inbox")
        assert out.startswith("run 1 of inbox: silent;")
        assert out.count("\n") == 1


async def test_only_a_runtime_runs_a_mission(gateway: Gateway) -> None:
    async with gateway.after(ann_has_an_inbox, "at rest"):
        assert "turnkeeper run" in await gateway.complaint(3, "missions", "run", "inbox")


async def test_a_mission_that_was_added_at_rest_runs_at_the_next_start(gateway: Gateway) -> None:
    async with gateway.after(ann_has_an_inbox, "at rest"):
        await gateway.done("missions", "add", "now", "every 1s", "Hurry.", *notify(gateway, "tg"))
    async with gateway.up():
        with trio.fail_after(TIMEOUT_S):
            assert (await gateway.channels["tg"].next_sent()).text.endswith("Hurry.")


@pytest.mark.slow
def test_a_real_gateway_runs_a_mission_into_its_feed(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    with running(*state):
        added = turnkeeper("missions", "add", "hello", "@yearly", "-", *state, stdin="Say hello.\n")
        assert (added.returncode, added.stderr) == (0, "")
        ran = turnkeeper("missions", "run", "hello", *state)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert "run 1 of hello: answered" in ran.stdout
        assert "rendered" in ran.stdout
    shown = turnkeeper("missions", "show", "hello", "--json", *state)
    assert json.loads(shown.stdout)["mission"]["last_run"]["status"] == "answered"


# -- the control socket --------------------------------------------------------------------------


WHOLE: dict[str, Any] = {"name": "x", "schedule": "@daily", "prompt": "p"}


@pytest.mark.parametrize(
    ("do", "arguments", "kind", "complaint"),
    [
        ("add_mission", {}, "bad_request", "name must be a text"),
        (
            "add_mission",
            {"name": "x", "schedule": "@daily"},
            "bad_request",
            "prompt must be a text",
        ),
        ("add_mission", {**WHOLE, "notify": 1}, "bad_request", "notify must be a text"),
        ("add_mission", {**WHOLE, "replace": 1}, "bad_request", "replace must be true or false"),
        ("add_mission", {**WHOLE, "jitter_s": "1"}, "bad_request", "jitter_s must be a number"),
        ("add_mission", {**WHOLE, "jitter_s": True}, "bad_request", "jitter_s must be a number"),
        ("add_mission", {**WHOLE, "jitter_s": -1}, "bad_request", "jitter_s must be a number"),
        ("add_mission", {**WHOLE, "jitter_s": 10**400}, "bad_request", "jitter_s must be a number"),
        ("add_mission", {**WHOLE, "missed": "never"}, "refused", "missed"),
        ("add_mission", {**WHOLE, "overlap": "never"}, "refused", "overlap"),
        ("add_mission", {**WHOLE, "agent": "nobody"}, "refused", "nobody"),
        ("run_mission", {}, "bad_request", "name must be a text"),
        ("run_mission", {"name": "x"}, "not_found", "x"),
        ("pause_mission", {"name": "x"}, "not_found", "x"),
        ("resume_mission", {"name": "x"}, "not_found", "x"),
        ("remove_mission", {"name": ["x"]}, "bad_request", "name must be a text"),
    ],
)
async def test_a_request_is_checked(
    do: str, arguments: dict[str, Any], kind: str, complaint: str, gateway: Gateway
) -> None:
    async with gateway.up() as runtime:
        with pytest.raises(RequestFailed, match=complaint) as refused:
            await trio.to_thread.run_sync(partial(ask, gateway.state_dir, do, **arguments))
        assert refused.value.kind == kind
        assert await runtime.missions() == []


async def test_who_asks_through_the_socket_is_the_operator(gateway: Gateway) -> None:
    async with gateway.up() as runtime:
        for do in ("add_mission", "run_mission", "pause_mission", "resume_mission"):
            request = {**WHOLE, "by": "config"}
            await trio.to_thread.run_sync(partial(ask, gateway.state_dir, do, **request))
        mission = await runtime.mission("x")
        assert mission.last_run is not None
        assert (mission.by, mission.last_run.by) == ("operator", "operator")


# -- the documentation ---------------------------------------------------------------------------


def test_every_configuration_in_the_documentation_is_one(tmp_path: Path) -> None:
    blocks = re.findall(
        r"^```toml\n(.*?)^```", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks
    for block in blocks:
        path = tmp_path / "tk.toml"
        path.write_text(block, encoding="utf-8")
        settings = load_config(path, environ={"ALICE_TOKEN": "secret"})
        assert settings.missions
