"""Agents' Markdown reaches Discord as it is, without what is foreign there or calls everybody."""

from __future__ import annotations

import pytest
from hypothesis import given

from turnkeeper.channels.discord_markup import TEXT_LIMIT, to_markdown

from .written import HOSTILE, anything, markdown, words_of

ZERO = "\u200b"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "# T\n**b** __u__ *i* ~~s~~ ||spoiler|| `c`\n-# small",
        "> a\n> b\n\n- c\n  - d\n1. e",
        "```py\n#### no heading\n![no image](https://e.org)\n```",
        "`![no image](https://e.org)` \\![a](https://e.org) ![a](file.png)",
        "[a](https://e.org) <https://e.org> <t:0:R>",
        "- |a|b|\n  |-|-|\n  |c|d|",
        "mail me@here-not.org",
    ],
)
def test_what_is_known_there_stays_as_it_is(text: str) -> None:
    assert to_markdown(text) == text.replace("@here", f"@{ZERO}here")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a\n\n|a|bb|\n|-|-|\n|*c*|d|\n\nb", "a\n\n```\na | bb\n- | --\nc | d\n```\n\nb"),
        ("|a|\n|-|\n|```|\n", "```\na\n---\n`\u200b`\u200b`\n```\n"),
        ("see ![a](https://e.org/a.png)!", "see [a](https://e.org/a.png)!"),
        (
            "- ![a](https://e.org)\n> ![b](<https://e.org>)",
            "- [a](https://e.org)\n> [b](<https://e.org>)",
        ),
        ("#### T\n###### U #\n\n## V", "### T\n### U #\n\n## V"),
        ("@everyone @here `@everyone`", f"@{ZERO}everyone @{ZERO}here `@{ZERO}everyone`"),
        ("<@123> <@&4> @Everyone", f"<@123> <@&4> @{ZERO}Everyone"),
        ("a\x00b\ud800\r\nc", "a\ufffdb\ufffd\nc"),
    ],
)
def test_what_is_foreign_there_is_written_otherwise(text: str, written: str) -> None:
    assert to_markdown(text) == written


def test_without_room_for_more_the_at_sign_is_a_wide_one() -> None:
    text = "@everyone " * 200
    assert to_markdown(text) == "\uff20everyone " * 200


@given(anything)
def test_nothing_in_it_calls_everybody(text: str) -> None:
    for written in (to_markdown(text), to_markdown((text + "@here") * 200)):
        assert "@everyone" not in written
        assert "@here" not in written


@given(markdown)
def test_no_word_is_lost_or_moved(text: str) -> None:
    assert words_of(to_markdown(text)) == words_of(text)


@given(anything)
def test_a_part_still_fits_when_it_is_written(text: str) -> None:
    assert len(to_markdown((text * 60)[:TEXT_LIMIT])) <= TEXT_LIMIT


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_stay_about_as_they_are(name: str) -> None:
    text = HOSTILE[name]
    written = to_markdown(text)
    assert len(written) <= max(TEXT_LIMIT, len(text))
    assert written.count("w") == text.count("w")
    written.encode()  # which refuses halves of surrogate pairs
