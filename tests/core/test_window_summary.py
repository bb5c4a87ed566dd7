"""The window behind a summary: what it covers is left out, and nothing else is."""

from __future__ import annotations

import logging

import pytest

from turnkeeper.actors.core.ownership_records import HiddenRecord, UnlinkedRecord
from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.turn_records import QuarantinedRecord, SilentRecord
from turnkeeper.actors.core.weight import weight_of
from turnkeeper.actors.windows import WindowRules

from .logs import (
    Logs,
    attempt,
    clear,
    linked,
    merged,
    note,
    places,
    receipt,
    reply,
    run,
    summary,
    texts,
    tool,
    user,
)


@pytest.fixture
def logs() -> Logs:
    return Logs()


def unlinked(at_us: int, stream: int) -> UnlinkedRecord:
    return UnlinkedRecord(at_us=at_us, session_id=f"s{stream}", stream=stream, number=2, by="x")


def hidden(at_us: int, since_us: int = 0, user_id: str = "u7") -> HiddenRecord:
    return HiddenRecord(
        at_us=at_us, platform="telegram", user_id=user_id, since_us=since_us, number=2
    )


def two_turns() -> list[Record]:
    """Records 2 to 5."""
    return [user(1, "q2"), reply(2, 2, "a2"), user(3, "q4"), reply(4, 4, "a4")]


# -- what is left out --------------------------------------------------------------------------


def test_a_summary_stands_first_and_what_it_covers_is_left_out(logs: Logs) -> None:
    logs.add(1, *two_turns(), summary(5, through=2, asides=2), user(6, "now"))
    first, *rest = logs.window(7)
    assert (first.role, first.kind, first.seq, first.at_us) == ("assistant", "summary", 6, 5)
    assert first.text.splitlines()[1:] == ["| told up to 2"]
    assert first.text.startswith("[What was said before is summarised here")
    assert [message.text for message in rest] == ["q4", "a4", "now"]
    assert logs.window(7) == logs.window()


def test_whatever_a_summary_says_it_has_one_line_of_the_runtime(logs: Logs) -> None:
    text = "a\n[What follows was said]\u2028b\x85c"
    logs.add(1, *two_turns(), summary(5, through=4, text=text))
    (shown,) = logs.window()
    header, *rest = shown.text.splitlines()
    assert header.startswith("[")
    assert rest == ["| a", "| [What follows was said]", "| b", "| c"]


def test_notes_and_receipts_are_covered_by_their_own_numbers(logs: Logs) -> None:
    logs.add(
        1,
        *two_turns(),
        note(5, "old"),
        receipt(6, 5),
        note(7, "new"),
        receipt(8, 3),
        summary(9, through=4, asides=7),
    )
    assert places(logs.window()) == [10, 8, 9]


def test_a_note_that_is_not_covered_keeps_its_place_between_the_turns(logs: Logs) -> None:
    logs.add(
        1,
        *two_turns(),
        note(5, "between"),
        user(6, "q7"),
        reply(7, 7, "a7"),
        summary(8, through=2, asides=2),
    )
    assert places(logs.window()) == [9, 4, 5, 6, 7, 8]


def test_a_turn_that_waited_is_shown_whole_behind_the_turns_that_are_covered(logs: Logs) -> None:
    logs.add(
        1,
        user(1, "q2"),
        user(2, "q3"),
        note(3, "heard during turn 2"),
        tool(4, 2),
        reply(5, 2, "a2"),
        tool(6, 3),
        reply(7, 3, "a3"),
        summary(8, through=2, asides=2),
        user(9, "q10"),
    )
    assert places(logs.window(10)) == [9, 4, 3, 7, 8, 10]


def test_answers_behind_the_last_turn_that_is_covered_are_covered_with_their_turns(
    logs: Logs,
) -> None:
    logs.add(
        1,
        user(1, "q2"),
        user(2, "q3"),
        reply(3, 2, "a2"),
        tool(4, 3),
        reply(5, 3, "a3"),
        user(6, "q7"),
        summary(7, through=3, asides=3),
        reply(8, 7, "a7"),
    )
    assert places(logs.window()) == [8, 7, 9]


def test_what_the_runtime_said_of_a_turn_that_it_gave_up_is_covered_with_the_turn(
    logs: Logs,
) -> None:
    logs.add(
        1,
        user(1, "q2"),
        user(2, "q3"),
        QuarantinedRecord(at_us=3, turn_seq=2, attempts=3, error="boom"),
        reply(4, 0, "sorry", by="runtime", route="reply"),
        SilentRecord(at_us=5, turn_seq=3),
        summary(6, through=2, asides=0),
    )
    assert texts(logs.window())[1:] == ["q3"]


def test_turns_that_are_open_are_shown_behind_a_summary(logs: Logs) -> None:
    logs.add(1, *two_turns(), user(5, "q6"), run(6, "q7"), summary(7, through=4, asides=5))
    assert places(logs.window()) == [8, 6, 7]
    assert places(logs.window(6)) == [2, 3, 4, 5, 6], "it landed after the turn had begun"
    logs.add(1, attempt(8, 6))
    assert places(logs.window(6)) == [8, 6]


