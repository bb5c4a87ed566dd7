"""Markdown as Slack's mrkdwn, for the field `text` of a message.

Source: "Formatting message text" of the Slack API. `&`, `<` and `>` are escaped wherever the text
has them, in code too; so `<!channel>`, `<@U…>` and `<#C…>` in it name nobody. A bare `@channel` is
text, as long as the channel sends neither `link_names` nor `parse=full`. With `parse=none`, as it
sends, Slack makes no links of bare addresses ("Formatting messages" of `chat.postMessage`); so they
are written as links here.

Slack advises 4,000 characters, may split what is longer by itself, and cuts it off after 40,000. It
does not say whether it counts `&lt;` as one or as four.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from .markdown import Mark, MarkScript, Run, clean, lay_out, read
from .parts import LimitUnit

__all__ = ["TEXT_LIMIT", "TEXT_UNIT", "to_mrkdwn"]

TEXT_LIMIT: Final = 3_500
"""What the channel declares. It leaves an eighth of the 4,000 for what is escaped. A part that is
made of nothing else grows to 17,500, which Slack may split, but does not cut off."""
TEXT_UNIT: Final[LimitUnit] = "characters"

_ADVISED: Final = 4_000
_BARE: Final = re.compile(r"(?<![\w@])(?i:https?)://[^/\s<>|\"`][^\s<>|\"`]*")
_BEHIND: Final = ".,:;!?'*_~"
"""What ends a sentence or a mark, and no address."""


def to_mrkdwn(text: str) -> str:
    """`text` in Slack's mrkdwn; what cannot be read or would be too long, as it is, escaped.

    It is never longer than 4,000 characters, or than the escaped text if that is longer. Headings
    are bold, tables blocks of code, images links.
    """
    text = clean(text)
    plain = _escaped(text)
    blocks = read(text)
    if blocks is not None:
        written = lay_out(blocks, _Mrkdwn())
        if written.strip() and len(written) <= max(_ADVISED, len(plain)):
            return written
    return plain


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class _Mrkdwn(MarkScript):
    def escape(self, text: str) -> str:
        return _escaped(text)

    def runs(self, runs: Sequence[Run]) -> str:
        return super().runs([piece for run in runs for piece in _linked(run)])

    def marks(self, run: Run) -> Sequence[Mark]:
        marks = super().marks(run)
        if run.url is None:
            return marks
        return (*marks, ("<" if run.url == run.text else f"<{_escaped(run.url)}|", ">"))


def _linked(run: Run) -> Iterator[Run]:
    """`run` with each bare address in it as a link."""
    end = 0
    if run.url is None and "code" not in run.styles:
        for found in _BARE.finditer(run.text):
            url = _balanced(found[0]).rstrip(_BEHIND)
            if url.endswith("/") and url.count("/") == 2:
                continue  # nothing is left of it
            if found.start() > end:
                yield Run(text=run.text[end : found.start()], styles=run.styles)
            yield Run(text=url, styles=run.styles, url=url)
            end = found.start() + len(url)
    if end < len(run.text):
        yield Run(text=run.text[end:], styles=run.styles, url=run.url)


def _balanced(url: str) -> str:
    """`url` up to a bracket that was opened before it."""
    depth = 0
    for at, character in enumerate(url):
        depth += (character == "(") - (character == ")")
        if depth < 0:
            return url[:at]
    return url
