import pytest

from turnkeeper.channels.display import printable


@pytest.mark.parametrize(
    "text",
    [
        "plain words, 100% of them",
        "שלום עולם",
        "مرحبا \u200f بالعالم",
        "e\u0301",
        "👩\u200d👩\u200d👧\u200d👦",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "汉字",
        "",
    ],
)
def test_ordinary_unicode_stays_readable(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31mred", "\\x9b31mred"),
        ("a\x00b", "a\\x00b"),
        ("\x7f", "\\x7f"),
        ("safe\u202etxt.exe", "safe\\u202etxt.exe"),
        ("\u2066isolate\u2069", "\\u2066isolate\\u2069"),
        ("\ud83d alone", "\\ud83d alone"),
        ("over\rwritten", "over\\x0dwritten"),
        ("forged\u2028line", "forged\\u2028line"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text, keep_lines=True) == shown


def test_line_feeds_and_tabs_survive_only_where_lines_are_wanted() -> None:
    assert printable("a\n\tb") == "a\\x0a\\x09b"
    assert printable("a\n\tb", keep_lines=True) == "a\n\tb"
    assert printable("a\r\nb", keep_lines=True) == "a\\x0d\nb"
