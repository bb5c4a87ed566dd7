"""Markdown as Telegram's HTML, for `parse_mode=HTML`.

Source: "Formatting options" of the Bot API. A text may have 4,096 UTF-16 code units once its tags
are taken away and its entities are read; tags must be balanced; `code` and `pre` hold no others,
and quotations do not nest. Of a hundred marks on, Telegram ignores further ones, and refuses a
message whose marks and addresses are too large together (`ENTITIES_TOO_LONG`, from some 9,500
bytes on). So what would go beyond that is written without marks here, links with their address
behind their text.

Names with `@` in a text notify nobody but who is named so; there is no way to name everybody.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import Final

from .markdown import Code, Mark, Run, Script, Style, clean, lay_out, nested, read, spelled_out
from .parts import LimitUnit, text_size

__all__ = ["TEXT_LIMIT", "TEXT_UNIT", "to_html"]

TEXT_LIMIT: Final = 4_096
"""What the channel declares: a part of this size is no larger when it is written as HTML, once
Telegram has taken the tags away."""
TEXT_UNIT: Final[LimitUnit] = "utf16"

_MAX_MARKS: Final = 100
_MAX_MARKS_BYTES: Final = 8_000
_MARK_BYTES: Final = 16
"""What a mark takes beside its address, about."""
_TAGS: Final[dict[Style, Mark]] = {
    "bold": ("<b>", "</b>"),
    "italic": ("<i>", "</i>"),
    "struck": ("<s>", "</s>"),
    "code": ("<code>", "</code>"),
}
_TAG: Final = re.compile("<[^>]*>")


def to_html(text: str) -> str:
    """`text` in Telegram's HTML; what cannot be read or would be too long, as it is, escaped.

    What is shown of it is never larger than `TEXT_LIMIT`, or than `text` itself if that is larger.
    The tags are `b`, `i`, `s`, `code`, `pre`, `blockquote` and `a`, balanced and nested as Telegram
    asks. Lists are lines, headings bold, tables blocks of code, images links.
    """
    text = clean(text)
    blocks = read(text)
    if blocks is not None:
        written = lay_out(blocks, _Html())
        shown = html.unescape(_TAG.sub("", written))
        if shown.strip() and text_size(shown, TEXT_UNIT) <= max(
            TEXT_LIMIT, text_size(text, TEXT_UNIT)
        ):
            return written
    return _escaped(text)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class _Html(Script):
    """One text, as long as there is room for marks."""

    def __init__(self) -> None:
        self._marks = 0
        self._bytes = 0

    def runs(self, runs: Sequence[Run]) -> str:
        return nested([self._afforded(run) for run in runs], _marks, _escaped)

    def code(self, code: Code) -> str:
        if not self._affords(1, len(code.language)):
            return _escaped(code.text)
        if not code.language:
            return f"<pre>{_escaped(code.text)}</pre>"
        return f'<pre><code class="language-{code.language}">{_escaped(code.text)}</code></pre>'

    def quote(self, inner: str, depth: int) -> str:
        if depth > 0 or not self._affords(1, 0):
            return "\n".join("&gt; " + line for line in inner.split("\n"))
        return f"<blockquote>{inner}</blockquote>"

    def _afforded(self, run: Run) -> Run:
        """`run`, without marks if there is no room for them."""
        if self._affords(len(_marks(run)), len((run.url or "").encode())):
            return run
        return Run(text=spelled_out(run))

    def _affords(self, marks: int, more_bytes: int) -> bool:
        """Take room for so many marks, if there is that much."""
        size = marks * _MARK_BYTES + more_bytes
        if self._marks + marks > _MAX_MARKS or self._bytes + size > _MAX_MARKS_BYTES:
            return False
        self._marks += marks
        self._bytes += size
        return True


def _marks(run: Run) -> tuple[Mark, ...]:
    if run.url is None:
        return (_TAGS["code"],) if "code" in run.styles else tuple(_TAGS[s] for s in run.styles)
    outer = tuple(_TAGS[style] for style in run.styles if style != "code")
    return (*outer, (f'<a href="{_escaped(run.url)}">', "</a>"))
