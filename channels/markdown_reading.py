"""Reads what agents write: CommonMark, with tables and struck out text, and without HTML.

Nothing of a text is lost by reading it but marks, the numbers of a list after its first, the titles
of links, and the address of an image that stands for a link. So definitions of links
(`[1]: https://…`) are no marks here: they would vanish from the text, and another part of a long
text could not see them. A table is a block of code if a row has more cells than its head; what
stands beside the backticks before a block is its first line if it is no language. Images are links.

Links lead to `http`, `https` and `mailto`. Whatever else looks like a link stays as it was written.

A text of more than `MAX_CHARS` is not read, nor is one that nests more than some fifteen lists or
thirty quotes, nor one whose table would have more than `_MAX_CELLS` cells: it is shown as it was
written. What is read takes a second at the very most, and usually a few milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt

from .markdown_tree import Block, Code, Item, Listing, Prose, Quote, Rule, Run, Style, Table
from .parts import LANGUAGE

if TYPE_CHECKING:
    from markdown_it.token import Token

__all__ = ["MAX_CHARS", "clean", "read"]

MAX_CHARS: Final = 16_384
"""Longest text that is read, in code points."""
_MAX_CELLS: Final = 16_384
_MAX_LEVEL: Final = 32
"""Beyond this level the reader leaves out what is nested."""

_HOLDING: Final = ("blockquote_open", "list_item_open")

_UNFIT: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202d\u202e\ud800-\udfff]")
"""Controls, overrides of the direction of letters, halves of surrogate pairs."""
_LEADS: Final = re.compile(r"(?i:https?://|mailto:)[^/\s]")
_UNSAFE_IN_URL: Final = re.compile(r"""[\s\x00-\x20"'<>\\^`{|}\u202a-\u202e\u2066-\u2069]""")
_CELLS_END: Final = re.compile(r"(?<!\\)\|")
_STYLES: Final[dict[str, Style]] = {"strong": "bold", "em": "italic", "s": "struck"}


def clean(text: str) -> str:
    """`text` as every platform can take it; not longer, but for bytes, of which it may have thrice.

    Line breaks become line feeds. Controls other than tabs, characters that override the direction
    of letters, and halves of surrogate pairs become U+FFFD, one for one.
    """
    return _UNFIT.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def read(text: str) -> tuple[Block, ...] | None:
    """What a `clean` text says; None if it is too long, too deep or too wide to be read."""
    if len(text) > MAX_CHARS or _cells_at_most(text) > _MAX_CELLS:
        return None
    tokens = _READER.parse(text)
    if any(token.level >= _MAX_LEVEL - 1 and token.type in _HOLDING for token in tokens):
        return None
    return tuple(_Reading(text, tokens).blocks())


def _cells_at_most(text: str) -> int:
    """How many cells the tables of `text` can have: as many in each line as in the widest."""
    lines = text.split("\n")
    return max(line.count("|") for line in lines) * len(lines)


def _may_lead(url: str) -> bool:
    return _LEADS.match(url) is not None


def _quoted(url: str) -> str:
    """`url` with what could end it in any markup percent-encoded."""
    return _UNSAFE_IN_URL.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8")), url
    )


class _Links(MarkdownIt):
    """Takes only links that may lead somewhere, and leaves their addresses as they are written."""

    def validateLink(self, url: str) -> bool:  # noqa: N802 (a method of the library)
        return _may_lead(url)

    def normalizeLink(self, url: str) -> str:  # noqa: N802
        return _quoted(clean(url.strip()))

    def normalizeLinkText(self, link: str) -> str:  # noqa: N802
        return link


_READER: Final = (
    _Links("commonmark", {"html": False, "maxNesting": _MAX_LEVEL})
    .enable(["table", "strikethrough"])
    .disable(["reference", "html_block", "html_inline"])
)


