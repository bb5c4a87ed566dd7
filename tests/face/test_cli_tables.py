import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnkeeper.tables import clip, table, width_of


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("", 0),
        ("abc", 3),
        ("日本", 4),
        ("é", 1),
        ("e\u0301", 1),
        ("👍", 2),
        ("שלום", 4),
        ("a\u200db", 2),
    ],
)
def test_a_text_is_as_wide_as_a_terminal_shows_it(text: str, columns: int) -> None:
    assert width_of(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "clipped"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("日本語", 5, "日本…"),
        ("日本語", 6, "日本語"),
        ("日本語", 4, "日…"),
    ],
)
def test_what_is_too_wide_ends_with_an_ellipsis(text: str, columns: int, clipped: str) -> None:
    assert clip(text, columns) == clipped


def test_words_stand_to_the_left_and_numbers_to_the_right() -> None:
    assert list(table(("NAME", "N", "NOTE"), [("a", 1, None), ("long name", 100, "x")])) == [
        "NAME         N  NOTE",
        "a            1  -",
        "long name  100  x",
    ]


def test_a_number_that_is_not_there_does_not_move_the_others() -> None:
    assert list(table(("N",), [(None,), (10,)])) == [" N", " -", "10"]


def test_wide_letters_keep_the_columns_aligned() -> None:
    heading, first, second = table(("A", "B"), [("日本", "x"), ("abcd", "y")])
    assert heading == "A     B"
    assert (first, second) == ("日本  x", "abcd  y")


def test_the_last_column_gives_way_to_the_width_of_the_terminal() -> None:
    lines = list(table(("ID", "TEXT"), [("s1", "x" * 100)], columns=20))
    assert lines[1] == "s1  " + "x" * 15 + "…"
    assert list(table(("ID", "TEXT"), [("s" * 50, "x" * 100)], columns=20))[1].endswith("x…")


def test_a_line_feed_stays_in_its_cell() -> None:
    assert list(table(("TEXT", "N"), [("two\nlines", 1)]))[1] == "two ↵ lines  1"


@given(st.lists(st.tuples(st.text(), st.integers() | st.none(), st.text()), max_size=5))
def test_whatever_is_in_the_cells_each_row_is_one_line_that_can_be_printed(
    rows: list[tuple[str, int | None, str]],
) -> None:
    lines = list(table(("A", "B", "C"), rows, columns=80))
    assert len(lines) == 1 + len(rows)
    for line in lines:
        assert line.encode()
        assert line.splitlines() in ([line], [])
        assert "\x1b" not in line
