"""Records of what belongs to whom: readable in a history, whole in an export."""

import json
import re
from dataclasses import fields
from functools import cache

import pytest

from turnkeeper.actors.core.ownership_records import (
    ActiveRecord,
    BoundRecord,
    OpenedRecord,
    ReleasedRecord,
)
from turnkeeper.actors.journal import load_records, load_session_number
from turnkeeper.export import export_lines
from turnkeeper.storage.memory import MemoryReads
from turnkeeper.views import HistoryRecord, history

from .lives import lived


@cache
def _life() -> MemoryReads:
    return MemoryReads(lived())


def entries(session_id: str, kind: str) -> list[HistoryRecord]:
    found = history(_life(), session_id)
    assert found is not None
    return [entry for entry in found if entry.kind == kind]


UNDONE = "undo of change 16: telegram:40 is bob"


@pytest.mark.parametrize(
    ("session_id", "kind", "text"),
    [
        ("s1", "keyed", "serves the user telegram:1 of agent 'main'"),
        ("s1", "keyed", "serves the user telegram:1 of agent 'main' no more"),
        ("s1", "linked", "what was said in s2 is part of this context (discord:2 is alice)"),
        ("s1", "bound", "by discord:2 is alice, from s2"),
        ("s1", "bound", "by first message, dm_scope per-user"),
        ("s1", "active", "by discord:2 is alice"),
        ("s2", "released", "belongs to s1 from here on (discord:2 is alice)"),
        (
            "s2",
            "released",
            "belongs to s1 from here on, where this session goes on (discord:2 is alice)",
        ),
        (
            "s14",
            "unlinked",
            f"what was said in s15 is not part of this context any more ({UNDONE})",
        ),
    ],
)
def test_what_belongs_to_whom_reads_as_a_sentence(session_id: str, kind: str, text: str) -> None:
    assert text in [entry.text for entry in entries(session_id, kind)]


def test_what_is_hidden_is_told_with_whose_it_was_and_since_when() -> None:
    (entry,) = entries("s14", "hidden")
    assert re.fullmatch(
        r"what telegram:40 said here from \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z until now is not "
        r"shown any more \(change 17\)",
        entry.text,
    )


def test_records_about_a_place_name_it() -> None:
    reads = _life()
    for stream in range(1, 18):
        for seq, record in load_records(reads, stream):
            if isinstance(record, BoundRecord | ReleasedRecord | ActiveRecord):
                (opened, *_) = load_records(reads, stream, 1, 2)
                assert isinstance(opened[1], OpenedRecord)
                shown = history(reads, opened[1].session_id, after=seq - 1, before=seq + 1)
                assert shown is not None
                assert shown[0].conversation is not None
                assert shown[0].conversation.conversation == record.conversation


def test_an_export_keeps_every_field_of_every_kind() -> None:
    reads, kinds = _life(), set[str]()
    for session_id in ("s1", "s2", "s14", "user-forty"):
        stream = load_session_number(reads, session_id)
        assert stream is not None
        *exported, end = map(json.loads, export_lines(reads, session_id, stream))
        assert (end["kind"], end["records"]) == ("end", len(exported))
        for line, (seq, record) in zip(exported, load_records(reads, stream), strict=True):
            kinds.add(record.kind)
            assert (line["seq"], line["kind"], line["session"]) == (seq, record.kind, session_id)
            for field in fields(record):
                assert line[field.name] == json.loads(json.dumps(getattr(record, field.name)))
    assert kinds >= {"keyed", "bound", "released", "linked", "unlinked", "hidden", "active"}