class _Reading:
    """The blocks of a text, from its tokens."""

    __slots__ = ("_lines", "_tokens")

    def __init__(self, text: str, tokens: Sequence[Token]) -> None:
        self._lines = text.split("\n")
        self._tokens = iter(tokens)

    def blocks(self, until: str = "") -> Iterator[Block]:
        """The blocks up to the token of type `until`, or all."""
        for token in self._tokens:
            match token.type:
                case kind if kind == until:
                    return
                case "paragraph_open":
                    yield self._prose(token, 0)
                case "heading_open":
                    yield self._prose(token, int(token.tag[1:]))
                case "blockquote_open":
                    inner = tuple(self.blocks("blockquote_close"))
                    yield Quote(blocks=inner, spaced=self._spaced(token))
                case "bullet_list_open" | "ordered_list_open":
                    yield self._listing(token)
                case "table_open":
                    yield self._table(token)
                case "fence" | "code_block":
                    yield self._code(token)
                case "hr":
                    yield Rule(spaced=self._spaced(token))
                case kind:
                    raise AssertionError(f"no block begins with {kind}")

    def _spaced(self, token: Token) -> bool:
        line = _lines(token).start
        return line > 0 and not self._lines[line - 1].strip(" \t>")

    def _listing(self, token: Token) -> Listing:
        closing = token.type.replace("open", "close")
        items: list[Item] = []
        while (item := next(self._tokens)).type != closing:
            inner = tuple(self.blocks("list_item_close"))
            items.append(Item(blocks=inner, spaced=self._spaced(item)))
        start = token.attrGet("start")
        first = None if token.type.startswith("bullet") else 1 if start is None else int(start)
        return Listing(items=tuple(items), first=first, spaced=self._spaced(token))

    def _table(self, token: Token) -> Table | Code:
        rows = tuple(self._rows())
        place = _lines(token)
        source = [line.strip(" \t>") for line in self._lines[place.start : place.stop]]
        if any(_cells(line) > len(rows[0]) for line in source):
            return Code(text="\n".join(source), spaced=self._spaced(token))
        return Table(rows=rows, spaced=self._spaced(token), lines=place)

    def _rows(self) -> Iterator[tuple[Prose, ...]]:
        row: list[Prose] = []
        while (token := next(self._tokens)).type != "table_close":
            if token.type in ("th_open", "td_open"):
                row.append(Prose(runs=_runs(next(self._tokens))))
            elif token.type == "tr_close":
                yield tuple(row)
                row = []

    def _code(self, token: Token) -> Code:
        text = clean(token.content.removesuffix("\n"))
        beside = clean(token.info.strip())
        if beside and not (text and LANGUAGE.fullmatch(beside)):
            return Code(text=f"{beside}\n{text}", spaced=self._spaced(token))
        return Code(text=text, language=beside, spaced=self._spaced(token))

    def _prose(self, token: Token, heading: int) -> Prose:
        runs = _runs(next(self._tokens))
        next(self._tokens)  # which closes it
        return Prose(runs=runs, heading=heading, spaced=self._spaced(token), lines=_lines(token))


def _cells(line: str) -> int:
    """How many cells a line of a table has."""
    return len(_CELLS_END.findall(line.removeprefix("|").removesuffix("|"))) + 1


def _lines(token: Token) -> range:
    """The lines of the text that a token takes which opens a block."""
    assert token.map is not None
    return range(*token.map)


def _runs(token: Token) -> tuple[Run, ...]:
    """The runs of a token that holds others."""
    assert token.type == "inline"
    runs: list[Run] = []
    styles: list[Style] = []
    urls: list[str] = []
    linked: list[Run] = []
    for child in token.children or ():
        kind, _, edge = child.type.rpartition("_")
        if child.type == "link_open":
            urls.append(str(child.attrGet("href")))  # in a link, an address may be another
        elif child.type == "link_close":
            url = urls.pop()
            if not urls:
                runs.append(_link(linked, url))
                linked = []
        elif edge == "open":
            styles.append(_STYLES[kind])
        elif edge == "close":
            styles.pop()
        else:
            _add(linked if urls else runs, _run(child, tuple(dict.fromkeys(styles))))
    return tuple(runs)


def _run(token: Token, styles: tuple[Style, ...]) -> Run:
    """What a token says that holds no others."""
    match token.type:
        case "softbreak" | "hardbreak":
            return Run(text="\n", styles=styles)
        case "code_inline":
            return Run(text=clean(token.content), styles=(*styles, "code"))
        case "image":
            url = str(token.attrGet("src"))
            return Run(text=" ".join(_alt(token).split()) or url, styles=styles, url=url)
        case _:
            return Run(text=clean(token.content), styles=styles)


def _alt(token: Token) -> str:
    """What an image says."""
    if token.type in ("softbreak", "hardbreak"):
        return " "
    if token.type == "image":
        return "".join(map(_alt, token.children or ()))
    return clean(token.content)


def _add(runs: list[Run], run: Run) -> None:
    """Append `run`, to the last one if that is alike and both are no links."""
    if runs and (runs[-1].styles, runs[-1].url, None) == (run.styles, None, run.url):
        runs[-1] = Run(text=runs[-1].text + run.text, styles=run.styles)
    elif run.text:
        runs.append(run)


def _link(runs: Sequence[Run], url: str) -> Run:
    """A link, from the runs of its text."""
    text = " ".join("".join(run.text for run in runs).split())
    if not text:
        return Run(text=url, url=url)
    common: list[Style] = [
        style for style in runs[0].styles if all(style in run.styles for run in runs)
    ]
    return Run(text=text, styles=tuple(common), url=url)
