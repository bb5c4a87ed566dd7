"""Markup is read as strictly as Telegram reads it."""

from __future__ import annotations

import pytest

from .telegram_fake_text import BadEntities, found_entities, parse_html, tidy, utf16_length


@pytest.mark.parametrize(
    ("markup", "text", "entities"),
    [
        ("a &lt;b&gt; &amp; &quot;c&quot; &#65;&#x42;", 'a <b> & "c" AB', []),
        ("&nbsp; &copy; &", "&nbsp; &copy; &", []),
        ("1 > 0", "1 > 0", []),
        ("🙂<b>x</b>", "🙂x", [("bold", 2, 1)]),
        ("<B>x</B>", "x", [("bold", 0, 1)]),
        ("<b>x<i>y</i></b>", "xy", [("bold", 0, 2), ("italic", 1, 1)]),
        ("<b></b>x", "x", []),
        ("<code>a<b>b</b></code>", "ab", [("code", 0, 2)]),
        ("<blockquote expandable>q</blockquote>", "q", [("expandable_blockquote", 0, 1)]),
        ('<span class="tg-spoiler">s</span>', "s", [("spoiler", 0, 1)]),
        ('<a href="example">x</a>', "x", []),
        ("<b>x</>", "x", [("bold", 0, 1)]),
    ],
)
def test_html_becomes_text_and_entities(
    markup: str, text: str, entities: list[tuple[str, int, int]]
) -> None:
    parsed, found = parse_html(markup)
    assert parsed == text
    assert [(one["type"], one["offset"], one["length"]) for one in found] == entities


def test_links_languages_and_users_are_read_from_attributes() -> None:
    markup = (
        '<a href="https://a.example?x=1&amp;y=2">link</a>'
        '<pre><code class="language-python">code</code></pre>'
        '<a href="tg://user?id=7">Ann</a>'
    )
    _, (link, code, mention) = parse_html(markup)
    assert link["url"] == "https://a.example/?x=1&y=2"
    assert (code["type"], code["language"]) == ("pre", "python")
    assert (mention["type"], mention["user"]) == ("text_mention", {"id": 7})


@pytest.mark.parametrize(
    ("markup", "refusal"),
    [
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<b>x</i>", 'Unmatched end tag at byte offset 4, expected "</b>", found "</i>"'),
        ("é</b>", "Unexpected end tag at byte offset 2"),
        ("a < b", 'Unsupported start tag "" at byte offset 2'),
        ("<p>x</p>", 'Unsupported start tag "p" at byte offset 0'),
        ("<br/>", 'Unsupported start tag "br/" at byte offset 0'),
        ("x <b", "Unclosed start tag at byte offset 2"),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ('<a href="x>y</a>', "Unclosed start tag at byte offset 0"),
        ("<a =x>y</a>", 'Empty attribute name in the tag "a" at byte offset 0'),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
def test_markup_that_telegram_cannot_read_is_refused(markup: str, refusal: str) -> None:
    with pytest.raises(BadEntities) as refused:
        parse_html(markup)
    assert str(refused.value) == refusal


def test_lengths_are_counted_in_utf_16_units() -> None:
    assert utf16_length("a🙂é") == 4


def test_telegram_finds_commands_mentions_and_addresses_by_itself() -> None:
    text = "/go@keeper_bot @ann_lee https://a.example/b. a@b.example #tag @me"
    kinds = [(one["type"], one["offset"]) for one in found_entities(text, [])]
    assert kinds == [
        ("bot_command", 0),
        ("mention", 15),
        ("url", 24),
        ("email", 45),
        ("hashtag", 57),
    ]


def test_nothing_is_found_inside_code() -> None:
    code = {"type": "code", "offset": 0, "length": 8}
    assert found_entities("@ann_lee", [code]) == [code]


def test_space_around_a_text_goes_and_entities_move_along() -> None:
    text, entities = tidy("\n 🙂 x \n", [{"type": "bold", "offset": 0, "length": 9}])
    assert (text, entities) == ("🙂 x", [{"type": "bold", "offset": 0, "length": 4}])
