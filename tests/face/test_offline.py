import os
import threading
from pathlib import Path
from typing import Any

import pytest
import trio

import turnkeeper as tk
from turnkeeper import people, views
from turnkeeper.actors.acts import (
    AccessEntry,
    Act,
    ActRefused,
    Allow,
    Approve,
    Change,
    Link,
    Move,
    Pair,
    Undo,
)
from turnkeeper.actors.messages import Address, Instance, SessionId
from turnkeeper.commands import acting
from turnkeeper.config import Config, load_config
from turnkeeper.offline import perform, platform_of
from turnkeeper.storage.errors import NotAStore, StoreLocked
from turnkeeper.storage.lmdb_store import open_lmdb, open_reader
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from .command import TIMEOUT_S
from .gateway import Gateway, echo


async def act(state_dir: Path, request: Act, config: Any = None) -> Any:
    return await perform(state_dir, request, load_config(config))


def link(user_id: str, **more: Any) -> Link:
    return Link(platform="telegram", user_id=user_id, user="alice", by="operator", **more)


async def fill(state_dir: Path) -> None:
    """s1: ann, s2: bob, both on tg."""
    tg = LoopbackChannel("tg", platform="telegram")
    async with tk.open_runtime(state_dir, agent=echo, channels=[tg]):
        for user_id in ("ann", "bob"):
            await tg.receive("hello", conversation=user_id, user_id=user_id)
            await tg.next_sent()


def problems(state_dir: Path) -> list[str]:
    with open_reader(state_dir) as reader, reader.snapshot() as reads:
        return [str(problem) for problem in Verification(reads, 0).problems()]


async def test_the_answer_is_what_a_runtime_would_give_and_it_is_stored(tmp_path: Path) -> None:
    await fill(tmp_path)
    await act(tmp_path, link("ann"))
    change = await act(tmp_path, link("bob"))
    assert isinstance(change, Change)
    assert (change.number, change.dry_run) == (2, False)
    assert [(m.from_session, m.to_session) for m in change.moved] == [("s2", "s1")]
    entry = await act(tmp_path, Allow(instance="tg", platform="telegram", user_id="ann"))
    assert isinstance(entry, AccessEntry)
    with open_reader(tmp_path) as reader, reader.snapshot() as reads:
        assert [one.user_id for one in people.links(reads)] == ["ann", "bob"]
        assert len(people.access(reads, 0)) == 1
    assert problems(tmp_path) == []


async def test_a_dry_run_and_a_refusal_write_nothing(tmp_path: Path) -> None:
    await fill(tmp_path)
    await act(tmp_path, link("ann"))
    before = (tmp_path / "store" / "data.mdb").read_bytes()
    assert (await act(tmp_path, link("bob", dry_run=True))).number is None
    for refused in (link("ann"), Approve(code="ABCD-EFGH"), Undo(number=7)):
        with pytest.raises(ActRefused):
            await act(tmp_path, refused)
    assert (tmp_path / "store" / "data.mdb").read_bytes() == before


async def test_a_turn_that_is_open_stays_open_until_the_next_start(tmp_path: Path) -> None:
    asked: list[str] = []

    async def silent(_turn: tk.Turn) -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def answers(turn: tk.Turn) -> str:
        await trio.lowlevel.checkpoint()
        asked.append(turn.id)
        return "at last"

    tg = LoopbackChannel("tg", platform="telegram")
    settings = {"runtime": {"stop_deadline_s": 0.0}}
    async with tk.open_runtime(tmp_path, agent=silent, channels=[tg], config=settings):
        await tg.receive("hello", conversation="ann", user_id="ann")
    await act(tmp_path, link("ann"))
    moved = Move(address=Address(Instance("tg"), "ann"), session_id=SessionId("work"))
    change = await act(tmp_path, moved)
    assert change.opened == ("work",)
    with open_reader(tmp_path) as reader, reader.snapshot() as reads:
        info = views.session_info(reads, "s1")
    assert info is not None
    assert info.open_turns == 1
    again = LoopbackChannel("tg", platform="telegram")
    async with tk.open_runtime(tmp_path, agent=answers, channels=[again]):
        assert (await again.next_sent()).conversation == "ann"
    assert len(asked) == 1
    assert asked[0].startswith("s1/")
    assert problems(tmp_path) == []


