import base64
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from turnkeeper.actors.core.records import pack, unpack
from turnkeeper.actors.journal import load_records
from turnkeeper.cli import COMMANDS, main
from turnkeeper.storage.lmdb_store import open_reader

from .command import environment, running, terminal, turnkeeper
from .states import HOSTILE, fill

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

Call = Callable[..., str]


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state_dir = tmp_path_factory.mktemp("filled") / "state"
    fill(state_dir)
    return state_dir


@pytest.fixture
def call(filled: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command on the filled store in this process; returns what it printed."""

    def run(*arguments: str, exit_code: int = 0) -> str:
        assert main([*arguments, "--state", str(filled)]) == exit_code
        out, err = capsys.readouterr()
        assert (exit_code == 0) == (err == "")
        return out or err

    return run


def test_sessions_are_listed_with_the_last_active_first(call: Call) -> None:
    lines = call("sessions", "list").splitlines()
    assert lines[0].split("  ")[0] == "SESSION"
    assert [line.split()[0] for line in lines[1:]] == ["s4", "s3", "s2", "s1"]
    assert call("sessions", "list", "--limit", "0").splitlines() == lines


def test_sessions_are_listed_page_by_page(call: Call) -> None:
    whole = call("sessions", "list").splitlines()[1:]
    first = call("sessions", "list", "--limit", "3").splitlines()[1:]
    assert first[-1] == "… 1 to 3 of 4 sessions; --offset 3 goes on, --limit 0 lists all"
    rest = call("sessions", "list", "--limit", "3", "--offset", "3").splitlines()[1:]
    assert rest[-1] == "… 4 to 4 of 4 sessions"
    names = [line.split()[0] for line in [*first[:-1], *rest[:-1]]]
    assert names == [line.split()[0] for line in whole]
    assert call("sessions", "list", "--offset", "3").splitlines()[1:] == rest
    none = "--offset 9 passes over all: there are 4 sessions\n"
    assert call("sessions", "list", "--limit", "3", "--offset", "9") == none


def test_a_page_in_json_is_an_array_and_how_many_there_are_stands_beside_it(
    filled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = ("sessions", "list", "--json", "--limit", "2", "--offset", "1", "--state", str(filled))
    assert main([*page]) == 0
    out, err = capsys.readouterr()
    assert [info["id"] for info in json.loads(out)] == ["s3", "s2"]
    assert err == "… 2 to 3 of 4 sessions; --offset 3 goes on, --limit 0 lists all\n"


def test_a_context_is_listed_with_its_size_as_an_estimate(call: Call) -> None:
    heading, *rows = call("sessions", "list").splitlines()
    assert heading.split("  ")[0] == "SESSION"
    assert re.search(r"STATE +CONTEXT +LAST ACTIVE +ACTIVE CHANNEL +RECORDS +AGENT$", heading)
    for row in rows:
        assert re.search(r"^s\d +active +~\d+ \(0 %\) +20", row)
    (info,) = json.loads(call("sessions", "list", "--json", "--offset", "3"))
    assert (info["context_counted"], info["context_percent"], info["summary"]) == (False, 0.0, None)
    assert re.search(
        r"^context tokens +~?\d+, an estimate: 0\.0 % of a full window$",
        call("sessions", "info", "s1"),
        re.MULTILINE,
    )


def test_columns_align(call: Call) -> None:
    heading, *rows = call("deliveries", "list").splitlines()
    starts = [match.start() for match in re.finditer(r"\b[A-Z]+", heading)]
    for row in rows:
        assert all(row[start - 1] == " " for start in starts[1:])


@pytest.mark.parametrize(
    ("command", "keys"),
    [
        (
            "sessions list",
            """id state agent active_channel opened last_active records open_turns open_deliveries
            context_tokens context_counted context_percent context_messages summary joined
            merged_into""",
        ),
        ("sessions history s1", "seq kind text at conversation source detail"),
        (
            "sessions context s1",
            "seq role kind at instance conversation session_id speaker text attachments cut",
        ),
        (
            "bindings list",
            """instance conversation thread session_id version platform guild direct since by
            user_id scope from_session""",
        ),
        (
            "deliveries list",
            """delivery_id session_id to status reason attempts platform_message_id asked updated
            text parts note receipt nobody_at""",
        ),
        ("channels list", "name kind platform state conversations pinned"),
    ],
)
def test_json_is_one_array_of_objects_with_these_keys(command: str, keys: str, call: Call) -> None:
    found: list[dict[str, Any]] = json.loads(call(*command.split(), "--json"))
    assert type(found) is list
    assert found
    for entry in found:
        assert list(entry) == keys.split()


ACTS_AND_LIVE = {
    "access allow",
    "access approve",
    "access refused",
    "access revoke",
    "bindings move",
    "channels pair",
    "channels status",
    "channels unpair",
    "deliveries retry",
    "identity link",
    "identity undo",
    "identity unlink",
    "missions add",
    "missions pause",
    "missions remove",
    "missions resume",
    "missions run",
    "missions show",
    "reload",
    "send",
    "sessions clear",
    "sessions compact",
    "sessions create",
    "sessions delete",
    "sessions import",
    "sessions prune",
}
"""What does not only look, or needs a runtime that runs."""


@pytest.mark.parametrize(
    "command", sorted({" ".join(c.words) for c in COMMANDS if c.lists} - ACTS_AND_LIVE)
)
def test_json_is_one_line_of_ascii_through_a_pipe(command: str, call: Call) -> None:
    arguments = {
        "explain": ["s3/4"],
        "sessions info": ["s3"],
        "sessions history": ["s3"],
        "sessions context": ["s3"],
        "sessions memory": ["s3"],
        "bindings show": ["web", "c1", "t1"],
        "deliveries show": ["s2/5"],
    }
    out = call(*command.split(), *arguments.get(command, []), "--json")
    assert out.count("\n") == 1
    assert out.isascii()
    json.loads(out)


def test_times_are_iso_in_utc(call: Call) -> None:
    (info,) = json.loads(call("sessions", "list", "--json", "--offset", "3"))
    assert ISO.fullmatch(info["opened"])
    assert ISO.fullmatch(info["last_active"])


def test_hostile_text_is_escaped_where_it_is_shown_and_exact_where_it_is_data(call: Call) -> None:
    for command in ("sessions history s3", "sessions context s3"):
        shown = call(*command.split())
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ud800-\udfff]", shown)
        assert "\\x1b[2J\\u202egnp.exe\\x00\\udce9 tail" in shown
    records = json.loads(call("sessions", "history", "s3", "--json"))
    assert [record["text"] for record in records if record["kind"] == "user"] == [HOSTILE]


def test_the_history_shows_the_newest_records_within_the_limit(call: Call) -> None:
    whole = call("sessions", "history", "s1").splitlines()
    part = call("sessions", "history", "s1", "--limit", "2").splitlines()
    newest = len(whole) - 1
    assert part[-1] == f"… {newest - 2} earlier: --before {newest - 1}; --limit 0 lists all"
    assert [line.split()[0] for line in part[1:-1]] == [line.split()[0] for line in whole[-2:]]


def test_a_history_goes_on_both_ways(call: Call) -> None:
    def seqs(*arguments: str) -> list[int]:
        return [record["seq"] for record in json.loads(call(*arguments, "--json"))]

    history = ("sessions", "history", "s1")
    every = seqs(*history)
    assert every == list(range(1, len(every) + 1))
    assert seqs(*history, "--before", "5", "--limit", "2") == [3, 4]
    assert seqs(*history, "--after", "2", "--limit", "2") == [3, 4]
    assert seqs(*history, "--after", "2", "--before", "6", "--limit", "2") == [3, 4]
    assert seqs(*history, "--after", "2") == every[2:]
    assert seqs(*history, "--before", "3") == [1, 2]
    assert seqs(*history, "--after", str(10**30)) == []
    assert seqs(*history, "--before", str(10**30), "--limit", "1") == every[-1:]
    *_, onwards = call(*history, "--after", "2", "--limit", "2").splitlines()
    ways = f"… 2 earlier: --before 3; {len(every) - 4} later: --after 4; --limit 0 lists all"
    assert onwards == ways
    nothing = call(*history, "--after", str(len(every)))
    assert nothing == f"no record there: the log goes from 1 to {len(every)}\n"


def test_a_session_a_binding_and_a_delivery_are_shown_one_by_one(call: Call) -> None:
    assert re.search(r"^active channel +web/c2$", call("sessions", "info", "s2"), re.MULTILINE)
    assert re.search(r"^session +s1$", call("bindings", "show", "web", "c1"), re.MULTILINE)
    assert re.search(r"^session +s4$", call("bindings", "show", "web", "c1", "t1"), re.MULTILINE)
    shown = call("deliveries", "show", "s2/5")
    assert re.search(r"^status +failed$", shown, re.MULTILINE)
    assert re.search(r"^reason +rejected$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "command",
    [
        "sessions info s9",
        "sessions history s9",
        "sessions context s9",
        "sessions export s9",
        "bindings show web nowhere",
        "bindings show web c1 t9",
        "deliveries show s1/4",
        "deliveries show s9/4",
        "deliveries show nonsense",
        "deliveries retry s1/99",
        "explain s9",
        "explain s1/999",
        "explain nonsense/x",
    ],
)
def test_what_is_not_there_is_exit_code_4_and_a_way_to_what_is(command: str, call: Call) -> None:
    complaint = call(*command.split(), exit_code=4)
    assert complaint.count("\n") == 1
    assert "`turnkeeper " in complaint


def test_the_story_of_a_turn_and_of_a_delivery(call: Call) -> None:
    turn = call("explain", "s2/4")
    assert "wrote message 'm3' in web/c2" in turn
    assert "that conversation belongs to s2" in turn
    assert "answered; the reply is delivery s2/5" in turn
    delivery = call("explain", "s2/5")
    assert "asked for by turn s2/4, as its answer" in delivery
    assert "it goes to web/c2, where the turn came from" in delivery
    assert "attempt 1: failed: rejected" in delivery


def test_the_status_counts(call: Call) -> None:
    status = json.loads(call("status", "--json"))
    assert status["running"] is False
    assert status["pid"] is status["since"] is None
    assert (status["sessions"], status["open_turns"], status["open_deliveries"]) == (4, 0, 0)
    assert (status["dead_letters"], status["quarantined_turns"]) == (1, 0)
    assert status["store_bytes"] > 0
    assert re.search(r"^dead letters +1$", call("status"), re.MULTILINE)


def test_an_export_gives_every_record_back_exactly(call: Call, filled: Path) -> None:
    def exact(value: Any) -> Any:
        match value:
            case {"wtf8": str(raw)}:
                return base64.b64decode(raw).decode("utf-8", "surrogatepass")
            case [*items]:
                return [exact(item) for item in items]
            case _:
                return value

    for stream in range(1, 5):
        lines = [json.loads(line) for line in call("sessions", "export", f"s{stream}").splitlines()]
        with open_reader(filled) as reader:
            stored = dict(load_records(reader, stream))
        end = lines.pop()
        assert (end["kind"], end["records"]) == ("end", len(stored))
        assert [line["seq"] for line in lines] == list(stored)
        for line in lines:
            record = stored[line["seq"]]
            assert (line["v"], line["session"]) == (2, f"s{stream}")
            names = [field.name for field in fields(record)]
            assert list(line) == ["v", "session", "seq", "kind", *names]
            again = unpack([line["kind"], *(exact(line[name]) for name in names)])
            assert pack(again) == pack(record)


def test_what_is_at_rest_reads_the_same_while_it_runs(filled: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    shutil.copytree(filled, state)
    (state / "lock").unlink()
    commands = ("sessions list", "sessions history s2", "bindings list", "deliveries list")
    at_rest = [turnkeeper(*c.split(), "--json", "--state", state).stdout for c in commands]
    with running("--state", state):
        live = [turnkeeper(*c.split(), "--json", "--state", state).stdout for c in commands]
    assert live == at_rest


def test_a_dead_letter_is_sent_again_by_the_runtime_that_runs(tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state")
    fill(tmp_path / "state")
    nobody = turnkeeper("deliveries", "retry", "s2/5", *state)
    assert nobody.returncode == 3
    assert "start `turnkeeper run`, then retry" in nobody.stderr
    with running(*state):
        # The gateway has no channel `web`: it fails again, and says so.
        again = turnkeeper("deliveries", "retry", "s2/5", *state)
        assert (again.returncode, again.stdout) == (1, "s2/5: failed (no_such_channel)\n")
        arrived = turnkeeper("deliveries", "retry", "s1/5", *state)
        assert arrived.returncode == 1
        assert "is delivered already" in arrived.stderr
        story = turnkeeper("explain", "s2/5", *state).stdout
    assert "opened again by the operator" in story


def test_a_terminal_gets_a_screenful_and_the_number_of_the_rest(tmp_path: Path) -> None:
    state = tmp_path / "state"
    turnkeeper("run", "--state", state, stdin="hello\n" * 100)
    env = environment(COLUMNS="72", LINES="24")

    def shown(*arguments: str) -> list[str]:
        with terminal(*arguments, "--state", state, env=env) as screen:
            assert screen.wait() == 0
            return screen.seen.splitlines()

    lines = shown("sessions", "history", "s1")
    assert re.search(r"earlier: --before \d+; --limit 0 lists all$", lines[-1])
    assert len(lines) == 2 + 50
    assert max(map(len, lines)) <= 72
    assert any(line.endswith("…") for line in shown("sessions", "context", "s1"))
    assert len(shown("sessions", "history", "s1", "--limit", "0")) > 300
    piped = turnkeeper("sessions", "history", "s1", "--state", state, env=env).stdout
    assert len(piped.splitlines()) > 300


def test_the_running_process_is_found_even_without_its_control_socket(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running("--state", state) as gateway:
        status = json.loads(turnkeeper("status", "--json", "--state", state).stdout)
        assert (status["running"], status["pid"]) == (True, gateway.process.pid)
        assert ISO.fullmatch(status["since"])
        assert status["channels"] == [
            {"name": "console", "kind": "console", "platform": "console", "state": "running",
             "conversations": 0, "pinned": 0}
        ]  # fmt: skip
        os.unlink(state / "control.sock")
        status = json.loads(turnkeeper("status", "--json", "--state", state).stdout)
        assert (status["running"], status["pid"]) == (True, gateway.process.pid)
        assert status["since"] is None


def test_what_is_configured_is_listed_before_anything_has_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state_dir, config = tmp_path / "state", tmp_path / "turnkeeper.toml"
    config.write_text('[channels.web]\nkind = "websocket"\n', encoding="utf-8")
    where = ["--state", str(state_dir), "--config", str(config)]
    assert main(["channels", "list", *where]) == 0
    _, row = capsys.readouterr().out.splitlines()
    assert row.split() == ["web", "websocket", "-", "0", "stopped"]
    config.write_text("", encoding="utf-8")
    assert main(["channels", "list", *where]) == 3
    assert "does not exist: nothing has run there yet" in capsys.readouterr().err
    assert not state_dir.exists()
