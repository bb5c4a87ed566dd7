"""What an agent may keep, and how the log alone tells what it keeps."""

from __future__ import annotations

import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.conversation import Conversation
from turnkeeper.actors.core.memory import (
    MAX_KEY_CHARS,
    MAX_KEYS,
    MAX_MEMORY_BYTES,
    MAX_VALUE_BYTES,
    Memory,
    MemoryFull,
    memory_of,
)
from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.records import Record, pack, unpack
from turnkeeper.actors.core.view_records import ClearRecord, ForgottenRecord, MemoryRecord
from turnkeeper.actors.core.weight import weight_of
from turnkeeper.storage.codec import decode, encode


def keep(memory: Memory, key: Any, value: Any, during: int = 0) -> MemoryRecord | None:
    """Keep a value, and let the memory follow."""
    record = memory.keep(key, value, 7, during)
    if record is not None:
        memory.apply(record)
    return record


def test_what_is_kept_is_a_record_that_names_its_turn() -> None:
    memory = Memory()
    record = keep(memory, "city", "Oslo", during=17)
    assert record == MemoryRecord(at_us=7, key="city", value="Oslo", during=17)
    assert memory.values == {"city": "Oslo"}


def test_a_removed_key_is_a_record_without_a_value() -> None:
    memory = Memory({"city": "Oslo"})
    assert keep(memory, "city", None) == MemoryRecord(at_us=7, key="city", value=None)
    assert memory.values == {}


def test_what_changes_nothing_is_no_record() -> None:
    memory = Memory({"city": "Oslo"})
    assert keep(memory, "city", "Oslo") is None
    assert keep(memory, "street", None) is None
    assert memory.values == {"city": "Oslo"}


def test_an_empty_value_is_a_value() -> None:
    memory = Memory()
    assert keep(memory, "city", "") is not None
    assert memory.values == {"city": ""}
    assert keep(memory, "city", None) is not None


@pytest.mark.parametrize("key", [None, 1, b"city", ["city"]])
def test_a_key_that_is_no_text_is_refused(key: object) -> None:
    with pytest.raises(TypeError, match="a key must be a str"):
        keep(Memory(), key, "Oslo")


@pytest.mark.parametrize("value", [1, b"Oslo", {"a": 1}])
def test_a_value_that_is_no_text_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="a value must be a str"):
        keep(Memory(), "city", value)


@pytest.mark.parametrize(("key", "has"), [("", "0"), ("k" * (MAX_KEY_CHARS + 1), "201")])
def test_a_key_of_a_wrong_length_is_refused(key: str, has: str) -> None:
    with pytest.raises(ValueError, match=f"1 to 200 characters, not {has}"):
        keep(Memory(), key, "Oslo")
    with pytest.raises(ValueError, match="characters"):
        keep(Memory(), key, None)


def test_the_longest_key_is_taken_in_any_script() -> None:
    memory = Memory()
    keep(memory, "鍵" * MAX_KEY_CHARS, "")
    assert len(memory.values) == 1


@pytest.mark.parametrize("letter", ["a", "é", "鍵", "😀", "\ud800"])
def test_a_value_is_measured_in_bytes(letter: str) -> None:
    memory = Memory()
    most = MAX_VALUE_BYTES // len(letter.encode("utf-8", "surrogatepass"))
    keep(memory, "k", letter * most)
    with pytest.raises(ValueError, match=r"at most 16,384 bytes, not"):
        keep(memory, "k", letter * (most + 1))
    assert memory.values == {"k": letter * most}


def test_a_text_of_a_subclass_is_kept_as_its_characters() -> None:
    class Key(enum.StrEnum):
        CITY = "city"

    record = keep(Memory(), Key.CITY, Key.CITY)
    assert record is not None
    assert record.value is not None
    assert {type(record.key), type(record.value)} == {str}


