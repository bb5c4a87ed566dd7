"""Messages that were edited or deleted, as windows show them: at their place, or between turns."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.context_logs import logs_of
from turnkeeper.actors.core.alterations import Changes, altered_by, as_altered
from turnkeeper.actors.core.ownership_records import HiddenRecord
from turnkeeper.actors.core.state import State
from turnkeeper.actors.core.view_records import ChangedRecord
from turnkeeper.actors.core.weight import weight_of
from turnkeeper.actors.journal import load_head
from turnkeeper.actors.material import read_material
from turnkeeper.actors.windows import WindowRules

from .logs import (
    Logs,
    attempt,
    clear,
    cost,
    linked,
    merged,
    places,
    reply,
    summary,
    texts,
    user,
)

GONE = "(deleted by its author)"


@pytest.fixture
def logs() -> Logs:
    return Logs()


def change(at_us: int, seq: int, text: str | None = None, shown: str = "later") -> ChangedRecord:
    return ChangedRecord(
        at_us=at_us, message_seq=seq, change_id=f"e{at_us}", text=text, by="u1", shown=shown
    )


def test_an_edit_stands_before_the_first_turn_whose_agent_could_know_of_it(logs: Logs) -> None:
    logs.add(1, user(1), user(2, "q3"), change(3, 2, "Q2"), reply(4, 2), change(5, 2, "Q2!"))
    assert places(logs.window(3)) == [2, 5, 4, 3]
    logs.add(1, reply(6, 3), user(7))
    assert places(logs.window(8)) == [2, 5, 4, 3, 7, 6, 8]


def test_the_original_stays_as_models_have_seen_it(logs: Logs) -> None:
    logs.add(1, user(1, "helo"), reply(2, 2), user(3, "and?"))
    before = texts(logs.window(4))
    logs.add(1, change(4, 2, "hello"), reply(5, 4), user(6, "now"))
    after = texts(logs.window(7))
    assert after[: len(before)] == before
    assert after[4].splitlines()[1:] == ["| hello"]


def test_what_was_deleted_is_shown_to_no_later_attempt(logs: Logs) -> None:
    logs.add(1, user(1, "secret"), change(2, 2, "secret 2"), change(3, 2))
    assert texts(logs.window(2)) == ["secret"], "it was stored before"
    logs.add(1, attempt(4, 2))
    window = logs.window(2)
    assert window == logs.window_at(2)
    assert [m.kind for m in window] == ["changed", "changed", "user"]
    assert window[-1].text == GONE
    assert not any("secret" in text for text in texts(window))


def test_a_file_goes_with_the_message_that_was_deleted(logs: Logs) -> None:
    file = ("image", "blob:x", None, 5, "a.png")
    logs.add(1, user(1, "look", attachments=(file,)), reply(2, 2), change(3, 2))
    shown = logs.window()[0]
    assert (shown.text, shown.attachments, shown.altered) == (GONE, (), "deleted")


def test_what_was_edited_before_its_turn_is_shown_so_from_the_first(logs: Logs) -> None:
    logs.add(1, user(1, "one"), user(2, "two"), change(3, 3, "zwei", "instead"), reply(4, 2, "a"))
    shown = ["one", "a", "zwei"]
    assert texts(logs.window(3)) == texts(logs.window_at(3)) == shown
    logs.add(1, reply(5, 3, "b"), change(6, 3, "drei"))
    assert texts(logs.window())[:4] == [*shown, "b"]
    assert '("zwei")' in texts(logs.window())[4], "what the agent had seen is quoted"


def test_after_a_clear_nothing_tells_of_what_was_said_before(logs: Logs) -> None:
    logs.add(1, user(1), reply(2, 2), change(3, 2, "Q"))
    logs.add(1, clear(4, logs.states[1]))
    assert logs.window() == ()
    logs.add(1, change(5, 2, "QQ", "nowhere"), user(6, "new"))
    assert texts(logs.window(7)) == ["new"]
    assert logs.states[1].context_bound == weight_of(user(6, "new"))


def test_a_turn_that_waited_when_the_context_was_cleared_keeps_its_edits(logs: Logs) -> None:
    logs.add(1, user(1, "old"), user(2, "two"), change(3, 3, "zwei", "instead"))
    logs.add(1, clear(4, logs.states[1]), reply(5, 2, "a"))
    assert texts(logs.window(3)) == ["zwei"]
    kept = weight_of(user(2, "two")) + weight_of(change(3, 3, "zwei", "instead"))
    assert logs.states[1].context_bound == kept + weight_of(reply(5, 2, "a"))
    logs.add(1, change(6, 3, "drei"), attempt(7, 3))
    assert [m.kind for m in logs.window(3)] == ["changed", "user"]


def test_a_summarised_message_is_edited_in_a_line_and_its_deletion_voids_the_summary(
    logs: Logs,
) -> None:
    logs.add(1, user(1, "pin 1234"), reply(2, 2), user(3), reply(4, 4))
    logs.add(1, replace(summary(5, through=2, asides=3), covered_messages=2))
    logs.add(1, change(6, 2, "pin 9"))
    assert places(logs.window()) == [6, 4, 5, 7]
    assert '("pin 1234")' in texts(logs.window())[-1]
    logs.add(1, replace(change(7, 2), was_summarised=True))
    assert places(logs.window()) == [2, 3, 4, 5, 7, 8]
    assert not any("pin" in text for text in texts(logs.window()))


def test_of_a_joined_log_a_deletion_voids_the_summary_that_may_tell_of_it(logs: Logs) -> None:
    logs.add(2, user(1, "secret"), reply(2, 2), merged(3))
    logs.add(1, linked(3, 2), user(4), reply(5, 3))
    logs.add(1, summary(6, through=3, asides=0, others=((2, 2, 0, 0),)))
    assert places(logs.window()) == [5]
    logs.add(2, change(7, 2))
    assert places(logs.window()) == [("s2", 2), ("s2", 3), 3, 4, ("s2", 5)]
    assert texts(logs.window())[0] == GONE


def test_of_a_joined_log_nothing_tells_of_what_was_said_before_the_context_was_cleared(
    logs: Logs,
) -> None:
    logs.add(2, user(1), reply(2, 2), merged(3))
    logs.add(1, linked(3, 2), clear(4))
    logs.add(2, change(5, 2, "Q"))
    assert logs.window() == ()


def test_what_a_link_has_hidden_is_not_told_by_a_change_of_it(logs: Logs) -> None:
    hidden = HiddenRecord(at_us=4, platform="telegram", user_id="u1", since_us=0, number=1)
    logs.add(1, user(1, "secret"), reply(2, 2), change(3, 2, "secret 2"), hidden)
    logs.add(1, change(5, 2, "secret 3"), user(6, "other", user_id="u2"))
    assert texts(logs.window(7)) == ["other"]


def test_a_window_is_never_larger_than_it_may_be_whatever_was_changed(logs: Logs) -> None:
    logs.add(1, *(user(at, "x" * 30) for at in range(1, 30)))
    logs.add(1, *(change(40 + seq, seq, "y" * 90, "instead") for seq in range(3, 20)))
    logs.add(1, *(change(80 + seq, seq, None, "instead") for seq in range(20, 31)))
    logs.add(1, *(reply(200 + seq, seq, "z") for seq in range(2, 31)))
    logs.add(1, *(change(300 + seq, seq, "w" * 50) for seq in range(2, 9)))
    for limit in (200, 700, 1_500, 5_000):
        assert cost(logs.window(0, WindowRules(limit))) <= limit
    state = logs.states[1]
    assert cost(logs.window()) <= state.context_bound


def test_counts_of_what_a_message_was_are_not_taken_for_what_it_is(logs: Logs) -> None:
    mark = b"mark"
    logs.add(1, user(1, "a" * 100), user(2, "b"), change(3, 3, "c" * 500, "instead"), reply(4, 2))
    logs.add(1, reply(5, 3))
    logs.count(1, 3, 5, mark)
    rules = WindowRules(400, None, mark)
    assert cost(logs.window(0, rules)) <= 400
    material = read_material(logs.store, 1, mark)
    assert material is not None
    at = next(n for n, entry in enumerate(material.entries) if entry.message.seq == 3)
    assert (material.tokens[at], at in material.uncounted) == (504, False)


def test_what_a_summary_may_cover_is_what_the_head_has_counted(logs: Logs) -> None:
    logs.add(1, user(1, "one"), user(2, "two"), change(3, 3, "zwei", "instead"), reply(4, 2))
    logs.add(1, reply(5, 3), change(6, 2), change(7, 3, "drei"))
    material = read_material(logs.store, 1, b"mark")
    assert material is not None
    assert sum(material.weights) == logs.states[1].context_bound
    assert len(material.entries) == logs.states[1].context_messages


def test_of_a_very_long_log_too_the_changes_are_known(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnkeeper.actors.uncovered._MOST", 6)
    for at in range(1, 20, 2):
        logs.add(1, user(at, f"secret {at}"))
        logs.add(1, reply(at + 1, logs.states[1].next_seq - 1, "a"))
    logs.add(1, change(50, 2), change(51, 4, "edited"))
    material = read_material(logs.store, 1, b"mark")
    assert material is not None
    assert material.more
    assert [entry.message.text for entry in material.entries][:3] == [GONE, "a", "secret 3"]


@given(
    changes=st.lists(
        st.tuples(
            st.none() | st.sampled_from(["", "b", "cc"]),
            st.sampled_from(["later", "instead", "nowhere"]),
        ),
        max_size=6,
    ),
    read=st.randoms(use_true_random=False),
)
def test_of_many_changes_those_that_count_make_the_same_of_a_message(
    changes: list[tuple[str | None, str]], read: Random
) -> None:
    said = user(1, "a")
    made = [change(at, 2, text, shown) for at, (text, shown) in enumerate(changes, start=2)]
    known, order = Changes(), [*enumerate(made, start=3)] * 2
    read.shuffle(order)
    for seq, one in order:
        known.take(seq, one, weight_of(one))
    counting = known.that_count()
    assert len(counting) <= 2
    assert altered_by(counting) == altered_by(made)
    assert as_altered(said, counting) == as_altered(said, made)
    assert known.added == sum(weight_of(one) for one in made if one.shown == "instead")


@pytest.mark.parametrize("shown", ["later", "instead"])
def test_of_a_flood_of_edits_only_the_newest_text_is_held(logs: Logs, shown: str) -> None:
    logs.add(1, user(1, "q"), *(change(at, 2, "x" * 1_000, shown) for at in range(2, 102)))
    head = load_head(logs.store, 1)
    assert head is not None
    (log,) = logs_of(logs.store, 1, head)
    log.read_changes(logs.store, 1)
    held = [one.text or "" for one in log.changes[2].that_count()]
    assert sum(map(len, held)) == (1_000 if shown == "instead" else 0)
    assert log.told(2, user(1, "q")) == user(1, "x" * 1_000 if shown == "instead" else "q")


def test_a_change_of_what_cannot_be_read_names_nothing_of_it(logs: Logs) -> None:
    logs.add(1, user(1, "helo"), reply(2, 2), change(3, 2, "hello"), change(4, 3))
    logs.damage(1, 2)
    told = texts(logs.window())
    assert '"u1" edited an earlier message, at' in told[1]
    assert "helo" not in told[1].splitlines()[0]


def test_an_edit_that_is_too_large_is_cut_and_still_behind_bars(logs: Logs) -> None:
    logs.add(1, user(1), reply(2, 2), change(3, 2, "line\n" * 2_000))
    window = logs.window(0, WindowRules(900))
    assert cost(window) <= 900
    assert window[-1].cut
    assert all(line.startswith("| ") for line in window[-1].text.splitlines()[1:])


def test_the_state_knows_which_turns_had_begun_when_its_context_was_cleared() -> None:
    state = State()
    for record in (user(1), user(2), clear(3), reply(4, 1)):
        state.apply(record)
    assert state.cleared_turn == 1
    assert not state.is_waiting(2)