async def test_a_runtime_that_runs_keeps_the_store(tmp_path: Path) -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    async with tk.open_runtime(tmp_path, agent=echo, channels=[tg]) as runtime:
        with pytest.raises(StoreLocked):
            await act(tmp_path, link("ann"))
        assert await runtime.links() == []


@pytest.mark.parametrize("name", ["nowhere", "empty"])
async def test_where_there_is_no_store_none_is_made(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotAStore):
        await act(tmp_path / name, link("ann"))
    assert [path.name for path in tmp_path.glob("**/*")] == ["empty"]


async def test_the_configuration_says_where_a_conversation_would_go(tmp_path: Path) -> None:
    await fill(tmp_path)
    move = Move(address=Address(Instance("tg"), "bob"))
    with pytest.raises(ActRefused, match="name a session"):
        await act(tmp_path, move)
    session = {"dm_scope": "main"}
    main: dict[str, Any] = {"session": session, "channels": {"tg": {}}}
    assert (await act(tmp_path, move, main)).number == 1
    own = {"session": session, "channels": {"tg": {"dm_scope": "per-conversation"}}}
    assert (await act(tmp_path, move, own)).number == 2
    with open_reader(tmp_path) as reader, reader.snapshot() as reads:
        binding = views.binding(reads, Address(Instance("tg"), "bob"))
    assert binding is not None
    assert (binding.version, binding.scope) == (3, "place")
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("instance", "platform"), [("web", "websocket"), ("tg", "telegram"), ("sl", None)]
)
async def test_the_platform_of_an_instance_is_in_the_file_or_in_a_binding(
    instance: str, platform: str | None, tmp_path: Path
) -> None:
    await fill(tmp_path)
    settings = load_config({"channels": {"web": {"kind": "websocket"}, "tg": {}, "sl": {}}})
    with open_reader(tmp_path) as reader, reader.snapshot() as reads:
        assert platform_of(reads, settings, instance) == platform
        assert platform_of(reads, Config(), "web") is None


LINK_ANN = ("identity", "link", "--platform", "telegram", "--user-id", "ann", "--user", "alice")


async def test_a_command_waits_for_whoever_holds_the_store_for_a_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path)
    looked = threading.Event()

    def no_sleep(_s: float) -> None:
        looked.set()

    monkeypatch.setattr(acting, "sleep", no_sleep)
    async with trio.open_nursery() as nursery, open_lmdb(tmp_path):
        nursery.start_soon(Gateway(tmp_path, capsys).done, *LINK_ANN)
        assert await trio.to_thread.run_sync(looked.wait, TIMEOUT_S)
    with open_reader(tmp_path) as reader, reader.snapshot() as reads:
        assert [one.user for one in people.links(reads)] == ["alice"]


async def test_a_command_does_not_wait_for_a_program_that_keeps_the_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path)
    monkeypatch.setattr(acting, "_LOCK_PATIENCE_S", 0.0)
    async with open_lmdb(tmp_path):
        complaint = await Gateway(tmp_path, capsys).complaint(3, *LINK_ANN)
    assert f"pid {os.getpid()}" in complaint


async def test_pairs_made_at_rest_route_the_first_message(tmp_path: Path) -> None:
    await fill(tmp_path)
    team = SessionId("team")
    await act(tmp_path, Pair(platform="telegram", user_id="carl", session_id=team, by="operator"))
    tg = LoopbackChannel("tg", platform="telegram")
    async with tk.open_runtime(tmp_path, agent=echo, channels=[tg]):
        accepted = await tg.receive("hello", conversation="carl", user_id="carl")
    assert accepted.session_id == "team"
    assert problems(tmp_path) == []