def test_there_are_so_many_keys_and_no_more() -> None:
    memory = Memory({f"k{number}": "v" for number in range(MAX_KEYS)})
    with pytest.raises(MemoryFull, match="at most 1,000 keys"):
        keep(memory, "one more", "v")
    assert keep(memory, "k0", "another value") is not None
    assert keep(memory, "k1", None) is not None
    assert keep(memory, "one more", "v") is not None
    assert len(memory.values) == MAX_KEYS


def test_keys_and_values_share_one_room() -> None:
    value = "v" * MAX_VALUE_BYTES
    memory = Memory({f"k{number:02}": value for number in range(15)})
    keep(memory, "x", "v" * 16_000)
    rest = MAX_MEMORY_BYTES - 15 * (MAX_VALUE_BYTES + 3) - 16_001
    with pytest.raises(MemoryFull, match=r"at most 262,144 bytes.*would have 262,145"):
        keep(memory, "y", "v" * rest)
    assert "y" not in memory.values
    keep(memory, "y", "v" * (rest - 1))
    with pytest.raises(MemoryFull, match="bytes"):
        keep(memory, "y", "v" * rest)


def test_a_full_memory_can_be_changed_for_what_is_no_longer() -> None:
    memory = Memory()
    for number in range(16):
        keep(memory, f"{number:x}", "v" * (MAX_VALUE_BYTES - 1))
    with pytest.raises(MemoryFull):
        keep(memory, "g", "")
    assert keep(memory, "0", "w" * (MAX_VALUE_BYTES - 1)) is not None
    assert keep(memory, "0", "") is not None
    assert keep(memory, "g", "v") is not None


def test_a_forgotten_memory_has_all_its_room_again() -> None:
    memory = Memory({f"k{number}": "v" * 200 for number in range(MAX_KEYS)})
    memory.apply(ForgottenRecord(at_us=1, by="operator"))
    assert memory.values == {}
    for number in range(MAX_KEYS):
        assert keep(memory, f"k{number}", "v" * 200) is not None


def test_a_cleared_context_leaves_the_memory_as_it_is() -> None:
    records: list[Record] = [
        MemoryRecord(at_us=1, key="city", value="Oslo"),
        ClearRecord(at_us=2, by="user"),
    ]
    assert memory_of(records) == {"city": "Oslo"}


def test_no_window_shows_what_is_kept() -> None:
    core = Conversation()
    core.apply(OpenedRecord(at_us=1, session_id="s1", agent="main", by="program"))
    before = core.head()
    core.keep(MemoryRecord(at_us=2, key="city", value="Oslo", during=3))
    core.keep(ForgottenRecord(at_us=3, by="operator"))
    assert core.head() == before._replace(next_seq=before.next_seq + 2)
    assert weight_of(MemoryRecord(at_us=2, key="city", value="Oslo")) == 0


KEYS = st.sampled_from(["a", "b", "é", "\udc80", "k" * MAX_KEY_CHARS])
VALUES = st.none() | st.text(max_size=4) | st.integers(0, MAX_VALUE_BYTES + 1).map("v".__mul__)


@given(st.lists(st.tuples(KEYS, VALUES) | st.just("forget"), max_size=40))
def test_a_replay_of_what_is_stored_gives_the_memory_that_wrote_it(
    acts: list[tuple[str, str | None] | str],
) -> None:
    memory, model = Memory(), dict[str, str]()
    stored: list[bytes] = []
    for act in acts:
        record: Record | None
        if isinstance(act, str):
            model.clear()
            record = ForgottenRecord(at_us=1, by="program")
        else:
            key, value = act
            try:
                record = memory.keep(key, value, 1)
            except ValueError:
                assert value is not None
                assert len(value) > MAX_VALUE_BYTES
                continue
            assert (record is None) == (model.get(key) == value)
            if value is None:
                model.pop(key, None)
            else:
                model[key] = value
        if record is not None:
            memory.apply(record)
            stored.append(encode(pack(record)))
        assert memory.values == model
    again = [unpack(decode(data)) for data in stored]
    assert memory_of(again) == model
    assert repr(Memory(model)) == repr(memory)
