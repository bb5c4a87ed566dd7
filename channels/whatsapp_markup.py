"""Markdown as the formatting that WhatsApp knows, for the body of a text message.

Source: text messages of the Cloud API, whose body may have 4,096 characters, and WhatsApp's help on
formatting: `*bold*`, `_italic_`, `~struck out~`, code in one or three backticks, `>` and `-` and
`1.` at the beginning of lines. Links have no markup: the app makes one of any address.

Nothing in a text names everybody, and names are linked only by their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .markdown import MarkScript, Run, clean, lay_out, read, spelled_out
from .parts import LimitUnit, text_size

__all__ = ["TEXT_LIMIT", "TEXT_UNIT", "to_text"]

TEXT_LIMIT: Final = 4_096
"""What the channel declares: a part of this size is no larger when it is written by `to_text`."""
TEXT_UNIT: Final[LimitUnit] = "utf16"
"""It is not documented what a character is. No text has fewer UTF-16 code units than code points,
so it fits either way."""


def to_text(text: str) -> str:
    """`text` with WhatsApp's marks; what cannot be read or would be too long, as it is.

    Marks are shorter than those of Markdown and links as long, but tables, and quotations and lists
    whose lines were not marked each, may get longer. So the rule is: never larger than `TEXT_LIMIT`
    or, if that is larger, `text`. Links are `text (address)`, headings bold, tables blocks of
    code, images links.
    """
    text = clean(text)
    blocks = read(text)
    if blocks is not None:
        written = lay_out(blocks, _Text())
        size = text_size(written, TEXT_UNIT)
        if written.strip() and size <= max(TEXT_LIMIT, text_size(text, TEXT_UNIT)):
            return written
    return text


class _Text(MarkScript):
    bullet = "-"

    def link(self, run: Run) -> Sequence[Run]:
        address = spelled_out(run)[len(run.text) :]
        shown = Run(text=run.text, styles=run.styles)
        return (shown, Run(text=address)) if address else (shown,)
