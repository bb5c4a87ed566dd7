"""Sessions that come back from a file as they were, and files that hold none."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import turnkeeper as tk
from turnkeeper import views
from turnkeeper.actors.core.records import record_kinds
from turnkeeper.actors.core.turns import NEVER
from turnkeeper.actors.journal import load_session_number
from turnkeeper.export import export_lines
from turnkeeper.import_fields import SHAPES
from turnkeeper.import_lines import BadImport, read_export
from turnkeeper.importing import Imported, ImportRefused, plan_import
from turnkeeper.storage.base import Reads, Table
from turnkeeper.storage.errors import CorruptRecord
from turnkeeper.storage.memory import MemoryDisk, MemoryStore, open_memory
from turnkeeper.testing import LoopbackChannel

from .retained import NOW_US, agent, is_quiet, problems, say, until


def clock() -> datetime:
    return datetime.fromtimestamp(NOW_US / 1e6, UTC)


async def grow(disk: MemoryDisk) -> None:
    """s1: ann, rich in everything; s2: bob; mission-daily; s1 has joined s2 and left it again."""
    tg = LoopbackChannel("tg", platform="telegram")
    dc = LoopbackChannel("dc", platform="discord")
    async with (
        open_memory(disk) as store,
        tk.open_runtime(None, store=store, agent=agent, channels=[tg, dc], clock=clock) as rt,
    ):
        await say(tg, store, "hello \udce9 \U0001f600 \x00", "ann")
        await say(tg, store, "keep this", "ann")
        await say(dc, store, "hello", "bob")
        await rt.link("telegram", "ann", "carol")
        await rt.link("discord", "bob", "carol")
        await say(dc, store, "as carol", "bob")
        await rt.send_message("s1", "unasked")
        await rt.clear("s1")
        await rt.mirror_to_session("s1", "mirrored", source="crm", metadata={"a": 1})
        await rt.add_mission("daily", "0 9 * * *", "look around", notify="tg")
        await rt.run_mission("daily")
        tg.fail_next("rejected")
        await say(tg, store, "never arrives", "ann")
        await rt.unlink("discord", "bob")
        await say(dc, store, "alone again", "bob")
        await say(tg, store, "the last word", "ann")
        await until(lambda: all(is_quiet(store, name) for name in ("s1", "s2", "mission-daily")))
        assert problems(store) == []


@pytest.fixture(scope="module")
def grown() -> MemoryDisk:
    disk = MemoryDisk()
    trio.run(grow, disk)
    return disk


def exported(store: Reads, session_id: str) -> list[str]:
    number = load_session_number(store, session_id)
    assert number is not None
    return list(export_lines(store, session_id, number))


def write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


async def bring_in(store: MemoryStore, path: Path) -> Imported:
    imported, batch = plan_import(store, path, NOW_US)
    await store.commit(batch)
    return imported


@pytest.mark.parametrize(
    "order", [("s1",), ("s2",), ("mission-daily",), ("s1", "s2"), ("s2", "mission-daily", "s1")]
)
async def test_an_imported_session_is_as_it_was_and_everything_follows_from_it(
    grown: MemoryDisk, tmp_path: Path, order: Sequence[str]
) -> None:
    async with open_memory(grown.copy()) as origin, open_memory() as store:
        for session_id in order:
            lines = exported(origin, session_id)
            imported = await bring_in(store, write(tmp_path / session_id, lines))
            assert imported.records == len(lines) - 1
            assert exported(store, session_id) == lines
            assert problems(store) == []
        if len(order) == 3:
            tables = set(Table) - {Table.MISSIONS, Table.DUE, Table.IDENTITIES, Table.USERS}
            for table in tables - {Table.LIMITS, Table.USAGE, Table.TOKENS}:
                here, there = store.scan(table, limit=999), origin.scan(table, limit=999)
                assert [key for key, _ in here] == [key for key, _ in there], table


async def test_what_an_import_has_given_to_a_session_elsewhere_is_not_that_of_its_namesake(
    tmp_path: Path,
) -> None:
    async def talk(disk: MemoryDisk, *names: str, link: bool) -> None:
        tg = LoopbackChannel("tg", platform="telegram")
        async with (
            open_memory(disk) as store,
            tk.open_runtime(None, store=store, agent=agent, channels=[tg], clock=clock) as rt,
        ):
            for name in names:
                await say(tg, store, "hello", name)
            for name in names if link else ():
                await rt.link("telegram", name, "carol")

    there, here = MemoryDisk(), MemoryDisk()
    await talk(there, "ann", "bob", link=True)
    await talk(here, "eve", link=False)
    async with open_memory(there) as origin, open_memory(here) as store:
        given = json.loads(exported(origin, "s2")[-2])
        assert (given["kind"], given["to_session"]) == ("released", "s1")
        await bring_in(store, write(tmp_path / "s2", exported(origin, "s2")))
        assert problems(store) == []


async def test_an_imported_session_goes_on(grown: MemoryDisk, tmp_path: Path) -> None:
    async with open_memory(grown.copy()) as origin, open_memory() as store:
        for session_id in ("s1", "s2"):
            await bring_in(store, write(tmp_path / session_id, exported(origin, session_id)))
        tg = LoopbackChannel("tg", platform="telegram")
        async with tk.open_runtime(
            None, store=store, agent=agent, channels=[tg], clock=clock
        ) as runtime:
            assert await say(tg, store, "hello", "ann") == "s1"
            assert await say(tg, store, "hello", "eve") == "s3"
            with pytest.raises(tk.ActRefused, match="`sessions delete s2` removes the session"):
                await runtime.undo(2)
            assert problems(store) == []
            await runtime.delete("s1")
            await runtime.delete("s2")
            assert problems(store) == []
            assert [info.id for info in views.sessions(store)] == ["s3"]


async def test_a_session_that_was_summarised_shows_the_same_after_the_import(
    tmp_path: Path,
) -> None:
    tg = LoopbackChannel("tg", platform="telegram")
    options: dict[str, Any] = {"agent": agent, "channels": [tg], "clock": clock}
    config = {"session": {"max_context_tokens": 2_000}}
    async with (
        open_memory() as origin,
        tk.open_runtime(
            None, store=origin, config=config, token_counter="estimate", **options
        ) as runtime,
    ):
        for number in range(40):
            await say(tg, origin, f"number {number} is decided on. " * 12, "ann")
        await runtime.compact("s1")
        lines = exported(origin, "s1")
        kinds = {json.loads(line)["kind"] for line in lines}
        assert "summary" in kinds
        async with open_memory() as store:
            await bring_in(store, write(tmp_path / "s1", lines))
            assert problems(store) == []
            assert exported(store, "s1") == lines
            assert views.window(store, "s1") == views.window(origin, "s1")


async def test_what_is_here_already_is_named_and_nothing_is_written(
    grown: MemoryDisk, tmp_path: Path
) -> None:
    async with open_memory(grown.copy()) as origin, open_memory() as store:
        path = write(tmp_path / "s1", exported(origin, "s1"))
        tg = LoopbackChannel("tg", platform="telegram")
        async with tk.open_runtime(None, store=store, agent=agent, channels=[tg], clock=clock):
            await say(tg, store, "hello", "eve")
        with pytest.raises(ImportRefused, match="there is a session 's1' here already"):
            plan_import(store, path, NOW_US)
    async with open_memory(grown.copy()) as origin, open_memory() as store:
        async with tk.open_runtime(
            None, store=store, agent=agent, channels=[tg], clock=clock
        ) as runtime:
            await runtime.pair("telegram", "ann", "work")
            assert await say(tg, store, "hello", "ann") == "work"
            await runtime.unpair("telegram", "ann")
        with pytest.raises(ImportRefused, match="the number of s1 is that of 'work' here"):
            plan_import(store, path, NOW_US)
        lines = exported(origin, "s1")
        named = write(tmp_path / "named", sealed(renamed(lines[:-1], "other")))
        with pytest.raises(ImportRefused, match=r"tg/dm-ann belongs to '.*' here"):
            plan_import(store, named, NOW_US)
        async with tk.open_runtime(
            None, store=store, agent=agent, channels=[tg], clock=clock
        ) as runtime:
            owner = await runtime.binding("tg", "dm-ann")
            assert owner is not None
            await runtime.delete(owner.session_id)
        deleted = write(tmp_path / "deleted", sealed(renamed(lines[:-1], owner.session_id)))
        with pytest.raises(ImportRefused, match=r"was deleted on .* never used again"):
            plan_import(store, deleted, NOW_US)
        assert problems(store) == []
        await bring_in(store, named)
        assert problems(store) == []


def renamed(lines: Sequence[str], session_id: str) -> list[dict[str, Any]]:
    """The lines of a session under another name."""
    found: list[dict[str, Any]] = [{**json.loads(line), "session": session_id} for line in lines]
    found[0]["session_id"] = session_id
    return found


def sealed(records: Sequence[dict[str, Any]]) -> list[str]:
    """Lines, and the last one that belongs to them."""
    lines = [json.dumps(record) for record in records]
    digest = sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    end = {"v": 2, "session": records[0]["session"], "kind": "end", "records": len(lines)}
    return [*lines, json.dumps({**end, "sha256": digest})]


OPENED = {
    "v": 2,
    "session": "s1",
    "seq": 1,
    "kind": "opened",
    "at_us": 1,
    "session_id": "s1",
    "agent": "main",
    "by": "a test",
}
USER = {
    "v": 2,
    "session": "s1",
    "seq": 2,
    "kind": "user",
    "at_us": 2,
    "text": "hi",
    "instance": "tg",
    "conversation": "c1",
    "thread": None,
    "platform": "telegram",
    "message_id": "m1",
    "user_id": "u1",
}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in USER.items() if key != name}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown field": ({**USER, "extra": 1}, "line 2: 'extra': is no field of such a record"),
    "missing field": (without("text"), "line 2: text: is missing"),
    "number for text": ({**USER, "text": 5}, "line 2: text: must be a text, not 5"),
    "text for number": ({**USER, "at_us": "2"}, "line 2: at_us: must be a whole number"),
    "bool for number": ({**USER, "at_us": True}, "line 2: at_us: must be a whole number"),
    "negative": ({**USER, "at_us": -1}, "line 2: at_us: must be a whole number"),
    "huge": ({**USER, "at_us": 2**63}, "line 2: at_us: must be a whole number"),
    "no time": ({**USER, "at_us": 2**62}, "line 2: at_us: lies behind the year 9999"),
    "number for bool": ({**USER, "direct": 1}, "line 2: direct: must be true or false"),
    "null for text": ({**USER, "user_id": None}, "line 2: user_id: must be a text"),
    "no list": ({**USER, "attachments": "a"}, "line 2: attachments: must be a list"),
    "bad row": ({**USER, "attachments": [["a"]]}, "line 2: attachments: must be a list of 5"),
    "bad wtf8": ({**USER, "text": {"wtf8": "?"}}, "line 2: text: wtf8: is not the base64"),
    "object": ({**USER, "text": {"a": "b"}}, "line 2: text: must be a text"),
    "gap": ({**USER, "seq": 3}, "line 2: seq: must be 2, not 3"),
    "bool seq": ({**USER, "seq": True}, "line 2: seq: must be 2, not true"),
    "kind": ({**USER, "kind": "feed"}, 'line 2: kind: "feed" is none'),
    "erased": ({**USER, "kind": "erased"}, 'line 2: kind: "erased" is none'),
    "list kind": ({**USER, "kind": ["user"]}, "line 2: kind: "),
    "damaged": ({**USER, "kind": "damaged"}, "line 2: stands for a record that was damaged"),
    "second opened": ({**OPENED, "seq": 2}, "line 2: kind: the first record"),
    "another session": ({**USER, "session": "s2"}, "line 2: session: is 's2'"),
    "version": ({**USER, "v": 3}, "line 2: v: is 3, this version reads up to 2"),
    "mixed version": ({**USER, "v": 1}, "line 2: v: is 1, the lines before have 2"),
    "no version": (without("v"), "line 2: v: is no version"),
    "no such turn": (
        {"v": 2, "session": "s1", "seq": 2, "kind": "silent", "at_us": 2, "turn_seq": 1},
        "line 2: turn_seq: record 1 is no turn",
    ),
    "later record": (
        {"v": 2, "session": "s1", "seq": 2, "kind": "clear", "at_us": 2, "by": "x", "cleared": 9},
        "line 2: cleared: speaks of a record that does not come before",
    ),
    "the record itself": (
        {"v": 2, "session": "s1", "seq": 2, "kind": "clear", "at_us": 2, "by": "x", "cleared": 2},
        "line 2: cleared: speaks of a record that does not come before",
    ),
    "no such message": (
        {
            "v": 2,
            "session": "s1",
            "seq": 2,
            "kind": "receipt",
            "at_us": 2,
            "delivery_seq": 1,
            "status": "read",
        },
        "line 2: delivery_seq: record 1 is no message",
    ),
    "no delivery": (
        {
            "v": 2,
            "session": "s1",
            "seq": 2,
            "kind": "note",
            "at_us": 2,
            "text": "hi",
            "source": "crm",
            "session_id": None,
            "mission": None,
            "delivery_id": "s1/99999999999999999999",
            "instance": None,
            "conversation": None,
            "thread": None,
        },
        "line 2: delivery_id: ",
    ),
    "no version of a key": (
        {
            "v": 2,
            "session": "s1",
            "seq": 2,
            "kind": "keyed",
            "at_us": 2,
            "key": ["main", "main"],
            "version": 2**32,
        },
        "line 2: version: must be a version, from 1 to 4294967295",
    ),
    "long memory": (
        {"v": 2, "session": "s1", "seq": 2, "kind": "memory", "at_us": 2, "key": "", "value": "v"},
        "line 2: memory: a key has 1 to 200 characters",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_field_that_cannot_be_is_named_with_its_line(name: str, tmp_path: Path) -> None:
    record, complaint = BAD[name]
    path = write(tmp_path / "s1.jsonl", sealed([OPENED, record]))
    with pytest.raises(BadImport) as raised:
        read_export(path, ignore)
    assert str(raised.value).startswith(f"s1.jsonl, {complaint}")
    assert "\n" not in str(raised.value)


def ignore(_record: object) -> None:
    """Nobody wants it."""


SUMMARY: dict[str, Any] = {
    "v": 2,
    "session": "s1",
    "seq": 3,
    "kind": "summary",
    "at_us": 3,
    "text": "Ann greeted us.",
    "through": 0,
    "asides": 0,
    "by": "somebody",
    "tokens": 1,
    "covered_tokens": 1,
    "covered_bound": 0,
    "covered_messages": 0,
    "previous": 0,
    "others": [],
    "for_turn": 0,
    "fault": None,
}


@pytest.mark.parametrize(
    ("claim", "complaint"),
    [
        ({"through": 2}, "stands for turns up to 2, when turn 0 was the last that was over"),
        ({"previous": 2}, "folds in 2, which is no earlier summary"),
        ({"for_turn": 1}, "was waited for by 1, which is no turn"),
        ({"others": [[9, 1, 1, 0]]}, "stands for log 9, which had not joined"),
        ({"covered_messages": 7}, "stands for 7 messages, when there were 1"),
        ({"text": " "}, "says nothing"),
    ],
)
async def test_a_summary_that_claims_what_cannot_be_is_refused(
    claim: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "s1.jsonl", sealed([OPENED, USER, {**SUMMARY, **claim}]))
    async with open_memory() as store:
        with pytest.raises(BadImport, match="record 3 is a summary that ") as raised:
            plan_import(store, path, NOW_US)
    assert str(raised.value).endswith(complaint)


CHANGES: list[tuple[Callable[[list[str]], list[str]], str]] = [
    (lambda lines: lines[:-1], "is cut short: its last line, of kind 'end', is missing"),
    (lambda lines: lines[1:], "line 1: seq: must be 1, not 2"),
    (lambda lines: [*lines, lines[-1]], "line 4: stands behind the last line"),
    (lambda lines: [lines[0], lines[-1]], "line 2: records: says 2, there are 1"),
    (
        lambda lines: [lines[0], lines[1].replace("hi", "ho"), lines[2]],
        "line 3: sha256: is not",
    ),
    (lambda lines: [lines[0], "", *lines[1:]], "line 2: is no JSON"),
    (lambda lines: [lines[0], "[]", *lines[1:]], "line 2: is no JSON object"),
    (lambda lines: [lines[0], "NaN", *lines[1:]], "line 2: is no JSON"),
    (lambda lines: [lines[0], "9" * 5000, *lines[1:]], "line 2: is no JSON"),
    (lambda lines: [lines[0], "[" * 100_000, *lines[1:]], "line 2: is no JSON"),
    (lambda lines: [lines[0][:-1] + ', "v": 2}', *lines[1:]], "line 1: is no JSON"),
    (lambda lines: [], "holds no record"),
]


@pytest.mark.parametrize(("change", "complaint"), CHANGES)
def test_a_file_that_was_changed_or_cut_is_refused(
    change: Callable[[list[str]], list[str]], complaint: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "s1.jsonl", change(sealed([OPENED, USER])))
    with pytest.raises(BadImport) as raised:
        read_export(path, ignore)
    assert complaint in str(raised.value)


def test_a_last_line_without_an_end_and_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    whole = "".join(f"{line}\n" for line in sealed([OPENED, USER])).encode()
    for data, complaint in (
        (whole[:-1], "line 3: is cut short"),
        (b"\xff" + whole, "line 1: is no JSON"),
        (b"\x00" * 100, "line 1: is cut short"),
    ):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(BadImport, match=complaint):
            read_export(tmp_path / "x", ignore)


@pytest.mark.parametrize(
    ("session_id", "complaint"),
    [
        ("s0", "no name that the runtime gives"),
        ("s007", "no name that the runtime gives"),
        ("s99999999999999999999999", "no name that the runtime gives"),
    ],
)
async def test_a_number_that_no_session_has_is_refused(
    session_id: str, complaint: str, tmp_path: Path
) -> None:
    lines = sealed(renamed([json.dumps(OPENED)], session_id))
    async with open_memory() as store:
        with pytest.raises(ImportRefused, match=complaint):
            plan_import(store, write(tmp_path / "x", lines), NOW_US)


@pytest.mark.parametrize("session_id", ["", "a b", "../x", "é", "x" * 65])
def test_what_names_no_session_is_refused(session_id: str, tmp_path: Path) -> None:
    lines = sealed(renamed([json.dumps(OPENED)], session_id))
    with pytest.raises(BadImport, match="line 1: session"):
        read_export(write(tmp_path / "x", lines), ignore)


def test_an_export_of_the_first_form_is_read_and_known_to_be_unchecked(tmp_path: Path) -> None:
    lines = [json.dumps({**record, "v": 1}) for record in (OPENED, USER)]
    export = read_export(write(tmp_path / "x", lines), ignore)
    assert (export.session_id, export.records, export.has_digest) == ("s1", 2, False)


async def test_a_number_is_the_one_in_the_name_and_the_next_session_comes_behind_it(
    tmp_path: Path,
) -> None:
    async with open_memory() as store:
        for session_id, number in (("s40", 40), ("work", 41)):
            lines = sealed(renamed([json.dumps(OPENED)], session_id))
            assert (await bring_in(store, write(tmp_path / "x", lines))).number == number
        tg = LoopbackChannel("tg", platform="telegram")
        async with tk.open_runtime(None, store=store, agent=agent, channels=[tg], clock=clock):
            assert await say(tg, store, "hello", "ann") == "s42"
        assert problems(store) == []


async def test_an_export_names_what_is_damaged_or_stands_for_it(grown: MemoryDisk) -> None:
    disk = grown.copy()
    key = sorted(key for key, _ in disk.log.range(b"\0" * 7 + b"\1", b"\0" * 7 + b"\2", False))[4]
    data = disk.log.get(key)
    assert data is not None
    disk.log.put(key, data[:-1] + bytes([data[-1] ^ 1]))
    async with open_memory(disk) as store:
        with pytest.raises(CorruptRecord, match="record 1/5"):
            exported(store, "s1")
        lines = list(export_lines(store, "s1", 1, skip_damaged=True))
        assert json.loads(lines[4])["kind"] == "damaged"
        assert json.loads(lines[-1])["records"] == store.last_seq(1)


async def test_what_an_agent_was_shown_comes_along(tmp_path: Path) -> None:
    answer: dict[str, Any] = {
        "v": 2,
        "session": "s1",
        "seq": 3,
        "kind": "silent",
        "at_us": 3,
        "turn_seq": 2,
        "saw": [[1, 2, [[2, 200], [1, -1]]], [7, NEVER, []]],
    }
    lines = sealed([OPENED, USER, answer])
    async with open_memory() as store:
        await bring_in(store, write(tmp_path / "s1", lines))
        again = [json.loads(line) for line in exported(store, "s1")]
        assert again[2] == answer
        bad: dict[str, Any] = {**answer, "saw": [[1, 2, [[2, -2]]]]}
        path = write(tmp_path / "bad", sealed([OPENED, USER, bad]))
        with pytest.raises(BadImport, match="line 3: saw: must be a whole number"):
            read_export(path, ignore)


def test_every_field_of_every_kind_can_be_read_from_a_line() -> None:
    for cls in record_kinds():
        shape = SHAPES.get(cls.kind)
        if shape is not None:
            assert shape.fields == {field.name for field in fields(cls)}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=4,
)


def test_whatever_stands_in_a_line_is_refused_or_replays(grown: MemoryDisk, tmp_path: Path) -> None:
    async def lines_of() -> list[dict[str, Any]]:
        async with open_memory(grown.copy()) as store:
            return [json.loads(line) for line in exported(store, "s1")[:-1]]

    records = trio.run(lines_of)

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.integers(0, len(records) - 1), st.data())
    def check(index: int, data: st.DataObject) -> None:
        changed = [dict(record) for record in records]
        name = data.draw(st.sampled_from(sorted(changed[index])))
        changed[index][name] = data.draw(json_values)
        path = write(tmp_path / "x", sealed(changed))

        async def try_it() -> None:
            async with open_memory() as store:
                try:
                    await bring_in(store, path)
                except (BadImport, ImportRefused) as refused:
                    text = str(refused)
                else:
                    text = ""
                assert "\n" not in text
                if text:
                    assert store.last_seq(1) == 0
                    return
                for session_id in [info.id for info in views.sessions(store)]:
                    views.history(store, session_id)
                    views.window(store, session_id)

        trio.run(try_it)

    check()
