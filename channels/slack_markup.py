"""Markdown as Slack's mrkdwn, for the field `text` of a message.

Source: "Formatting message text" of the Slack API. `&`, `<` and `>` are escaped wherever the text
has them, in code too; so `<!channel>`, `<@U…>` and `<#C…>` in it name nobody. A bare `@channel` is
text, as long as the channel sends neither `link_names` nor `parse=full`.

Slack advises 4,000 characters, may split what is longer by itself, and cuts it off after 40,000. It
does not say whether it counts `&lt;` as one or as four.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .markdown import Mark, MarkScript, Run, clean, lay_out, read
from .parts import LimitUnit

__all__ = ["TEXT_LIMIT", "TEXT_UNIT", "to_mrkdwn"]

TEXT_LIMIT: Final = 3_500
"""What the channel declares. It leaves an eighth of the 4,000 for what is escaped. A part that is
made of nothing else grows to 17,500, which Slack may split, but does not cut off."""
TEXT_UNIT: Final[LimitUnit] = "characters"

_ADVISED: Final = 4_000


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

    def marks(self, run: Run) -> Sequence[Mark]:
        marks = super().marks(run)
        return marks if run.url is None else (*marks, (f"<{_escaped(run.url)}|", ">"))
