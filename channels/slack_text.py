"""What humans write, out of Slack's own notation into plain text. Pure.

Source: https://docs.slack.dev/messaging/formatting-message-text, "Retrieving formatted messages":
`&`, `<` and `>` are escaped, and links, channels and mentions stand in angle brackets.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["plain_text"]

_MARK: Final = re.compile(r"<([^<>\n]{1,8192})>")
_BEHIND_A_NAME: Final = " \t\r\n,:"
"""What stands between the agent's name and what is said to it."""


def plain_text(written: str, me: str) -> tuple[str, bool]:
    """The text as a human reads it, and whether it names `me`.

    A name of ours at the beginning is cut off, with what separates it from the rest. Other people
    and groups are `@` with the label that Slack gives, or else with the id; links are their
    address, with their label before it if that says something else.

    Args:
        written: the field `text` of a message.
        me: our user id.
    """
    mine = re.compile(rf"<@{re.escape(me)}(?:\|[^<>]*)?>")
    mentioned = mine.search(written) is not None
    first = mine.match(written.lstrip())
    if first is not None:
        written = written.lstrip()[first.end() :].lstrip(_BEHIND_A_NAME) or written
    pieces: list[str] = []
    end = 0
    for mark in _MARK.finditer(written):
        pieces += [_unescaped(written[end : mark.start()]), _shown(mark[1])]
        end = mark.end()
    pieces.append(_unescaped(written[end:]))
    return "".join(pieces), mentioned


def _shown(mark: str) -> str:
    """What stands for a piece in angle brackets."""
    target, _, label = mark.partition("|")
    target, label = _unescaped(target), _unescaped(label)
    if target.startswith("@"):
        return f"@{label.removeprefix('@') or target[1:]}"
    if target.startswith("#"):
        return f"#{label.removeprefix('#') or target[1:]}"
    if target.startswith("!"):
        return label or f"@{target[1:].partition('^')[0]}"
    address = target.removeprefix("mailto:").removeprefix("tel:")
    if not label or address.partition("://")[2] == label or label == address:
        return address
    return f"{label} ({address})"


def _unescaped(written: str) -> str:
    return written.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