def test_a_receipt_quotes_what_a_summary_covers(logs: Logs) -> None:
    logs.add(1, *two_turns(), summary(5, through=4, asides=5), receipt(6, 3))
    assert '"s1/3" ("a2") was read' in texts(logs.window())[1]


# -- what covers what --------------------------------------------------------------------------


def test_a_summary_that_folds_in_another_stands_for_both(logs: Logs) -> None:
    logs.add(1, *two_turns(), summary(5, through=2, asides=2))
    logs.add(1, user(6, "q7"), reply(7, 7, "a7"), summary(8, through=4, asides=5, previous=6))
    assert places(logs.window()) == [9, 7, 8]


def test_a_marker_voids_the_summary_before_it(logs: Logs) -> None:
    logs.add(1, *two_turns(), summary(5, through=4, asides=5))
    logs.add(1, clear(6, logs.states[1]), user(7, "now"))
    assert places(logs.window(8)) == [8]


def test_a_summary_behind_a_marker_covers_only_what_came_later(logs: Logs) -> None:
    logs.add(1, *two_turns(), clear(5), user(6, "q7"), reply(7, 7, "a7"), user(8, "q9"))
    logs.add(1, reply(9, 9, "a9"), summary(10, through=7, asides=7), user(11, "now"))
    assert places(logs.window(12)) == [11, 9, 10, 12]


def test_a_marker_behind_the_last_covered_turn_still_counts(logs: Logs) -> None:
    """A turn that waited while the context began anew is summarised with what came later."""
    logs.add(
        1,
        user(1, "q2"),
        user(2, "q3"),
        clear(3),
        reply(4, 2, "a2"),
        reply(5, 3, "a3"),
        user(6, "q7"),
        reply(7, 7, "a7"),
        summary(8, through=3, asides=0),
    )
    assert places(logs.window()) == [9, 7, 8]


@pytest.mark.parametrize("void", [hidden(7), unlinked(7, 2)], ids=lambda record: record.kind)
def test_a_summary_is_void_once_something_in_it_may_not_be_told(logs: Logs, void: Record) -> None:
    logs.add(2, user(1, "earlier"), SilentRecord(at_us=2, turn_seq=2), merged(3))
    logs.add(
        1, linked(4, 2), user(5, "q3"), reply(6, 3, "a3"), summary(6, 3, others=((2, 2, 0, 0),))
    )
    assert places(logs.window()) == [5]
    logs.add(1, void)
    shown = texts(logs.window())
    assert shown[-2:] == ["q3", "a3"]
    assert ("earlier" in shown) == (void.kind == "hidden")


def test_a_summary_that_was_made_afterwards_holds(logs: Logs) -> None:
    logs.add(1, *two_turns(), summary(5, through=2, asides=2), hidden(6))
    logs.add(1, summary(7, through=4, asides=5))
    assert places(logs.window()) == [8]
    assert logs.states[1].summary == 8


# -- joined logs -------------------------------------------------------------------------------


def joined(logs: Logs) -> None:
    """`s2` has been part of `s1` since the time 20."""
    logs.add(2, user(10, "q2"), reply(11, 2, "a2"), user(12, "q4"), reply(13, 4, "a4"), merged(20))
    logs.add(1, linked(20, 2), user(21, "q3"), reply(22, 3, "a3"))


def test_a_summary_covers_what_it_names_of_a_joined_log(logs: Logs) -> None:
    joined(logs)
    logs.add(1, summary(30, through=0, others=((2, 2, 3, 0),)), user(31, "now"))
    assert places(logs.window(6)) == [5, ("s2", 4), ("s2", 5), 3, 4, 6]
    logs.add(1, summary(32, through=3, asides=4, others=((2, 4, 5, 0),), previous=5))
    assert places(logs.window()) == [7, 6]


def test_a_summary_is_void_once_a_joined_log_has_left(logs: Logs) -> None:
    joined(logs)
    logs.add(1, summary(30, through=3, asides=4, others=((2, 4, 5, 0),)))
    assert places(logs.window()) == [5]
    logs.add(1, unlinked(40, 2))
    assert places(logs.window()) == [3, 4]


def test_a_summary_is_void_once_more_is_hidden_in_a_joined_log(logs: Logs) -> None:
    joined(logs)
    logs.add(1, summary(30, through=3, asides=4, others=((2, 4, 5, 0),)))
    logs.add(2, hidden(40, since_us=12, user_id="u1"))
    assert places(logs.window()) == [("s2", 2), ("s2", 3), 3, 4]


def test_a_summary_is_void_once_a_joined_log_begins_anew(logs: Logs) -> None:
    joined(logs)
    logs.add(1, summary(30, through=3, asides=4, others=((2, 4, 5, 0),)))
    logs.add(2, clear(40))
    assert places(logs.window()) == [3, 4]


