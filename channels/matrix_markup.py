"""Markdown as Matrix's HTML, for `formatted_body` with the format `org.matrix.custom.html`.

Source: `m.room.message` in the client-server API of the Matrix specification, with its list of
tags and the advice to nest no more than 100 of them. An event may have 65,536 bytes as canonical
JSON, with the text in it twice: as `body` and as `formatted_body`.

`@room` and names in a text notify nobody if the channel sends an empty `m.mentions`, which it must:
without it, clients look for them in `body`.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable
from typing import Final

from .markdown import (
    Block,
    Code,
    Listing,
    Mark,
    Prose,
    Quote,
    Rule,
    Run,
    Style,
    Table,
    clean,
    nested,
    read,
)
from .parts import LimitUnit

__all__ = ["MAX_EVENT_BYTES", "MAX_HTML_BYTES", "TEXT_LIMIT", "TEXT_UNIT", "to_body", "to_html"]

TEXT_LIMIT: Final = 16_000
"""What the channel declares. `to_body` makes no more than 48,000 bytes of JSON of such a part."""
TEXT_UNIT: Final[LimitUnit] = "bytes"
MAX_HTML_BYTES: Final = 40_000
"""Most that `to_html` takes, as JSON."""
MAX_EVENT_BYTES: Final = 56_000
"""Most that `to_body` and `to_html` take together, as JSON. The rest is for what else is in an
event: names, hashes, signatures."""

_TAGS: Final[dict[Style, Mark]] = {
    "bold": ("<strong>", "</strong>"),
    "italic": ("<em>", "</em>"),
    "struck": ("<del>", "</del>"),
    "code": ("<code>", "</code>"),
}


def to_body(text: str) -> str:
    """`text` as it goes into `body`: as it is, but for what JSON and clients cannot take."""
    return clean(text)


def to_html(text: str) -> str | None:
    """`text` in Matrix's HTML; None if it has no formatting, cannot be read or would be too large.

    Then the event has a `body` only. The tags are `p`, `h1` to `h6`, `strong`, `em`, `del`, `code`,
    `pre`, `a`, `blockquote`, `ul`, `ol`, `li`, `table` with `thead`, `tbody`, `tr`, `th` and `td`,
    `hr` and `br`. Images are links.
    """
    text = clean(text)
    blocks = read(text)
    if blocks is None or _is_plain(blocks, text):
        return None
    written = "".join(map(_block, blocks))
    size = _json_bytes(written)
    if size > MAX_HTML_BYTES or size + _json_bytes(text) > MAX_EVENT_BYTES:
        return None
    return written


def _is_plain(blocks: Iterable[Block], text: str) -> bool:
    """Whether `blocks` are paragraphs that say no more than `text` itself."""
    said: list[str] = []
    for block in blocks:
        if not isinstance(block, Prose) or block.heading:
            return False
        if any(run.styles or run.url is not None for run in block.runs):
            return False
        said.extend(run.text for run in block.runs)
    return "".join("".join(said).split()) == "".join(text.split())


def _json_bytes(text: str) -> int:
    return len(json.dumps(text, ensure_ascii=False).encode())


def _block(block: Block) -> str:
    match block:
        case Prose():
            tag = f"h{block.heading}" if block.heading else "p"
            return f"<{tag}>{_runs(block)}</{tag}>"
        case Code():
            language = f' class="language-{block.language}"' if block.language else ""
            return f"<pre><code{language}>{html.escape(block.text, quote=False)}\n</code></pre>"
        case Quote():
            return f"<blockquote>{''.join(map(_block, block.blocks))}</blockquote>"
        case Listing():
            return _listing(block)
        case Table():
            head, *rows = block.rows
            body = f"<tbody>{''.join(_row(row, 'td') for row in rows)}</tbody>" if rows else ""
            return f"<table><thead>{_row(head, 'th')}</thead>{body}</table>"
        case Rule():
            return "<hr>"


def _listing(listing: Listing) -> str:
    """A list; its paragraphs have no tags of their own if there is no empty line in it."""
    tight = _is_tight(listing)
    items = "".join(
        f"<li>{''.join(_in_item(block, tight) for block in item.blocks)}</li>"
        for item in listing.items
    )
    if listing.first is None:
        return f"<ul>{items}</ul>"
    start = f' start="{listing.first}"' if listing.first != 1 else ""
    return f"<ol{start}>{items}</ol>"


def _is_tight(listing: Listing) -> bool:
    """Whether no empty line is between the items of a list or the blocks of an item."""
    after = [block.spaced for item in listing.items for block in item.blocks[1:]]
    return not any(after) and not any(item.spaced for item in listing.items[1:])


def _in_item(block: Block, tight: bool) -> str:
    if tight and isinstance(block, Prose) and not block.heading:
        return _runs(block)
    return _block(block)


def _row(cells: Iterable[Prose], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{_runs(cell)}</{tag}>' for cell in cells)}</tr>"


def _runs(prose: Prose) -> str:
    return nested(prose.runs, _marks, _escaped)


def _marks(run: Run) -> list[Mark]:
    marks = [_TAGS[style] for style in run.styles]
    if run.url is not None:
        marks.insert(0, (f'<a href="{html.escape(run.url)}">', "</a>"))
    return marks


def _escaped(text: str) -> str:
    return html.escape(text, quote=False).replace("\n", "<br>")
