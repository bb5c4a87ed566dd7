"""Agents' Markdown reaches WhatsApp with the marks that it knows, and no word is lost."""

from __future__ import annotations

import pytest
from hypothesis import given

from turnkeeper.channels.parts import text_size
from turnkeeper.channels.whatsapp_markup import TEXT_LIMIT, to_text

from .written import HOSTILE, anything, markdown, words_of


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain <b> & co", "plain <b> & co"),
        ("**b** *i* ~~s~~ `c`", "*b* _i_ ~s~ `c`"),
        ("a**b**c snake_case", "abc snake_case"),
        ("**two\nlines**", "*two*\n*lines*"),
        ("# Title", "*Title*"),
        ("* a\n* b\n  1. c", "- a\n- b\n  1. c"),
        ("> a\nb", "> a\n> b"),
        ("```py\na < b\n```", "```\na < b\n```"),
        ("|a|b|\n|-|-|\n|c|d|", "```\na | b\n- | -\nc | d\n```"),
        ("[a](https://e.org)", "a (https://e.org)"),
        ("**[a](https://e.org)**", "*a* (https://e.org)"),
        ("[`a`](https://e.org)", "`a` (https://e.org)"),
        ("[https://e.org](https://e.org)", "https://e.org"),
        ("<https://e.org> <a@e.org>", "https://e.org a@e.org"),
        ("![](https://e.org/a.png)", "https://e.org/a.png"),
        ("[a](javascript:b)", "[a](javascript:b)"),
        ("---", "———"),
        ("a\x00\ud800", "a\ufffd\ufffd"),
    ],
)
def test_markdown_becomes_text_with_marks(text: str, written: str) -> None:
    assert to_text(text) == written


@given(markdown)
def test_no_word_is_lost_or_moved(text: str) -> None:
    assert words_of(to_text(text)) == words_of(text)


@given(anything)
def test_a_part_still_fits_when_it_is_written(text: str) -> None:
    text = (text * 60)[: TEXT_LIMIT // 2]
    assert text_size(to_text(text), "utf16") <= TEXT_LIMIT
    to_text(text).encode()  # which refuses halves of surrogate pairs


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_become_text_all_the_same(name: str) -> None:
    text = HOSTILE[name]
    written = to_text(text)
    assert text_size(written, "utf16") <= max(TEXT_LIMIT, text_size(text, "utf16"))
    assert written.count("w") == text.count("w")
