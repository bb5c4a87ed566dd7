"""Agents' Markdown reaches Slack as mrkdwn that names nobody, and no word is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given

from turnkeeper.channels.slack_markup import TEXT_LIMIT, to_mrkdwn

from .written import HOSTILE, anything, markdown, words_of

LINK = re.compile(r"<(?i:https?://|mailto:)[^\s<>|]+(?:\|[^<>\n]*)?>")
BARE = re.compile(r"<([^<>|]*)>")
ENTITY = re.compile("&(?:amp|lt|gt);")


@pytest.mark.parametrize(
    ("text", "mrkdwn"),
    [
        ("plain", "plain"),
        ("**b** *i* ~~s~~ `c`", "*b* _i_ ~s~ `c`"),
        ("***both***", "_*both*_"),
        ("*a **b***", "_a *b*_"),
        ("**a `c`**", "*a `c`*"),
        ("a**b**c", "abc"),
        ("(**b**), *i*.", "(*b*), _i_."),
        ("**重点**内容", "重点内容"),
        ("**two\nlines**", "*two*\n*lines*"),
        ("`a` `b`", "`a` `b`"),
        ("``a`b``", "a`b"),
        ("# Title *i*", "*Title _i_*"),
        ("- a\n  - b\n1. c", "• a\n  • b\n1. c"),
        ("> a\n>\n> b\n\nc", "> a\n> \n> b\n\nc"),
        ("> a\n> > b", "> a\n> &gt; b"),
        ("```py\na < b\n```", "```\na &lt; b\n```"),
        ("````\n```\n````", "```\n`\u200b`\u200b`\n```"),
        ("|a|b|\n|-|-|\n|c|d|", "```\na | b\n- | -\nc | d\n```"),
        ("[a](https://e.org/?x=1&y=2)", "<https://e.org/?x=1&amp;y=2|a>"),
        ("[a](https://e.org/|b>c)", "<https://e.org/%7Cb%3Ec|a>"),
        ("[a|b<c>](https://e.org)", "<https://e.org|a|b&lt;c&gt;>"),
        ("**[`a`](https://e.org)**", "*<https://e.org|a>*"),
        ("![a](https://e.org/a.png)", "<https://e.org/a.png|a>"),
        ("<https://e.org>", "<https://e.org>"),
        ("see https://e.org/?x=1&y=2.", "see <https://e.org/?x=1&amp;y=2>."),
        ("**HTTP://e.org** (http://e.org/a_(b))", "*<HTTP://e.org>* (<http://e.org/a_(b)>)"),
        ("https://e.org|!here> `https://e.org`", "<https://e.org>|!here&gt; `https://e.org`"),
        ("https:// https://. xhttps://e.org", "https:// https://. xhttps://e.org"),
        (
            "](https://e.org/(a))w0: https://e.org/w1:",
            "](<https://e.org/(a)>)w0: <https://e.org/w1>:",
        ),
        ("[https://e.org](https://f.org)", "<https://f.org|https://e.org>"),
        ("[a](slack://b)", "[a](slack://b)"),
        ("<!channel> `<!here>` <@U1>", "&lt;!channel&gt; `&lt;!here&gt;` &lt;@U1&gt;"),
        ("[<!here>](https://e.org)", "<https://e.org|&lt;!here&gt;>"),
        ("[a](<!here>) [b](!here)", "[a](&lt;!here&gt;) [b](!here)"),
        ("&lt;!channel&gt;", "&lt;!channel&gt;"),
        ("@channel @here", "@channel @here"),
        ("```\n```", "```\n\n```"),
        ("a\x00b\ud800", "a\ufffdb\ufffd"),
    ],
)
def test_markdown_becomes_mrkdwn(text: str, mrkdwn: str) -> None:
    assert to_mrkdwn(text) == mrkdwn


@given(anything)
def test_angle_brackets_stand_around_links_and_before_quotations_only(text: str) -> None:
    written = to_mrkdwn(text)
    rest = LINK.sub("", written)
    rest = re.sub("^(?:(?: *(?:•|[0-9]+\\.))*)> ", "", rest, flags=re.MULTILINE)
    assert "<" not in rest
    assert ">" not in rest
    assert "&" not in ENTITY.sub("", rest)


@given(markdown)
def test_no_word_is_lost_or_moved(text: str) -> None:
    assert words_of(BARE.sub(r"\1", to_mrkdwn(text))) == words_of(text)


@given(anything)
def test_a_part_that_is_not_all_escapes_stays_below_what_is_advised(text: str) -> None:
    text = (text * 40)[:TEXT_LIMIT]
    plain = re.sub("[&<>]", "&amp;", text)
    assert len(to_mrkdwn(text)) <= max(4_000, len(plain))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_become_mrkdwn_all_the_same(name: str) -> None:
    text = HOSTILE[name]
    written = to_mrkdwn(text)
    assert len(written) <= max(4_000, 5 * len(text))
    assert written.count("w") == text.count("w")
    written.encode()  # which refuses halves of surrogate pairs


def test_not_even_the_worst_part_is_cut_off() -> None:
    assert len(to_mrkdwn("&" * TEXT_LIMIT)) == 17_500