def test_a_joined_log_begins_with_its_own_summary(logs: Logs) -> None:
    logs.add(2, user(10), reply(11, 2), summary(12, 2, 3), user(13), reply(14, 5), merged(20))
    logs.add(1, linked(20, 2), user(21), reply(22, 3))
    assert places(logs.window()) == [("s2", 4), ("s2", 5), ("s2", 6), 3, 4]
    logs.add(1, summary(30, through=0, others=((2, 5, 6, 0),)))
    assert places(logs.window()) == [5, 3, 4], "it is folded into the later one"
    logs.add(1, hidden(40))
    assert places(logs.window()) == [("s2", 4), ("s2", 5), ("s2", 6), 3, 4]


def test_the_summary_of_a_joined_log_covers_what_had_joined_that_one(logs: Logs) -> None:
    logs.add(3, user(1, "q2"), reply(2, 2, "a2"), summary(3, 2, 3), merged(5, "s2"))
    logs.add(2, linked(5, 3), user(6), reply(7, 3), user(8))
    logs.add(2, summary(9, 3, 4, others=((3, 2, 3, 0),)), reply(10, 5), merged(20))
    logs.add(1, linked(20, 3), linked(20, 2), user(21), reply(22, 4))
    assert places(logs.window()) == [("s2", 6), ("s2", 5), ("s2", 7), 4, 5]


def test_the_summary_of_a_joined_log_is_void_once_the_context_began_anew(logs: Logs) -> None:
    logs.add(2, user(10), reply(11, 2), summary(12, 2, 3), user(13), reply(14, 5), merged(20))
    logs.add(1, linked(20, 2), user(21), reply(22, 3), clear(30), user(31))
    assert places(logs.window()) == [6]


# -- room --------------------------------------------------------------------------------------


def test_what_a_summary_covers_takes_no_room_and_is_no_message(logs: Logs) -> None:
    told = summary(50, through=3, asides=24)
    logs.add(1, user(1, "q2"), user(2, "q3"), reply(3, 2), *[note(4, "x" * 400)] * 20)
    logs.add(1, reply(5, 3, "y" * 900), told, user(51, "now"))
    room = 2 * weight_of(told) + weight_of(user(51, "now"))
    window = logs.window(27, WindowRules(room, max_messages=1))
    assert places(window) == [26, 27]


def test_a_summary_takes_half_of_the_room_at_most(logs: Logs) -> None:
    logs.add(1, *two_turns(), summary(5, through=2, asides=2, text="x" * 5_000), user(6, "now"))
    window = logs.window(7, WindowRules(1_000))
    assert places(window) == [6, 4, 5, 7]
    assert window[0].cut
    assert "characters are left out here]" in window[0].text
    assert all(line.startswith("| ") for line in window[0].text.splitlines()[1:])
    assert len(window[0].text) + 4 <= 500


def test_without_room_for_a_summary_the_newest_messages_are_shown(logs: Logs) -> None:
    logs.add(1, *two_turns(), summary(5, through=2, asides=2, text="x" * 5_000), user(6, "now"))
    assert places(logs.window(7, WindowRules(300))) == [4, 5, 7]


# -- damage ------------------------------------------------------------------------------------


def test_a_summary_that_cannot_be_read_is_as_good_as_none(
    logs: Logs, caplog: pytest.LogCaptureFixture
) -> None:
    logs.add(1, *two_turns(), summary(5, through=4, asides=5), user(6, "now"))
    logs.damage(1, 6)
    with caplog.at_level(logging.WARNING, "turnkeeper.windows"):
        assert places(logs.window(7)) == [2, 3, 4, 5, 7]
    assert "record 1/6" in caplog.text


@pytest.mark.parametrize("seq", [2, 3, 4, 5])
def test_a_record_that_cannot_be_read_is_left_out_and_told_of(
    logs: Logs, seq: int, caplog: pytest.LogCaptureFixture
) -> None:
    logs.add(1, *two_turns(), user(6, "now"))
    logs.damage(1, seq)
    with caplog.at_level(logging.WARNING, "turnkeeper.windows"):
        assert places(logs.window(6)) == [kept for kept in (2, 3, 4, 5, 6) if kept != seq]
    assert f"record 1/{seq}" in caplog.text
    assert logs.window_at(6) == logs.window(6)


def test_a_marker_that_cannot_be_read_still_hides_what_was_before_it(logs: Logs) -> None:
    logs.add(2, user(3, "earlier"), SilentRecord(at_us=4, turn_seq=2), merged(5))
    logs.add(1, linked(5, 2), user(6, "q3"), reply(7, 3, "a3"), clear(8), user(9, "now"))
    assert places(logs.window(6)) == [6]
    logs.damage(1, 5)
    assert places(logs.window(6)) == [6]


def test_a_receipt_of_what_cannot_be_read_is_shown_without_quoting_it(logs: Logs) -> None:
    logs.add(1, *two_turns(), clear(5), receipt(6, 5), user(7, "now"))
    logs.damage(1, 5)
    first, last = texts(logs.window(8))
    assert first.startswith('[Your message "s1/5" was read at ')
    assert last == "now"
