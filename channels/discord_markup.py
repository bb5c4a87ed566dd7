"""Markdown as Discord shows it, for the `content` of a message.

Source: "Create Message" of Discord's API, its help on Markdown, and its developers on what a
character is: a code point. A message may have 2,000. Discord reads most of Markdown, so a text
stays as it is, but for what is foreign there: a table becomes a block of code, an image a link, and
a heading of the fourth level or deeper one of the third. A table in a list or a quotation stays.

`@everyone` and `@here` get a space of no width after the `@`, in code too, so that they do not even
look like a mention. That nobody is notified, by `<@…>` and `<@&…>` neither, is a matter of the
channel, which sends empty `allowed_mentions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from .markdown import Block, Listing, Prose, Quote, Table, clean, in_columns, read
from .parts import LimitUnit

__all__ = ["TEXT_LIMIT", "TEXT_UNIT", "to_markdown"]

TEXT_LIMIT: Final = 2_000
"""What the channel declares: a part of this size is no longer when `to_markdown` has written it."""
TEXT_UNIT: Final[LimitUnit] = "characters"

_TO_ALL: Final = re.compile(r"@(?=everyone|here)", re.IGNORECASE)
_WIDE_AT: Final = "\uff20"
_DEEP: Final = re.compile(r"#{4,6}")
_FENCE: Final = "```"
_IMAGE: Final = re.compile(
    r"(?P<kept>\\[\s\S]|(?<!`)(?P<ticks>`+)(?!`)[\s\S]*?(?<!`)(?P=ticks)(?!`))"
    r"|!(?=\[[^\[\]\n]+\]\(<?(?:https?|mailto):)",
    re.IGNORECASE,
)
"""What is escaped or code, which is kept; or what makes an image of a link."""


def to_markdown(text: str) -> str:
    """`text` in Discord's Markdown; what cannot be read, as it is.

    It is never longer than `TEXT_LIMIT`, or than `text` if that is longer. Where there is no room
    it stays as it is, but that the `@` which calls everybody becomes a wide one.
    """
    text = clean(text)
    written = _TO_ALL.sub("@\u200b", _rewritten(text))
    if len(written) <= max(TEXT_LIMIT, len(text)):
        return written
    return _TO_ALL.sub(_WIDE_AT, text)


def _rewritten(text: str) -> str:
    """`text` without what is foreign."""
    blocks = read(text)
    if blocks is None:
        return text
    lines: list[str | None] = [*text.split("\n")]
    for block in blocks:
        if isinstance(block, Table):
            written = in_columns(block).replace(_FENCE, "`\u200b`\u200b`")
            _replace(lines, block.lines, f"{_FENCE}\n{written}\n{_FENCE}")
    for prose in _proses(blocks):
        written = "\n".join(lines[number] or "" for number in prose.lines)
        written = _IMAGE.sub(lambda match: match["kept"] or "", written)
        if prose.heading > 3:
            written = _DEEP.sub("###", written, count=1)
        _replace(lines, prose.lines, written)
    return "\n".join(line for line in lines if line is not None)


def _replace(lines: list[str | None], place: range, written: str) -> None:
    """Write something in the place of some lines."""
    lines[place.start : place.stop] = [written, *[None] * (len(place) - 1)]


def _proses(blocks: Iterable[Block]) -> Iterator[Prose]:
    """The paragraphs and headings in `blocks`, however deep."""
    for block in blocks:
        match block:
            case Prose():
                yield block
            case Quote():
                yield from _proses(block.blocks)
            case Listing():
                for item in block.items:
                    yield from _proses(item.blocks)
            case _:
                pass
