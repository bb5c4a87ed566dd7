"""No window takes more than it may, whatever its log holds."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from turnkeeper.actors.core.records import Record
from turnkeeper.actors.core.shown import cut, message_of
from turnkeeper.actors.core.turn_records import AttemptRecord, ToolRecord, UserRecord
from turnkeeper.actors.core.view_records import SummaryRecord
from turnkeeper.actors.core.weight import OVERHEAD, bytes_of, weight_of
from turnkeeper.actors.core.window import Message
from turnkeeper.actors.counts import counter_mark
from turnkeeper.actors.windows import WindowRules
from turnkeeper.storage.base import Table
from turnkeeper.storage.keys import log_key

from .logs import (
    Logs,
    cost,
    linked,
    merged,
    note,
    places,
    receipt,
    reply,
    run,
    summary,
    tool,
    user,
)

MARK = counter_mark("words")
IMAGES = tuple(("image", "x", "image/png", 5, f"{n}.png") for n in range(64))
FILES = tuple(("file", "x", None, None, None) for _ in range(64))


@pytest.fixture
def logs() -> Logs:
    return Logs()


def repeated(part: str, times: int) -> str:
    return part * times


def human(
    text: str,
    direct: bool,
    name: str | None,
    files: tuple[tuple[str | int | None, ...], ...] | None,
) -> UserRecord:
    return user(1, text, direct=direct, user_name=name, attachments=files)


def called(name: str, arguments: str, result: str) -> ToolRecord:
    return tool(1, 2, name=name, arguments=arguments, result=result)


def summarised(text: str, through: int) -> SummaryRecord:
    return summary(1, through, through, text=text)


characters = st.characters(exclude_categories=())
long_texts = st.builds(
    repeated,
    st.sampled_from(["x", "\n", "\r\n", "\u2028", "漢", "\U0001f600", "\ud800", "word and ", '"\\'])
    | st.text(characters, min_size=1, max_size=5),
    st.sampled_from([0, 1, 7, 50, 333, 4_000]),
)
humans = st.builds(
    human,
    long_texts,
    st.booleans(),
    st.none() | st.text(characters, max_size=70),
    st.sampled_from([None, IMAGES, FILES, IMAGES[:1], FILES[:2]]),
)
others: st.SearchStrategy[Record] = st.one_of(
    humans,
    st.builds(
        reply,
        st.just(1),
        st.sampled_from([0, 2, 3, 5]),
        long_texts,
        attachments=st.sampled_from([None, IMAGES[:10], FILES[:2]]),
    ),
    st.builds(run, st.just(1), long_texts),
    st.builds(note, st.just(1), long_texts),
    st.builds(receipt, st.just(1), st.integers(1, 9)),
    st.builds(called, long_texts, long_texts, long_texts),
    st.builds(summarised, long_texts, st.integers(0, 9)),
)


@settings(deadline=None, max_examples=60)
@given(
    earlier=st.lists(others, max_size=12),
    joined=st.none() | st.lists(others, max_size=5),
    current=st.none() | humans,
    max_tokens=st.integers(300, 3_000) | st.sampled_from([300, 10_000, 200_000]),
    system=st.none() | st.just("Be kind."),
)
@example([], None, user(1, "\n" * 4_000, direct=False, user_name="\U0001f600" * 70), 300, None)
@example([], None, user(1, "", direct=False, user_name="x", attachments=IMAGES), 300, None)
@example([summary(1, 0, text="y" * 9_000)], None, user(1, "x" * 9_000), 300, None)
@example([tool(1, 2, name="n" * 250, result="x" * 999)], None, None, 300, None)
def test_a_window_takes_no_more_than_it_may(
    earlier: list[Record],
    joined: list[Record] | None,
    current: UserRecord | None,
    max_tokens: int,
    system: str | None,
) -> None:
    logs = Logs()
    if joined is not None:
        logs.add(2, *joined, merged(1))
        logs.add(1, linked(1, 2))
    for record in earlier:
        last = logs.states[1].next_seq - 1 if 1 in logs.states else 1
        if isinstance(record, SummaryRecord):  # it covers nothing that is still to come
            through = min(record.through, last)
            logs.add(1, replace(record, through=through, asides=through))
        else:
            logs.add(1, record)
    turn = 0
    if current is not None:
        turn = logs.add(1, current)
    if system is not None:
        max_tokens += bytes_of(system) + OVERHEAD
    window = logs.window(turn, WindowRules(max_tokens, system))
    assert cost(window) <= max_tokens
    if system is not None and 1 in logs.states:
        assert (window[0].role, window[0].text) == ("system", system)
    if current is not None:
        assert window[-1].seq == turn
    whole = logs.window(turn)
    kept = [m for m in window if m.role != "system" and m.kind != "summary"]
    assert set(places(tuple(kept))) <= set(places(whole))
    shown_whole = {(m.session_id, m.seq): m for m in whole}
    for message in kept:
        if not message.cut:
            assert shown_whole[message.session_id, message.seq] == message


# -- what is cut -------------------------------------------------------------------------------


def test_of_a_huge_message_the_beginning_and_the_end_are_shown(logs: Logs) -> None:
    logs.add(1, user(1, "BEGIN " + "x" * 100_000 + " END"))
    (shown,) = logs.window(2, WindowRules(1_000))
    assert shown.cut
    first, line, last = shown.text.split("\n")
    assert first.startswith("BEGIN x")
    assert last.endswith("x END")
    left_out = 100_010 - len(first) - len(last)
    assert line == f"[{left_out:,} characters are left out here]"
    assert 900 <= cost((shown,)) <= 1_000


@pytest.mark.parametrize("char", ["é", "漢", "\U0001f600"])
def test_no_character_is_split(logs: Logs, char: str) -> None:
    logs.add(1, user(1, char * 9_000))
    for max_tokens in range(600, 612):
        (shown,) = logs.window(2, WindowRules(max_tokens))
        first, line, last = shown.text.split("\n")
        assert set(first) == set(last) == {char}
        assert line == f"[{9_000 - len(first) - len(last):,} characters are left out here]"


@given(
    st.text(alphabet=st.sampled_from("aé漢😀\n"), min_size=1, max_size=40),
    st.integers(1, 60),
    st.integers(70, 2_000),
)
def test_of_what_is_left_out_nothing_is_in_what_is_shown(part: str, times: int, room: int) -> None:
    text = part * times
    shown = cut(message_of(9, user(1, text), None, {}), room).text
    if bytes_of(text) <= room:
        assert shown == text
        return
    assert bytes_of(shown) <= room
    begin, _, rest = shown.partition("\n[")
    told, _, end = rest.rpartition(" characters are left out here]\n")
    assert text.startswith(begin)
    assert text.endswith(end)
    assert len(begin) + int(told.replace(",", "")) + len(end) == len(text)
    assert bytes_of(shown) > room - 64 - 8, "a letter is lost at each end at most"


def test_a_giant_is_cut_in_no_time() -> None:
    giant = message_of(9, user(1, "é\n" * 2_000_000), None, {})
    began = time.process_time()
    for _ in range(30):
        cut(giant, 150_000)
    assert time.process_time() - began < 1.5


def test_in_a_group_the_bars_and_the_name_count(logs: Logs) -> None:
    logs.add(1, user(1, "line\n" * 9_000, direct=False, user_name="Bob"))
    (shown,) = logs.window(2, WindowRules(1_000))
    assert shown.attributed.startswith('"Bob" says: line\n| line')
    assert 900 <= cost((shown,)) <= 1_000


def test_the_oldest_message_that_fits_in_part_is_shown_in_part(logs: Logs) -> None:
    logs.add(1, user(1, "older"), reply(2, 2, "x" * 5_000), user(3, "q4"), reply(4, 4, "a4"))
    window = logs.window(0, WindowRules(1_000))
    assert [(message.seq, message.cut) for message in window] == [(3, True), (4, False), (5, False)]
    assert 900 <= cost(window) <= 1_000


def test_a_call_and_its_result_are_cut_together(logs: Logs) -> None:
    logs.add(1, user(1), tool(2, 2, name="look", arguments="y" * 9_000, result="x" * 90_000))
    logs.add(1, reply(3, 2, "done"))
    shown, last = logs.window(0, WindowRules(1_000))
    assert shown.cut
    assert shown.tool is not None
    call = shown.tool
    assert shown.text == f"{call.name}({call.arguments}) -> {call.result}"
    assert call.name == "look"
    assert "characters are left out here]" in call.arguments
    assert "characters are left out here]" in call.result
    assert len(call.arguments) < len(call.result)
    assert last.text == "done"


def test_notes_and_receipts_are_never_cut(logs: Logs) -> None:
    logs.add(1, user(1), reply(2, 2), note(3, "x" * 5_000), user(4, "now"))
    assert places(logs.window(5, WindowRules(1_000))) == [5]


def test_files_that_do_not_fit_are_left_out_and_counted(logs: Logs) -> None:
    logs.add(1, user(1, "look", attachments=FILES))
    (shown,) = logs.window(2, WindowRules(1_000))
    line = f"[{64 - len(shown.attachments)} attached files are left out here]"
    assert shown.text == f"look\n{line}"
    assert shown.cut
    assert 1 < len(shown.attachments) < 8
    (alone,) = logs.window(2, WindowRules(300))
    assert alone.text.startswith("look\n[6")
    (whole,) = logs.window(2, WindowRules(9_000))
    assert (whole.text, whole.cut, len(whole.attachments)) == ("look", False, 64)


def test_files_that_the_agent_sent_take_room_too(logs: Logs) -> None:
    logs.add(1, user(1), reply(2, 2, "look", attachments=IMAGES[:4]), user(3, "now"))
    whole, shown = (logs.window(4, WindowRules(room)) for room in (9_000, 4_000))
    assert [len(message.attachments) for message in whole] == [0, 4, 0]
    assert [len(message.attachments) for message in shown] == [1, 0]
    assert shown[0].text == "look\n[3 attached files are left out here]"
    assert weight_of(reply(2, 2, "look", attachments=IMAGES[:4])) > 4 * 1_600


def test_without_room_for_the_line_nothing_is_said() -> None:
    shown = message_of(2, user(1, "x" * 999), None, {})
    assert [cut(shown, room).text for room in (-9, 0, 63)] == ["", "", ""]
    assert cut(shown, 64).text == "\n[999 characters are left out here]\n"


@pytest.mark.parametrize("record", [note(1, "a\n[b]\n" * 99), summary(1, 2, text="[c]\n" * 99)])
def test_every_line_of_what_is_cut_stays_behind_its_bar(logs: Logs, record: Record) -> None:
    shown = _shown(record)
    for room in range(150, 400, 7):
        short = cut(shown, room)
        assert bytes_of(short.text) <= room
        assert all(line.startswith("| ") for line in short.text.splitlines()[1:])
    assert cut(shown, 10_000).text == shown.text


def _shown(record: Record) -> Message:
    logs = Logs()
    logs.add(1, record)
    (shown,) = logs.window()
    return shown


# -- counts ------------------------------------------------------------------------------------


def counted(logs: Logs, mark: bytes = MARK) -> None:
    """Five messages of 404 at most, each of which has been counted as 100."""
    logs.add(1, *[user(at_us, "x" * 400) for at_us in range(1, 6)])
    for seq in range(2, 7):
        logs.count(1, seq, 100, mark)


def test_counts_are_used_where_the_bounds_do_not_fit(logs: Logs) -> None:
    counted(logs)
    assert places(logs.window(0, WindowRules(500, None, MARK))) == [2, 3, 4, 5, 6]
    assert places(logs.window(0, WindowRules(400, None, MARK))) == [3, 4, 5, 6]
    assert places(logs.window(0, WindowRules(404))) == [6]


def test_where_the_bounds_fit_no_count_is_read(logs: Logs) -> None:
    counted(logs)
    for seq in range(2, 7):
        logs.put(Table.TOKENS, log_key(1, seq), b"damaged")
    assert places(logs.window(0, WindowRules(5 * 404, None, MARK))) == [2, 3, 4, 5, 6]


def test_the_counts_of_another_counter_are_not_used(logs: Logs) -> None:
    counted(logs, counter_mark("letters"))
    assert places(logs.window(0, WindowRules(404, None, MARK))) == [6]


def test_a_count_that_is_missing_or_damaged_is_replaced_by_the_bound(logs: Logs) -> None:
    counted(logs)
    logs.put(Table.TOKENS, log_key(1, 5), b"damaged")
    assert places(logs.window(0, WindowRules(504, None, MARK))) == [5, 6]


def test_a_count_that_is_larger_than_the_bound_is_not_believed(logs: Logs) -> None:
    counted(logs)
    logs.count(1, 6, 4_000, MARK)
    assert places(logs.window(0, WindowRules(504, None, MARK))) == [5, 6]


def test_the_count_of_a_turn_that_waited_is_found(logs: Logs) -> None:
    counted(logs)
    logs.add(1, *[note(at_us, "x" * 20) for at_us in range(6, 12)])
    for seq in range(7, 13):
        logs.count(1, seq, 10, MARK)
    logs.add(1, AttemptRecord(at_us=12, turn_seq=2, attempt=2))
    assert places(logs.window(2, WindowRules(160, None, MARK))) == [7, 8, 9, 10, 11, 12, 2]


def test_a_summary_takes_what_was_counted_where_its_bound_does_not_fit(logs: Logs) -> None:
    told = summary(3, 2, 3, text="x" * 2_000, tokens=300)
    logs.add(1, user(1), reply(2, 2), told, user(4, "now"))
    assert weight_of(told) > 2_000
    logs.count(1, 4, 300, MARK)
    (shown, _) = logs.window(5, WindowRules(1_000, None, MARK))
    assert not shown.cut
    (shown, _) = logs.window(5, WindowRules(1_000))
    assert shown.cut


def test_a_summary_that_another_counter_counted_takes_its_bytes(logs: Logs) -> None:
    told = summary(3, 2, 3, text="x" * 2_000, tokens=300)
    logs.add(1, user(1), reply(2, 2), told, user(4, "now"))
    logs.count(1, 4, 300, b"another.")
    window = logs.window(5, WindowRules(1_000, None, MARK))
    assert window[0].cut
    assert cost(window) <= 1_000


@given(text=st.text(min_size=400, max_size=900), size=st.integers(64, 400))
def test_what_is_left_of_a_cut_text_is_its_beginning_and_its_end(text: str, size: int) -> None:
    shown = message_of(1, user(1, text), None, {})
    begin, _, rest = cut(shown, size).text.partition("\n[")
    if "\n[" not in text and "here]\n" not in text:
        end = rest.partition("here]\n")[2]
        assert text.startswith(begin)
        assert text.endswith(end)
        assert len(begin.encode("utf-8", "surrogatepass")) > (size - 64) * 2 // 3 - 4


def test_halves_of_surrogate_pairs_are_kept_where_there_is_room() -> None:
    shown = cut(message_of(1, user(1, "\ud83d" * 600), None, {}), 664)
    assert shown.text.startswith("\ud83d" * 133)
    assert shown.text.endswith("\ud83d" * 66)
