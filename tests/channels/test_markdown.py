"""What a text in Markdown says is read as a tree, unless reading it would take too long."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from turnkeeper.channels import (
    discord_markup,
    matrix_markup,
    slack_markup,
    telegram_markup,
    whatsapp_markup,
)
from turnkeeper.channels.markdown import (
    MAX_CHARS,
    Code,
    Item,
    Listing,
    Prose,
    Quote,
    Rule,
    Run,
    Table,
    clean,
    read,
)
from turnkeeper.channels.parts import LimitUnit, split_text

from .written import LINES, Seen, anything, words, words_of

INLINE = ("**", "_", "~~", "`q r`", "[", "](https://e.org/a)", "<", "&", "@everyone", "|", "> ")
long = st.lists(
    st.one_of(words.map(" {} ".format), st.sampled_from(LINES + INLINE)), min_size=20, max_size=60
).map(lambda pieces: "".join(pieces) * 60)


def shown_by_matrix(text: str) -> str:
    html = matrix_markup.to_html(text)
    return matrix_markup.to_body(text) if html is None else Seen(html).text


PLATFORMS: dict[str, tuple[int, LimitUnit, Callable[[str], str]]] = {
    "discord": (
        discord_markup.TEXT_LIMIT,
        discord_markup.TEXT_UNIT,
        discord_markup.to_markdown,
    ),
    "matrix": (matrix_markup.TEXT_LIMIT, matrix_markup.TEXT_UNIT, shown_by_matrix),
    "slack": (slack_markup.TEXT_LIMIT, slack_markup.TEXT_UNIT, slack_markup.to_mrkdwn),
    "telegram": (
        telegram_markup.TEXT_LIMIT,
        telegram_markup.TEXT_UNIT,
        lambda text: Seen(telegram_markup.to_html(text)).text,
    ),
    "whatsapp": (whatsapp_markup.TEXT_LIMIT, whatsapp_markup.TEXT_UNIT, whatsapp_markup.to_text),
}


@pytest.mark.parametrize("name", PLATFORMS)
@given(text=long)
@example(text=(" w0: " * 17 + "\n~~~~") * 60)
@settings(max_examples=30)
def test_of_a_long_text_every_word_is_shown_in_some_part_and_in_order(name: str, text: str) -> None:
    limit, unit, shown = PLATFORMS[name]
    parts = split_text(text, limit, unit)
    assert [word for part in parts for word in words_of(shown(part))] == words_of(text)


def said(text: str) -> Prose:
    return Prose(runs=(Run(text=text),))


def test_a_text_is_read_as_a_tree() -> None:
    blocks = read("# T\nsome *i*\n\n> - a\n>   1. b\n\n---\n```py\nc\n```\n|d|\n|-|")
    assert blocks == (
        Prose(runs=(Run(text="T"),), heading=1, lines=range(1)),
        Prose(runs=(Run(text="some "), Run(text="i", styles=("italic",))), lines=range(1, 2)),
        Quote(
            blocks=(
                Listing(
                    items=(
                        Item(
                            blocks=(
                                Prose(runs=(Run(text="a"),), spaced=True, lines=range(3, 4)),
                                Listing(
                                    items=(
                                        Item(
                                            blocks=(
                                                Prose(runs=(Run(text="b"),), lines=range(4, 5)),
                                            ),
                                        ),
                                    ),
                                    first=1,
                                ),
                            ),
                            spaced=True,
                        ),
                    ),
                    first=None,
                    spaced=True,
                ),
            ),
            spaced=True,
        ),
        Rule(spaced=True),
        Code(text="c", language="py"),
        Table(rows=((said("d"),),), lines=range(10, 12)),
    )


def test_styles_are_in_the_order_of_their_marks() -> None:
    assert read("~~*a **`b`***~~") == (
        Prose(
            runs=(
                Run(text="a ", styles=("struck", "italic")),
                Run(text="b", styles=("struck", "italic", "bold", "code")),
            ),
            lines=range(1),
        ),
    )


def test_a_link_has_the_styles_that_all_of_its_text_has() -> None:
    assert read("**[a *b*](https://e.org) c**") == (
        Prose(
            runs=(
                Run(text="a b", styles=("bold",), url="https://e.org"),
                Run(text=" c", styles=("bold",)),
            ),
            lines=range(1),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        "a" * (MAX_CHARS + 1),
        ">" * 40 + " a",
        "- " * 20 + "a",
        "|a" * 200 + "\n" + "|-" * 200 + "\n" + "b\n" * 200,
    ],
)
def test_what_is_too_long_deep_or_wide_is_not_read(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("text", ["a" * MAX_CHARS, ">" * 30 + " a", "- " * 14 + "a", "|a" * 4_000])
def test_what_is_just_not_is_read(text: str) -> None:
    assert read(text) is not None


@given(anything)
def test_a_clean_text_can_be_written_and_stays_clean(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert clean(cleaned) == cleaned
    assert len(cleaned) <= len(text)


def test_of_controls_a_clean_text_keeps_tabs_and_line_feeds() -> None:
    assert clean("a\tb\nc\r\nd\re\x00\x7f\u202e\udc00") == "a\tb\nc\nd\ne" + "\ufffd" * 4
