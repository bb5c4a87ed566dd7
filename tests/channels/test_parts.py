"""A long text goes out in parts that fit, and nothing of it is lost that can be seen."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from turnkeeper.channels.parts import MIN_LIMIT, LimitUnit, split_text, text_size

from .written import HOSTILE

FAMILY = "👨\u200d👩\u200d👧\u200d👦"
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
CLUSTERS = (
    *("a", "é", "ß", "漢", "😀", "e\u0301", "a\u0308\u0323", "👍🏽", FAMILY, ENGLAND),
    *(
        "❤\ufe0f",
        "1\ufe0f\u20e3",
        "🇩🇪",
        "🇫🇷",
        "ก\u0e49",
        "ก\u0e33",
        "क\u094dष",
        "\u0600\u0661",
        "\u1112\u1161\u11ab",
        "\ud83d\ude00",
    ),
)

units = st.sampled_from(get_args(LimitUnit))
limits = st.integers(min_value=MIN_LIMIT, max_value=80)
PAUSES = ("word", "end.", "why?”", "。", " ", "  ", "\n", "\n\n", "\r\n", "\t", " \n ", "\u2028")
ODD = ("\ud800", "\udfff", "\u0301", "\u200d", "\u3000", "x" * 40, " " * 30, "\n" * 30)
FENCES = (
    *("\n```\n", "\n```py\n", "\n  ```  \n", "\n````\n", "\n```\r\n", "\n```typescript\n"),
    *("\n~~~\n", "\n~~~~ py\n"),
)
LINES = ("\n\n", "\n", "    x = 1\n", "word ", "Done. ", "#" * 30, "😀" * 6, "`q`", "\n" * 30)

texts = st.lists(st.sampled_from(CLUSTERS + PAUSES + ODD), max_size=80).map("".join)
code = st.lists(st.sampled_from(FENCES + LINES), max_size=60).map("".join)

WHOLES = (
    *(
        "`# b`",
        "`` # ` b ``",
        "`#\nb. c`",
        "[# b](https://e.org)",
        "![#. b](https://e.org/c_(d).png)",
    ),
    *(
        "[# [b] c](<https://e.org/a b>)",
        '[# b](https://e.org "a title. b")',
        "[`# b`](https://e.org)",
    ),
    *(
        "[![# b](https://e.org/a.png)](https://e.org/c)",
        "https://e.org/#?b=c.d",
        "<https://e.org/#>",
    ),
    *("[# y](javascript:z)", "[# " + "word " * 8 + "](https://e.org)", "`# " + "漢。" * 8 + "`"),
)
"""What is not to be cut; a number takes the place of `#`."""
BETWEEN = (" ", "\n", "\n\n", " word ", ". ", " (", ") ", "。", "\n- ", "\n> ", " 漢字", "* ")


def unseen_removed(text: str) -> str:
    return "".join(text.split())


def fences(text: str) -> list[tuple[str, str]]:
    """The backticks or tildes of each fence, and what else is in its line."""
    return re.findall(r"^[ \t]*(`{3,}|~{3,})([^`\n]*)$", text, re.MULTILINE)


@given(st.one_of(texts, code, st.text(st.characters(), max_size=300)), limits, units)
def test_every_part_fits_and_has_something_to_see(text: str, limit: int, unit: LimitUnit) -> None:
    for part in split_text(text, limit, unit):
        assert text_size(part, unit) <= limit
        assert not part.isspace()
        assert part


@given(st.one_of(texts, st.text(st.characters(exclude_characters="`"))), limits, units)
@example("a" * 40 + " \u0301" + "b" * 40, 40, "characters")
@example("\n" * 50 + " " * 50 + "x" * 50, 32, "bytes")
def test_parts_follow_each_other_with_white_space_between_at_most(
    text: str, limit: int, unit: LimitUnit
) -> None:
    at = 0
    for part in split_text(text, limit, unit):
        start = text.index(part, at)
        assert text[at:start].strip() == ""
        at = start + len(part)
    assert text[at:].strip() == ""


@given(code, limits, units)
@example("```\n" + "\n" * 50 + "x\n```", 32, "characters")
@example("word ```py\n" * 9, 32, "characters")
@example("a\n" * 12 + "```\n" + "\n" * 40 + "```\nb", 32, "characters")
def test_of_blocks_nothing_is_lost_but_fences_and_white_space(
    text: str, limit: int, unit: LimitUnit
) -> None:
    def seen(text: str) -> str:
        """All but white space, backticks, and the letters of the languages."""
        return re.sub("[`~pytescri]", "", unseen_removed(text))

    assert seen("".join(split_text(text, limit, unit))) == seen(text)


@given(code, st.integers(min_value=40, max_value=80), units)
def test_every_part_but_the_last_closes_the_blocks_that_it_opens(
    text: str, limit: int, unit: LimitUnit
) -> None:
    for part in split_text(text, limit, unit)[:-1]:
        opened: str | None = None
        for marker, info in fences(part):
            if opened is None:
                opened = marker
            elif marker.startswith(opened) and not info.strip():
                opened = None
        assert opened is None, part


@given(
    st.lists(st.sampled_from(CLUSTERS), max_size=120),
    st.integers(min_value=MIN_LIMIT, max_value=64),
    units,
)
def test_letters_keep_their_marks_and_emoji_stay_whole(
    clusters: list[str], limit: int, unit: LimitUnit
) -> None:
    left = iter(clusters)
    for part in split_text("".join(clusters), limit, unit):
        whole = ""
        while len(whole) < len(part):
            whole += next(left)
        assert whole == part
    assert next(left, None) is None


@given(
    st.lists(st.tuples(st.sampled_from(BETWEEN), st.sampled_from(WHOLES)), min_size=8, max_size=40),
    st.integers(min_value=100, max_value=300),
    units,
)
@example([("\n```\n" + "c\n" * 40 + "```\n", "`# b`")] * 9, 100, "characters")
def test_links_addresses_and_code_in_a_line_stay_whole(
    pieces: list[tuple[str, str]], limit: int, unit: LimitUnit
) -> None:
    wholes = [whole.replace("#", str(number)) for number, (_, whole) in enumerate(pieces)]
    between = (before for before, _ in pieces)
    parts = split_text("".join(map("".join, zip(between, wholes, strict=True))), limit, unit)
    for whole in wholes:
        assert any(whole in part for part in parts)


def test_a_part_ends_before_what_would_not_fit_whole_however_short_it_gets() -> None:
    link = "[a link of five words](https://e.org)"
    parts = split_text(f"See more of it there: {link}, then {link}.", 50)
    assert parts == ("See more of it there:", f"{link}, then", f"{link}.")


def test_of_two_backticks_in_different_paragraphs_no_code_is_made() -> None:
    text = "a ` b " + "word " * 4 + "\n\n" + "word " * 4 + "c ` d"
    assert split_text(text, 40)[0] == ("a ` b " + "word " * 4).strip()


def test_what_takes_more_than_most_of_a_part_is_cut_where_there_is_a_pause() -> None:
    parts = split_text("`" + "word " * 30 + "`", 40)
    assert all(part.strip("`").split(" ").count("word") == 8 for part in parts[:-1])


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("unit", get_args(LimitUnit))
def test_hostile_texts_are_split_all_the_same(name: str, unit: LimitUnit) -> None:
    text = HOSTILE[name]
    parts = split_text(text, 4_000, unit)
    assert all(text_size(part, unit) <= 4_000 for part in parts)
    assert sum(part.count("w") for part in parts) == text.count("w")


@given(st.one_of(texts, code), limits, units)
def test_a_part_that_fits_is_split_no_further(text: str, limit: int, unit: LimitUnit) -> None:
    for part in split_text(text, limit, unit):
        assert split_text(part, limit, unit) == (part,)


@pytest.mark.parametrize("unit", get_args(LimitUnit))
@pytest.mark.parametrize("letter", ["a", "é", "漢", "😀", "🇩", "\u0301", "\ud83d", "`", FAMILY])
def test_what_has_no_pause_fills_its_parts(letter: str, unit: LimitUnit) -> None:
    parts = split_text(letter * 1_000, 100, unit)
    assert "".join(parts) == letter * 1_000
    assert all(text_size(part, unit) > 100 - 32 for part in parts[:-1])


@pytest.mark.parametrize("text", ["", " ", "\n" * 10_000, " \t\r\n\u3000" * 1_000])
def test_a_text_of_white_space_has_no_parts(text: str) -> None:
    assert split_text(text, 100) == ()


@pytest.mark.parametrize("text", ["x", "  x\n", "x" * 32, "\n\n```\n\n\n```\n\n"])
def test_a_text_that_fits_stays_exactly_as_it_is(text: str) -> None:
    assert split_text(text, 32) == (text,)


@pytest.mark.parametrize("limit", [31, 1, 0, -1])
def test_a_limit_that_leaves_no_room_is_refused(limit: int) -> None:
    with pytest.raises(ValueError, match=rf"limit of {limit} is too small .* least is 32"):
        split_text("x", limit)


def test_the_limit_counts_what_the_platform_counts() -> None:
    text = "😀" * 40
    assert [len(part) for part in split_text(text, 40, "characters")] == [40]
    assert [len(part) for part in split_text(text, 40, "utf16")] == [20, 20]
    assert [len(part) for part in split_text(text, 40, "bytes")] == [10, 10, 10, 10]


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("one two three four five six. seven\n\neight\nnine ten", ("seven", "eight")),
        ("one two three four five six. seven\neight. nine ten", ("seven", "eight")),
        ("one two three four five. six seven eight nine ten", ("five.", "six")),
        ("one two three four five “six!” seven eight nine ten", ("“six!”", "seven")),
        ("one two three four five six seven eight nine ten", ("eight", "nine")),
        ("これはペンです。" * 6, ("これはペンです。", "これはペンです。")),
        ("one. two three four five six seven eight nine ten", ("eight", "nine")),
    ],
)
def test_a_part_ends_where_a_reader_would_pause(text: str, parts: tuple[str, str]) -> None:
    first, second = split_text(text, 40)
    assert first.endswith(parts[0])
    assert second.startswith(parts[1])


def test_lines_keep_their_indentation_and_lose_the_blank_lines_before_it() -> None:
    first, second = split_text("- " + "a" * 25 + "  \n \n\n   - " + "b" * 25, 40)
    assert first == "- " + "a" * 25
    assert second == "   - " + "b" * 25


def test_an_indentation_that_takes_the_room_of_what_it_indents_is_lost() -> None:
    assert split_text("a" * 30 + "\n" + " " * 30 + "b" * 30, 40) == ("a" * 30, "b" * 30)


def test_a_mark_keeps_the_space_on_which_it_stands() -> None:
    assert split_text("a" * 38 + "  \u0301" + "b" * 30, 40) == ("a" * 38, " \u0301" + "b" * 30)


def test_a_block_that_is_cut_is_closed_and_opened_again_in_its_language() -> None:
    lines = [f"    line {number}" for number in range(6)]
    text = 'See:\n```py title="x"\n' + "\n".join(lines) + "\n```\nThat is all."
    first, *middle, last = split_text(text, 60)
    assert first.startswith('See:\n```py title="x"\n    line 0\n')
    assert first.endswith("\n```")
    assert all(re.fullmatch(r"```py\n    line [^`]*\n```", part) for part in middle)
    assert last.startswith("```py\n    line ")
    assert last.endswith("    line 5\n```\nThat is all.")


def test_what_is_no_language_is_not_said_again_where_a_block_is_opened_again() -> None:
    text = "~~~note: this\n" + "word word\n" * 9 + "~~~"
    first, *_, last = split_text(text, 60)
    assert first.startswith("~~~note: this\n")
    assert last.startswith("~~~\nword")


def test_a_block_between_tildes_is_closed_and_opened_again_by_tildes() -> None:
    first, *_, last = split_text("~~~py\n```\n" + "word word\n" * 9 + "~~~", 60)
    assert first.startswith("~~~py\n```\n")
    assert first.endswith("\n~~~")
    assert last.startswith("~~~py\n")


def test_longer_fences_are_closed_and_opened_by_as_many_backticks() -> None:
    text = "````md\n```\n" + "word word\n" * 9 + "```\n````"
    first, *_, last = split_text(text, 60)
    assert first.startswith("````md\n```\n")
    assert first.endswith("\n````")
    assert last.startswith("````md\n")


def test_a_block_goes_whole_into_the_next_part_if_it_begins_late() -> None:
    block = "```\na\n\nb\n\nc\n```"
    assert split_text("word " * 6 + "\n" + block, 40) == (("word " * 6).strip(), block)


def test_a_block_that_ends_with_its_part_is_not_opened_again() -> None:
    body = "\n".join(["12345678"] * 4)
    text = "```py\n" + body + "\n\n\n\n```\nafter " + "b" * 30
    assert split_text(text, 46) == (f"```py\n{body}\n```", "after " + "b" * 30)


def test_a_block_that_nothing_closes_is_opened_again_to_the_end() -> None:
    first, second = split_text("```js\n" + "word\n" * 10, 40)
    assert first.endswith("word\n```")
    assert second.startswith("```js\nword")
    assert not second.endswith("```")


def test_a_block_whose_fences_leave_no_room_is_cut_like_other_text() -> None:
    text = "```" + "x" * 30 + "\n" + "word " * 20 + "\n```"
    parts = split_text(text, 40)
    assert unseen_removed("".join(parts)) == unseen_removed(text)


def test_parts_of_what_was_sent_before_do_not_change() -> None:
    text = (
        "One line.\nAnother with an emoji 👍🏽.\n\n```sh\nls -l\ncat file\n```\nLast line, the end."
    )
    assert split_text(text, 42, "utf16") == (
        "One line.\nAnother with an emoji 👍🏽.",
        "```sh\nls -l\ncat file\n```",
        "Last line, the end.",
    )
