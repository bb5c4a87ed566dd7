"""`sessions delete`, `prune` and `import`, beside a runtime and at rest."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import turnkeeper as tk
from turnkeeper.storage.blobs import Blobs
from turnkeeper.storage.lmdb_store import open_reader
from turnkeeper.verify import Verification

from .command import terminal
from .gateway import Gateway
from .retained import is_quiet, until
from .states import fill

EITHER = (pytest.param("live", marks=pytest.mark.slow), "at rest")
"""Whether a runtime runs; beside one, each command is a process of its own."""


async def two(gateway: Gateway) -> None:
    """s1: ann, s2: bob, both on tg."""
    for user_id in ("ann", "bob"):
        await gateway.say("tg", user_id)
    assert gateway.runtime is not None
    store = gateway.runtime.store
    await until(lambda: is_quiet(store, "s1") and is_quiet(store, "s2"))


@pytest.fixture
def gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Gateway:
    return Gateway(tmp_path / "state", capsys)


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    fill(tmp_path / "filled")
    return tmp_path / "filled"


@asynccontextmanager
async def after(gateway: Gateway, how: str) -> AsyncGenerator[None]:
    async with gateway.after(two, how):
        yield


def problems(state_dir: Path) -> list[str]:
    with open_reader(state_dir) as reader, reader.snapshot() as reads:
        return [str(problem) for problem in Verification(reads, 0).problems()]


def listed(out: str) -> list[str]:
    return [entry["id"] for entry in json.loads(out)]


@pytest.mark.parametrize("how", EITHER)
async def test_a_session_is_deleted(how: str, gateway: Gateway) -> None:
    async with after(gateway, how):
        out = await gateway.done("sessions", "delete", "s1", "--dry-run")
        assert out.startswith("this would go:\n  records")
        assert "conversation  tg/dm-ann, whose next message opens another session" in out
        assert out.endswith("nothing was changed: this was a dry run\n")
        out = await gateway.done("sessions", "delete", "s1", "--yes")
        assert out.startswith("s1 is deleted:\n  records")
        out = await gateway.done("sessions", "list", "--json")
        assert "s1" not in out
        out = await gateway.complaint(4, "sessions", "delete", "s1", "--yes")
        assert out.startswith("the session 's1' was deleted on 20")
        assert out.endswith(" by the operator")
        for command in ("clear", "compact", "context", "export", "history", "memory"):
            out = await gateway.complaint(4, "sessions", command, "s1")
            assert out.startswith("the session 's1' was deleted on 20"), command
        out = await gateway.complaint(4, "sessions", "delete", "s7", "--yes")
        assert out.startswith("there is no session 's7'")


@pytest.mark.parametrize("how", EITHER)
async def test_nobody_who_could_be_asked_is_a_mistake_before_anything_is_done(
    how: str, gateway: Gateway
) -> None:
    async with after(gateway, how):
        for words in (("delete", "s1"), ("prune", "--older-than", "1s")):
            out = await gateway.complaint(2, "sessions", *words)
            assert out == "nobody can be asked here: give --yes, or --dry-run to only look"
        assert "s1" in await gateway.done("sessions", "list", "--json")


@pytest.mark.slow
def test_a_terminal_is_asked_and_only_yes_deletes(filled: Path) -> None:
    with terminal("sessions", "delete", "s1", "--state", filled) as shown:
        shown.wait_for("delete s1? It cannot be taken back. [y/N] ")
        shown.type("\n")
        shown.wait_for("nothing was changed")
        assert shown.wait() == 1
    with terminal("sessions", "delete", "s1", "--state", filled) as shown:
        shown.wait_for("[y/N] ")
        shown.type("yes\n")
        shown.wait_for("s1 is deleted")
        assert shown.wait() == 0
    assert problems(filled) == []


@pytest.mark.parametrize("how", EITHER)
async def test_old_sessions_are_pruned_and_written_down_before(
    how: str, gateway: Gateway, tmp_path: Path
) -> None:
    async with after(gateway, how):
        await gateway.done(
            "channels", "pair", "--platform", "discord", "--user-id", "eve", "--session", "s2"
        )
        out = await gateway.done("sessions", "prune", "--older-than", "90d", "--dry-run")
        assert out.startswith("no session is as old as that\n")
        found = await future(gateway)
        assert [(one["id"], one["kept"] is None) for one in found] == [("s1", True), ("s2", False)]
        before = await gateway.done("sessions", "export", "s1")
        folder = tmp_path / "old"
        out = await gateway.done(
            "sessions", "prune", "--older-than", SOON, "--export", folder, "--yes"
        )
        lines = out.splitlines()
        assert lines[0].split() == ["SESSION", "LAST", "ACTIVE", "RECORDS"]
        assert lines[2] == "1 session would go"
        assert lines[3].startswith("s2 stays: discord:eve is paired with s2: `channels unpair")
        assert lines[4] == f"1 session deleted, and written to {folder}"
        assert (folder / "s1.jsonl").read_text() == before
        assert [path.name for path in folder.iterdir()] == ["s1.jsonl"]
        assert listed(await gateway.done("sessions", "list", "--json")) == ["s2"]


SOON = "1s"


async def future(gateway: Gateway) -> list[dict[str, Any]]:
    """What would be pruned once everything is older than a second."""
    while True:
        out = await gateway.done("sessions", "prune", "--older-than", SOON, "--dry-run", "--json")
        found: list[dict[str, Any]] = json.loads(out)
        if len(found) == 2:
            return found


async def test_an_export_that_is_there_is_not_written_over_and_nothing_goes(
    gateway: Gateway, tmp_path: Path
) -> None:
    async with after(gateway, "at rest"):
        await future(gateway)
        folder = tmp_path / "old"
        folder.mkdir()
        (folder / "s2.jsonl").write_text("mine")
        words = ("sessions", "prune", "--older-than", SOON, "--export", folder, "--yes", "--json")
        assert "File exists" in await gateway.complaint(1, *words)
        assert len(listed(await gateway.done("sessions", "list", "--json"))) == 2
        assert (folder / "s2.jsonl").read_text() == "mine"


@pytest.mark.parametrize(
    ("age", "complaint"),
    [
        ("90", "neither an age"),
        ("-1d", "neither an age"),
        ("0d", "more than nothing"),
        ("2999-01-01", "in the future"),
        ("2026-13-01", "neither an age"),
        ("", "neither an age"),
    ],
)
async def test_what_is_no_age_is_named(age: str, complaint: str, gateway: Gateway) -> None:
    async with after(gateway, "at rest"):
        out = await gateway.complaint(2, "sessions", "prune", f"--older-than={age}", "--dry-run")
        assert out.startswith("--older-than: ")
        assert complaint in out


async def test_a_session_comes_back_in_another_store_as_it_was(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Gateway(tmp_path / "other", capsys)
    async with after(gateway, "at rest"), other.after(nothing, "at rest"):
        exported = tmp_path / "s2.jsonl"
        exported.write_text(await gateway.done("sessions", "export", "s2"))
        out = await other.done("sessions", "import", exported, "--dry-run")
        assert out.startswith("s2 would be imported: ")
        assert listed(await other.done("sessions", "list", "--json")) == []
        out = await other.done("sessions", "import", exported)
        assert out.startswith("s2 is imported: ")
        assert "conversation  tg/dm-bob" in out
        assert await other.done("sessions", "export", "s2") == exported.read_text()
        assert problems(other.state_dir) == []
        out = await other.complaint(1, "sessions", "import", exported)
        assert out == "there is a session 's2' here already; nothing was imported"
        async with other.up():
            out = await other.complaint(1, "sessions", "import", exported)
            assert "only while nothing runs on" in out
            await other.say("tg", "bob")
            await other.say("tg", "ann")
        assert set(listed(await other.done("sessions", "list", "--json"))) == {"s2", "s3"}
        assert problems(other.state_dir) == []


async def nothing(_gateway: Gateway) -> None:
    """Nothing happens."""


async def test_what_cannot_be_read_is_named_in_one_line(gateway: Gateway, tmp_path: Path) -> None:
    async with after(gateway, "at rest"):
        out = await gateway.complaint(1, "sessions", "import", tmp_path / "nowhere")
        assert out == f"{tmp_path / 'nowhere'} cannot be read: No such file or directory"
        (tmp_path / "bad").write_text("{}\n")
        out = await gateway.complaint(1, "sessions", "import", tmp_path / "bad")
        assert out.startswith("bad, line 1: v: ")
        assert out.endswith("; nothing was imported")


async def test_files_that_nobody_names_any_more_go_at_once_where_nothing_runs(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Gateway(tmp_path / "other", capsys)

    async def send_file(gateway: Gateway) -> None:
        tg = gateway.channels["tg"]
        kept = await tg.keep(b"a picture", kind="image", mime="image/png")
        await tg.receive("look", conversation="dm-ann", user_id="ann", attachments=(kept,))
        assert gateway.runtime is not None
        store = gateway.runtime.store
        await until(lambda: is_quiet(store, "s1"))

    async with gateway.after(send_file, "at rest"), other.after(nothing, "at rest"):
        exported = tmp_path / "s1.jsonl"
        exported.write_text(await gateway.done("sessions", "export", "s1"))
        out = await other.done("sessions", "import", exported)
        assert "1 named, and no export contains them" in out
        assert "no problems" in await other.done("verify")
        blobs = Blobs(gateway.state_dir, lambda: 0)
        assert len(list(blobs.older_than(2**62))) == 1
        await gateway.done("sessions", "delete", "s1", "--yes")
        assert list(blobs.older_than(2**62)) == []


async def test_a_turn_that_is_open_goes_with_its_session_where_nothing_runs(
    gateway: Gateway,
) -> None:
    async def sleepy(_turn: tk.Turn) -> str:
        await trio.sleep_forever()
        raise AssertionError

    gateway.config = {"runtime": {"stop_deadline_s": 0.0}}
    async with gateway.up(agent=sleepy):
        await gateway.channels["tg"].receive("hello", conversation="dm-ann", user_id="ann")
        out = await gateway.complaint(1, "sessions", "delete", "s1", "--yes")
        assert out.startswith("1 turn of s1 is not over yet: wait for its agent, or stop")
    out = await gateway.done("sessions", "delete", "s1", "--dry-run")
    assert "open turns    1, which nobody answers any more" in out
    await gateway.done("sessions", "delete", "s1", "--yes")
    assert problems(gateway.state_dir) == []
    async with gateway.up():
        assert await gateway.say("tg", "ann", "again") == "telegram:ann said again"
    assert len(gateway.channels["tg"].sent) == 1
