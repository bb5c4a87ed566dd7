"""What agents may write: texts in Markdown, ordinary, odd and hostile; and how HTML is checked."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import strategies as st

MARKS = (
    *("*", "**", "***", "_", "__", "~~", "`", "``", "[", "]", "](", ")", "(", "!", "<", ">", "&"),
    *("\\", "|", "||", "@", "#", ":", '"', "'", "&amp;", "&lt;b&gt;", "&#x202e;", "<b>", "</b>"),
    *("<!channel>", "<!here|x>", "<@U123>", "<#C1|d>", "@everyone", "@here", "<@&1>", "@room"),
    *("<https://e.org/?a=1&b=2>", "<tg://user?id=1>", "https://e.org/a_b_c", "<a@b.org>"),
    *(
        "](https://e.org)",
        "](<https://e.org/a b>)",
        '](https://e.org/"><b>)',
        "](https://e.org/(a))",
    ),
    *("](javascript:alert(1))", "](data:text/html,x)", "](tg://user?id=1)", "](mailto:a@b.org)"),
    *("](JAVASCRIPT:x)", "](//e.org)", "](a.md)", "![", "\U0001f600", "\ufffd", "\u202e", "\u200b"),
    *("\x00", "\x1b[31m", "\x85", "\x0b", "\u2028", "\ud800", "\udc00", "é", "漢字", "\u0301"),
)
LINES = (
    *("\n", "\n\n", "  \n", "\r\n", "\n> ", "\n> > ", "\n- ", "\n* ", "\n  - ", "\n1. ", "\n7) "),
    *(
        "\n    ",
        "\n\t- ",
        "\n# ",
        "\n###### ",
        "\n---\n",
        "\n===\n",
        "\n```\n",
        "\n```py\n",
        "\n~~~\n",
    ),
    *(
        "\n````md x=1\n",
        "\n|a|b|\n|-|-|\n|",
        "\n|-|\n",
        "\n| ",
        " | ",
        " |\n",
        "\n[1]: https://e.org\n",
    ),
)

# no word is a name that a programming language could have
words = st.integers(min_value=0, max_value=99_999).map("w{}:".format)
markdown = st.lists(
    st.one_of(words, st.just(" "), st.sampled_from(MARKS), st.sampled_from(LINES)), max_size=60
).map("".join)
anything = st.one_of(markdown, st.text(st.characters(), max_size=200))

HOSTILE = {
    **{letter: letter * 1_000_000 for letter in "*_~`[]()!<>&|#-\\\n\t \x00\ud800\u202ea"},
    "deep quotes": ">" * 10_000 + " w",
    "deep quotes in lines": "\n".join(">" * depth for depth in range(170)),
    "deep lists": "".join("  " * depth + "- w\n" for depth in range(60)),
    "lists in a line": "- " * 8_000 + "w",
    "deep brackets": "[" * 8_000 + "]" * 8_000,
    "links that never end": "[w](" * 4_000,
    "images that never end": "![" * 8_000,
    "emphasis that never ends": "*w_" * 5_000,
    "backticks of all lengths": " ".join("`" * count for count in range(1, 175)),
    "a fence that never ends": "```py\n" + "w\n" * 8_000,
    "a wide table": "|w" * 2_000 + "\n" + "|-" * 2_000 + "\n" + "w\n" * 3_000,
    "a wide cell": "|w|\n|-|\n|" + "x" * 5_000 + "|\n" + "|y|\n" * 1_000,
    "quotes with lazy lines": "> w\n" * 2_000 + "w\n" * 4_000,
}
"""Texts that are slow to read, or grow, or break what reads them, where anything does."""


def words_of(text: str) -> list[str]:
    """The words that must be seen, in order, if `text` was made of `words`."""
    return re.findall(r"w\d+:", text)


class Seen(HTMLParser):
    """Text and tags of HTML; refuses tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.deepest = 0
        self._open: list[str] = []
        self.paths: set[tuple[str, ...]] = set()
        """Which tags were open at once."""
        self.feed(html)
        self.close()
        assert not self._open, f"{self._open} never closed in {html!r}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("br", "hr"):
            self.text += "\n"
            return
        self._open.append(tag)
        self.paths.add(tuple(self._open))
        self.deepest = max(self.deepest, len(self._open))

    def handle_endtag(self, tag: str) -> None:
        assert self._open, tag
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl!r}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data!r}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a declaration: {data!r}")
