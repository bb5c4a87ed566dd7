"""Agents' Markdown reaches Telegram as HTML that it accepts, and no word is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given

from turnkeeper.channels.parts import text_size
from turnkeeper.channels.telegram_markup import TEXT_LIMIT, to_html

from .written import HOSTILE, Seen, anything, markdown, words_of

ALLOWED = {
    "b": set[str](),
    "i": set[str](),
    "s": set[str](),
    "code": {"class"},
    "pre": set[str](),
    "blockquote": set[str](),
    "a": {"href"},
}


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", "plain"),
        ("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d"),
        ("**b** *i* ~~s~~ `c<`", "<b>b</b> <i>i</i> <s>s</s> <code>c&lt;</code>"),
        ("***both***", "<i><b>both</b></i>"),
        ("*a **b***", "<i>a <b>b</b></i>"),
        ("**a `c` b**", "<b>a </b><code>c</code><b> b</b>"),
        ("# Title\ntext", "<b>Title</b>\ntext"),
        ("## A **b** c\n\ntext", "<b>A b c</b>\n\ntext"),
        ("one\ntwo  \nthree", "one\ntwo\nthree"),
        ("- a\n- b\n  - c\n\n- d", "• a\n• b\n  • c\n\n• d"),
        ("3. a\n4. b", "3. a\n4. b"),
        ("0) a", "0. a"),
        ("- - a", "• • a"),
        ("-\n  ```\n  x\n  ```", "•\n<pre>x</pre>"),
        ("> a\n> b\n\nc", "<blockquote>a\nb</blockquote>\n\nc"),
        ("> a\n> > b", "<blockquote>a\n&gt; b</blockquote>"),
        (
            "```py\nif a < b:\n    c\n```",
            '<pre><code class="language-py">if a &lt; b:\n    c</code></pre>',
        ),
        ("```\na\n```", "<pre>a</pre>"),
        ('```"><b>\na\n```', '<pre>"&gt;&lt;b&gt;\na</pre>'),
        ("```py\nnever closed", '<pre><code class="language-py">never closed</code></pre>'),
        ("|a|bb|\n|-|-|\n|漢|d|", "<pre>a  | bb\n-- | --\n漢 | d</pre>"),
        ("|a|\n|-|\n|b|c|", "<pre>|a|\n|-|\n|b|c|</pre>"),
        ("|a|\n|-|\n|[b](http://e.org)|", "<pre>a\n----------------\nb (http://e.org)</pre>"),
        ("[a](https://e.org/?x=1&y=2)", '<a href="https://e.org/?x=1&amp;y=2">a</a>'),
        ("[a](https://e.org/a_(b))", '<a href="https://e.org/a_(b)">a</a>'),
        ("[a](<https://e.org/a b>)", '<a href="https://e.org/a%20b">a</a>'),
        ("[a](https://e.org/\"'><i>)", '<a href="https://e.org/%22%27%3E%3Ci%3E">a</a>'),
        ("[](https://e.org)", '<a href="https://e.org">https://e.org</a>'),
        ("**[a](https://e.org)**", '<b><a href="https://e.org">a</a></b>'),
        ("[`a`](https://e.org)", '<a href="https://e.org">a</a>'),
        ("![a](https://e.org/a.png)", '<a href="https://e.org/a.png">a</a>'),
        ("[![a](https://e.org/a.png)](https://e.org)", '<a href="https://e.org">a</a>'),
        ("<https://e.org>", '<a href="https://e.org">https://e.org</a>'),
        ("<a@e.org>", '<a href="mailto:a@e.org">a@e.org</a>'),
        ("[a](javascript:alert(1))", "[a](javascript:alert(1))"),
        ("[a](data:text/html,b)", "[a](data:text/html,b)"),
        ("[a](tg://user?id=1)", "[a](tg://user?id=1)"),
        ("<tg://user?id=1>", "&lt;tg://user?id=1&gt;"),
        ("![a](file.png)", "![a](file.png)"),
        ("[a][1]\n\n[1]: https://e.org", "[a][1]\n\n[1]: https://e.org"),
        ("<b>a</b> <!-- b -->", "&lt;b&gt;a&lt;/b&gt; &lt;!-- b --&gt;"),
        ("a\n\n---\n\nb", "a\n\n———\n\nb"),
        ("a\x00b\x1bc\ud800d\u202ee", "a\ufffdb\ufffdc\ufffdd\ufffde"),
        ("&lt;b&gt; &amp;lt;", "&lt;b&gt; &amp;lt;"),
        ("```\n```", "```\n```"),
        ("\\*a\\*", "*a*"),
    ],
)
def test_markdown_becomes_html(text: str, html: str) -> None:
    assert to_html(text) == html


@given(anything)
@example("> ```\n> a\n- > b")
def test_the_tags_are_known_and_nested_as_they_must_be(text: str) -> None:
    seen = Seen(to_html(text))
    for tag, attributes in seen.tags:
        assert attributes.keys() <= ALLOWED[tag]
    for path in seen.paths:
        assert path.count("blockquote") <= 1
        assert "code" not in path[:-1]
        assert path[path.index("pre") :] in (("pre",), ("pre", "code")) if "pre" in path else True
        assert len(set(path)) == len(path)


@given(anything)
def test_links_lead_to_where_links_may_lead(text: str) -> None:
    for tag, attributes in Seen(to_html(text)).tags:
        if tag == "a":
            assert re.fullmatch(r"(?i:https?://|mailto:)[^\s\"'<>]+", attributes["href"] or "")


@given(markdown)
def test_no_word_is_lost_or_moved(text: str) -> None:
    assert words_of(Seen(to_html(text)).text) == words_of(text)


@given(anything)
def test_what_is_shown_of_a_part_fits(text: str) -> None:
    shown = Seen(to_html(text)).text
    assert text_size(shown, "utf16") <= TEXT_LIMIT


@pytest.mark.parametrize(
    "text",
    [
        "- a\n\tb\n" * 580,
        "\t- \t> a\nb\n" * 400,
        "| " + "a | " * 40 + "\n" + "|-" * 40 + "\n" + "a\n" * 90 + "| " + "wide " * 8,
        "&nGt;" * 819,
    ],
)
def test_what_would_outgrow_the_limit_is_shown_as_it_was_written(text: str) -> None:
    text = text[:TEXT_LIMIT]
    assert text_size(Seen(to_html(text)).text, "utf16") <= TEXT_LIMIT


def test_more_marks_than_a_message_may_have_are_left_out_and_no_address_is_lost() -> None:
    seen = Seen(to_html("".join(f"**b{n}** [l{n}](https://e.org/{n}) " for n in range(90))))
    assert 90 < len(seen.tags) <= 100
    assert "b89 l89 (https://e.org/89)" in seen.text
    assert "l0 " in seen.text


def test_addresses_that_are_too_large_together_are_written_out() -> None:
    address = "https://e.org/" + "é" * 1_000
    seen = Seen(to_html(f"[a]({address}) " * 4))
    assert seen.text.split() == ["a", "a", "a", "a", f"({address})"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_become_html_all_the_same(name: str) -> None:
    text = HOSTILE[name]
    seen = Seen(to_html(text))
    assert text_size(seen.text, "utf16") <= max(TEXT_LIMIT, text_size(text, "utf16"))
    assert seen.text.count("w") == text.count("w")
