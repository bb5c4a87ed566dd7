"""Agents' Markdown reaches Matrix as HTML of its subset, in events that are not too large."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given

from turnkeeper.channels.matrix_markup import (
    MAX_EVENT_BYTES,
    MAX_HTML_BYTES,
    TEXT_LIMIT,
    to_body,
    to_html,
)
from turnkeeper.channels.parts import split_text

from .written import HOSTILE, Seen, anything, markdown, words_of

PERMITTED = {
    *(
        "del",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "blockquote",
        "p",
        "a",
        "ul",
        "ol",
        "li",
        "strong",
    ),
    *("em", "code", "hr", "br", "table", "thead", "tbody", "tr", "th", "td", "pre"),
}
"""Of the tags that the specification lists, those which the library uses."""
ATTRIBUTES = {"a": {"href"}, "ol": {"start"}, "code": {"class"}}


def json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", None),
        ("two\nlines\n\nand a paragraph, a < b & c_d_e", None),
        ("https://e.org @room", None),
        ("", None),
        ("a\\*b", "<p>a*b</p>"),
        (
            "**b** *i* ~~s~~ `c<`",
            "<p><strong>b</strong> <em>i</em> <del>s</del> <code>c&lt;</code></p>",
        ),
        ("# T\ntwo\nlines", "<h1>T</h1><p>two<br>lines</p>"),
        ("- a\n- b\n  - c", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"),
        ("- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"),
        ("3. a", '<ol start="3"><li>a</li></ol>'),
        ("1. a", "<ol><li>a</li></ol>"),
        ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
        ("```c++\na < b\n```", '<pre><code class="language-c++">a &lt; b\n</code></pre>'),
        (
            "|a|b|\n|-|-|\n|*c*||",
            (
                "<table><thead><tr><th>a</th><th>b</th></tr></thead>"
                "<tbody><tr><td><em>c</em></td><td></td></tr></tbody></table>"
            ),
        ),
        ("[`a`](https://e.org/?x&y)", '<p><a href="https://e.org/?x&amp;y"><code>a</code></a></p>'),
        ("![a](https://e.org/a.png)", '<p><a href="https://e.org/a.png">a</a></p>'),
        ("*i* [a](javascript:b)", "<p><em>i</em> [a](javascript:b)</p>"),
        ("*i* <script>", "<p><em>i</em> &lt;script&gt;</p>"),
        ("a\n\n---", "<p>a</p><hr>"),
    ],
)
def test_markdown_becomes_html_if_it_has_formatting(text: str, html: str | None) -> None:
    assert to_html(text) == html


@given(anything)
def test_the_tags_are_permitted_and_closed_in_order(text: str) -> None:
    seen = Seen(to_html(text) or "")
    for tag, attributes in seen.tags:
        assert tag in PERMITTED
        assert attributes.keys() <= ATTRIBUTES.get(tag, set[str]())
        if tag == "a":
            assert re.fullmatch(r"(?i:https?://|mailto:)[^\s\"'<>]+", attributes["href"] or "")


@given(markdown)
def test_no_word_is_lost_or_moved(text: str) -> None:
    html = to_html(text)
    assert words_of(to_body(text) if html is None else Seen(html).text) == words_of(text)


@given(anything)
def test_an_event_with_a_part_of_any_text_is_not_too_large(text: str) -> None:
    for part in split_text(text * 60, TEXT_LIMIT, "bytes"):
        html = to_html(part) or ""
        assert json_bytes(html) <= MAX_HTML_BYTES
        assert json_bytes(to_body(part)) + json_bytes(html) <= MAX_EVENT_BYTES


@pytest.mark.parametrize(
    "letter", ["\x01", '"', "\\", "\n", "&", "漢", "\ud800", "*a*", "`", "\u2028"]
)
def test_not_even_the_worst_part_makes_an_event_too_large(letter: str) -> None:
    text = "**b** " + letter * TEXT_LIMIT
    part = split_text(text, TEXT_LIMIT, "bytes")[0]
    html = to_html(part)
    assert json_bytes(to_body(part)) + json_bytes(html or "") <= MAX_EVENT_BYTES


def test_html_that_is_too_large_is_left_out() -> None:
    assert to_html("*a* " * 1_500) is not None
    assert to_html("*a* " * 4_000) is None


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_become_html_or_stay_bodies(name: str) -> None:
    seen = Seen(to_html(HOSTILE[name]) or "")
    assert seen.deepest <= 100
    to_body(HOSTILE[name]).encode()  # which refuses halves of surrogate pairs
