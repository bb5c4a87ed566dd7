import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

import turnkeeper as tk
from turnkeeper.actors.core.intake import SEEN_WINDOW_S, seen_window
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.records import pack
from turnkeeper.actors.core.runtime_records import FeedRecord
from turnkeeper.actors.core.turn_records import SilentRecord
from turnkeeper.actors.journal import load_head, name_key, seen_key
from turnkeeper.storage.base import Batch, Store, Table
from turnkeeper.storage.codec import encode
from turnkeeper.storage.keys import log_key, number_key
from turnkeeper.storage.lmdb_store import open_lmdb, open_reader
from turnkeeper.testing import LoopbackChannel
from turnkeeper.verify import Verification

from .command import TIMEOUT_S, command, environment, running, turnkeeper


def problems_in(state_dir: Path, *, now_us: int | None = None) -> list[str]:
    with open_reader(state_dir) as reader, reader.snapshot() as reads:
        examined = Verification(reads, now_us or time.time_ns() // 1000)
        return [str(problem) for problem in examined.problems()]


# --- a store that holds -------------------------------------------------------------------------


async def _everything_that_happens(state_dir: Path) -> None:
    """Replies, silence, tools, failures of every kind, retries, feed, passivation, a restart."""
    attempts: dict[str, int] = {}

    async def agent(turn: tk.Turn) -> tk.Reply | str | None:
        attempts[turn.id] = attempts.get(turn.id, 0) + 1
        match turn.text:
            case "silence":
                return None
            case "tools":
                call = tk.ToolCall(name="look", arguments="{}", result="42")
                return tk.Reply(text="looked", tools=(call,))
            case "fail once" if attempts[turn.id] == 1:
                raise RuntimeError("once")
            case "poison":
                return 1  # type: ignore[return-value]
            case _:
                return f"re: {turn.text}"

    config = {"session": {"idle_after_s": 1, "failure_notice": "sorry"}}
    for _ in range(2):
        web = LoopbackChannel("web")
        async with tk.open_runtime(
            state_dir, agent=agent, channels=[web], config=config
        ) as runtime:
            for text in ("hello", "silence", "tools", "fail once", "poison", "\udce9\x00"):
                await web.receive(text, conversation="a", user_id="u")
            for _ in range(5):
                await web.next_sent()
            accepted = await web.receive("twice", conversation="b", message_id="same")
            again = await web.receive("twice", conversation="b", message_id="same")
            assert again.duplicate or accepted.duplicate
            for fault in ("refused", "rejected", "timeout_after_send"):
                web.fail_next(fault, retry_after_s=0)
                await web.receive(fault, conversation=fault, thread="t")
            over = {"failed", "unknown"}
            while {info.status for info in await runtime.deliveries()} - over:  # noqa: ASYNC110
                await trio.sleep(1)
            for info in await runtime.deliveries():
                assert (
                    await runtime.retry_delivery(info.delivery_id, mark_duplicate=True)
                ).status == "delivered"
            await runtime.send_message(accepted.session_id, "by the way")
            # Sessions leave memory and come back.
            await trio.sleep(5)
            await web.receive("back again", conversation="a")


def test_whatever_happens_the_tables_follow_from_the_logs(tmp_path: Path) -> None:
    # A clock that jumps: pauses between attempts and before passivation cost no time.
    clock = MockClock(autojump_threshold=0.01)
    trio.run(_everything_that_happens, tmp_path / "state", clock=clock)
    assert problems_in(tmp_path / "state") == []
    answer = turnkeeper("verify", "--state", tmp_path / "state")
    assert answer.returncode == 0
    assert answer.stdout.endswith(" records: no problems\n")


def test_a_store_that_was_killed_under_load_holds(tmp_path: Path) -> None:
    state = tmp_path / "state"
    gateway = subprocess.Popen(
        command("run", "--state", state),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert gateway.stdin is not None
    assert gateway.stdout is not None
    os.write(gateway.stdin.fileno(), b"hello\n" * 1000)
    for _ in range(50):
        gateway.stdout.readline()
    gateway.send_signal(signal.SIGKILL)
    gateway.wait(TIMEOUT_S)
    gateway.stdin.close()
    gateway.stdout.close()
    assert problems_in(state) == []
    after = turnkeeper("run", "--state", state, stdin="")
    assert after.returncode == 0, after.stderr
    assert problems_in(state) == []


def test_a_live_store_is_verified_as_it_is_at_one_moment(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running("--state", state) as gateway:
        gateway.type("hello\n" * 20)
        for _ in range(3):
            answer = turnkeeper("verify", "--state", state)
            assert answer.returncode == 0, answer.stdout
        gateway.wait_for("turn 20 of session s1")


def test_a_message_that_nobody_delivers_again_may_be_forgotten(tmp_path: Path) -> None:
    turnkeeper("run", "--state", tmp_path / "state", stdin="hello\n")

    async def forget(store: Store) -> None:
        batch = Batch()
        for key, _ in store.scan(Table.SEEN, limit=10):
            batch.delete(Table.SEEN, key)
        await store.commit(batch)

    edit(tmp_path / "state", forget)
    assert len(problems_in(tmp_path / "state")) == 1
    later = time.time_ns() // 1000 + 2 * SEEN_WINDOW_S * 1_000_000
    assert problems_in(tmp_path / "state", now_us=later) == []


# --- a store that does not ----------------------------------------------------------------------


def edit(state_dir: Path, change: Callable[[Store], object]) -> None:
    """Let `change` do to the store what only a defect or a disk would."""

    async def run() -> None:
        async with open_lmdb(state_dir) as store:
            await change(store)  # type: ignore[misc]

    trio.run(run)


@contextmanager
def raw(state_dir: Path) -> Generator[Callable[[int, int, bytes | None], None]]:
    """Change a record in place, behind the store's back."""
    import lmdb

    with lmdb.open(str(state_dir / "store"), max_dbs=16, lib_version=0) as env:
        log = env.open_db(b"log", create=False)

        def change(stream: int, seq: int, data: bytes | None) -> None:
            with env.begin(write=True, db=log) as txn:
                if data is None:
                    txn.delete(log_key(stream, seq))
                else:
                    txn.put(log_key(stream, seq), data)

        yield change


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A session of three turns, and a dead letter in a second one."""

    async def fill() -> None:
        web = LoopbackChannel("web")

        async def agent(turn: tk.Turn) -> str:
            return turn.text

        async with tk.open_runtime(tmp_path / "state", agent=agent, channels=[web]) as runtime:
            for _ in range(3):
                await web.receive("hello", conversation="a")
                await web.next_sent()
            web.fail_next("rejected")
            await web.receive("lost", conversation="b", user_id="u2")
            while {info.status for info in await runtime.deliveries()} != {"failed"}:
                await trio.lowlevel.checkpoint()

    trio.run(fill)
    assert problems_in(tmp_path / "state") == []
    return tmp_path / "state"


def test_an_unreadable_record_is_named_and_the_rest_is_still_read(state: Path) -> None:
    with raw(state) as change:
        change(1, 4, b"\x01garbage")
    (problem,) = problems_in(state)
    assert problem.startswith("log 1/4: unreadable: ")


def test_an_unreadable_first_record_gives_no_false_alarm_about_what_follows(state: Path) -> None:
    with raw(state) as change:
        change(1, 1, b"\x01garbage")
    (problem,) = problems_in(state)
    assert problem.startswith("log 1/1: unreadable: ")


def test_a_record_of_a_newer_version_is_named(state: Path) -> None:
    with raw(state) as change:
        change(1, 5, b"\x63" + encode(pack(SilentRecord(at_us=0, turn_seq=3)))[1:])
    (problem,) = problems_in(state)
    assert "log 1/5: unreadable" in problem
    assert "upgrade turnkeeper" in problem


def test_a_gap_is_named(state: Path) -> None:
    with raw(state) as change:
        change(1, 6, None)
    assert problems_in(state) == ["log 1/6: missing: the next record is 7"]


def test_a_log_without_its_beginning_is_named(state: Path) -> None:
    with raw(state) as change:
        change(1, 1, None)
    assert problems_in(state) == ["log 1/1: missing: the next record is 2"]


def test_a_lost_end_of_a_log_is_seen_by_its_head(state: Path) -> None:
    with open_reader(state) as reader:
        last = reader.last_seq(1)
    with raw(state) as change:
        change(1, last, None)
    (problem,) = problems_in(state)
    assert problem == f"head 1: tells of {last} records, and the log ends with {last - 1}"


def test_a_whole_log_that_is_gone_is_named(state: Path) -> None:
    with open_reader(state) as reader:
        last = reader.last_seq(1)
    with raw(state) as change:
        for seq in range(1, last + 1):
            change(1, seq, None)
    assert problems_in(state) == ["log 1: missing: no record of this session is left"]


def test_a_record_where_none_of_its_kind_belongs_is_named(state: Path) -> None:
    feed = FeedRecord(at_us=0, session_id="s1", delivery_id="s1/4", text="x")
    opened = OpenedRecord(at_us=0, session_id="s1", agent="main", by="?")

    async def append(store: Store) -> None:
        batch = Batch()
        batch.append(1, store.last_seq(1) + 1, [encode(pack(feed)), encode(pack(opened))])
        batch.append(0, 1, [encode(pack(opened))])
        await store.commit(batch)

    edit(state, append)
    found = problems_in(state)
    assert "log 0/1: a 'opened' record in the feed" in found
    assert any("a 'feed' record does not belong here" in problem for problem in found)
    assert any("a 'opened' record does not belong here" in problem for problem in found)


def put(table: Table, key: bytes, value: object) -> Callable[[Store], object]:
    async def change(store: Store) -> None:
        batch = Batch()
        batch.put(table, key, value if isinstance(value, bytes) else encode(value))  # type: ignore[arg-type]
        await store.commit(batch)

    return change


def remove(table: Table) -> Callable[[Store], object]:
    async def change(store: Store) -> None:
        batch = Batch()
        batch.delete(table, store.scan(table, limit=1)[0][0])
        await store.commit(batch)

    return change


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        (Table.HEADS, "head 1: missing"),
        (Table.NAMES, "missing"),
        (Table.BINDINGS, "binding of web/"),
        (Table.SEEN, "missing: a redelivery would be taken as new"),
        (Table.TROUBLE, "trouble 2/5: missing: the log says ('failed', "),
    ],
)
def test_a_lost_row_is_named(table: Table, complaint: str, state: Path) -> None:
    edit(state, remove(table))
    (problem,) = problems_in(state)
    assert complaint in problem


@pytest.mark.parametrize(
    ("table", "key", "value", "complaint"),
    [
        (Table.HEADS, number_key(9), [1], "log 9: missing"),
        (Table.HEADS, number_key(2**63), [1], f"head {2**63}: no session has such a number"),
        (Table.HEADS, number_key(1), b"\x01rotten", "head 1: unreadable"),
        (Table.HEADS, number_key(1), [1, 2], "head 1: a head has 2 fields"),
        (Table.NAMES, name_key("s1"), 2, "holds 2, the log says 1"),
        (Table.NAMES, name_key("s9"), 9, "holds 9, of which no log tells"),
        (Table.NAMES, name_key("s1"), b"\x01rotten", "unreadable"),
        (Table.BINDINGS, b"k" * 16, [1], "a binding has 1 fields"),
        (Table.BINDINGS, b"k" * 16, b"\x01rotten", "unreadable"),
        (Table.SEEN, seen_key(seen_window(time.time_ns() // 1000), b"k" * 16), ["s1", 3, b""],
         "leads to s1/3, which is another"),
        (Table.SEEN, seen_key(1, b"k" * 16), b"\x01rotten", "unreadable"),
        (Table.SEEN, seen_key(1, b"k" * 16), ["s9", 3, b""], "leads to s9/3"),
        (Table.TROUBLE, log_key(1, 4), ["failed", 0, None], "of which no log tells"),
        (Table.TROUBLE, log_key(2, 5), ["unknown", 0, None], "the log says ('failed', "),
        (Table.TROUBLE, log_key(2, 5), b"\x01rotten", "holds 'unreadable"),
        (Table.TROUBLE, log_key(2, 5), 1, "the log says ('failed', "),
        (Table.TROUBLE, log_key(9, 4), ["failed", 0, None], "trouble 9/4: leads to no log"),
        (Table.TROUBLE, b"short", ["failed", 0, None], "has a key of another kind"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_named(
    table: Table, key: bytes, value: object, complaint: str, state: Path
) -> None:
    edit(state, put(table, key, value))
    found = problems_in(state)
    assert any(complaint in problem for problem in found), found


@pytest.mark.parametrize(
    ("field", "value"),
    [("settled", 1), ("open_turns", 1), ("open_deliveries", 1), ("context_bound", 0),
     ("last_active_us", 0), ("conversation", "b"), ("attempts", 3), ("oldest_delivery", 1)],
)  # fmt: skip
def test_a_head_that_differs_from_the_replay_is_named_with_its_field(
    field: str, value: object, state: Path
) -> None:
    changed: dict[str, Any] = {field: value}
    with open_reader(state) as reader:
        head = load_head(reader, 1)
    assert head is not None
    edit(state, put(Table.HEADS, number_key(1), list(head._replace(**changed))))
    (problem,) = problems_in(state)
    assert problem.startswith(f"head 1: {field} is {value!r}, the log says ")


# --- how it is told -----------------------------------------------------------------------------


def test_each_problem_is_a_line_and_the_exit_code_tells(state: Path) -> None:
    with raw(state) as change:
        change(1, 4, b"\x01garbage")
        change(2, 3, b"\x01garbage")
    answer = turnkeeper("verify", "--state", state)
    assert answer.returncode == 1
    *problems, summary = answer.stdout.splitlines()
    assert [line.split(":")[0] for line in problems] == ["log 1/4", "log 2/3"]
    assert summary.endswith("2 problems")
    as_json = turnkeeper("verify", "--json", "--state", state)
    assert as_json.returncode == 1
    told = json.loads(as_json.stdout)
    assert [problem["place"] for problem in told["problems"]] == ["log 1/4", "log 2/3"]
    assert told["sessions"] == 2
