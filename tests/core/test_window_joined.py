"""What an agent sees of several logs: earlier sessions woven in, undone links left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.ownership_records import OpenedRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import (
    AssistantRecord,
    SilentRecord,
    ToolRecord,
    UserRecord,
)
from turnkeeper.actors.core.veil import Hidden
from turnkeeper.actors.core.window import Message, Stretch, build_window

Log: TypeAlias = list[tuple[int, Record]]
EVER = 1 << 40
"""Behind every sequence number here."""


def user(at_us: int, text: str = "q", who: str = "u1", *, direct: bool = True) -> UserRecord:
    return UserRecord(
        at_us=at_us,
        text=text,
        instance="tg",
        conversation=f"c-{who}" if direct else "group",
        thread=None,
        platform="telegram",
        message_id=f"m-{at_us}",
        user_id=who,
        direct=direct,
    )


def assistant(
    at_us: int, text: str = "a", turn_seq: int = 0, conversation: str = "c-u1"
) -> AssistantRecord:
    return AssistantRecord(
        at_us=at_us,
        text=text,
        turn_seq=turn_seq,
        instance="tg",
        conversation=conversation,
        thread=None,
    )


def tool(at_us: int, turn_seq: int) -> ToolRecord:
    return ToolRecord(at_us=at_us, turn_seq=turn_seq, name="t", arguments="1", result="2")


def log(*records: Record) -> Log:
    """A log that begins as every log does, so that the first of `records` has number 2."""
    opened = OpenedRecord(at_us=0, session_id="s", agent="main", by="first message")
    return list(enumerate([opened, *records], 1))


def texts(window: tuple[Message, ...]) -> list[str]:
    return [message.text for message in window]


def test_an_earlier_session_stands_where_its_time_puts_it() -> None:
    own = log(user(10, "own 1"), assistant(11, "yes", 2), user(30, "own 2"))
    earlier = log(user(5, "early 1"), user(20, "early 2"), assistant(21, "no", 3))
    window = build_window([Stretch(None, own), Stretch("s7", earlier)], 4)
    assert texts(window) == ["early 1", "own 1", "yes", "early 2", "no", "own 2"]
    assert [message.session_id for message in window] == ["s7", None, None, "s7", "s7", None]
    assert [message.seq for message in window] == [2, 2, 3, 3, 4, 4]


@pytest.mark.parametrize("answered_us", [12, 25, 99])
def test_a_late_answer_stays_with_its_question(answered_us: int) -> None:
    own = log(user(10, "q"), tool(11, 2), assistant(answered_us, "a", 2))
    earlier = log(user(11, "meanwhile"), user(20, "later"))
    for stretches in (
        [Stretch(None, own), Stretch("s7", earlier)],
        [Stretch("s7", earlier), Stretch(None, own)],
    ):
        assert texts(build_window(stretches, 0)) == ["q", "t(1) -> 2", "a", "meanwhile", "later"]


def test_turns_of_the_same_time_are_in_the_order_of_the_stretches() -> None:
    stretches = [Stretch(name, log(user(5, f"{name} 1"), user(5, f"{name} 2"))) for name in "zay"]
    assert texts(build_window(stretches, 0)) == ["z 1", "z 2", "a 1", "a 2", "y 1", "y 2"]


def test_a_clock_that_went_back_leaves_the_order_of_its_log() -> None:
    own = log(user(10, "own 1"), user(3, "own 2"), user(12, "own 3"))
    earlier = log(user(5, "early 1"), user(11, "early 2"))
    window = build_window([Stretch("s7", earlier), Stretch(None, own)], 0)
    assert texts(window) == ["early 1", "own 1", "own 2", "early 2", "own 3"]


def test_an_answer_without_its_question_stands_at_its_own_time() -> None:
    cut = log(user(1), assistant(10, "a", 2), user(20, "own"))[2:]
    earlier = log(user(5, "early 1"), user(15, "early 2"))
    window = build_window([Stretch(None, cut), Stretch("s7", earlier)], 0)
    assert texts(window) == ["early 1", "a", "early 2", "own"]


def test_open_turns_of_an_earlier_session_are_seen_and_waiting_ones_of_this_one_are_not() -> None:
    own = log(user(10, "now"), user(11, "waits"))
    earlier = log(user(8, "open 1"), user(9, "open 2"), tool(9, 2))
    window = build_window([Stretch("s7", earlier), Stretch(None, own)], 2)
    assert texts(window) == ["open 1", "t(1) -> 2", "open 2", "now"]


def test_the_current_message_is_last_even_if_an_earlier_session_goes_on() -> None:
    own = log(user(10, "before"), user(20, "now"), tool(21, 3))
    earlier = log(user(30, "afterwards"), assistant(31, "yes", 2))
    window = build_window([Stretch(None, own), Stretch("s7", earlier)], 3)
    assert texts(window) == ["before", "afterwards", "yes", "t(1) -> 2", "now"]


def test_a_number_means_a_turn_only_in_its_own_log() -> None:
    own = log(user(10, "own", "u1"), assistant(11, "a", 2))
    earlier = log(user(5, "early", "u1"), assistant(6, "b", 2))
    undone = [Hidden("telegram", "u1", 0, EVER)]
    for hidden_own, hidden_earlier, turn_seq, seen in (
        ((), (), 2, ["early", "b", "a", "own"]),
        (undone, (), 0, ["early", "b"]),
        ((), undone, 0, ["own", "a"]),
        ((), undone, 2, ["a", "own"]),
    ):
        stretches = [Stretch("s7", earlier, hidden_earlier), Stretch(None, own, hidden_own)]
        assert texts(build_window(stretches, turn_seq)) == seen


def test_without_anything_said_there_is_no_window() -> None:
    assert build_window([], 0) == ()
    assert build_window([Stretch(None, []), Stretch("s7", log())], 0) == ()


@pytest.mark.parametrize(
    ("hidden", "left"),
    [
        (Hidden("telegram", "u2", 0, EVER), ["q2", "a2"]),
        (Hidden("telegram", "u1", 0, EVER), ["q3", "t(1) -> 2", "a3", "q4"]),
        (Hidden("telegram", "u2", 31, EVER), ["q2", "a2", "q3", "t(1) -> 2", "a3"]),
        (Hidden("telegram", "u2", 30, 4), ["q2", "a2", "q3", "t(1) -> 2", "a3", "q4"]),
        (Hidden("telegram", "u2", 30, 5), ["q2", "a2", "q4"]),
        (Hidden("telegram", "U2", 0, EVER), ["q2", "a2", "q3", "t(1) -> 2", "a3", "q4"]),
        (Hidden("discord", "u2", 0, EVER), ["q2", "a2", "q3", "t(1) -> 2", "a3", "q4"]),
    ],
)
def test_what_an_undone_link_hides_goes_with_its_answers_and_tools(
    hidden: Hidden, left: list[str]
) -> None:
    own = log(
        user(20, "q2", "u1"),
        assistant(21, "a2", 2),
        user(30, "q3", "u2"),
        user(40, "q4", "u2"),
        tool(41, 4),
        assistant(42, "a3", 4),
    )
    assert texts(build_window([Stretch(None, own, [hidden])], 0)) == left


def test_several_undone_links_of_one_identity_all_count() -> None:
    own = log(*(user(at, f"at {at}") for at in (10, 20, 30, 40)))
    undone = [Hidden("telegram", "u1", 10, 3), Hidden("telegram", "u1", 30, 5)]
    assert texts(build_window([Stretch(None, own, undone)], 0)) == ["at 20", "at 40"]


def test_the_current_turn_is_seen_by_its_own_agent_even_if_its_speaker_is_hidden() -> None:
    own = log(user(10, "before", "u2"), user(20, "now", "u2"), tool(21, 3))
    undone = [Hidden("telegram", "u2", 0, EVER)]
    assert texts(build_window([Stretch(None, own, undone)], 3)) == ["t(1) -> 2", "now"]
    assert texts(build_window([Stretch(None, own, undone)], 0)) == []


def test_answers_to_nobody_knows_whom_are_left_out_up_to_the_undoing() -> None:
    own = log(
        user(10),
        user(11),
        assistant(12, "whose?", 2),
        tool(13, 3),
        user(20),
        assistant(21, "a", 6),
    )
    cut = own[3:]
    undone = [Hidden("telegram", "u9", 0, 6)]
    assert texts(build_window([Stretch(None, cut, undone)], 0)) == ["q", "a"]
    assert texts(build_window([Stretch(None, cut)], 0)) == ["whose?", "t(1) -> 2", "q", "a"]
    assert texts(build_window([Stretch(None, own[6:], undone)], 0)) == ["a"]


def test_what_was_said_unasked_in_a_hidden_private_conversation_is_left_out_too() -> None:
    own = log(
        assistant(1, "before", conversation="c-u2"),
        user(10, "secret", "u2"),
        assistant(11, "about the secret", conversation="c-u2"),
        assistant(12, "elsewhere", conversation="c-u1"),
        user(13, "aloud", "u2", direct=False),
        assistant(14, "to all", conversation="group"),
        assistant(15, "after", conversation="c-u2"),
    )
    undone = [Hidden("telegram", "u2", 5, 8)]
    window = build_window([Stretch(None, own, undone)], 0)
    assert texts(window) == ["before", "elsewhere", "to all", "after"]


def turn_of(log: Log, seq: int) -> int:
    """The turn that record `seq` belongs to; a message that nobody asked for is its own."""
    record = dict(log)[seq]
    return record.turn_seq or seq if isinstance(record, AssistantRecord | ToolRecord) else seq


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """A log of some humans whose turns are answered in order, late or never, by any clock."""
    records: list[Record] = []
    waiting: list[int] = []
    for _ in range(draw(st.integers(0, 12))):
        at_us = draw(st.integers(0, 20))
        seq = len(records) + 2
        match draw(st.sampled_from(["ask", "ask", "tool", "answer", "silence", "unasked"])):
            case "tool" if waiting:
                records.append(tool(at_us, waiting[0]))
            case "answer" if waiting:
                records.append(assistant(at_us, f"a{seq}", waiting.pop(0)))
            case "silence" if waiting:
                records.append(SilentRecord(at_us=at_us, turn_seq=waiting.pop(0)))
            case "unasked":
                records.append(assistant(at_us, f"a{seq}", conversation="elsewhere"))
            case _:
                who = draw(st.sampled_from(["u1", "u2", "u3"]))
                records.append(user(at_us, f"q{seq}", who, direct=draw(st.booleans())))
                waiting.append(seq)
    return log(*records)


undoings = st.lists(
    st.builds(
        Hidden,
        st.just("telegram"),
        st.sampled_from(["u1", "u2", "u9"]),
        st.integers(0, 20),
        st.integers(1, 15),
    ),
    max_size=3,
)


@st.composite
def several(draw: st.DrawFn) -> dict[str | None, Log]:
    """The logs of up to two earlier sessions and of the session itself, which has no name."""
    earlier: list[str | None] = draw(st.sampled_from([[], ["s1"], ["s1", "s2"]]))
    return {name: draw(logs()) for name in [*earlier, None]}


def stretches_of(
    told: Mapping[str | None, Log], hidden: Mapping[str | None, Sequence[Hidden]] | None = None
) -> list[Stretch]:
    return [Stretch(name, records, (hidden or {}).get(name, ())) for name, records in told.items()]


def questions(log: Log) -> list[int]:
    return [seq for seq, record in log if isinstance(record, UserRecord)]


def gone(log: Log, hidden: Sequence[Hidden]) -> set[int]:
    """The turns of `log` that are hidden."""
    return {
        seq
        for seq, record in log
        if isinstance(record, UserRecord)
        and any(
            entry.user_id == record.user_id
            and entry.since_us <= record.at_us
            and seq < entry.until_seq
            for entry in hidden
        )
    }


def is_unasked(record: Record) -> bool:
    return isinstance(record, AssistantRecord) and not record.turn_seq


@given(several())
def test_each_message_is_seen_once_and_each_log_keeps_its_own_order(
    told: dict[str | None, Log],
) -> None:
    window = build_window(stretches_of(told), 0)
    for name, records in told.items():
        said = [
            (turn_of(records, seq), seq)
            for seq, record in records
            if isinstance(record, UserRecord | AssistantRecord | ToolRecord)
        ]
        seen = [(turn_of(records, m.seq), m.seq) for m in window if m.session_id == name]
        assert sorted(seen) == sorted(said)
        unasked = {seq for seq, record in records if is_unasked(record)}
        of_turns = [place for place in seen if place[1] not in unasked]
        assert of_turns == sorted(of_turns)
        of_none = [seq for _, seq in seen if seq in unasked]
        assert of_none == sorted(of_none)


@given(several(), undoings, st.data())
def test_a_turn_is_never_split_and_the_current_one_is_last(
    told: dict[str | None, Log], hidden: list[Hidden], data: st.DataObject
) -> None:
    turn_seq = data.draw(st.sampled_from([0, *questions(told[None])]))
    window = build_window(stretches_of(told, {None: hidden}), turn_seq)
    turns = [(m.session_id, turn_of(told[m.session_id], m.seq)) for m in window]
    runs = [turn for turn, _ in groupby(turns)]
    assert len(runs) == len(set(runs))
    if turn_seq:
        assert (window[-1].session_id, window[-1].seq) == (None, turn_seq)
        assert not [m for m in window if m.role == "user" and not m.session_id and m.seq > turn_seq]


@given(several(), undoings, undoings, st.data())
def test_a_hidden_turn_is_as_if_it_had_never_been(
    told: dict[str | None, Log], here: list[Hidden], there: list[Hidden], data: st.DataObject
) -> None:
    turn_seq = data.draw(st.sampled_from([0, *questions(told[None])]))
    hidden: dict[str | None, Sequence[Hidden]] = {None: here, "s1": there}
    told = {
        name: [(seq, record) for seq, record in records if not is_unasked(record)]
        for name, records in told.items()
    }
    rest: dict[str | None, Log] = {}
    for name, records in told.items():
        left_out = gone(records, hidden.get(name, ()))
        if name is None:
            left_out.discard(turn_seq)
        rest[name] = [
            (seq, record) for seq, record in records if turn_of(records, seq) not in left_out
        ]
    window = build_window(stretches_of(told, hidden), turn_seq)
    assert window == build_window(stretches_of(rest), turn_seq)


@given(logs(), undoings)
def test_hiding_a_turn_moves_nothing_that_was_said_unasked(own: Log, hidden: list[Hidden]) -> None:
    left_out = gone(own, hidden)
    window = build_window([Stretch(None, own)], 0)
    seen = build_window([Stretch(None, own, hidden)], 0)
    assert seen == tuple(m for m in window if turn_of(own, m.seq) not in left_out)


@given(logs(), undoings, st.integers(0, 14))
def test_nothing_of_a_hidden_identity_is_seen_wherever_its_log_is_cut(
    own: Log, hidden: list[Hidden], start: int
) -> None:
    window = build_window([Stretch(None, own[start:], hidden)], 0)
    assert gone(own, hidden).isdisjoint(turn_of(own, m.seq) for m in window)


@given(several())
def test_where_no_clock_went_back_questions_are_in_the_order_of_their_times(
    told: dict[str | None, Log],
) -> None:
    steady: dict[str | None, Log] = {}
    for name, records in told.items():
        times = sorted(record.at_us for _, record in records)
        steady[name] = [
            (seq, replace(record, at_us=at_us))
            for (seq, record), at_us in zip(records, times, strict=True)
        ]
    asked = [m.at_us for m in build_window(stretches_of(steady), 0) if m.role == "user"]
    assert asked == sorted(asked)
