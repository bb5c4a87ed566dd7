"""Where a context is cut, which limits can be kept, and what a summary has to be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.actors.core.compaction import Cut, Limits, Piece, choose_cut, fault_of, limits_of

EVERYTHING = 1 << 40


def turn(number: int, *sizes: int, log: int = 0) -> list[Piece]:
    """The messages of one turn."""
    return [Piece(log, number, number + at, tokens) for at, tokens in enumerate(sizes)]


def aside(seq: int, tokens: int, log: int = 0) -> Piece:
    """What somebody said between two turns."""
    return Piece(log, 0, seq, tokens)


# -- cuts ------------------------------------------------------------------------------------------


def test_a_cut_covers_whole_turns_and_keeps_the_newest() -> None:
    pieces = [*turn(2, 50, 50), *turn(5, 50, 50), *turn(8, 50, 50)]
    found = choose_cut(pieces, [8], keep_tokens=160, input_tokens=EVERYTHING)
    assert found == Cut((0, 1), (2,), (0,)), "a part of turn 5 stays: so all of it does"
    found = choose_cut(pieces, [8], keep_tokens=100, input_tokens=EVERYTHING)
    assert found == Cut((0, 1, 2, 3), (5,), (0,))


def test_a_cut_never_passes_an_open_turn() -> None:
    pieces = [*turn(2, 50, 50), *turn(5, 50), *turn(6, 50), *turn(7, 50)]
    assert choose_cut(pieces, [2], keep_tokens=0, input_tokens=EVERYTHING) == Cut(
        (0, 1), (2,), (0,)
    )
    assert choose_cut(pieces[2:], [2], keep_tokens=0, input_tokens=EVERYTHING) is None


def test_what_stands_behind_an_uncovered_turn_is_not_covered() -> None:
    pieces = [aside(2, 10), *turn(3, 50, 50), aside(6, 10), *turn(7, 50), aside(9, 10)]
    found = choose_cut(pieces, [3], keep_tokens=0, input_tokens=EVERYTHING)
    assert found == Cut((0, 1, 2, 3), (3,), (6,))


def test_every_log_has_a_cut_of_its_own() -> None:
    pieces = [
        *turn(2, 10, 10, log=1),
        *turn(2, 10, 10),
        *turn(5, 10, log=1),  # open
        aside(9, 10, log=1),
        *turn(7, 10, 10),
    ]
    found = choose_cut(pieces, [7, 2], keep_tokens=0, input_tokens=EVERYTHING)
    assert found == Cut((0, 1, 2, 3, 6, 7), (7, 2), (0, 0))


def test_no_more_is_covered_than_a_summariser_can_take() -> None:
    pieces = [piece for seq in range(2, 22, 2) for piece in turn(seq, 50, 50)]
    found = choose_cut(pieces, [20], keep_tokens=0, input_tokens=350)
    assert found == Cut(tuple(range(6)), (6,), (0,))


def test_a_first_turn_that_is_larger_than_any_input_is_covered_alone() -> None:
    pieces = [*turn(2, 10_000, 50), *turn(4, 50, 50), *turn(6, 50, 50)]
    found = choose_cut(pieces, [6], keep_tokens=100, input_tokens=1_000)
    assert found == Cut((0, 1), (2,), (0,))


def test_a_little_before_what_is_larger_than_any_input_does_not_stop_it_from_being_covered() -> (
    None
):
    pieces = [aside(2, 5), *turn(3, 10, 10), *turn(5, 10_000, 50), *turn(7, 50, 50)]
    found = choose_cut(pieces, [7], keep_tokens=100, input_tokens=1_000, worth_tokens=100)
    assert found == Cut((0, 1, 2, 3, 4), (5,), (2,))


def test_a_full_context_is_cut_into_its_newest_part_if_nothing_else_can_be() -> None:
    pieces = turn(2, 10_000, 50)
    rest = [*pieces, *turn(4, 20)]
    assert choose_cut(pieces, [2], keep_tokens=100, input_tokens=1_000) is None
    found = choose_cut(rest, [2], keep_tokens=100, input_tokens=1_000, worth_tokens=100, full=True)
    assert found == Cut((0, 1), (2,), (0,))
    small = [*turn(2, 10, 10), *turn(4, 10, 10), *turn(6, 10_000)]
    found = choose_cut(small, [4], keep_tokens=10_030, input_tokens=1_000, full=True)
    assert found == Cut((0, 1), (2,), (0,)), "no more than needed"


def test_of_many_short_messages_no_more_than_so_many_stay() -> None:
    pieces = [piece for seq in range(2, 22, 2) for piece in turn(seq, 5, 5)]
    assert choose_cut(pieces, [20], keep_tokens=1_000, input_tokens=EVERYTHING) is None
    found = choose_cut(pieces, [20], keep_tokens=1_000, input_tokens=EVERYTHING, keep_messages=5)
    assert found == Cut(tuple(range(14)), (14,), (0,))


def test_thousands_of_open_turns_are_looked_at_in_no_time() -> None:
    pieces = [piece for seq in range(2, 100_002) for piece in turn(seq, 5)]
    began = time.process_time()
    assert choose_cut(pieces, [0], keep_tokens=10, input_tokens=1_000, full=True) is None
    half = choose_cut(pieces, [50_000], keep_tokens=10, input_tokens=EVERYTHING, full=True)
    assert half is not None
    assert half.through == (50_000,)
    assert time.process_time() - began < 5


@dataclass(frozen=True)
class Context:
    """A context as a window places it: turn behind turn, no turn of a log before an earlier one."""

    pieces: list[Piece]
    settled: list[int]


@st.composite
def contexts(draw: st.DrawFn) -> Context:
    logs = draw(st.integers(1, 3))
    seqs = [1] * logs
    pieces: list[Piece] = []
    open_since = [EVERYTHING] * logs
    settled = [0] * logs
    for _ in range(draw(st.integers(0, 12))):
        log = draw(st.integers(0, logs - 1))
        seq = seqs[log] + draw(st.integers(1, 3))
        if draw(st.integers(0, 3)) == 0:
            pieces.append(aside(seq, draw(st.integers(4, 60)), log))
            seqs[log] = seq
            continue
        sizes = draw(st.lists(st.integers(4, 200), min_size=1, max_size=4))
        pieces.extend(turn(seq, *sizes, log=log))
        seqs[log] = seq + len(sizes)
        if open_since[log] == EVERYTHING and draw(st.integers(0, 5)) > 0:
            settled[log] = seq
        else:
            open_since[log] = min(open_since[log], seq)
    return Context(pieces, settled)


def covers(found: Cut, piece: Piece) -> bool:
    """Whether the numbers of a cut say that it covers a message."""
    if piece.turn:
        return piece.turn <= found.through[piece.log]
    return piece.seq <= found.asides[piece.log]


def firsts(pieces: Sequence[Piece]) -> list[Piece]:
    """The first message of each log."""
    return list({piece.log: piece for piece in reversed(pieces)}.values())


@given(
    context=contexts(),
    keep=st.integers(0, 400),
    room=st.integers(-50, 600),
    worth=st.integers(0, 200),
    full=st.booleans(),
)
def test_whatever_a_context_is_a_cut_of_it_is_sound(
    context: Context, keep: int, room: int, worth: int, full: bool
) -> None:
    pieces, settled = context.pieces, context.settled
    found = choose_cut(
        pieces, settled, keep_tokens=keep, input_tokens=room, worth_tokens=worth, full=full
    )
    newest = len(pieces)
    rest = 0
    while newest and (rest := rest + pieces[newest - 1].tokens) <= keep:
        newest -= 1
    if found is None:
        kept = pieces if full else pieces[:newest]
        late = {(piece.log, piece.turn) for piece in pieces[newest:] if piece.turn and not full}
        for piece in firsts(kept):
            assert piece.turn > settled[piece.log] or (piece.log, piece.turn) in late
        return
    assert found.covered, "progress is made, or nothing is done"
    assert list(found.covered) == sorted(set(found.covered))
    covered = {at for at, piece in enumerate(pieces) if covers(found, piece)}
    assert covered == set(found.covered), "the numbers say what is covered, and nothing else"
    for log, last in enumerate(settled):
        assert found.through[log] <= last, "no open turn is covered"
        places = [at for at, piece in enumerate(pieces) if piece.log == log]
        prefix = [at for at in places if at in covered]
        assert prefix == places[: len(prefix)], "of each log, what is covered stands in front"
    assert full or max(covered) < newest, "the newest stay"


@given(context=contexts(), keep=st.integers(0, 400), room=st.integers(0, 600))
def test_cut_after_cut_a_full_context_loses_all_that_can_be_covered(
    context: Context, keep: int, room: int
) -> None:
    pieces, settled = list(context.pieces), context.settled
    covered = 0
    while found := choose_cut(
        pieces, settled, keep_tokens=keep, input_tokens=room, worth_tokens=50, full=True
    ):
        covered += len(found.covered)
        pieces = [piece for at, piece in enumerate(pieces) if at not in found.covered]
    assert covered + len(pieces) == len(context.pieces)
    assert all(piece.turn > settled[piece.log] for piece in firsts(pieces))


# -- limits ----------------------------------------------------------------------------------------


def limits(
    max_context_tokens: int = 180_000,
    threshold: float = 0.85,
    keep: int | None = None,
    summary: int | None = None,
    system: int = 0,
) -> Limits:
    return limits_of(
        max_context_tokens, threshold, keep, summary, system_tokens=system, max_messages=2_000
    )


def test_the_defaults_leave_a_fifth_and_summarise_in_three_hundredths() -> None:
    assert limits() == Limits(180_000, 153_000, 30_600, 5_400, 2_000)
    assert limits().input_tokens == 174_600
    assert limits().trigger_messages == 1_700
    assert limits().keep_recent_messages == 340
    assert limits(1_000).summary_tokens == 200
    assert limits(system=1_000) == Limits(179_000, 152_000, 30_430, 5_400, 2_000)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 1.5, -0.2, float("nan"), float("inf")])
def test_a_threshold_that_is_no_share_is_refused_by_name(threshold: float) -> None:
    with pytest.raises(ValueError, match="compaction_threshold"):
        limits(threshold=threshold)


@pytest.mark.parametrize(
    ("keep", "summary", "threshold"),
    [(150_000, None, 0.85), (None, 153_000, 0.85), (100_000, 53_000, 0.85), (None, None, 0.001)],
)
def test_limits_that_leave_nothing_to_summarise_are_refused_by_name(
    keep: int | None, summary: int | None, threshold: float
) -> None:
    with pytest.raises(ValueError, match=r"keep_recent_tokens .* summary_tokens .* nothing"):
        limits(keep=keep, summary=summary, threshold=threshold)


@pytest.mark.parametrize("system", [90_001, 180_000, 400_000])
def test_a_system_prompt_that_takes_half_of_the_window_is_refused_by_name(system: int) -> None:
    with pytest.raises(ValueError, match=f"system_prompt .*{system}"):
        limits(system=system)


@given(
    most=st.integers(1_000, 1_000_000),
    threshold=st.floats(0.01, 0.99),
    keep=st.none() | st.integers(0, 1_000_000),
    summary=st.none() | st.integers(100, 1_000_000),
    system=st.integers(0, 1_000_000),
)
def test_limits_are_refused_or_leave_room_for_everything(
    most: int, threshold: float, keep: int | None, summary: int | None, system: int
) -> None:
    try:
        found = limits(most, threshold, keep, summary, system)
    except ValueError:
        return
    assert found.keep_recent_tokens + found.summary_tokens < found.trigger_tokens
    assert found.trigger_tokens < found.max_tokens <= most
    assert found.input_tokens > found.keep_recent_tokens
    assert keep in (None, found.keep_recent_tokens)
    assert summary in (None, found.summary_tokens)


# -- summaries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens", "covered", "most", "fault"),
    [
        (None, 0, 100, 50, "NoneType, not a str"),
        (b"bytes", 0, 100, 50, "bytes, not a str"),
        (["a"], 0, 100, 50, "list, not a str"),
        ("", 20, 100, 50, "empty"),
        (" \n\t\u2003", 20, 100, 50, "empty"),
        ("long", 51, 100, 50, "51 tokens; 50 are allowed"),
        ("no shorter", 50, 50, 50, "only 50"),
        ("good", 49, 50, 50, None),
        ("good", 50, 51, 50, None),
    ],
)
def test_a_summary_that_is_none_is_told_apart(
    text: object, tokens: int, covered: int, most: int, fault: str | None
) -> None:
    found = fault_of(text, tokens, covered, most)
    assert found is None if fault is None else fault in (found or "")


class Text(str):
    """What calls itself a text, and may do as it likes."""

    __slots__ = ()


def test_what_only_calls_itself_a_text_is_none() -> None:
    assert fault_of(Text("fine"), 10, 100, 50) == "the summariser returned a Text, not a str"
